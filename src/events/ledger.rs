//! What the ledger tells its readers: entries and checkpoints.

use crate::model::{
    AdvertiserId, CampaignId, Day, ImpressionId, InvalidTraffic, LeaseId, LineItemId, Micros, NetworkId, PriceModel,
    WallMs,
};

/// A record of `segue.ledger`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum LedgerRecord {
    /// An entry was posted.
    Entry(LedgerEntry),
    /// A checkpoint was sealed.
    Checkpoint(Checkpoint),
}

/// An account of the ledger.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum LedgerAccount {
    /// What an advertiser owes: debited by what it is charged.
    Advertiser(AdvertiserId),
    /// What a network earned: credited by what its advertisers are charged.
    Network(NetworkId),
    /// What a network played for itself. Its ads have price zero, and nothing of zero is posted, so that it stays empty until a network prices
    /// its own ads.
    House(NetworkId),
}

/// One side of an entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Posting {
    /// The account.
    pub account: LedgerAccount,
    /// A debit is positive, a credit negative, none is zero.
    pub amount: Micros,
}

/// Why an entry was posted.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum EntryCause {
    /// A lease was closed, and had charged something.
    Settlement {
        /// The lease.
        lease_id: LeaseId,
        /// Stands for every impression charged and its price.
        digest: [u8; 16],
    },
    /// A charge was taken back.
    Reversal {
        /// Of which impression.
        impression_id: ImpressionId,
        /// Why.
        reason: InvalidTraffic,
    },
}

/// An entry of the ledger. Its postings sum to zero.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LedgerEntry {
    /// Its number in the ledger: from 1, without gaps.
    pub number: u64,
    /// What it settles or takes back.
    pub cause: EntryCause,
    /// The tenant.
    pub network_id: NetworkId,
    /// Whose money it is.
    pub advertiser_id: AdvertiserId,
    /// The campaign.
    pub campaign_id: CampaignId,
    /// The line item.
    pub line_item_id: LineItemId,
    /// The day in the advertiser's zone to which it belongs, so the month of its invoice.
    pub advertiser_day: Day,
    /// What was paid for.
    pub price_model: PriceModel,
    /// How many events were charged; 1 in a reversal.
    pub quantity: u32,
    /// Debits and credits.
    pub postings: Vec<Posting>,
    /// When it was posted.
    pub posted_at: WallMs,
}

/// All entries, summed up by kind of account, in micros. A debit is positive.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct TrialBalance {
    /// Entries posted.
    pub entries: u64,
    /// Sum over advertisers' accounts.
    pub advertisers: i128,
    /// Sum over networks' accounts.
    pub networks: i128,
    /// Sum over house accounts.
    pub house: i128,
}

/// All delivery totals, summed up over line items and hours.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Delivered {
    /// Impressions heard.
    pub impressions: i64,
    /// Billed, less those taken back.
    pub billed: i64,
    /// Heard and not billed, for whatever reason.
    pub unbilled: i64,
    /// What was billed, less what was taken back, in micros.
    pub billed_micros: i128,
}

/// The books as of a place in the log. Each names the digest of the one before, so that none can be changed without changing all after it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Checkpoint {
    /// From 1, without gaps.
    pub number: u64,
    /// The partition; 0 where one log holds all of them.
    pub partition: u32,
    /// Offset after the last record applied.
    pub cursor: u64,
    /// Greatest receive time applied.
    pub log_time: WallMs,
    /// Records applied since the beginning.
    pub chain_records: u64,
    /// Digest of the chain of all of them.
    pub chain_digest: [u8; 32],
    /// Digest of all balances, leases and impressions that are remembered.
    pub book_digest: [u8; 32],
    /// The ledger, summed up.
    pub trial: TrialBalance,
    /// Delivery, summed up.
    pub delivered: Delivered,
    /// Digest of the checkpoint before; zeros in the first.
    pub previous_digest: [u8; 32],
}
