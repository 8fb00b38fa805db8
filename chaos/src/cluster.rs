//! Segue's processes: two servers of each role over the engines, each with a port and a folder that outlive its lives.

use std::fs::File;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use rustix::process::{Pid, Signal};

use crate::engines::{Engines, signal};

/// Longest that a server takes to be ready.
const READY_MAX: Duration = Duration::from_mins(2);
/// Longest that a server takes to end in good order.
const END_MAX: Duration = Duration::from_mins(2);
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// How often readiness is asked for, as something that spreads load would.
const ROTATION_EVERY: Duration = Duration::from_millis(250);
/// Room of a decision server's disk where one of its own can be made, in MiB.
const DISK_MIB: u64 = 192;

/// Deciders among the members: [`Cluster::deciders`].
pub(crate) const DECIDERS: [&str; 2] = ["decider-1", "decider-2"];
/// Those who own the money.
pub(crate) const ACCOUNTANTS: [&str; 2] = ["accounting-1", "accounting-2"];
/// Those who serve the campaign API.
pub(crate) const SELLERS: [&str; 2] = ["campaign-1", "campaign-2"];
/// Those who make taste of what was played.
pub(crate) const PROFILERS: [&str; 2] = ["profile-1", "profile-2"];
/// An owner that comes and goes.
pub(crate) const EXTRA_ACCOUNTANT: &str = "accounting-3";

/// All of Segue's processes.
#[derive(Debug)]
pub(crate) struct Cluster {
    program: PathBuf,
    dir: PathBuf,
    settings: Vec<String>,
    members: Vec<Member>,
    /// What stands before the names of its topics, and its keyspace.
    pub(crate) name: String,
    /// The brokers.
    pub(crate) brokers: String,
    /// Servers that hear beacons have small disks of their own, which can be filled.
    has_small_disks: bool,
}

/// One server.
#[derive(Debug)]
pub(crate) struct Member {
    name: String,
    roles: &'static str,
    port: u16,
    dir: PathBuf,
    process: Option<Child>,
    /// Whether requests are sent to it: as its readiness was when last asked.
    in_rotation: Arc<AtomicBool>,
    /// Whether its folder is a file system of its own.
    has_own_disk: bool,
    lives: u32,
}

impl Cluster {
    /// Makes topics and tables of a name of its own, and no server yet.
    pub(crate) fn prepare(
        program: &Path,
        dir: &Path,
        engines: &Engines,
        name: &str,
        has_small_disks: bool,
    ) -> anyhow::Result<Self> {
        let brokers = engines.bootstrap();
        let settings = [
            format!("kafka.brokers={brokers}"),
            format!("kafka.topic_prefix={name}."),
            format!("kafka.replication={}", engines.brokers()),
            "kafka.events_partitions=4".to_owned(),
            format!("cql.hosts={}", engines.cql()),
            format!("cql.keyspace={name}"),
            "cql.replication=1".to_owned(),
            // All players come from one address, and each hears more in minutes than people do in hours.
            "invalid_traffic.listener_hour_max=0".to_owned(),
            "invalid_traffic.listener_burst_max=0".to_owned(),
            "decision.heard_min_percent=0".to_owned(),
            "journal.segment_bytes=4194304".to_owned(),
            "journal.quota_bytes=2147483648".to_owned(),
        ];
        std::fs::create_dir_all(dir).context("a folder for the cluster")?;
        let cluster = Self {
            program: program.to_owned(),
            dir: dir.to_owned(),
            settings: settings.into(),
            members: Vec::new(),
            name: name.to_owned(),
            brokers,
            has_small_disks,
        };
        for what in ["topics", "schema"] {
            let output = cluster.command(&[what, "apply"]).output().context("the program does not start")?;
            ensure!(output.status.success(), "segue {what} apply: {}", String::from_utf8_lossy(&output.stderr));
        }
        Ok(cluster)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(arguments).args(self.settings.iter().flat_map(|setting| ["--set", setting.as_str()]));
        command.stdin(Stdio::null()).current_dir(&self.dir).env_clear();
        command
    }

    /// Starts a server that is not there yet.
    pub(crate) fn add(&mut self, name: &str, roles: &'static str) -> anyhow::Result<()> {
        let dir = self.dir.join(name);
        std::fs::create_dir_all(&dir).context("a server's folder")?;
        // Let go at once: nobody else here takes ports of this range in between.
        let port =
            TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).context("a port")?.port();
        let has_own_disk = self.has_small_disks && roles.contains("beacon") && mount(&dir);
        let in_rotation = Arc::new(AtomicBool::new(false));
        let member =
            Member { name: name.to_owned(), roles, port, dir, process: None, in_rotation, has_own_disk, lives: 0 };
        self.members.push(member);
        self.start(name)
    }

    /// Starts a server anew, in its folder and on its port.
    pub(crate) fn start(&mut self, name: &str) -> anyhow::Result<()> {
        let index = self.index(name)?;
        let member = &self.members[index];
        ensure!(member.process.is_none(), "{name} runs already");
        let mut command = self.command(&["serve", "--roles", member.roles]);
        let listen = format!("server.listen=127.0.0.1:{}", member.port);
        let log = File::options().create(true).append(true).open(self.dir.join(format!("{name}.log")));
        let log = log.context("a server's log")?;
        command.args(["--set", &listen, "--set", "log.level=info"]);
        command.arg("--data-dir").arg(member.dir.join("data"));
        command.arg("--clock-error-file").arg(self.dir.join(format!("{name}.clock")));
        command.stdout(Stdio::null()).stderr(log);
        let process = command.spawn().with_context(|| format!("starting {name}"))?;
        let member = &mut self.members[index];
        member.process = Some(process);
        member.lives += 1;
        Ok(())
    }

    fn index(&self, name: &str) -> anyhow::Result<usize> {
        self.members.iter().position(|member| member.name == name).with_context(|| format!("there is no {name}"))
    }

    fn member(&self, name: &str) -> anyhow::Result<&Member> {
        Ok(&self.members[self.index(name)?])
    }

    /// Where a server listens, as the beginning of a URL.
    pub(crate) fn base(&self, name: &str) -> anyhow::Result<String> {
        Ok(format!("http://127.0.0.1:{}", self.member(name)?.port))
    }

    /// The operator's key, once the first campaign server has written it.
    pub(crate) fn operator_key(&self) -> anyhow::Result<String> {
        let file = self.dir.join(SELLERS[0]).join("data/operator.key");
        let key = std::fs::read_to_string(&file).with_context(|| format!("reading {}", file.display()))?;
        Ok(key.trim().to_owned())
    }

    /// Kills a server at once.
    pub(crate) fn kill(&mut self, name: &str) -> anyhow::Result<()> {
        let index = self.index(name)?;
        if let Some(mut process) = self.members[index].process.take() {
            process.kill().with_context(|| format!("killing {name}"))?;
            process.wait().with_context(|| format!("waiting for {name}"))?;
        }
        Ok(())
    }

    /// Tells a server to end, and does not wait.
    pub(crate) fn tell_to_end(&self, name: &str) -> anyhow::Result<()> {
        match &self.member(name)?.process {
            Some(process) => signal(Pid::from_child(process), Signal::TERM),
            None => Ok(()),
        }
    }

    /// Waits until a server has ended in good order.
    pub(crate) async fn ended(&mut self, name: &str) -> anyhow::Result<()> {
        let (index, until) = (self.index(name)?, Instant::now() + END_MAX);
        loop {
            let Some(process) = &mut self.members[index].process else { return Ok(()) };
            if let Some(status) = process.try_wait().context("waiting for a server")? {
                self.members[index].process = None;
                ensure!(status.success(), "{name} ended with {status}");
                return Ok(());
            }
            ensure!(Instant::now() < until, "{name} does not end");
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Whether a server has ended by itself; then it can be started again.
    pub(crate) fn has_ended(&mut self, name: &str) -> anyhow::Result<bool> {
        let index = self.index(name)?;
        let Some(process) = &mut self.members[index].process else { return Ok(true) };
        let has_ended = process.try_wait().context("looking at a server")?.is_some();
        if has_ended {
            self.members[index].process = None;
        }
        Ok(has_ended)
    }

    /// Waits until a server says that it is ready.
    pub(crate) async fn ready(&mut self, name: &str, client: &reqwest::Client) -> anyhow::Result<()> {
        let (url, until) = (format!("{}/readyz", self.base(name)?), Instant::now() + READY_MAX);
        loop {
            if is_ready(client, &url).await {
                return Ok(());
            }
            if self.has_ended(name)? || Instant::now() > until {
                bail!("{name} is not ready; the end of its log:\n{}", self.end_of_log(name));
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// The last lines of a server's log.
    pub(crate) fn end_of_log(&self, name: &str) -> String {
        let text = std::fs::read_to_string(self.dir.join(format!("{name}.log"))).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }

    /// Servers that run, or should.
    pub(crate) fn names(&self) -> Vec<String> {
        self.members.iter().map(|member| member.name.clone()).collect()
    }

    /// Decision servers, and whether each is in rotation.
    pub(crate) fn deciders(&self) -> anyhow::Result<Vec<(String, Arc<AtomicBool>)>> {
        DECIDERS.iter().map(|name| Ok((self.base(name)?, Arc::clone(&self.member(name)?.in_rotation)))).collect()
    }

    /// Sets a server's clock wrong by so many milliseconds.
    pub(crate) fn set_clock(&self, name: &str, by_ms: i64) -> anyhow::Result<()> {
        std::fs::write(self.dir.join(format!("{name}.clock")), by_ms.to_string()).context("setting a clock")
    }

    /// Fills the disk of a decision server; none, where it has no disk of its own.
    pub(crate) fn fill_disk(&self, name: &str) -> anyhow::Result<Option<PathBuf>> {
        use std::io::Write as _;
        let member = self.member(name)?;
        if !member.has_own_disk {
            return Ok(None);
        }
        let path = member.dir.join("filler");
        let mut file = File::create(&path).context("filling a disk")?;
        for size in [1 << 20, 1 << 12, 1] {
            while file.write_all(&vec![0; size]).is_ok() {}
        }
        Ok(Some(path))
    }

    /// Asks again and again who is ready, as what spreads load would.
    pub(crate) fn watch_rotation(&self, client: &reqwest::Client) -> anyhow::Result<tokio::task::JoinHandle<()>> {
        let (deciders, client) = (self.deciders()?, client.clone());
        Ok(tokio::spawn(async move {
            loop {
                for (base, in_rotation) in &deciders {
                    in_rotation.store(is_ready(&client, &format!("{base}/readyz")).await, Ordering::Relaxed);
                }
                tokio::time::sleep(ROTATION_EVERY).await;
            }
        }))
    }

    /// Ends all that runs, at once.
    pub(crate) fn end(&mut self) {
        for member in &mut self.members {
            if let Some(mut process) = member.process.take() {
                let _ = (process.kill(), process.wait());
            }
            if std::mem::take(&mut member.has_own_disk) {
                let _ = Command::new("umount").arg(&member.dir).status();
            }
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.end();
    }
}

async fn is_ready(client: &reqwest::Client, url: &str) -> bool {
    client.get(url).timeout(Duration::from_secs(1)).send().await.is_ok_and(|answer| answer.status().is_success())
}

/// Makes a folder a small file system of its own, where this process may.
fn mount(dir: &Path) -> bool {
    let size = format!("size={DISK_MIB}m");
    let command = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "segue-chaos"]).arg(dir).output();
    command.is_ok_and(|output| output.status.success())
}
