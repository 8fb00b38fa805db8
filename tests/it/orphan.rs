//! Servers that don't come back: the journal of one that was killed is shipped into the log of another, and one is declared lost.

use std::collections::BTreeMap;
use std::path::Path;

use segue::accounting::{ServerEntry, ServerState, UnbilledReason};
use segue::clock::Clock;
use segue::entropy::Entropy;
use segue::model::{BootId, ImpressionId, ServerId};
use segue::store::Store;
use segue::tokens::{TokenKey, TokenKeys};
use serde_json::{Value, json};

use crate::first_ad::{Operator, target_of};
use crate::harness::{Server, folder, segue, wait_until};

/// Impressions marked before the server is killed.
const MARKED: usize = 60;

fn store(data: &Path) -> Store {
    Store::open(data, Clock::real().now().wall, &Entropy::real()).expect("the store opens")
}

/// Runs a command on the data directory `data` of a folder; returns its status and its standard output.
fn run(folder: &Path, arguments: &[&str]) -> (Option<i32>, String) {
    let arguments: Vec<&str> = arguments.iter().copied().chain(["--data-dir", "data"]).collect();
    let output = segue(folder, &arguments);
    eprint!("{}", String::from_utf8_lossy(&output.stderr));
    (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a folder");
    for entry in std::fs::read_dir(from).expect("it is a folder").flatten() {
        let to = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), &to).expect("copies");
        }
    }
}

/// Hears ads until so many impressions are acknowledged; returns their tokens.
fn hear(operator: &Operator<'_>, count: usize) -> Vec<String> {
    let mut tokens = Vec::new();
    let mut request = 0;
    wait_until("ads are heard", || {
        request += 1;
        let body = json!({
            "request_id": format!("request-{request}"),
            "listener": {"session_id": format!("session-{request}")},
            "break": {"placement": "music", "max_duration_ms": 60_000, "max_ads": 2},
        });
        let answer = operator.call("POST", "/v1/ad-breaks", &body).json();
        for ad in answer["ads"].as_array().expect("a list") {
            for event in ["start", "impression"] {
                let target = target_of(ad, event);
                assert_eq!(operator.server.request("GET", &target, &[], b"").status, 204);
                if event == "impression" {
                    tokens.push(target.rsplit('/').next().expect("a path").to_owned());
                }
            }
        }
        tokens.len() >= count
    });
    tokens
}

fn impressions(data: &Path, tokens: &[String]) -> Vec<ImpressionId> {
    let store = store(data);
    let identity = store.identity();
    let key = |key: &segue::store::TokenKey| TokenKey::new(u32::from(key.id), &key.secret.0);
    let keys = TokenKeys::new(key(&identity.token_key), identity.previous_token_key.as_ref().map(key));
    tokens.iter().map(|token| keys.open(token).expect("a token of that server").impression_id).collect()
}

/// What became of each impression: settled, or why it was not billed.
fn fates(data: &Path, impressions: &[ImpressionId]) -> BTreeMap<&'static str, usize> {
    let ledger = store(data).ledger().expect("the ledger opens");
    let mut leases = ledger.remembered_leases().expect("reads");
    leases.extend(ledger.past_leases().expect("reads"));
    let leases: BTreeMap<_, _> = leases.into_iter().map(|(_, lease)| (lease.grant.lease_id, lease)).collect();
    let loose: BTreeMap<_, _> = ledger.loose().expect("reads").into_iter().map(|(_, id, loose)| (id, loose)).collect();
    let mut fates = BTreeMap::new();
    for id in impressions {
        let (settled, unbilled) = match id {
            ImpressionId::Leased { lease_id, ordinal } => leases.get(lease_id).map_or((false, None), |lease| {
                (lease.settled.contains(*ordinal), lease.unbilled.get(ordinal).copied())
            }),
            ImpressionId::Unleased { .. } => (false, None),
        };
        let unbilled = unbilled.or_else(|| loose.get(id)?.unbilled);
        let fate = if settled { "settled" } else { unbilled.map_or("nowhere", UnbilledReason::name) };
        *fates.entry(fate).or_default() += 1;
    }
    fates
}

#[test]
fn the_journal_of_a_killed_server_is_shipped_into_anothers_log_and_every_impression_counts() {
    let (dead, folder) = (folder(), folder());
    let server = Server::start(dead.path(), &["journal.segment_bytes=65536"]);
    let operator = Operator::of(&server, &dead.path().join("data"));
    operator.advertise(50_000_000);
    let tokens = hear(&operator, MARKED);
    server.kill();
    let orphan = folder.path().join("orphan");
    copy(&dead.path().join("data"), &orphan);
    let marked = impressions(&orphan, &tokens);

    let data = folder.path().join("data");
    assert_eq!(Server::start(folder.path(), &[]).terminate().code(), Some(0));
    let ship = ["journal", "ship", "--dir", "orphan", "--json"];
    let (status, text) = run(folder.path(), &ship);
    assert_eq!(status, Some(0), "{text}");
    let shipped: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(shipped["shipped_records"], shipped["journal_records"]);
    assert!(shipped["shipped_records"].as_u64().is_some_and(|records| records >= 2 * MARKED as u64), "{text}");
    let (status, text) = run(folder.path(), &ship);
    let again: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!((status, &again["shipped_records"], &again["state_before"]), (Some(0), &json!(0), &json!("closed")));

    // While the server runs that applies it, nothing else may touch its directory.
    let server = Server::start(folder.path(), &[]);
    assert_eq!(run(folder.path(), &ship).0, Some(3), "the data directory is in use");
    let operator = Operator::of(&server, &data);
    let servers = operator.call("GET", "/v1/servers", &Value::Null).json();
    let states: BTreeMap<&str, usize> =
        servers["servers"].as_array().expect("a list").iter().fold(BTreeMap::new(), |mut states, server| {
            *states.entry(server["state"].as_str().expect("a word")).or_default() += 1;
            states
        });
    assert_eq!(states, BTreeMap::from([("closed", 1), ("live", 1)]), "{servers}");
    assert_eq!(server.terminate().code(), Some(0));

    let (status, text) = run(folder.path(), &["audit"]);
    assert_eq!(status, Some(0), "{text}");
    let fates = fates(&data, &marked);
    eprintln!("{} impressions marked by the dead server: {fates:?}", marked.len());
    assert!(!fates.contains_key("nowhere") && fates["settled"] > MARKED / 2, "{fates:?}");
}

#[test]
fn a_server_that_drains_gives_back_what_it_has_not_drawn() {
    let folder = folder();
    let data = folder.path().join("data");
    let server = Server::start(folder.path(), &[]);
    let operator = Operator::of(&server, &data);
    operator.advertise(50_000_000);
    hear(&operator, 10);
    assert_eq!(server.terminate().code(), Some(0));
    let (status, text) = run(folder.path(), &["servers", "list", "--json"]);
    let list: Value = serde_json::from_str(&text).expect("JSON");
    let own = &list["servers"][0];
    assert_eq!((status, &own["state"], &own["this"]), (Some(0), &json!("closed"), &json!(true)), "{text}");
    // All that was drawn was heard, so nothing is held any more, though the leases close later.
    assert_eq!(own["open_micros"], 0, "{text}");
    let leases = store(&data).ledger().expect("opens").remembered_leases().expect("reads");
    assert!(!leases.is_empty() && leases.iter().all(|(_, lease)| lease.returned.is_some()), "{leases:#?}");
}

#[test]
fn a_server_is_declared_lost_only_when_it_is_meant() {
    let folder = folder();
    let data = folder.path().join("data");
    assert_eq!(Server::start(folder.path(), &[]).terminate().code(), Some(0));
    let lost = ServerId::from_u128(0x0190_a2b4_7c1e_7000_8000_0000_0000_0001);
    let own = {
        let store = store(&data);
        let now = Clock::real().now().wall;
        let entry = ServerEntry {
            server_id: lost,
            boot_id: BootId::from_u128(5),
            past_boots: Vec::new(),
            state: ServerState::Live,
            registered_at: now,
            heard_at: now,
            clock_ahead_ms: 0,
            complete_until: now,
        };
        store.ledger().expect("opens").put_server(&entry).expect("writes");
        store.identity().server_id
    };
    let declare = |id: ServerId, more: &[&str]| {
        let id = id.to_string();
        let arguments: Vec<&str> = ["servers", "declare-lost", &id].into_iter().chain(more.iter().copied()).collect();
        run(folder.path(), &arguments)
    };
    let state = || {
        let (status, text) = run(folder.path(), &["servers", "list", "--json"]);
        assert_eq!(status, Some(0));
        let list: Value = serde_json::from_str(&text).expect("JSON");
        let servers = list["servers"].as_array().expect("a list").clone();
        let of = |id: ServerId| servers.iter().find(|server| server["server_id"] == id.to_string()).cloned();
        (of(lost).expect("listed")["state"].clone(), of(own).expect("listed")["state"].clone())
    };
    assert_eq!(state(), (json!("live"), json!("closed")));
    let (status, text) = declare(lost, &[]);
    assert_eq!(status, Some(2), "nobody said yes: {text}");
    for part in ["may cost", "lost to billing", "open leases", "segue journal ship"] {
        assert!(text.contains(part), "{part} is not in {text}");
    }
    assert_eq!(state().0, "live");
    assert_eq!(declare(own, &["--yes"]).0, Some(2), "its journal is here");
    assert_eq!(declare(ServerId::from_u128(9), &["--yes"]).0, Some(2), "nobody knows it");
    assert_eq!(declare(lost, &["--yes"]).0, Some(0));
    assert_eq!(state(), (json!("lost"), json!("closed")));
    assert_eq!(declare(lost, &["--yes"]).0, Some(0), "again changes nothing");
    let (status, text) = run(folder.path(), &["servers", "list"]);
    assert!(status == Some(0) && text.contains("(this one)") && text.contains(&lost.to_string()), "{text}");
    // Accounting takes it at its word.
    let server = Server::start(folder.path(), &[]);
    assert_eq!(server.terminate().code(), Some(0));
    assert_eq!(state().0, "lost");
}

#[test]
fn the_register_is_for_operators() {
    let folder = folder();
    let server = Server::start(folder.path(), &[]);
    let data = folder.path().join("data");
    let operator = Operator::of(&server, &data);
    let mut servers = Value::Null;
    wait_until("the server is in the register", || {
        let answer = operator.call("GET", "/v1/servers", &Value::Null);
        assert_eq!(answer.status, 200, "{}", answer.body);
        servers = answer.json();
        servers["servers"].as_array().is_some_and(|servers| servers.len() == 1)
    });
    assert_eq!(servers["servers"][0]["state"], "live");
    assert_eq!(servers["servers"][0]["clock_ahead_ms"], 0);
    let app = std::fs::read_to_string(data.join("app.key")).expect("the app's key");
    let headers = [("X-Segue-App-Key", app.trim())];
    assert_eq!(server.request("GET", "/v1/servers", &headers, b"").status, 403);
    assert_eq!(server.request("GET", "/v1/servers", &[], b"").status, 401);
}
