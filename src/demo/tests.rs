//! The demo as a whole, in small.

use super::*;
use crate::event_log::{KIND_TOPIC_RECORD, StoredRecord, Topic, money_dir};
use crate::events;
use crate::journal::{self, RealDisk, SharedDisk, edit};
use crate::model::BeaconEvent;
use crate::model::{App, Micros, NetworkId, Now, Placement, PlacementKey, WallMs};
use crate::roles::campaign::{CampaignRole, CatalogState, Command, Outcome, Requester};

#[test]
fn the_catalogue_accepts_the_world() {
    let network = Network {
        id: NetworkId::from_u128(1),
        name: "default".to_owned(),
        currency: "USD".to_owned(),
        floor_cpm: Micros::ZERO,
        approve_creatives: true,
        apps: vec![App { key: AppKey::new("player").unwrap(), name: "Player".to_owned() }],
        placements: vec![Placement {
            key: PlacementKey::new("music").unwrap(),
            name: "Between tracks".to_owned(),
            floor_cpm: Micros::ZERO,
            max_duration_ms: 120_000,
            max_ads: 4,
            cadence_ms: 0,
            token_life_ms: 3_600_000,
            impression_at_start: false,
        }],
    };
    for seed in [1, 7, 99] {
        let now = Now { wall: WallMs(1_790_000_000_000), ..Now::default() };
        let entities = World::generate(network.clone(), now.wall, seed).into_entities();
        let count = entities.len();
        let state = CatalogState::new(0, Vec::new());
        match CampaignRole::new().step(&state, Command::Import { entities }, &Requester::Segue, now) {
            Ok(Outcome::Imported(imported)) => assert_eq!(imported, count),
            other => panic!("seed {seed}: {other:?}"),
        }
    }
}

/// A careful change of the log, and the rules by whose names it may be found.
struct Forgery {
    description: &'static str,
    rules: &'static [&'static str],
    forge: fn(&SharedDisk, &Path, u64),
}

/// A short demo on a real server, and then its log forged with care: each forgery must be found and named.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_short_demo_is_right_and_each_forgery_of_its_log_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let data_dir = folder.path().join("data");
    let options =
        Options { seconds: Some(4), seed: 7, data_dir: Some(data_dir.clone()), json: true, listeners: 150, speed: 120 };
    let place = server::Folder::prepare(options.data_dir.clone(), options.seed).expect("an empty folder");
    let performance = perform(&options, &Screen::new(true), place.path()).await.expect("it runs");
    let verdict = performance.judge(&data_dir).expect("the log can be read");
    let summary = status::summary(&options, &performance, &verdict);
    assert!(summary.is_right(), "{}", summary.in_words());
    assert!(summary.filled_breaks > 50 && summary.billed_impressions > 20, "{}", summary.in_words());

    let disk: SharedDisk = Arc::new(RealDisk);
    let money = money_dir(&data_dir);
    let (seq, _) = paid_impression(&data_dir);
    let forgeries = [
        Forgery {
            description: "one record deleted",
            rules: &["missing_record"],
            forge: |disk, dir, seq| edit::delete_record(disk, dir, seq).expect("edited"),
        },
        Forgery {
            description: "one record doubled",
            rules: &["doubled_record"],
            forge: |disk, dir, seq| edit::double_record(disk, dir, seq).expect("edited"),
        },
        Forgery {
            description: "one price changed",
            rules: &["changed_record", "price"],
            forge: |disk, dir, seq| edit::change_payload(disk, dir, seq, dearer).expect("edited"),
        },
    ];
    let kept = folder.path().join("kept");
    copy_files(&money, &kept);
    for Forgery { description, rules, forge } in forgeries {
        forge(&disk, &money, seq);
        let verdict = performance.judge(&data_dir).expect("the log can be read");
        // What is not right ends the command with exit status 1.
        assert!(!status::summary(&options, &performance, &verdict).is_right(), "{description}");
        let found = verdict.findings;
        assert!(found.total() > 0, "{description}: nothing was found");
        assert!(rules.contains(&found.kept[0].rule), "{description}: {:?}", found.kept);
        copy_files(&kept, &money);
    }
    assert_eq!(performance.judge(&data_dir).expect("the log can be read").findings.total(), 0, "restored");
}

/// The number of a record of a paid impression that was recorded once, and its payload.
fn paid_impression(data_dir: &Path) -> (u64, Vec<u8>) {
    let mut seen = std::collections::BTreeMap::<_, (u64, Vec<u8>, u32)>::new();
    for record in journal::read_dir(Arc::new(RealDisk), money_dir(data_dir)).expect("it opens") {
        let record = record.expect("it is whole");
        let stored = StoredRecord::decode(record.kind, &record.payload).expect("a topic's record");
        if stored.topic != Topic::Events {
            continue;
        }
        let envelope = events::decode(stored.payload).expect("an event");
        if let events::Event::Beacon(beacon) = &envelope.body
            && beacon.event == BeaconEvent::Impression
            && beacon.price > Micros::ZERO
            && envelope.received_at <= beacon.billable_until
        {
            seen.entry(envelope.event_id).or_insert((record.seq, record.payload.clone(), 0)).2 += 1;
        }
    }
    let (seq, payload, _) = seen.into_values().find(|(_, _, times)| *times == 1).expect("something was heard");
    (seq, payload)
}

/// The record with a price one micro higher.
fn dearer(payload: &mut Vec<u8>) {
    let stored = StoredRecord::decode(KIND_TOPIC_RECORD, payload).expect("a topic's record");
    let mut envelope = events::decode(stored.payload).expect("an event");
    let events::Event::Beacon(beacon) = &mut envelope.body else { panic!("not a beacon") };
    beacon.price = Micros(beacon.price.0 + 1);
    let changed = events::encode(&envelope);
    *payload = StoredRecord { payload: &changed, ..stored }.encode();
}

fn copy_files(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a folder");
    for entry in std::fs::read_dir(from).expect("readable") {
        let entry = entry.expect("readable");
        if entry.file_type().expect("a type").is_file() {
            std::fs::copy(entry.path(), to.join(entry.file_name())).expect("copied");
        }
    }
}
