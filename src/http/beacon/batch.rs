//! Many beacons at once, for players that were offline: `POST /v1/t`.
//!
//! Each entry is judged for itself: one that is refused costs the others nothing, and the answer says of each what became of it. All that can
//! move money is on disk in one append before the answer; where that fails, the whole batch is answered 503 and sent again.

use std::fmt;

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use serde::de::{IgnoredAny, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::{count_heard, judged, not_kept};
use crate::http::player::Player;
use crate::http::problem::{FieldError, Problem, unread};
use crate::impressions::invalid::Sender;
use crate::model::WallMs;
use crate::roles::beacon::Beacon;
use crate::telemetry::Metric;

/// Most beacons in a batch: a week offline at fifty a day is sent in one. One append of so many records is some 200 kB.
pub const BATCH_ENTRIES_MAX: usize = 500;
/// Largest batch in bytes: 500 entries with the longest tokens take less.
pub const BATCH_BYTES_MAX: usize = 512 * 1_024;

/// One beacon of a batch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct BatchEntryBody {
    /// What happened: an event's name, as in `/v1/t/{event}/{token}`.
    pub event: String,
    /// The ad's sealed token.
    pub token: String,
    /// How far into the ad the player was, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub played_ms: Option<u32>,
    /// When it happened by the player's clock, RFC 3339. Kept where it lies between the ad's decision and now; what is billed is judged by the
    /// moment of receipt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub occurred_at: Option<String>,
}

/// What became of a batch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct BatchAnswer {
    /// One result for each entry, in the order of the entries.
    pub results: Vec<BatchResult>,
}

/// What became of one beacon of a batch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct BatchResult {
    /// The entry's place in the batch, from 0.
    pub index: u32,
    /// What would have been answered to it alone: 204 kept; 4xx refused, not to be sent again.
    pub status: u16,
    /// What kind of problem; `occurred_at_ignored` where it was kept with the moment of receipt instead. Absent when all is well.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<&'static str>,
    /// What is wrong, for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// An entry that can be handed to the role.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    event: String,
    token: String,
    played_ms: Option<u32>,
    occurred_at: Option<WallMs>,
}

/// Why an entry can't be: the field's path and what is wrong.
pub(super) type EntryError = String;

/// Report what became of ads, many beacons at once.
///
/// For players that were offline: at most 500 beacons and 512 KiB. The answer has a result for each. Send a batch again until it is answered 207;
/// repeats do no harm. An entry that is refused costs the others nothing, and need not be sent again.
#[utoipa::path(
    post,
    path = "/v1/t",
    tag = "player",
    request_body = Vec<BatchEntryBody>,
    responses(
        (status = 207, description = "What became of each entry.", body = BatchAnswer),
        (status = 400, description = "Not JSON.", body = Problem, content_type = "application/problem+json"),
        (status = 413, description = "Too large.", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "Not an array, or too many entries.", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "Not on disk; send all of it again.", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn post_batch(
    request: HttpRequest,
    body: Result<web::Bytes, actix_web::Error>,
    player: web::Data<Player>,
) -> Result<HttpResponse, Problem> {
    let refused = |problem: Problem| {
        player.metrics.add_labelled(Metric::HttpRefused, &[problem.code], 1);
        problem
    };
    let body = body.map_err(|error| refused(unread(&error)))?;
    let entries = parse(&body).map_err(refused)?;
    let sender = player.senders.sender(&request);
    let beacons: Vec<Beacon<'_>> = entries.iter().flatten().map(|entry| entry.beacon(sender)).collect();
    let heard = player.beacons.hear(&beacons).await.map_err(|failure| not_kept(&failure, &player))?;
    let mut heard = heard.into_iter();
    let mut results = Vec::with_capacity(entries.len());
    for (index, entry) in (0..).zip(&entries) {
        results.push(match entry {
            Err(detail) => {
                BatchResult::refused(index, StatusCode::UNPROCESSABLE_ENTITY, "invalid_entry", detail.clone())
            }
            Ok(entry) => match heard.next().expect("a result for each beacon") {
                Err(refusal) => {
                    let (status, code) = judged(refusal);
                    BatchResult::refused(index, status, code, refusal.to_string())
                }
                Ok(heard) => {
                    count_heard(&heard, &player);
                    BatchResult::kept(index, entry.occurred_at.is_some_and(|said| said != heard.occurred_at))
                }
            },
        });
    }
    for code in results.iter().filter(|result| result.status != 204).filter_map(|result| result.code) {
        player.metrics.add_labelled(Metric::HttpRefused, &[code], 1);
    }
    Ok(HttpResponse::MultiStatus().json(BatchAnswer { results }))
}

impl Entry {
    fn beacon<'e>(&'e self, sender: Sender<'e>) -> Beacon<'e> {
        Beacon {
            event: &self.event,
            token: &self.token,
            played_ms: self.played_ms,
            occurred_at: self.occurred_at,
            sender,
            trace_id: None,
        }
    }
}

impl BatchResult {
    fn kept(index: u32, occurred_at_ignored: bool) -> Self {
        let (code, detail) = if occurred_at_ignored {
            let detail = "occurred_at lies before the ad's decision or after now: the moment of receipt was taken";
            (Some("occurred_at_ignored"), Some(detail.to_owned()))
        } else {
            (None, None)
        };
        Self { index, status: 204, code, detail }
    }

    fn refused(index: u32, status: StatusCode, code: &'static str, detail: String) -> Self {
        Self { index, status: status.as_u16(), code: Some(code), detail: Some(detail) }
    }
}

/// The entries of a batch, each for itself.
///
/// # Errors
/// A [`Problem`] when the body is no JSON array, or one that is too long.
pub(super) fn parse(body: &[u8]) -> Result<Vec<Result<Entry, EntryError>>, Problem> {
    let Values { first, count } = serde_json::from_slice(body).map_err(|error| {
        if error.is_data() {
            Problem::invalid(vec![FieldError::new("", "wrong_type", "expected a JSON array of beacons")])
        } else {
            Problem::new(StatusCode::BAD_REQUEST, "not_json", format!("the body is not JSON: {error}"))
        }
    })?;
    if count > BATCH_ENTRIES_MAX {
        let message = format!("{count} beacons: a batch has at most {BATCH_ENTRIES_MAX}");
        return Err(Problem::invalid(vec![FieldError::new("", "too_many", message)]));
    }
    Ok(first.into_iter().map(read_entry).collect())
}

fn read_entry(value: Value) -> Result<Entry, EntryError> {
    if !value.is_object() {
        return Err("expected an object with event and token".to_owned());
    }
    let body: BatchEntryBody = serde_path_to_error::deserialize(value).map_err(|error| error.to_string())?;
    let occurred_at = body.occurred_at.as_deref().map(|text| {
        let at = text
            .parse::<jiff::Timestamp>()
            .map_err(|_| format!("occurred_at: expected a time as in RFC 3339, found {text:?}"));
        at.map(|at| WallMs(at.as_millisecond()))
    });
    let occurred_at = occurred_at.transpose()?;
    Ok(Entry { event: body.event, token: body.token, played_ms: body.played_ms, occurred_at })
}

/// The first values of an array, and how many there are: what is over the limit takes no memory.
struct Values {
    first: Vec<Value>,
    count: usize,
}

impl<'de> Deserialize<'de> for Values {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Array;
        impl<'de> Visitor<'de> for Array {
            type Value = Values;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an array")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<Values, A::Error> {
                let mut first = Vec::new();
                while first.len() < BATCH_ENTRIES_MAX {
                    let Some(value) = array.next_element()? else { return Ok(Values { count: first.len(), first }) };
                    first.push(value);
                }
                let mut count = first.len();
                while array.next_element::<IgnoredAny>()?.is_some() {
                    count += 1;
                }
                Ok(Values { first, count })
            }
        }
        deserializer.deserialize_seq(Array)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_entry_is_read_for_itself() {
        let body = br#"[
            {"event": "impression", "token": "a"},
            {"event": "q1", "token": "b", "played_ms": 7000, "occurred_at": "2026-09-21T14:13:20.123+02:00"},
            {"event": "q1"}, 7, {"event": "q1", "token": "c", "colour": "red"}, {"event": "q1", "token": "c", "played_ms": -1},
            {"event": "q1", "token": "c", "occurred_at": "yesterday"}, ["q1", "c"], null
        ]"#;
        let entries = parse(body).expect("an array");
        let plain = Entry { event: "impression".into(), token: "a".into(), played_ms: None, occurred_at: None };
        assert_eq!(entries[0], Ok(plain));
        let told = entries[1].clone().expect("a good entry");
        assert_eq!((told.played_ms, told.occurred_at), (Some(7_000), Some(WallMs(1_789_992_800_123))));
        let reasons = [
            (2, "missing field `token`"),
            (3, "expected an object"),
            (4, "unknown field `colour`"),
            (5, "played_ms"),
            (6, "occurred_at: expected a time as in RFC 3339, found \"yesterday\""),
            (7, "expected an object"),
            (8, "expected an object"),
        ];
        for (index, reason) in reasons {
            let error = entries[index].clone().expect_err("a bad entry");
            assert!(error.contains(reason), "{index}: {error}");
        }
    }

    #[test]
    fn what_is_no_batch_is_refused() {
        let check = |body: &[u8], status, code, field_code: Option<&str>| {
            let problem = parse(body).expect_err("no batch");
            let field = problem.errors.first().map(|error| error.code.as_str());
            assert_eq!((problem.status, problem.code, field), (status, code, field_code), "{problem}");
        };
        check(b"", 400, "not_json", None);
        check(b"[{}", 400, "not_json", None);
        check(b"[]]", 400, "not_json", None);
        check(b"[\"\xff\"]", 400, "not_json", None);
        check("[".repeat(1_000).as_bytes(), 400, "not_json", None);
        check(b"{}", 422, "invalid", Some("wrong_type"));
        check(b"null", 422, "invalid", Some("wrong_type"));
        let many = |count: usize| format!("[{}]", vec!["{}"; count].join(","));
        check(many(BATCH_ENTRIES_MAX + 1).as_bytes(), 422, "invalid", Some("too_many"));
        assert_eq!(parse(many(BATCH_ENTRIES_MAX).as_bytes()).map(|entries| entries.len()), Ok(BATCH_ENTRIES_MAX));
        assert_eq!(parse(b"[]").map(|entries| entries.len()), Ok(0));
    }
}
