//! Problem details (RFC 9457): how every part of the HTTP interface says no.
//!
//! `type` is `about:blank`: the status and `code` say what kind of problem it is, `detail` says it to people, and `errors` names each field.

use actix_web::http::StatusCode;
use actix_web::http::header::{self, HeaderValue};
use actix_web::{HttpResponse, HttpResponseBuilder, ResponseError};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::roles::campaign::{Fault, Refusal};

/// What went wrong, for the caller. Sent as `application/problem+json`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, ToSchema)]
pub struct Problem {
    /// Always `about:blank`.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// The status in words.
    pub title: &'static str,
    /// The HTTP status.
    pub status: u16,
    /// What kind of problem, for programs; snake case and stable.
    pub code: &'static str,
    /// What is wrong, for people.
    pub detail: String,
    /// Each field that is wrong.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<FieldError>,
    /// The entity's revision now, when the one that was named is not it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub current_revision: Option<u64>,
}

/// One field that is wrong.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct FieldError {
    /// Where, e.g. `pricing.amount_micros` or `caps[1].max`; empty for the whole body.
    pub path: String,
    /// What is wrong, for programs; snake case and stable.
    pub code: String,
    /// What is wrong, for people.
    pub message: String,
}

impl Problem {
    /// A problem without fields.
    #[must_use]
    pub fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        Self {
            kind: "about:blank",
            title: status.canonical_reason().unwrap_or("Error"),
            status: status.as_u16(),
            code,
            detail: detail.into(),
            errors: Vec::new(),
            current_revision: None,
        }
    }

    /// The same with the fields that are wrong.
    #[must_use]
    pub fn with_errors(mut self, errors: Vec<FieldError>) -> Self {
        self.errors = errors;
        self
    }

    /// There is no such thing, or it is somebody else's; nobody can tell which.
    #[must_use]
    pub fn not_found() -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", "there is no such entity")
    }

    /// The body is not what it should be; 422.
    #[must_use]
    pub fn invalid(errors: Vec<FieldError>) -> Self {
        let detail = match errors.as_slice() {
            [one] if one.path.is_empty() => one.message.clone(),
            [one] => format!("{}: {}", one.path, one.message),
            many => format!("{} fields are wrong", many.len()),
        };
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid", detail).with_errors(errors)
    }

    /// No key, or none that opens anything; 401.
    #[must_use]
    pub fn unauthenticated() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "unauthenticated", "a valid API key is needed: Authorization: Bearer <key>")
    }

    /// The key's role may not do this to anything; 403.
    #[must_use]
    pub fn forbidden(detail: &str) -> Self {
        Self::new(StatusCode::FORBIDDEN, "forbidden", detail)
    }
}

/// A body that could not be read whole: 413 where it is too large.
pub(super) fn unread(error: &actix_web::Error) -> Problem {
    let status = error.as_response_error().status_code();
    let code = if status == StatusCode::PAYLOAD_TOO_LARGE { "too_large" } else { "unreadable_body" };
    Problem::new(status, code, error.to_string())
}

impl FieldError {
    /// A field that is wrong.
    #[must_use]
    pub fn new(path: impl Into<String>, code: &str, message: impl Into<String>) -> Self {
        Self { path: path.into(), code: code.to_owned(), message: message.into() }
    }
}

impl From<Fault> for FieldError {
    fn from(fault: Fault) -> Self {
        Self { path: fault.path, code: fault.code.to_owned(), message: fault.message }
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        let fields = |faults: Vec<Fault>| faults.into_iter().map(FieldError::from).collect();
        match refusal {
            Refusal::NotFound => Self::not_found(),
            Refusal::Forbidden(reason) => Self::forbidden(reason),
            Refusal::ForbiddenFields(faults) => {
                Self::forbidden("the key's role may not send some of the fields").with_errors(fields(faults))
            }
            Refusal::Stale { current } => Self {
                current_revision: Some(current),
                ..Self::new(
                    StatusCode::PRECONDITION_FAILED,
                    "stale",
                    format!("the entity was changed meanwhile and is at revision {current} now: read it again"),
                )
            },
            Refusal::Invalid(faults) => Self::invalid(fields(faults)),
            Refusal::Conflict { code, message } => Self::new(StatusCode::CONFLICT, code, message),
            Refusal::Full { what, limit } => {
                Self::new(StatusCode::CONFLICT, "limit_reached", format!("there are {limit} {what}, which is the most"))
            }
            Refusal::Busy => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "busy",
                "too many changes are waiting: try again in a second",
            ),
            Refusal::Unavailable => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "store_unavailable",
                "the catalogue's store does not answer; nothing has changed: try again in a second",
            ),
            Refusal::Uncertain => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "outcome_unknown",
                "the catalogue's store did not answer in time, and the change may have been made: read it before you send it again",
            ),
            Refusal::Broken => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "store_failed", "the catalogue takes no changes any more")
            }
        }
    }
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}: {}", self.status, self.code, self.detail)
    }
}

impl std::error::Error for Problem {}

impl ResponseError for Problem {
    fn status_code(&self) -> StatusCode {
        StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    fn error_response(&self) -> HttpResponse {
        let mut response = HttpResponseBuilder::new(self.status_code());
        response.insert_header((header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json")));
        if self.status_code() == StatusCode::UNAUTHORIZED {
            response.insert_header((header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"segue\"")));
        }
        if self.status_code() == StatusCode::SERVICE_UNAVAILABLE {
            response.insert_header((header::RETRY_AFTER, HeaderValue::from_static("1")));
        }
        let body = serde_json::to_vec(self).expect("strings and numbers serialise");
        response.body(body)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_as_rfc_9457() {
        let problem =
            Problem::invalid(vec![FieldError::new("caps[1].max", "too_small", "a cap lets at least 1 through")]);
        let json = serde_json::to_value(&problem).expect("serialises");
        let want = serde_json::json!({
            "type": "about:blank", "title": "Unprocessable Entity", "status": 422, "code": "invalid",
            "detail": "caps[1].max: a cap lets at least 1 through",
            "errors": [{"path": "caps[1].max", "code": "too_small", "message": "a cap lets at least 1 through"}],
        });
        assert_eq!(json, want);
        let response = problem.error_response();
        assert_eq!(response.status(), StatusCode::UNPROCESSABLE_ENTITY);
        assert_eq!(
            response.headers().get("content-type").map(HeaderValue::as_bytes),
            Some(&b"application/problem+json"[..])
        );
    }
}
