//! Entities from their making to their end, across writers, pages and restarts.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::{NOW, World, creative, line_item};
use crate::catalog::Entity;
use crate::model::Role;
use crate::roles::campaign::{APP_KEY_FILE, Bootstrap, CatalogState, OPERATOR_KEY_FILE, bootstrap, samples};
use crate::store::Store;

#[test]
fn a_line_item_is_made_changed_read_archived_and_its_history_told() {
    let world = World::new();
    let operator = world.operator();
    let made = world.post(&operator, "/v1/line-items", &line_item());
    assert_eq!((made.status, made.etag.as_deref()), (201, Some("\"1\"")), "{}", made.json);
    assert_eq!(made.json["targeting"], json!({"country": ["no", "se"], "not": {"genre": ["kids"]}}));
    let path = format!("/v1/line-items/{}", made.json["id"].as_str().expect("an id"));

    let changed =
        world.patch(&operator, &path, 1, &json!({"status": "paused", "budget": {"lifetime_micros": 9_000_000}}));
    assert_eq!((changed.status, changed.etag.as_deref()), (200, Some("\"2\"")), "{}", changed.json);
    let read = world.get(&operator, &path);
    assert_eq!(read.json, changed.json);
    // A whole document that was read can be sent back.
    let again = world.patch(&operator, &path, 2, &read.json);
    assert_eq!(again.status, 200, "{}", again.json);

    let archived = world.delete(&operator, &path, Some(3));
    assert_eq!((archived.status, &archived.json["status"]), (200, &json!("archived")));
    let version = world.version();
    assert_eq!(world.delete(&operator, &path, Some(4)).status, 200, "archiving again changes nothing");
    assert_eq!(world.version(), version);
    let late = world.patch(&operator, &path, 4, &json!({"status": "active"}));
    assert_eq!((late.status, late.problem().0), (409, "archived"));

    let history = world.get(&operator, &format!("{path}/revisions?limit=3"));
    let lines: Vec<_> = history.json["items"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|line| (line["revision"].clone(), line["action"].clone(), line["role"].clone()))
        .collect();
    let line = |number: u64, action: &str| (json!(number), json!(action), json!("operator"));
    assert_eq!(lines, [line(4, "archived"), line(3, "changed"), line(2, "changed")]);
    assert_eq!(history.json["items"][2]["before"]["status"], json!("active"));
    assert_eq!(history.json["items"][2]["after"]["status"], json!("paused"));
    let cursor = history.json["next_cursor"].as_str().expect("there is more");
    let rest = world.get(&operator, &format!("{path}/revisions?cursor={cursor}"));
    assert_eq!(rest.json["items"].as_array().map(Vec::len), Some(1));
    assert_eq!(rest.json["items"][0].get("before"), None);
    assert_eq!(rest.json.get("next_cursor"), None);
}

#[test]
fn of_two_writers_one_wins() {
    let world = World::new();
    let operator = world.operator();
    let path = format!("/v1/line-items/{}", samples::LINE_ITEM);
    let first = world.patch(&operator, &path, 1, &json!({"name": "first"}));
    let second = world.patch(&operator, &path, 1, &json!({"name": "second"}));
    assert_eq!((first.status, second.status), (200, 412));
    assert_eq!((second.problem().0, &second.json["current_revision"]), ("stale", &json!(2)));
    assert_eq!(world.get(&operator, &path).json["name"], json!("first"));
}

#[test]
fn each_change_is_published_once_in_order_and_before_its_answer() {
    let world = World::new();
    let operator = world.operator();
    let path = format!("/v1/line-items/{}", samples::LINE_ITEM);
    for revision in 1..=3 {
        world.patch(&operator, &path, revision, &json!({"name": format!("name {revision}")}));
        let published = world.published.lock().expect("not poisoned");
        let last = published.last().expect("published");
        assert_eq!(last.version, world.version());
        let [Entity::LineItem(line_item)] = last.entities.as_slice() else { panic!("one line item") };
        assert_eq!(line_item.name, format!("name {revision}"));
    }
    let published = world.published.lock().expect("not poisoned");
    let versions: Vec<_> = published.iter().map(|change| change.version).collect();
    assert_eq!(
        versions,
        [0, 1, 2, 3, 4],
        "at the start nothing, then the import, then each change; keys are not catalogue"
    );
}

#[test]
fn a_restart_forgets_nothing() {
    let world = World::new();
    let (operator, viewer) = (world.operator(), world.key(Role::Viewer));
    let path = format!("/v1/line-items/{}", samples::LINE_ITEM);
    world.patch(&operator, &path, 1, &json!({"name": "after"}));
    let (document, version) = (world.get(&viewer, &path).json, world.version());
    let world = world.reopen();
    assert_eq!(world.version(), version);
    let answer = world.get(&viewer, &path);
    assert_eq!((answer.status, answer.json), (200, document));
    assert_eq!(world.get(&viewer, &format!("{path}/revisions")).json["items"].as_array().map(Vec::len), Some(2));
    let first = world.published.lock().expect("not poisoned")[0].clone();
    assert_eq!((first.version, first.entities.len()), (version, samples::catalogue().len()));
    assert_eq!(world.patch(&operator, &path, 2, &json!({"name": "go on"})).status, 200);
}

#[test]
fn lists_come_in_pages() {
    let world = World::new();
    let operator = world.operator();
    for number in 0..5 {
        let mut body = line_item();
        body["name"] = json!(format!("number {number}"));
        body["status"] = json!(if number == 3 { "paused" } else { "active" });
        assert_eq!(world.post(&operator, "/v1/line-items", &body).status, 201);
    }
    let names = |query: &str| {
        let mut names = Vec::new();
        let mut cursor = String::new();
        loop {
            let page = world.get(&operator, &format!("/v1/line-items?limit=2{query}{cursor}")).json;
            let items = page["items"].as_array().expect("a list").clone();
            assert!(items.len() <= 2);
            names.extend(items.iter().map(|item| item["name"].as_str().expect("a name").to_owned()));
            match page["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return names,
            }
        }
    };
    assert_eq!(names("").len(), 7);
    assert_eq!(names(&format!("&campaign_id={}", samples::CAMPAIGN)).len(), 6);
    assert_eq!(names(&format!("&advertiser_id={}", samples::OTHER_ADVERTISER)), ["A line item"]);
    assert_eq!(names("&status=paused"), ["number 3"]);
    let both = format!("&campaign_id={}&advertiser_id={}", samples::CAMPAIGN, samples::OTHER_ADVERTISER);
    assert_eq!(names(&both), Vec::<String>::new());
}

#[test]
fn an_advertisers_creative_waits_for_an_operator() {
    let world = World::new();
    let (operator, advertiser) = (world.operator(), world.key(Role::Advertiser(samples::ADVERTISER)));
    let mut body = creative();
    body.as_object_mut().expect("an object").remove("advertiser_id");
    let made = world.post(&advertiser, "/v1/creatives", &body);
    assert_eq!((made.status, &made.json["approval"]), (201, &json!("pending")), "{}", made.json);
    assert_eq!(made.json["advertiser_id"], json!(samples::ADVERTISER.to_string()));
    let path = format!("/v1/creatives/{}", made.json["id"].as_str().expect("an id"));
    let review = |key: &str, verdict: &str, revision: u64| {
        let ask = super::Ask {
            method: actix_web::http::Method::POST,
            path: &format!("{path}/{verdict}"),
            key,
            if_match: Some(format!("\"{revision}\"")),
            content_type: "",
            body: Vec::new(),
        };
        world.send(ask)
    };
    assert_eq!(review(&advertiser, "approve", 1).status, 403);
    assert_eq!(review(&operator, "approve", 1).json["approval"], json!("approved"));
    // A new name needs no new verdict; a new sound does.
    assert_eq!(world.patch(&advertiser, &path, 2, &json!({"name": "n"})).json["approval"], json!("approved"));
    let other = json!([{"format": "mp3", "bitrate_kbps": 128, "url": "https://cdn.example/other.mp3"}]);
    assert_eq!(world.patch(&advertiser, &path, 3, &json!({"renditions": other})).json["approval"], json!("pending"));
    assert_eq!(review(&operator, "reject", 4).json["approval"], json!("rejected"));
    let made = world.post(&operator, "/v1/creatives", &creative());
    assert_eq!(made.json["approval"], json!("approved"), "an operator's own is approved");
    let network = format!("/v1/networks/{}", samples::NETWORK);
    assert_eq!(world.patch(&operator, &network, 1, &json!({"approve_creatives": false})).status, 200);
    assert_eq!(world.post(&advertiser, "/v1/creatives", &body).json["approval"], json!("approved"));
}

#[test]
fn keys_are_made_listed_and_revoked() {
    let world = World::new();
    let operator = world.operator();
    let made = world.post(&operator, "/v1/keys", &json!({"name": "agency", "role": "viewer"}));
    assert_eq!(made.status, 201, "{}", made.json);
    let secret = made.json["secret"].as_str().expect("shown once").to_owned();
    assert_eq!(world.get(&secret, "/v1/campaigns").status, 200);
    let listed = world.get(&operator, "/v1/keys").json;
    assert_eq!(listed["items"].as_array().map(Vec::len), Some(2));
    assert!(!listed.to_string().contains("secret"));
    let path = format!("/v1/keys/{}", made.json["id"].as_str().expect("an id"));
    for _ in 0..2 {
        let revoked = world.delete(&operator, &path, None);
        assert_eq!((revoked.status, revoked.json["revoked_at"].is_string()), (200, true));
    }
    assert_eq!(world.get(&secret, "/v1/campaigns").status, 401);
    let world = world.reopen();
    assert_eq!(world.get(&secret, "/v1/campaigns").status, 401);
    assert_eq!(world.get(&operator, &path).status, 200);
    let bad = [
        (json!({"name": "a", "role": "advertiser"}), "advertiser_id", "required"),
        (
            json!({"name": "a", "role": "advertiser", "advertiser_id": samples::CAMPAIGN.to_string()}),
            "advertiser_id",
            "not_found",
        ),
        (json!({"name": "a", "role": "viewer", "app": "player"}), "app", "wrong_role"),
        (json!({"name": "a", "role": "app", "app": "other"}), "app", "not_found"),
        (json!({"name": "", "role": "viewer"}), "name", "empty"),
        (json!({"name": "a", "role": "king"}), "role", "unknown_value"),
    ];
    for (body, path, code) in bad {
        let answer = world.post(&operator, "/v1/keys", &body);
        assert_eq!((answer.status, answer.problem().1), (422, vec![(path, code)]), "{body}");
    }
}

#[test]
fn the_first_start_makes_a_network_and_its_keys_once() {
    let dir = tempfile::tempdir().expect("a folder");
    let entropy = crate::entropy::Entropy::real();
    let store = Store::open(dir.path(), NOW.wall, &entropy).expect("opens");
    let secret = store.identity().api_key_secret;
    let start = || bootstrap(dir.path(), &store.catalog().expect("opens"), secret, NOW, &entropy).expect("starts");
    assert!(matches!(start(), Bootstrap::Made(_)));
    let read = |file| std::fs::read_to_string(dir.path().join(file)).expect("a key file").trim().to_owned();
    let (operator, app) = (read(OPERATOR_KEY_FILE), read(APP_KEY_FILE));
    assert_eq!(start(), Bootstrap::NotNeeded);
    assert_eq!(read(OPERATOR_KEY_FILE), operator);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = std::fs::metadata(dir.path().join(OPERATOR_KEY_FILE)).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
    drop(store);
    let world = World::open(dir);
    assert_eq!(world.api.campaigns.read(CatalogState::version), 1);
    let networks = world.get(&operator, "/v1/networks").json;
    assert_eq!(networks["items"][0]["placements"][0]["key"], json!("music"));
    assert_eq!(world.get(&app, "/v1/networks").status, 403);
}

#[test]
fn the_description_is_served() {
    let world = World::new();
    let answer = world.get("", "/v1/openapi.json");
    assert_eq!((answer.status, &answer.json["openapi"]), (200, &json!("3.1.0")));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// What a patch sets is what is read, and everything else stays.
    #[test]
    fn a_patch_changes_what_it_names_and_nothing_else(
        name in "[a-zåäö ]{0,10}[a-z]",
        cpm in 1_000_i64..1_000_000,
        lifetime in proptest::option::of(1_i64..1_000_000_000_000_000),
        countries in proptest::collection::btree_set("(se|no|dk|fi|de|fr)", 1..4),
        max in 1_u16..,
        window_ms in 1_000_u64..=3_024_000_000,
        paused: bool,
    ) {
        thread_local!(static WORLD: (World, String) = {
            let world = World::new();
            let operator = world.operator();
            (world, operator)
        });
        WORLD.with(|(world, operator)| {
            let path = format!("/v1/line-items/{}", samples::LINE_ITEM);
            let before = world.get(operator, &path);
            let revision = before.json["revision"].as_u64().expect("a number");
            let countries: Vec<_> = countries.into_iter().collect();
            let patch = json!({
                "name": name,
                "status": if paused { "paused" } else { "active" },
                "pricing": {"amount_micros": cpm * 1_000},
                "budget": {"lifetime_micros": lifetime},
                "targeting": {"country": countries},
                "caps": [{"scope": "campaign", "max": max, "window": {"kind": "sliding", "duration_ms": window_ms}, "strictness": "soft"}],
            });
            let mut want = before.json;
            super::super::body::merge(&mut want, patch.clone());
            want["revision"] = json!(revision + 1);
            let changed = world.patch(operator, &path, revision, &patch);
            prop_assert_eq!(changed.status, 200, "{}", changed.json);
            want["updated_at"] = changed.json["updated_at"].clone();
            prop_assert_eq!(&changed.json, &want);
            prop_assert_eq!(&world.get(operator, &path).json, &want);
            let _: &Value = &want;
            Ok(())
        })?;
    }
}

/// `SEGUE_LINE_ITEMS=100000 cargo test --release a_large_catalogue -- --nocapture` measures what a restart costs.
#[test]
fn a_large_catalogue_is_imported_at_once_and_loaded_again() {
    let count = std::env::var("SEGUE_LINE_ITEMS").ok().and_then(|count| count.parse().ok()).unwrap_or(2_000_u128);
    let world = World::new();
    let campaign = samples::campaign(samples::CAMPAIGN, samples::ADVERTISER, samples::NETWORK);
    let line_item = |number| {
        let id = crate::model::LineItemId::from_u128(1_000 + number);
        Entity::from(samples::line_item(id, &campaign, samples::CREATIVE))
    };
    let import = world.api.clock.stopwatch();
    world.api.campaigns.import((0..count).map(line_item).collect(), NOW).expect("they keep the rules");
    let (imported_s, load) = (import.elapsed_seconds(), world.api.clock.stopwatch());
    let version = world.version();
    let world = world.reopen();
    eprintln!("{count} line items: imported in {imported_s:.2} s, loaded in {:.2} s", load.elapsed_seconds());
    assert_eq!((world.version(), version), (2, 2));
    let published = world.published.lock().expect("not poisoned");
    assert_eq!(published[0].entities.len() as u128, count + samples::catalogue().len() as u128);
}
