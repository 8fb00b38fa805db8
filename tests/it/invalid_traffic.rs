//! Invalid traffic over HTTP: classified and kept, given no paid ads, and never at the cost of an honest retry.

use serde_json::{Value, json};

use crate::beacons::{app_key, metric};
use crate::first_ad::{Operator, target_of};
use crate::harness::{Server, folder, wait_until};

const BUDGET_MICROS: i64 = 10_000_000;
const ROBOT: (&str, &str) = ("User-Agent", "Mozilla/5.0 (compatible; Somebot/2.1)");
const PLAYER: (&str, &str) = ("User-Agent", "Segue-Player/8.1 (Android 14)");
/// A listener's address, as the trusted proxy of these tests says it.
const HOME: (&str, &str) = ("X-Forwarded-For", "198.51.100.20");

/// The ads of a break, asked for with these headers.
fn ask(server: &Server, key: &str, session: &str, request: &str, headers: &[(&str, &str)]) -> Vec<Value> {
    let body = json!({
        "request_id": request,
        "listener": {"session_id": session},
        "break": {"placement": "music", "max_duration_ms": 60_000, "max_ads": 1},
    });
    let mut all = vec![("Authorization", key), ("Content-Type", "application/json")];
    all.extend(headers);
    let answer = server.request("POST", "/v1/ad-breaks", &all, body.to_string().as_bytes());
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.json()["ads"].as_array().expect("ads").clone()
}

fn tell(server: &Server, ad: &Value, event: &str, headers: &[(&str, &str)]) {
    let answer = server.request("POST", &target_of(ad, event), headers, b"");
    assert_eq!(answer.status, 204, "{}", answer.body);
}

fn invalid_beacons(server: &Server, reason: &str) -> u64 {
    metric(server, &format!("segue_invalid_beacons_total{{reason=\"{reason}\"}}"))
}

#[test]
fn robots_and_data_centres_are_heard_classified_and_given_no_paid_ads() {
    let folder = folder();
    std::fs::write(folder.path().join("centres.txt"), "# clouds\n203.0.113.0/24\n2001:db8:c::/48\n").expect("written");
    std::fs::write(folder.path().join("robots.txt"), "stitcher-test/\n!SomebotRadio\n").expect("written");
    let server = Server::start(
        folder.path(),
        &[
            "server.trusted_proxies=127.0.0.0/8",
            "invalid_traffic.data_centres_file=centres.txt",
            "invalid_traffic.robots_file=robots.txt",
        ],
    );
    let data = folder.path().join("data");
    let operator = Operator::of(&server, &data);
    operator.advertise(BUDGET_MICROS);
    let key = app_key(&data);
    let ad = operator.hear_one();

    for (number, (expected, headers)) in [
        (1, vec![PLAYER, HOME]),
        (1, vec![]),
        (1, vec![("User-Agent", "SomebotRadio/3")]),
        (0, vec![ROBOT, HOME]),
        (0, vec![("User-Agent", "Stitcher-Test/1.0")]),
        (0, vec![PLAYER, ("X-Forwarded-For", "203.0.113.9")]),
        (0, vec![PLAYER, ("X-Forwarded-For", "198.51.100.20, 2001:db8:c::9")]),
        // What the sender itself wrote into the header is hearsay.
        (1, vec![PLAYER, ("X-Forwarded-For", "203.0.113.9, 198.51.100.20")]),
    ]
    .into_iter()
    .enumerate()
    {
        let name = format!("break-{number}");
        assert_eq!(ask(&server, &key, &name, &name, &headers).len(), expected, "{headers:?}");
    }
    assert_eq!(metric(&server, "segue_invalid_breaks_total{reason=\"robot\"}"), 2);
    assert_eq!(metric(&server, "segue_invalid_breaks_total{reason=\"data_centre\"}"), 2);

    tell(&server, &ad, "impression", &[ROBOT, HOME]);
    tell(&server, &ad, "start", &[PLAYER, ("X-Forwarded-For", "203.0.113.9")]);
    tell(&server, &ad, "complete", &[PLAYER, HOME]);
    let batch = json!([{"event": "click", "token": target_of(&ad, "x")["/v1/t/x/".len()..]}]).to_string();
    assert_eq!(server.request("POST", "/v1/t", &[ROBOT], batch.as_bytes()).status, 207);
    assert_eq!((invalid_beacons(&server, "robot"), invalid_beacons(&server, "data_centre")), (2, 1));
}

#[test]
fn without_a_trusted_proxy_nobody_speaks_for_others() {
    let folder = folder();
    std::fs::write(folder.path().join("centres.txt"), "203.0.113.0/24\n").expect("written");
    let server = Server::start(folder.path(), &["invalid_traffic.data_centres_file=centres.txt"]);
    let data = folder.path().join("data");
    let operator = Operator::of(&server, &data);
    operator.advertise(BUDGET_MICROS);
    operator.hear_one();
    let ads = ask(&server, &app_key(&data), "s", "r", &[("X-Forwarded-For", "203.0.113.9")]);
    assert_eq!(ads.len(), 1);
}

/// INV-33.
#[test]
fn too_much_of_a_listener_or_an_address_is_invalid_and_retries_are_not() {
    let folder = folder();
    let settings = [
        "server.trusted_proxies=127.0.0.0/8",
        "invalid_traffic.listener_hour_max=4",
        "invalid_traffic.listener_burst_max=3",
        "invalid_traffic.address_hour_max=5",
    ];
    let server = Server::start(folder.path(), &settings);
    let data = folder.path().join("data");
    let operator = Operator::of(&server, &data);
    // Two, since no advertiser is heard in two breaks of a listener in a row.
    operator.advertise(BUDGET_MICROS);
    operator.advertise(BUDGET_MICROS);
    let key = app_key(&data);
    let hear = |session: &str, number: u32, address: &str| {
        let headers = [PLAYER, ("X-Forwarded-For", address)];
        let (mut ads, mut request) = (Vec::new(), 0);
        wait_until("a break has an ad", || {
            request += 1;
            ads = ask(&server, &key, session, &format!("{session}-{number}-{request}"), &headers);
            !ads.is_empty()
        });
        for _ in 0..5 {
            for event in ["start", "impression", "complete"] {
                tell(&server, &ads[0], event, &headers);
            }
        }
    };
    let counted =
        || ["impossible_activity", "listener_rate", "address_rate"].map(|reason| invalid_beacons(&server, reason));
    // Three breaks with five times two beacons that count each, and nothing is wrong with them.
    for number in 0..3 {
        hear("busy", number, "198.51.100.20");
    }
    assert_eq!(counted(), [0, 0, 0]);
    hear("busy", 3, "198.51.100.20");
    assert_eq!(counted(), [0, 10, 0]);
    hear("busy", 4, "198.51.100.20");
    assert_eq!(counted(), [10, 10, 0]);
    hear("calm", 0, "198.51.100.20");
    hear("quiet", 0, "198.51.100.20");
    assert_eq!(counted(), [10, 10, 0]);
    hear("third", 0, "198.51.100.20");
    assert_eq!(counted(), [10, 10, 10]);
    hear("elsewhere", 0, "198.51.100.21");
    assert_eq!(counted(), [10, 10, 10]);
}

#[test]
fn a_list_with_a_wrong_line_is_named_and_nothing_starts() {
    let folder = folder();
    let check = |setting: &str, content: Option<&str>, expected: &[&str]| {
        let file = format!("{setting}.txt");
        if let Some(content) = content {
            std::fs::write(folder.path().join(&file), content).expect("written");
        }
        let _ = std::fs::remove_file(folder.path().join("stderr.log"));
        let status = Server::start_to_its_end(folder.path(), &[&format!("invalid_traffic.{setting}={file}")]);
        assert!(!status.success());
        let log = std::fs::read_to_string(folder.path().join("stderr.log")).expect("it said something");
        for part in expected.iter().chain([&file.as_str(), &format!("invalid_traffic.{setting}").as_str()]) {
            assert!(log.contains(part), "{part} is not in {log}");
        }
    };
    check("data_centres_file", Some("192.0.2.0/24\n10.0.0.1/8\n"), &["line 2", "did you mean 10.0.0.0/8?"]);
    check("robots_file", Some("good word\n\nx\n"), &["line 3", "a word has 3 to 256 bytes"]);
    std::fs::remove_file(folder.path().join("robots_file.txt")).expect("it was there");
    check("robots_file", None, &["No such file"]);
}
