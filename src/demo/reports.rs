//! Reads the reports over HTTP until accounting has caught up with what was acknowledged.

use std::time::Duration;

use anyhow::{Context as _, bail};
use serde_json::Value;

use super::checker::{Billed, Reported};
use super::player::Stage;
use crate::model::{LineItemId, Tier};

/// How often the reports are read again while accounting catches up, and how long between.
const TRIES: u32 = 60;
const PAUSE: Duration = Duration::from_millis(200);

/// The reports, once they hold as many paid impressions as players were acknowledged. After [`TRIES`] they are taken as they are, and the
/// checker says what is missing.
///
/// # Errors
/// When they can't be read.
pub(super) async fn settled(stage: &Stage) -> anyhow::Result<Reported> {
    let heard = stage.recorder.look(|evidence| {
        let ads = evidence.breaks.iter().flat_map(|seen| &seen.ads);
        ads.filter(|ad| ad.heard.is_some() && ad.tier != Tier::House).count() as u64
    });
    let mut reported = read(stage).await?;
    for _ in 0..TRIES {
        if reported.values().map(|one| one.billed + one.unbilled).sum::<u64>() >= heard {
            break;
        }
        tokio::time::sleep(PAUSE).await;
        reported = read(stage).await?;
    }
    Ok(reported)
}

/// The report by line item, from the start of the demo. House ads, which nobody pays for, are left out.
async fn read(stage: &Stage) -> anyhow::Result<Reported> {
    let path = format!("/v1/reports?group_by=line_item&from={}", stage.started.to_rfc3339());
    let report = stage.client.get_json(&path).await?;
    if report["is_cut"] == Value::Bool(true) {
        bail!("the report is cut: more line items than it shows");
    }
    let mut reported = Reported::new();
    for row in report["rows"].as_array().context("a report has rows")? {
        let id: LineItemId = row["line_item_id"].as_str().context("a row names its line item")?.parse()?;
        if stage.rules.item(id).is_some_and(|item| item.tier == Tier::House) {
            continue;
        }
        let total: &mut Billed = reported.entry(id).or_default();
        total.impressions += count(row, "impressions")?;
        total.billed += count(row, "billed_impressions")?;
        let reasons = row["unbilled"].as_object().context("a row has reasons for what is unbilled")?;
        total.unbilled += reasons.values().filter_map(Value::as_u64).sum::<u64>();
        total.micros += row["billed_micros"].as_i64().context("a row has billed_micros")?;
    }
    Ok(reported)
}

fn count(row: &Value, name: &str) -> anyhow::Result<u64> {
    row[name].as_u64().with_context(|| format!("a row has {name}"))
}
