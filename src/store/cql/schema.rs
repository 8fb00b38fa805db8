//! The tables, by version: applied in order, once each, by one at a time.
//!
//! `schema_versions` keeps what was applied, with the text's digest. Whoever changes the schema holds the row of `schema_lock`, taken by a conditional
//! write and given up after [`LOCK_SECONDS`] by itself. A crash in the middle of a version leaves tables without its row; the next run makes the
//! statements again, which say `IF NOT EXISTS`.

use std::time::Duration;

use scylla::client::session::Session;
use scylla::statement::Consistency;
use scylla::statement::unprepared::Statement;
use scylla::value::{CqlTimestamp, CqlValue, Row};

use super::{CqlConnection, CqlTrouble};
use crate::model::WallMs;

/// How long the right to change the schema lasts: far longer than it takes.
const LOCK_SECONDS: u32 = 60;
/// Pause between two attempts to get it.
const LOCK_PAUSE: Duration = Duration::from_millis(250);
/// Attempts to get it: until a lock left by a crash is over, and a little more.
const LOCK_ATTEMPTS: u32 = 300;
/// How long one statement may take: a cluster agrees on a new table within seconds.
const STATEMENT_WAIT: Duration = Duration::from_mins(1);

/// A version of the schema.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SchemaVersion {
    /// From 1 on, without gaps.
    pub version: i32,
    /// Its file in `schemas/cql/`.
    pub name: &'static str,
    text: &'static str,
}

/// All versions, by number.
pub const VERSIONS: &[SchemaVersion] = &[
    SchemaVersion {
        version: 1,
        name: "0001-listeners.cql",
        text: include_str!("../../../schemas/cql/0001-listeners.cql"),
    },
    SchemaVersion {
        version: 2,
        name: "0002-catalogue.cql",
        text: include_str!("../../../schemas/cql/0002-catalogue.cql"),
    },
    SchemaVersion { version: 3, name: "0003-ledger.cql", text: include_str!("../../../schemas/cql/0003-ledger.cql") },
    SchemaVersion {
        version: 4,
        name: "0004-profiles.cql",
        text: include_str!("../../../schemas/cql/0004-profiles.cql"),
    },
];

/// The latest version.
pub const LATEST: i32 = VERSIONS[VERSIONS.len() - 1].version;

/// What became of a version.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fate {
    /// It was applied before.
    Known,
    /// It was applied now.
    Applied,
    /// It would be, in a dry run.
    Missing,
}

impl SchemaVersion {
    /// Its statements, without comments.
    fn statements(&self) -> Vec<String> {
        let lines = self.text.lines().map(|line| line.split("--").next().unwrap_or_default());
        let text: Vec<&str> = lines.map(str::trim).filter(|line| !line.is_empty()).collect();
        let statements = text.join(" ");
        statements.split(';').map(|one| one.trim().to_owned()).filter(|one| !one.is_empty()).collect()
    }

    fn digest(&self) -> String {
        blake3::hash(self.text.as_bytes()).to_hex().to_string()
    }
}

/// Brings a keyspace to the latest version. `holder` names this run and no other; `now` stamps what is applied.
///
/// # Errors
/// [`CqlTrouble`]. What was applied until then stays; run it again.
pub async fn apply(
    connection: &CqlConnection,
    holder: &str,
    now: WallMs,
) -> Result<Vec<(SchemaVersion, Fate)>, CqlTrouble> {
    let session = connection.connect().await?;
    let schema = Schema { connection, session: &session };
    schema.prepare_keyspace().await?;
    schema.lock(holder).await?;
    let applied = schema.apply_missing(now).await;
    // Also after a failure: whoever comes next need not wait. If this fails the lock ends by itself.
    let freed = schema.unlock(holder).await;
    let applied = applied?;
    freed?;
    Ok(applied)
}

/// What [`apply`] would do. Changes nothing.
///
/// # Errors
/// [`CqlTrouble`].
pub async fn survey(connection: &CqlConnection) -> Result<Vec<(SchemaVersion, Fate)>, CqlTrouble> {
    let session = connection.connect().await?;
    let schema = Schema { connection, session: &session };
    if !schema.has_versions().await? {
        return Ok(VERSIONS.iter().map(|version| (*version, Fate::Missing)).collect());
    }
    let known = schema.known().await?;
    let fate = |version: &SchemaVersion| if known.contains(&version.version) { Fate::Known } else { Fate::Missing };
    Ok(VERSIONS.iter().map(|version| (*version, fate(version))).collect())
}

/// Whether the keyspace has all versions that this program knows. The latest it has, if that is one which a later program has applied: versions only add,
/// so that this one goes on.
///
/// # Errors
/// [`CqlTrouble::NoSchema`], [`CqlTrouble::Older`], [`CqlTrouble::Changed`], and what keeps it from being read.
pub(super) async fn check(connection: &CqlConnection, session: &Session) -> Result<Option<i32>, CqlTrouble> {
    let schema = Schema { connection, session };
    let keyspace = &connection.keyspace;
    if !schema.has_versions().await? {
        return Err(CqlTrouble::NoSchema(keyspace.clone()));
    }
    let (known, newer) = schema.applied().await?;
    match VERSIONS.iter().find(|version| !known.contains(&version.version)) {
        Some(_) if known.is_empty() => Err(CqlTrouble::NoSchema(keyspace.clone())),
        Some(missing) => {
            Err(CqlTrouble::Older { keyspace: keyspace.clone(), found: missing.version - 1, needed: LATEST })
        }
        None => Ok(newer),
    }
}

struct Schema<'c> {
    connection: &'c CqlConnection,
    session: &'c Session,
}

impl Schema<'_> {
    /// The keyspace and the tables that this module itself needs.
    async fn prepare_keyspace(&self) -> Result<(), CqlTrouble> {
        let CqlConnection { keyspace, datacenter, replication, .. } = self.connection;
        // One that is there is taken as it is: its replication is its operator's.
        if self.first("system_schema.keyspaces", "look for the keyspace").await?.is_none() {
            let replicas = format!("{{'class': 'NetworkTopologyStrategy', '{datacenter}': {replication}}}");
            let make = format!("CREATE KEYSPACE IF NOT EXISTS {keyspace} WITH replication = {replicas}");
            self.run(&make, "make the keyspace").await?;
        }
        self.run(
            &format!(
                "CREATE TABLE IF NOT EXISTS {keyspace}.schema_versions (part text, version int, name text, digest text, applied_at timestamp, \
                 PRIMARY KEY (part, version))"
            ),
            "make the table of schema versions",
        )
        .await?;
        let lock = format!("CREATE TABLE IF NOT EXISTS {keyspace}.schema_lock (part text PRIMARY KEY, holder text)");
        self.run(&lock, "make the table of the schema's lock").await
    }

    async fn lock(&self, holder: &str) -> Result<(), CqlTrouble> {
        let keyspace = &self.connection.keyspace;
        let take = format!(
            "INSERT INTO {keyspace}.schema_lock (part, holder) VALUES ('segue', ?) IF NOT EXISTS USING TTL {LOCK_SECONDS}"
        );
        for _ in 0..LOCK_ATTEMPTS {
            if self.conditionally(&take, (holder,)).await? {
                return Ok(());
            }
            tokio::time::sleep(LOCK_PAUSE).await;
        }
        Err(CqlTrouble::Busy(keyspace.clone()))
    }

    async fn unlock(&self, holder: &str) -> Result<(), CqlTrouble> {
        let free = format!("DELETE FROM {}.schema_lock WHERE part = 'segue' IF holder = ?", self.connection.keyspace);
        self.conditionally(&free, (holder,)).await.map(|_| ())
    }

    async fn apply_missing(&self, now: WallMs) -> Result<Vec<(SchemaVersion, Fate)>, CqlTrouble> {
        let known = self.known().await?;
        let keyspace = &self.connection.keyspace;
        let note = format!(
            "INSERT INTO {keyspace}.schema_versions (part, version, name, digest, applied_at) VALUES ('segue', ?, ?, ?, ?)"
        );
        let mut fates = Vec::with_capacity(VERSIONS.len());
        for version in VERSIONS {
            if known.contains(&version.version) {
                fates.push((*version, Fate::Known));
                continue;
            }
            for statement in version.statements() {
                self.run(&in_keyspace(&statement, keyspace), "make a table").await?;
            }
            let values = (version.version, version.name, version.digest(), CqlTimestamp(now.0));
            let noted = self.session.query_unpaged(statement(&note), values).await;
            noted.map_err(|error| self.connection.trouble("note a schema version", &error))?;
            fates.push((*version, Fate::Applied));
        }
        Ok(fates)
    }

    async fn has_versions(&self) -> Result<bool, CqlTrouble> {
        self.first("system_schema.tables", "look for the tables").await.map(|row| row.is_some())
    }

    /// Whether the keyspace has a row there.
    async fn first(&self, table: &str, doing: &'static str) -> Result<Option<Row>, CqlTrouble> {
        let ask = if table == "system_schema.tables" {
            format!("SELECT table_name FROM {table} WHERE keyspace_name = ? AND table_name = 'schema_versions'")
        } else {
            format!("SELECT keyspace_name FROM {table} WHERE keyspace_name = ?")
        };
        let found = self.session.query_unpaged(ask, (&self.connection.keyspace,)).await;
        let found = found.map_err(|error| self.connection.trouble(doing, &error))?;
        let rows = found.into_rows_result().map_err(|error| other(doing, &error))?;
        rows.maybe_first_row::<Row>().map_err(|error| other(doing, &error))
    }

    /// The versions applied, if this program knows them all.
    async fn known(&self) -> Result<Vec<i32>, CqlTrouble> {
        let (known, newer) = self.applied().await?;
        match newer {
            Some(found) => Err(CqlTrouble::Newer { keyspace: self.connection.keyspace.clone(), found, known: LATEST }),
            None => Ok(known),
        }
    }

    /// The versions applied that are known here, each with the text that it has here; and the latest that is not known.
    async fn applied(&self) -> Result<(Vec<i32>, Option<i32>), CqlTrouble> {
        const DOING: &str = "read the schema versions";
        let keyspace = &self.connection.keyspace;
        let ask = format!("SELECT version, digest FROM {keyspace}.schema_versions WHERE part = 'segue'");
        let found = self.session.query_unpaged(statement(&ask), ()).await;
        let found = found.map_err(|error| self.connection.trouble(DOING, &error))?;
        let rows = found.into_rows_result().map_err(|error| other(DOING, &error))?;
        let (mut known, mut newer) = (Vec::new(), None);
        for row in rows.rows::<(i32, String)>().map_err(|error| other(DOING, &error))? {
            let (version, digest) = row.map_err(|error| other(DOING, &error))?;
            let Some(ours) = VERSIONS.iter().find(|ours| ours.version == version) else {
                newer = newer.max(Some(version));
                continue;
            };
            if ours.digest() != digest {
                return Err(CqlTrouble::Changed { keyspace: keyspace.clone(), version, name: ours.name });
            }
            known.push(version);
        }
        Ok((known, newer))
    }

    async fn run(&self, text: &str, doing: &'static str) -> Result<(), CqlTrouble> {
        let done = self.session.query_unpaged(statement(text), ()).await;
        done.map(|_| ()).map_err(|error| self.connection.trouble(doing, &error))
    }

    /// A conditional write; whether it was made. The driver's own word for it knows only ScyllaDB: the first column says it in both.
    async fn conditionally(&self, text: &str, values: (&str,)) -> Result<bool, CqlTrouble> {
        const DOING: &str = "take the right to change the schema";
        let done = self.session.query_unpaged(statement(text), values).await;
        let done = done.map_err(|error| self.connection.trouble(DOING, &error))?;
        let rows = done.into_rows_result().map_err(|error| other(DOING, &error))?;
        let row = rows.first_row::<Row>().map_err(|error| other(DOING, &error))?;
        Ok(matches!(row.columns.first(), Some(Some(CqlValue::Boolean(true)))))
    }
}

fn other(doing: &'static str, error: &dyn std::error::Error) -> CqlTrouble {
    CqlTrouble::Other { doing, reason: error.to_string() }
}

fn statement(text: &str) -> Statement {
    let mut statement = Statement::new(text);
    statement.set_consistency(Consistency::LocalQuorum);
    statement.set_request_timeout(Some(STATEMENT_WAIT));
    statement
}

/// The statement with its table named in full: sessions are of no keyspace, since it may not be there yet.
fn in_keyspace(statement: &str, keyspace: &str) -> String {
    for verb in VERBS {
        if let Some(rest) = statement.strip_prefix(verb) {
            return format!("{verb}{keyspace}.{rest}");
        }
    }
    panic!("a test reads all statements: {statement}")
}

/// How statements may begin: they only add.
const VERBS: [&str; 2] = ["CREATE TABLE IF NOT EXISTS ", "ALTER TABLE "];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_have_no_gaps_and_are_all_files_of_the_folder() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/schemas/cql");
        let mut files: Vec<String> = std::fs::read_dir(folder)
            .expect("the folder")
            .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
            .filter(|name| name.strip_suffix(".cql").is_some())
            .collect();
        files.sort();
        assert_eq!(files, VERSIONS.iter().map(|version| version.name).collect::<Vec<_>>());
        for (version, number) in VERSIONS.iter().zip(1..) {
            assert_eq!(version.version, number);
            assert!(version.name.starts_with(&format!("{number:04}-")));
        }
    }

    #[test]
    fn statements_only_add_and_say_nothing_that_only_one_engine_knows() {
        const FOREIGN: [&str; 6] = ["BYPASS CACHE", "USING TIMEOUT", "TOMBSTONE_GC", "TABLETS", "CDC", "COUNTER"];
        for version in VERSIONS {
            assert!(!version.statements().is_empty());
            for statement in version.statements() {
                assert!(VERBS.iter().any(|verb| statement.starts_with(verb)), "{statement}");
                assert!(!statement.starts_with("ALTER") || statement.contains(" ADD "), "{statement}");
                let upper = statement.to_uppercase();
                assert!(FOREIGN.iter().all(|word| !upper.contains(word)), "{statement}");
                assert!(in_keyspace(&statement, "k").contains(" k."), "{statement}");
            }
        }
    }

    #[test]
    fn every_table_says_who_reads_it_how_large_it_grows_and_how_long_it_lives() {
        for version in VERSIONS {
            // What stands above each table; the last piece is the end of the last table.
            let pieces: Vec<&str> = version.text.split("CREATE TABLE").collect();
            for above in &pieces[..pieces.len() - 1] {
                for said in ["-- Access: ", "-- Partition: ", "-- Life: ", "Compaction: "] {
                    assert!(above.contains(said), "{said} is not in {above}");
                }
            }
        }
    }
}
