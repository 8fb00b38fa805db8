//! An invoice as JSON. Money is whole micros of the currency.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::Serialize;
use utoipa::ToSchema;

use crate::accounting::invoice::{DraftReason, Invoice, InvoiceLine, InvoiceState, Sealing};
use crate::model::{PriceModel, WallMs};

/// An advertiser's month.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Invoice)]
pub struct InvoiceDocument {
    /// The invoice's number.
    pub number: String,
    /// `draft` or `final`. A final one never changes.
    pub state: &'static str,
    /// Why it is a draft: `month_runs`, `leases_open` or `not_sealed`; absent when it is final.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub draft_reason: Option<&'static str>,
    /// Who owes it.
    pub advertiser: PartyDocument,
    /// To whom it is owed.
    pub network: PartyDocument,
    /// ISO 4217 code of the currency.
    pub currency: String,
    /// The period.
    pub period: PeriodDocument,
    /// What was charged.
    pub charges: Vec<LineDocument>,
    /// What was taken back in the period.
    pub credits: Vec<LineDocument>,
    /// Sum of the charges.
    pub charged_micros: i64,
    /// Sum of the credits; negative or zero.
    pub credited_micros: i64,
    /// What is owed.
    pub total_micros: i64,
    /// Heard, or clicked, and not billed, by reason.
    pub unbilled: BTreeMap<&'static str, u64>,
    /// Leases that it is made of.
    pub leases: u64,
    /// Entries of the ledger that it is made of.
    pub ledger_entries: u64,
    /// The checkpoints that it rests on; the last one sealed it, if it is final.
    pub checkpoints: Vec<SealingDocument>,
}

/// One side of an invoice.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = InvoiceParty)]
pub struct PartyDocument {
    /// Its id.
    #[schema(format = Uuid)]
    pub id: String,
    /// What it is called.
    pub name: String,
}

/// The period of an invoice.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = InvoicePeriod)]
pub struct PeriodDocument {
    /// Year and month.
    pub month: String,
    /// First day.
    #[schema(format = Date)]
    pub first_day: String,
    /// Last day.
    #[schema(format = Date)]
    pub last_day: String,
    /// The zone of its days.
    pub zone: String,
}

/// A line of an invoice.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = InvoiceLine)]
pub struct LineDocument {
    /// The campaign.
    #[schema(format = Uuid)]
    pub campaign_id: String,
    /// What it is called.
    pub campaign: String,
    /// The line item.
    #[schema(format = Uuid)]
    pub line_item_id: String,
    /// What it is called.
    pub line_item: String,
    /// `cpm`, `cpcl`, `cpc` or `flat`.
    pub price_model: &'static str,
    /// Why it was taken back; absent for a charge.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<&'static str>,
    /// Impressions (CPM, flat), completed listens (CPCL) or clicks (CPC).
    pub quantity: u64,
    /// Price of each one; absent where they differ or the price is of the whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unit_price_micros: Option<i64>,
    /// What they cost; negative in a credit.
    pub amount_micros: i64,
}

/// A checkpoint of the books.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = InvoiceCheckpoint)]
pub struct SealingDocument {
    /// Its number.
    pub number: u64,
    /// Its digest, 64 hexadecimal digits.
    pub digest: String,
    /// Until when it knows the log, RFC 3339.
    #[schema(format = DateTime)]
    pub log_time: String,
}

impl From<&Invoice> for InvoiceDocument {
    fn from(invoice: &Invoice) -> Self {
        let (state, draft_reason) = state_words(&invoice.state);
        Self {
            number: invoice.number.clone(),
            state,
            draft_reason,
            advertiser: PartyDocument { id: invoice.advertiser.id.to_string(), name: invoice.advertiser.name.clone() },
            network: PartyDocument { id: invoice.network.id.to_string(), name: invoice.network.name.clone() },
            currency: invoice.network.currency.clone(),
            period: PeriodDocument {
                month: invoice.month.to_string(),
                first_day: invoice.month.first().to_string(),
                last_day: invoice.month.last().to_string(),
                zone: invoice.advertiser.zone.name().to_owned(),
            },
            charges: invoice.amounts.charges.iter().map(line).collect(),
            credits: invoice.amounts.credits.iter().map(line).collect(),
            charged_micros: invoice.amounts.charged.0,
            credited_micros: invoice.amounts.credited.0,
            total_micros: invoice.amounts.total.0,
            unbilled: invoice.unbilled.iter().map(|(reason, count)| (reason.name(), *count)).collect(),
            leases: invoice.leases,
            ledger_entries: invoice.entries,
            checkpoints: invoice.checkpoints.iter().map(sealing).collect(),
        }
    }
}

/// State and reason as words.
fn state_words(state: &InvoiceState) -> (&'static str, Option<&'static str>) {
    match state {
        InvoiceState::Final => ("final", None),
        InvoiceState::Draft(DraftReason::MonthRuns) => ("draft", Some("month_runs")),
        InvoiceState::Draft(DraftReason::LeasesOpen(_)) => ("draft", Some("leases_open")),
        InvoiceState::Draft(DraftReason::NotSealed) => ("draft", Some("not_sealed")),
    }
}

fn line(line: &InvoiceLine) -> LineDocument {
    LineDocument {
        campaign_id: line.campaign_id.to_string(),
        campaign: line.campaign.clone(),
        line_item_id: line.line_item_id.to_string(),
        line_item: line.line_item.clone(),
        price_model: match line.price_model {
            PriceModel::Cpm => "cpm",
            PriceModel::Cpcl => "cpcl",
            PriceModel::Cpc => "cpc",
            PriceModel::Flat => "flat",
        },
        reason: line.reason.map(crate::model::InvalidTraffic::name),
        quantity: line.quantity,
        unit_price_micros: line.unit_price.map(|price| price.0),
        amount_micros: line.amount.0,
    }
}

fn sealing(sealing: &Sealing) -> SealingDocument {
    SealingDocument {
        number: sealing.number,
        digest: hex(&sealing.digest),
        log_time: WallMs::to_rfc3339(sealing.log_time),
    }
}

/// Hexadecimal digits of a digest.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a String never fails.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
