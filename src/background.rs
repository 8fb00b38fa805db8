//! Threads that nobody waits for: they give way to those that answer players.
//!
//! A server's workers and the threads that work behind them share its cores. So the threads behind have a lower priority: of a core that is full a worker gets nine
//! times as much as one of them, and they still get on. How long a worker waits that wakes beside one is the scheduler's slice of some milliseconds all the same.
//! Shorter slices for workers (`sched_setattr`, Linux 6.12) were tried at a nice value of 5, and changed nothing that could be seen.

use rustix::process::{getpriority_process, setpriority_process};

/// How much nicer than others a thread in the background is. On Linux a nice value of 10 weighs a ninth of 0. What is behind a full worker needs some tenth of a
/// core for accounting and as much for listeners' rows; 19 weighs a seventieth, which is too little for either.
const NICE: i32 = 10;

/// From now on this thread, and those that it starts, give way to others. Where the system refuses it stays as it is, which only costs players some time.
pub fn give_way() {
    // On Linux "this process" means the calling thread.
    let nice = getpriority_process(None).unwrap_or(0);
    if let Err(error) = setpriority_process(None, nice.max(NICE)) {
        tracing::debug!(%error, "a thread keeps its priority");
    }
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
