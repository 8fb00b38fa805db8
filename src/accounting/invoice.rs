//! Invoices: what an advertiser owes for a month of its own zone (INV-44).
//!
//! A lease belongs to one day of its advertiser's zone, and a charge that is taken back to the day on which it was: a month's invoice is the
//! leases of its days less the reversals of its days. It is *final* once the month is over, each of its leases is closed, and a checkpoint has
//! sealed all its entries; from then on it never changes, because what is reversed later belongs to a later month. Until then it is a draft,
//! and says why.
//!
//! All sums are of whole micros and checked; the sum of the lines is compared with the sum of the ledger's entries before an invoice is made.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use super::checkpoint::digest;
use super::delivery::UnbilledReason;
use super::lease::Lease;
use super::ledger;
use super::watermark::SETTLE_MARGIN_MS;
use crate::events::{Checkpoint, EntryCause, LedgerEntry};
use crate::model::{
    Advertiser, AdvertiserId, CampaignId, Day, InvalidTraffic, LineItemId, Micros, MoneyOverflow, Network, PriceModel,
    WallMs, Zone,
};

/// A calendar month.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Month {
    first: jiff::civil::Date,
}

/// A text that is no month.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("not a month: expected a year and a month, such as 2026-11")]
pub struct NotAMonth;

impl FromStr for Month {
    type Err = NotAMonth;

    fn from_str(text: &str) -> Result<Self, NotAMonth> {
        let well_formed = text.len() == 7
            && text.bytes().enumerate().all(|(place, byte)| match place {
                4 => byte == b'-',
                _ => byte.is_ascii_digit(),
            });
        if !well_formed {
            return Err(NotAMonth);
        }
        let (year, month) = (text[..4].parse().map_err(|_| NotAMonth)?, text[5..].parse().map_err(|_| NotAMonth)?);
        jiff::civil::Date::new(year, month, 1).map(|first| Self { first }).map_err(|_| NotAMonth)
    }
}

impl fmt::Display for Month {
    /// Year and month in ISO 8601.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}-{:02}", self.first.year(), self.first.month())
    }
}

impl Month {
    /// The month that holds a day.
    #[must_use]
    pub fn of(day: Day) -> Self {
        Self { first: day.date().first_of_month() }
    }

    /// Its first day.
    #[must_use]
    pub fn first(self) -> Day {
        day_of(self.first)
    }

    /// The first day after it.
    #[must_use]
    pub fn end(self) -> Day {
        day_of(self.first.last_of_month().tomorrow().unwrap_or(jiff::civil::Date::MAX))
    }

    /// Its last day.
    #[must_use]
    pub fn last(self) -> Day {
        day_of(self.first.last_of_month())
    }

    /// Whether the day is in it.
    #[must_use]
    pub fn contains(self, day: Day) -> bool {
        (self.first()..self.end()).contains(&day)
    }

    /// The first moment after it, where days are of this zone.
    #[must_use]
    pub fn end_in(self, zone: &Zone) -> WallMs {
        let midnight = self.end().date().to_datetime(jiff::civil::Time::midnight());
        zone.rules().to_zoned(midnight).map_or(WallMs(i64::MAX), |at| WallMs(at.timestamp().as_millisecond()))
    }
}

fn day_of(date: jiff::civil::Date) -> Day {
    let days = date.since(jiff::civil::date(1970, 1, 1)).map_or(0, |span| span.get_days());
    Day(days)
}

/// What an invoice is made of.
#[derive(Clone, Copy, Debug)]
pub struct Material<'m> {
    /// Whose it is.
    pub advertiser: &'m Advertiser,
    /// To whom it is owed.
    pub network: &'m Network,
    /// Which month of the advertiser's zone.
    pub month: Month,
    /// The advertiser's leases of the month; others are passed over.
    pub leases: &'m [Lease],
    /// The advertiser's entries of the month; others are passed over.
    pub entries: &'m [LedgerEntry],
    /// All checkpoints, oldest first.
    pub checkpoints: &'m [Checkpoint],
    /// Greatest receive time in the books.
    pub log_time: WallMs,
    /// What things are called.
    pub names: &'m Names,
}

/// What campaigns and line items are called; one that is not here goes by its id.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Names {
    /// Campaigns.
    pub campaigns: BTreeMap<CampaignId, String>,
    /// Line items.
    pub line_items: BTreeMap<LineItemId, String>,
}

/// The lines of an invoice and their sums.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Amounts {
    /// What was charged.
    pub charges: Vec<InvoiceLine>,
    /// What was taken back.
    pub credits: Vec<InvoiceLine>,
    /// Sum of the charges.
    pub charged: Micros,
    /// Sum of the credits; negative or zero.
    pub credited: Micros,
    /// What is owed.
    pub total: Micros,
}

/// Why there is no invoice.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum InvoiceError {
    /// A sum leaves the range of 64-bit micros.
    #[error(transparent)]
    Overflow(#[from] MoneyOverflow),
    /// The leases and the entries of the ledger say different things: the books are damaged, and audit names where.
    #[error("the leases of {month} charged {leases} micros, the ledger's entries say {entries}; run segue audit")]
    Disagrees {
        /// The month.
        month: Month,
        /// What closed leases charged.
        leases: i128,
        /// What their entries say.
        entries: i128,
    },
}

/// Whether an invoice may still change.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum InvoiceState {
    /// It may, and why.
    Draft(DraftReason),
    /// It never will.
    Final,
}

/// Why an invoice may still change.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DraftReason {
    /// The month is not over.
    MonthRuns,
    /// So many leases of the month are not closed.
    LeasesOpen(u64),
    /// No checkpoint has sealed all of it yet.
    NotSealed,
}

/// What one line item charged by one price model.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct InvoiceLine {
    /// The campaign.
    pub campaign_id: CampaignId,
    /// What it is called.
    pub campaign: String,
    /// The line item.
    pub line_item_id: LineItemId,
    /// What it is called.
    pub line_item: String,
    /// What was paid for.
    pub price_model: PriceModel,
    /// Why it was taken back; none for a charge.
    pub reason: Option<InvalidTraffic>,
    /// How many impressions, completed listens or clicks.
    pub quantity: u64,
    /// Price of each; none where they differ or the price is of the whole.
    pub unit_price: Option<Micros>,
    /// What they cost together; negative in a credit.
    pub amount: Micros,
}

/// A checkpoint that an invoice rests on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Sealing {
    /// Its number.
    pub number: u64,
    /// Its digest.
    pub digest: [u8; 32],
    /// Until when it knows the log.
    pub log_time: WallMs,
}

/// An invoice.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Invoice {
    /// Its number: the month, and the end of the advertiser's id.
    pub number: String,
    /// To whom it is owed.
    pub network: Network,
    /// Who owes it.
    pub advertiser: Advertiser,
    /// The month.
    pub month: Month,
    /// Whether it may still change.
    pub state: InvoiceState,
    /// Its lines and sums.
    pub amounts: Amounts,
    /// Heard, or clicked, and not billed: for information.
    pub unbilled: BTreeMap<UnbilledReason, u64>,
    /// Leases that it is made of.
    pub leases: u64,
    /// Entries of the ledger that it is made of.
    pub entries: u64,
    /// The checkpoints that it rests on: the newest before its first lease, where there is one, and the one that sealed it; for a draft the newest.
    pub checkpoints: Vec<Sealing>,
}

/// One line's key: campaign, line item, price model, reason of a credit.
type LineKey = (CampaignId, LineItemId, PriceModel, Option<InvalidTraffic>);

/// The price of each of a line's events.
#[derive(Clone, Copy, Default)]
enum Unit {
    /// Nothing was added yet.
    #[default]
    Unknown,
    /// The same for all.
    Same(i128),
    /// There is none for all.
    Various,
}

/// A line as it adds up.
#[derive(Default)]
struct Sum {
    quantity: u64,
    amount: i128,
    unit: Unit,
}

impl Sum {
    fn add(&mut self, model: PriceModel, quantity: u64, amount: i128) {
        let each = i128::from(quantity);
        let unit = (model != PriceModel::Flat && each > 0 && amount % each == 0).then(|| amount / each);
        self.unit = match (self.unit, unit) {
            (Unit::Unknown, Some(unit)) => Unit::Same(unit),
            (Unit::Same(before), Some(unit)) if before == unit => Unit::Same(unit),
            (Unit::Unknown | Unit::Same(_) | Unit::Various, _) => Unit::Various,
        };
        self.quantity += quantity;
        self.amount += amount;
    }
}

/// Makes the invoice of a month.
///
/// # Errors
/// [`InvoiceError`].
pub fn invoice(material: &Material<'_>) -> Result<Invoice, InvoiceError> {
    let (month, advertiser) = (material.month, material.advertiser);
    let leases: Vec<_> = of_month(month, material.leases).collect();
    let entries: Vec<_> = entries_of(advertiser.id, month, material.entries).collect();
    let amounts = amounts(month, &leases, &entries, material.names)?;
    let mut unbilled = BTreeMap::new();
    for reason in leases.iter().flat_map(|lease| lease.unbilled.values()) {
        *unbilled.entry(*reason).or_default() += 1;
    }
    let sealing = sealing(material, &leases, &entries);
    Ok(Invoice {
        number: number(advertiser, month),
        network: material.network.clone(),
        advertiser: advertiser.clone(),
        month,
        state: state(material, &leases, sealing.is_some()),
        amounts,
        unbilled,
        leases: leases.len() as u64,
        entries: entries.len() as u64,
        checkpoints: rests_on(material, &leases, sealing.as_ref()),
    })
}

/// The leases of a month.
pub fn of_month<'m>(month: Month, leases: impl IntoIterator<Item = &'m Lease>) -> impl Iterator<Item = &'m Lease> {
    leases.into_iter().filter(move |lease| month.contains(lease.grant.advertiser_day))
}

/// The entries of an advertiser and month.
pub fn entries_of<'m>(
    id: AdvertiserId,
    month: Month,
    entries: impl IntoIterator<Item = &'m LedgerEntry>,
) -> impl Iterator<Item = &'m LedgerEntry> {
    entries.into_iter().filter(move |entry| entry.advertiser_id == id && month.contains(entry.advertiser_day))
}

/// The lines and sums of an advertiser's leases and entries of a month.
///
/// # Errors
/// [`InvoiceError`].
pub fn amounts(
    month: Month,
    leases: &[&Lease],
    entries: &[&LedgerEntry],
    names: &Names,
) -> Result<Amounts, InvoiceError> {
    agree(month, leases, entries)?;
    let (charges, credits) = (charges(leases, names)?, credits(entries, names)?);
    let charged = Micros::sum(charges.iter().map(|line| line.amount))?;
    let credited = Micros::sum(credits.iter().map(|line| line.amount))?;
    Ok(Amounts { charges, credits, charged, credited, total: charged.plus(credited)? })
}

/// The number of the invoice of an advertiser and month.
fn number(advertiser: &Advertiser, month: Month) -> String {
    let id = advertiser.id.as_uuid().simple().to_string().to_ascii_uppercase();
    format!("{month}-{}-{}-{}", &id[20..24], &id[24..28], &id[28..])
}

/// Each closed lease has an entry of what it charged, and no entry is without a lease.
fn agree(month: Month, leases: &[&Lease], entries: &[&LedgerEntry]) -> Result<(), InvoiceError> {
    let closed = leases.iter().filter(|lease| lease.closed_at.is_some());
    let by_leases: i128 = closed.map(|lease| lease.settled_micros).sum();
    let settlements = entries.iter().filter(|entry| matches!(entry.cause, EntryCause::Settlement { .. }));
    let by_entries: i128 = settlements.map(|entry| ledger::charge(entry)).sum();
    if by_leases == by_entries {
        return Ok(());
    }
    Err(InvoiceError::Disagrees { month, leases: by_leases, entries: by_entries })
}

fn charges(leases: &[&Lease], names: &Names) -> Result<Vec<InvoiceLine>, InvoiceError> {
    let mut sums: BTreeMap<LineKey, Sum> = BTreeMap::new();
    for lease in leases.iter().filter(|lease| lease.settled_count > 0) {
        let grant = &lease.grant;
        let key = (grant.campaign_id, grant.line_item_id, grant.price_model, None);
        let (quantity, amount) = (u64::from(lease.settled_count), i128::from(lease.settled_micros.0));
        sums.entry(key).or_default().add(grant.price_model, quantity, amount);
    }
    lines(sums, names)
}

fn credits(entries: &[&LedgerEntry], names: &Names) -> Result<Vec<InvoiceLine>, InvoiceError> {
    let mut sums: BTreeMap<LineKey, Sum> = BTreeMap::new();
    for entry in entries {
        let EntryCause::Reversal { reason, .. } = entry.cause else { continue };
        let key = (entry.campaign_id, entry.line_item_id, entry.price_model, Some(reason));
        let (quantity, amount) = (u64::from(entry.quantity), ledger::charge(entry));
        sums.entry(key).or_default().add(entry.price_model, quantity, amount);
    }
    lines(sums, names)
}

fn lines(sums: BTreeMap<LineKey, Sum>, names: &Names) -> Result<Vec<InvoiceLine>, InvoiceError> {
    let line = |((campaign_id, line_item_id, price_model, reason), sum): (LineKey, Sum)| {
        let name = |name: Option<&String>, id: &dyn fmt::Display| name.cloned().unwrap_or_else(|| id.to_string());
        let unit_price = match sum.unit {
            Unit::Same(unit) => Some(narrow(unit)?),
            Unit::Unknown | Unit::Various => None,
        };
        Ok(InvoiceLine {
            campaign_id,
            campaign: name(names.campaigns.get(&campaign_id), &campaign_id),
            line_item_id,
            line_item: name(names.line_items.get(&line_item_id), &line_item_id),
            price_model,
            reason,
            quantity: sum.quantity,
            unit_price,
            amount: narrow(sum.amount)?,
        })
    };
    sums.into_iter().map(line).collect()
}

fn narrow(micros: i128) -> Result<Micros, MoneyOverflow> {
    i64::try_from(micros).map(Micros).map_err(|_| MoneyOverflow)
}

/// The first checkpoint that sealed all of the month, its end included: which one does not depend on when it is asked for.
fn sealing(material: &Material<'_>, leases: &[&Lease], entries: &[&LedgerEntry]) -> Option<Checkpoint> {
    let last_entry = entries.iter().map(|entry| entry.number).max().unwrap_or(0);
    let last_close = leases.iter().filter_map(|lease| lease.closed_at).max().unwrap_or(WallMs(0));
    // A record lies in the log at most the margin after its stamp: behind it no grant and no reversal of the month comes any more.
    let over = material.month.end_in(&material.advertiser.zone).plus_ms(SETTLE_MARGIN_MS);
    let seals = |checkpoint: &&Checkpoint| {
        checkpoint.trial.entries >= last_entry && checkpoint.log_time >= over && checkpoint.log_time >= last_close
    };
    let all_closed = leases.iter().all(|lease| lease.closed_at.is_some());
    material.checkpoints.iter().find(seals).copied().filter(|_| all_closed)
}

fn state(material: &Material<'_>, leases: &[&Lease], is_sealed: bool) -> InvoiceState {
    let open = leases.iter().filter(|lease| lease.closed_at.is_none()).count() as u64;
    if material.log_time < material.month.end_in(&material.advertiser.zone) {
        InvoiceState::Draft(DraftReason::MonthRuns)
    } else if open > 0 {
        InvoiceState::Draft(DraftReason::LeasesOpen(open))
    } else if is_sealed {
        InvoiceState::Final
    } else {
        InvoiceState::Draft(DraftReason::NotSealed)
    }
}

fn rests_on(material: &Material<'_>, leases: &[&Lease], sealing: Option<&Checkpoint>) -> Vec<Sealing> {
    let first_grant = leases.iter().map(|lease| lease.grant.granted_at).min();
    let opening = first_grant.and_then(|at| material.checkpoints.iter().rfind(|before| before.log_time < at)).copied();
    let closing = sealing.or(material.checkpoints.last()).copied();
    let mut rests_on: Vec<_> = opening.into_iter().chain(closing).collect();
    rests_on.dedup_by_key(|checkpoint| checkpoint.number);
    rests_on
        .iter()
        .map(|checkpoint| Sealing {
            number: checkpoint.number,
            digest: digest(checkpoint),
            log_time: checkpoint.log_time,
        })
        .collect()
}

#[cfg(test)]
mod tests;
