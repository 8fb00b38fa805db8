//! Players and advertisers, open-loop: breaks come at random at a rate, every ad that is answered is reported from its start to its end, and now and then
//! somebody changes a line item.
//!
//! All ads of a pod begin with its answer, and are reported as soon as the server believes it ([`reported_after_ms`]): so a run of minutes sees whole lives of
//! ads, and asks of the server what a longer one would. A player sends each report by itself, or, where `gather` says so, collects those of some seconds and
//! sends them as one batch, as the API offers to players.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use crate::breaks::Breaks;
use crate::engine::{Nanos, Outcome, Sent, Source};
use crate::schedule::{Arrivals, EVENTS, reported_after_ms};
use crate::traffic::{Ad, Seen, ads, as_float, write_beacon};

/// Kinds of requests.
const BREAK: u32 = 0;
const BEACON: u32 = 1;
const WRITE: u32 = 2;
/// A millisecond in nanoseconds.
const MS: u64 = 1_000_000;

/// A time with one rate.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Phase {
    /// How long it lasts.
    pub(crate) length: Duration,
    /// What comes in it.
    pub(crate) rate: Rate,
}

/// How much comes in a second.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) enum Rate {
    /// Breaks.
    Breaks(f64),
    /// Impressions: as many breaks as bring so many ads, by what breaks brought so far.
    Impressions(f64),
}

/// What came of one phase's requests, by kind.
#[derive(Clone, Debug, Default)]
pub(crate) struct Told {
    /// Breaks.
    pub(crate) breaks: Seen,
    /// Reports of ads, single or in batches.
    pub(crate) beacons: Seen,
    /// Changes of line items.
    pub(crate) writes: Seen,
    /// Ads answered.
    pub(crate) ads: u64,
    /// Events reported and acknowledged.
    pub(crate) events: u64,
    /// From when a request was due until it was sent: what the generator itself is late, or connections were lacking.
    pub(crate) lag: Seen,
}

/// Who changes line items.
#[derive(Clone, Debug, Default)]
pub(crate) struct Advertisers {
    /// The operator's key.
    pub(crate) key: String,
    /// Line items by id, and the revision that each has.
    pub(crate) line_items: Vec<(String, u64)>,
    /// Changes a second.
    pub(crate) per_second: f64,
}

/// A pod on its way through its ads.
#[derive(Debug)]
struct Pod {
    answered_at: Nanos,
    ads: Vec<Ad>,
    /// Of each ad, the next event that is not reported yet.
    next: [u8; 8],
}

/// The players.
pub(crate) struct Players<'t> {
    breaks: &'t Breaks,
    phases: Vec<Phase>,
    phase: usize,
    phase_end: Nanos,
    arrivals: Arrivals,
    next_break: u64,
    pods: Vec<Option<Pod>>,
    free: Vec<u32>,
    due: BinaryHeap<Reverse<(Nanos, u32)>>,
    gather: Option<Duration>,
    advertisers: Advertisers,
    writes: Arrivals,
    write_number: usize,
    /// By phase, the phase in which the request was due.
    pub(crate) told: Vec<Told>,
    all_breaks: u64,
    all_ads: u64,
    batch: Vec<u8>,
    watch: Watch,
    /// Whether ads that are still playing at the end are reported to their end.
    drain: bool,
    is_stopped: bool,
}

/// What is said of a run while it lasts.
struct Watch {
    last: Nanos,
    breaks: Seen,
    beacons: Seen,
    say: Box<dyn FnMut(&Look<'_>) -> Go>,
}

/// A second of a run.
pub(crate) struct Look<'a> {
    /// Seconds since it began.
    pub(crate) at_seconds: f64,
    /// Its length in seconds.
    pub(crate) seconds: f64,
    /// The phase, from 0.
    pub(crate) phase: usize,
    /// Breaks answered in it.
    pub(crate) breaks: &'a Seen,
    /// Beacons answered in it.
    pub(crate) beacons: &'a Seen,
    /// Requests in flight.
    pub(crate) in_flight: usize,
    /// Pods that play.
    pub(crate) playing: usize,
}

/// Whether to go on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Go {
    /// On.
    On,
    /// No further.
    Stop,
}

impl<'t> Players<'t> {
    /// Players who ask for these breaks through these phases; `say` hears of each second.
    pub(crate) fn new(
        breaks: &'t Breaks,
        phases: Vec<Phase>,
        seed: u64,
        say: impl FnMut(&Look<'_>) -> Go + 'static,
    ) -> Self {
        let told = phases.iter().map(|_| Told::default()).collect();
        let first = phases.first().map_or(0, |phase| nanos(phase.length));
        let mut writes = Arrivals::new(seed ^ 1);
        writes.skip_to(MS);
        Self {
            breaks,
            phases,
            phase: 0,
            phase_end: first,
            arrivals: Arrivals::new(seed),
            next_break: seed << 40,
            pods: Vec::new(),
            free: Vec::new(),
            due: BinaryHeap::new(),
            gather: None,
            advertisers: Advertisers::default(),
            writes,
            write_number: 0,
            told,
            all_breaks: 0,
            all_ads: 0,
            batch: Vec::new(),
            watch: Watch { last: 0, breaks: Seen::default(), beacons: Seen::default(), say: Box::new(say) },
            drain: true,
            is_stopped: false,
        }
    }

    /// Reports are collected for so long and sent together.
    pub(crate) fn gathering(self, gather: Option<Duration>) -> Self {
        Self { gather, ..self }
    }

    /// Line items are changed too.
    pub(crate) fn with(self, advertisers: Advertisers) -> Self {
        Self { advertisers, ..self }
    }

    /// What still plays at the end is left alone.
    pub(crate) fn without_drain(self) -> Self {
        Self { drain: false, ..self }
    }

    /// Ads that a break brings, by what breaks brought so far; three until some are answered.
    pub(crate) fn ads_a_break(&self) -> f64 {
        if self.all_breaks < 100 { 3.0 } else { as_float(self.all_ads) / as_float(self.all_breaks) }
    }

    /// Breaks a second in the phase.
    fn breaks_per_second(&self) -> f64 {
        match self.phases.get(self.phase).map(|phase| phase.rate) {
            Some(Rate::Breaks(rate)) => rate,
            Some(Rate::Impressions(rate)) => rate / self.ads_a_break().max(0.1),
            None => 0.0,
        }
    }

    fn is_asking(&self) -> bool {
        self.phase < self.phases.len() && !self.is_stopped
    }

    fn next_write(&self) -> Option<Nanos> {
        let writes = self.is_asking() && self.advertisers.per_second > 0.0 && !self.advertisers.line_items.is_empty();
        writes.then(|| self.writes.next())
    }

    fn next_report(&self) -> Option<Nanos> {
        if !self.drain && !self.is_asking() {
            return None;
        }
        self.due.peek().map(|Reverse((due, _))| *due)
    }

    /// Goes from phase to phase with the time.
    fn follow(&mut self, now: Nanos) {
        while self.phase < self.phases.len() && now >= self.phase_end && self.arrivals.next() >= self.phase_end {
            self.phase += 1;
            self.phase_end += self.phases.get(self.phase).map_or(0, |phase| nanos(phase.length));
        }
    }

    /// What is told of the phase that is, or of the last one.
    fn told(&mut self) -> &mut Told {
        let last = self.told.len() - 1;
        &mut self.told[self.phase.min(last)]
    }

    fn take_break(&mut self, out: &mut Vec<u8>) -> Sent {
        let due = self.arrivals.next();
        let number = self.next_break;
        self.next_break += 1;
        let listener = usize::try_from(number % self.breaks.len() as u64).expect("below a length");
        self.breaks.write(listener, number, out);
        self.arrivals.advance(self.breaks_per_second());
        Sent { due, kind: BREAK, tag: 0 }
    }

    fn take_write(&mut self, out: &mut Vec<u8>) -> Sent {
        let due = self.writes.next();
        self.writes.advance(self.advertisers.per_second);
        let place = self.write_number % self.advertisers.line_items.len();
        self.write_number += 1;
        let (id, revision) = &self.advertisers.line_items[place];
        // Paused and let run again, in turn.
        let body = if revision.is_multiple_of(2) { "{\"status\":\"active\"}" } else { "{\"status\":\"paused\"}" };
        let request = format!(
            "PATCH /v1/line-items/{id} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {}\r\nif-match: \"{revision}\"\r\n\
             content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            self.advertisers.key,
            body.len()
        );
        out.extend_from_slice(request.as_bytes());
        Sent { due, kind: WRITE, tag: place as u64 }
    }

    /// Writes what the pod that is due reports now, and when it does so next.
    fn take_report(&mut self, out: &mut Vec<u8>) -> Sent {
        let Reverse((due, index)) = self.due.pop().expect("one is due");
        let slot = &mut self.pods[index as usize];
        let pod = slot.as_mut().expect("a pod that is due is there");
        let count = if self.gather.is_some() {
            self.batch.clear();
            pod.write_batch(due, &mut self.batch, out)
        } else {
            pod.write_first(out);
            1
        };
        if let Some(next) = pod.next_due() {
            self.due.push(Reverse((next.max(due) + self.gather.map_or(0, nanos), index)));
        } else {
            *slot = None;
            self.free.push(index);
        }
        Sent { due, kind: BEACON, tag: count }
    }

    fn play(&mut self, body: &[u8], now: Nanos) {
        let mut ads = ads(body);
        ads.truncate(8);
        self.all_breaks += 1;
        self.all_ads += ads.len() as u64;
        self.told().ads += ads.len() as u64;
        if ads.is_empty() {
            return;
        }
        let pod = Pod { answered_at: now, ads, next: [0; 8] };
        let due = pod.next_due().expect("it has ads") + self.gather.map_or(0, nanos);
        let index = if let Some(index) = self.free.pop() {
            self.pods[index as usize] = Some(pod);
            index
        } else {
            self.pods.push(Some(pod));
            u32::try_from(self.pods.len() - 1).expect("fewer pods than fit into memory")
        };
        self.due.push(Reverse((due, index)));
    }
}

impl Pod {
    /// When ad number `ad` reports next.
    fn due_of(&self, ad: usize) -> Option<Nanos> {
        let event = usize::from(self.next[ad]);
        let after_ms = reported_after_ms(event, self.ads[ad].duration_ms);
        (event < EVENTS.len()).then(|| self.answered_at + u64::from(after_ms) * MS)
    }

    /// Which ad reports next, and when.
    fn first(&self) -> Option<(Nanos, usize)> {
        (0..self.ads.len()).filter_map(|ad| self.due_of(ad).map(|due| (due, ad))).min()
    }

    fn next_due(&self) -> Option<Nanos> {
        self.first().map(|(due, _)| due)
    }

    fn write_first(&mut self, out: &mut Vec<u8>) {
        let (_, ad) = self.first().expect("something is due");
        write_beacon(EVENTS[usize::from(self.next[ad])], &self.ads[ad].token, out);
        self.next[ad] += 1;
    }

    /// Writes all that happened up to a moment as one batch. Returns how many.
    fn write_batch(&mut self, up_to: Nanos, body: &mut Vec<u8>, out: &mut Vec<u8>) -> u64 {
        let mut count = 0;
        body.push(b'[');
        while let Some((_, ad)) = self.first().filter(|(due, _)| *due <= up_to) {
            if count > 0 {
                body.push(b',');
            }
            body.extend_from_slice(b"{\"event\":\"");
            body.extend_from_slice(EVENTS[usize::from(self.next[ad])].as_bytes());
            body.extend_from_slice(b"\",\"token\":\"");
            body.extend_from_slice(&self.ads[ad].token);
            body.extend_from_slice(b"\"}");
            self.next[ad] += 1;
            count += 1;
        }
        body.push(b']');
        let head = format!(
            "POST /v1/t HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        out.extend_from_slice(head.as_bytes());
        out.extend_from_slice(body);
        count
    }
}

impl Source for Players<'_> {
    fn next_due(&mut self, now: Nanos) -> Option<Nanos> {
        self.follow(now);
        let next_break = self.is_asking().then(|| self.arrivals.next());
        [next_break, self.next_report(), self.next_write()].into_iter().flatten().min()
    }

    fn take(&mut self, now: Nanos, out: &mut Vec<u8>) -> Sent {
        let next_break = if self.is_asking() { self.arrivals.next() } else { Nanos::MAX };
        let next_report = self.next_report().unwrap_or(Nanos::MAX);
        let next_write = self.next_write().unwrap_or(Nanos::MAX);
        let sent = if next_report <= next_break && next_report <= next_write {
            self.take_report(out)
        } else if next_break <= next_write {
            self.take_break(out)
        } else {
            self.take_write(out)
        };
        self.told().lag.record(sent, now);
        sent
    }

    fn heard(&mut self, sent: Sent, outcome: Outcome<'_>, now: Nanos) {
        let success = match outcome {
            Outcome::Answered(answer) if answer.status < 300 => Some(answer),
            Outcome::Answered(_) | Outcome::Failed => None,
        };
        match sent.kind {
            BREAK => {
                self.told().breaks.count(sent, outcome, now);
                self.watch.breaks.count(sent, outcome, now);
                if let Some(answer) = success {
                    self.play(answer.body, now);
                }
            }
            BEACON => {
                self.told().beacons.count(sent, outcome, now);
                self.watch.beacons.count(sent, outcome, now);
                if success.is_some() {
                    self.told().events += sent.tag.max(1);
                }
            }
            _ => {
                self.told().writes.count(sent, outcome, now);
                if success.is_some() {
                    let place = usize::try_from(sent.tag).expect("a place");
                    self.advertisers.line_items[place].1 += 1;
                }
            }
        }
    }

    fn is_over(&self, _now: Nanos) -> bool {
        !self.is_asking() && (!self.drain || self.due.is_empty())
    }

    fn tick(&mut self, now: Nanos, in_flight: usize) {
        let seconds = as_float(now.saturating_sub(self.watch.last)) / 1e9;
        if seconds < 1.0 {
            return;
        }
        self.watch.last = now;
        let (breaks, beacons) = (std::mem::take(&mut self.watch.breaks), std::mem::take(&mut self.watch.beacons));
        let look = Look {
            at_seconds: as_float(now) / 1e9,
            seconds,
            phase: self.phase,
            breaks: &breaks,
            beacons: &beacons,
            in_flight,
            playing: self.pods.len() - self.free.len(),
        };
        if (self.watch.say)(&look) == Go::Stop {
            self.is_stopped = true;
        }
    }
}

/// A length in nanoseconds.
fn nanos(length: Duration) -> Nanos {
    u64::try_from(length.as_nanos()).unwrap_or(u64::MAX)
}
