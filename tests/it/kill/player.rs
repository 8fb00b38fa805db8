//! A player: asks for breaks and tells what it heard, over connections that may break off at any byte.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};
use segue::clock::Clock;
use serde_json::{Value, json};

use super::board::Board;

/// Longest wait for an answer, real time. A server that is killed closes its connections; only a hang gets there.
const ANSWER_PATIENCE: Duration = Duration::from_secs(20);
/// Listeners of a player, one after the other: a listener's new break comes long after the last one's beacons, unless those were lost.
const LISTENERS: u64 = 40;

/// One player.
pub(super) struct Player {
    board: Arc<Board>,
    clock: Clock,
    app_key: String,
    rng: ChaCha8Rng,
    number: u64,
    breaks: u64,
    /// Ads whose impression was sent and never acknowledged.
    unanswered: Vec<usize>,
}

impl Player {
    pub(super) fn new(board: Arc<Board>, clock: Clock, app_key: String, seed: u64, number: u64) -> Self {
        let rng = ChaCha8Rng::seed_from_u64(seed ^ (number + 1) << 32);
        Self { board, clock, app_key, rng, number, breaks: 0, unanswered: Vec::new() }
    }

    /// Plays until the board stops it.
    pub(super) fn run(mut self) {
        while let Some((life, address)) = self.board.server() {
            // The server was killed, most likely. What was under way is sent again in its next life.
            if self.play(life, address).is_err() {
                self.board.broke(life);
            }
        }
    }

    fn play(&mut self, life: u32, address: SocketAddr) -> io::Result<()> {
        let mut connection = Connection::open(address)?;
        for entry in std::mem::take(&mut self.unanswered) {
            // One player in four never comes back.
            if self.one_in(4) {
                continue;
            }
            self.board.sends_again();
            self.hear(&mut connection, entry)?;
        }
        while self.board.is_open(life) {
            for token in self.ask(&mut connection)? {
                let entry = self.board.write(token);
                if self.one_in(4) {
                    self.beacon(&mut connection, "start", entry)?;
                }
                self.hear(&mut connection, entry)?;
                if self.one_in(8) {
                    self.board.sends_again();
                    self.hear(&mut connection, entry)?;
                }
            }
        }
        Ok(())
    }

    /// Asks for a break; the tokens of its ads.
    fn ask(&mut self, connection: &mut Connection) -> io::Result<Vec<String>> {
        self.breaks += 1;
        let body = json!({
            "request_id": format!("{}-{}", self.number, self.breaks),
            "listener": {"session_id": format!("{}-{}", self.number, self.breaks % LISTENERS)},
            "break": {"placement": "music", "max_duration_ms": 120_000, "max_ads": 4},
        });
        let headers = format!("Authorization: Bearer {}\r\nContent-Type: application/json\r\n", self.app_key);
        let (status, answer) = connection.ask("POST", "/v1/ad-breaks", &headers, body.to_string().as_bytes())?;
        if status != 200 {
            self.board.refuse(status);
            return Ok(Vec::new());
        }
        let answer: Value = serde_json::from_slice(&answer).expect("a whole answer is JSON");
        let ads = answer["ads"].as_array().expect("an answer has ads");
        Ok(ads.iter().map(|ad| token_of(ad["tracking_url"].as_str().expect("an ad has a tracking URL"))).collect())
    }

    /// Tells that the ad was heard, and marks it once that is acknowledged.
    fn hear(&mut self, connection: &mut Connection, entry: usize) -> io::Result<()> {
        self.unanswered.push(entry);
        if self.beacon(connection, "impression", entry)? {
            self.board.mark(entry, self.clock.now().monotonic);
            self.unanswered.pop();
        }
        Ok(())
    }

    fn beacon(&self, connection: &mut Connection, event: &str, entry: usize) -> io::Result<bool> {
        let target = format!("/v1/t/{event}/{}", self.board.token(entry));
        let (status, _) = connection.ask("POST", &target, "", b"")?;
        if status != 204 {
            self.board.refuse(status);
        }
        Ok(status == 204)
    }

    fn one_in(&mut self, count: u64) -> bool {
        self.rng.next_u64().is_multiple_of(count)
    }
}

fn token_of(tracking_url: &str) -> String {
    let (_, token) = tracking_url.split_once("/v1/t/{event}/").expect("a template of a beacon's URL");
    token.to_owned()
}

/// A connection that is kept open from one request to the next.
struct Connection(BufReader<TcpStream>);

impl Connection {
    fn open(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&address, ANSWER_PATIENCE)?;
        stream.set_read_timeout(Some(ANSWER_PATIENCE))?;
        stream.set_nodelay(true)?;
        Ok(Self(BufReader::new(stream)))
    }

    /// One request; its answer's status and body. An error unless the whole answer came.
    fn ask(&mut self, method: &str, target: &str, headers: &str, body: &[u8]) -> io::Result<(u16, Vec<u8>)> {
        let head =
            format!("{method} {target} HTTP/1.1\r\nHost: segue\r\n{headers}Content-Length: {}\r\n\r\n", body.len());
        self.0.get_mut().write_all(&[head.as_bytes(), body].concat())?;
        let status_line = self.line()?;
        let status = status_line.split(' ').nth(1).and_then(|status| status.parse().ok()).ok_or_else(cut_short)?;
        let mut length = 0;
        loop {
            let line = self.line()?;
            if line.is_empty() {
                break;
            }
            if let Some((name, value)) = line.split_once(':')
                && name.eq_ignore_ascii_case("content-length")
            {
                length = value.trim().parse().map_err(|_| cut_short())?;
            }
        }
        let mut answer = vec![0; length];
        self.0.read_exact(&mut answer)?;
        Ok((status, answer))
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        self.0.read_line(&mut line)?;
        line.strip_suffix("\r\n").map(str::to_owned).ok_or_else(cut_short)
    }
}

fn cut_short() -> io::Error {
    io::ErrorKind::UnexpectedEof.into()
}
