//! What is sold: budgets of every level that run out while the server is killed, a promise, line items that never run out, and a house ad.

use std::collections::BTreeMap;
use std::path::Path;

use segue::model::{AdvertiserId, CampaignId, LineItemId, Micros, WallMs};
use serde_json::{Value, json};

use crate::harness::Server;

/// Price of an impression where budgets are scarce; those win over the others, so that they run out.
const SCARCE: Micros = Micros(9_000);
/// Price of an impression elsewhere.
const PLENTY: Micros = Micros(5_000);
const DAY_MS: i64 = 86_400_000;

/// The limits that the books must keep.
#[derive(Clone, Default)]
pub(super) struct Sold {
    pub(super) advertisers: BTreeMap<AdvertiserId, Micros>,
    pub(super) campaigns: BTreeMap<CampaignId, Micros>,
    pub(super) line_items: BTreeMap<LineItemId, Micros>,
    pub(super) goals: BTreeMap<LineItemId, u64>,
    /// Line items that are paid for.
    pub(super) paid: Vec<LineItemId>,
}

fn operator_key(data: &Path) -> String {
    std::fs::read_to_string(data.join("operator.key")).expect("the first start wrote it").trim().to_owned()
}

/// How many of the line items that are paid for are billed for something, as the report says.
pub(super) fn billed(server: &Server, data: &Path, sold: &Sold) -> usize {
    let key = format!("Bearer {}", operator_key(data));
    let answer = server.request("GET", "/v1/reports?group_by=line_item", &[("authorization", &key)], b"");
    assert_eq!(answer.status, 200, "a report is answered");
    let report = answer.json();
    let rows = report["rows"].as_array().expect("a report has rows").iter();
    let billed = rows.filter(|row| row["billed_impressions"].as_i64().is_some_and(|count| count > 0));
    let ids = billed.filter_map(|row| row["line_item_id"].as_str()?.parse::<LineItemId>().ok());
    ids.filter(|id| sold.paid.contains(id)).count()
}

/// Sells through the campaign API.
pub(super) fn set_up(server: &Server, data: &Path, now: WallMs) -> Sold {
    let key = operator_key(data);
    let flight = json!({"start": now.plus_ms(-DAY_MS).to_rfc3339(), "end": now.plus_ms(30 * DAY_MS).to_rfc3339()});
    let mut desk = Desk { server, key, flight, sold: Sold::default() };

    let top = desk.advertiser("scarce advertiser", Some(SCARCE.0 * 150));
    for campaign in ["one", "two"] {
        let campaign = desk.campaign(&top, campaign, None);
        for _ in 0..3 {
            desk.line_item(&campaign, "auction", SCARCE, None, None);
        }
    }
    let middle = desk.advertiser("scarce campaign", None);
    let small = desk.campaign(&middle, "small", Some(SCARCE.0 * 100));
    for _ in 0..3 {
        desk.line_item(&small, "auction", SCARCE, None, None);
    }
    let low = desk.advertiser("scarce line items", None);
    let campaign = desk.campaign(&low, "no limit", None);
    for impressions in [10, 25, 40, 80] {
        desk.line_item(&campaign, "auction", SCARCE, Some(SCARCE.0 * impressions), None);
    }
    let promised = desk.advertiser("promised", None);
    let campaign = desk.campaign(&promised, "promise", None);
    desk.line_item(&campaign, "guaranteed", PLENTY, None, Some(120));
    for wide in ["plenty one", "plenty two", "plenty three"] {
        let wide = desk.advertiser(wide, None);
        let campaign = desk.campaign(&wide, "plenty", Some(PLENTY.0 * 1_000_000));
        for _ in 0..8 {
            desk.line_item(&campaign, "auction", PLENTY, None, None);
        }
    }
    let house = desk.advertiser("house", None);
    let campaign = desk.campaign(&house, "house", None);
    desk.line_item(&campaign, "house", Micros::ZERO, None, None);
    desk.sold
}

/// An advertiser with its one creative.
struct Buyer {
    advertiser_id: String,
    creative_id: String,
}

/// A campaign of a buyer.
struct Bought<'a> {
    buyer: &'a Buyer,
    campaign_id: String,
}

struct Desk<'a> {
    server: &'a Server,
    key: String,
    flight: Value,
    sold: Sold,
}

impl Desk<'_> {
    fn create(&self, path: &str, body: &Value) -> String {
        let bearer = format!("Bearer {}", self.key);
        let headers = [("Authorization", bearer.as_str()), ("Content-Type", "application/json")];
        let answer = self.server.request("POST", path, &headers, body.to_string().as_bytes());
        assert_eq!(answer.status, 201, "{path}: {body}: {}", answer.body);
        answer.json()["id"].as_str().expect("what was made has an id").to_owned()
    }

    fn advertiser(&mut self, name: &str, budget: Option<i64>) -> Buyer {
        let advertiser_id = self.create("/v1/advertisers", &json!({"name": name, "budget": budget_of(budget)}));
        let creative = json!({
            "advertiser_id": advertiser_id, "name": name, "duration_ms": 15_000,
            "renditions": [{"format": "mp3", "bitrate_kbps": 128, "url": "https://cdn.example/ad.mp3"}],
        });
        let creative_id = self.create("/v1/creatives", &creative);
        let id = advertiser_id.parse().expect("an id");
        self.sold.advertisers.extend(budget.map(|budget| (id, Micros(budget))));
        Buyer { advertiser_id, creative_id }
    }

    fn campaign<'b>(&mut self, buyer: &'b Buyer, name: &str, budget: Option<i64>) -> Bought<'b> {
        let body = json!({"advertiser_id": buyer.advertiser_id, "name": name, "budget": budget_of(budget)});
        let campaign_id = self.create("/v1/campaigns", &body);
        let id = campaign_id.parse().expect("an id");
        self.sold.campaigns.extend(budget.map(|budget| (id, Micros(budget))));
        Bought { buyer, campaign_id }
    }

    fn line_item(&mut self, campaign: &Bought<'_>, tier: &str, price: Micros, budget: Option<i64>, goal: Option<u64>) {
        let mut body = json!({
            "campaign_id": campaign.campaign_id, "name": tier, "flight": self.flight, "tier": tier,
            "pricing": {"model": "cpm", "amount_micros": price.0 * 1_000}, "budget": budget_of(budget),
            "pacing": {"mode": "as_fast_as_possible"}, "creatives": [{"creative_id": campaign.buyer.creative_id}],
        });
        if let Some(impressions) = goal {
            body["goal"] = json!({"impressions": impressions});
        }
        let id = self.create("/v1/line-items", &body).parse().expect("an id");
        self.sold.line_items.extend(budget.map(|budget| (id, Micros(budget))));
        self.sold.goals.extend(goal.map(|goal| (id, goal)));
        if price > Micros::ZERO {
            self.sold.paid.push(id);
        }
    }
}

fn budget_of(lifetime: Option<i64>) -> Value {
    lifetime.map_or_else(|| json!({}), |micros| json!({"lifetime_micros": micros}))
}
