//! Roles apart: real processes, each with some of the roles, over the Kafka and the Cassandra beside the tests.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::channel;
use std::time::Duration;

use segue::clock::Clock;
use segue::event_log::kafka::{Compression, Connection, KafkaLog, KafkaLogConfig};
use segue::event_log::{LogReader as _, NewRecord, PartitionCounts, Position, SharedLog as _, Topic};
use segue::events::{Event, Play, WHOLE_PPM, decode, decode_delivery, encode_play};
use segue::model::BeaconEvent;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::cql::drop_keyspace;
use crate::first_ad::{Operator, target_of};
use crate::harness::{ClosedDoor, Server, engine, folder, segue, wait_until};

const BUDGET_MICROS: i64 = 10_000_000;

/// Settings that all servers of a test share, with topics and tables of their own.
struct Cluster {
    settings: Vec<String>,
    brokers: String,
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
        let cluster = Self { settings: settings.into(), brokers, hosts, keyspace: name, dirs: folder() };
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
        let member = self.start_unready(name, roles, &[]);
        member.server.wait_ready();
        member
    }

    /// Starts one with more settings, and doesn't wait until it is ready.
    fn start_unready(&self, name: &str, roles: &str, more: &[String]) -> Member {
        let dir = self.folder(name);
        Member { server: Server::start_unready(&dir, &self.settings(roles, more)), dir }
    }

    fn folder(&self, name: &str) -> PathBuf {
        let dir = self.dirs.path().join(name);
        std::fs::create_dir_all(&dir).expect("a folder");
        dir
    }

    /// The cluster's log, as a consumer's or a producer's program has it.
    fn log(&self) -> KafkaLog {
        let connection =
            Connection { topic_prefix: format!("{}.", self.keyspace), ..Connection::plain(self.brokers.clone()) };
        let partitions = [Topic::Events, Topic::Engagement, Topic::Ledger, Topic::Decisions]
            .into_iter()
            .fold(PartitionCounts::default(), |counts, topic| counts.with(topic, 4).expect("a possible count"));
        let config = KafkaLogConfig { connection, partitions, compression: Compression::default() };
        KafkaLog::open(config, || Clock::real().now().wall).expect("connects")
    }

    fn settings<'s>(&'s self, roles: &str, more: &'s [String]) -> Vec<&'s str> {
        let roles: &'static str = Box::leak(format!("server.roles={roles}").into_boxed_str());
        self.settings.iter().chain(more).map(String::as_str).chain([roles]).collect()
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

/// Asks for the metrics: a series' value by its name and labels, 0 where it is not there.
fn shown_of(member: &Member) -> impl Fn(&str) -> u64 {
    let text = member.server.request("GET", "/metrics", &[], b"").body;
    move |series| {
        let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        line.map_or(0, |value| value.parse().expect("a number"))
    }
}

/// Waits until what is said of a line item to whoever reads `segue.delivery` is what was billed: impressions, and their sum.
fn is_said(cluster: &Cluster, line_item: &str, billed: (u64, i64)) {
    let mut last = None;
    let places = (0..PartitionCounts::default().of(Topic::Delivery)).map(|partition| Position { partition, offset: 0 });
    let mut reader = cluster.log().reader(Topic::Delivery, &places.collect::<Vec<_>>()).expect("reads");
    wait_until("how the line item stands is told", || {
        for record in reader.read(1_000, Duration::from_millis(100)).expect("reads") {
            let said = decode_delivery(&record.payload).expect("understood");
            assert_eq!(record.key, said.line_item_id.to_bytes());
            if said.line_item_id.to_string() == line_item {
                last = Some(said);
            }
        }
        last.is_some_and(|said| (said.life.impressions, said.life.settled.0) == billed)
    });
    let said = last.expect("waited for");
    assert_eq!((said.may_spend, said.throttle_ppm, said.today.impressions), (true, WHOLE_PPM, billed.0));
}

/// Waits until so many servers are registered and closed: who is to take their volumes away sees that nothing is missing.
fn are_closed(operator: &Operator<'_>, count: usize) {
    wait_until("the servers are closed", || {
        let answer = operator.call("GET", "/v1/servers", &Value::Null);
        assert_eq!(answer.status, 200, "{}", answer.body);
        let servers = answer.json()["servers"].as_array().expect("servers").clone();
        servers.len() == count && servers.iter().all(|server| server["state"] == "closed")
    });
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

    // The service levels say so: all that was journalled is shipped, nothing waits, what was applied is counted and how old it was, and clocks agree.
    for decider in [&again, &deciders[1]] {
        wait_until("all is shipped", || {
            let shown = shown_of(decider);
            let of_money = |name: &str| shown(&format!("segue_{name}{{journal=\"money\"}}"));
            of_money("shipping_oldest_ms") == 0
                && of_money("shipped_records_total") == of_money("journalled_records_total")
                && shown("segue_kafka_reachable") == 1
        });
        assert!(shown_of(decider)("segue_catalog_feed_records_total") >= 1);
    }
    assert!(shown_of(&deciders[1])("segue_listener_cache_total{outcome=\"miss\"}") >= 1);
    let shown = shown_of(&second);
    assert!(shown("segue_accounting_records_total{made_by=\"servers\"}") >= 3);
    let young = shown("segue_beacon_age_seconds_bucket{le=\"300\"}");
    assert!(young >= 3 && young == shown("segue_beacon_age_seconds_count"));
    let close = shown("segue_server_clock_skew_seconds_bucket{le=\"0.05\"}");
    assert!(close >= 1 && close == shown("segue_server_clock_skew_seconds_count"), "one machine has one clock");
    assert!(shown_of(&campaign)("segue_outbox_published_total") >= 1);

    // Everyone ends in good order, and what the last ones acknowledged is billed.
    let listener = again.operator(&campaign);
    let ad = listener.hear("last");
    assert_eq!(listener.beacon(&ad, "impression"), 204);
    owed += ad["price_micros"].as_i64().expect("operators see the price");
    for decider in [&again, &deciders[1]] {
        assert!(decider.server.terminate().success(), "{}", decider.server.log());
    }
    wait_until("what was heard last is billed", || billed(&seller, &line_item) == (10, owed));

    is_said(&cluster, &line_item, (10, owed));
    are_closed(&seller, 2);
    assert!(second.server.terminate().success(), "{}", second.server.log());
    assert!(campaign.server.terminate().success(), "{}", campaign.server.log());
}

/// The impressions of a line item that are in the log, by the names that verdicts have for them.
fn impressions_of(cluster: &Cluster, line_item: &str) -> Vec<String> {
    let places: Vec<_> = (0..4).map(|partition| Position { partition, offset: 0 }).collect();
    let mut reader = cluster.log().reader(Topic::Events, &places).expect("reads");
    let mut impressions = Vec::new();
    wait_until("the log is read", || {
        for record in reader.read(1_000, Duration::from_millis(100)).expect("reads") {
            if let Event::Beacon(beacon) = decode(&record.payload).expect("understood").body
                && beacon.event == BeaconEvent::Impression
                && beacon.line_item_id.to_string() == line_item
            {
                impressions.push(beacon.impression_id.to_string());
            }
        }
        reader.is_at_end()
    });
    impressions
}

#[test]
fn what_was_no_person_is_taken_back_over_the_log_of_all_servers() {
    let Some(cluster) = Cluster::new("what_was_no_person_is_taken_back_over_the_log_of_all_servers") else { return };
    let campaign = cluster.start("campaign", "campaign");
    let seller = campaign.operator(&campaign);
    let line_item = seller.advertise(BUDGET_MICROS);
    let _accounting = cluster.start("accounting", "accounting");
    let decider = cluster.start("decider", "decision,beacon");
    let listener = decider.operator(&campaign);
    let mut owed = Vec::new();
    for name in ["person", "robot"] {
        let ad = listener.hear(name);
        assert_eq!(listener.beacon(&ad, "impression"), 204);
        owed.push(ad["price_micros"].as_i64().expect("operators see the price"));
    }
    wait_until("both are billed", || billed(&seller, &line_item) == (2, owed.iter().sum()));
    let impressions = impressions_of(&cluster, &line_item);
    let nobodys = "00000000-0000-7000-8000-000000000000/0";
    let claim = json!({"impressions": [impressions[1], nobodys], "reason": "robot"});
    for _ in 0..2 {
        // To say it again changes nothing.
        let answer = seller.call("POST", "/v1/invalid-traffic", &claim);
        assert_eq!(answer.status, 200, "{}", answer.body);
    }
    wait_until("one is taken back, once", || billed(&seller, &line_item) == (1, owed[0]));
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

/// How a server says it is at a path, by what was looked at.
fn looked(member: &Member, path: &str) -> (u16, Value) {
    let answer = member.server.request("GET", path, &[], b"");
    (answer.status, answer.json()["checks"].clone())
}

#[test]
fn a_server_that_restarts_while_kafka_or_cql_is_away_hears_beacons_and_is_ready_once_they_are_back() {
    const NAME: &str =
        "a_server_that_restarts_while_kafka_or_cql_is_away_hears_beacons_and_is_ready_once_they_are_back";
    let Some(cluster) = Cluster::new(NAME) else { return };
    let (brokers, hosts) = (engine("SEGUE_TEST_KAFKA", NAME).expect("there"), cluster.hosts.clone());
    let campaign = cluster.start("campaign", "campaign");
    let seller = campaign.operator(&campaign);
    let line_item = seller.advertise(BUDGET_MICROS);
    let accounting = cluster.start("accounting", "accounting");
    let mut decider = cluster.start("decider", "decision,beacon");
    let mut owed = 0;
    for (heard, (what, setting, to, wrong)) in (1_i64..).zip([
        ("kafka", "kafka.brokers", &brokers, "no Kafka broker answers at"),
        ("cql", "cql.hosts", &hosts, "no CQL server can be used at"),
    ]) {
        let ad = decider.operator(&campaign).hear(what);
        owed += ad["price_micros"].as_i64().expect("operators see the price");
        decider.server.kill();
        let door = ClosedDoor::new();
        let away = [format!("{setting}={}", door.address()), "kafka.connect_timeout_ms=2000".to_owned()];
        decider = cluster.start_unready("decider", "decision,beacon", &away);
        let (status, checks) = looked(&decider, "/readyz");
        let why = checks[what].as_str().unwrap_or_default();
        assert!(status == 503 && why.contains(wrong) && !why.contains('\n'), "{checks}");
        assert_eq!(looked(&decider, "/healthz").0, 200);
        // What it sealed in its last life it opens in this one, and keeps what it hears.
        for event in ["start", "impression"] {
            assert_eq!(decider.operator(&campaign).beacon(&ad, event), 204, "{what}: {event}");
        }
        let log = decider.server.log();
        assert_eq!(
            log.matches(&format!("this server starts without {}", if what == "kafka" { "Kafka" } else { "CQL" }))
                .count(),
            1,
            "{log}"
        );
        door.open(to.clone());
        decider.server.wait_ready();
        wait_until("what it heard meanwhile is billed", || billed(&seller, &line_item) == (heard, owed));
    }

    // The others wait too: without Kafka behind their port, without CQL before it.
    for (name, roles, member) in [("accounting", "accounting", accounting), ("campaign", "campaign", campaign)] {
        member.server.kill();
        let door = ClosedDoor::new();
        let away = [format!("kafka.brokers={}", door.address()), "kafka.connect_timeout_ms=2000".to_owned()];
        let member = cluster.start_unready(name, roles, &away);
        let (status, checks) = looked(&member, "/readyz");
        assert!(
            status == 503 && checks["kafka"].as_str().is_some_and(|why| why.contains("check kafka.brokers")),
            "{checks}"
        );
        assert_eq!(looked(&member, "/healthz").0, 200, "{name}");
        door.open(brokers.clone());
        member.server.wait_ready();
        assert!(member.server.terminate().success(), "{}", member.server.log());
    }
}

#[test]
fn a_first_start_without_kafka_or_cql_ends_with_one_line_that_says_what_to_do() {
    const NAME: &str = "a_first_start_without_kafka_or_cql_ends_with_one_line_that_says_what_to_do";
    let Some(cluster) = Cluster::new(NAME) else { return };
    let door = ClosedDoor::new();
    for (setting, told) in [("kafka.brokers", "check kafka.brokers"), ("cql.hosts", "check cql.hosts")] {
        let dir = cluster.folder(setting);
        let more = [
            format!("{setting}={}", door.address()),
            "server.start_wait_seconds=1".to_owned(),
            "kafka.connect_timeout_ms=1000".to_owned(),
        ];
        let status = Server::start_to_its_end(&dir, &cluster.settings("decision,beacon", &more));
        let log = std::fs::read_to_string(dir.join("stderr.log")).expect("a log");
        assert_eq!(status.code(), Some(3), "{log}");
        let last = log.lines().last().unwrap_or_default();
        assert!(last.contains("segue could not start") && last.contains(told), "{log}");
    }
    // What waiting doesn't mend is told at once, also where it would be waited for.
    let dir = cluster.folder("topics");
    let more = ["kafka.topic_prefix=nobodys.".to_owned()];
    assert!(!Server::start_to_its_end(&dir, &cluster.settings("accounting", &more)).success());
    let log = std::fs::read_to_string(dir.join("stderr.log")).expect("a log");
    assert!(log.contains("run `segue topics apply`"), "{log}");
}

/// Tells what a listener played, as the streaming company's producers do.
fn tell_plays(cluster: &Cluster, listener: &str, network: &str, genre: &str) {
    let (log, now) = (cluster.log(), Clock::real().now().wall);
    let (sender, told) = channel();
    for number in 0..3 {
        let play = Play {
            play_id: [number; 16],
            network_id: network.parse().expect("an id"),
            listener_id: listener.to_owned(),
            played_at: now.plus_ms(-600_000),
            heard_ms: 300_000,
            genres: vec![genre.to_owned()],
            moods: Vec::new(),
            is_profiled: true,
        };
        let record = NewRecord { topic: Topic::Listening, key: listener.into(), payload: encode_play(&play) };
        let sender = sender.clone();
        log.hand_over(record, Box::new(move |done| sender.send(done).expect("the test waits for it")));
    }
    for _ in 0..3 {
        told.recv().expect("told").expect("appended");
    }
}

#[test]
fn what_a_listener_played_and_who_they_are_is_matched_in_their_next_breaks_and_in_nobody_elses() {
    const NAME: &str = "what_a_listener_played_and_who_they_are_is_matched_in_their_next_breaks_and_in_nobody_elses";
    let Some(mut cluster) = Cluster::new(NAME) else { return };
    cluster.settings.push("cql.listener_max_age_ms=1000".to_owned());
    let campaign = cluster.start("campaign", "campaign");
    let operator = campaign.operator(&campaign);
    let network = operator.call("GET", "/v1/networks", &Value::Null).json()["items"][0]["id"].clone();
    let network = network.as_str().expect("an id");
    let targeted = |targeting: Value| {
        let line_item = operator.advertise(BUDGET_MICROS);
        let target = format!("/v1/line-items/{line_item}");
        let etag = operator.call("GET", &target, &Value::Null).header("etag").expect("an ETag").to_owned();
        let changed = operator.patch(&target, &etag, &json!({"targeting": targeting}));
        assert_eq!(changed.status, 200, "{}", changed.body);
        line_item
    };
    let by_taste = targeted(json!({"taste_genre": ["jazz"]}));
    let by_segment = targeted(json!({"segment": ["runners"]}));
    let decider = cluster.start("decider", "decision,beacon,accounting");
    let profiles = [cluster.start("profile-1", "profile"), cluster.start("profile-2", "profile")];
    let listener = decider.operator(&campaign);
    let mut request = 0;
    let mut hear = |who: &str, consent: &str| {
        request += 1;
        let body = json!({
            "request_id": format!("request-{request}"),
            "listener": {"id": who, "session_id": format!("session-{request}")},
            "privacy": {"consent": consent},
            "break": {"placement": "music", "max_duration_ms": 60_000, "max_ads": 1},
        });
        let answer = listener.call("POST", "/v1/ad-breaks", &body);
        assert_eq!(answer.status, 200, "{}", answer.body);
        answer.json()["ads"][0]["line_item_id"].as_str().map(ToOwned::to_owned)
    };
    // Known before they played, and somebody else who never does.
    assert_eq!(hear("account-17", "granted"), None);
    tell_plays(&cluster, "account-17", network, "Jazz");
    wait_until("their taste is matched", || hear("account-17", "granted").as_ref() == Some(&by_taste));
    assert_eq!(hear("account-18", "granted"), None);
    assert_eq!(hear("account-17", "denied"), None, "nobody may know what they like");
    let of_both = |series: &str| profiles.iter().map(|profile| shown_of(profile)(series)).sum::<u64>();
    assert_eq!(of_both("segue_plays_total{outcome=\"counted\"}"), 3);
    let all = u64::from(PartitionCounts::default().of(Topic::Listening));
    wait_until("each partition of plays is one server's", || of_both("segue_profile_partitions") == all);

    let file = cluster.dirs.path().join("segments.csv");
    let lines = "listener_id,segment,expires_at\naccount-18,Runners,2099-01-01T00:00:00Z\n";
    std::fs::write(&file, lines).expect("a file");
    let import = |expected: i32| {
        let mut arguments = vec!["segments", "import", file.to_str().expect("a path")];
        arguments.extend(cluster.settings.iter().flat_map(|setting| ["--set", setting.as_str()]));
        let output = segue(cluster.dirs.path(), &arguments);
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(expected), "{told}");
        told
    };
    assert_eq!(import(1), "line 2: expires_at: more than 400 days ahead\n");
    let soon = Clock::real().now().wall.plus_ms(3_600_000);
    let soon = jiff::Timestamp::from_millisecond(soon.0).expect("of this era");
    std::fs::write(&file, lines.replace("2099-01-01T00:00:00Z", &soon.to_string())).expect("a file");
    assert_eq!(import(0), "");
    wait_until("the segment is matched", || hear("account-18", "granted").as_ref() == Some(&by_segment));

    // Forgotten, with all that was known of them.
    let forgotten = listener.call("DELETE", "/v1/listeners/account-17", &Value::Null);
    assert_eq!(forgotten.status, 204, "{}", forgotten.body);
    assert_eq!(hear("account-17", "granted"), None);
    for server in [&decider, &profiles[0], &profiles[1], &campaign] {
        assert!(server.server.terminate().success(), "{}", server.server.log());
    }
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
