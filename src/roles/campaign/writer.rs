//! The writer's thread: judges, commits, answers.
//!
//! It takes what commands are waiting (at most [`GROUP_MAX`]), judges them one after the other, commits what they change together, applies it to the shared
//! state, publishes it, and then answers each. A store of this process alone takes a group whole.
//!
//! A shared store takes it entity by entity, each on the condition that nobody has changed it (INV-47). So a group is judged after what it names was looked up,
//! with one command an entity; what was committed is answered so; where another server was quicker, the command is judged again against what is there now:
//! a change that expects a revision is refused as stale, a creation or an import may succeed. Rules that look at a parent are judged by the parent as it was
//! a moment before. Each order in which two servers can pass each other leads to a catalogue that the same commands could have led to one after the other,
//! the child's first: parents never change their own place, and nothing forbids to archive a parent, to raise a floor or to ask for approvals while there are
//! children. What is bounded only loosely is the number of entities of a kind: each server may add a group beyond the limit before it learns of the others.

use std::collections::BTreeSet;
use std::sync::{Arc, PoisonError};

use tokio::sync::{mpsc, oneshot};

use super::shell::{CatalogChange, Publish, Shared};
use super::{CampaignRole, CatalogState, Command, Fault, Group, Outcome, Refusal, Requester};
use crate::catalog::{Entity, EntityId};
use crate::model::{ApiKeyId, Now, Role};
use crate::store::{CatalogStore, Committed, Missed};

/// Most commands made durable together. At a few milliseconds a sync this is more than ten thousand changes a second.
const GROUP_MAX: usize = 64;
/// How often a command is judged while other servers are quicker each time; then its sender is told to come back.
const TRIES_MAX: u32 = 5;

/// A command and who waits for its answer.
pub(super) struct Waiting {
    command: Command,
    author: Requester,
    now: Now,
    answer: oneshot::Sender<Result<Outcome, Refusal>>,
    /// How often it was judged.
    tries: u32,
    /// Of an import, how many entities are there already.
    done: usize,
}

impl Waiting {
    pub(super) const fn new(
        command: Command,
        author: Requester,
        now: Now,
        answer: oneshot::Sender<Result<Outcome, Refusal>>,
    ) -> Self {
        Self { command, author, now, answer, tries: 0, done: 0 }
    }

    fn answer(self, outcome: Result<Outcome, Refusal>) {
        // The client may have gone; what it asked for is done all the same.
        let _ = self.answer.send(outcome);
    }
}

pub(super) struct Writer {
    shared: Arc<Shared>,
    role: CampaignRole,
    publish: Publish,
    broken: bool,
}

impl Writer {
    pub(super) fn new(shared: Arc<Shared>, publish: Publish) -> Self {
        Self { shared, role: CampaignRole::new(), publish, broken: false }
    }

    pub(super) fn run(mut self, mut queue: mpsc::Receiver<Waiting>) {
        let mut group = Vec::with_capacity(GROUP_MAX);
        while !self.broken && queue.blocking_recv_many(&mut group, GROUP_MAX) > 0 {
            let mut waiting = std::mem::take(&mut group);
            if self.shared.store.is_shared() {
                while !waiting.is_empty() {
                    waiting = self.run_shared(waiting);
                }
            } else {
                self.run_group(waiting);
            }
        }
        // Dropping the queue answers whoever still waits with `Broken`.
    }

    /// A group of a store that is this process's alone.
    fn run_group(&mut self, waiting: Vec<Waiting>) {
        let judged: Vec<_> = {
            let state = self.shared.state.read().unwrap_or_else(PoisonError::into_inner);
            let step = |one: Waiting| (one.answer, self.role.step(&state, one.command, &one.author, one.now));
            waiting.into_iter().map(step).collect()
        };
        let failed = !self.role.is_idle() && !self.commit();
        for (answer, outcome) in judged {
            let outcome = if failed && outcome.is_ok() { Err(Refusal::Broken) } else { outcome };
            let _ = answer.send(outcome);
        }
    }

    /// Durable, then visible, then published; whether it was.
    fn commit(&mut self) -> bool {
        let group = self.role.take();
        let version = self.read(CatalogState::version) + u64::from(!group.revisions.is_empty());
        let committed = self.shared.store.commit(version, &group.revisions, &group.keys);
        match committed {
            Ok(committed) if committed.missed.is_empty() => {}
            Ok(committed) => {
                tracing::error!(missed = ?committed.missed, "the catalogue was changed behind its writer; no more changes");
                self.broken = true;
                return false;
            }
            Err(error) => {
                // After a failed sync nobody knows what is on disk. Only a restart, which reads it, may go on.
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "the catalogue's store failed; no more changes"
                );
                self.broken = true;
                return false;
            }
        }
        self.apply(version, &group);
        let entities: Vec<_> = group.newest().map(|revision| revision.entity.clone()).collect();
        if !entities.is_empty() {
            (self.publish)(CatalogChange { version, entities });
        }
        true
    }

    /// A round of a store that others write too. Gives back what is to be judged again.
    fn run_shared(&mut self, waiting: Vec<Waiting>) -> Vec<Waiting> {
        let (round, mut again) = one_an_entity(waiting);
        let names: BTreeSet<EntityId> =
            self.read(|state| round.iter().flat_map(|one| one.command.names(state)).collect());
        if let Err(refusal) = self.shared.refresh(&names.into_iter().collect::<Vec<_>>()) {
            for one in round {
                one.answer(Err(refusal.clone()));
            }
            return again;
        }
        let judged: Vec<_> = {
            let state = self.shared.state.read().unwrap_or_else(PoisonError::into_inner);
            let step = |one: Waiting| {
                let outcome = self.role.step(&state, one.command.clone(), &one.author, one.now);
                (one, outcome)
            };
            round.into_iter().map(step).collect()
        };
        let committed = if self.role.is_idle() { Committed::default() } else { self.commit_shared() };
        let lost_something = !committed.missed.is_empty() || !committed.missed_keys.is_empty();
        for (mut one, outcome) in judged {
            let fate = match outcome {
                // Perhaps refused for what another command of the round wanted and did not get.
                Err(refusal) if lost_something => Fate::Again(refusal),
                Err(refusal) => Fate::Answer(Err(refusal)),
                Ok(outcome) => one.fate(outcome, &committed),
            };
            match fate {
                Fate::Answer(answer) => one.answer(answer),
                Fate::Again(refusal) if one.tries + 1 >= TRIES_MAX => one.answer(Err(refusal)),
                Fate::Again(_) => {
                    one.tries += 1;
                    one.keep_missed(&committed);
                    again.push(one);
                }
            }
        }
        again
    }

    /// Commits the round's group, applies what is there now, and says what is not.
    fn commit_shared(&mut self) -> Committed {
        let mut group = self.role.take();
        let version = self.read(CatalogState::version);
        let committed = match self.shared.store.commit(version, &group.revisions, &group.keys) {
            Ok(committed) => committed,
            Err(error) => {
                tracing::error!(error = &error as &dyn std::error::Error, "the catalogue's store failed");
                let missed = |id| (id, Missed::Untried);
                let ids = group.revisions.iter().map(|revision| revision.entity.id());
                let keys = group.keys.iter().map(|key| (key.id, Missed::Untried)).collect();
                return Committed { missed: ids.map(missed).collect(), missed_keys: keys };
            }
        };
        group.retain(&committed);
        self.apply(version, &group);
        let mut state = self.shared.state.write().unwrap_or_else(PoisonError::into_inner);
        for missed in committed.missed.values().chain(committed.missed_keys.values()) {
            match missed {
                Missed::Stale(newest) => state.take_in(version, newest),
                Missed::Unreachable(error) | Missed::Unknown(error) => {
                    tracing::warn!(error = error as &dyn std::error::Error, "a change was not committed");
                }
                Missed::Untried | Missed::Full { .. } | Missed::TooLarge { .. } => {}
            }
        }
        drop(state);
        committed
    }

    fn apply(&self, version: u64, group: &Group) {
        self.shared.state.write().unwrap_or_else(PoisonError::into_inner).apply(version, group);
        self.shared.keys.put(group.keys.iter().cloned());
    }

    fn read<R>(&self, look: impl FnOnce(&CatalogState) -> R) -> R {
        look(&self.shared.state.read().unwrap_or_else(PoisonError::into_inner))
    }
}

/// What becomes of a command after a round.
enum Fate {
    Answer(Result<Outcome, Refusal>),
    /// It is judged again; after too many times it is answered this.
    Again(Refusal),
}

impl Waiting {
    fn fate(&self, outcome: Outcome, committed: &Committed) -> Fate {
        let (ids, key) = self.command.writes();
        let missed: Vec<&Missed> = ids
            .iter()
            .filter_map(|id| committed.missed.get(id))
            .chain(key.and_then(|key| committed.missed_keys.get(&key)))
            .collect();
        if missed.is_empty() {
            return Fate::Answer(Ok(match outcome {
                Outcome::Imported(count) => Outcome::Imported(count + self.done),
                Outcome::Entity(_) | Outcome::Key(_) => outcome,
            }));
        }
        let is_partly_there = self.done > 0 || missed.len() < ids.len();
        let mut fate = Fate::Again(if is_partly_there { Refusal::Uncertain } else { Refusal::Busy });
        for missed in missed {
            match missed {
                Missed::Stale(_) | Missed::Untried => {}
                Missed::Unknown(_) => return Fate::Answer(Err(Refusal::Uncertain)),
                Missed::Unreachable(_) | Missed::Full { .. } | Missed::TooLarge { .. } if is_partly_there => {
                    return Fate::Answer(Err(Refusal::Uncertain));
                }
                Missed::Unreachable(_) => fate = Fate::Answer(Err(Refusal::Unavailable)),
                Missed::Full { what, limit } => fate = Fate::Answer(Err(Refusal::Full { what, limit: *limit })),
                Missed::TooLarge { bytes, limit } => {
                    let message = format!("has {bytes} bytes as it is kept, and {limit} are possible");
                    let fault = Fault { path: String::new(), code: "too_large", message };
                    fate = Fate::Answer(Err(Refusal::Invalid(vec![fault])));
                }
            }
        }
        fate
    }

    /// Of an import, what is not there yet.
    fn keep_missed(&mut self, committed: &Committed) {
        if let Command::Import { entities } = &mut self.command {
            let before = entities.len();
            entities.retain(|entity| committed.missed.contains_key(&entity.id()));
            self.done += before - entities.len();
        }
    }
}

impl Command {
    /// The entities that it would change, and the key.
    fn writes(&self) -> (Vec<EntityId>, Option<ApiKeyId>) {
        match self {
            Self::Create { entity } | Self::Change { entity, .. } => (vec![entity.id()], None),
            Self::Archive { id, .. } | Self::Review { id, .. } => (vec![*id], None),
            Self::AddKey { key } | Self::RevokeKey { key } => (Vec::new(), Some(key.id)),
            Self::Import { entities } => (entities.iter().map(Entity::id).collect(), None),
        }
    }

    /// The entities by which it is judged, as far as they can have changed. Creatives never change whose they are: only unknown ones are looked up.
    fn names(&self, state: &CatalogState) -> Vec<EntityId> {
        let mut names = match self {
            Self::RevokeKey { .. } => Vec::new(),
            Self::AddKey { key } => {
                let advertiser = match &key.role {
                    Role::Advertiser(id) => Some(EntityId::Advertiser(*id)),
                    Role::Operator | Role::Viewer | Role::App(_) => None,
                };
                [Some(EntityId::Network(key.network_id)), advertiser].into_iter().flatten().collect()
            }
            Self::Create { .. }
            | Self::Change { .. }
            | Self::Archive { .. }
            | Self::Review { .. }
            | Self::Import { .. } => self.writes().0,
        };
        let entities = match self {
            Self::Create { entity } | Self::Change { entity, .. } => std::slice::from_ref(entity),
            Self::Import { entities } => entities.as_slice(),
            Self::Archive { .. } | Self::Review { .. } | Self::AddKey { .. } | Self::RevokeKey { .. } => &[],
        };
        for entity in entities {
            names.push(EntityId::Network(entity.network_id()));
            names.extend(entity.advertiser_id().map(EntityId::Advertiser));
            if let Entity::LineItem(line_item) = entity {
                names.push(EntityId::Campaign(line_item.campaign_id));
                let creatives = line_item.creatives.iter().map(|choice| EntityId::Creative(choice.creative_id));
                names.extend(creatives.filter(|id| state.get(*id).is_none()));
            }
        }
        names
    }
}

/// Those of the commands that may be judged together, in order, and the others: an entity is written by one of a round.
fn one_an_entity(waiting: Vec<Waiting>) -> (Vec<Waiting>, Vec<Waiting>) {
    let mut written = BTreeSet::new();
    waiting.into_iter().partition(|one| {
        let ids = one.command.writes().0;
        let is_free = ids.iter().all(|id| !written.contains(id));
        // Also those of one that waits: whoever comes later stays behind it.
        written.extend(ids);
        is_free
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{MonotonicMs, WallMs};

    fn waiting(command: Command) -> Waiting {
        let (answer, _) = oneshot::channel();
        Waiting::new(command, Requester::Segue, Now { wall: WallMs(1), monotonic: MonotonicMs(0) }, answer)
    }

    #[test]
    fn an_entity_is_written_by_one_of_a_round_and_the_order_stays() {
        use super::super::samples;
        let archive = |id| waiting(Command::Archive { id, expected: 1 });
        let (one, other) = (EntityId::Campaign(samples::CAMPAIGN), EntityId::LineItem(samples::LINE_ITEM));
        let import = waiting(Command::Import { entities: samples::catalogue() });
        let (round, later) = one_an_entity(vec![archive(one), import, archive(other), archive(one)]);
        let of = |commands: &[Waiting]| commands.iter().map(|one| one.command.writes().0.len()).collect::<Vec<_>>();
        assert_eq!((of(&round), of(&later)), (vec![1], vec![10, 1, 1]));
    }
}
