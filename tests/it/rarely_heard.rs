//! An app that asks for breaks and never plays them gets no more paid ads, while another one at the same address does; and it is let go when it
//! begins to play.

use std::path::Path;

use serde_json::{Value, json};

use crate::first_ad::{Operator, target_of};
use crate::harness::{Server, folder, wait_until};

/// Paid ads after which an app is judged.
const MIN_DRAWS: usize = 20;
const BUDGET_MICROS: i64 = 100_000_000;

/// Judged after a second of the server's time, over a minute of it, in buckets of ten seconds: half a second of real time.
const SETTINGS: &[&str] = &[
    "decision.heard_min_draws=20",
    "decision.heard_window_seconds=60",
    "decision.heard_grace_seconds=1",
    "decision.heard_probe_one_in=4",
    "clock.acceleration=20",
];

/// An app's players: each break is another listener's.
struct App<'s> {
    server: &'s Server,
    name: &'static str,
    authorization: String,
    breaks: usize,
}

impl<'s> App<'s> {
    fn new(server: &'s Server, name: &'static str, key: &str) -> Self {
        Self { server, name, authorization: format!("Bearer {}", key.trim()), breaks: 0 }
    }

    /// Asks for the next break.
    fn ask(&mut self) -> Value {
        self.breaks += 1;
        self.ask_again()
    }

    /// Asks for the break once more.
    fn ask_again(&self) -> Value {
        let body = json!({
            "request_id": format!("{}-{}", self.name, self.breaks),
            "listener": {"session_id": format!("{}-{}", self.name, self.breaks)},
            "break": {"placement": "music", "max_duration_ms": 60_000, "max_ads": 1},
        });
        let headers = [("Authorization", self.authorization.as_str()), ("Content-Type", "application/json")];
        let answer = self.server.request("POST", "/v1/ad-breaks", &headers, body.to_string().as_bytes());
        assert_eq!(answer.status, 200, "{}", answer.body);
        answer.json()
    }

    /// Says that the ads of an answer were heard; how many there were.
    fn play(&self, answer: &Value) -> usize {
        let ads = answer["ads"].as_array().expect("a list");
        for ad in ads {
            assert_eq!(self.server.request("GET", &target_of(ad, "impression"), &[], b"").status, 204);
        }
        ads.len()
    }
}

/// Makes a second app, and its key.
fn second_app(operator: &Operator<'_>, data: &Path) -> String {
    let networks = operator.call("GET", "/v1/networks", &Value::Null).json();
    let network = format!("/v1/networks/{}", networks["items"][0]["id"].as_str().expect("an id"));
    let etag = operator.call("GET", &network, &Value::Null).header("etag").expect("an ETag").to_owned();
    let key = std::fs::read_to_string(data.join("operator.key")).expect("the operator's key");
    let authorization = format!("Bearer {}", key.trim());
    let headers =
        [("Authorization", authorization.as_str()), ("Content-Type", "application/json"), ("If-Match", &etag)];
    let apps = json!({"apps": [{"key": "player", "name": "Player"}, {"key": "silent", "name": "Silent"}]});
    let changed = operator.server.request("PATCH", &network, &headers, apps.to_string().as_bytes());
    assert_eq!(changed.status, 200, "{}", changed.body);
    let made = operator.call("POST", "/v1/keys", &json!({"name": "silent", "role": "app", "app": "silent"}));
    assert_eq!(made.status, 201, "{}", made.body);
    made.json()["secret"].as_str().expect("shown once").to_owned()
}

// INV-29.
#[test]
fn an_app_that_never_plays_is_limited_and_let_go_when_it_does() {
    let folder = folder();
    let data = folder.path().join("data");
    let server = Server::start(folder.path(), SETTINGS);
    let operator = Operator::of(&server, &data);
    operator.advertise(BUDGET_MICROS);
    let player_key = std::fs::read_to_string(data.join("app.key")).expect("the first start wrote the app's key");
    let mut good = App::new(&server, "good", &player_key);
    let mut silent = App::new(&server, "silent", &second_app(&operator, &data));

    let mut unheard = 0;
    let mut limited = Value::Null;
    wait_until("the app that never plays is limited", || {
        let answer = good.ask();
        assert_eq!(answer.get("limited"), None, "who plays is not: {answer}");
        good.play(&answer);
        limited = silent.ask();
        unheard += limited["ads"].as_array().expect("a list").len();
        limited.get("limited").is_some()
    });
    assert!(unheard >= MIN_DRAWS, "judged by {unheard} ads");
    assert_eq!((&limited["limited"], &limited["ads"]), (&json!("rarely_heard_app"), &json!([])), "{limited}");
    assert_eq!(limited["no_fill_reasons"]["rarely_heard_app"], 1, "{limited}");
    assert_eq!(silent.ask_again(), limited, "a repeat gets the same answer (INV-16)");

    let metrics = server.request("GET", "/metrics", &[], b"").body;
    for counted in [
        "segue_limited_breaks_total{subject=\"rarely_heard_app\",outcome=\"limited\"} ",
        "segue_no_fill_total{reason=\"rarely_heard_app\"} ",
    ] {
        assert!(metrics.lines().any(|line| line.starts_with(counted)), "{counted} in\n{metrics}");
    }
    assert!(!metrics.contains("subject=\"rarely_heard_address\""), "the address has those who play as well");

    // Repaired: it plays what its probes get. Two breaks in a row without a limit are more than a probe.
    let (mut in_a_row, mut probes_heard) = (0, 0);
    wait_until("the app that plays now is let go", || {
        let answer = good.ask();
        assert_eq!(answer.get("limited"), None, "{answer}");
        good.play(&answer);
        let answer = silent.ask();
        in_a_row = if answer.get("limited").is_some() { 0 } else { in_a_row + 1 };
        probes_heard += silent.play(&answer);
        in_a_row == 2
    });
    assert!(probes_heard > 2, "probes were answered with paid ads");
}
