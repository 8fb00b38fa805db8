//! The players' list, and the server that they talk to at the moment.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::Duration;

use segue::model::MonotonicMs;

/// One ad that a player was given.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    /// Its sealed token.
    pub(super) token: String,
    /// When its impression was first acknowledged.
    pub(super) marked_at: Option<MonotonicMs>,
}

/// Shared by the players and the test that kills their server.
#[derive(Default)]
pub(super) struct Board {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// The server's address, until it is dead.
    address: Option<SocketAddr>,
    /// Counts the servers.
    life: u32,
    opened_at: MonotonicMs,
    stopped: bool,
    entries: Vec<Entry>,
    marked: usize,
    /// Connections that broke off.
    broken: u64,
    /// Beacons sent again: for want of an answer, and just so.
    sent_again: u64,
    /// Requests that were not put on disk in time: said so, and sent again.
    not_kept: u64,
    /// Requests refused, by status: there should be none.
    refused: BTreeMap<u16, u64>,
}

impl Board {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no player panics while it holds the board")
    }

    /// A server listens.
    pub(super) fn opened(&self, address: SocketAddr, at: MonotonicMs) {
        let mut state = self.lock();
        state.opened_at = at;
        state.address = Some(address);
        state.life += 1;
        self.changed.notify_all();
    }

    /// It is dead.
    pub(super) fn closed(&self) {
        self.lock().address = None;
    }

    /// Players go home after what they are at.
    pub(super) fn stop(&self) {
        self.lock().stopped = true;
        self.changed.notify_all();
    }

    /// The server, once there is one; nothing when the players are to go home.
    pub(super) fn server(&self) -> Option<(u32, SocketAddr)> {
        let mut state = self.lock();
        loop {
            match state.address {
                _ if state.stopped => return None,
                Some(address) => return Some((state.life, address)),
                None => state = self.changed.wait(state).expect("no player panics while it holds the board"),
            }
        }
    }

    /// Whether to go on with the server of that life.
    pub(super) fn is_open(&self, life: u32) -> bool {
        let state = self.lock();
        !state.stopped && state.life == life
    }

    /// A connection broke off: waits a moment for another server, which there need not be.
    pub(super) fn broke(&self, life: u32) {
        let mut state = self.lock();
        state.broken += 1;
        let _ = self
            .changed
            .wait_timeout_while(state, Duration::from_millis(100), |state| state.life == life && !state.stopped)
            .expect("no player panics while it holds the board");
    }

    /// Writes down a token, before its beacon is sent.
    pub(super) fn write(&self, token: String) -> usize {
        let mut state = self.lock();
        state.entries.push(Entry { token, marked_at: None });
        state.entries.len() - 1
    }

    /// The token written down there.
    pub(super) fn token(&self, entry: usize) -> String {
        self.lock().entries[entry].token.clone()
    }

    /// Its impression was acknowledged.
    pub(super) fn mark(&self, entry: usize, at: MonotonicMs) {
        let mut state = self.lock();
        if state.entries[entry].marked_at.is_none() {
            state.entries[entry].marked_at = Some(at);
            state.marked += 1;
            self.changed.notify_all();
        }
    }

    /// A beacon is sent another time.
    pub(super) fn sends_again(&self) {
        self.lock().sent_again += 1;
    }

    /// A request was answered with another status than it should.
    pub(super) fn refuse(&self, status: u16) {
        let mut state = self.lock();
        if status == 503 {
            state.not_kept += 1;
        } else {
            *state.refused.entry(status).or_default() += 1;
        }
    }

    /// How many impressions are marked.
    pub(super) fn marked(&self) -> usize {
        self.lock().marked
    }

    /// Waits until so many are marked; false when that took too long.
    pub(super) fn wait_marked(&self, count: usize, patience: Duration) -> bool {
        let state = self.lock();
        let waited = self.changed.wait_timeout_while(state, patience, |state| state.marked < count);
        !waited.expect("no player panics while it holds the board").1.timed_out()
    }

    /// How many were marked by the present server in the `ms` milliseconds before.
    pub(super) fn marked_since(&self, now: MonotonicMs, ms: u64) -> usize {
        let state = self.lock();
        let from = state.opened_at.max(MonotonicMs(now.0.saturating_sub(ms)));
        state.entries.iter().filter(|entry| entry.marked_at.is_some_and(|at| at >= from)).count()
    }

    /// The list.
    pub(super) fn entries(&self) -> Vec<Entry> {
        self.lock().entries.clone()
    }

    /// Requests refused, by status.
    pub(super) fn refused(&self) -> BTreeMap<u16, u64> {
        self.lock().refused.clone()
    }

    /// What the players met with.
    pub(super) fn summary(&self) -> String {
        let state = self.lock();
        format!("broken_connections={} sent_again={} not_kept={}", state.broken, state.sent_again, state.not_kept)
    }
}
