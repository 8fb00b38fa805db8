//! What a process costs: its processor's time and its memory, as `/proc` says; and on which cores it runs.

use std::time::Duration;

use anyhow::Context as _;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// Ticks of the kernel's accounting in a second: `USER_HZ`, which is the same on every Linux that this runs on.
const TICKS: u64 = 100;

/// The processor's time of a process, all its threads together, since it began.
pub(crate) fn cpu(pid: u32) -> anyhow::Result<Duration> {
    let text = read(pid, "stat")?;
    let ticks = ticks(&text).with_context(|| format!("understanding /proc/{pid}/stat"))?;
    Ok(Duration::from_millis(ticks * 1_000 / TICKS))
}

/// Memory that a process has resident, in bytes.
pub(crate) fn resident(pid: u32) -> anyhow::Result<u64> {
    let text = read(pid, "status")?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line.and_then(|line| line.split_whitespace().next()).and_then(|number| number.parse::<u64>().ok());
    Ok(kilobytes.with_context(|| format!("understanding /proc/{pid}/status"))? * 1_024)
}

fn read(pid: u32, file: &str) -> anyhow::Result<String> {
    let path = format!("/proc/{pid}/{file}");
    std::fs::read_to_string(&path).with_context(|| format!("reading {path}"))
}

/// User's and system's time: the fields 14 and 15. The name in brackets before them may hold anything.
fn ticks(stat: &str) -> Option<u64> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

/// Runs `what` with this thread on that core, or on any: a process that is begun there stays there. What ran before goes on where it was.
pub(crate) fn on_core<T>(core: Option<usize>, what: impl FnOnce() -> T) -> anyhow::Result<T> {
    let Some(core) = core else { return Ok(what()) };
    let before = sched_getaffinity(None).context("asking for this thread's cores")?;
    stay_on(core)?;
    let done = what();
    sched_setaffinity(None, &before).context("going back to the cores before")?;
    Ok(done)
}

/// Keeps this thread on that core from now on.
pub(crate) fn stay_on(core: usize) -> anyhow::Result<()> {
    let mut cores = CpuSet::new();
    cores.set(core);
    sched_setaffinity(None, &cores).with_context(|| format!("going to core {core}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_stand_behind_the_name_whatever_it_is() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4194304 90 0 0 0 250 50 0 0 20 0 9 0 100";
        assert_eq!(ticks(stat), Some(300));
    }

    #[test]
    fn this_process_has_memory() {
        assert!(resident(std::process::id()).expect("on Linux") > 100_000);
        cpu(std::process::id()).expect("on Linux");
    }
}
