//! What every server last said of itself, for an owner that takes a partition over.

use std::collections::BTreeMap;

use super::{FromServer, Mark, Word};
use crate::accounting::SERVERS_MAX;
use crate::model::{BootId, MonotonicMs, ServerId};
use crate::roles::accounting::{ServerNews, ServerSays};

/// The servers' last words. At most as many servers as accounting's register may hold; beyond it the one that was not heard of for longest is
/// forgotten, and known again as soon as it says something.
#[derive(Clone, Default, Debug)]
pub struct FleetBoard {
    servers: BTreeMap<ServerId, Last>,
}

#[derive(Clone, Debug)]
struct Last {
    boot_id: BootId,
    heard: MonotonicMs,
    complete: Option<Mark>,
    is_draining: bool,
    closed: Option<Mark>,
}

impl FleetBoard {
    /// Takes note of a word that came at `heard`.
    pub fn note(&mut self, said: &FromServer, heard: MonotonicMs) {
        let FromServer { server_id, boot_id, word, .. } = said;
        let is_new = self.servers.get(server_id).is_none_or(|last| last.boot_id != *boot_id);
        if is_new {
            // A report alone begins nothing: it may be the last of a run that another has followed.
            if *word != Word::Registered {
                return;
            }
            self.make_room(*server_id);
            let last = Last { boot_id: *boot_id, heard, complete: None, is_draining: false, closed: None };
            self.servers.insert(*server_id, last);
        }
        let Some(last) = self.servers.get_mut(server_id) else { return };
        last.heard = heard;
        match word {
            Word::Registered | Word::Report { .. } => {}
            Word::Complete(mark) => last.complete = Some(mark.clone()),
            Word::Draining => last.is_draining = true,
            Word::Closed(mark) => last.closed = Some(mark.clone()),
        }
    }

    /// All that a new owner of the partition has to hear.
    #[must_use]
    pub fn words(&self, partition: u32) -> Vec<ServerSays> {
        let of_one = |(&server_id, last): (&ServerId, &Last)| {
            let boot_id = last.boot_id;
            let mark = |mark: &Mark| (mark.until, mark.end(partition));
            let complete = last.complete.as_ref().map(mark);
            let closed = last.closed.as_ref().map(mark);
            let news = [
                Some(ServerNews::Registered),
                complete.map(|(until, shipped_end)| ServerNews::Complete { until, shipped_end }),
                last.is_draining.then_some(ServerNews::Draining),
                closed.map(|(until, shipped_end)| ServerNews::Closed { until, shipped_end }),
            ];
            news.into_iter().flatten().map(move |news| ServerSays { server_id, boot_id, news }).collect::<Vec<_>>()
        };
        self.servers.iter().flat_map(of_one).collect()
    }

    /// The runs that have said something since `since` and have not closed.
    pub fn alive(&self, since: MonotonicMs) -> impl Iterator<Item = (ServerId, BootId)> {
        let is_alive = move |last: &Last| last.heard >= since && last.closed.is_none();
        self.servers.iter().filter(move |(_, last)| is_alive(last)).map(|(server_id, last)| (*server_id, last.boot_id))
    }

    fn make_room(&mut self, for_one: ServerId) {
        if self.servers.len() < SERVERS_MAX || self.servers.contains_key(&for_one) {
            return;
        }
        let oldest = self.servers.iter().min_by_key(|(id, last)| (last.heard, **id)).map(|(id, _)| *id);
        oldest.map(|oldest| self.servers.remove(&oldest));
    }
}
