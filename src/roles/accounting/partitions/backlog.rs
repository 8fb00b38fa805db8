//! What an owner is still to be told, while it is busy: the keeper never waits for it.

use std::collections::VecDeque;
use std::sync::mpsc::{SyncSender, TrySendError};

use super::super::shell::Feed;
use super::super::{ServerNews, ServerSays};
use crate::catalog::Entity;

/// Words and reports that wait; beyond it the oldest of them go: what they say is said again every second.
const PASSING_MAX: usize = 256;

/// Feeds that wait for room in an owner's channel, in the order in which they came.
#[derive(Debug)]
pub(super) struct Backlog {
    feed: SyncSender<Feed>,
    waiting: VecDeque<Feed>,
    /// How many of them may be left out.
    passing: usize,
}

impl Backlog {
    pub(super) const fn new(feed: SyncSender<Feed>) -> Self {
        Self { feed, waiting: VecDeque::new(), passing: 0 }
    }

    /// A change of the catalogue: never left out. As many wait as the catalogue has changed since the owner began.
    pub(super) fn change(&mut self, entities: Vec<Entity>) {
        if !entities.is_empty() {
            self.waiting.push_back(Feed::CatalogChanged(entities));
            self.pass_on();
        }
    }

    /// Words of servers, in order.
    pub(super) fn words(&mut self, words: Vec<ServerSays>) {
        for says in words {
            self.put(Feed::Server(says));
        }
    }

    /// A report: left out where too much waits.
    pub(super) fn report(&mut self, report: Feed) {
        self.put(report);
    }

    /// Hands on what there is room for.
    pub(super) fn pass_on(&mut self) {
        while let Some(next) = self.waiting.pop_front() {
            let is_passing = is_passing(&next);
            match self.feed.try_send(next) {
                Ok(()) => self.passing -= usize::from(is_passing),
                Err(TrySendError::Full(next)) => {
                    self.waiting.push_front(next);
                    return;
                }
                // The owner has ended: the next one is told everything anew.
                Err(TrySendError::Disconnected(_)) => {
                    self.waiting.clear();
                    self.passing = 0;
                    return;
                }
            }
        }
    }

    fn put(&mut self, feed: Feed) {
        if is_passing(&feed) {
            if self.passing >= PASSING_MAX
                && let Some(oldest) = self.waiting.iter().position(is_passing)
            {
                self.waiting.remove(oldest);
                self.passing -= 1;
            }
            self.passing += 1;
        }
        self.waiting.push_back(feed);
        self.pass_on();
    }
}

/// Whether it may be left out: a report, or a mark that the next one repeats.
const fn is_passing(feed: &Feed) -> bool {
    match feed {
        Feed::Report { .. } => true,
        Feed::Server(says) => matches!(says.news, ServerNews::Complete { .. } | ServerNews::Registered),
        Feed::CatalogChanged(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::sync_channel;

    use super::*;
    use crate::events::samples;
    use crate::model::{BootId, ServerId, WallMs};

    fn says(n: u64, news: ServerNews) -> ServerSays {
        ServerSays { server_id: ServerId::from_u128(u128::from(n)), boot_id: BootId::from_u128(1), news }
    }

    #[test]
    fn what_must_be_heard_is_and_in_order_and_the_rest_is_bounded() {
        let (feed, inbox) = sync_channel(1);
        let mut backlog = Backlog::new(feed);
        let entity = Entity::from(samples::line_item());
        backlog.change(vec![entity.clone()]);
        for n in 0..1_000 {
            backlog.words(vec![says(n, ServerNews::Complete { until: WallMs(0), shipped_end: n })]);
        }
        backlog.words(vec![says(1_000, ServerNews::Draining)]);
        backlog.change(vec![entity.clone()]);
        let mut heard = Vec::new();
        while let Ok(next) = inbox.try_recv() {
            heard.push(next);
            backlog.pass_on();
        }
        assert_eq!(heard.len(), PASSING_MAX + 3);
        assert_eq!(heard[0], Feed::CatalogChanged(vec![entity.clone()]));
        let last = Feed::Server(says(999, ServerNews::Complete { until: WallMs(0), shipped_end: 999 }));
        assert_eq!(heard[PASSING_MAX], last, "the newest are kept");
        assert_eq!(heard[PASSING_MAX + 1], Feed::Server(says(1_000, ServerNews::Draining)));
        assert_eq!(heard[PASSING_MAX + 2], Feed::CatalogChanged(vec![entity]));
        drop(inbox);
        backlog.words(vec![says(1, ServerNews::Draining)]);
        assert!(backlog.waiting.is_empty(), "nobody is there");
    }
}
