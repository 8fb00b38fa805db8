//! Starts real `segue` processes and talks to them: free ports, folders of their own, always reaped.
//!
//! A server says on its first line of standard output where it listens: `segue: listening on http://127.0.0.1:43211`. Its standard error goes to
//! a file, shown when something goes wrong.

#![allow(dead_code, reason = "a harness for tests that land one by one")]

use std::fmt::Write as _;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError, mpsc};
use std::time::Duration;

use tempfile::TempDir;

/// Most that a test waits for a process, real time. Far beyond what any takes, so that only a hang gets there.
const PATIENCE: Duration = Duration::from_mins(1);

/// Pause between two looks at a condition. A look costs little, and none of them is counted on to be the right one.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Runs `segue` with these arguments to its end, in a folder of its own and with no setting from the outside.
pub(crate) fn segue(folder: &Path, arguments: &[&str]) -> Output {
    command(folder, arguments).stdin(Stdio::null()).output().expect("the binary starts")
}

/// Records that a test could not do its work here. The caller returns after it; the closing table and CI count it.
pub(crate) fn skip(name: &str, reason: &str) {
    let line = format!("SKIPPED {name}: {reason}\n");
    eprint!("{line}");
    if let Some(log) = std::env::var_os("SEGUE_SKIP_LOG") {
        let mut log = File::options().append(true).create(true).open(log).expect("the skip log opens");
        log.write_all(line.as_bytes()).expect("the skip log takes a line");
    }
}

/// Where an engine listens that `scripts/test.sh` has started beside the tests, from the variable that says so; none, and the test counted as skipped,
/// when nobody has started it. An empty variable is an absent one.
pub(crate) fn engine(variable: &str, test: &str) -> Option<String> {
    let found = std::env::var(variable).ok().filter(|address| !address.is_empty());
    if found.is_none() {
        skip(test, &format!("{variable} is not set: no engine runs beside the tests"));
    }
    found
}

/// A behaviour suite: each case once embedded and once over an engine that runs beside the tests. `$embedded` makes the one; `$engine`, given the test's
/// name, the other, or nothing where no engine runs.
macro_rules! suite {
    (embedded: $embedded:expr, $name:ident: $engine:expr; $($case:ident),+ $(,)?) => {
        mod embedded {
            use super::*;
            $(#[test] fn $case() { super::$case(&$embedded); })+
        }
        mod $name {
            use super::*;
            $(#[test] fn $case() {
                let Some(engine) = $engine(concat!(stringify!($case), "_on_", stringify!($name))) else { return };
                super::$case(&engine);
            })+
        }
    };
}
pub(crate) use suite;

/// Waits until a condition holds; panics with `what` when it never does.
pub(crate) fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let looks = PATIENCE.as_millis() / LOOK_EVERY.as_millis();
    for _ in 0..looks {
        if holds() {
            return;
        }
        std::thread::sleep(LOOK_EVERY);
    }
    panic!("waited {PATIENCE:?} in vain: {what}");
}

/// A running `segue serve`. Killed and reaped when dropped.
#[derive(Debug)]
pub(crate) struct Server {
    /// Behind a lock, so that one thread can end what others still talk to.
    child: Mutex<Child>,
    id: u32,
    address: SocketAddr,
    stderr: PathBuf,
}

impl Server {
    /// Starts a server over the folder, with settings such as `journal.ack_timeout_ms=500`, and waits until it is ready.
    pub(crate) fn start(folder: &Path, settings: &[&str]) -> Self {
        let server = Self::start_unready(folder, settings);
        server.wait_ready();
        server
    }

    /// Waits until it is ready.
    pub(crate) fn wait_ready(&self) {
        wait_until(
            "the server is ready",
            || matches!(self.try_request("GET", "/readyz", &[], b""), Some(answer) if answer.status == 200),
        );
    }

    /// Starts a server over the folder, and waits until it listens.
    pub(crate) fn start_unready(folder: &Path, settings: &[&str]) -> Self {
        let (mut child, stderr) = spawn(folder, settings, Stdio::piped());
        let first_line = first_line_of(&mut child);
        let Some(address) = first_line.as_deref().and_then(announced) else {
            let _ = child.kill();
            let status = child.wait();
            panic!("the server did not say where it listens, but {first_line:?}; {status:?}\n{}", text_of(&stderr));
        };
        Self { id: child.id(), child: Mutex::new(child), address, stderr }
    }

    /// Starts a server that is to die before it serves, and waits for its end.
    pub(crate) fn start_to_its_end(folder: &Path, settings: &[&str]) -> ExitStatus {
        let (child, stderr) = spawn(folder, settings, Stdio::null());
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
        Self { id: child.id(), child: Mutex::new(child), address: nowhere, stderr }.wait()
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// `http://127.0.0.1:PORT`.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The process's id.
    pub(crate) fn id(&self) -> u32 {
        self.id
    }

    /// One request on a connection of its own; panics when there is no whole answer.
    pub(crate) fn request(&self, method: &str, target: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        let answer = self.try_request(method, target, headers, body);
        answer.unwrap_or_else(|| panic!("no answer to {method} {target}\n{}", self.log()))
    }

    /// One request on a connection of its own; nothing when the server is gone or breaks off.
    pub(crate) fn try_request(
        &self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Option<Answer> {
        let mut stream = TcpStream::connect_timeout(&self.address, PATIENCE).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).ok()?;
        let mut head = format!("{method} {target} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n", self.address);
        for (name, value) in headers {
            let _ = write!(head, "{name}: {value}\r\n");
        }
        let _ = write!(head, "Content-Length: {}\r\n\r\n", body.len());
        stream.write_all(head.as_bytes()).ok()?;
        // A server that refuses the head may close before it has read the body: its answer counts.
        let _ = stream.write_all(body);
        let mut answer = Vec::new();
        let read = stream.read_to_end(&mut answer);
        Answer::parse(&answer).filter(|_| read.is_ok())
    }

    /// Sends SIGTERM and waits for the end.
    pub(crate) fn terminate(&self) -> ExitStatus {
        // The shell's own `kill`: the library has no safe call for signals, and the tool may be missing.
        let killed = Command::new("sh").args(["-c", &format!("kill -TERM {}", self.id)]).status();
        assert!(killed.is_ok_and(|status| status.success()), "SIGTERM was not sent");
        self.wait()
    }

    /// Sends SIGKILL and waits for the end.
    pub(crate) fn kill(&self) -> ExitStatus {
        self.child().kill().expect("the process is ours");
        self.wait()
    }

    /// Whether the process has ended.
    pub(crate) fn has_ended(&self) -> bool {
        self.child().try_wait().expect("the process is ours").is_some()
    }

    /// Waits until the process has ended.
    pub(crate) fn wait(&self) -> ExitStatus {
        wait_until("the server ends", || self.has_ended());
        self.child().wait().expect("the process is ours")
    }

    fn child(&self) -> MutexGuard<'_, Child> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What it wrote to standard error, over all its lives in this folder.
    pub(crate) fn log(&self) -> String {
        text_of(&self.stderr)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Both fail only where the process has been reaped already.
        let _ = self.child().kill();
        let _ = self.child().wait();
        if std::thread::panicking() {
            eprintln!("--- standard error of the server\n{}---", self.log());
        }
    }
}

/// An HTTP answer.
#[derive(Debug)]
pub(crate) struct Answer {
    /// Status code.
    pub(crate) status: u16,
    /// Headers, names in lower case.
    pub(crate) headers: Vec<(String, String)>,
    /// Body, as text.
    pub(crate) body: String,
}

impl Answer {
    fn parse(bytes: &[u8]) -> Option<Self> {
        let text = String::from_utf8_lossy(bytes);
        let (head, body) = text.split_once("\r\n\r\n")?;
        let mut lines = head.lines();
        let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
        let headers: Vec<(String, String)> = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
            .collect();
        let chunked = headers.iter().any(|(name, value)| name == "transfer-encoding" && value == "chunked");
        let body = if chunked { unchunked(body)? } else { body.to_owned() };
        Some(Self { status, headers, body })
    }

    /// The value of a header.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(header, _)| header == name).map(|(_, value)| value.as_str())
    }

    /// The body as JSON.
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: no JSON: {}", self.body))
    }
}

fn unchunked(mut rest: &str) -> Option<String> {
    let mut body = String::new();
    loop {
        let (size, after) = rest.split_once("\r\n")?;
        let size = usize::from_str_radix(size, 16).ok()?;
        if size == 0 {
            return Some(body);
        }
        body.push_str(after.get(..size)?);
        rest = after.get(size + 2..)?;
    }
}

/// An address of this machine at which nobody listens, until it is [opened](Self::open) onto another.
pub(crate) struct ClosedDoor(SocketAddr);

impl ClosedDoor {
    pub(crate) fn new() -> Self {
        let free = std::net::TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
        Self(free.expect("a free port"))
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.0
    }

    /// From now on whoever comes is connected to `to`. Ends with the process.
    pub(crate) fn open(&self, to: String) {
        let listener = std::net::TcpListener::bind(self.0).expect("the port is free still");
        std::thread::spawn(move || {
            for came in listener.incoming().map_while(Result::ok) {
                let Ok(there) = TcpStream::connect(&to) else { continue };
                for (mut from, mut into) in
                    [(came.try_clone(), there.try_clone()), (there.try_clone(), came.try_clone())]
                        .into_iter()
                        .filter_map(|(from, into)| from.ok().zip(into.ok()))
                {
                    std::thread::spawn(move || {
                        let _ = std::io::copy(&mut from, &mut into);
                        let _ = into.shutdown(std::net::Shutdown::Both);
                    });
                }
            }
        });
    }
}

/// A temporary folder.
pub(crate) fn folder() -> TempDir {
    tempfile::tempdir().expect("a temporary folder")
}

fn command(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_segue"));
    command.current_dir(folder).args(arguments).env("NO_COLOR", "1");
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("SEGUE_") {
            command.env_remove(name);
        }
    }
    command
}

/// A server over the folder, and the file that its standard error goes to.
fn spawn(folder: &Path, settings: &[&str], stdout: Stdio) -> (Child, PathBuf) {
    let mut arguments = vec!["serve", "--listen", "127.0.0.1:0", "--data-dir", "data"];
    for setting in settings {
        arguments.extend(["--set", setting]);
    }
    let stderr = folder.join("stderr.log");
    let log = File::options().append(true).create(true).open(&stderr).expect("a log file");
    let mut command = command(folder, &arguments);
    let child = command.stdin(Stdio::null()).stdout(stdout).stderr(log).spawn().expect("the binary starts");
    (child, stderr)
}

/// The first line of standard output; nothing when the process ends or stays silent. The rest is read and dropped, so that it never blocks.
fn first_line_of(child: &mut Child) -> Option<String> {
    let mut lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
    let (sender, receiver) = mpsc::sync_channel(1);
    std::thread::spawn(move || {
        let first = lines.next().and_then(Result::ok);
        // The receiver may have lost patience.
        let _ = sender.send(first);
        lines.map_while(Result::ok).for_each(drop);
    });
    receiver.recv_timeout(PATIENCE).ok().flatten()
}

fn announced(line: &str) -> Option<SocketAddr> {
    line.strip_prefix("segue: listening on http://")?.parse().ok()
}

fn text_of(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

#[test]
fn answers_are_parsed() {
    let answer = Answer::parse(
        b"HTTP/1.1 200 OK\r\nETag: \"3\"\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n{\"a\r\n4\r\n\":1}\r\n0\r\n\r\n",
    );
    let answer = answer.expect("an answer");
    assert_eq!((answer.status, answer.header("etag")), (200, Some("\"3\"")));
    assert_eq!(answer.json()["a"], 1);
    assert_eq!(announced("segue: listening on http://127.0.0.1:43211"), "127.0.0.1:43211".parse().ok());
}
