//! Strict caps over HTTP: two devices of one listener at once, a server that dies right after its answer, and what a player says.

use std::sync::Barrier;

use serde_json::{Value, json};

use crate::first_ad::Operator;
use crate::harness::{Server, folder, wait_until};

const BUDGET_MICROS: i64 = 1_000_000_000;
const HOUR_MS: u64 = 3_600_000;

fn strict(max: u16) -> Value {
    json!([{
        "scope": "line_item", "max": max, "strictness": "strict", "window": {"kind": "sliding", "duration_ms": HOUR_MS},
    }])
}

/// A break of a listener who may be known.
fn ask(operator: &Operator<'_>, listener: &str, request: &str) -> Value {
    let body = json!({
        "request_id": request,
        "listener": {"id": listener},
        "privacy": {"consent": "granted"},
        "break": {"placement": "music", "max_duration_ms": 60_000, "max_ads": 1},
        "explain": true,
    });
    let answer = operator.call("POST", "/v1/ad-breaks", &body);
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.json()
}

fn ads(answer: &Value) -> usize {
    answer["ads"].as_array().expect("a list").len()
}

fn reason(answer: &Value) -> &Value {
    &answer["explanation"]["fates"][0]["reason"]
}

/// Waits until the line item has a lease and is served.
fn warm(operator: &Operator<'_>) {
    let mut listener = 0;
    wait_until("a break has an ad", || {
        listener += 1;
        ads(&ask(operator, &format!("warm-{listener}"), "warm")) > 0
    });
}

// INV-31.
#[test]
fn devices_that_ask_at_once_share_one_strict_cap() {
    const DEVICES: usize = 6;
    const LISTENERS: usize = 8;
    const MAX: u16 = 2;
    let folder = folder();
    let server = Server::start(folder.path(), &[]);
    let operator = Operator::of(&server, &folder.path().join("data"));
    operator.advertise_capped(BUDGET_MICROS, 2, &strict(MAX));
    warm(&operator);
    for listener in 0..LISTENERS {
        let listener = format!("listener-{listener}");
        let start = Barrier::new(DEVICES);
        let (operator, listener, start) = (&operator, listener.as_str(), &start);
        let answers: Vec<Value> = std::thread::scope(|scope| {
            let device = |device: usize| {
                scope.spawn(move || {
                    start.wait();
                    ask(operator, listener, &format!("{listener}-{device}"))
                })
            };
            let devices: Vec<_> = (0..DEVICES).map(device).collect();
            devices.into_iter().map(|device| device.join().expect("no panic")).collect()
        });
        assert_eq!(answers.iter().map(ads).sum::<usize>(), usize::from(MAX), "{listener}");
        for answer in answers {
            assert_eq!(answer["degradation_tier"], 0, "{answer}");
        }
        // All were given up by the breaks that came after, and all may still play: they count.
        let after = ask(operator, listener, "after");
        assert_eq!((ads(&after), reason(&after)), (0, &json!("capped")), "{after}");
    }
    let metrics = operator.call("GET", "/metrics", &Value::Null).body;
    let shown: Vec<&str> = metrics.lines().filter(|line| line.starts_with("segue_strict_")).collect();
    assert!(shown.iter().any(|line| line.contains("outcome=\"accepted\"")), "{shown:?}");
    let number = |name: &str| {
        let line = shown.iter().find(|line| line.starts_with(name)).expect("it is shown");
        line.rsplit(' ').next().and_then(|value| value.parse::<f64>().ok()).expect("a number")
    };
    let (count, seconds) = (number("segue_strict_seconds_count"), number("segue_strict_seconds_sum"));
    eprintln!("{count} breaks waited {:.2} ms each for their strict caps", seconds * 1_000.0 / count);
}

// INV-31, INV-32.
#[test]
fn a_server_that_dies_after_its_answer_does_not_forget_it() {
    let folder = folder();
    let data = folder.path().join("data");
    let server = Server::start(folder.path(), &[]);
    let operator = Operator::of(&server, &data);
    operator.advertise_capped(BUDGET_MICROS, 2, &strict(1));
    warm(&operator);
    for listener in ["one", "two", "three"] {
        assert_eq!(ads(&ask(&operator, listener, "first")), 1, "{listener}");
    }
    server.kill();
    let server = Server::start(folder.path(), &[]);
    let operator = Operator::of(&server, &data);
    warm(&operator);
    for listener in ["one", "two", "three"] {
        let again = ask(&operator, listener, "second");
        assert_eq!((ads(&again), reason(&again)), (0, &json!("capped")), "{listener}: {again}");
    }
}

#[test]
fn what_the_player_did_not_play_counts_no_more_and_sessions_get_nothing() {
    let folder = folder();
    let server = Server::start(folder.path(), &[]);
    let operator = Operator::of(&server, &folder.path().join("data"));
    operator.advertise_capped(BUDGET_MICROS, 2, &strict(1));
    warm(&operator);
    let first = ask(&operator, "somebody", "first");
    assert_eq!(operator.beacon(&first["ads"][0], "not-used"), 204);
    let second = ask(&operator, "somebody", "second");
    assert_eq!(ads(&second), 1, "{second}");
    assert_eq!(operator.beacon(&second["ads"][0], "impression"), 204);
    assert_eq!(operator.beacon(&second["ads"][0], "void"), 204);
    let third = ask(&operator, "somebody", "third");
    assert_eq!((ads(&third), reason(&third)), (0, &json!("capped")), "heard is heard");

    let session = json!({
        "request_id": "session",
        "listener": {"session_id": "anybody"},
        "break": {"placement": "music", "max_duration_ms": 60_000, "max_ads": 1},
        "explain": true,
    });
    let answer = operator.call("POST", "/v1/ad-breaks", &session).json();
    assert_eq!((ads(&answer), reason(&answer)), (0, &json!("strict_cap_in_session")), "{answer}");
}
