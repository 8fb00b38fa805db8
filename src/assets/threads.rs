//! Threads for work that blocks: the disk, and decoding. Never an HTTP worker's.

use std::fmt;
use std::io;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use tokio::sync::oneshot;

type Job = Box<dyn FnOnce() + Send>;

/// All threads are busy, and enough work waits for them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("all threads for files are busy")]
pub struct Busy;

/// Some threads and the work that waits for them. Dropped, it ends and joins them; what waits is done before.
pub struct Threads {
    jobs: Option<SyncSender<Job>>,
    threads: Vec<JoinHandle<()>>,
}

impl fmt::Debug for Threads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Threads({})", self.threads.len())
    }
}

impl Threads {
    /// Starts `count` threads; at most `waiting` pieces of work wait for them.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(name: &str, count: usize, waiting: usize) -> io::Result<Self> {
        let (jobs, to_do) = sync_channel::<Job>(waiting);
        let to_do = Arc::new(Mutex::new(to_do));
        let mut threads = Vec::with_capacity(count);
        for number in 0..count {
            let to_do = Arc::clone(&to_do);
            let builder = std::thread::Builder::new().name(format!("{name}-{number}"));
            threads.push(builder.spawn(move || work(&to_do))?);
        }
        Ok(Self { jobs: Some(jobs), threads })
    }

    /// Does the work on one of the threads.
    ///
    /// # Errors
    /// [`Busy`] at once when too much waits already.
    pub async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, Busy> {
        let (done, result) = oneshot::channel();
        let job: Job = Box::new(move || {
            // Whoever asked may have gone away: nobody needs the result then.
            let _ = done.send(work());
        });
        self.jobs.as_ref().ok_or(Busy)?.try_send(job).map_err(|_| Busy)?;
        result.await.map_err(|_| Busy)
    }
}

/// The lock is held only while a piece of work is taken.
fn work(to_do: &Mutex<Receiver<Job>>) {
    loop {
        let job = to_do.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(job) = job else { return };
        // A bug in one piece of work ends that piece, not the thread: its asker sees that nothing came back.
        let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(job));
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        drop(self.jobs.take());
        // The last who held the store may be a piece of work on one of them: that one ends by itself.
        let own = std::thread::current().id();
        for thread in self.threads.drain(..).filter(|thread| thread.thread().id() != own) {
            // It catches what its work does; there is nothing else to hear from it.
            let _ = thread.join();
        }
    }
}
