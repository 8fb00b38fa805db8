//! `segue segments`: who is in which segment, from outside.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow};
use serde::Serialize;
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

use super::stopped::{JournalLock, lock};
use super::{ConfigOptions, Exit, Failure, print};
use crate::catalog::Entity;
use crate::clock::Clock;
use crate::config::Config;
use crate::entropy::Entropy;
use crate::impressions::{ListenerSecret, ListenerSubject};
use crate::model::{ListenerKey, NetworkId, TimedSegment, WallMs};
use crate::profile::import::{self, HEADER, LINE_BYTES_MAX, LineError};
use crate::roles::api_keys::agreed_secret;
use crate::store::cql::CqlSession;
use crate::store::{CatalogStore, CqlCatalog, ListenerBackend, ListenerStore as _, Store, StoreError};

/// Rows that are written at once.
const AT_ONCE: usize = 256;
/// Refused lines that are named; the others are counted by their reason.
const NAMED_MAX: usize = 100;

/// Arguments of `segue segments`.
#[derive(clap::Args, Debug)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand, Debug)]
enum Command {
    /// Put listeners into segments until a moment: a line each, `listener_id,segment,expires_at`.
    ///
    /// Listeners are named as players name them; their ids become keys and are kept nowhere. Decisions know of it when they next read the listener: at once, or
    /// where servers share the store after `cql.listener_max_age_ms`. Said again, the last one wins; nobody is taken out of a segment but by time or by being
    /// forgotten. It goes into CQL where cql.hosts is set, else into data.dir, whose server must be stopped. Lines that can't be understood are left out, each
    /// named by its number and the reason; the others are imported. Safe to run again.
    ///
    /// Exit status: 0 all lines are imported, 1 some were refused, 2 wrong usage or configuration, 3 the store can't be reached or refuses.
    Import(ImportArgs),
}

#[derive(clap::Args, Debug)]
struct ImportArgs {
    /// The file; - is standard input.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The network whose listeners they are. May be left out where there is one.
    #[arg(long, value_name = "ID")]
    network: Option<NetworkId>,
    /// Print one JSON object instead of lines.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    config: ConfigOptions,
}

/// Runs `segue segments`.
pub(super) fn run(args: &Args) -> Result<Exit, Failure> {
    match &args.command {
        Command::Import(args) => run_import(args),
    }
}

fn run_import(args: &ImportArgs) -> Result<Exit, Failure> {
    let config = args.config.load()?;
    let input = open(&args.file).map_err(Failure::Refused)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.context("making a runtime")?;
    let now = Clock::real().now().wall;
    let into = Into::open(&config, args.network, &runtime, now)?;
    let report = into.import(input, &runtime, now)?;
    for line in &report.refused {
        // Nobody is left to tell when standard error is closed; the exit status says it.
        let _ = writeln!(std::io::stderr(), "line {}: {}", line.line, line.reason);
    }
    print(&if args.json {
        serde_json::to_string_pretty(&report).context("writing JSON")? + "\n"
    } else {
        report.lines()
    })?;
    Ok(if report.refused_lines == 0 { Exit::Ok } else { Exit::Difference })
}

fn open(file: &Path) -> anyhow::Result<Box<dyn BufRead>> {
    if file == Path::new("-") {
        return Ok(Box::new(BufReader::new(std::io::stdin())));
    }
    let opened = std::fs::File::open(file).with_context(|| format!("reading {}", file.display()))?;
    Ok(Box::new(BufReader::new(opened)))
}

/// Where segments go.
struct Into {
    place: String,
    network_id: NetworkId,
    secret: ListenerSecret,
    store: ListenerBackend,
    /// Keeps a server from the data directory meanwhile.
    _lock: Option<JournalLock>,
}

impl Into {
    fn open(config: &Config, network: Option<NetworkId>, runtime: &Runtime, now: WallMs) -> Result<Self, Failure> {
        let entropy = Entropy::real();
        if let Some(connection) = &config.cql {
            let opened = runtime.block_on(async {
                let session = CqlSession::open(connection).await?;
                let catalog = CqlCatalog::open(session.clone(), entropy.clone()).await?;
                let store = ListenerBackend::cql(&session).await?;
                Ok::<_, StoreError>((catalog, store))
            });
            let (catalog, store) = opened.context("opening the store")?;
            let network_id = network_of(&catalog, network)?;
            let secret = agreed_secret(&catalog, "listener_secret", crate::store::Secret(entropy.bytes()));
            let secret = secret.context("reading the listeners' secret")?.0;
            let place = format!("keyspace {}", connection.keyspace);
            return Ok(Self { place, network_id, secret: ListenerSecret::new(&secret), store, _lock: None });
        }
        let lock = lock(&config.data_dir).map_err(Failure::Refused)?;
        let store = Store::open(&config.data_dir, now, &entropy).context("opening the store")?;
        let network_id = network_of(&store.catalog().context("opening the catalogue")?, network)?;
        let secret = ListenerSecret::new(&store.identity().listener_secret.0);
        let rows = ListenerBackend::embedded(store.database()).context("opening the listeners")?;
        Ok(Self { place: config.data_dir.display().to_string(), network_id, secret, store: rows, _lock: Some(lock) })
    }

    /// Imports line by line: what is held is bounded, however long the file is.
    fn import(&self, mut input: impl BufRead, runtime: &Runtime, now: WallMs) -> anyhow::Result<Report> {
        let mut report = Report { place: self.place.clone(), ..Report::default() };
        let (mut line, mut waiting) = (Vec::new(), Vec::new());
        while next_line(&mut input, &mut line).context("reading the lines")? {
            report.lines += 1;
            if report.lines == 1 && line == HEADER.as_bytes() {
                continue;
            }
            match import::read(&line, now) {
                Ok(read) => {
                    let subject = ListenerSubject::Listener(read.listener_id);
                    waiting.push((self.secret.key(self.network_id, subject), read.segment));
                }
                Err(error) => report.refuse(error),
            }
            if waiting.len() == AT_ONCE {
                report.imported += self.put(&mut waiting, runtime, now, report.lines)?;
            }
        }
        report.imported += self.put(&mut waiting, runtime, now, report.lines)?;
        runtime.block_on(self.store.flush()).context("making the segments durable")?;
        Ok(report)
    }

    fn put(
        &self,
        waiting: &mut Vec<(ListenerKey, TimedSegment)>,
        runtime: &Runtime,
        now: WallMs,
        until_line: u64,
    ) -> anyhow::Result<u64> {
        // Of one listener and segment the last line wins, whichever write is done first.
        let mut last: BTreeMap<(ListenerKey, String), WallMs> = BTreeMap::new();
        let count = waiting.len() as u64;
        for (key, segment) in waiting.drain(..) {
            last.insert((key, segment.name), segment.until);
        }
        let written = runtime.block_on(async {
            let mut writing = JoinSet::new();
            for ((key, name), until) in last {
                let store = self.store.clone();
                writing.spawn(async move { store.put_segment(key, TimedSegment { name, until }, now).await });
            }
            while let Some(done) = writing.join_next().await {
                done.map_err(anyhow::Error::new)?.map_err(anyhow::Error::new)?;
            }
            Ok::<_, anyhow::Error>(())
        });
        written
            .with_context(|| format!("writing the lines until {until_line}; run it again once the store answers"))?;
        Ok(count)
    }
}

/// The network that was asked for, or the only one.
fn network_of(catalog: &impl CatalogStore, asked: Option<NetworkId>) -> Result<NetworkId, Failure> {
    let stored = catalog.load().context("reading the catalogue")?;
    let networks = stored.entities.iter().filter_map(|revision| match &revision.entity {
        Entity::Network(network) => Some(network.id),
        _ => None,
    });
    let networks: Vec<NetworkId> = networks.collect();
    match (asked, networks.as_slice()) {
        (Some(asked), known) if known.contains(&asked) => Ok(asked),
        (Some(asked), _) => Err(Failure::Refused(anyhow!("there is no network {asked}"))),
        (None, [only]) => Ok(*only),
        (None, []) => {
            Err(Failure::Refused(anyhow!("there is no network yet: start a server of the campaign role first")))
        }
        (None, many) => Err(Failure::Refused(anyhow!("there are {} networks: say --network ID", many.len()))),
    }
}

/// The next line without its end; one that is too long is cut behind the most that a line may have. False at the end.
fn next_line(input: &mut impl BufRead, line: &mut Vec<u8>) -> anyhow::Result<bool> {
    line.clear();
    let most = LINE_BYTES_MAX as u64 + 2;
    if input.by_ref().take(most).read_until(b'\n', line)? == 0 {
        return Ok(false);
    }
    if line.last() == Some(&b'\n') {
        line.pop();
        return Ok(true);
    }
    // What is left of a line that is too long, or nothing at the end of the file.
    loop {
        let rest = input.fill_buf()?;
        let (used, is_over) = match rest.iter().position(|byte| *byte == b'\n') {
            Some(place) => (place + 1, true),
            None => (rest.len(), rest.is_empty()),
        };
        input.consume(used);
        if is_over {
            return Ok(true);
        }
    }
}

/// What was read and done.
#[derive(Serialize, Default)]
struct Report {
    place: String,
    lines: u64,
    imported: u64,
    refused_lines: u64,
    /// The first of them.
    refused: Vec<Refused>,
    refused_by_reason: BTreeMap<String, u64>,
}

#[derive(Serialize)]
struct Refused {
    line: u64,
    reason: String,
}

impl Report {
    fn refuse(&mut self, error: LineError) {
        self.refused_lines += 1;
        if self.refused.len() < NAMED_MAX {
            self.refused.push(Refused { line: self.lines, reason: error.to_string() });
        }
        *self.refused_by_reason.entry(error.to_string()).or_default() += 1;
    }

    fn lines(&self) -> String {
        let mut text = format!("{} lines, {} imported into {}\n", self.lines, self.imported, self.place);
        for (reason, count) in &self.refused_by_reason {
            let _ = writeln!(text, "{count} refused: {reason}");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_one_by_one_and_a_long_one_harms_no_other() {
        let long = "x".repeat(3 * LINE_BYTES_MAX);
        let text = format!("one\n\n{long}\ntwo\r\n{long}{long}\nlast");
        let mut input = BufReader::with_capacity(100, text.as_bytes());
        let (mut line, mut lengths, mut texts) = (Vec::new(), Vec::new(), Vec::new());
        while next_line(&mut input, &mut line).expect("reads") {
            lengths.push(line.len().min(LINE_BYTES_MAX + 1));
            texts.push(String::from_utf8_lossy(&line[..line.len().min(5)]).into_owned());
        }
        assert_eq!(texts, ["one", "", "xxxxx", "two\r", "xxxxx", "last"]);
        assert_eq!(lengths, [3, 0, LINE_BYTES_MAX + 1, 4, LINE_BYTES_MAX + 1, 4]);
    }
}
