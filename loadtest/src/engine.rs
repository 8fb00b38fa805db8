//! Sends what is due over many connections and hears the answers, in one thread.
//!
//! It is open-loop: a [`Source`] says when its next request is due, whatever became of the ones before, and a latency counts from then. Where all connections
//! are busy the request waits, and its wait is part of its latency; so a slow server can't hide behind a generator that waits for it. A source that is always
//! due makes it closed-loop: as many requests in flight as there are connections, for capacity.
//!
//! One request is in flight a connection at most. Sockets don't block; `epoll` tells which have something to read. Sleep is cut into [`Nap`]s: on a core of its
//! own it never sleeps, on one that it shares with the server it sleeps a little longer than to the next request, so that waking up costs less.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use rustix::event::epoll;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};

use crate::answer::{self, Answer};

/// Most that is read at once: many answers' worth.
const READ_BYTES: usize = 65_536;
/// Events that are taken at once.
const EVENTS: usize = 512;
/// Longest sleep without a look at the source.
const NAP_MAX: Duration = Duration::from_millis(20);
/// An answer that takes longer is an error.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// The timer among the events.
const TIMER: u64 = u64::MAX;

/// A time of the run, in nanoseconds since its start.
pub(crate) type Nanos = u64;

/// A request as it was sent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sent {
    /// When it was due.
    pub(crate) due: Nanos,
    /// What it is, for the source to know.
    pub(crate) kind: u32,
    /// Which, for the source to know.
    pub(crate) tag: u64,
}

/// What came of a request.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Outcome<'b> {
    /// An answer.
    Answered(Answer<'b>),
    /// The connection broke or what came was no HTTP, or nothing came in time.
    Failed,
}

/// Where requests come from and answers go to.
pub(crate) trait Source {
    /// When the next request is due; none while there is nothing to send.
    fn next_due(&mut self, now: Nanos) -> Option<Nanos>;
    /// Writes the next request, which is due, to `out`.
    fn take(&mut self, now: Nanos, out: &mut Vec<u8>) -> Sent;
    /// Hears what came of one.
    fn heard(&mut self, sent: Sent, outcome: Outcome<'_>, now: Nanos);
    /// Whether there will be nothing more to send.
    fn is_over(&self, now: Nanos) -> bool;
    /// Called a few times a second, for words to whoever waits.
    fn tick(&mut self, now: Nanos, in_flight: usize) {
        let _ = (now, in_flight);
    }
}

/// How it waits for what is next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Nap {
    /// Not at all: it has a core of its own.
    Never,
    /// At least so long: it shares its core.
    AtLeast(Duration),
}

struct Connection {
    stream: TcpStream,
    /// What of the request is not written yet.
    out: Vec<u8>,
    /// What came of an answer that is not whole yet.
    partial: Vec<u8>,
    in_flight: Option<(Sent, Nanos)>,
}

/// Connections to one server, and the clock.
pub(crate) struct Engine {
    address: SocketAddr,
    epoll: OwnedFd,
    timer: OwnedFd,
    connections: Vec<Connection>,
    free: VecDeque<usize>,
    nap: Nap,
    buffer: Vec<u8>,
    start: Instant,
    last_look: Nanos,
    busy: Nanos,
}

impl Engine {
    /// So many connections to the server.
    pub(crate) fn connect(address: SocketAddr, connections: usize, nap: Nap) -> anyhow::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).context("epoll")?;
        let timer = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC);
        let timer = timer.context("a timer")?;
        epoll::add(&epoll, &timer, epoll::EventData::new_u64(TIMER), epoll::EventFlags::IN).context("a timer")?;
        let mut engine = Self {
            address,
            epoll,
            timer,
            connections: Vec::with_capacity(connections),
            free: (0..connections).collect(),
            nap,
            buffer: vec![0; READ_BYTES],
            start: Instant::now(),
            last_look: 0,
            busy: 0,
        };
        for index in 0..connections {
            let connection = engine.open(index)?;
            engine.connections.push(connection);
        }
        // To connect is no part of the run.
        engine.start = Instant::now();
        Ok(engine)
    }

    fn open(&self, index: usize) -> anyhow::Result<Connection> {
        let stream = TcpStream::connect(self.address).with_context(|| format!("connecting to {}", self.address))?;
        stream.set_nodelay(true).and_then(|()| stream.set_nonblocking(true)).context("a connection")?;
        let data = epoll::EventData::new_u64(index as u64);
        epoll::add(&self.epoll, &stream, data, epoll::EventFlags::IN).context("a connection")?;
        Ok(Connection { stream, out: Vec::new(), partial: Vec::new(), in_flight: None })
    }

    /// The time of the run.
    pub(crate) fn now(&self) -> Nanos {
        u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// How long it had something to do.
    pub(crate) const fn busy(&self) -> Duration {
        Duration::from_nanos(self.busy)
    }

    /// Sends what the source has until it is over and all is answered.
    pub(crate) fn run(&mut self, source: &mut impl Source) -> anyhow::Result<()> {
        loop {
            let now = self.now();
            if self.send_due(source, now)? {
                self.busy += self.now() - now;
            }
            let in_flight = self.connections.len() - self.free.len();
            if source.is_over(now) && in_flight == 0 {
                return Ok(());
            }
            if now.saturating_sub(self.last_look) >= 200_000_000 {
                self.last_look = now;
                source.tick(now, in_flight);
                self.give_up(source, now)?;
            }
            self.hear(source)?;
        }
    }

    /// Sends what is due; whether anything was.
    fn send_due(&mut self, source: &mut impl Source, mut now: Nanos) -> anyhow::Result<bool> {
        let mut any = false;
        while !self.free.is_empty() && source.next_due(now).is_some_and(|due| due <= now) {
            let index = self.free.pop_front().expect("one is free");
            let connection = &mut self.connections[index];
            connection.out.clear();
            let sent = source.take(now, &mut connection.out);
            connection.in_flight = Some((sent, now));
            if !connection.flush() {
                self.fail(source, index, now)?;
            }
            now = self.now();
            any = true;
        }
        Ok(any)
    }

    /// Waits for what comes, and hears it.
    fn hear(&mut self, source: &mut impl Source) -> anyhow::Result<()> {
        let now = self.now();
        let next = if self.free.is_empty() { None } else { source.next_due(now) };
        let until = next.map_or(NAP_MAX, |due| Duration::from_nanos(due.saturating_sub(now))).min(NAP_MAX);
        let timeout = match self.nap {
            Nap::Never => Timespec { tv_sec: 0, tv_nsec: 0 },
            Nap::AtLeast(_) if until.is_zero() => Timespec { tv_sec: 0, tv_nsec: 0 },
            Nap::AtLeast(least) => {
                self.arm(until.max(least))?;
                Timespec { tv_sec: 1, tv_nsec: 0 }
            }
        };
        let mut events = Vec::with_capacity(EVENTS);
        match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut events), Some(&timeout)) {
            Err(rustix::io::Errno::INTR) => return Ok(()),
            waited => waited.context("waiting for answers")?,
        };
        let (woken, any) = (self.now(), !events.is_empty());
        for event in events {
            if event.data.u64() == TIMER {
                let mut expirations = [0; 8];
                // Read so that it is quiet; how often it went off is nothing to us.
                let _ = rustix::io::read(&self.timer, &mut expirations);
            } else {
                let index = usize::try_from(event.data.u64()).context("an index of ours")?;
                self.receive(source, index)?;
            }
        }
        if any {
            self.busy += self.now() - woken;
        }
        Ok(())
    }

    fn arm(&self, after: Duration) -> anyhow::Result<()> {
        let value = Timespec::try_from(after).context("a nap")?;
        let once = Itimerspec { it_interval: Timespec { tv_sec: 0, tv_nsec: 0 }, it_value: value };
        timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &once).context("a timer")?;
        Ok(())
    }

    fn receive(&mut self, source: &mut impl Source, index: usize) -> anyhow::Result<()> {
        let connection = &mut self.connections[index];
        let count = match connection.stream.read(&mut self.buffer) {
            Ok(0) => return self.broken(source, index),
            Ok(count) => count,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => return Ok(()),
            Err(_) => return self.broken(source, index),
        };
        let whole = connection.partial.is_empty();
        if !whole {
            connection.partial.extend_from_slice(&self.buffer[..count]);
        }
        let bytes = if whole { &self.buffer[..count] } else { connection.partial.as_slice() };
        match answer::read(bytes) {
            Ok(Some(answer)) if answer.length == bytes.len() => {
                let Some((sent, _)) = connection.in_flight.take() else { return self.broken(source, index) };
                let now = u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX);
                source.heard(sent, Outcome::Answered(answer), now);
                connection.partial.clear();
                self.free.push_back(index);
                Ok(())
            }
            Ok(None) => {
                if whole {
                    connection.partial.extend_from_slice(&self.buffer[..count]);
                }
                if connection.flush() { Ok(()) } else { self.broken(source, index) }
            }
            Ok(Some(_)) | Err(_) => self.broken(source, index),
        }
    }

    /// A connection that can't be used any more: what was asked over it failed, and another takes its place.
    fn broken(&mut self, source: &mut impl Source, index: usize) -> anyhow::Result<()> {
        let now = self.now();
        if self.connections[index].in_flight.is_some() {
            return self.fail(source, index, now);
        }
        self.connections[index] = self.open(index)?;
        Ok(())
    }

    fn fail(&mut self, source: &mut impl Source, index: usize, now: Nanos) -> anyhow::Result<()> {
        if let Some((sent, _)) = self.connections[index].in_flight.take() {
            source.heard(sent, Outcome::Failed, now);
        }
        self.connections[index] = self.open(index)?;
        self.free.push_back(index);
        Ok(())
    }

    /// Gives up what was not answered in time, and writes on where a socket was full.
    fn give_up(&mut self, source: &mut impl Source, now: Nanos) -> anyhow::Result<()> {
        let limit = u64::try_from(ANSWER_WITHIN.as_nanos()).unwrap_or(u64::MAX);
        for index in 0..self.connections.len() {
            let connection = &mut self.connections[index];
            let is_late = connection.in_flight.is_some_and(|(_, at)| now.saturating_sub(at) > limit);
            if is_late || !connection.flush() {
                self.fail(source, index, now)?;
            }
        }
        Ok(())
    }
}

impl Connection {
    /// Writes what is to be written; false where the connection is broken. What does not fit now is written later.
    fn flush(&mut self) -> bool {
        while !self.out.is_empty() {
            match self.stream.write(&self.out) {
                Ok(0) => return false,
                Ok(count) if count == self.out.len() => self.out.clear(),
                Ok(count) => drop(self.out.drain(..count)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return true,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return false,
            }
        }
        true
    }
}
