//! Threads that nobody waits for give way to those that answer players.
//!
//! A server's workers and the threads that work behind them share its cores. So the threads behind have a lower priority: of a core that is full a worker gets nine
//! times as much as one of them, and they still get on. That alone leaves a worker waiting that wakes beside one, until the scheduler's slice of some
//! milliseconds is over: so workers ask for short slices, and are put before whoever has a longer one.

use std::io;

use rustix::process::{getpriority_process, setpriority_process};

/// How much nicer than others a thread in the background is. On Linux a nice value of 10 weighs a ninth: what is behind a worker at its limit takes a third of its
/// time while nothing waits, and gets half as much in larger pieces, which cost less. At 19 they would get a seventieth each, and listeners' rows would be dropped.
const NICE: i32 = 10;

/// From now on this thread, and those that it starts, give way to others. Where the system refuses it stays as it is, which only costs players some time.
pub fn give_way() {
    // On Linux "this process" means the calling thread.
    let nice = getpriority_process(None).unwrap_or(0);
    if let Err(error) = setpriority_process(None, nice.max(NICE)) {
        tracing::debug!(%error, "a thread keeps its priority");
    }
}

/// The slice of a thread that answers, in nanoseconds: the shortest that Linux gives.
const ANSWERING_SLICE_NS: u64 = 100_000;

/// `struct sched_attr` of Linux in its first version, `man 2 sched_setattr`.
#[repr(C)]
struct SchedAttr {
    size: u32,
    policy: u32,
    flags: u64,
    nice: i32,
    priority: u32,
    runtime: u64,
    deadline: u64,
    period: u64,
}

/// From now on this thread runs soon after it is woken, whatever else is at work on its core. Since Linux 6.12, whose scheduler takes a slice from an ordinary
/// thread; before that, and where the system refuses, nothing changes.
pub fn answer_soon() {
    if let Err(error) = take_short_slices() {
        tracing::debug!(%error, "a thread keeps its slice");
    }
}

fn take_short_slices() -> io::Result<()> {
    let attributes = SchedAttr {
        size: u32::try_from(size_of::<SchedAttr>()).expect("48 bytes"),
        policy: 0,
        flags: 0,
        nice: getpriority_process(None)?,
        priority: 0,
        runtime: ANSWERING_SLICE_NS,
        deadline: 0,
        period: 0,
    };
    let (this_thread, no_flags): (libc::pid_t, libc::c_uint) = (0, 0);
    // SAFETY: the kernel reads `size` bytes of the struct, which has as many and outlives the call; it writes to none.
    #[expect(
        unsafe_code,
        reason = "no crate has this call; a lone request's p99 was 38 times a bare handler's without it"
    )]
    let result = unsafe { libc::syscall(libc::SYS_sched_setattr, this_thread, &raw const attributes, no_flags) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Runs `start` so that the threads it starts give way, and the caller does not.
///
/// # Panics
/// Where `start` does.
pub fn started_to_give_way<T: Send>(start: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let started = scope.spawn(|| {
            give_way();
            start()
        });
        started.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_may_take_short_slices_and_keeps_its_priority() {
        let (result, nice) = std::thread::spawn(|| {
            give_way();
            (take_short_slices(), getpriority_process(None))
        })
        .join()
        .expect("a thread");
        assert!(result.is_ok(), "{result:?}");
        assert!(nice.expect("Linux") >= NICE);
    }

    #[test]
    fn only_what_is_started_gives_way() {
        let before = getpriority_process(None).expect("Linux");
        let (inside, child) = started_to_give_way(|| {
            let child = std::thread::spawn(|| getpriority_process(None)).join().expect("a thread");
            (getpriority_process(None), child)
        });
        let expected = Ok(before.max(NICE));
        assert_eq!((inside, child), (expected, expected));
        assert_eq!(getpriority_process(None), Ok(before));
    }
}
