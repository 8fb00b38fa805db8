//! Who may do what: every role at every endpoint, on its own, somebody else's and nobody's entities.

use actix_web::http::Method;
use serde_json::{Value, json};

use super::{Ask, World, app_role, creative, line_item};
use crate::model::Role;
use crate::roles::campaign::samples;

/// Roles in the order of the tables' columns: operator, own advertiser, viewer, app, operator of another network, no key.
fn keys(world: &World) -> [String; 6] {
    [
        world.operator(),
        world.key(Role::Advertiser(samples::ADVERTISER)),
        world.key(Role::Viewer),
        world.key(app_role()),
        world.key_in(samples::OTHER_NETWORK, Role::Operator),
        String::new(),
    ]
}

const ABSENT: &str = "00000000-0000-0000-0000-0000000000ff";

#[test]
fn reading() {
    let world = World::new();
    let keys = keys(&world);
    let cases: [(String, [u16; 6]); 17] = [
        (format!("/v1/networks/{}", samples::NETWORK), [200, 403, 200, 403, 404, 401]),
        (format!("/v1/networks/{}", samples::OTHER_NETWORK), [404, 403, 404, 403, 200, 401]),
        (format!("/v1/networks/{ABSENT}"), [404, 403, 404, 403, 404, 401]),
        (format!("/v1/advertisers/{}", samples::ADVERTISER), [200, 200, 200, 403, 404, 401]),
        (format!("/v1/advertisers/{}", samples::OTHER_ADVERTISER), [200, 404, 200, 403, 404, 401]),
        (format!("/v1/campaigns/{}", samples::CAMPAIGN), [200, 200, 200, 403, 404, 401]),
        (format!("/v1/campaigns/{}", samples::OTHER_CAMPAIGN), [200, 404, 200, 403, 404, 401]),
        (format!("/v1/campaigns/{ABSENT}"), [404, 404, 404, 403, 404, 401]),
        (format!("/v1/creatives/{}", samples::CREATIVE), [200, 200, 200, 403, 404, 401]),
        (format!("/v1/creatives/{}", samples::OTHER_CREATIVE), [200, 404, 200, 403, 404, 401]),
        (format!("/v1/line-items/{}", samples::LINE_ITEM), [200, 200, 200, 403, 404, 401]),
        (format!("/v1/line-items/{}", samples::OTHER_LINE_ITEM), [200, 404, 200, 403, 404, 401]),
        (format!("/v1/line-items/{}/revisions", samples::LINE_ITEM), [200, 200, 200, 403, 404, 401]),
        (format!("/v1/line-items/{}/revisions", samples::OTHER_LINE_ITEM), [200, 404, 200, 403, 404, 401]),
        ("/v1/networks".to_owned(), [200, 403, 200, 403, 200, 401]),
        ("/v1/line-items".to_owned(), [200, 200, 200, 403, 200, 401]),
        ("/v1/keys".to_owned(), [200, 403, 403, 403, 200, 401]),
    ];
    for (path, want) in &cases {
        let got: Vec<_> = keys.iter().map(|key| world.get(key, path).status).collect();
        assert_eq!(got, want, "GET {path}");
    }
    // What is foreign answers exactly like what is absent.
    let advertiser = &keys[1];
    for kind in ["advertisers", "campaigns", "creatives", "line-items"] {
        let foreign = match kind {
            "advertisers" => samples::OTHER_ADVERTISER.to_string(),
            "campaigns" => samples::OTHER_CAMPAIGN.to_string(),
            "creatives" => samples::OTHER_CREATIVE.to_string(),
            _ => samples::OTHER_LINE_ITEM.to_string(),
        };
        let [foreign, absent] = [foreign.as_str(), ABSENT].map(|id| world.get(advertiser, &format!("/v1/{kind}/{id}")));
        assert_eq!((foreign.status, foreign.json), (absent.status, absent.json), "{kind}");
    }
}

#[test]
fn lists_hold_what_the_caller_may_see() {
    let world = World::new();
    let [operator, advertiser, viewer, _, elsewhere, _] = keys(&world);
    let foreign = format!("/v1/line-items?campaign_id={}", samples::OTHER_CAMPAIGN);
    for (path, want) in [
        ("/v1/networks", [1, 0, 1, 1]),
        ("/v1/advertisers", [2, 1, 2, 0]),
        ("/v1/campaigns", [2, 1, 2, 0]),
        ("/v1/creatives", [2, 1, 2, 0]),
        ("/v1/line-items", [2, 1, 2, 0]),
        (foreign.as_str(), [1, 0, 1, 0]),
    ] {
        let count = |key: &String| world.get(key, path).json["items"].as_array().map_or(0, Vec::len);
        assert_eq!([&operator, &advertiser, &viewer, &elsewhere].map(count), want, "{path}");
    }
}

#[test]
fn writing() {
    let world = World::new();
    let keys = keys(&world);
    let rename = json!({"name": "renamed"});
    let entity = |kind: &str, id: String| format!("/v1/{kind}/{id}");
    // Columns as in `keys`. What succeeds leaves revision 2, so each row has an entity of its own or is refused for all but one.
    let patches: [(String, [u16; 6]); 10] = [
        (entity("networks", samples::NETWORK.to_string()), [200, 403, 403, 403, 404, 401]),
        (entity("networks", samples::OTHER_NETWORK.to_string()), [404, 403, 404, 403, 200, 401]),
        (entity("advertisers", samples::ADVERTISER.to_string()), [200, 403, 403, 403, 404, 401]),
        (entity("advertisers", samples::OTHER_ADVERTISER.to_string()), [200, 404, 403, 403, 404, 401]),
        (entity("campaigns", samples::CAMPAIGN.to_string()), [200, 200, 403, 403, 404, 401]),
        (entity("campaigns", samples::OTHER_CAMPAIGN.to_string()), [200, 404, 403, 403, 404, 401]),
        (entity("creatives", samples::CREATIVE.to_string()), [200, 200, 403, 403, 404, 401]),
        (entity("line-items", samples::LINE_ITEM.to_string()), [200, 200, 403, 403, 404, 401]),
        (entity("line-items", samples::OTHER_LINE_ITEM.to_string()), [200, 404, 403, 403, 404, 401]),
        (entity("line-items", ABSENT.to_owned()), [404, 404, 404, 403, 404, 401]),
    ];
    for (path, want) in &patches {
        let mut revision = 1;
        let got: Vec<_> = keys
            .iter()
            .map(|key| {
                let answer = world.patch(key, path, revision, &rename);
                revision += u64::from(answer.status == 200);
                answer.status
            })
            .collect();
        assert_eq!(got, want, "PATCH {path}");
    }
    let posts: [(&str, Value, [u16; 6]); 5] = [
        ("/v1/advertisers", json!({"name": "New"}), [201, 403, 403, 403, 201, 401]),
        (
            "/v1/campaigns",
            json!({"name": "New", "advertiser_id": samples::ADVERTISER.to_string()}),
            [201, 201, 403, 403, 422, 401],
        ),
        ("/v1/creatives", creative(), [201, 201, 403, 403, 422, 401]),
        ("/v1/line-items", line_item(), [201, 201, 403, 403, 422, 401]),
        ("/v1/keys", json!({"name": "New", "role": "viewer"}), [201, 403, 403, 403, 201, 401]),
    ];
    for (path, body, want) in &posts {
        let got: Vec<_> = keys.iter().map(|key| world.post(key, path, body).status).collect();
        assert_eq!(got, want, "POST {path}");
    }
    let line_item = entity("line-items", samples::LINE_ITEM.to_string());
    let got: Vec<_> = keys.iter().skip(1).map(|key| world.delete(key, &line_item, Some(3)).status).collect();
    assert_eq!(got, [200, 403, 403, 404, 401]);
}

#[test]
fn an_advertiser_sells_by_auction_only() {
    let world = World::new();
    let (operator, advertiser) = (world.operator(), world.key(Role::Advertiser(samples::ADVERTISER)));
    let mut sponsorship = line_item();
    sponsorship["tier"] = json!("sponsorship");
    sponsorship["share_of_voice"] = json!({"basis_points": 500});
    let refused = world.post(&advertiser, "/v1/line-items", &sponsorship);
    let fields = vec![("tier", "operator_only"), ("share_of_voice", "operator_only")];
    assert_eq!((refused.status, refused.problem()), (403, ("forbidden", fields)));
    // It reads what an operator booked for it, and can't change it: neither away from the tier nor otherwise.
    let made = world.post(&operator, "/v1/line-items", &sponsorship);
    assert_eq!(made.status, 201, "{}", made.json);
    let path = format!("/v1/line-items/{}", made.json["id"].as_str().expect("an id"));
    assert_eq!(world.get(&advertiser, &path).status, 200);
    for patch in [json!({"name": "mine"}), json!({"tier": "auction", "share_of_voice": null})] {
        assert_eq!(world.patch(&advertiser, &path, 1, &patch).status, 403, "{patch}");
    }
    assert_eq!(world.delete(&advertiser, &path, Some(1)).status, 403);
}

#[test]
fn another_advertisers_parents_and_creatives_look_absent() {
    let world = World::new();
    let advertiser = world.key(Role::Advertiser(samples::ADVERTISER));
    let mut foreign = line_item();
    foreign["campaign_id"] = json!(samples::OTHER_CAMPAIGN.to_string());
    let mut absent = line_item();
    absent["campaign_id"] = json!(ABSENT);
    let [foreign, absent] = [foreign, absent].map(|body| world.post(&advertiser, "/v1/line-items", &body));
    assert_eq!((foreign.status, foreign.json), (absent.status, absent.json));
    // Nor do other faults, or a patch, make the difference.
    let [foreign, absent] = [samples::OTHER_CAMPAIGN.to_string(), ABSENT.to_owned()].map(|campaign_id| {
        let mut body = line_item();
        body["campaign_id"] = json!(campaign_id);
        body["flight"]["zone"] = json!("Mars/Olympus");
        world.post(&advertiser, "/v1/line-items", &body)
    });
    assert_eq!((foreign.status, foreign.json), (absent.status, absent.json));
    let [foreign, absent] = [samples::OTHER_ADVERTISER.to_string(), ABSENT.to_owned()].map(|advertiser_id| {
        let path = format!("/v1/campaigns/{}", samples::CAMPAIGN);
        world.patch(&advertiser, &path, 1, &json!({"advertiser_id": advertiser_id}))
    });
    assert_eq!((foreign.status, foreign.json), (absent.status, absent.json));
    let body = json!({"name": "x", "advertiser_id": samples::OTHER_ADVERTISER.to_string()});
    let answer = world.post(&advertiser, "/v1/campaigns", &body);
    assert_eq!((answer.status, answer.problem().1), (422, vec![("advertiser_id", "not_found")]));
}

#[test]
fn a_review_wants_an_operator_and_a_revision() {
    let world = World::new();
    let keys = keys(&world);
    let path = format!("/v1/creatives/{}/approve", samples::CREATIVE);
    let approve = |key: &str, if_match: Option<String>| {
        world.send(Ask { method: Method::POST, path: &path, key, if_match, content_type: "", body: Vec::new() }).status
    };
    let got: Vec<_> = keys.iter().skip(1).map(|key| approve(key, Some("\"1\"".to_owned()))).collect();
    assert_eq!(got, [403, 403, 403, 404, 401]);
    assert_eq!((approve(&keys[0], None), approve(&keys[0], Some("\"1\"".to_owned()))), (428, 200));
}
