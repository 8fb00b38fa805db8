//! Roles apart: real processes, each with some of the roles, over the Kafka and the Cassandra beside the tests.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::cql::drop_keyspace;
use crate::first_ad::{Operator, target_of};
use crate::harness::{Server, engine, folder, segue, wait_until};

const BUDGET_MICROS: i64 = 10_000_000;

/// Settings that all servers of a test share, with topics and tables of their own.
struct Cluster {
    settings: Vec<String>,
    hosts: String,
    keyspace: String,
    dirs: TempDir,
}

impl Drop for Cluster {
    fn drop(&mut self) {
        drop_keyspace(&self.hosts, &self.keyspace);
    }
}

/// A server of it, and its folder.
struct Member {
    server: Server,
    dir: PathBuf,
}

impl Cluster {
    /// None, and the test counted as skipped, where an engine is missing.
    fn new(test: &str) -> Option<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let (brokers, hosts) = (engine("SEGUE_TEST_KAFKA", test)?, engine("SEGUE_TEST_CQL", test)?);
        let name = format!("c{}n{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let settings = [
            format!("kafka.brokers={brokers}"),
            format!("kafka.topic_prefix={name}."),
            "kafka.replication=1".to_owned(),
            "kafka.events_partitions=4".to_owned(),
            format!("cql.hosts={hosts}"),
            format!("cql.keyspace={name}"),
            "cql.replication=1".to_owned(),
        ];
        let cluster = Self { settings: settings.into(), hosts, keyspace: name, dirs: folder() };
        for what in ["topics", "schema"] {
            let mut arguments = vec![what, "apply"];
            arguments.extend(cluster.settings.iter().flat_map(|setting| ["--set", setting.as_str()]));
            let output = segue(cluster.dirs.path(), &arguments);
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        }
        Some(cluster)
    }

    /// Starts a server of these roles, in a folder of that name.
    fn start(&self, name: &str, roles: &str) -> Member {
        let dir = self.dirs.path().join(name);
        std::fs::create_dir_all(&dir).expect("a folder");
        let roles = format!("server.roles={roles}");
        let mut settings: Vec<&str> = self.settings.iter().map(String::as_str).collect();
        settings.push(&roles);
        Member { server: Server::start(&dir, &settings), dir }
    }
}

impl Member {
    /// The operator, with the key that the first campaign server wrote, at this server.
    fn operator<'s>(&'s self, first: &Self) -> Operator<'s> {
        Operator::of(&self.server, &first.dir.join("data"))
    }
}

/// What a report says of a line item: impressions billed, and their sum.
fn billed(operator: &Operator<'_>, line_item: &str) -> (i64, i64) {
    let target = format!("/v1/reports?group_by=line_item&line_item_id={line_item}");
    let answer = operator.call("GET", &target, &Value::Null);
    assert_eq!(answer.status, 200, "{}", answer.body);
    let row = &answer.json()["rows"][0];
    (row["billed_impressions"].as_i64().unwrap_or(0), row["billed_micros"].as_i64().unwrap_or(0))
}

#[test]
fn an_ad_is_sold_here_decided_there_heard_elsewhere_and_billed_once() {
    let Some(cluster) = Cluster::new("an_ad_is_sold_here_decided_there_heard_elsewhere_and_billed_once") else {
        return;
    };
    let campaign = cluster.start("campaign", "campaign");
    let seller = campaign.operator(&campaign);
    let line_item = seller.advertise(BUDGET_MICROS);
    let accounting = [cluster.start("accounting-1", "accounting"), cluster.start("accounting-2", "accounting")];
    let deciders = [cluster.start("decider-1", "decision,beacon"), cluster.start("decider-2", "decision,beacon")];
    let listeners = deciders.each_ref().map(|decider| decider.operator(&campaign));

    // Decided at one, heard at the other, twice: one impression, one charge.
    let mut owed = 0;
    for round in 0..3 {
        for (decides, hears) in [(0, 1), (1, 0)] {
            let ad = listeners[decides].hear(&format!("round-{round}-{decides}"));
            assert_eq!(ad["line_item_id"], line_item.as_str());
            for event in ["start", "impression", "impression", "complete"] {
                assert_eq!(listeners[hears].beacon(&ad, event), 204, "{event}");
            }
            let repeat = listeners[decides].server.request("GET", &target_of(&ad, "impression"), &[], b"");
            assert_eq!(repeat.status, 204);
            owed += ad["price_micros"].as_i64().expect("operators see the price");
        }
    }
    wait_until("all that was heard is billed", || billed(&seller, &line_item) == (6, owed));

    // One that owns partitions is killed: the other takes them, and goes on.
    let [first, second] = accounting;
    first.server.kill();
    for (name, listener) in ["after-0", "after-1"].into_iter().zip(&listeners) {
        let ad = listener.hear(name);
        assert_eq!(listener.beacon(&ad, "impression"), 204);
        owed += ad["price_micros"].as_i64().expect("operators see the price");
    }
    wait_until("what was heard after is billed", || billed(&seller, &line_item) == (8, owed));

    // One that has just acknowledged is killed: it was on its disk, and is billed once it is back.
    let ad = listeners[0].hear("killed");
    assert_eq!(listeners[0].beacon(&ad, "impression"), 204);
    owed += ad["price_micros"].as_i64().expect("operators see the price");
    deciders[0].server.kill();
    let again = cluster.start("decider-1", "decision,beacon");
    wait_until("what it had acknowledged is billed", || billed(&seller, &line_item) == (9, owed));

    // Everyone ends in good order, and what the last ones acknowledged is billed.
    let listener = again.operator(&campaign);
    let ad = listener.hear("last");
    assert_eq!(listener.beacon(&ad, "impression"), 204);
    owed += ad["price_micros"].as_i64().expect("operators see the price");
    for decider in [&again, &deciders[1]] {
        assert!(decider.server.terminate().success(), "{}", decider.server.log());
    }
    wait_until("what was heard last is billed", || billed(&seller, &line_item) == (10, owed));
    assert!(second.server.terminate().success(), "{}", second.server.log());
    assert!(campaign.server.terminate().success(), "{}", campaign.server.log());
}

#[test]
fn a_change_through_one_api_server_is_served_by_every_decision_server() {
    const NAME: &str = "a_change_through_one_api_server_is_served_by_every_decision_server";
    let Some(cluster) = Cluster::new(NAME) else { return };
    let apis = [cluster.start("campaign-1", "campaign"), cluster.start("campaign-2", "campaign")];
    let [first, other] = apis.each_ref().map(|api| api.operator(&apis[0]));
    let line_item = first.advertise(BUDGET_MICROS);
    let decider = cluster.start("decider", "decision,beacon,accounting");
    let listener = decider.operator(&apis[0]);
    listener.hear("before");

    // Paused through the other API server, which has it from the feed.
    let target = format!("/v1/line-items/{line_item}");
    let mut etag = None;
    wait_until("the other API server knows it", || {
        let answer = other.call("GET", &target, &Value::Null);
        etag = answer.header("etag").map(ToOwned::to_owned);
        answer.status == 200
    });
    let etag = etag.expect("an ETag");
    let changed = other.patch(&target, &etag, &json!({"status": "paused"}));
    assert_eq!(changed.status, 200, "{}", changed.body);
    // A second writer that saw the old revision, at the first API server, is told so: no update is lost.
    assert_eq!(first.patch(&target, &etag, &json!({"name": "Another"})).status, 412);
    let mut request = 0;
    wait_until("nobody hears it any more", || {
        request += 1;
        let body = json!({
            "request_id": format!("after-{request}"),
            "listener": {"session_id": format!("after-{request}")},
            "break": {"placement": "music", "max_duration_ms": 60_000, "max_ads": 1},
        });
        let answer = listener.call("POST", "/v1/ad-breaks", &body);
        assert_eq!(answer.status, 200, "{}", answer.body);
        answer.json()["ads"] == json!([])
    });
}

#[test]
fn what_a_server_of_many_lacks_is_told_in_one_line() {
    let output = segue(folder().path(), &["serve", "--roles", "accounting"]);
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{told}");
    assert!(told.contains("kafka.brokers") && told.contains("cql.hosts"), "{told}");
    let output = segue(folder().path(), &["serve", "--roles", "decision"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("decision and beacon go together"));
}
