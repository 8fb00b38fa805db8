//! The examples in `docs/`: each request is sent to a real server, and the answer has the status and the fields that the page shows.
//!
//! An example is a block ```` ```http ```` followed by a block ```` ```json STATUS ````, or ```` ```json STATUS NAME ```` where NAME then stands for the id that was answered.
//! In requests `APP_KEY` stands for an app's key, TOKEN for that of the first ad answered so far. In answers a text with an ellipsis stands for any text; numbers and what the
//! page leaves out may differ.

use serde_json::{Value, json};

use crate::first_ad::Operator;
use crate::harness::{Answer, Server, folder};

/// One example of a page.
struct Example {
    line: usize,
    request: String,
    status: u16,
    /// What stands for the id that is answered.
    name: Option<String>,
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
            let (status, name) =
                status.split_once(' ').map_or((status, None), |(status, name)| (status, Some(name.to_owned())));
            let status = status.parse().unwrap_or_else(|_| panic!("line {}: no status: {status}", number + 1));
            let (line, request) = request.take().unwrap_or_else(|| panic!("line {}: no request", number + 1));
            examples.push(Example { line, request, status, name, answer: text });
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
            let mut pairs = shown.iter().enumerate();
            pairs.find_map(|(n, one)| difference(one, got.get(n).unwrap_or(&Value::Null), &format!("{at}[{n}]")))
        }
        (Value::String(shown), Value::String(got)) if shown.contains('\u{2026}') || shown == got => None,
        (Value::Number(_), Value::Number(_)) => None,
        (shown, got) if shown == got => None,
        (shown, got) => Some(format!("{at} is {got}, not {shown}")),
    }
}

/// Runs the examples of a page in order. `words` stand for texts in its requests; longer ones that hold another come first.
fn run(page: &str, server: &Server, mut words: Vec<(String, String)>) {
    let examples = examples(page);
    assert!(!examples.is_empty());
    for example in examples {
        let request = words.iter().fold(example.request, |text, (word, meant)| text.replace(word, meant));
        let answer = send(server, &request);
        assert_eq!(answer.status, example.status, "line {}: {}", example.line, answer.body);
        let body: Option<Value> = serde_json::from_str(&answer.body).ok();
        let text_at = |at: &str| Some(body.as_ref()?.pointer(at)?.as_str()?.to_owned());
        if let Some((_, token)) = text_at("/ads/0/tracking_url").as_deref().and_then(|url| url.rsplit_once('/')) {
            words.push(("TOKEN".to_owned(), token.to_owned()));
        }
        if let Some(name) = example.name {
            words.push((name, text_at("/id").unwrap_or_else(|| panic!("line {}: no id", example.line))));
        }
        if example.answer.is_empty() {
            assert_eq!(answer.body, "", "line {}", example.line);
            continue;
        }
        let shown =
            serde_json::from_str(&example.answer).unwrap_or_else(|error| panic!("line {}: {error}", example.line));
        let found = difference(&shown, &answer.json(), "");
        assert_eq!(found, None, "line {}: {}", example.line, answer.body);
    }
}

fn page(name: &str) -> String {
    let path = format!("{}/docs/{name}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn word(word: &str, meant: &str) -> (String, String) {
    (word.to_owned(), meant.to_owned())
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
    let key = std::fs::read_to_string(data.join("app.key")).expect("the first start wrote it");
    run(&page("players.md"), &server, vec![word("APP_KEY", key.trim())]);
}

#[test]
fn the_examples_for_advertisers_work_as_shown() {
    let folder = folder();
    let server = Server::start(folder.path(), &[]);
    let operator = Operator::of(&server, &folder.path().join("data"));
    let advertiser = operator.create("/v1/advertisers", &json!({"name": "Brook Coffee", "zone": "Europe/Stockholm"}));
    let key = json!({"name": "Brook's", "role": "advertiser", "advertiser_id": advertiser});
    let key = operator.call("POST", "/v1/keys", &key).json()["secret"].as_str().expect("a secret").to_owned();
    let words = vec![word("ADVERTISER_KEY", &key), word("ADVERTISER", &advertiser)];
    run(&page("advertisers.md"), &server, words);
}

#[test]
fn differences_are_found_where_they_are() {
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
