//! One call of the API: what is sent, and what comes of it.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use reqwest::{Client, Method, RequestBuilder, StatusCode, header};
use serde_json::Value;

use super::super::Failure;

/// Longest that an answer is waited for.
const TIMEOUT: Duration = Duration::from_mins(1);
/// Holds the key itself.
const KEY_VARIABLE: &str = "SEGUE_KEY";
/// Where `segue serve` writes the first operator's key when nothing else is said.
const KEY_FILE_DEFAULT: &str = "segue-data/operator.key";

/// Why a call did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refusal {
    /// The server says so.
    #[error("{method} {path}: {text}")]
    Problem {
        /// What was asked.
        method: Method,
        /// Of what.
        path: String,
        /// The status of the answer.
        status: u16,
        /// What is wrong, field by field.
        text: String,
    },
    /// What was to be sent can't be read.
    #[error("{0}")]
    Input(String),
    /// No answer, or none that can be understood.
    #[error("{method} {path}: {reason}")]
    Transport {
        /// What was asked.
        method: Method,
        /// Of what.
        path: String,
        /// Why.
        reason: String,
    },
}

/// An answer that says success.
pub(super) struct Answer {
    /// The revision's tag.
    pub(super) tag: Option<String>,
    /// The document; null where there is none.
    pub(super) body: Value,
}

/// A server, and a key to it.
pub(super) struct Api {
    http: Client,
    base: String,
    key: String,
}

impl Api {
    /// The API at a URL, with the key of a file, of the environment, or of the default file.
    pub(super) fn new(url: &str, key_file: Option<&Path>) -> Result<Self, Failure> {
        let key = match (key_file, std::env::var(KEY_VARIABLE)) {
            (None, Ok(key)) => key,
            (file, _) => {
                let file = file.unwrap_or_else(|| Path::new(KEY_FILE_DEFAULT));
                let read = std::fs::read_to_string(file);
                let hint = || {
                    format!(
                        "no key: {} can't be read; --key-file names another, {KEY_VARIABLE} holds one",
                        file.display()
                    )
                };
                read.with_context(hint).map_err(Failure::Refused)?
            }
        };
        let http = Client::builder().timeout(TIMEOUT).build().context("making an HTTP client")?;
        Ok(Self { http, base: url.trim_end_matches('/').to_owned(), key: key.trim().to_owned() })
    }

    pub(super) async fn get(&self, path: &str, query: &[(&str, &str)]) -> Result<Answer, Refusal> {
        let target = format!("{path}{}", query_string(query));
        self.send(Method::GET, &target, |request| request).await
    }

    pub(super) async fn post(&self, path: &str, body: &Value, tag: Option<&str>) -> Result<Value, Refusal> {
        let sent = self.send(Method::POST, path, |request| {
            let request = if body.is_null() { request } else { request.json(body) };
            match tag {
                Some(tag) => request.header(header::IF_MATCH, tag),
                None => request,
            }
        });
        Ok(sent.await?.body)
    }

    pub(super) async fn patch(&self, path: &str, patch: &Value, tag: &str) -> Result<Value, Refusal> {
        let sent = self.send(Method::PATCH, path, |request| {
            let request = request.header(header::CONTENT_TYPE, "application/merge-patch+json");
            request.header(header::IF_MATCH, tag).body(patch.to_string())
        });
        Ok(sent.await?.body)
    }

    pub(super) async fn delete(&self, path: &str, tag: Option<&str>) -> Result<Value, Refusal> {
        let sent = self.send(Method::DELETE, path, |request| match tag {
            Some(tag) => request.header(header::IF_MATCH, tag),
            None => request,
        });
        Ok(sent.await?.body)
    }

    async fn send(
        &self,
        method: Method,
        target: &str,
        with: impl FnOnce(RequestBuilder) -> RequestBuilder,
    ) -> Result<Answer, Refusal> {
        let transport = |reason| Refusal::Transport { method: method.clone(), path: target.to_owned(), reason };
        let told = |error: reqwest::Error| transport(format!("{:#}", anyhow::Error::new(error)));
        let request = self.http.request(method.clone(), format!("{}{target}", self.base)).bearer_auth(&self.key);
        let response = with(request).send().await.map_err(told)?;
        let (status, tag) = (response.status(), response.headers().get(header::ETAG).cloned());
        let bytes = response.bytes().await.map_err(told)?;
        let body = if bytes.is_empty() { Ok(Value::Null) } else { serde_json::from_slice(&bytes) };
        if status.is_success() {
            let body = body.map_err(|error| transport(format!("the answer is not JSON: {error}")))?;
            return Ok(Answer { tag: tag.and_then(|tag| Some(tag.to_str().ok()?.to_owned())), body });
        }
        let text = problem_text(status, &body.unwrap_or_default());
        Err(Refusal::Problem { method, path: target.to_owned(), status: status.as_u16(), text })
    }
}

/// A problem as people read it: what is wrong, then each field on a line.
fn problem_text(status: StatusCode, problem: &Value) -> String {
    let mut text = problem["detail"].as_str().map_or_else(|| status.to_string(), str::to_owned);
    let errors = problem["errors"].as_array().map(Vec::as_slice).unwrap_or_default();
    for error in errors.iter().filter(|error| error["path"].as_str().is_some_and(|path| !path.is_empty())) {
        let [path, message] = ["path", "message"].map(|name| error[name].as_str().unwrap_or_default());
        let _ = write!(text, "\n  {path}: {message}");
    }
    if let Some(current) = problem["current_revision"].as_u64() {
        let _ = write!(text, "\n  it is at revision {current}");
    }
    text
}

fn query_string(query: &[(&str, &str)]) -> String {
    let mut text = String::new();
    for (name, value) in query {
        let begin = if text.is_empty() { '?' } else { '&' };
        let _ = write!(text, "{begin}{}={}", segment(name), segment(value));
    }
    text
}

/// A text as part of a URL: all but the unreserved characters of RFC 3986 as percent and two digits.
pub(super) fn segment(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => escaped.push(char::from(byte)),
            _ => {
                let _ = write!(escaped, "%{byte:02X}");
            }
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_put_into_a_url_stays_one_part_of_it() {
        assert_eq!(segment("../a b&c=\u{e5}?#"), "..%2Fa%20b%26c%3D%C3%A5%3F%23");
        assert_eq!(query_string(&[("status", "active"), ("q", "a&b")]), "?status=active&q=a%26b");
        assert_eq!(query_string(&[]), "");
    }

    #[test]
    fn a_problem_names_each_field() {
        let problem = json!({
            "detail": "2 fields are wrong",
            "errors": [{"path": "name", "message": "too long"}, {"path": "flight.end", "message": "before the start"}],
            "current_revision": 4,
        });
        let text = problem_text(StatusCode::UNPROCESSABLE_ENTITY, &problem);
        assert_eq!(text, "2 fields are wrong\n  name: too long\n  flight.end: before the start\n  it is at revision 4");
        assert_eq!(problem_text(StatusCode::BAD_GATEWAY, &Value::Null), "502 Bad Gateway");
    }
}
