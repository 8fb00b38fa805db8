//! `segue invoice`: the invoice of an advertiser and month, from a stopped server's data directory. A running one answers
//! `GET /v1/invoices/{advertiser}/{month}`.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};

use super::audit::files::lock;
use super::{ConfigOptions, Exit, Failure, print};
use crate::accounting::invoice::{Invoice, Month};
use crate::catalog::{Entity, EntityId};
use crate::http::invoices::document::InvoiceDocument;
use crate::http::invoices::{name_of, page};
use crate::model::AdvertiserId;
use crate::roles::campaign::CatalogState;
use crate::roles::invoices::{self, Party};
use crate::store::{Flaw, StoreCopy, check_store};

/// Arguments of `segue invoice`.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// The advertiser's id.
    #[arg(long, value_name = "ID")]
    advertiser: AdvertiserId,
    /// Year and month in the advertiser's time zone, such as 2026-11.
    #[arg(long, value_name = "YYYY-MM")]
    month: Month,
    /// Print JSON. The default.
    #[arg(long, conflicts_with = "html")]
    json: bool,
    /// Write a page to print to this file instead.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    #[command(flatten)]
    config: ConfigOptions,
}

/// Runs `segue invoice`.
pub(crate) fn run(args: &Args) -> Result<Exit, Failure> {
    let config = args.config.load()?;
    let invoice = invoice_from(&config.data_dir, args.advertiser, args.month)?;
    if let Some(file) = &args.html {
        let written = std::fs::write(file, page::page(&invoice));
        written.with_context(|| format!("writing {}", file.display()))?;
        let document = InvoiceDocument::from(&invoice);
        print(&format!("invoice {} ({}) is in {}\n", document.number, document.state, file.display()))?;
    } else {
        let text = serde_json::to_string_pretty(&InvoiceDocument::from(&invoice)).context("writing JSON")?;
        print(&format!("{text}\n"))?;
    }
    Ok(Exit::Ok)
}

/// The invoice, from a copy of the store: nothing is changed. Of a store with a flaw in a file there is none: what can still be read may be older.
pub(crate) fn invoice_from(data_dir: &Path, id: AdvertiserId, month: Month) -> anyhow::Result<Invoice> {
    let _lock = lock(data_dir)?;
    let checked = check_store(data_dir);
    if let Some(Flaw { place, expected, found }) = checked.flaws.first() {
        bail!("the store is not whole: {place}: expected {expected}, found {found}; `segue audit` says more");
    }
    let copy = StoreCopy::of(data_dir, &checked).context("opening the store")?;
    let catalog = copy.catalog().and_then(|catalog| catalog.load()).context("reading the catalogue")?;
    let state = CatalogState::new(catalog.version, catalog.entities);
    let Some(Entity::Advertiser(advertiser)) = state.get(EntityId::Advertiser(id)).map(|revision| &revision.entity)
    else {
        bail!("there is no advertiser {id} in {}", data_dir.display());
    };
    let network = state.get(EntityId::Network(advertiser.network_id)).map(|revision| &revision.entity);
    let Some(Entity::Network(network)) = network else { bail!("advertiser {id} has no network") };
    let party = Party { advertiser: advertiser.clone(), network: network.clone() };
    let ledger = copy.ledger().context("opening the ledger")?;
    let name = |id| name_of(&state, id);
    let made =
        invoices::make(&ledger, &party, month, |id| name(EntityId::Campaign(id)), |id| name(EntityId::LineItem(id)));
    Ok(made?)
}
