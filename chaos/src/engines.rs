//! A cluster of Kafka brokers and a Cassandra, each behind a proxy, as processes that can be killed, stopped and started again.

use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use rustix::process::{Pid, Signal};

use crate::proxy::{Proxy, Way};

/// Longest that an engine takes to start.
const START_MAX: Duration = Duration::from_mins(3);
/// How often what is awaited is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Kafka and Cassandra.
#[derive(Debug)]
pub(crate) struct Engines {
    brokers: Vec<Broker>,
    cassandra: Cassandra,
}

#[derive(Debug)]
struct Broker {
    proxy: Proxy,
    dir: PathBuf,
    script: PathBuf,
    lib: PathBuf,
    process: Option<Child>,
}

#[derive(Debug)]
struct Cassandra {
    proxy: Proxy,
    pid: Pid,
    address: SocketAddr,
}

impl Engines {
    /// Prepares and starts them, with their state below `dir`.
    pub(crate) async fn start(project: &Path, libs: [&Path; 2], dir: &Path, brokers: usize) -> anyhow::Result<Self> {
        let [kafka_lib, cassandra_lib] = libs;
        let scripts = project.join("scripts/engines");
        let cassandra_dir = dir.join("cassandra");
        std::fs::create_dir_all(&cassandra_dir).context("a folder for Cassandra")?;
        let mut cassandra = Command::new(scripts.join("cassandra/start.sh"))
            .args([cassandra_lib, &cassandra_dir])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .context("starting Cassandra")?;
        let mut proxies = Vec::new();
        for _ in 0..brokers {
            proxies.push(Proxy::start().await?);
        }
        let kafka_dir = dir.join("kafka");
        let prepared = Command::new(scripts.join("kafka/brokers.sh"))
            .args([kafka_lib, &kafka_dir])
            .args(proxies.iter().map(|proxy| proxy.address.port().to_string()))
            .stdin(Stdio::null())
            .status()
            .context("preparing Kafka")?;
        ensure!(prepared.success(), "preparing Kafka failed");
        let mut all = Vec::new();
        for (index, proxy) in proxies.into_iter().enumerate() {
            let dir = kafka_dir.join((index + 1).to_string());
            let port: u16 = std::fs::read_to_string(dir.join("port")).context("a broker's port")?.trim().parse()?;
            proxy.lead_to(SocketAddr::from(([127, 0, 0, 1], port)));
            let script = scripts.join("kafka/broker.sh");
            let mut broker = Broker { proxy, dir, script, lib: kafka_lib.to_owned(), process: None };
            broker.start()?;
            all.push(broker);
        }
        for broker in &mut all {
            broker.await_serving().await?;
        }
        let status = cassandra.wait().context("waiting for Cassandra")?;
        ensure!(status.success(), "Cassandra does not start: see {}", cassandra_dir.join("system.log").display());
        let pid = std::fs::read_to_string(cassandra_dir.join("pid")).context("Cassandra's process id")?;
        let addresses = std::fs::read_to_string(cassandra_dir.join("addresses")).context("Cassandra's address")?;
        let address = addresses.lines().find_map(|line| line.strip_prefix("SEGUE_TEST_CQL="));
        let address: SocketAddr = address.context("Cassandra's address")?.parse().context("Cassandra's address")?;
        let pid = Pid::from_raw(pid.trim().parse()?).context("Cassandra's process id")?;
        let proxy = Proxy::start().await?;
        proxy.lead_to(address);
        Ok(Self { brokers: all, cassandra: Cassandra { proxy, pid, address } })
    }

    /// Some brokers' addresses, as clients reach them.
    pub(crate) fn bootstrap(&self) -> String {
        self.brokers.iter().map(|broker| broker.proxy.address.to_string()).collect::<Vec<_>>().join(",")
    }

    /// Cassandra as Segue reaches it.
    pub(crate) const fn cql(&self) -> SocketAddr {
        self.cassandra.proxy.address
    }

    /// Cassandra past the proxy, for the judge.
    pub(crate) const fn cql_directly(&self) -> SocketAddr {
        self.cassandra.address
    }

    /// How many brokers there are.
    pub(crate) const fn brokers(&self) -> usize {
        self.brokers.len()
    }

    /// Kills a broker at once.
    pub(crate) fn kill_broker(&mut self, index: usize) -> anyhow::Result<()> {
        let broker = &mut self.brokers[index];
        if let Some(mut process) = broker.process.take() {
            process.kill().context("killing a broker")?;
            process.wait().context("waiting for a killed broker")?;
        }
        Ok(())
    }

    /// Starts killed brokers again, and waits until all serve: with most of them away, one alone would wait for the others.
    pub(crate) async fn restart_brokers(&mut self, indexes: &[usize]) -> anyhow::Result<()> {
        for index in indexes {
            self.brokers[*index].start()?;
        }
        for index in indexes {
            self.brokers[*index].await_serving().await?;
        }
        Ok(())
    }

    /// Stops every broker in its tracks, or lets them go on.
    pub(crate) fn freeze_kafka(&self, frozen: bool) -> anyhow::Result<()> {
        for broker in &self.brokers {
            if let Some(process) = &broker.process {
                signal(Pid::from_child(process), if frozen { Signal::STOP } else { Signal::CONT })?;
            }
        }
        Ok(())
    }

    /// Stops Cassandra in its tracks, or lets it go on.
    pub(crate) fn freeze_cassandra(&self, frozen: bool) -> anyhow::Result<()> {
        signal(self.cassandra.pid, if frozen { Signal::STOP } else { Signal::CONT })
    }

    /// What happens to all that passes between Segue and the engines.
    pub(crate) fn set_net(&self, way: Way) {
        self.brokers.iter().for_each(|broker| broker.proxy.set(way));
        self.cassandra.proxy.set(way);
    }

    /// Ends them: what they hold is thrown away.
    pub(crate) fn end(&mut self) {
        for broker in &mut self.brokers {
            if let Some(mut process) = broker.process.take() {
                let _ = (process.kill(), process.wait());
            }
        }
        // No child of ours: its script started it. An error means that it has ended already.
        let _ = signal(self.cassandra.pid, Signal::KILL);
    }
}

impl Broker {
    fn start(&mut self) -> anyhow::Result<()> {
        let log = File::create(self.dir.join("broker.log")).context("a broker's log")?;
        let process = Command::new(&self.script)
            .args([&self.lib, &self.dir])
            .stdin(Stdio::null())
            .stdout(log.try_clone().context("a broker's log")?)
            .stderr(log)
            .spawn()
            .context("starting a broker")?;
        self.process = Some(process);
        Ok(())
    }

    async fn await_serving(&mut self) -> anyhow::Result<()> {
        let log = self.dir.join("broker.log");
        let until = Instant::now() + START_MAX;
        while !std::fs::read_to_string(&log).is_ok_and(|text| text.contains("Kafka Server started")) {
            let has_ended = self.process.as_mut().is_none_or(|process| !matches!(process.try_wait(), Ok(None)));
            if has_ended || Instant::now() > until {
                bail!("a broker does not start: see {}", log.display());
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        Ok(())
    }
}

impl Drop for Engines {
    fn drop(&mut self) {
        self.end();
    }
}

/// Sends a signal.
pub(crate) fn signal(pid: Pid, signal: Signal) -> anyhow::Result<()> {
    rustix::process::kill_process(pid, signal).with_context(|| format!("signal {signal:?} to process {pid:?}"))
}
