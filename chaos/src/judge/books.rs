//! What stands in the books in CQL. Rows are Protobuf, declared here anew with what is looked at.

use std::collections::HashMap;

use anyhow::Context as _;
use prost::Message;
use scylla::client::session_builder::SessionBuilder;
use scylla::statement::unprepared::Statement;
use uuid::Uuid;

/// Rows that are fetched at once.
const PAGE: i32 = 1_000;

#[derive(Clone, PartialEq, Message)]
struct DeliveryRow {
    #[prost(int64, tag = "3")]
    impressions: i64,
    #[prost(int64, tag = "7")]
    billed: i64,
    #[prost(int64, tag = "8")]
    billed_micros: i64,
    #[prost(uint32, repeated, tag = "9")]
    unbilled_reasons: Vec<u32>,
    #[prost(int64, repeated, tag = "10")]
    unbilled_counts: Vec<i64>,
}

#[derive(Clone, PartialEq, Message)]
struct BalanceRow {
    #[prost(int64, tag = "2")]
    settled_micros: i64,
    #[prost(uint64, tag = "3")]
    settled_count: u64,
    #[prost(int64, tag = "4")]
    open_micros: i64,
}

/// Totals of a line item.
#[derive(Clone, Default, Debug)]
pub(super) struct Delivered {
    /// Impressions heard.
    pub(super) impressions: i64,
    /// Of those, billed.
    pub(super) billed: i64,
    /// What for, in micros.
    pub(super) billed_micros: i64,
    /// Of those, not billed, by the reason's number.
    pub(super) unbilled: HashMap<u32, i64>,
}

/// Balance of an advertiser, a campaign or a line item, for life.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Balance {
    /// Charged.
    pub(super) settled_micros: i64,
    /// Impressions charged.
    pub(super) settled_count: u64,
    /// Held by open leases.
    pub(super) open_micros: i64,
}

/// The books.
#[derive(Debug, Default)]
pub(super) struct Books {
    /// By line item.
    pub(super) delivered: HashMap<Uuid, Delivered>,
    /// By advertiser, campaign or line item.
    pub(super) balances: HashMap<Uuid, Balance>,
}

impl Books {
    /// Reads a keyspace whole.
    pub(super) async fn read(host: &str, keyspace: &str) -> anyhow::Result<Self> {
        let session = SessionBuilder::new().known_node(host).build().await.context("a session with Cassandra")?;
        let mut books = Self::default();
        let statement = format!("SELECT line_item, row FROM {keyspace}.ledger_delivery");
        for (line_item, row) in rows(&session, statement).await? {
            let row = DeliveryRow::decode(row.as_slice()).context("a row of ledger_delivery")?;
            let total = books.delivered.entry(Uuid::from_slice(&line_item).context("a line item's id")?).or_default();
            total.impressions += row.impressions;
            total.billed += row.billed;
            total.billed_micros += row.billed_micros;
            for (reason, count) in row.unbilled_reasons.iter().zip(&row.unbilled_counts) {
                *total.unbilled.entry(*reason).or_default() += count;
            }
        }
        for (key, row) in rows(&session, format!("SELECT key, row FROM {keyspace}.ledger_balances")).await? {
            // Advertiser, kind of level, id; a day's has its day behind.
            if key.len() == 33 {
                let row = BalanceRow::decode(row.as_slice()).context("a row of ledger_balances")?;
                let id = Uuid::from_slice(&key[17..]).context("a balance's id")?;
                let BalanceRow { settled_micros, settled_count, open_micros } = row;
                books.balances.insert(id, Balance { settled_micros, settled_count, open_micros });
            }
        }
        Ok(books)
    }

    /// Impressions whose fate is known: billed or not.
    pub(super) fn judged(&self) -> i64 {
        self.delivered.values().map(|one| one.billed + one.unbilled.values().sum::<i64>()).sum()
    }
}

async fn rows(session: &scylla::client::session::Session, text: String) -> anyhow::Result<Vec<(Vec<u8>, Vec<u8>)>> {
    let mut statement = Statement::new(text);
    statement.set_page_size(PAGE);
    let (mut all, mut state) = (Vec::new(), scylla::response::PagingState::start());
    loop {
        let (page, next) =
            session.query_single_page(statement.clone(), (), state).await.context("reading the books")?;
        let page = page.into_rows_result().context("reading the books")?;
        for row in page.rows::<(Vec<u8>, Vec<u8>)>().context("rows of the books")? {
            all.push(row.context("a row of the books")?);
        }
        match next.into_paging_control_flow() {
            std::ops::ControlFlow::Continue(more) => state = more,
            std::ops::ControlFlow::Break(()) => return Ok(all),
        }
    }
}
