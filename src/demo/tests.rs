//! The demo as a whole, in small.

use super::*;
use crate::event_log::money_dir;
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

/// The rules by whose names a forgery may be found.
fn rules_against(forgery: Forgery) -> &'static [&'static str] {
    match forgery {
        Forgery::DeleteRecord => &["missing_record"],
        Forgery::DoubleRecord => &["doubled_record"],
        Forgery::ChangePrice => &["changed_record", "price"],
    }
}

/// A short demo on a real server, and then its log forged with care: each forgery must be found and named.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_short_demo_is_right_and_each_forgery_of_its_log_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let data_dir = folder.path().join("data");
    let options = Options {
        seconds: Some(4),
        seed: 7,
        data_dir: Some(data_dir.clone()),
        json: true,
        listeners: 150,
        speed: 120,
        forge: None,
    };
    let place = server::Folder::prepare(options.data_dir.clone(), options.seed).expect("an empty folder");
    let performance = perform(&options, &Screen::new(true), place.path()).await.expect("it runs");
    let verdict = performance.judge(&data_dir).expect("the log can be read");
    let summary = status::summary(&options, &performance, &verdict);
    assert!(summary.is_right(), "{}", summary.in_words());
    assert!(summary.filled_breaks > 50 && summary.billed_impressions > 20, "{}", summary.in_words());

    assert!(summary.tunes > 10 && summary.sounds_fetched > 10 && summary.sounds_failed == 0, "{}", summary.in_words());

    let (money, kept) = (money_dir(&data_dir), folder.path().join("kept"));
    copy_files(&money, &kept);
    for forgery in Forgery::ALL {
        forgery.commit(&data_dir).expect("forged");
        let verdict = performance.judge(&data_dir).expect("the log can be read");
        // What is not right ends the command with exit status 1.
        assert!(!status::summary(&options, &performance, &verdict).is_right(), "{forgery:?}");
        let found = verdict.findings;
        assert!(found.total() > 0, "{forgery:?}: nothing was found");
        assert!(rules_against(forgery).contains(&found.kept[0].rule), "{forgery:?}: {:?}", found.kept);
        copy_files(&kept, &money);
    }
    assert_eq!(performance.judge(&data_dir).expect("the log can be read").findings.total(), 0, "restored");
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
