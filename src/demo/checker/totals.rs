//! What had to be billed, by HTTP alone, against what the reports say is billed.

use std::collections::BTreeMap;

use super::log::{AdLogged, LogSummary};
use super::{Findings, Verdict};
use crate::demo::evidence::{AdSeen, Evidence, TIERS};
use crate::model::{LineItemId, Tier};

/// What a report says of one line item.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Billed {
    /// Impressions heard, billed or not.
    pub impressions: u64,
    /// Impressions billed.
    pub billed: u64,
    /// Impressions not billed, for whatever reason.
    pub unbilled: u64,
    /// Money billed, in micros.
    pub micros: i64,
}

/// What the reports say, by line item.
pub type Reported = BTreeMap<LineItemId, Billed>;

/// Whether an impression had to be billed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Standing {
    /// It was told in time.
    Billable,
    /// It was told too late.
    Late,
    /// It was not told, or nobody pays for it.
    Nothing,
}

/// By HTTP: sent and acknowledged within the token's life is billable, sent after it is late. Where the life ended between the two, the
/// time of receipt in the log decides.
fn standing(ad: &AdSeen, logged: Option<&AdLogged>) -> Standing {
    let Some((sent, acknowledged)) = ad.heard else { return Standing::Nothing };
    if ad.tier == Tier::House {
        return Standing::Nothing;
    }
    if acknowledged <= ad.expires_at {
        return Standing::Billable;
    }
    if sent > ad.expires_at || !logged.is_some_and(AdLogged::heard_in_time) {
        return Standing::Late;
    }
    Standing::Billable
}

/// Adds up and compares.
pub(super) fn check(evidence: &Evidence, log: &LogSummary, reported: &Reported, findings: &mut Findings) -> Verdict {
    let mut expected: BTreeMap<LineItemId, Billed> = BTreeMap::new();
    let mut verdict = Verdict::default();
    for seen in &evidence.breaks {
        for ad in &seen.ads {
            let logged = log.ad(seen.decision_id, ad.creative_id);
            if ad.heard.is_some() {
                let place = TIERS.iter().position(|&tier| tier == ad.tier).expect("TIERS has every tier");
                verdict.heard_by_tier[place] += 1;
            }
            let totals = expected.entry(ad.line_item_id).or_default();
            match standing(ad, logged) {
                Standing::Billable => {
                    totals.billed += 1;
                    totals.micros += logged.map_or(0, |logged| logged.price.0);
                }
                Standing::Late => totals.unbilled += 1,
                Standing::Nothing => {}
            }
        }
    }
    // An operator who listens on the console is no player of the demo: of those ads the books are held against the log alone.
    for (line_item_id, price) in log.heard_by_operators() {
        let totals = expected.entry(line_item_id).or_default();
        match price {
            Some(price) => {
                totals.billed += 1;
                totals.micros += price.0;
            }
            None => totals.unbilled += 1,
        }
    }
    let paid = |totals: &Billed| (totals.billed, totals.unbilled, totals.micros);
    let mut differences = 0_u64;
    let mut ids: Vec<LineItemId> = expected.keys().chain(reported.keys()).copied().collect();
    ids.sort_unstable();
    ids.dedup();
    for id in ids {
        let expected = expected.get(&id).copied().unwrap_or_default();
        let reported = reported.get(&id).copied().unwrap_or_default();
        verdict.billable_impressions += expected.billed;
        verdict.billable_micros += expected.micros;
        verdict.billed_impressions += reported.billed;
        verdict.billed_micros += reported.micros;
        verdict.unbilled_impressions += reported.unbilled;
        if paid(&expected) != paid(&reported) {
            differences += 1;
            findings.add("billed", || format!("line item {id}: expected {expected:?}, reported {reported:?}"));
        }
    }
    verdict.balanced = differences == 0;
    verdict
}
