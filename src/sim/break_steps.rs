//! A break in a running process: the real decision role over the process's copy of the listener, one step at a time, as the decision shell drives
//! it. What is waited for between two steps is the world's.

use std::sync::Arc;

use super::listener_model::ListenerWrite;
use super::sabotage::Sabotage;
use super::server_node::Process;
use crate::caps::strict::{Outcome, Reservation};
use crate::catalog::Snapshot;
use crate::decision::Degradation;
use crate::model::{AdBreakRequest, DecisionId, ListenerKey, ListenerState, Now, Pseudonym, StrictRow, StrictVersion};
use crate::roles::decision::{Answered, AnsweredBreak, Effects, Explain, Moment, Pending};

/// A request as a server answers it.
#[derive(Clone, Debug)]
pub struct Asked {
    /// Whose.
    pub player: usize,
    /// Number of the player's request.
    pub number: u32,
    /// The request.
    pub request: Arc<AdBreakRequest>,
    /// The catalogue: the same from the first step to the answer.
    pub snapshot: Arc<Snapshot>,
    /// When it is decided, by the server's clocks; in every step.
    pub now: Now,
    /// When it is decided, in milliseconds after the start.
    pub at: u64,
    /// Whether the server's clock is right.
    pub by_right_clock: bool,
    /// Whether paid ads may be decided: a robot is given none, and is no supply.
    pub paid: bool,
}

/// A decided break that waits for its reservation. It has its listener's turn.
#[derive(Debug)]
pub struct Reserving {
    asked: Asked,
    decision_id: DecisionId,
    pending: Box<Pending>,
}

/// A request that waits for its listener's turn.
#[derive(Clone, Copy, Debug)]
pub struct Waiting {
    player: usize,
    number: u32,
    ticket: u64,
}

/// What a step of a break came to.
pub enum Made {
    /// Its answer.
    Answer(Box<AnswerMade>),
    /// No answer yet.
    Reserve(Box<ReserveMade>),
}

/// What an answer was made of, besides the answer.
pub struct AnswerMade {
    /// What was asked.
    pub asked: Asked,
    /// The bytes for the player: the tokens, one a line.
    pub bytes: Vec<u8>,
    /// The new answer; none for a repeat.
    pub answered: Option<Box<Answered>>,
    /// Whether the listener's state could be had.
    pub is_known: bool,
    /// What to write to the listeners' store.
    pub write: Option<ListenerWrite>,
}

/// What must be reserved before a break is answered.
pub struct ReserveMade {
    /// Whose break.
    pub player: usize,
    /// When it was decided, in milliseconds after the start.
    pub decided_at: u64,
    /// The conditional write.
    pub reservation: Reservation,
    /// Its version, which names it.
    pub version: StrictVersion,
    /// What else to write to the listeners' store.
    pub write: ListenerWrite,
}

impl Process {
    /// Puts the request in the line for its listener's turn, if somebody has it: the ticket of its place. None when the turn is free.
    pub fn waits_for_turn(&mut self, key: ListenerKey, (player, number): (usize, u32)) -> Option<u64> {
        if !self.reserving.contains_key(&key) {
            return None;
        }
        self.tickets += 1;
        let waiting = Waiting { player, number, ticket: self.tickets };
        self.waiting.entry(key).or_default().push_back(waiting);
        Some(self.tickets)
    }

    /// Whose turn it is now that one was answered, if anybody's: player, and number of the request.
    pub fn next_turn(&mut self, key: ListenerKey) -> Option<(usize, u32)> {
        if self.reserving.contains_key(&key) {
            return None;
        }
        let next = self.waiting.get_mut(&key)?.pop_front()?;
        Some((next.player, next.number))
    }

    /// The request waited too long: it leaves the line. None when its turn had come.
    pub fn misses_turn(&mut self, key: ListenerKey, ticket: u64) -> Option<(usize, u32)> {
        let line = self.waiting.get_mut(&key)?;
        let place = line.iter().position(|waiting| waiting.ticket == ticket)?;
        let missed = line.remove(place)?;
        Some((missed.player, missed.number))
    }

    /// Whether a break waits for its reservation.
    #[must_use]
    pub fn is_reserving(&self) -> bool {
        !self.reserving.is_empty()
    }

    /// Decides a break for a listener whose state is given; `None` when it could not be had.
    pub fn decide(&mut self, asked: Asked, known: Option<ListenerState>, sabotage: Sabotage) -> Made {
        self.decisions += 1;
        let decision_id = self.decision_id();
        let degradation = if known.is_some() { Degradation::None } else { Degradation::ListenerUnknown };
        let is_known = known.is_some();
        let before = known.unwrap_or_else(|| ListenerState::new(Pseudonym(decision_id.to_bytes())));
        let mut after = before.clone();
        if sabotage == Sabotage::RepeatDrawsAgain {
            after.open_breaks.retain(|open| open.request_id != asked.request.request_id);
        }
        if asked.paid {
            self.sample(&asked.request, &before, &asked.snapshot, asked.now);
        }
        let moment = moment(&asked, decision_id, degradation);
        let effects = self.decision.step(&asked.request, &mut after, moment, &mut self.scratch, &render);
        self.made(asked, decision_id, (is_known, &before, after), effects)
    }

    /// Goes on with the listener's break that waits for the reservation of that version; none when it is not waited for any more.
    pub fn resume(&mut self, key: ListenerKey, version: StrictVersion, outcome: Outcome) -> Option<Made> {
        if self.reserving.get(&key)?.version() != Some(version) {
            return None;
        }
        let Reserving { asked, decision_id, pending } = self.reserving.remove(&key)?;
        // What was heard meanwhile is in it.
        let (before, _) = self.listeners.get(&key)?.clone();
        let mut after = before.clone();
        let moment = moment(&asked, decision_id, Degradation::None);
        let (request, scratch) = (&asked.request, &mut self.scratch);
        let effects = self.decision.resume(request, &mut after, moment, *pending, outcome, scratch, &render);
        Some(self.made(asked, decision_id, (true, &before, after), effects))
    }

    fn made(
        &mut self,
        asked: Asked,
        decision_id: DecisionId,
        (is_known, before, after): (bool, &ListenerState, ListenerState),
        effects: Effects,
    ) -> Made {
        let key = asked.request.listener_key;
        let write = ListenerWrite::between(before, &after);
        if is_known
            && !matches!(effects, Effects::Repeated(_))
            && let Some((state, _)) = self.listeners.get_mut(&key)
        {
            *state = after;
        }
        match effects {
            Effects::Repeated(bytes) => {
                Made::Answer(Box::new(AnswerMade { asked, bytes, answered: None, is_known, write: None }))
            }
            Effects::Answered(answered) => {
                let (bytes, write) = (answered.answer.clone(), is_known.then_some(write));
                Made::Answer(Box::new(AnswerMade { asked, bytes, answered: Some(answered), is_known, write }))
            }
            Effects::Reserve(pending) => {
                let (player, decided_at) = (asked.player, asked.at);
                let reservation = pending.reservation.clone();
                let version = reservation.row.version.expect("a row that is to be written has a version");
                self.reserving.insert(key, Reserving { asked, decision_id, pending });
                Made::Reserve(Box::new(ReserveMade { player, decided_at, reservation, version, write }))
            }
        }
    }

    /// The id of the next answer. Its low half names writes of strict rows, and must be like no other's.
    fn decision_id(&self) -> DecisionId {
        let name = [self.boot_id.as_u128().to_be_bytes(), u128::from(self.decisions).to_be_bytes()].concat();
        let hash = blake3::hash(&name);
        let low = u64::from_be_bytes(*hash.as_bytes().first_chunk().expect("a hash has 32 bytes"));
        DecisionId::from_u128((self.boot_id.as_u128() << 64) | u128::from(low))
    }
}

impl Reserving {
    const fn version(&self) -> Option<StrictVersion> {
        let StrictRow { version, .. } = self.pending.reservation.row;
        version
    }
}

fn moment(asked: &Asked, decision_id: DecisionId, degradation: Degradation) -> Moment<'_> {
    Moment {
        snapshot: &asked.snapshot,
        now: asked.now,
        decision_id,
        trace_id: None,
        explain: Explain::No,
        degradation,
        paid: asked.paid,
        limited: None,
        asked_from: None,
    }
}

fn render(answered: &AnsweredBreak) -> Vec<u8> {
    answered.ads.iter().map(|ad| ad.token.as_str()).collect::<Vec<_>>().join("\n").into_bytes()
}
