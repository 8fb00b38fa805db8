//! Compares what players were acknowledged with what stands in Kafka and in CQL. It knows no code of the server's.

mod books;
mod log;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde::Serialize;
use uuid::Uuid;

use self::books::Books;
use self::log::{Heard, Log};
use crate::history::{Ad, AdName, History};
use crate::world::World;

/// Longest that the books may need to have all that is in the log.
const SETTLE_MAX: Duration = Duration::from_mins(2);
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Where to read.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    /// Some brokers.
    pub(crate) brokers: String,
    /// What stands before the topics' names; the keyspace too.
    pub(crate) name: String,
    /// Cassandra.
    pub(crate) cql: String,
}

/// What was found.
#[derive(Clone, Default, Debug, Serialize)]
pub(crate) struct Verdict {
    /// Impressions of paid ads that players were acknowledged.
    pub(crate) acknowledged: u64,
    /// Impressions of paid ads in the log.
    pub(crate) heard: u64,
    /// Impressions that the books bill.
    pub(crate) billed: i64,
    /// What for, in micros.
    pub(crate) billed_micros: i64,
    /// Not billed, by the number of the reason as the books have it.
    pub(crate) unbilled: BTreeMap<u32, i64>,
    /// Records of one event that stood in the log more than once, and were dropped.
    pub(crate) duplicates: u64,
    /// Acknowledged and not in the log, or in the log and neither billed nor unbilled for a reason.
    pub(crate) lost: u64,
    /// Billed beyond what was heard, or at another price.
    pub(crate) double: u64,
    /// Billed or held beyond a budget, in micros.
    pub(crate) overspend_micros: i64,
    /// Most impressions that a line item was heard beyond its budget, and how many it may be.
    pub(crate) beyond_budget: i64,
    pub(crate) beyond_budget_allowed: i64,
    /// Listeners who heard an ad with a strict cap more often than it allows.
    pub(crate) strict_violations: u64,
    /// Listeners who heard one with a soft cap more often than it allows and one more for each time their server changed.
    pub(crate) soft_violations: u64,
    /// Soft caps passed at all, within what is allowed.
    pub(crate) soft_passed: u64,
    /// Closed leases, and those of them whose settlement is not what the log says was heard of them.
    pub(crate) closed_leases: u64,
    pub(crate) wrong_leases: u64,
    /// Entries of the ledger, and wrong ones.
    pub(crate) entries: u64,
    pub(crate) wrong_entries: u64,
    /// Records put aside.
    pub(crate) dead_letters: u64,
    /// What was found in words, the first of it.
    pub(crate) findings: Vec<String>,
}

/// Findings that are kept in words.
const FINDINGS_MAX: usize = 20;

/// Reads until all that was acknowledged is there and judged, or for as long as it may take; then says what is.
pub(crate) async fn judge(place: &Place, world: &World, history: &History) -> anyhow::Result<Verdict> {
    let (ads, until, mut is_said) = (history.ads(), Instant::now() + SETTLE_MAX, false);
    loop {
        let (brokers, name) = (place.brokers.clone(), place.name.clone());
        let log = tokio::task::spawn_blocking(move || Log::read(&brokers, &name)).await.context("reading Kafka")??;
        let books = Books::read(&place.cql, &place.name).await?;
        let is_whole = missing(&log, &ads).next().is_none() && books.judged() >= i64::try_from(log.heard.len())?;
        if is_whole || Instant::now() > until {
            return Ok(Case { log, books, world, ads, moves: history.moves() }.verdict());
        }
        if !is_said && until.saturating_duration_since(Instant::now()) < SETTLE_MAX / 2 {
            is_said = true;
            eprintln!("  the books still wait: {} impressions of {}", books.judged(), log.heard.len());
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Acknowledged impressions that are not in the log.
fn missing<'a>(log: &Log, ads: &'a HashMap<AdName, Ad>) -> impl Iterator<Item = &'a AdName> {
    let heard: HashSet<AdName> = log.heard.values().map(|heard| heard.ad).collect();
    ads.iter().filter(move |(name, ad)| ad.acknowledged.is_some() && !heard.contains(name)).map(|(name, _)| name)
}

/// All that is known.
struct Case<'w> {
    log: Log,
    books: Books,
    world: &'w World,
    ads: HashMap<AdName, Ad>,
    moves: HashMap<u32, u32>,
}

impl Case<'_> {
    fn verdict(&self) -> Verdict {
        let paid = |heard: &&Heard| heard.is_paid;
        let mut verdict = Verdict {
            acknowledged: self.ads.values().filter(|ad| ad.is_paid && ad.acknowledged.is_some()).count() as u64,
            heard: self.log.heard.values().filter(paid).count() as u64,
            duplicates: self.log.duplicates,
            entries: self.log.entries,
            wrong_entries: self.log.wrong_entries,
            dead_letters: self.log.dead_letters,
            ..Verdict::default()
        };
        for name in missing(&self.log, &self.ads) {
            verdict.lost += 1;
            verdict.find(format!("acknowledged and not in the log: {name:?}"));
        }
        self.judge_answers(&mut verdict);
        self.judge_line_items(&mut verdict);
        self.judge_budgets(&mut verdict);
        self.judge_caps(&mut verdict);
        self.judge_leases(&mut verdict);
        verdict
    }

    /// What the log says was heard was answered, at that price, and one impression stands for one ad.
    fn judge_answers(&self, verdict: &mut Verdict) {
        let mut names = HashSet::new();
        for heard in self.log.heard.values() {
            if !names.insert(heard.ad) {
                verdict.double += 1;
                verdict.find(format!("two impressions of one ad: {:?}", heard.ad));
            }
            // An answer may be lost on its way: then nobody can have heard it.
            let Some(ad) = self.ads.get(&heard.ad) else {
                verdict.double += 1;
                verdict.find(format!("heard and never answered: {:?}", heard.ad));
                continue;
            };
            if ad.sent.is_none() || (ad.is_paid && ad.price_micros != heard.price_micros) {
                verdict.double += 1;
                verdict.find(format!("{:?}: answered {ad:?}, in the log {heard:?}", heard.ad));
            }
        }
    }

    /// What the books have of a line item is what the log has: each impression billed once at its price, or not for a reason.
    fn judge_line_items(&self, verdict: &mut Verdict) {
        let mut heard: HashMap<Uuid, Vec<&Heard>> = HashMap::new();
        for one in self.log.heard.values() {
            heard.entry(one.ad.line_item).or_default().push(one);
        }
        for id in self.world.items.keys() {
            let books = self.books.delivered.get(id).cloned().unwrap_or_default();
            let all = heard.get(id).map_or(&[][..], Vec::as_slice);
            let unbilled: i64 = books.unbilled.values().sum();
            let (in_log, in_books) = (i64::try_from(all.len()).unwrap_or(i64::MAX), books.billed + unbilled);
            if in_books != in_log {
                verdict.lost += u64::try_from(in_log - in_books).unwrap_or(0);
                verdict.double += u64::try_from(in_books - in_log).unwrap_or(0);
                verdict.find(format!("{id}: heard {in_log}, billed {} and unbilled {unbilled}", books.billed));
            }
            if !self.world.items[id].is_paid {
                continue;
            }
            verdict.billed += books.billed;
            verdict.billed_micros += books.billed_micros;
            for (reason, count) in &books.unbilled {
                *verdict.unbilled.entry(*reason).or_default() += count;
            }
            // Which of them were not billed the books don't say here, so the sum lies between the cheapest and the dearest so many.
            let mut prices: Vec<i64> = all.iter().map(|one| one.price_micros).collect();
            prices.sort_unstable();
            let count = usize::try_from(books.billed).unwrap_or(0).min(prices.len());
            let (least, most) =
                (prices[..count].iter().sum::<i64>(), prices[prices.len() - count..].iter().sum::<i64>());
            if !(least..=most).contains(&books.billed_micros) {
                verdict.double += 1;
                verdict.find(format!(
                    "{id}: {count} impressions for {} micros, not {least} to {most}",
                    books.billed_micros
                ));
            }
            let balance = self.books.balances.get(id).copied().unwrap_or_default();
            if balance.settled_micros != books.billed_micros || balance.settled_count != books.billed.cast_unsigned() {
                verdict.double += 1;
                verdict.find(format!("{id}: its balance {balance:?} is not what was delivered {books:?}"));
            }
        }
    }

    fn judge_budgets(&self, verdict: &mut Verdict) {
        let items = self.world.items.iter().filter_map(|(id, item)| Some((*id, item.budget_micros?)));
        let budgets = items.chain(self.world.budgets.iter().map(|(id, budget)| (*id, *budget)));
        for (id, budget) in budgets {
            let balance = self.books.balances.get(&id).copied().unwrap_or_default();
            let beyond = (balance.settled_micros + balance.open_micros - budget).max(0);
            if beyond > 0 {
                verdict.overspend_micros += beyond;
                verdict.find(format!("{id}: {balance:?} is beyond its budget of {budget}"));
            }
        }
        let mut heard: HashMap<Uuid, (i64, i64)> = HashMap::new();
        for one in self.log.heard.values().filter(|one| one.is_paid && !one.is_unbillable) {
            let (micros, count) = heard.entry(one.ad.line_item).or_default();
            *micros += one.price_micros;
            *count += 1;
        }
        verdict.beyond_budget_allowed = 1;
        for (id, (micros, count)) in heard {
            let Some(budget) = self.world.items.get(&id).and_then(|item| item.budget_micros) else { continue };
            let beyond = (micros - budget).max(0);
            // In impressions of the line item's own average price.
            let impressions = if micros == 0 { 0 } else { (beyond * count + micros - 1) / micros };
            if impressions > verdict.beyond_budget {
                verdict.beyond_budget = impressions;
                verdict.beyond_budget_allowed = (count / 1_000).max(1);
            }
        }
    }

    fn judge_caps(&self, verdict: &mut Verdict) {
        let mut heard: HashMap<(u32, Uuid), u32> = HashMap::new();
        for (name, ad) in self.ads.iter().filter(|(_, ad)| ad.acknowledged.is_some()) {
            *heard.entry((ad.listener, name.line_item)).or_default() += 1;
        }
        for ((listener, line_item), times) in heard {
            let Some((max, is_strict)) = self.world.items.get(&line_item).and_then(|item| item.cap) else { continue };
            if times <= max {
                continue;
            }
            if is_strict {
                verdict.strict_violations += 1;
                verdict.find(format!("listener {listener} heard {line_item} {times} times, never more than {max}"));
            } else if times > max + self.moves.get(&listener).copied().unwrap_or(0) {
                verdict.soft_violations += 1;
                verdict.find(format!("listener {listener} heard {line_item} {times} times for a cap of {max}"));
            } else {
                verdict.soft_passed += 1;
            }
        }
    }

    /// A closed lease has settled what the log says was heard of it and may be billed, and its entry says the same.
    fn judge_leases(&self, verdict: &mut Verdict) {
        let mut heard: HashMap<&[u8], (u32, i64)> = HashMap::new();
        for ((lease, _), one) in self.log.heard.iter().filter(|(_, one)| one.is_paid && !one.is_unbillable) {
            let (count, micros) = heard.entry(lease.as_slice()).or_default();
            *count += 1;
            *micros += one.price_micros;
        }
        for (id, lease) in &self.log.leases {
            let Some((micros, count)) = lease.closed else { continue };
            verdict.closed_leases += 1;
            let (heard_count, heard_micros) = heard.get(id.as_slice()).copied().unwrap_or_default();
            // Fewer, where the server's clock was wrong and the record is not believed.
            let is_right = count <= heard_count && micros <= heard_micros && micros <= lease.amount_micros;
            let is_posted = match lease.entry {
                Some(entry) => entry == (count, micros),
                None => micros == 0,
            };
            if !(is_right && is_posted) {
                verdict.wrong_leases += 1;
                verdict.find(format!("{lease:?}: heard {heard_count} for {heard_micros} micros"));
            }
        }
    }
}

impl Verdict {
    fn find(&mut self, words: String) {
        if self.findings.len() < FINDINGS_MAX {
            self.findings.push(words);
        }
    }
}
