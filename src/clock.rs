//! The one place that reads time.
//!
//! Everybody else is given a [`Now`] or a [`Clock`]. A clock is real, accelerated (virtual time runs a whole number of times faster; for
//! demonstrations) or moved by hand (for tests). Wall and monotonic time are read together, so that a decision never mixes two moments.

use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio::sync::watch;

use crate::model::{MonotonicMs, Now, WallMs};

/// Fastest virtual time. At 10,000 a real millisecond is ten virtual seconds: beyond that no beacon would arrive in time.
pub const ACCELERATION_MAX: u32 = 10_000;

/// A source of time. Cheap to clone; all clones tell the same time.
#[derive(Clone, Debug)]
pub struct Clock(Kind);

#[derive(Clone, Debug)]
enum Kind {
    /// The machine's clocks. `origin` is where monotonic time starts.
    Real { origin: Instant },
    /// The same, and wall time is wrong by so many milliseconds.
    Wrong { origin: Instant, by_ms: Arc<AtomicI64> },
    /// `factor` virtual milliseconds a real one, from `start` on.
    Accelerated { origin: Instant, start: WallMs, factor: u32 },
    /// Moves only when a test moves it.
    Manual(Arc<watch::Sender<Now>>),
}

/// Moves the [`Clock`] that it was made with.
#[derive(Clone, Debug)]
pub struct ManualClock(Arc<watch::Sender<Now>>);

/// Measures real elapsed time, for latencies. Never accelerated: what a caller waited for is real.
#[derive(Clone, Copy, Debug)]
pub struct Stopwatch(Instant);

/// Measures the processor's time that this thread has used, for costs: what other threads and machines do doesn't count. It stays on its thread.
#[derive(Clone, Copy, Debug)]
pub struct CpuStopwatch(rustix::time::Timespec, PhantomData<*const ()>);

impl Clock {
    /// The machine's wall and monotonic clocks.
    #[must_use]
    pub fn real() -> Self {
        Self(Kind::Real { origin: instant() })
    }

    /// The machine's clocks, with a wall clock that is wrong by what stands in `by_ms`, which may change at any moment: what a badly kept
    /// machine does, for trials.
    #[must_use]
    pub fn wrong(by_ms: Arc<AtomicI64>) -> Self {
        Self(Kind::Wrong { origin: instant(), by_ms })
    }

    /// Virtual time that starts at `start` and runs `factor` times faster than the machine's clock. Factor 0 counts as 1, and
    /// [`ACCELERATION_MAX`] is the most.
    #[must_use]
    pub fn accelerated(start: WallMs, factor: u32) -> Self {
        Self(Kind::Accelerated { origin: instant(), start, factor: factor.clamp(1, ACCELERATION_MAX) })
    }

    /// Virtual time from the machine's present on, or real time where the factor is 1.
    #[must_use]
    pub fn real_times(factor: u32) -> Self {
        if factor <= 1 { Self::real() } else { Self::accelerated(wall(), factor) }
    }

    /// A clock that stands at `start` until it is moved.
    #[must_use]
    pub fn manual(start: Now) -> (Self, ManualClock) {
        let sender = Arc::new(watch::Sender::new(start));
        (Self(Kind::Manual(Arc::clone(&sender))), ManualClock(sender))
    }

    /// The present: both clocks, read together. Monotonic time never goes back; wall time may, where the machine's does.
    #[must_use]
    pub fn now(&self) -> Now {
        match &self.0 {
            Kind::Real { origin } => Now { wall: wall(), monotonic: MonotonicMs(millis(origin.elapsed())) },
            Kind::Wrong { origin, by_ms } => Now {
                wall: wall().plus_ms(by_ms.load(Ordering::Relaxed)),
                monotonic: MonotonicMs(millis(origin.elapsed())),
            },
            Kind::Accelerated { origin, start, factor } => {
                let virtual_ms = millis(origin.elapsed().saturating_mul(*factor));
                Now {
                    wall: start.plus_ms(i64::try_from(virtual_ms).unwrap_or(i64::MAX)),
                    monotonic: MonotonicMs(virtual_ms),
                }
            }
            Kind::Manual(sender) => *sender.borrow(),
        }
    }

    /// Virtual milliseconds that pass in a real one: 1 on a real or a manual clock.
    #[must_use]
    pub fn acceleration(&self) -> u32 {
        match &self.0 {
            Kind::Accelerated { factor, .. } => *factor,
            Kind::Real { .. } | Kind::Wrong { .. } | Kind::Manual(_) => 1,
        }
    }

    /// The real time in which `virtual_ms` pass, for timeouts of blocking calls.
    #[must_use]
    pub fn real_duration(&self, virtual_ms: u64) -> Duration {
        Duration::from_millis(virtual_ms) / self.acceleration()
    }

    /// Waits until `virtual_ms` have passed on this clock. On a manual clock: until it has been moved that far.
    pub async fn sleep(&self, virtual_ms: u64) {
        match &self.0 {
            Kind::Real { .. } | Kind::Wrong { .. } | Kind::Accelerated { .. } => {
                tokio::time::sleep(self.real_duration(virtual_ms)).await;
            }
            Kind::Manual(sender) => {
                let until = self.now().monotonic.plus_ms(virtual_ms);
                // An error means that the sender is gone; it can't be, we hold it.
                let _ = sender.subscribe().wait_for(|now| now.monotonic >= until).await;
            }
        }
    }

    /// Starts to measure real time.
    #[must_use]
    pub fn stopwatch(&self) -> Stopwatch {
        Stopwatch(instant())
    }

    /// Starts to measure the processor's time of this thread. Costs two calls of the system, a microsecond at most.
    #[must_use]
    pub fn cpu_stopwatch(&self) -> CpuStopwatch {
        CpuStopwatch(thread_cpu(), PhantomData)
    }
}

impl ManualClock {
    /// Moves both clocks forward.
    pub fn advance(&self, ms: u64) {
        self.0.send_modify(|now| {
            now.wall = now.wall.plus_ms(i64::try_from(ms).unwrap_or(i64::MAX));
            now.monotonic = now.monotonic.plus_ms(ms);
        });
    }

    /// Sets the wall clock alone, as an operator or a time server might: it may go back.
    pub fn set_wall(&self, wall: WallMs) {
        self.0.send_modify(|now| now.wall = wall);
    }
}

impl Stopwatch {
    /// Real microseconds since the start.
    #[must_use]
    pub fn elapsed_us(&self) -> u64 {
        u64::try_from(self.0.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    /// Real seconds since the start, as the metrics want them.
    #[must_use]
    pub fn elapsed_seconds(&self) -> f64 {
        self.0.elapsed().as_secs_f64()
    }
}

impl CpuStopwatch {
    /// Seconds that this thread has computed since the start.
    #[must_use]
    pub fn elapsed_seconds(&self) -> f64 {
        Duration::try_from(thread_cpu() - self.0).unwrap_or_default().as_secs_f64()
    }
}

fn thread_cpu() -> rustix::time::Timespec {
    rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime)
}

#[allow(clippy::disallowed_methods, reason = "the one place that reads time")]
fn instant() -> Instant {
    Instant::now()
}

#[allow(clippy::disallowed_methods, reason = "the one place that reads time")]
fn wall() -> WallMs {
    // A machine whose clock stands before 1970 is told that it is 1970: no date of ours lies there.
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    WallMs(i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX))
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::*;

    const START: Now = Now { wall: WallMs(1_000_000), monotonic: MonotonicMs(7) };

    #[test]
    fn a_manual_clock_moves_only_by_hand() {
        let (clock, hand) = Clock::manual(START);
        assert_eq!(clock.now(), START);
        hand.advance(250);
        assert_eq!(clock.clone().now(), Now { wall: WallMs(1_000_250), monotonic: MonotonicMs(257) });
        hand.set_wall(WallMs(5));
        assert_eq!(clock.now(), Now { wall: WallMs(5), monotonic: MonotonicMs(257) });
    }

    #[test]
    fn sleeping_on_a_manual_clock_ends_when_it_has_moved_far_enough() {
        let (clock, hand) = Clock::manual(START);
        let mut sleep = pin!(clock.sleep(100));
        let mut context = Context::from_waker(Waker::noop());
        assert_eq!(sleep.as_mut().poll(&mut context), Poll::Pending);
        hand.advance(99);
        assert_eq!(sleep.as_mut().poll(&mut context), Poll::Pending);
        hand.advance(1);
        assert_eq!(sleep.as_mut().poll(&mut context), Poll::Ready(()));
    }

    #[test]
    fn accelerated_time_starts_where_told_and_waits_shrink() {
        let clock = Clock::accelerated(WallMs(42), 60);
        assert!(clock.now().wall >= WallMs(42));
        assert_eq!(clock.real_duration(60_000), Duration::from_secs(1));
        assert_eq!(Clock::accelerated(WallMs(0), 0).acceleration(), 1);
        assert_eq!(Clock::accelerated(WallMs(0), u32::MAX).acceleration(), ACCELERATION_MAX);
    }

    #[test]
    fn both_clocks_of_accelerated_time_advance_alike() {
        let clock = Clock::accelerated(WallMs(0), 1_000);
        let now = clock.now();
        assert_eq!(u64::try_from(now.wall.0), Ok(now.monotonic.0));
        assert!(clock.now().monotonic >= now.monotonic);
    }

    #[test]
    fn a_wrong_clock_is_wrong_in_wall_time_alone() {
        let by_ms = Arc::new(AtomicI64::new(-3_600_000));
        let (wrong, right) = (Clock::wrong(Arc::clone(&by_ms)), Clock::real());
        assert!(right.now().wall.since(wrong.now().wall) >= 3_590_000);
        let before = wrong.now();
        by_ms.store(3_600_000, Ordering::Relaxed);
        assert!(wrong.now().wall.since(before.wall) >= 7_200_000);
        assert!(wrong.now().monotonic.0 < 60_000);
    }

    #[test]
    fn real_time_is_after_2025() {
        assert!(Clock::real().now().wall > WallMs(1_735_689_600_000));
    }
}
