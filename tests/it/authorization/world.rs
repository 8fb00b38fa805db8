//! A server with two networks, the first with two advertisers, and a key of each role.

use std::cell::Cell;

use segue::catalog::Entity;
use segue::clock::Clock;
use segue::entropy::Entropy;
use segue::model::{ApiKeyId, App, AppKey, Micros, Network, NetworkId, Placement, PlacementKey, Role};
use segue::roles::campaign::{CampaignHandle, Command, Requester, start};
use segue::store::Store;
use serde_json::{Value, json};

use super::rules::Request;
use crate::harness::{Answer, Server, folder};

/// An id that nothing has.
const ABSENT: &str = "00000000-0000-7000-8000-0000000000ff";

/// Who asks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Caller {
    /// Without a key.
    Nobody,
    /// With an operator's key that was revoked.
    Revoked,
    App,
    Viewer,
    Advertiser,
    Operator,
}

impl Caller {
    pub(super) const ALL: [Self; 6] =
        [Self::Nobody, Self::Revoked, Self::App, Self::Viewer, Self::Advertiser, Self::Operator];

    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Nobody => "nobody",
            Self::Revoked => "revoked",
            Self::App => "app",
            Self::Viewer => "viewer",
            Self::Advertiser => "advertiser",
            Self::Operator => "operator",
        }
    }

    /// Whether a caller, whose role an endpoint takes, sees what it asks about.
    pub(super) fn sees(self, subject: Subject, relation: Relation) -> bool {
        match (subject, relation) {
            (Subject::Upload, Relation::Own) => self == Self::Operator,
            (Subject::Nothing, _) | (_, Relation::Own) => true,
            (_, Relation::Neighbour) => self != Self::Advertiser,
            (_, Relation::Foreign | Relation::Absent) => false,
        }
    }
}

/// What an endpoint's id names.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Subject {
    /// It has none.
    Nothing,
    Network,
    Advertiser,
    Campaign,
    LineItem,
    Creative,
    Key,
    Asset,
    /// An upload is of the key that began it: an operator's.
    Upload,
}

impl Subject {
    /// What a caller can ask about.
    pub(super) fn relations(self) -> &'static [Relation] {
        match self {
            Self::Nothing => &[Relation::Absent],
            Self::Network | Self::Key | Self::Upload => &[Relation::Own, Relation::Foreign, Relation::Absent],
            Self::Advertiser | Self::Campaign | Self::LineItem | Self::Creative | Self::Asset => {
                &[Relation::Own, Relation::Neighbour, Relation::Foreign, Relation::Absent]
            }
        }
    }

    /// The list that it stands in.
    fn list(self) -> &'static str {
        match self {
            Self::Network => "/v1/networks",
            Self::Advertiser => "/v1/advertisers",
            Self::Campaign => "/v1/campaigns",
            Self::LineItem => "/v1/line-items",
            Self::Creative => "/v1/creatives",
            Self::Key => "/v1/keys",
            Self::Asset => "/v1/assets",
            Self::Upload => "/v1/uploads",
            Self::Nothing => panic!("nothing stands in no list"),
        }
    }
}

/// Whose it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Relation {
    /// The advertiser's that asks, or of the network.
    Own,
    /// Of another advertiser of the network.
    Neighbour,
    /// Of another network.
    Foreign,
    /// Nobody's.
    Absent,
}

/// All that one advertiser has.
struct Owner {
    operator: String,
    network: String,
    advertiser: String,
    campaign: String,
    creative: String,
    line_item: String,
    key: String,
    asset: String,
    upload: String,
}

pub(super) struct World {
    pub(super) server: Server,
    own: Owner,
    neighbour: Owner,
    foreign: Owner,
    keys: [String; 4],
    asked: Cell<u32>,
    _folder: tempfile::TempDir,
}

impl World {
    pub(super) fn new() -> Self {
        let folder = folder();
        let operators = two_networks(&folder.path().join("data"));
        let server = Server::start(folder.path(), &[]);
        let owner = |network: usize, name: &str| Owner::new(&server, &operators[network], name);
        let (own, neighbour, foreign) = (owner(0, "Own"), owner(0, "Neighbour"), owner(1, "Foreign"));
        let operator = operators[0].as_str();
        let key = |body: Value| secret(&create(&server, operator, "/v1/keys", &body));
        let [app, viewer] = ["app", "viewer"].map(|role| {
            let app = (role == "app").then_some("player");
            key(json!({"name": role, "role": role, "app": app}))
        });
        let advertiser = key(json!({"name": "a", "role": "advertiser", "advertiser_id": own.advertiser}));
        let revoked = create(&server, operator, "/v1/keys", &json!({"name": "old", "role": "operator"}));
        let path = format!("/v1/keys/{}", id(&revoked));
        let answer = send(&server, operator, "DELETE", &path, &Request::default(), None);
        assert!(answer.status < 300, "{}", answer.body);
        let keys = [secret(&revoked), app, viewer, advertiser];
        Self { server, own, neighbour, foreign, keys, asked: Cell::new(0), _folder: folder }
    }

    /// One request.
    pub(super) fn call(
        &self,
        caller: Caller,
        method: &str,
        target: &str,
        request: &Request,
        if_match: Option<&str>,
    ) -> Answer {
        let [revoked, app, viewer, advertiser] = &self.keys;
        let key = match caller {
            Caller::Nobody => "",
            Caller::Revoked => revoked,
            Caller::App => app,
            Caller::Viewer => viewer,
            Caller::Advertiser => advertiser,
            Caller::Operator => &self.own.operator,
        };
        send(&self.server, key, method, target, request, if_match)
    }

    /// The id of such an entity, of a new one where the request may change it.
    pub(super) fn subject(&self, subject: Subject, caller: Caller, relation: Relation, changes: bool) -> String {
        let Some(owner) = self.owner(relation).filter(|_| subject != Subject::Nothing) else {
            return ABSENT.to_owned();
        };
        let is_the_caller = subject == Subject::Advertiser && caller == Caller::Advertiser && relation == Relation::Own;
        // A key has few uploads open.
        let is_scarce = subject == Subject::Upload && !caller.sees(subject, relation);
        if changes && subject != Subject::Network && !is_the_caller && !is_scarce {
            self.asked.set(self.asked.get() + 1);
            return owner.make(&self.server, subject, &format!("of request {}", self.asked.get()));
        }
        owner.id(subject).to_owned()
    }

    /// What stands of an entity, to see whether it changes: its `ETag`, of a key whether it is revoked.
    pub(super) fn state(&self, subject: Subject, relation: Relation, id: &str) -> Option<String> {
        let owner = self.owner(relation).filter(|_| subject != Subject::Nothing)?;
        let path = format!("{}/{id}", subject.list());
        let answer = send(&self.server, &owner.operator, "GET", &path, &Request::default(), None);
        if (subject, answer.status) == (Subject::Upload, 404) {
            return Some("ended".to_owned());
        }
        assert_eq!(answer.status, 200, "GET {path}: {}", answer.body);
        let tag = answer.header("etag").map(str::to_owned);
        tag.or_else(|| Some(answer.json()["revoked_at"].to_string()))
    }

    /// The ids that a caller must never read.
    pub(super) fn hidden_from(&self, caller: Caller) -> impl Iterator<Item = &String> {
        let foreign = self.foreign.ids().into_iter().chain([&self.foreign.network]);
        let neighbours = self.neighbour.ids().into_iter().filter(move |_| caller == Caller::Advertiser);
        foreign.chain(neighbours)
    }

    /// A creative of whoever stands so to the asker; the asker's own, where nobody does.
    pub(super) fn creative(&self, relation: Relation) -> &str {
        &self.owner(relation).unwrap_or(&self.own).creative
    }

    fn owner(&self, relation: Relation) -> Option<&Owner> {
        match relation {
            Relation::Own => Some(&self.own),
            Relation::Neighbour => Some(&self.neighbour),
            Relation::Foreign => Some(&self.foreign),
            Relation::Absent => None,
        }
    }
}

impl Owner {
    fn new(server: &Server, operator: &str, name: &str) -> Self {
        let network = send(server, operator, "GET", "/v1/networks", &Request::default(), None).json();
        let network = network["items"][0]["id"].as_str().expect("a network").to_owned();
        let mut owner = Self {
            operator: operator.to_owned(),
            network,
            advertiser: String::new(),
            campaign: String::new(),
            creative: String::new(),
            line_item: String::new(),
            key: String::new(),
            asset: String::new(),
            upload: String::new(),
        };
        owner.advertiser = owner.make(server, Subject::Advertiser, name);
        owner.campaign = owner.make(server, Subject::Campaign, name);
        owner.creative = owner.make(server, Subject::Creative, name);
        owner.line_item = owner.make(server, Subject::LineItem, name);
        owner.key = owner.make(server, Subject::Key, name);
        owner.asset = owner.make(server, Subject::Asset, name);
        owner.upload = owner.make(server, Subject::Upload, name);
        owner
    }

    /// Makes one more.
    fn make(&self, server: &Server, subject: Subject, name: &str) -> String {
        let (advertiser, creative) = (&self.advertiser, &self.creative);
        let about = super::rules::About { id: advertiser, creative };
        let body = match subject {
            // Each its own sound: what two have in common has one id.
            Subject::Asset => {
                let hertz = 200 + name.bytes().map(u32::from).sum::<u32>();
                let request = Request { body: super::rules::wav(hertz), ..super::rules::file_of(&about) };
                return id(&made(server, &self.operator, subject.list(), &request));
            }
            Subject::Upload => {
                return id(&made(server, &self.operator, subject.list(), &super::rules::upload_of(&about)));
            }
            Subject::Advertiser => json!({"name": name}),
            Subject::Campaign => json!({"name": name, "advertiser_id": advertiser}),
            Subject::Creative => super::rules::creative(advertiser),
            Subject::LineItem => super::rules::line_item(&self.campaign, creative),
            Subject::Key => json!({"name": name, "role": "viewer"}),
            Subject::Network | Subject::Nothing => panic!("{subject:?} is not made over HTTP"),
        };
        id(&create(server, &self.operator, subject.list(), &body))
    }

    fn id(&self, subject: Subject) -> &str {
        match subject {
            Subject::Network => &self.network,
            Subject::Advertiser => &self.advertiser,
            Subject::Campaign => &self.campaign,
            Subject::LineItem => &self.line_item,
            Subject::Creative => &self.creative,
            Subject::Key => &self.key,
            Subject::Asset => &self.asset,
            Subject::Upload => &self.upload,
            Subject::Nothing => ABSENT,
        }
    }

    fn ids(&self) -> [&String; 7] {
        let Self { advertiser, campaign, creative, line_item, key, asset, upload, .. } = self;
        [advertiser, campaign, creative, line_item, key, asset, upload]
    }
}

fn send(server: &Server, key: &str, method: &str, target: &str, request: &Request, if_match: Option<&str>) -> Answer {
    let authorization = format!("Bearer {key}");
    let content_type = if method == "PATCH" { "application/merge-patch+json" } else { "application/json" };
    let mut headers = vec![("Content-Type", request.content_type.unwrap_or(content_type))];
    headers.extend(request.headers);
    if !key.is_empty() {
        headers.push(("Authorization", &authorization));
    }
    if method != "GET" {
        headers.push(("If-Match", if_match.unwrap_or("\"1\"")));
    }
    server.request(method, target, &headers, &request.body)
}

fn create(server: &Server, key: &str, target: &str, body: &Value) -> Answer {
    made(server, key, target, &Request::of(body))
}

fn made(server: &Server, key: &str, list: &str, request: &Request) -> Answer {
    let target = format!("{list}{}", request.query);
    let answer = send(server, key, "POST", &target, request, None);
    assert_eq!(answer.status, 201, "POST {target}: {}", answer.body);
    answer
}

fn id(answer: &Answer) -> String {
    answer.json()["id"].as_str().expect("an id").to_owned()
}

fn secret(answer: &Answer) -> String {
    answer.json()["secret"].as_str().expect("a secret").to_owned()
}

/// Makes two networks in an empty data directory, and an operator's key of each: a second one is not to be had over HTTP.
fn two_networks(data: &std::path::Path) -> [String; 2] {
    let (entropy, now) = (Entropy::real(), Clock::real().now());
    let store = Store::open(data, now.wall, &entropy).expect("opens");
    let secret = store.identity().api_key_secret;
    let started = start(store.catalog().expect("opens"), secret, Box::new(|_| {}));
    let (campaigns, writer) = started.expect("starts");
    let ids = [1, 2].map(NetworkId::from_u128);
    let networks = ids.map(|id| Entity::from(network(id)));
    campaigns.import(networks.to_vec(), now).expect("they keep the rules");
    let operator = |id| {
        let made = campaigns.keys().make(
            ApiKeyId::at(now.wall, entropy.bytes()),
            id,
            "operator".to_owned(),
            Role::Operator,
            entropy.bytes(),
            now.wall,
        );
        add(&campaigns, made, now)
    };
    let operators = ids.map(operator);
    drop(campaigns);
    writer.join();
    operators
}

fn add(
    campaigns: &CampaignHandle,
    (key, secret): (segue::store::ApiKey, segue::store::KeySecret),
    now: segue::model::Now,
) -> String {
    campaigns.submit_blocking(Command::AddKey { key }, Requester::Segue, now).expect("a good key");
    secret.reveal().to_owned()
}

fn network(id: NetworkId) -> Network {
    Network {
        id,
        name: format!("Network {id}"),
        currency: "EUR".to_owned(),
        floor_cpm: Micros(0),
        approve_creatives: true,
        apps: vec![App { key: AppKey::new("player").expect("a key"), name: "Player".to_owned() }],
        placements: vec![Placement {
            key: PlacementKey::new("music").expect("a key"),
            name: "Music".to_owned(),
            floor_cpm: Micros(0),
            max_duration_ms: 120_000,
            max_ads: 4,
            cadence_ms: 0,
            token_life_ms: 3_600_000,
            impression_at_start: false,
        }],
    }
}
