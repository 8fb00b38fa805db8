//! The bare handlers answer as they are compared: a break with as many bytes as were asked for, a beacon with nothing.

#![allow(missing_docs, reason = "a test")]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};

/// Ended when the test is.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        // It may have ended by itself: the test has said what was wrong then.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn ask(address: &str, request: &str) -> String {
    let mut stream = TcpStream::connect(address).expect("it listens");
    stream.write_all(request.as_bytes()).expect("it reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("it answers and closes");
    answer
}

#[test]
fn the_bare_handlers_answer_as_they_are_asked() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_segue-loadtest"));
    command.args(["bare", "--answer-bytes", "321"]).stdout(Stdio::piped());
    let mut child = Ended(command.spawn().expect("it runs"));
    let mut line = String::new();
    BufReader::new(child.0.stdout.take().expect("piped")).read_line(&mut line).expect("a line");
    let address = line.trim().rsplit("http://").next().expect("an address");
    let body =
        r#"{"request_id":"r","listener":{"id":"a"},"break":{"placement":"music","max_duration_ms":1,"max_ads":3}}"#;
    let post = |body: &str| {
        let head = "POST /v1/ad-breaks HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length:";
        ask(address, &format!("{head} {}\r\n\r\n{body}", body.len()))
    };
    let answer = post(body);
    let (head, answered) = answer.split_once("\r\n\r\n").expect("a head");
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    assert_eq!(answered.len(), 321);
    assert!(post("{}").starts_with("HTTP/1.1 400"));
    let beacon = ask(address, "GET /v1/t/impression/token HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    assert!(beacon.starts_with("HTTP/1.1 204"), "{beacon}");
}
