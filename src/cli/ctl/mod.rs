//! `segue ctl`: the campaign API for people who live in a terminal.
//!
//! It speaks HTTP to a running server with a key and knows nothing that the API doesn't say: [`api`] sends and reads, [`table`] lays out what came,
//! and this file says which call a verb is.

mod api;
mod change;
mod table;

use std::path::PathBuf;

use anyhow::Context as _;
use serde_json::{Value, json};

use self::api::{Api, Refusal};
use self::change::{Setting, document, setting};
use super::{Exit, Failure, print};

/// Most entities of a list where nothing is said.
const LIST_LIMIT_DEFAULT: usize = 100;
/// Entities asked for at once.
const PAGE: usize = 500;

/// Arguments of `segue ctl`.
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  segue ctl list line-items --where status=active
  segue ctl why 01890a5d-ac96-774b-bcce-b302099a8057
  segue ctl change line-items 01890a5d-ac96-774b-bcce-b302099a8057 --set budget.lifetime_micros=50000000
  segue ctl list line-items --json | jq -r '.items[].id'

Exit status: 0 done, 2 refused or wrong usage, 3 the server can't be reached or failed.")]
pub(super) struct Args {
    /// The server.
    #[arg(long, global = true, env = "SEGUE_URL", value_name = "URL", default_value = "http://127.0.0.1:8080")]
    url: String,
    /// File with the key [default: the key in `SEGUE_KEY`, else segue-data/operator.key].
    #[arg(long, global = true, env = "SEGUE_KEY_FILE", value_name = "FILE")]
    key_file: Option<PathBuf>,
    /// Print JSON as the server says it instead of a table.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

/// What can be listed and read.
#[derive(clap::ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    Networks,
    Advertisers,
    Campaigns,
    LineItems,
    Creatives,
    Keys,
}

impl Kind {
    const fn path(self) -> &'static str {
        match self {
            Self::Networks => "/v1/networks",
            Self::Advertisers => "/v1/advertisers",
            Self::Campaigns => "/v1/campaigns",
            Self::LineItems => "/v1/line-items",
            Self::Creatives => "/v1/creatives",
            Self::Keys => "/v1/keys",
        }
    }

    fn one(self, id: &str) -> String {
        format!("{}/{}", self.path(), api::segment(id))
    }
}

#[derive(clap::Subcommand, Debug)]
enum Command {
    /// List entities, oldest first.
    List {
        /// Of which kind.
        kind: Kind,
        /// Only those, such as `--where campaign_id=ID` or `--where status=active`. May be repeated.
        #[arg(long = "where", value_name = "NAME=VALUE", value_parser = name_and_value)]
        filters: Vec<(String, String)>,
        /// Most entities; 0 for all of them.
        #[arg(long, default_value_t = LIST_LIMIT_DEFAULT)]
        limit: usize,
    },
    /// Print one entity as the JSON document that it is.
    Get {
        /// Of which kind.
        kind: Kind,
        /// Its id.
        id: String,
    },
    /// Create an entity from a JSON document.
    Create {
        /// Of which kind.
        kind: Kind,
        /// The document; - is standard input.
        file: PathBuf,
    },
    /// Change an entity: a JSON merge patch, or single fields.
    ///
    /// The change is made to the revision that is read just before it, or to the one that --revision names: if somebody else was faster it is refused, and nothing
    /// is changed.
    Change {
        /// Of which kind.
        kind: Kind,
        /// Its id.
        id: String,
        /// A merge patch (RFC 7396); - is standard input.
        #[arg(required_unless_present = "settings")]
        file: Option<PathBuf>,
        /// A field by its path, such as `--set name=Spring` or `--set budget.daily_micros=null`. A value that is JSON is taken as such. May be repeated.
        #[arg(long = "set", value_name = "PATH=VALUE", value_parser = setting)]
        settings: Vec<Setting>,
        /// The revision that it is based on.
        #[arg(long)]
        revision: Option<u64>,
    },
    /// Pause an advertiser, campaign, line item or creative, at once.
    Pause {
        /// Of which kind.
        kind: Kind,
        /// Its id.
        id: String,
    },
    /// Make it active again.
    Resume {
        /// Of which kind.
        kind: Kind,
        /// Its id.
        id: String,
    },
    /// Archive an entity, or revoke a key. There is no way back.
    Archive {
        /// Of which kind.
        kind: Kind,
        /// Its id.
        id: String,
    },
    /// Approve a creative.
    Approve {
        /// Its id.
        id: String,
    },
    /// Reject a creative.
    Reject {
        /// Its id.
        id: String,
    },
    /// Who changed what of an entity, newest first.
    History {
        /// Of which kind.
        kind: Kind,
        /// Its id.
        id: String,
        /// Most revisions.
        #[arg(long, default_value_t = 20)]
        limit: usize,
    },
    /// Why a line item does not deliver: the verdict, and how it ended in the ad breaks sampled lately.
    Why {
        /// Its id.
        id: String,
    },
    /// What was delivered and billed.
    Report {
        /// First moment, RFC 3339; a day before --to when absent.
        #[arg(long)]
        from: Option<String>,
        /// First moment after, RFC 3339; now when absent.
        #[arg(long)]
        to: Option<String>,
        /// One line item.
        #[arg(long, value_name = "ID")]
        line_item: Option<String>,
        /// `line_item`, `hour`, `line_item_hour` or `total`.
        #[arg(long, value_name = "WORD", default_value = "line_item")]
        group_by: String,
    },
    /// The invoice of an advertiser and month.
    Invoice {
        /// The advertiser's id.
        advertiser: String,
        /// Such as 2026-11.
        month: String,
    },
    /// The register of servers.
    Servers,
}

/// Runs `segue ctl`.
pub(super) fn run(args: &Args) -> Result<Exit, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("making a runtime")?;
    let api = Api::new(&args.url, args.key_file.as_deref())?;
    let output = runtime.block_on(call(&api, &args.command)).map_err(failure)?;
    print(&if args.json { pretty(&output.value)? } else { output.text()? })?;
    Ok(Exit::Ok)
}

/// What a call gave, and how people read it.
struct Output {
    value: Value,
    layout: Layout,
}

enum Layout {
    /// A table of these columns; the rows lie at the first path.
    Table(&'static str, &'static [table::Column]),
    /// The document.
    Document,
    /// The verdict, and a table of causes.
    Diagnosis,
    /// What was done to it.
    Done(&'static str),
}

impl Output {
    fn text(&self) -> anyhow::Result<String> {
        match &self.layout {
            Layout::Table(rows, columns) => Ok(table::table(&self.value[rows], columns)),
            Layout::Document => pretty(&self.value),
            Layout::Diagnosis => {
                let verdict = self.value["verdict"].as_str().unwrap_or_default();
                Ok(format!("{verdict}\n\n{}", table::table(&self.value["causes"], table::CAUSES)))
            }
            Layout::Done(what) => {
                let id = self.value["id"].as_str().unwrap_or_default();
                let revision = self.value["revision"].as_u64();
                Ok(revision.map_or_else(|| format!("{what} {id}\n"), |n| format!("{what} {id}, revision {n}\n")))
            }
        }
    }
}

fn pretty(value: &Value) -> anyhow::Result<String> {
    Ok(serde_json::to_string_pretty(value)? + "\n")
}

fn failure(refusal: Refusal) -> Failure {
    let is_ours = matches!(refusal, Refusal::Problem { status, .. } if (400..500).contains(&status))
        || matches!(refusal, Refusal::Input(_));
    let error = anyhow::Error::new(refusal);
    if is_ours { Failure::Refused(error) } else { Failure::Running(error) }
}

async fn call(api: &Api, command: &Command) -> Result<Output, Refusal> {
    let (value, layout) = match command {
        Command::List { kind, filters, limit } => {
            (list(api, kind.path(), filters, *limit).await?, Layout::Table("items", table::columns(*kind)))
        }
        Command::Get { kind, id } => (api.get(&kind.one(id), &[]).await?.body, Layout::Document),
        Command::Create { kind, file } => {
            let made = api.post(kind.path(), &document(file)?, None).await?;
            // The secret of a key is shown this once.
            (made, if *kind == Kind::Keys { Layout::Document } else { Layout::Done("created") })
        }
        Command::Change { kind, id, file, settings, revision } => {
            let patch = change::patch(file.as_deref(), settings)?;
            (change(api, *kind, id, &patch, *revision).await?, Layout::Done("changed"))
        }
        Command::Pause { kind, id } => {
            (change(api, *kind, id, &json!({"status": "paused"}), None).await?, Layout::Done("paused"))
        }
        Command::Resume { kind, id } => {
            (change(api, *kind, id, &json!({"status": "active"}), None).await?, Layout::Done("resumed"))
        }
        Command::Archive { kind, id } => (archive(api, *kind, id).await?, Layout::Done("archived")),
        Command::Approve { id } => (review(api, id, "approve").await?, Layout::Done("approved")),
        Command::Reject { id } => (review(api, id, "reject").await?, Layout::Done("rejected")),
        Command::History { kind, id, limit } => {
            let path = format!("{}/revisions", kind.one(id));
            (list(api, &path, &[], *limit).await?, Layout::Table("items", table::HISTORY))
        }
        Command::Why { id } => {
            let path = format!("{}/diagnosis", Kind::LineItems.one(id));
            (api.get(&path, &[]).await?.body, Layout::Diagnosis)
        }
        Command::Report { from, to, line_item, group_by } => {
            let named = [("from", from), ("to", to), ("line_item_id", line_item)];
            let given = named.into_iter().filter_map(|(name, value)| Some((name, value.as_deref()?)));
            let query: Vec<_> = given.chain([("group_by", group_by.as_str())]).collect();
            (api.get("/v1/reports", &query).await?.body, Layout::Table("rows", table::REPORT))
        }
        Command::Invoice { advertiser, month } => {
            let path = format!("/v1/invoices/{}/{}", api::segment(advertiser), api::segment(month));
            (api.get(&path, &[]).await?.body, Layout::Document)
        }
        Command::Servers => (api.get("/v1/servers", &[]).await?.body, Layout::Table("servers", table::SERVERS)),
    };
    Ok(Output { value, layout })
}

/// All pages of a list, up to a limit; none for 0.
async fn list(api: &Api, path: &str, filters: &[(String, String)], limit: usize) -> Result<Value, Refusal> {
    let limit = if limit == 0 { usize::MAX } else { limit };
    let (mut items, mut cursor) = (Vec::new(), None::<String>);
    loop {
        let page = PAGE.min(limit - items.len()).to_string();
        let mut query: Vec<(&str, &str)> =
            filters.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        query.push(("limit", &page));
        query.extend(cursor.as_deref().map(|cursor| ("cursor", cursor)));
        let mut body = api.get(path, &query).await?.body;
        if let Value::Array(more) = body["items"].take() {
            items.extend(more);
        }
        cursor = body["next_cursor"].as_str().map(str::to_owned);
        if cursor.is_none() || items.len() >= limit {
            return Ok(json!({"items": items, "next_cursor": cursor}));
        }
    }
}

/// The tag of the revision that a change is based on: the one that is there, where none is named.
async fn tag(api: &Api, path: &str, revision: Option<u64>) -> Result<String, Refusal> {
    match revision {
        Some(number) => Ok(format!("\"{number}\"")),
        None => Ok(api.get(path, &[]).await?.tag.unwrap_or_else(|| "*".to_owned())),
    }
}

async fn change(api: &Api, kind: Kind, id: &str, patch: &Value, revision: Option<u64>) -> Result<Value, Refusal> {
    let path = kind.one(id);
    let tag = tag(api, &path, revision).await?;
    api.patch(&path, patch, &tag).await
}

async fn archive(api: &Api, kind: Kind, id: &str) -> Result<Value, Refusal> {
    let path = kind.one(id);
    // A key has no revisions: it is there or revoked.
    let tag = if kind == Kind::Keys { None } else { Some(tag(api, &path, None).await?) };
    api.delete(&path, tag.as_deref()).await
}

async fn review(api: &Api, id: &str, word: &str) -> Result<Value, Refusal> {
    let path = Kind::Creatives.one(id);
    let tag = tag(api, &path, None).await?;
    api.post(&format!("{path}/{word}"), &Value::Null, Some(&tag)).await
}

fn name_and_value(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("expected NAME=VALUE")?;
    if name.is_empty() { Err("the name is empty".to_owned()) } else { Ok((name.to_owned(), value.to_owned())) }
}
