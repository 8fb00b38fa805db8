//! `segue servers`: the register of servers in a stopped server's store.
//!
//! The server that does accounting must be stopped: it owns the register while it runs. Of a running one, `GET /v1/servers` shows the same.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::BufRead as _;

use anyhow::{Context as _, anyhow};
use serde::Serialize;

use super::stopped::{self, Stopped};
use super::{ConfigOptions, Exit, Failure, print};
use crate::accounting::{ServerEntry, ServerState};
use crate::model::ServerId;

/// Arguments of `segue servers`.
#[derive(clap::Args, Debug)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand, Debug)]
enum Command {
    /// List the servers: state, boot, how far each is complete, and the leases that it has open.
    List(ListArgs),
    /// Give a server up that will not come back and whose data directory is gone. The last word: say it only when `segue journal ship`
    /// can't be used.
    ///
    /// A server that is dead and not closed holds leases open: what it acknowledged may lie in its journal, so its money is not given back. To
    /// declare it lost gives that money back to the budgets though beacons may be missing. Those that it acknowledged and never shipped are
    /// lost to billing: if they turn up later, they are kept unbilled as `lease_closed`. No budget is overspent by it.
    ///
    /// Prints what it may cost first, and asks for the server's id on standard input unless --yes is given. Exit status: 0 done, 2 not
    /// confirmed or no such server, 3 failed.
    DeclareLost(DeclareLostArgs),
}

#[derive(clap::Args, Debug)]
struct ListArgs {
    /// Print one JSON object instead of a table.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    config: ConfigOptions,
}

#[derive(clap::Args, Debug)]
struct DeclareLostArgs {
    /// The server, as `segue servers list` names it.
    server_id: ServerId,
    /// Don't ask.
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    config: ConfigOptions,
}

/// Runs `segue servers`.
pub(super) fn run(args: &Args) -> Result<Exit, Failure> {
    match &args.command {
        Command::List(args) => list(args),
        Command::DeclareLost(args) => declare_lost(args),
    }
}

/// What a server holds open.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
struct Open {
    leases: u64,
    micros: i64,
    impressions: u64,
}

fn open_leases(stopped: &Stopped) -> anyhow::Result<BTreeMap<ServerId, Open>> {
    let mut all: BTreeMap<ServerId, Open> = BTreeMap::new();
    for (_, lease) in stopped.ledger.remembered_leases().context("reading the leases")? {
        if lease.closed_at.is_none() {
            let open = all.entry(lease.grant.server_id).or_default();
            open.leases += 1;
            open.micros = open.micros.saturating_add(lease.unsettled().0);
            open.impressions += u64::from(lease.unsettled_count());
        }
    }
    Ok(all)
}

fn list(args: &ListArgs) -> Result<Exit, Failure> {
    let config = args.config.load()?;
    let _lock = stopped::lock(&config.data_dir)?;
    let stopped = Stopped::open(&config.data_dir)?;
    let servers = stopped.ledger.servers().context("reading the register of servers")?;
    let open = open_leases(&stopped)?;
    let rows: Vec<Row> = servers.iter().map(|entry| Row::of(entry, &open, stopped.server_id)).collect();
    print(&if args.json { json(&rows)? } else { table(&rows) })?;
    Ok(Exit::Ok)
}

/// A server as scripts read it.
#[derive(Serialize)]
struct Row {
    server_id: String,
    state: &'static str,
    this: bool,
    boot_id: String,
    registered_at: String,
    heard_at: String,
    clock_ahead_ms: i64,
    complete_until: String,
    open_leases: u64,
    open_micros: i64,
}

impl Row {
    fn of(entry: &ServerEntry, open: &BTreeMap<ServerId, Open>, own: ServerId) -> Self {
        let open = open.get(&entry.server_id).copied().unwrap_or_default();
        Self {
            server_id: entry.server_id.to_string(),
            state: entry.state.name(),
            this: entry.server_id == own,
            boot_id: entry.boot_id.to_string(),
            registered_at: entry.registered_at.to_rfc3339(),
            heard_at: entry.heard_at.to_rfc3339(),
            clock_ahead_ms: entry.clock_ahead_ms,
            complete_until: entry.complete_until.to_rfc3339(),
            open_leases: open.leases,
            open_micros: open.micros,
        }
    }
}

fn json(rows: &[Row]) -> anyhow::Result<String> {
    #[derive(Serialize)]
    struct Servers<'a> {
        servers: &'a [Row],
    }
    Ok(format!("{}\n", serde_json::to_string(&Servers { servers: rows })?))
}

fn table(rows: &[Row]) -> String {
    if rows.is_empty() {
        return "no server has registered yet\n".to_owned();
    }
    let mut text = String::new();
    // Writing to a String never fails.
    let _ = writeln!(
        text,
        "{:<36}  {:<8}  {:<24}  {:<24}  {:>8}  {:>11}  {:>15}",
        "server", "state", "last heard", "complete until", "clock ms", "open leases", "open micros"
    );
    for row in rows {
        let _ = writeln!(
            text,
            "{:<36}  {:<8}  {:<24}  {:<24}  {:>8}  {:>11}  {:>15}{}",
            row.server_id,
            row.state,
            row.heard_at,
            row.complete_until,
            row.clock_ahead_ms,
            row.open_leases,
            row.open_micros,
            if row.this { "  (this one)" } else { "" }
        );
    }
    text
}

fn declare_lost(args: &DeclareLostArgs) -> Result<Exit, Failure> {
    let config = args.config.load()?;
    let _lock = stopped::lock(&config.data_dir)?;
    let stopped = Stopped::open(&config.data_dir)?;
    let servers = stopped.ledger.servers().context("reading the register of servers")?;
    let Some(mut entry) = servers.into_iter().find(|entry| entry.server_id == args.server_id) else {
        return Err(Failure::Refused(anyhow!(
            "no server {} has registered here; `segue servers list` names them all",
            args.server_id
        )));
    };
    if entry.server_id == stopped.server_id {
        return Err(Failure::Refused(anyhow!(
            "{} is the server of {}: its journal is here, and nothing of it can be lost; start it instead",
            entry.server_id,
            config.data_dir.display()
        )));
    }
    if !entry.state.is_open() {
        print(&format!("server {} is {} already; nothing was changed\n", entry.server_id, entry.state.name()))?;
        return Ok(Exit::Ok);
    }
    let open = open_leases(&stopped)?.get(&entry.server_id).copied().unwrap_or_default();
    print(&cost(&entry, open))?;
    if !args.yes && !is_confirmed(&entry)? {
        return Err(Failure::Refused(anyhow!("not confirmed; nothing was changed")));
    }
    entry.state = ServerState::Lost;
    stopped.ledger.put_server(&entry).context("writing the register of servers")?;
    print(&format!("server {} is lost; start the server that does accounting to go on\n", entry.server_id))?;
    Ok(Exit::Ok)
}

/// What it may cost to give a server up.
fn cost(entry: &ServerEntry, open: Open) -> String {
    format!(
        "server {} is {}, last heard of at {}, and complete until {}.\n\
         To declare it lost may cost:\n\
         - beacons that it acknowledged after {} and never shipped are lost to billing;\n\
         - its {} open leases with {} micros ({} impressions) return to their budgets once nothing drawn from them can be billed any \
         more, though what was heard of them may be missing: that much at most is given away.\n\
         If its data directory is still there, `segue journal ship --dir DIR` loses nothing.\n",
        entry.server_id,
        entry.state.name(),
        entry.heard_at.to_rfc3339(),
        entry.complete_until.to_rfc3339(),
        entry.complete_until.to_rfc3339(),
        open.leases,
        open.micros,
        open.impressions,
    )
}

fn is_confirmed(entry: &ServerEntry) -> Result<bool, Failure> {
    print("Type the server's id to declare it lost: ")?;
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line).context("reading standard input")?;
    print("\n")?;
    Ok(line.trim() == entry.server_id.to_string())
}
