//! The catalogue as it was imported and changed since, and what an answer can be judged by as it comes.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::demo::client::Answered;
use crate::http::player::convert::{Asker, to_request};
use crate::http::player::wire::AdBreakRequestBody;
use crate::model::{
    AdBreakRequest, AdvertiserId, AppKey, CampaignId, CapWindow, CreativeId, FrequencyCap, LineItem, LineItemId,
    ListenerKey, Micros, NetworkId, Tier, WallMs,
};
use crate::targeting::naive;
use crate::workload::world::World;

/// The catalogue, and the changes that the scripted advertiser made.
#[derive(Debug)]
pub struct Rules {
    network_id: NetworkId,
    app: AppKey,
    items: BTreeMap<LineItemId, LineItem>,
    campaign_caps: BTreeMap<CampaignId, Vec<FrequencyCap>>,
    advertiser_caps: BTreeMap<AdvertiserId, Vec<FrequencyCap>>,
    durations_ms: BTreeMap<CreativeId, u32>,
    /// Longest pod of the placement in milliseconds.
    pub pod_max_ms: u32,
    /// Most ads of a pod of the placement.
    pub pod_max_ads: u8,
    changes: Mutex<Changes>,
}

/// What changed after the import.
#[derive(Debug, Default)]
struct Changes {
    /// Further prices of an impression, in micros.
    prices: BTreeMap<LineItemId, Vec<Micros>>,
    /// From when a line item was surely paused, and until when; open while it still is.
    pauses: BTreeMap<LineItemId, Vec<(WallMs, Option<WallMs>)>>,
}

impl Rules {
    /// The rules of that world, for the placement that it plays in and requests of that app.
    #[must_use]
    pub fn new(world: &World, app: AppKey) -> Self {
        let placement = world.network.placements.first().expect("a world has a placement");
        Self {
            network_id: world.network.id,
            app,
            items: world.line_items.iter().map(|item| (item.id, item.clone())).collect(),
            campaign_caps: world.campaigns.iter().map(|one| (one.id, one.caps.clone())).collect(),
            advertiser_caps: world.advertisers.iter().map(|one| (one.id, one.caps.clone())).collect(),
            durations_ms: world.creatives.iter().map(|one| (one.id, one.duration_ms)).collect(),
            pod_max_ms: placement.max_duration_ms,
            pod_max_ads: placement.max_ads,
            changes: Mutex::new(Changes::default()),
        }
    }

    /// The line item, as imported.
    #[must_use]
    pub fn item(&self, id: LineItemId) -> Option<&LineItem> {
        self.items.get(&id)
    }

    /// A creative's length in milliseconds.
    #[must_use]
    pub fn duration_ms(&self, id: CreativeId) -> Option<u32> {
        self.durations_ms.get(&id).copied()
    }

    /// All caps that hold for a line item: its own, its campaign's, its advertiser's.
    pub fn caps_of<'a>(&'a self, item: &'a LineItem) -> impl Iterator<Item = FrequencyCap> + 'a {
        let above =
            self.campaign_caps.get(&item.campaign_id).into_iter().chain(self.advertiser_caps.get(&item.advertiser_id));
        item.caps.iter().chain(above.flatten()).copied()
    }

    /// The longest window of any cap, in milliseconds.
    #[must_use]
    pub fn longest_window_ms(&self) -> i64 {
        let caps = self.items.values().flat_map(|item| &item.caps);
        let caps = caps.chain(self.campaign_caps.values().chain(self.advertiser_caps.values()).flatten());
        let windows = caps.map(|cap| match cap.window {
            CapWindow::Pod => 0,
            CapWindow::Sliding(window_ms) => i64::try_from(window_ms).unwrap_or(i64::MAX),
        });
        windows.max().unwrap_or(0)
    }

    /// Whether an impression of the line item may have cost that: nothing for the house, its price now or earlier for others.
    #[must_use]
    pub fn may_cost(&self, item: &LineItem, price: Micros) -> bool {
        if item.tier == Tier::House {
            return price == Micros::ZERO;
        }
        let now = Micros(item.pricing.amount.0 / 1_000);
        price == now || self.changes().prices.get(&item.id).is_some_and(|prices| prices.contains(&price))
    }

    /// A line item may from now on cost that, too.
    pub fn price_added(&self, id: LineItemId, price: Micros) {
        self.changes().prices.entry(id).or_default().push(price);
    }

    /// A line item is paused: every answer to a request sent from `from` on must be without it.
    pub fn paused(&self, id: LineItemId, from: WallMs) {
        self.changes().pauses.entry(id).or_default().push((from, None));
    }

    /// A line item may play again from `until` on.
    pub fn resumed(&self, id: LineItemId, until: WallMs) {
        if let Some(last) = self.changes().pauses.get_mut(&id).and_then(|pauses| pauses.last_mut()) {
            last.1 = Some(until);
        }
    }

    /// What is wrong with the answer by itself, each finding as `rule: what`.
    #[must_use]
    pub fn judge(&self, body: &AdBreakRequestBody, answered: &Answered) -> Vec<String> {
        let answer = &answered.answer;
        let mut broken: Vec<String> = answer
            .warnings
            .iter()
            .map(|warning| format!("warning: {} at {}: {}", warning.code, warning.path, warning.message))
            .collect();
        if answer.no_break.is_some() && !answer.ads.is_empty() {
            broken.push(format!("no_break: answer {} has ads although no break is due", answer.decision_id));
        }
        if body.listener.premium == Some(true) && !answer.ads.is_empty() {
            broken.push(format!("premium: answer {} has ads for a premium listener", answer.decision_id));
        }
        let Some(request) = self.as_request(body) else {
            broken.push(format!("request: {} was answered but can't be understood", body.request_id));
            return broken;
        };
        for ad in &answer.ads {
            let id = LineItemId::from_uuid(ad.line_item_id);
            let Some(item) = self.items.get(&id) else {
                broken.push(format!("unknown: line item {id} is not of this world"));
                continue;
            };
            let mut report =
                |rule: &str| broken.push(format!("{rule}: {} in answer {}", item.name, answer.decision_id));
            for rule in self.rules_broken(item, &request, answered.sent, answered.came) {
                report(rule);
            }
            if ad.advertiser_id != item.advertiser_id.as_uuid() || ad.campaign_id != item.campaign_id.as_uuid() {
                report("belonging");
            }
            let creative_id = CreativeId::from_uuid(ad.creative_id);
            if !item.creatives.iter().any(|choice| choice.creative_id == creative_id)
                || self.duration_ms(creative_id) != Some(ad.duration_ms)
            {
                report("creative");
            }
        }
        broken
    }

    /// Rules of the line item that a request decided between two moments breaks. What depends on the time must hold at one of its ends.
    fn rules_broken(
        &self,
        item: &LineItem,
        request: &AdBreakRequest,
        sent: WallMs,
        answered: WallMs,
    ) -> Vec<&'static str> {
        let mut broken = Vec::new();
        let facts = &request.facts;
        let at_either = |holds: &dyn Fn(WallMs) -> bool| holds(sent) || holds(answered);
        if !at_either(&|at| naive::matches(&item.targeting, request, &item.flight.zone, at)) {
            broken.push("targeting");
        }
        if !at_either(&|at| item.flight.start <= at && at < item.flight.end) {
            broken.push("flight");
        }
        if self.surely_paused(item.id, sent, answered) {
            broken.push("paused");
        }
        let avoid = &item.avoid;
        if (avoid.explicit && facts.explicit == Some(true))
            || avoid.genres.iter().any(|genre| facts.genres.contains(genre))
            || avoid.content_categories.iter().any(|category| facts.content_categories.contains(category))
        {
            broken.push("avoidance");
        }
        if request.child && matches!(item.category.as_deref(), Some("alcohol" | "gambling")) {
            broken.push("children");
        }
        broken
    }

    /// Whether the line item was paused during the whole of the request.
    fn surely_paused(&self, id: LineItemId, sent: WallMs, answered: WallMs) -> bool {
        let changes = self.changes();
        let Some(pauses) = changes.pauses.get(&id) else { return false };
        pauses.iter().any(|&(from, until)| from <= sent && until.is_none_or(|until| answered < until))
    }

    fn as_request(&self, body: &AdBreakRequestBody) -> Option<AdBreakRequest> {
        let asker = Asker { network_id: self.network_id, app: self.app.clone() };
        to_request(body.clone(), asker, |_, _| ListenerKey([0; 16]), &mut Vec::new()).ok()
    }

    fn changes(&self) -> MutexGuard<'_, Changes> {
        // Whoever panicked left whole entries.
        self.changes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
