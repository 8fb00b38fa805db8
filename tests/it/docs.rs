//! The examples in `docs/`: each request is sent to a real server, and the answer has the status and the fields that the page shows.
//!
//! An example is a block ```` ```http ```` followed by a block ```` ```json STATUS ````. In requests APP_KEY and OPERATOR_KEY stand for keys, TOKEN for that of the
//! first ad answered so far. In answers a text with an ellipsis stands for any text; numbers, lists and what the page leaves out may differ.

use serde_json::Value;

use crate::first_ad::Operator;
use crate::harness::{Answer, Server, folder};

/// One example of a page.
struct Example {
    line: usize,
    request: String,
    status: u16,
    answer: String,
}

/// The examples of a page, in order; panics where a request has no answer.
fn examples(page: &str) -> Vec<Example> {
    let mut examples = Vec::new();
    let mut request: Option<(usize, String)> = None;
    let mut lines = page.lines().enumerate();
    while let Some((number, line)) = lines.next() {
        let Some(kind) = line.strip_prefix("```").filter(|kind| !kind.is_empty()) else { continue };
        let text: Vec<_> = lines.by_ref().map(|(_, line)| line).take_while(|line| *line != "```").collect();
        let text = text.join("\n");
        if kind == "http" {
            assert!(request.is_none(), "line {}: the request before it has no answer", number + 1);
            request = Some((number + 1, text));
        } else if let Some(status) = kind.strip_prefix("json ") {
            let status = status.parse().unwrap_or_else(|_| panic!("line {}: no status: {status}", number + 1));
            let (line, request) = request.take().unwrap_or_else(|| panic!("line {}: no request", number + 1));
            examples.push(Example { line, request, status, answer: text });
        }
    }
    assert!(request.is_none(), "the last request has no answer");
    examples
}

/// Sends a request as it is written: a line with method and target, headers, an empty line, a body.
fn send(server: &Server, request: &str) -> Answer {
    let (head, body) = request.split_once("\n\n").unwrap_or((request, ""));
    let mut lines = head.lines();
    let (method, target) = lines.next().and_then(|line| line.split_once(' ')).expect("METHOD TARGET");
    let headers: Vec<_> = lines.map(|line| line.split_once(": ").expect("Name: value")).collect();
    server.request(method, target, &headers, body.as_bytes())
}

/// Where an answer differs from what a page shows of it.
fn difference(shown: &Value, got: &Value, at: &str) -> Option<String> {
    match (shown, got) {
        (Value::Object(shown), Value::Object(got)) => shown.iter().find_map(|(name, value)| {
            let at = format!("{at}.{name}");
            got.get(name).map_or_else(|| Some(format!("{at} is not there")), |got| difference(value, got, &at))
        }),
        (Value::Array(shown), Value::Array(got)) => {
            let pairs = shown.iter().enumerate();
            pairs
                .filter_map(|(n, one)| difference(one, got.get(n).unwrap_or(&Value::Null), &format!("{at}[{n}]")))
                .next()
        }
        (Value::String(shown), Value::String(got)) if shown.contains('\u{2026}') || shown == got => None,
        (Value::Number(_), Value::Number(_)) => None,
        (shown, got) if shown == got => None,
        (shown, got) => Some(format!("{at} is {got}, not {shown}")),
    }
}

/// Runs the examples of a page in order.
fn run(page: &str, server: &Server, data: &std::path::Path) {
    let key =
        |name: &str| std::fs::read_to_string(data.join(name)).expect("the first start wrote it").trim().to_owned();
    let (app, operator) = (key("app.key"), key("operator.key"));
    let mut token = String::new();
    let examples = examples(page);
    assert!(!examples.is_empty());
    for example in examples {
        let request = example.request.replace("APP_KEY", &app).replace("OPERATOR_KEY", &operator);
        let answer = send(server, &request.replace("TOKEN", &token));
        assert_eq!(answer.status, example.status, "line {}: {}", example.line, answer.body);
        if let Some(url) = serde_json::from_str(&answer.body)
            .ok()
            .and_then(|body: Value| body.pointer("/ads/0/tracking_url").and_then(Value::as_str).map(str::to_owned))
        {
            let (_, of_ad) = url.rsplit_once('/').expect("it ends in the token");
            of_ad.clone_into(&mut token);
        }
        if example.answer.is_empty() {
            assert_eq!(answer.body, "", "line {}", example.line);
            continue;
        }
        let shown: Value =
            serde_json::from_str(&example.answer).unwrap_or_else(|error| panic!("line {}: {error}", example.line));
        let found = difference(&shown, &answer.json(), "");
        assert_eq!(found, None, "line {}: {}", example.line, answer.body);
    }
}

#[test]
fn the_examples_for_players_work_as_shown() {
    let folder = folder();
    let server = Server::start(folder.path(), &[]);
    let data = folder.path().join("data");
    let operator = Operator::of(&server, &data);
    operator.advertise(10_000_000);
    // Leases come a moment after the line item; the page begins where there are ads.
    operator.hear_one();
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/players.md")).expect("the page");
    run(&page, &server, &data);
}

#[test]
fn differences_are_found_where_they_are() {
    use serde_json::json;
    let shown = json!({"a": [{"b": "x\u{2026}", "n": 1}], "t": true});
    assert_eq!(difference(&shown, &json!({"a": [{"b": "y", "n": 7, "more": 1}], "t": true}), ""), None);
    for (got, at) in [
        (json!({"a": [], "t": true}), ".a[0]"),
        (json!({"a": [{"b": 1, "n": 1}], "t": true}), ".a[0].b"),
        (json!({"a": [{"b": "x", "n": 1}], "t": false}), ".t"),
        (json!({"a": [{"b": "x", "n": 1}]}), ".t is not there"),
    ] {
        let found = difference(&shown, &got, "").expect("a difference");
        assert!(found.starts_with(at), "{found}");
    }
}
