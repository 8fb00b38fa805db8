//! The processes under load: Segue itself and the bare handler. Each is begun on a free port, and ended by its own process id whatever happens.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use rustix::process::{Pid, Signal, kill_process};
use segue_figures::{Check, Report};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::{process, simple};

/// Longest time until a server is ready; a million line items take some seconds.
const READY_WITHIN: Duration = Duration::from_mins(3);
/// Time to end after SIGTERM: what is applied late, and checkpoints, take their time.
const END_WITHIN: Duration = Duration::from_mins(3);

/// The processes that run, for whoever is told to stop. Global, because a signal belongs to the whole process.
static RUNNING: Mutex<Vec<u32>> = Mutex::new(Vec::new());

/// Ends the servers when this process is told to stop: then whatever waits for them fails, and clears up behind it.
pub(crate) fn end_when_told() -> anyhow::Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM]).context("listening for signals")?;
    let end = move || {
        for _ in signals.forever() {
            for pid in RUNNING.lock().unwrap_or_else(PoisonError::into_inner).iter() {
                let pid = i32::try_from(*pid).ok().and_then(Pid::from_raw);
                // One that has ended already needs no ending.
                let _ = pid.map(|pid| kill_process(pid, Signal::KILL));
            }
        }
    };
    std::thread::Builder::new().name("signals".to_owned()).spawn(end).context("starting a thread")?;
    Ok(())
}

/// A running server; dropped, it is killed.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    /// Where it listens.
    pub(crate) address: SocketAddr,
    /// From its beginning until it was ready.
    pub(crate) started_in: Duration,
    /// Where it logs, if it does so into a file.
    log: Option<PathBuf>,
}

impl Server {
    /// Segue on that data directory, with these settings beside.
    pub(crate) fn segue(
        program: &Path,
        data_dir: &Path,
        settings: &[String],
        core: Option<usize>,
    ) -> anyhow::Result<Self> {
        let mut command = Command::new(program);
        command.arg("serve").arg("--listen").arg("127.0.0.1:0").arg("--data-dir").arg(data_dir);
        for setting in settings {
            command.arg("--set").arg(setting);
        }
        let log = data_dir.with_extension("log");
        let file = std::fs::File::create(&log).with_context(|| format!("making {}", log.display()))?;
        Self::begin(command.stderr(file), core, "/readyz", Some(log))
    }

    /// The bare handler, whose answers to a break have that many bytes.
    pub(crate) fn bare(answer_bytes: usize, core: Option<usize>) -> anyhow::Result<Self> {
        let own = std::env::current_exe().context("finding this program")?;
        let mut command = Command::new(own);
        command.arg("bare").arg("--answer-bytes").arg(answer_bytes.to_string());
        Self::begin(&mut command, core, "/v1/t/ready/ready", None)
    }

    fn begin(command: &mut Command, core: Option<usize>, ready: &str, log: Option<PathBuf>) -> anyhow::Result<Self> {
        let start = Instant::now();
        let what = format!("starting {}", command.get_program().display());
        let spawned = process::on_core(core, || command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn())?;
        let mut child = spawned.with_context(|| what.clone())?;
        RUNNING.lock().unwrap_or_else(PoisonError::into_inner).push(child.id());
        let output = child.stdout.take().expect("it is piped");
        let mut server =
            Self { child, address: SocketAddr::from(([127, 0, 0, 1], 0)), started_in: Duration::ZERO, log };
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line).with_context(|| what.clone())?;
        let address = line.trim().rsplit("http://").next().and_then(|address| address.parse().ok());
        let Some(address) = address else {
            bail!("{what}: it does not say where it listens; its log ends with\n{}", server.last_words())
        };
        server.address = address;
        while !simple::get(address, ready, None).is_ok_and(|(status, _)| status < 300) {
            if start.elapsed() > READY_WITHIN {
                bail!("{what}: not ready within {READY_WITHIN:?}");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        server.started_in = start.elapsed();
        Ok(server)
    }

    /// The end of its log.
    fn last_words(&self) -> String {
        const LINES: usize = 10;
        let text = self.log.as_ref().and_then(|log| std::fs::read_to_string(log).ok()).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(LINES)..].join("\n")
    }

    /// Its process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The processor's time that it has taken.
    pub(crate) fn cpu(&self) -> anyhow::Result<Duration> {
        process::cpu(self.pid())
    }

    /// Its resident memory in bytes.
    pub(crate) fn resident(&self) -> anyhow::Result<u64> {
        process::resident(self.pid())
    }

    /// The text of its metrics.
    pub(crate) fn metrics(&self) -> anyhow::Result<String> {
        let (_, body) = simple::get(self.address, "/metrics", None)?;
        String::from_utf8(body).context("metrics are text")
    }

    /// Waits until it takes hardly more of a core than `idle`, what it takes while nobody asks: then it has done all that it was asked. Gives up after
    /// `within`. Returns how long it took, in seconds.
    pub(crate) fn settle(&self, idle: f64, within: Duration) -> anyhow::Result<f64> {
        const LOOK: Duration = Duration::from_millis(500);
        let (start, mut before) = (Instant::now(), self.cpu()?);
        while start.elapsed() < within {
            let look = Instant::now();
            std::thread::sleep(LOOK);
            let now = self.cpu()?;
            let share = now.saturating_sub(before).as_secs_f64() / look.elapsed().as_secs_f64();
            if share < idle * 1.25 + 0.05 {
                break;
            }
            before = now;
        }
        Ok(start.elapsed().as_secs_f64())
    }

    /// Ends it in peace, and waits.
    pub(crate) fn stop(mut self) -> anyhow::Result<Duration> {
        let start = Instant::now();
        kill_process(Pid::from_child(&self.child), Signal::TERM).context("telling a server to stop")?;
        while start.elapsed() < END_WITHIN {
            if let Some(status) = self.child.try_wait().context("waiting for a server")? {
                if !status.success() {
                    bail!("a server ended with {status}; its log ends with\n{}", self.last_words());
                }
                return Ok(start.elapsed());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        bail!("a server did not stop within {END_WITHIN:?}");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        RUNNING.lock().unwrap_or_else(PoisonError::into_inner).retain(|pid| *pid != self.child.id());
        // Ended already, or not to be had: in both cases there is nothing more to do.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Takes in how a server ended. One that did so badly fails a check, and costs none of what was measured before.
pub(crate) fn ended<T>(stopped: anyhow::Result<T>, report: &mut Report) -> Option<T> {
    let stopped = stopped.inspect_err(|error| eprintln!("{error:#}")).ok();
    let badly = f64::from(u8::from(stopped.is_none()));
    report.take([Check::at_most("servers that ended badly", badly, 0.0, "servers")]);
    stopped
}
