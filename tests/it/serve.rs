//! `segue serve` as whoever runs it sees it: it says where it listens, is ready, tells its metrics, takes bad input, and goes away when told.

use crate::harness::{Server, folder, segue};

/// Method, target, headers, body, and the status that is answered.
type Case<'a> = (&'a str, &'a str, &'a [(&'a str, &'a str)], &'a [u8], u16);

#[test]
fn a_server_serves_without_any_setting_and_drains_on_sigterm() {
    let folder = folder();
    let server = Server::start(folder.path(), &[]);
    for target in ["/healthz", "/readyz"] {
        let answer = server.request("GET", target, &[], b"");
        assert_eq!((answer.status, &answer.json()["ok"]), (200, &true.into()), "{target}: {}", answer.body);
    }
    assert!(folder.path().join("data").is_dir());
    assert_eq!(server.terminate().code(), Some(0));
}

#[test]
fn what_was_asked_is_counted_and_named() {
    let folder = folder();
    let server = Server::start(folder.path(), &[]);
    let answer = server.request("GET", "/healthz", &[("X-Request-Id", "mine-1")], b"");
    assert_eq!(answer.header("x-request-id"), Some("mine-1"));
    assert!(server.request("GET", "/healthz", &[], b"").header("x-request-id").is_some());
    let metrics = server.request("GET", "/metrics", &[], b"");
    assert_eq!(metrics.status, 200);
    let counted = metrics.body.lines().find(|line| line.starts_with("segue_http_requests_total{route=\"healthz\""));
    assert!(counted.is_some_and(|line| line.ends_with(" 2")), "{}", metrics.body);
}

#[test]
fn the_description_is_there_to_read_and_asks_no_other_host() {
    let folder = folder();
    let server = Server::start(folder.path(), &[]);
    let page = server.request("GET", "/docs/", &[], b"");
    assert_eq!(page.status, 200, "{}", page.body);
    assert!(page.header("content-type").is_some_and(|kind| kind.starts_with("text/html")), "{page:?}");
    for word in ["src=\"", "href=\""] {
        let mut targets = page.body.split(word).skip(1);
        assert!(targets.all(|target| target.starts_with("./") || target.starts_with("index.css")), "{}", page.body);
    }
    let start = server.request("GET", "/docs/swagger-initializer.js", &[], b"");
    assert!(start.body.contains("/v1/openapi.json"), "{}", start.body);
}

#[test]
fn the_first_request_of_the_readme_is_answered() {
    let folder = folder();
    let server = Server::start(folder.path(), &[]);
    let key = std::fs::read_to_string(folder.path().join("data/app.key")).expect("the first start wrote the app's key");
    let body = std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/ad-break.json")).expect("the example");
    let authorization = format!("Bearer {}", key.trim());
    let headers = [("Authorization", authorization.as_str()), ("Content-Type", "application/json")];
    let answer = server.request("POST", "/v1/ad-breaks", &headers, &body);
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert!(answer.json()["decision_id"].is_string(), "{}", answer.body);
}

#[test]
fn bad_requests_are_refused_precisely_and_change_nothing() {
    let folder = folder();
    let server = Server::start(folder.path(), &["server.max_body_bytes=4096"]);
    let key = std::fs::read_to_string(folder.path().join("data/app.key")).expect("the app's key");
    let authorization = format!("Bearer {}", key.trim());
    let authorized = [("Authorization", authorization.as_str()), ("Content-Type", "application/json")];
    let deep = format!("{{\"request_id\":{}{}}}", "[".repeat(1_000), "]".repeat(1_000));
    #[rustfmt::skip]
    let cases: &[Case<'_>] = &[
        ("POST", "/v1/ad-breaks", &[], b"{}", 401),
        ("POST", "/v1/ad-breaks", &authorized, b"{", 400),
        ("POST", "/v1/ad-breaks", &authorized, b"\xff\xfe", 400),
        ("POST", "/v1/ad-breaks", &authorized, deep.as_bytes(), 400),
        ("POST", "/v1/ad-breaks", &authorized, &[b' '; 5_000], 413),
        ("GET", "/v1/ad-breaks", &authorized, b"", 405),
        ("GET", "/v1/t/impression/not-a-token", &[], b"", 400),
        ("GET", "/no/such/route", &[], b"", 404),
    ];
    for (method, target, headers, body, status) in cases {
        let answer = server.request(method, target, headers, body);
        assert_eq!(answer.status, *status, "{method} {target}: {}", answer.body);
        if *status != 405 {
            let kind = answer.header("content-type").unwrap_or_default();
            assert!(kind.starts_with("application/problem+json"), "{method} {target}: {kind}");
        }
    }
    assert_eq!(server.request("GET", "/readyz", &[], b"").status, 200);
}

#[test]
fn a_second_process_does_not_share_a_folder() {
    let folder = folder();
    let _server = Server::start(folder.path(), &[]);
    let second = segue(folder.path(), &["serve", "--listen", "127.0.0.1:0", "--data-dir", "data"]);
    assert_eq!(second.status.code(), Some(3), "{}", String::from_utf8_lossy(&second.stderr));
}

#[test]
fn a_port_in_use_is_said_and_nothing_is_left_running() {
    let folder = folder();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("it is bound").to_string();
    let output = segue(folder.path(), &["serve", "--listen", &address]);
    assert_eq!(output.status.code(), Some(3));
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(text.contains(&address), "{text}");
}

#[test]
fn state_outlives_a_restart() {
    let folder = folder();
    let key = |name: &str| std::fs::read_to_string(folder.path().join("data").join(name)).expect("a key");
    let server = Server::start(folder.path(), &[]);
    let before = key("operator.key");
    server.kill();
    let server = Server::start(folder.path(), &[]);
    assert_eq!(key("operator.key"), before);
    assert_eq!(server.request("GET", "/readyz", &[], b"").status, 200);
}
