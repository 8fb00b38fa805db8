//! Makes invoices from the store: what the command and the HTTP interface share.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::accounting::Lease;
use crate::accounting::invoice::{Invoice, InvoiceError, Material, Month, Names, invoice};
use crate::events::LedgerEntry;
use crate::model::{Advertiser, CampaignId, LineItemId, Network};
use crate::store::{ReadsLedger, StoreError};

/// Why an invoice can't be made.
#[derive(Debug, thiserror::Error)]
pub enum InvoicingError {
    /// The books can't be read.
    #[error("the books can't be read")]
    Store(#[from] StoreError),
    /// The books don't add up.
    #[error(transparent)]
    Invoice(#[from] InvoiceError),
}

/// What the catalogue says of an advertiser: for [`make`].
#[derive(Clone, PartialEq, Debug)]
pub struct Party {
    /// Who owes.
    pub advertiser: Arc<Advertiser>,
    /// To whom.
    pub network: Arc<Network>,
}

/// The invoice of an advertiser and month, as the books are now. `campaign` and `line_item` say what things are called. Reads the store: not for an
/// async worker.
///
/// # Errors
/// [`InvoicingError`].
pub fn make(
    ledger: &impl ReadsLedger,
    party: &Party,
    month: Month,
    campaign: impl Fn(CampaignId) -> Option<String>,
    line_item: impl Fn(LineItemId) -> Option<String>,
) -> Result<Invoice, InvoicingError> {
    // In this order: accounting may commit in between, and what is read last may then be newer. A lease that is closed meanwhile would have an entry that
    // was not read, so leases come first and are looked at again when they disagree with the entries.
    let mut made = attempt(ledger, party, month, &campaign, &line_item)?;
    for _ in 1..ATTEMPTS {
        if !matches!(made, Err(InvoiceError::Disagrees { .. })) {
            break;
        }
        made = attempt(ledger, party, month, &campaign, &line_item)?;
    }
    Ok(made?)
}

/// How often books are read that don't add up: a commit in between is over in milliseconds; what does not add up then is damaged.
const ATTEMPTS: u32 = 5;

fn attempt(
    ledger: &impl ReadsLedger,
    party: &Party,
    month: Month,
    campaign: &impl Fn(CampaignId) -> Option<String>,
    line_item: &impl Fn(LineItemId) -> Option<String>,
) -> Result<Result<Invoice, InvoiceError>, StoreError> {
    let id = party.advertiser.id;
    let leases = ledger.leases_of(id, month.first(), month.end())?;
    let entries = ledger.entries_of(id, month.first(), month.end())?;
    let log_time = ledger.log_time_of(id)?;
    let checkpoints = ledger.checkpoints_of(id)?;
    let names = names(&leases, &entries, campaign, line_item);
    Ok(invoice(&Material {
        advertiser: &party.advertiser,
        network: &party.network,
        month,
        leases: &leases,
        entries: &entries,
        checkpoints: &checkpoints,
        log_time,
        names: &names,
    }))
}

fn names(
    leases: &[Lease],
    entries: &[LedgerEntry],
    campaign: &impl Fn(CampaignId) -> Option<String>,
    line_item: &impl Fn(LineItemId) -> Option<String>,
) -> Names {
    let of_leases = leases.iter().map(|lease| (lease.grant.campaign_id, lease.grant.line_item_id));
    let of_entries = entries.iter().map(|entry| (entry.campaign_id, entry.line_item_id));
    let mut names = Names::default();
    for (campaign_id, line_item_id) in of_leases.chain(of_entries) {
        look_up(&mut names.campaigns, campaign_id, campaign);
        look_up(&mut names.line_items, line_item_id, line_item);
    }
    names
}

fn look_up<Id: Ord + Copy>(names: &mut BTreeMap<Id, String>, id: Id, name: &impl Fn(Id) -> Option<String>) {
    if !names.contains_key(&id)
        && let Some(name) = name(id)
    {
        names.insert(id, name);
    }
}
