//! Parses a player's request: strict about what is required, forgiving about the rest.
//!
//! The fast path is one typed parse. Only when that fails is the text parsed again into a tree, and each optional field that does not fit is
//! taken out with a warning until the rest does, so that a player with one bad field still gets its ads.

use serde_json::Value;
use serde_path_to_error::{Path, Segment};

use super::wire::{AdBreakRequestBody, WarningBody};

/// Most optional fields taken out of one request; a request with more is refused.
pub const MAX_REPAIRS: usize = 32;

/// A request that can't be answered: what is wrong and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// The text is not JSON (or not UTF-8, or nested too deep).
    #[error("the body is not JSON: {0}")]
    NotJson(String),
    /// A required field is missing or wrong, or too many optional ones are.
    #[error("{path}: {message}")]
    Field {
        /// Where, e.g. `break.max_ads`; empty for the whole body.
        path: String,
        /// A stable word.
        code: &'static str,
        /// What is wrong, in words.
        message: String,
    },
}

/// The request, and what was left out of it.
///
/// # Errors
/// [`ParseError`] when the text is not JSON or a required field does not fit.
pub fn parse(text: &[u8]) -> Result<(AdBreakRequestBody, Vec<WarningBody>), ParseError> {
    // A derived struct would also be read from an array, field by field; a request is an object.
    let is_object = text.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'{');
    if is_object && let Ok(body) = serde_json::from_slice(text) {
        return Ok((body, Vec::new()));
    }
    let mut tree: Value = serde_json::from_slice(text).map_err(|error| ParseError::NotJson(error.to_string()))?;
    if !is_object {
        let message = "expected a JSON object".to_owned();
        return Err(ParseError::Field { path: String::new(), code: "wrong_type", message });
    }
    let mut warnings = Vec::new();
    loop {
        match serde_path_to_error::deserialize::<_, AdBreakRequestBody>(&tree) {
            Ok(body) => return Ok((body, warnings)),
            Err(error) => {
                let message = error.inner().to_string();
                let code = code_of(&message);
                let path = error.path().clone();
                if warnings.len() == MAX_REPAIRS || !take_out(&mut tree, &path, &message) {
                    return Err(ParseError::Field { path: named(&path, &message), code, message });
                }
                warnings.push(WarningBody { path: path.to_string(), code: code.to_owned(), message });
            }
        }
    }
}

/// Fields without which there is no answer.
const REQUIRED: [&str; 6] =
    ["request_id", "listener", "break", "break.placement", "break.max_duration_ms", "break.max_ads"];

/// Takes the value at `path` out of the tree; false where it is required or not there.
fn take_out(tree: &mut Value, path: &Path, message: &str) -> bool {
    let text = path.to_string();
    if REQUIRED.contains(&text.as_str()) || message.starts_with("missing field") {
        return false;
    }
    let mut at = tree;
    let mut segments = path.iter().peekable();
    while let Some(segment) = segments.next() {
        let last = segments.peek().is_none();
        match (segment, at) {
            (Segment::Map { key }, Value::Object(map)) => {
                if last {
                    return map.remove(key).is_some();
                }
                let Some(next) = map.get_mut(key) else { return false };
                at = next;
            }
            (Segment::Seq { index }, Value::Array(list)) => {
                if last {
                    return *index < list.len() && {
                        list.remove(*index);
                        true
                    };
                }
                let Some(next) = list.get_mut(*index) else { return false };
                at = next;
            }
            _ => return false,
        }
    }
    false
}

/// The path of the field that is at fault: for a missing one, its own and not its parent's.
fn named(path: &Path, message: &str) -> String {
    let parent = if path.iter().next().is_none() { String::new() } else { path.to_string() };
    let Some(field) = message.strip_prefix("missing field `").and_then(|rest| rest.split('`').next()) else {
        return parent;
    };
    if parent.is_empty() { field.to_owned() } else { format!("{parent}.{field}") }
}

/// A stable word for serde's message.
fn code_of(message: &str) -> &'static str {
    const CODES: [(&str, &str); 5] = [
        ("missing field", "missing"),
        ("unknown field", "unknown_field"),
        ("invalid type", "wrong_type"),
        ("invalid value", "out_of_range"),
        ("invalid length", "wrong_length"),
    ];
    CODES.iter().find(|(start, _)| message.starts_with(start)).map_or("invalid", |(_, code)| code)
}

/// The code as a word of the program, for a metric's label.
#[must_use]
pub fn known_code(code: &str) -> &'static str {
    const CODES: [&str; 7] =
        ["unknown_field", "wrong_type", "out_of_range", "wrong_length", "unknown_value", "too_many", "incomplete"];
    CODES.into_iter().find(|known| *known == code).unwrap_or("other")
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINIMAL: &str =
        r#"{"request_id":"r","listener":{"id":"l"},"break":{"placement":"music","max_duration_ms":60000,"max_ads":2}"#;

    /// Parses the minimal request with `more` put in at its end.
    fn with(more: &str) -> Result<(AdBreakRequestBody, Vec<WarningBody>), ParseError> {
        parse(format!("{MINIMAL}{more}}}").as_bytes())
    }

    #[test]
    fn a_minimal_request_has_no_warnings() {
        let (body, warnings) = with("").expect("fits");
        assert_eq!((body.request_id.as_str(), warnings.len()), ("r", 0));
    }

    #[test]
    fn bad_optional_fields_cost_a_warning_each() {
        for (more, path, code) in [
            (r#","geo":{"latitude":"north"}"#, "geo.latitude", "wrong_type"),
            (r#","geo":7"#, "geo", "wrong_type"),
            (r#","device":{"colour":"red","os":"ios"}"#, "device.colour", "unknown_field"),
            (r#","frobnicate":1"#, "frobnicate", "unknown_field"),
            (r#","context":{"genres":["jazz",5]}"#, "context.genres[1]", "wrong_type"),
            (r#","since_last_break_ms":-1"#, "since_last_break_ms", "out_of_range"),
        ] {
            let (_, warnings) = with(more).unwrap_or_else(|error| panic!("{more}: {error}"));
            assert_eq!(warnings.len(), 1, "{more}: {warnings:?}");
            assert_eq!((warnings[0].path.as_str(), warnings[0].code.as_str()), (path, code), "{more}");
        }
    }

    #[test]
    fn what_is_required_is_refused_by_its_path() {
        for (text, path, code) in [
            ("{}", "request_id", "missing"),
            (
                r#"{"request_id":"r","listener":{},"break":{"placement":"m","max_duration_ms":1}}"#,
                "break.max_ads",
                "missing",
            ),
            (
                r#"{"request_id":"r","listener":{},"break":{"placement":"m","max_duration_ms":1,"max_ads":300}}"#,
                "break.max_ads",
                "out_of_range",
            ),
            (r#"{"request_id":5,"listener":{}}"#, "request_id", "wrong_type"),
            ("[]", "", "wrong_type"),
            ("7", "", "wrong_type"),
        ] {
            match parse(text.as_bytes()) {
                Err(ParseError::Field { path: found, code: word, .. }) => {
                    assert_eq!((found.as_str(), word), (path, code), "{text}");
                }
                other => panic!("{text}: {other:?}"),
            }
        }
    }

    #[test]
    fn what_is_not_json_is_said_so() {
        let deep = "[".repeat(100_000);
        for text in [b"".as_slice(), b"{", b"\xff\xfe", deep.as_bytes()] {
            assert!(matches!(parse(text), Err(ParseError::NotJson(_))));
        }
    }

    #[test]
    fn repairs_are_bounded() {
        let many = (0..=MAX_REPAIRS).fold(String::new(), |more, n| more + &format!(r#","x{n}":1"#));
        assert!(matches!(with(&many), Err(ParseError::Field { .. })));
    }
}
