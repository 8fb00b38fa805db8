//! Whether a thread has ended, for those who judge how the process is: also when it ended in a panic.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Says whether whoever holds its guard has ended. Cheap to clone; clones say the same.
#[derive(Clone, Default, Debug)]
pub struct Ending(Arc<AtomicBool>);

/// Held by a thread for as long as it runs.
#[derive(Debug)]
pub struct Running(Ending);

impl Ending {
    /// A guard for the thread to hold.
    #[must_use]
    pub fn guard(&self) -> Running {
        Running(self.clone())
    }

    /// Whether the guard was dropped.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.0.store(true, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_panics_has_ended_too() {
        let ending = Ending::default();
        assert!(!ending.has_ended());
        let running = ending.guard();
        let ended = std::thread::spawn(move || {
            let _running = running;
            std::panic::resume_unwind(Box::new("it ends"));
        });
        assert!(ended.join().is_err());
        assert!(ending.has_ended());
    }
}
