//! The decision by definition: every line item, every set of ads.

use std::collections::HashMap;
use std::sync::Arc;

use super::*;
use crate::catalog::Entity;
use crate::model::*;
use crate::targeting::naive;

/// An ad of the pod, as far as both sides must agree on it.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Ad {
    line_item_id: LineItemId,
    creative_id: CreativeId,
    price: Micros,
    lease_id: Option<LeaseId>,
}

struct Candidate<'a> {
    line_item: &'a LineItem,
    creative: &'a Creative,
    ad: Ad,
    worth: i64,
}

/// What a line item charges, what it draws beforehand, and what an impression is expected to be worth.
struct Priced {
    price: Micros,
    drawn: Micros,
    worth: i64,
}

fn priced(line_item: &LineItem) -> Priced {
    let amount = line_item.pricing.amount.0;
    let (price, drawn, worth) = match (line_item.tier, line_item.pricing.model) {
        (Tier::House, _) => (0, 0, 0),
        (_, PriceModel::Cpm | PriceModel::Cpcl) => (amount / 1_000, amount / 1_000, amount / 1_000),
        // Two clicks of a thousand impressions.
        (_, PriceModel::Cpc) => (amount, 0, amount / 500),
        (_, PriceModel::Flat) => {
            (0, 0, line_item.goal.map_or(0, |goal| amount / i64::try_from(goal.impressions).unwrap()))
        }
    };
    Priced { price: Micros(price), drawn: Micros(drawn), worth }
}

struct Naive<'a> {
    world: &'a World,
    request: &'a AdBreakRequest,
    listener: &'a ListenerState,
    seed: Seed,
    advertisers: HashMap<AdvertiserId, &'a Advertiser>,
    campaigns: HashMap<CampaignId, &'a Campaign>,
    creatives: HashMap<CreativeId, &'a Creative>,
    network: &'a Network,
    placement: &'a Placement,
}

impl<'a> Naive<'a> {
    /// None when the network has no such placement.
    fn new(world: &'a World, request: &'a AdBreakRequest, listener: &'a ListenerState) -> Option<Self> {
        let (mut advertisers, mut campaigns, mut creatives) = (HashMap::new(), HashMap::new(), HashMap::new());
        let mut network = None;
        for entity in &world.entities {
            match entity {
                Entity::Network(one) => network = Some(&**one),
                Entity::Advertiser(one) => drop(advertisers.insert(one.id, &**one)),
                Entity::Campaign(one) => drop(campaigns.insert(one.id, &**one)),
                Entity::Creative(one) => drop(creatives.insert(one.id, &**one)),
                Entity::LineItem(_) => {}
            }
        }
        let network = network?;
        let placement = network.placements.iter().find(|one| one.key == request.placement)?;
        let seed = Seed::of(request);
        Some(Self { world, request, listener, seed, advertisers, campaigns, creatives, network, placement })
    }

    fn is_due(&self) -> bool {
        // Two seconds ahead is a clock that is a little off; more is no time to go by.
        let ages = self.listener.last_break_at.map(|at| NOW.wall.0 - at.0).filter(|age| *age >= -2_000);
        let ages = ages.map(|age| age.max(0)).into_iter();
        let told = self.request.since_last_break_ms.map(|ms| i64::try_from(ms).unwrap());
        let recent = ages.chain(told).any(|age| age < i64::from(self.placement.cadence_ms));
        self.request.subscription == Subscription::Free && !recent
    }

    fn max_duration_ms(&self) -> u32 {
        self.request.spec.max_duration_ms.min(self.placement.max_duration_ms)
    }

    fn max_ads(&self) -> usize {
        usize::from(self.request.spec.max_ads.min(self.placement.max_ads))
    }

    /// Creatives that can play now, whatever the caps.
    fn playable(&self, line_item: &LineItem) -> Vec<&'a Creative> {
        let spec = &self.request.spec;
        let own = line_item.creatives.iter().filter_map(|choice| self.creatives.get(&choice.creative_id).copied());
        own.filter(|one| one.status == Status::Active && one.approval == Approval::Approved)
            .filter(|one| !(self.request.child && one.explicit))
            .filter(|one| spec.formats.is_empty() || one.renditions.iter().any(|it| spec.formats.contains(&it.format)))
            .filter(|one| one.duration_ms <= self.max_duration_ms())
            .filter(|one| !self.listener.last_break_creatives.contains(&one.id))
            .collect()
    }

    /// In flight, active, matching, suitable, with something to play.
    fn runs(&self, line_item: &LineItem) -> bool {
        let statuses = [
            line_item.status,
            self.campaigns[&line_item.campaign_id].status,
            self.advertisers[&line_item.advertiser_id].status,
        ];
        let (avoid, facts) = (&line_item.avoid, &self.request.facts);
        let category = line_item.category.as_deref();
        statuses.iter().all(|&status| status == Status::Active)
            && naive::matches(&line_item.targeting, self.request, &line_item.flight.zone, NOW.wall)
            && !(avoid.explicit && facts.explicit == Some(true))
            && !avoid.content_categories.iter().any(|topic| facts.content_categories.contains(topic))
            && !avoid.genres.iter().any(|genre| facts.genres.contains(genre))
            && !(self.request.child && category == Some("alcohol"))
            && line_item.flight.start <= NOW.wall
            && NOW.wall < line_item.flight.end
            && !self.playable(line_item).is_empty()
    }

    fn has_strict_window(&self, line_item: &LineItem) -> bool {
        let own = line_item.caps.iter();
        let campaign = self.campaigns[&line_item.campaign_id].caps.iter();
        let advertiser = self.advertisers[&line_item.advertiser_id].caps.iter();
        own.chain(campaign)
            .chain(advertiser)
            .any(|cap| cap.strictness == Strictness::Strict && cap.window != CapWindow::Pod)
    }

    fn is_capped(&self, line_item: &LineItem, creative: &Creative) -> bool {
        let caps = [
            &line_item.caps,
            &self.campaigns[&line_item.campaign_id].caps,
            &self.advertisers[&line_item.advertiser_id].caps,
        ];
        caps.into_iter().flatten().any(|cap| {
            let counted = self.listener.exposures.iter().filter(|heard| {
                let in_window = match cap.window {
                    CapWindow::Pod => false,
                    CapWindow::Sliding(ms) => NOW.wall.0 - heard.at.0 < i64::try_from(ms).unwrap(),
                };
                let alive = match heard.state {
                    ExposureState::Heard => true,
                    ExposureState::Reserved { until } => NOW.wall < until,
                };
                let same = match cap.scope {
                    CapScope::Creative => heard.creative_id == creative.id,
                    CapScope::LineItem => heard.line_item_id == line_item.id,
                    CapScope::Campaign => heard.campaign_id == line_item.campaign_id,
                    CapScope::Advertiser => heard.advertiser_id == line_item.advertiser_id,
                };
                in_window && alive && same
            });
            counted.count() >= usize::from(cap.max)
        })
    }

    fn candidate(&self, line_item: &'a LineItem, excluded: &Excluded) -> Option<Candidate<'a>> {
        let uncapped = self.playable(line_item).into_iter().filter(|one| !self.is_capped(line_item, one));
        let creative = uncapped.max_by_key(|one| self.seed.creative(one.id))?;
        let (_, money) = self.world.money.iter().find(|(id, _)| *id == line_item.id)?;
        let is_house = line_item.tier == Tier::House;
        let Priced { price, drawn, worth } = priced(line_item);
        let lease = money
            .lease
            .filter(|terms| terms.amount >= drawn && terms.max_ordinals > 0 && NOW.monotonic < terms.draw_until);
        let floor = self.network.floor_cpm.max(self.placement.floor_cpm);
        let flat = line_item.pricing.model == PriceModel::Flat;
        let may_pay =
            (flat || worth * 1_000 >= floor.0) && self.seed.passes(money.throttle, line_item.id) && lease.is_some();
        if excluded.strict_caps() != StrictCaps::Kept && self.has_strict_window(line_item) {
            return None;
        }
        if money.paused || excluded.contains(line_item.id) || !(is_house || may_pay) {
            return None;
        }
        let lease_id = lease.filter(|_| !is_house).map(|terms| terms.lease_id);
        let ad = Ad { line_item_id: line_item.id, creative_id: creative.id, price, lease_id };
        Some(Candidate { line_item, creative, ad, worth })
    }

    /// The sponsor on whose share the break falls, of those that run.
    fn sponsor(&self) -> Option<&'a LineItem> {
        let mut sponsors: Vec<&LineItem> =
            self.world.line_items().filter(|one| one.tier == Tier::Sponsorship && self.runs(one)).collect();
        sponsors.sort_by_key(|one| one.id);
        let shares = sponsors.iter().map(|one| u32::from(one.share_of_voice.unwrap().basis_points));
        let point = self.seed.point(shares.clone().sum::<u32>().max(10_000));
        let ends = shares.scan(0, |end, share| {
            Some({
                *end += share;
                *end
            })
        });
        ends.zip(&sponsors).find(|(end, _)| point < *end).map(|(_, sponsor)| *sponsor)
    }

    fn pod(&self, excluded: &Excluded) -> Vec<Ad> {
        let sponsor = self.sponsor();
        let others = self.world.line_items().filter(|one| one.tier != Tier::Sponsorship && self.runs(one));
        let candidates: Vec<Candidate<'_>> =
            sponsor.into_iter().chain(others).filter_map(|one| self.candidate(one, excluded)).collect();
        let mut best = (Value::default(), Vec::new());
        self.extend(&candidates, 0, &mut Vec::new(), &mut best);
        let mut ads = best.1;
        ads.sort_by_key(|&index| {
            let Candidate { line_item, worth, .. } = &candidates[index];
            (line_item.tier, -worth.max(&1), std::cmp::Reverse(self.seed.tie(line_item.id)))
        });
        ads.into_iter().map(|index| candidates[index].ad.clone()).collect()
    }

    /// Tries every set of candidates from `from` on, added to those chosen.
    fn extend(&self, all: &[Candidate<'_>], from: usize, chosen: &mut Vec<usize>, best: &mut (Value, Vec<usize>)) {
        let value = self.value(all, chosen);
        if value > best.0 {
            *best = (value, chosen.clone());
        }
        for index in from..all.len() {
            let duration: u32 = chosen.iter().chain([&index]).map(|&one| all[one].creative.duration_ms).sum();
            let apart = chosen.iter().all(|&other| !compete(all[other].line_item, all[index].line_item));
            if chosen.len() < self.max_ads() && duration <= self.max_duration_ms() && apart {
                chosen.push(index);
                self.extend(all, index + 1, chosen, best);
                chosen.pop();
            }
        }
    }

    fn value(&self, all: &[Candidate<'_>], chosen: &[usize]) -> Value {
        let mut value = Value::default();
        for Candidate { line_item, worth, .. } in chosen.iter().map(|&index| &all[index]) {
            value.0[line_item.tier as usize] += worth.max(&1);
            value.1 += u128::from(self.seed.tie(line_item.id));
        }
        value
    }
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
struct Value([i64; 4], u128);

fn compete(a: &LineItem, b: &LineItem) -> bool {
    let excludes = |one: &LineItem, other: &LineItem| {
        other.category.as_ref().is_some_and(|category| one.excluded_categories.contains(category))
    };
    a.advertiser_id == b.advertiser_id
        || (a.category.is_some() && a.category == b.category)
        || excludes(a, b)
        || excludes(b, a)
}

fn ads(decision: &Decision) -> Vec<Ad> {
    let lease = |billing| match billing {
        Billing::Lease(lease_id) => Some(lease_id),
        Billing::None => None,
    };
    let ad = |ad: &ChosenAd| Ad {
        line_item_id: ad.line_item_id,
        creative_id: ad.creative_id,
        price: ad.price,
        lease_id: lease(ad.billing),
    };
    decision.ads.iter().map(ad).collect()
}

#[test]
fn decide_equals_brute_force_over_all_line_items() {
    const WORLDS: u64 = 1_000;
    const BREAKS: u64 = 4;
    let (mut breaks, mut by_size, mut by_tier, mut early) = (0_u32, [0_u32; 5], [0_u32; 4], 0_u32);
    let mut reasons = ReasonCounts::new();
    for seed in 0..WORLDS {
        let mut chance = Chance::new(seed);
        let world = if seed % 2 == 0 { World::random(&mut chance, 24) } else { World::rich(&mut chance, 24) };
        let snapshot = world.snapshot();
        let spending = world.spending(&snapshot);
        for _ in 0..BREAKS {
            let (request, listener) = (world::request(&mut chance), world::listener(&mut chance));
            let strict_caps = match seed / 2 % 6 {
                0 => StrictCaps::Unsure,
                1 => StrictCaps::NotInSession,
                _ => StrictCaps::Kept,
            };
            let mut excluded = Excluded::by_strict_caps(strict_caps);
            if chance.percent(30) {
                excluded.insert(LineItemId::from_u128(u128::from(chance.below(24))));
            }
            let decision = decided(&snapshot, &spending, &request, &listener, &excluded);
            let expected =
                Naive::new(&world, &request, &listener).filter(Naive::is_due).map(|naive| naive.pod(&excluded));
            assert_eq!(decision.no_break.is_none(), expected.is_some(), "SEED={seed}: {decision:?}");
            assert_eq!(ads(&decision), expected.unwrap_or_default(), "SEED={seed}: {decision:#?}");
            assert_eq!(decision.degradation, Degradation::None, "SEED={seed}");
            check_survey(&snapshot, &spending, &request, &listener, &excluded, &decision, &mut early);
            breaks += 1;
            by_size[decision.ads.len()] += 1;
            for ad in &decision.ads {
                by_tier[ad.tier as usize] += 1;
            }
            for (reason, count) in decision.reasons.iter() {
                (0..count).for_each(|_| reasons.add(reason));
            }
        }
    }
    println!("{breaks} breaks; by ads {by_size:?}; ads by tier {by_tier:?}; {early} ended early");
    for (reason, count) in reasons.iter() {
        println!("{count:>8} {}", reason.name());
    }
    assert!(
        breaks >= 2_000
            && early > breaks / 20
            && by_size[2] > breaks / 10
            && by_size[3] > breaks / 50
            && by_tier.iter().all(|&ads| ads > 100)
    );
    let never = [NoFillReason::NotMatched, NoFillReason::BeyondLimit, NoFillReason::PreviewNotFound];
    for reason in NoFillReason::ALL.into_iter().filter(|reason| !never.contains(reason)) {
        assert!(reasons.get(reason) > 0, "{} never seen", reason.name());
    }
}

/// A survey gives the same pod, and looks at no fewer candidates; every candidate has one fate.
fn check_survey(
    snapshot: &Snapshot,
    spending: &Spending,
    request: &AdBreakRequest,
    listener: &ListenerState,
    excluded: &Excluded,
    decision: &Decision,
    early: &mut u32,
) {
    let resolved = snapshot.resolve(&Arc::new(request.clone()), NOW);
    let mut scratch = Scratch::new();
    let all = survey(snapshot, &resolved, listener, spending, excluded, NOW, Seed::of(request), &mut scratch);
    assert_eq!(all.ads, decision.ads);
    assert!(all.considered >= decision.considered);
    *early += u32::from(all.considered > decision.considered);
    for one in [all, decision] {
        assert_eq!(one.reasons.total() + one.ads.len() as u64, u64::from(one.considered));
        assert!(one.spend_reads.is_sorted_by(|a, b| a.line_item_id < b.line_item_id), "each line item is read once");
    }
}
