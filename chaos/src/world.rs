//! The catalogue that is played: made through the campaign API, as an operator would.

use std::collections::HashMap;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};
use uuid::Uuid;

/// Advertisers, each with one line item of every kind.
const ADVERTISERS: usize = 8;
/// What the poor line items may spend: some 300 impressions.
const SMALL_BUDGET_MICROS: i64 = 1_200_000;
const LARGE_BUDGET_MICROS: i64 = 1_000_000_000_000;
/// What an impression of the rich ones costs at most, per thousand.
const BID_CPM_MICROS: i64 = 4_000_000;
/// Window of every cap: longer than a piece.
const CAP_WINDOW_MS: u64 = 24 * 3_600_000;
const TIMEOUT: Duration = Duration::from_secs(10);

/// What the judge knows of a line item.
#[derive(Clone, Debug)]
pub(crate) struct Item {
    /// What it may spend, in micros.
    pub(crate) budget_micros: Option<i64>,
    /// How often a listener may hear it within a day, and whether strictly.
    pub(crate) cap: Option<(u32, bool)>,
    /// Whether somebody pays.
    pub(crate) is_paid: bool,
}

/// The catalogue.
#[derive(Clone, Debug, Default)]
pub(crate) struct World {
    /// Line items.
    pub(crate) items: HashMap<Uuid, Item>,
    /// What campaigns and advertisers may spend.
    pub(crate) budgets: HashMap<Uuid, i64>,
}

/// Speaks the campaign API.
#[derive(Clone, Debug)]
pub(crate) struct Operator {
    client: reqwest::Client,
    base: String,
    key: String,
}

impl Operator {
    /// At a server, with a key.
    pub(crate) const fn new(client: reqwest::Client, base: String, key: String) -> Self {
        Self { client, base, key }
    }

    async fn create(&self, path: &str, body: &Value) -> anyhow::Result<Uuid> {
        let request =
            self.client.post(format!("{}{path}", self.base)).bearer_auth(&self.key).timeout(TIMEOUT).json(body);
        let answer = request.send().await.with_context(|| format!("POST {path}"))?;
        let (status, text) = (answer.status(), answer.text().await.unwrap_or_default());
        ensure!(status.as_u16() == 201, "POST {path}: {status}: {text}");
        let id =
            serde_json::from_str::<Value>(&text).ok().and_then(|value| value["id"].as_str().map(ToOwned::to_owned));
        id.context("an id")?.parse().context("an id")
    }

    /// What a GET answers.
    pub(crate) async fn get(&self, path: &str) -> anyhow::Result<Value> {
        let request = self.client.get(format!("{}{path}", self.base)).bearer_auth(&self.key).timeout(TIMEOUT);
        let answer = request.send().await.with_context(|| format!("GET {path}"))?;
        let (status, text) = (answer.status(), answer.text().await.unwrap_or_default());
        ensure!(status.is_success(), "GET {path}: {status}: {text}");
        serde_json::from_str(&text).with_context(|| format!("GET {path}"))
    }

    /// Impressions billed so far, by the reports.
    pub(crate) async fn billed(&self) -> anyhow::Result<u64> {
        let report = self.get("/v1/reports?group_by=total").await?;
        Ok(report["rows"][0]["billed_impressions"].as_u64().unwrap_or(0))
    }

    /// Impressions that the reports have, billed or not.
    pub(crate) async fn impressions(&self) -> anyhow::Result<u64> {
        let report = self.get("/v1/reports?group_by=total").await?;
        Ok(report["rows"][0]["impressions"].as_u64().unwrap_or(0))
    }

    /// Makes all of it.
    pub(crate) async fn make_world(&self) -> anyhow::Result<World> {
        let mut world = World::default();
        for number in 1..=ADVERTISERS {
            let name = format!("Advertiser {number}");
            let budget = json!({"lifetime_micros": LARGE_BUDGET_MICROS});
            let advertiser = self.create("/v1/advertisers", &json!({"name": name, "budget": budget})).await?;
            let campaign = json!({"advertiser_id": advertiser, "name": "All year", "budget": budget});
            let campaign = self.create("/v1/campaigns", &campaign).await?;
            world.budgets.extend([(advertiser, LARGE_BUDGET_MICROS), (campaign, LARGE_BUDGET_MICROS)]);
            for kind in Kind::ALL {
                let creative = json!({
                    "advertiser_id": advertiser, "name": format!("{kind:?} of {name}"), "duration_ms": 3_000,
                    "renditions": [{"format": "mp3", "bitrate_kbps": 128, "url": "https://cdn.example.com/ad.mp3"}],
                });
                let creative = self.create("/v1/creatives", &creative).await?;
                let id = self.create("/v1/line-items", &kind.document(number, campaign, creative)).await?;
                let (budget_micros, cap, is_paid) = (kind.budget_micros(), kind.cap(), kind != Kind::House);
                world.items.insert(id, Item { budget_micros, cap, is_paid });
            }
        }
        Ok(world)
    }
}

/// Kinds of line items.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    /// Bids most, and a listener never hears it more than twice.
    Strict,
    /// The same, but for what servers don't know of each other.
    Soft,
    /// Its budget ends while it is played.
    Poor,
    /// Takes all there is.
    Rich,
    /// Promised a number of impressions.
    Guaranteed,
    /// Nobody pays.
    House,
}

impl Kind {
    const ALL: [Self; 6] = [Self::Strict, Self::Soft, Self::Poor, Self::Rich, Self::Guaranteed, Self::House];

    const fn cap(self) -> Option<(u32, bool)> {
        match self {
            Self::Strict => Some((2, true)),
            Self::Soft => Some((3, false)),
            Self::Poor | Self::Rich | Self::Guaranteed | Self::House => None,
        }
    }

    const fn budget_micros(self) -> Option<i64> {
        match self {
            Self::Poor => Some(SMALL_BUDGET_MICROS),
            Self::House => None,
            Self::Strict | Self::Soft | Self::Rich | Self::Guaranteed => Some(LARGE_BUDGET_MICROS),
        }
    }

    fn document(self, number: usize, campaign: Uuid, creative: Uuid) -> Value {
        let above = match self {
            Self::Strict => 3,
            Self::Soft => 2,
            Self::Poor => 1,
            Self::Rich | Self::Guaranteed | Self::House => 0,
        };
        let mut document = json!({
            "campaign_id": campaign,
            "name": format!("{self:?} {number}"),
            "flight": {"start": "2026-01-01T00:00:00Z", "end": "2036-01-01T00:00:00Z"},
            "tier": "auction",
            "pricing": {"model": "cpm", "amount_micros": BID_CPM_MICROS + 500_000 * above},
            "pacing": {"mode": "as_fast_as_possible"},
            "creatives": [{"creative_id": creative}],
        });
        if let Some(budget_micros) = self.budget_micros() {
            document["budget"] = json!({"lifetime_micros": budget_micros});
        }
        if let Some((max, is_strict)) = self.cap() {
            let window = json!({"kind": "sliding", "duration_ms": CAP_WINDOW_MS});
            let strictness = if is_strict { "strict" } else { "soft" };
            document["caps"] = json!([{"scope": "line_item", "max": max, "window": window, "strictness": strictness}]);
        }
        match self {
            Self::Guaranteed => {
                document["tier"] = json!("guaranteed");
                document["goal"] = json!({"impressions": 500});
            }
            Self::House => {
                document["tier"] = json!("house");
                document["pricing"] = json!({"model": "cpm", "amount_micros": 0});
            }
            Self::Strict | Self::Soft | Self::Poor | Self::Rich => {}
        }
        document
    }
}
