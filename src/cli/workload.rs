//! `segue workload`: the reference catalogue in a data directory, and its listeners' requests, for whoever puts load on a server.
//!
//! The catalogue goes the campaign role's own way into the store: each entity is judged by the rules, each commit is durable. Only that it comes in
//! chunks and not through the API makes it quick.

use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow};
use clap::builder::{PossibleValuesParser, TypedValueParser as _};
use serde::Serialize;

use super::{Exit, Failure, print};
use crate::catalog::Entity;
use crate::clock::Clock;
use crate::entropy::Entropy;
use crate::model::{Network, Now};
use crate::roles::campaign::{self, APP_KEY_FILE, Bootstrap, CampaignHandle, FIRST_PLACEMENT, OPERATOR_KEY_FILE};
use crate::store::Store;
use crate::workload::reference::{Profile, ReferenceCatalogue};

/// Entities committed together: some tens of megabytes, a second or so of work.
const CHUNK: usize = 20_000;
/// Most line items: as many as a catalogue takes.
const LINE_ITEMS_MAX: u64 = campaign::ENTITIES_PER_KIND_MAX as u64;
/// Most listeners.
const LISTENERS_MAX: u64 = 10_000_000;

/// Arguments of `segue workload`.
#[derive(clap::Args, Debug)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand, Debug)]
enum Command {
    /// Write the reference catalogue into an empty data directory, so that `segue serve` starts from it.
    ///
    /// Makes the network, its app, the placement `music` and their keys as a first start does (operator.key and app.key in the data directory), and in it
    /// advertisers, campaigns, creatives and line items of the profile: one advertiser for 20 line items, one campaign and creative for 5. Flights lie around the
    /// present and last for a year; budgets and goals are more than any run can spend. The same profile, number and seed give the same catalogue, but for the
    /// network's id, the keys and the dates of flights.
    ///
    /// A million line items take some minutes and 6 GB of memory. Exit status: 0 done, 2 the directory has a catalogue already, 3 something failed.
    Store(StoreArgs),
    /// Print the profile's listeners as requests for `POST /v1/ad-breaks`: a line of JSON each, to standard output.
    ///
    /// What the profile says of a listener is what a server understands of the body. The hour at which they listen is said by a time zone: all hours of a day are
    /// heard at once. Whoever sends one more than once gives it another `request_id` each time.
    Breaks(BreaksArgs),
}

#[derive(clap::Args, Debug)]
struct Drawn {
    /// broad: 5 % of the line items match a listener; selective: 2 in a thousand; rare: 45 in a million; midday: half broad, half selective.
    #[arg(long, default_value = "broad", value_parser = profiles())]
    profile: Profile,
    /// Seed of all that is drawn.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

#[derive(clap::Args, Debug)]
struct StoreArgs {
    #[command(flatten)]
    drawn: Drawn,
    /// How many line items.
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1..=LINE_ITEMS_MAX))]
    line_items: u64,
    /// The data directory, made when it is not there.
    #[arg(long, value_name = "DIR")]
    data_dir: PathBuf,
    /// Print one JSON object with the keys themselves, for whoever sends the load.
    #[arg(long)]
    json: bool,
}

#[derive(clap::Args, Debug)]
struct BreaksArgs {
    #[command(flatten)]
    drawn: Drawn,
    /// How many listeners.
    #[arg(long, default_value_t = 20_000, value_parser = clap::value_parser!(u64).range(1..=LISTENERS_MAX))]
    listeners: u64,
    /// The placement that they ask for.
    #[arg(long, default_value = FIRST_PLACEMENT)]
    placement: String,
}

/// What a generator of load has to know.
#[derive(Debug, Serialize)]
struct Stored {
    data_dir: PathBuf,
    profile: &'static str,
    seed: u64,
    line_items: usize,
    entities: usize,
    network_id: String,
    placement: String,
    app_key: String,
    operator_key: String,
}

fn profiles() -> impl clap::builder::TypedValueParser<Value = Profile> {
    PossibleValuesParser::new(Profile::ALL.map(Profile::name))
        .map(|name| Profile::named(&name).expect("only names of profiles are possible"))
}

/// Runs `segue workload`.
pub(super) fn run(args: &Args) -> Result<Exit, Failure> {
    match &args.command {
        Command::Store(args) => store(args),
        Command::Breaks(args) => breaks(args),
    }
}

fn store(args: &StoreArgs) -> Result<Exit, Failure> {
    let (dir, entropy, clock) = (args.data_dir.as_path(), Entropy::real(), Clock::real());
    let now = clock.now();
    let store = Store::open(dir, now.wall, &entropy).map_err(anyhow::Error::new)?;
    let catalog = store.catalog().map_err(anyhow::Error::new)?;
    let secret = store.identity().api_key_secret;
    let made = campaign::bootstrap(dir, &catalog, secret, now, &entropy).map_err(anyhow::Error::new)?;
    if made == Bootstrap::NotNeeded {
        return Err(Failure::Refused(anyhow!("{} has a catalogue already: name an empty folder", dir.display())));
    }
    // Nobody serves it here: what changes is published to no one.
    let (handle, writer) = campaign::start(catalog, secret, Box::new(|_| {})).map_err(anyhow::Error::new)?;
    let network = network_of(&handle)?;
    let (network_id, line_items) =
        (network.id.to_string(), usize::try_from(args.line_items).context("the number of line items")?);
    say(&format!("drawing {line_items} line items"));
    let drawn = ReferenceCatalogue::generate(args.drawn.profile, line_items, args.drawn.seed);
    let entities = import(&handle, drawn.adopted_by(network, now.wall).into_entities(), now)?;
    drop(handle);
    writer.join();
    let stored = Stored {
        data_dir: dir.to_owned(),
        profile: args.drawn.profile.name(),
        seed: args.drawn.seed,
        line_items,
        entities,
        network_id,
        placement: FIRST_PLACEMENT.to_owned(),
        app_key: key(dir, APP_KEY_FILE)?,
        operator_key: key(dir, OPERATOR_KEY_FILE)?,
    };
    print(&stored.text(args.json)?)?;
    Ok(Exit::Ok)
}

/// The network that the first start made.
fn network_of(handle: &CampaignHandle) -> anyhow::Result<Network> {
    let network = handle.read(|state| {
        state.entities().find_map(|revision| match &revision.entity {
            Entity::Network(network) => Some(Network::clone(network)),
            _ => None,
        })
    });
    network.context("the first start made no network")
}

/// Puts the entities into the store, parents before children, and says how far it is. Returns how many there are.
fn import(handle: &CampaignHandle, entities: Vec<Entity>, now: Now) -> anyhow::Result<usize> {
    let (all, mut done) = (entities.len(), 0);
    let mut entities = entities.into_iter();
    while done < all {
        let chunk: Vec<_> = entities.by_ref().take(CHUNK).collect();
        done += chunk.len();
        handle.import(chunk, now).map_err(|refusal| anyhow!("the catalogue refused the reference: {refusal:?}"))?;
        say(&format!("{done} of {all} entities stored"));
    }
    Ok(all)
}

fn key(dir: &Path, file: &str) -> anyhow::Result<String> {
    let path = dir.join(file);
    let text = std::fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
    Ok(text.trim().to_owned())
}

impl Stored {
    fn text(&self, json: bool) -> anyhow::Result<String> {
        if json {
            return Ok(serde_json::to_string(self).context("writing JSON")? + "\n");
        }
        let dir = self.data_dir.display();
        Ok(format!(
            "{} line items ({} entities, profile {}, seed {}) in {dir}\n\
             network    {}\n\
             placement  {}\n\
             app's key  {dir}/{APP_KEY_FILE}\n\
             operator's {dir}/{OPERATOR_KEY_FILE}\n\
             now run    segue serve --data-dir {dir}\n",
            self.line_items, self.entities, self.profile, self.seed, self.network_id, self.placement,
        ))
    }
}

fn breaks(args: &BreaksArgs) -> Result<Exit, Failure> {
    let count = usize::try_from(args.listeners).context("the number of listeners")?;
    let mut out = BufWriter::new(std::io::stdout().lock());
    let breaks = ReferenceCatalogue::breaks(args.drawn.profile, count, args.drawn.seed);
    for (index, one) in breaks.iter().enumerate() {
        let line = serde_json::to_string(&one.body(index, &args.placement)).context("writing JSON")?;
        match writeln!(out, "{line}") {
            // A reader that has enough is no failure.
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => return Ok(Exit::Ok),
            written => written.context("writing to standard output")?,
        }
    }
    out.flush().context("writing to standard output")?;
    Ok(Exit::Ok)
}

/// Words for people. Nobody is left to tell when standard error is closed.
fn say(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_finds_the_stored_catalogue_and_a_second_one_is_refused() {
        let dir = tempfile::tempdir().expect("a folder");
        let args = || StoreArgs {
            drawn: Drawn { profile: Profile::Midday, seed: 3 },
            line_items: 60,
            data_dir: dir.path().to_owned(),
            json: true,
        };
        assert_eq!(store(&args()).expect("stored"), Exit::Ok);
        assert!(matches!(store(&args()), Err(Failure::Refused(_))));
        let store = Store::open(dir.path(), Clock::real().now().wall, &Entropy::real()).expect("opens");
        let stored = store.catalog().and_then(|catalog| catalog.load()).expect("loads");
        // A network, 3 advertisers, 12 campaigns, 12 creatives and 60 line items.
        assert_eq!((stored.entities.len(), stored.keys.len()), (88, 2));
    }
}
