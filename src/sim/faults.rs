//! The faults: their kinds, how often each comes in a run, and how often each came.
//!
//! Each seed draws its own mix (swarm testing, Groce et al., ISSTA 2012): half of the kinds are off, the others have rates that spread
//! over a decade. A run in which everything fails at once finds less than many runs in which a few things do.

use crate::workload::Draws;

/// Something that goes wrong.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[repr(usize)]
pub enum FaultKind {
    /// A request for a break never arrives.
    RequestLost,
    /// The answer of a break never arrives: the player asks again.
    AnswerLost,
    /// A beacon never arrives.
    BeaconLost,
    /// The answer of a beacon never arrives: the player sends it again.
    BeaconAnswerLost,
    /// A beacon arrives twice.
    BeaconDoubled,
    /// A player is away from the net for a while and sends its beacons afterwards, perhaps too late to be billed.
    PlayerAway,
    /// A player turns to another server than the one that knows its listener.
    HandOver,
    /// The log takes long.
    LogSlow,
    /// A partition of the log takes nothing for a while.
    LogStalled,
    /// The log refuses.
    LogRefuses,
    /// The log has it, and its answer is lost.
    LogAnswerLost,
    /// What is sent to the log arrives twice before the log answers.
    LogDoubled,
    /// A commit of the ledger times out, and was applied.
    CommitLostApplied,
    /// A commit of the ledger times out, and was not applied.
    CommitLost,
    /// A read of a listener's state gives what was there before.
    StaleRead,
    /// A read of a listener's state times out.
    ListenerReadLost,
    /// A write of a listener's state times out, and may have been applied.
    ListenerWriteLost,
    /// A server's machine loses power: what was not synced is partly gone, the last write is torn.
    PowerLost,
    /// A server's machine dies in the middle of a disk operation.
    DiskDies,
    /// A sync fails.
    SyncFails,
    /// A server's disk is full for a while.
    DiskFull,
    /// A bit flips in a finished segment of a server's journal, shipped or not.
    BitFlips,
    /// A server's wall clock is off by less than a second.
    ClockSkew,
    /// A server's wall clock jumps, forwards or backwards.
    ClockJumps,
    /// A server is killed.
    ServerKilled,
    /// A server ends in good order, and begins anew.
    ServerDrained,
    /// A server stops for a while, then goes on.
    ServerPaused,
    /// Accounting is killed.
    AccountingKilled,
    /// Accounting stops for a while, another owner takes over, and it goes on as if nothing had been.
    AccountingPaused,
    /// Messages from accounting to a server come late.
    MessagesSlow,
    /// Messages from accounting to a server come twice.
    MessagesDoubled,
    /// A budget is changed, also to less than is leased.
    BudgetChanged,
    /// A conditional write comes to the store when its server has given up waiting for it, or once more.
    StrictWriteLate,
    /// A server is killed between a conditional write and the answer that it was for.
    StrictServerDies,
}

/// How many kinds there are.
pub const FAULT_KINDS: usize = 34;

impl FaultKind {
    /// Every kind.
    pub const ALL: [Self; FAULT_KINDS] = [
        Self::RequestLost,
        Self::AnswerLost,
        Self::BeaconLost,
        Self::BeaconAnswerLost,
        Self::BeaconDoubled,
        Self::PlayerAway,
        Self::HandOver,
        Self::LogSlow,
        Self::LogStalled,
        Self::LogRefuses,
        Self::LogAnswerLost,
        Self::LogDoubled,
        Self::CommitLostApplied,
        Self::CommitLost,
        Self::StaleRead,
        Self::ListenerReadLost,
        Self::ListenerWriteLost,
        Self::PowerLost,
        Self::DiskDies,
        Self::SyncFails,
        Self::DiskFull,
        Self::BitFlips,
        Self::ClockSkew,
        Self::ClockJumps,
        Self::ServerKilled,
        Self::ServerDrained,
        Self::ServerPaused,
        Self::AccountingKilled,
        Self::AccountingPaused,
        Self::MessagesSlow,
        Self::MessagesDoubled,
        Self::BudgetChanged,
        Self::StrictWriteLate,
        Self::StrictServerDies,
    ];

    /// Its name in reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::RequestLost => "request_lost",
            Self::AnswerLost => "answer_lost",
            Self::BeaconLost => "beacon_lost",
            Self::BeaconAnswerLost => "beacon_answer_lost",
            Self::BeaconDoubled => "beacon_doubled",
            Self::PlayerAway => "player_away",
            Self::HandOver => "hand_over",
            Self::LogSlow => "log_slow",
            Self::LogStalled => "log_stalled",
            Self::LogRefuses => "log_refuses",
            Self::LogAnswerLost => "log_answer_lost",
            Self::LogDoubled => "log_doubled",
            Self::CommitLostApplied => "commit_lost_applied",
            Self::CommitLost => "commit_lost",
            Self::StaleRead => "stale_read",
            Self::ListenerReadLost => "listener_read_lost",
            Self::ListenerWriteLost => "listener_write_lost",
            Self::PowerLost => "power_lost",
            Self::DiskDies => "disk_dies",
            Self::SyncFails => "sync_fails",
            Self::DiskFull => "disk_full",
            Self::BitFlips => "bit_flips",
            Self::ClockSkew => "clock_skew",
            Self::ClockJumps => "clock_jumps",
            Self::ServerKilled => "server_killed",
            Self::ServerDrained => "server_drained",
            Self::ServerPaused => "server_paused",
            Self::AccountingKilled => "accounting_killed",
            Self::AccountingPaused => "accounting_paused",
            Self::MessagesSlow => "messages_slow",
            Self::MessagesDoubled => "messages_doubled",
            Self::BudgetChanged => "budget_changed",
            Self::StrictWriteLate => "strict_write_late",
            Self::StrictServerDies => "strict_server_dies",
        }
    }

    /// Least and greatest rate when it is on: a probability each time that it could come, or how often it comes in a minute.
    const fn rates(self) -> (f64, f64) {
        match self {
            Self::RequestLost
            | Self::AnswerLost
            | Self::BeaconLost
            | Self::BeaconAnswerLost
            | Self::BeaconDoubled
            | Self::LogRefuses
            | Self::LogAnswerLost
            | Self::LogDoubled
            | Self::HandOver
            | Self::StaleRead
            | Self::MessagesDoubled => (0.01, 0.2),
            Self::LogSlow | Self::MessagesSlow | Self::StrictWriteLate => (0.02, 0.3),
            Self::PlayerAway => (0.01, 0.1),
            Self::ListenerReadLost | Self::ListenerWriteLost => (0.005, 0.05),
            Self::CommitLostApplied | Self::CommitLost | Self::StrictServerDies => (0.002, 0.02),
            // A minute, of all servers together.
            Self::LogStalled | Self::ServerKilled | Self::ServerDrained | Self::ServerPaused => (0.1, 1.0),
            Self::AccountingKilled
            | Self::AccountingPaused
            | Self::PowerLost
            | Self::DiskDies
            | Self::SyncFails
            | Self::DiskFull
            | Self::BitFlips
            | Self::ClockSkew
            | Self::ClockJumps => (0.1, 0.6),
            Self::BudgetChanged => (0.2, 1.0),
        }
    }

    const fn place(self) -> usize {
        self as usize
    }
}

/// How often each kind of fault comes in one run; 0 for those that are off.
#[derive(Clone, PartialEq, Debug)]
pub struct Mix([f64; FAULT_KINDS]);

impl Mix {
    /// The mix of a run without faults.
    #[must_use]
    pub const fn none() -> Self {
        Self([0.0; FAULT_KINDS])
    }

    /// The mix of a seed.
    #[must_use]
    pub fn of_seed(seed: u64) -> Self {
        let mut draws = Draws::new(seed, STREAM_MIX);
        Self(FaultKind::ALL.map(|kind| {
            let (low, high) = kind.rates();
            let (is_on, rate) = (draws.chance(0.5), draws.log_uniform(low, high));
            if is_on { rate } else { 0.0 }
        }))
    }

    /// The same without anything that fails: only what people do remains.
    #[must_use]
    pub fn twin(&self) -> Self {
        let mut mix = Self::none();
        mix.0[FaultKind::BudgetChanged.place()] = self.rate(FaultKind::BudgetChanged);
        mix
    }

    /// The same without one kind.
    #[must_use]
    pub fn without(&self, kind: FaultKind) -> Self {
        let mut mix = self.clone();
        mix.0[kind.place()] = 0.0;
        mix
    }

    /// The kinds that are on.
    pub fn kinds(&self) -> impl Iterator<Item = FaultKind> {
        FaultKind::ALL.into_iter().filter(|kind| self.rate(*kind) > 0.0)
    }

    /// How often the kind comes.
    #[must_use]
    pub const fn rate(&self, kind: FaultKind) -> f64 {
        self.0[kind.place()]
    }
}

/// Stream of draws for the mix.
const STREAM_MIX: u64 = 1;
/// First stream of draws for the kinds: each has its own, so that a kind taken out leaves the others' draws as they were.
const STREAM_KINDS: u64 = 100;

/// Draws faults in one run, and counts them.
#[derive(Clone, Debug)]
pub struct Faults {
    mix: Mix,
    draws: Vec<Draws>,
    counts: [u64; FAULT_KINDS],
    /// Whether faults still come.
    on: bool,
}

impl Faults {
    /// The faults of a run.
    #[must_use]
    pub fn new(seed: u64, mix: Mix) -> Self {
        let draws = (0..FAULT_KINDS as u64).map(|kind| Draws::new(seed, STREAM_KINDS + kind)).collect();
        Self { mix, draws, counts: [0; FAULT_KINDS], on: true }
    }

    /// From now on nothing fails.
    pub const fn stop(&mut self) {
        self.on = false;
    }

    /// Whether the fault comes now, where it could; counted if so.
    pub fn strikes(&mut self, kind: FaultKind) -> bool {
        let rate = self.mix.rate(kind);
        if rate <= 0.0 || !self.on {
            return false;
        }
        let strikes = self.draws[kind.place()].chance(rate);
        if strikes {
            self.counts[kind.place()] += 1;
        }
        strikes
    }

    /// Notes that a fault came that was not drawn by [`Faults::strikes`].
    pub const fn count(&mut self, kind: FaultKind) {
        self.counts[kind.place()] += 1;
    }

    /// Milliseconds until the fault comes next, for those that come so often in a minute; none when it is off.
    pub fn next_in_ms(&mut self, kind: FaultKind) -> Option<u64> {
        let rate = self.mix.rate(kind);
        if rate <= 0.0 || !self.on {
            return None;
        }
        // Exponential: they come independently of each other.
        let minutes = -(1.0 - self.draws[kind.place()].unit()).ln() / rate;
        Some(u64::try_from(crate::workload::whole(minutes * 60_000.0)).unwrap_or(u64::MAX))
    }

    /// The kind's own draws: how long, which one, how much.
    pub fn draws(&mut self, kind: FaultKind) -> &mut Draws {
        &mut self.draws[kind.place()]
    }

    /// How often each kind came.
    #[must_use]
    pub const fn counts(&self) -> &[u64; FAULT_KINDS] {
        &self.counts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_where_their_number_says_and_named_apart() {
        let mut names = std::collections::BTreeSet::new();
        for (place, kind) in FaultKind::ALL.into_iter().enumerate() {
            assert_eq!(kind.place(), place);
            assert!(names.insert(kind.name()));
        }
    }

    #[test]
    fn each_seed_has_its_own_mix_of_about_half() {
        let sizes: Vec<usize> = (1..200).map(|seed| Mix::of_seed(seed).kinds().count()).collect();
        let mean = sizes.iter().sum::<usize>() / sizes.len();
        assert!((FAULT_KINDS / 2 - 2..=FAULT_KINDS / 2 + 2).contains(&mean), "{mean}");
        assert_ne!(Mix::of_seed(1), Mix::of_seed(2));
        assert_eq!(Mix::of_seed(3), Mix::of_seed(3));
    }
}
