//! Lists: filters, pages, cursors.
//!
//! A cursor is the id of the last entity looked at. Ids order by age, so a list is stable while others write: nothing is shown twice
//! and nothing that was there at the start is passed over.

use std::sync::Arc;

use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::operations::{parse_id, status_named};
use crate::catalog::{Author, EntityId, EntityKind, Revision};
use crate::http::problem::{FieldError, Problem};
use crate::model::Status;
use crate::roles::campaign::{CatalogState, Requester};

/// Entities in a page when nothing is said.
pub const LIMIT_DEFAULT: usize = 50;
/// Most entities in a page.
pub const LIMIT_MAX: usize = 500;
/// Most entities looked at for one page. A filter that few pass gives a short page with a cursor, never a long wait.
const LOOKED_AT_MAX: usize = 20_000;
/// Longest query string in bytes.
const QUERY_BYTES_MAX: usize = 2_048;

/// One page of a list.
#[derive(Debug, Serialize, ToSchema)]
pub struct Page<T> {
    /// The entities, oldest first.
    pub items: Vec<T>,
    /// Where the next page begins; absent on the last page. A page may be short or empty and still have one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
}

/// One page of an entity's history.
#[derive(Debug, Serialize, ToSchema)]
pub struct RevisionPage {
    /// The revisions, newest first.
    pub items: Vec<RevisionDocument>,
    /// Where the next page begins; absent on the last page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
}

/// One line of the audit log: who did what to an entity, and when.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Revision)]
pub struct RevisionDocument {
    /// Number of the revision, from 1.
    pub revision: u64,
    /// When it was made.
    #[schema(format = DateTime)]
    pub at: String,
    /// The API key that made it; absent for what Segue did by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = Uuid)]
    pub key_id: Option<String>,
    /// The key's role at that time; `segue` for what Segue did by itself.
    pub role: String,
    /// `created`, `changed`, `archived`, `approved`, `rejected` or `imported`.
    pub action: String,
    /// The entity before; absent for the first revision.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Object)]
    pub before: Option<Value>,
    /// The entity after.
    #[schema(value_type = Object)]
    pub after: Option<Value>,
}

impl RevisionDocument {
    pub(super) fn new(revision: &Revision, before: Option<Value>, after: Option<Value>) -> Self {
        let (key_id, role) = match &revision.author {
            Author::Segue => (None, "segue".to_owned()),
            Author::Key { id, role } => (Some(id.to_string()), role.clone()),
        };
        Self {
            revision: revision.number,
            at: revision.at.to_rfc3339(),
            key_id,
            role,
            action: revision.action.name().to_owned(),
            before,
            after,
        }
    }
}

/// What a list is asked for.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ListQuery {
    pub(super) limit: usize,
    campaign: Option<EntityId>,
    advertiser: Option<EntityId>,
    status: Option<Status>,
    cursor: Option<String>,
}

impl ListQuery {
    /// Reads a query string. Anything unknown, doubled or unreadable is refused by its name.
    pub(super) fn parse(
        query: &str,
        parents: &[(&'static str, EntityKind)],
        has_status: bool,
    ) -> Result<Self, Problem> {
        if query.len() > QUERY_BYTES_MAX {
            let message = format!("a query has at most {QUERY_BYTES_MAX} bytes");
            return Err(Problem::invalid(vec![FieldError::new("", "too_long", message)]));
        }
        let pairs = actix_web::web::Query::<Vec<(String, String)>>::from_query(query)
            .map_err(|error| Problem::invalid(vec![FieldError::new("", "malformed", error.to_string())]))?;
        let mut read = Self { limit: LIMIT_DEFAULT, campaign: None, advertiser: None, status: None, cursor: None };
        let mut errors = Vec::new();
        let mut seen = Vec::new();
        for (name, value) in pairs.into_inner() {
            let outcome = if seen.contains(&name) {
                Err(("duplicate_field", "given twice".to_owned()))
            } else {
                read.take(&name, &value, parents, has_status)
            };
            if let Err((code, message)) = outcome {
                errors.push(FieldError::new(name.clone(), code, message));
            }
            seen.push(name);
        }
        if errors.is_empty() { Ok(read) } else { Err(Problem::invalid(errors)) }
    }

    fn take(
        &mut self,
        name: &str,
        value: &str,
        parents: &[(&'static str, EntityKind)],
        has_status: bool,
    ) -> Result<(), (&'static str, String)> {
        match name {
            "limit" => {
                let limit = value.parse().ok().filter(|limit| (1..=LIMIT_MAX).contains(limit));
                self.limit = limit.ok_or_else(|| ("out_of_range", format!("1 to {LIMIT_MAX}")))?;
            }
            "cursor" => self.cursor = Some(value.to_owned()),
            "status" if has_status => {
                let status = status_named(value);
                let unknown = || ("unknown_value", "one of active, paused, archived".to_owned());
                self.status = Some(status.ok_or_else(unknown)?);
            }
            _ => {
                let parent = parents.iter().find(|(known, _)| *known == name);
                let (_, kind) = parent.ok_or_else(|| ("unknown_field", "there is no such parameter".to_owned()))?;
                let id = parse_id(*kind, value);
                let id = id.ok_or_else(|| ("malformed", "an id is a UUID".to_owned()))?;
                match kind {
                    EntityKind::Campaign => self.campaign = Some(id),
                    EntityKind::Advertiser => self.advertiser = Some(id),
                    EntityKind::Network | EntityKind::Creative | EntityKind::LineItem => {
                        debug_assert!(false, "no list is filtered by {kind:?}");
                    }
                }
            }
        }
        Ok(())
    }

    /// The cursor of a list of other things.
    pub(super) fn cursor_as<T: std::str::FromStr>(&self) -> Result<Option<T>, Problem> {
        self.cursor.as_ref().map(|cursor| cursor.parse().map_err(|_| bad_cursor())).transpose()
    }

    /// The revision before which a page of history begins.
    pub(super) fn before(&self) -> Result<Option<u64>, Problem> {
        self.cursor_as()
    }

    /// One page of the entities of a kind under `everything` or a parent that was named, as far as the requester sees them.
    pub(super) fn page(
        &self,
        state: &CatalogState,
        everything: EntityId,
        kind: EntityKind,
        requester: &Requester,
    ) -> (Vec<Arc<Revision>>, Option<String>) {
        // The narrowest parent finds the entities; a wider one that is named too must hold as well.
        let parent = self.campaign.or(self.advertiser).unwrap_or(everything);
        let after = self.cursor.as_ref().and_then(|cursor| parse_id(kind, cursor));
        let mut found = Vec::new();
        let mut last = None;
        for (looked_at, revision) in state.children(parent, kind, after).enumerate() {
            if found.len() == self.limit || looked_at == LOOKED_AT_MAX {
                return (found, last);
            }
            last = Some(revision.entity.id().to_string());
            let entity = &revision.entity;
            let wanted = self.status.is_none_or(|status| entity.status() == status)
                && self
                    .advertiser
                    .is_none_or(|wanted| entity.advertiser_id().map(EntityId::Advertiser) == Some(wanted));
            if wanted && requester.sees(entity) {
                found.push(Arc::clone(revision));
            }
        }
        (found, None)
    }

    /// Refuses a cursor that no list of this kind gave.
    pub(super) fn check_cursor(&self, kind: EntityKind) -> Result<(), Problem> {
        match &self.cursor {
            Some(cursor) if parse_id(kind, cursor).is_none() => Err(bad_cursor()),
            Some(_) | None => Ok(()),
        }
    }
}

fn bad_cursor() -> Problem {
    Problem::invalid(vec![FieldError::new("cursor", "malformed", "a cursor is what the page before it gave")])
}
