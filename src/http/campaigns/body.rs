//! Reading a request's body: limits first, then a fast parse, and only when that fails a second one that knows the field's path.

use actix_web::HttpRequest;
use actix_web::http::StatusCode;
use actix_web::http::header;
use actix_web::web::{Bytes, Payload};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::http::problem::{FieldError, Problem};

/// Largest body: a line item with 50,000 segments of 128 characters fits.
pub const BODY_BYTES_MAX: usize = 8 * 1024 * 1024;

/// The whole body, when it is JSON by its type and within the limit.
pub(super) async fn read(request: &HttpRequest, payload: Payload) -> Result<Bytes, Problem> {
    expect_json(request)?;
    read_any(request, payload).await
}

async fn read_any(request: &HttpRequest, payload: Payload) -> Result<Bytes, Problem> {
    let announced = request.headers().get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    if announced.is_some_and(|bytes: u64| bytes > BODY_BYTES_MAX as u64) {
        return Err(too_large());
    }
    match payload.to_bytes_limited(BODY_BYTES_MAX).await {
        Ok(Ok(body)) => Ok(body),
        Ok(Err(_)) => Err(Problem::new(StatusCode::BAD_REQUEST, "body_broken", "the body ended too early")),
        Err(_) => Err(too_large()),
    }
}

/// Ends with an error when the request has a body: a body that nobody reads is a mistake of its sender.
pub(super) async fn expect_none(request: &HttpRequest, payload: Payload) -> Result<(), Problem> {
    let body = read_any(request, payload).await?;
    if body.is_empty() {
        Ok(())
    } else {
        Err(Problem::new(StatusCode::BAD_REQUEST, "body_not_expected", "this request takes no body"))
    }
}

fn expect_json(request: &HttpRequest) -> Result<(), Problem> {
    let kind = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = kind.split(';').next().unwrap_or_default().trim();
    let json = ["application/json", "application/merge-patch+json"];
    if json.iter().any(|known| essence.eq_ignore_ascii_case(known)) {
        return Ok(());
    }
    let detail = "the body is JSON: Content-Type: application/json";
    Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "not_json", detail))
}

fn too_large() -> Problem {
    let detail = format!("a body has at most {BODY_BYTES_MAX} bytes");
    Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", detail)
}

/// A value from JSON text.
///
/// # Errors
/// 400 when it is not JSON, 422 with the field's path when it is not the JSON that is wanted.
pub(super) fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Problem> {
    if let Ok(value) = serde_json::from_slice(body) {
        return Ok(value);
    }
    if std::str::from_utf8(body).is_err() {
        return Err(Problem::new(StatusCode::BAD_REQUEST, "not_utf8", "the body is not UTF-8"));
    }
    let mut json = serde_json::Deserializer::from_slice(body);
    let parsed: Result<T, _> = serde_path_to_error::deserialize(&mut json);
    match parsed {
        Ok(_) => Err(malformed(json.end().err().as_ref())),
        Err(error) if error.inner().is_data() => Err(wrong_field(&error)),
        Err(error) => Err(malformed(Some(error.inner()))),
    }
}

/// A value from a JSON value, the fields of which are named in errors.
pub(super) fn parse_value<T: DeserializeOwned>(value: Value) -> Result<T, Problem> {
    serde_path_to_error::deserialize(value).map_err(|error| wrong_field(&error))
}

/// The document with a merge patch applied (RFC 7396): fields of the patch replace, `null` removes, objects merge, lists are replaced whole.
pub(super) fn merge(target: &mut Value, patch: Value) {
    let Value::Object(fields) = patch else {
        *target = patch;
        return;
    };
    if !target.is_object() {
        *target = Value::Object(serde_json::Map::new());
    }
    let Value::Object(target) = target else { return };
    for (name, value) in fields {
        if value.is_null() {
            target.remove(&name);
        } else {
            // Nesting is bounded by the parser.
            merge(target.entry(name).or_insert(Value::Null), value);
        }
    }
}

fn malformed(error: Option<&serde_json::Error>) -> Problem {
    let reason = error.map_or_else(|| "not JSON".to_owned(), ToString::to_string);
    let code = if reason.starts_with("recursion limit") { "too_deep" } else { "malformed_json" };
    Problem::new(StatusCode::BAD_REQUEST, code, reason)
}

fn wrong_field(error: &serde_path_to_error::Error<serde_json::Error>) -> Problem {
    let message = error.inner().to_string();
    // The place in the text says less than the path, and in a patch it would be wrong.
    let message = message.split(" at line ").next().unwrap_or_default().to_owned();
    let path = match error.path().to_string() {
        path if path == "." => String::new(),
        path => path,
    };
    let named = |prefix: &str| message.strip_prefix(prefix)?.split('`').next().map(str::to_owned);
    let (code, field) = if let Some(field) = named("missing field `") {
        ("required", Some(field))
    } else if let Some(field) = named("unknown field `") {
        ("unknown_field", Some(field))
    } else if let Some(field) = named("duplicate field `") {
        ("duplicate_field", Some(field))
    } else if message.starts_with("unknown variant") {
        ("unknown_value", None)
    } else {
        ("wrong_type", None)
    };
    Problem::invalid(vec![FieldError::new(join(path, field), code, message)])
}

/// The path of a field in the object at `path`; some errors are reported at the field already.
fn join(path: String, field: Option<String>) -> String {
    match field {
        None => path,
        Some(field) if path.is_empty() => field,
        Some(field) if path == field || path.ends_with(&format!(".{field}")) => path,
        Some(field) => format!("{path}.{field}"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn merge_patches_as_in_rfc_7396() {
        // The cases of appendix A that have objects for targets, and lists.
        let cases = [
            (json!({"a": "b"}), json!({"a": "c"}), json!({"a": "c"})),
            (json!({"a": "b"}), json!({"b": "c"}), json!({"a": "b", "b": "c"})),
            (json!({"a": "b"}), json!({"a": null}), json!({})),
            (json!({"a": ["b"]}), json!({"a": "c"}), json!({"a": "c"})),
            (json!({"a": {"b": "c"}}), json!({"a": {"b": "d", "c": null}}), json!({"a": {"b": "d"}})),
            (json!({"a": [{"b": "c"}]}), json!({"a": [1]}), json!({"a": [1]})),
            (json!({"e": null}), json!({"a": 1}), json!({"e": null, "a": 1})),
            (json!({}), json!({"a": {"bb": {"ccc": null}}}), json!({"a": {"bb": {}}})),
        ];
        for (mut target, patch, want) in cases {
            merge(&mut target, patch.clone());
            assert_eq!(target, want, "{patch}");
        }
    }
}
