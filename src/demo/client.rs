//! HTTP as a player and an operator speak it: the real thing, over loopback, with connections kept and concurrency bounded.

use std::time::Duration;

use tokio::sync::Semaphore;

use crate::clock::Clock;
use crate::http::player::wire::{AdBreakAnswer, AdBreakRequestBody};
use crate::model::{AdvertiserId, AssetFile, BeaconEvent, FileKind, WallMs};

/// Most requests in flight at once, of all players together. Two cores are kept busy by far fewer.
const IN_FLIGHT_MAX: usize = 48;
/// Longest time that a request may take, in real time.
const TIMEOUT: Duration = Duration::from_secs(10);
/// How often a beacon is sent again that was not taken.
const RETRIES: u32 = 3;
/// Real time between those.
const RETRY_PAUSE: Duration = Duration::from_millis(60);

/// Why a request failed.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nothing came back.
    #[error("{what}: no answer")]
    Transport {
        /// What was asked.
        what: String,
        /// Why.
        source: reqwest::Error,
    },
    /// Something else than success came back.
    #[error("{what}: answered {status}: {body}")]
    Status {
        /// What was asked.
        what: String,
        /// The status.
        status: u16,
        /// The beginning of the body.
        body: String,
    },
    /// The body is not what the wire promises.
    #[error("{what}: the answer can't be read: {reason}")]
    Body {
        /// What was asked.
        what: String,
        /// Why.
        reason: String,
    },
}

/// A client of one server.
#[derive(Debug)]
pub struct Client {
    http: reqwest::Client,
    base: String,
    app_key: String,
    operator_key: String,
    permits: Semaphore,
    clock: Clock,
}

/// A break's answer, and when.
#[derive(Debug)]
pub struct Answered {
    /// The answer.
    pub answer: AdBreakAnswer,
    /// Just before the request was sent.
    pub sent: WallMs,
    /// Just after the answer had come.
    pub came: WallMs,
    /// How long it took, in real microseconds.
    pub latency_us: u64,
}

/// An acknowledged beacon.
#[derive(Clone, Copy, Debug)]
pub struct Acknowledged {
    /// Just before it was sent.
    pub sent: WallMs,
    /// Just after the acknowledgement.
    pub at: WallMs,
    /// How often it had to be sent again.
    pub retries: u32,
}

impl Client {
    /// A client of the server at `base` (`http://127.0.0.1:1234`) with both keys.
    ///
    /// # Errors
    /// [`ClientError`] when the HTTP client can't be made.
    pub fn new(base: String, app_key: String, operator_key: String, clock: Clock) -> Result<Self, ClientError> {
        let http = reqwest::Client::builder()
            .no_proxy()
            .timeout(TIMEOUT)
            .pool_max_idle_per_host(IN_FLIGHT_MAX)
            .tcp_nodelay(true)
            .build()
            .map_err(|source| ClientError::Transport { what: "client".to_owned(), source })?;
        Ok(Self { http, base, app_key, operator_key, permits: Semaphore::new(IN_FLIGHT_MAX), clock })
    }

    /// Where the server is.
    #[must_use]
    pub fn base(&self) -> &str {
        &self.base
    }

    /// The time.
    #[must_use]
    pub const fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Asks for a break.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn ask(&self, body: &AdBreakRequestBody) -> Result<Answered, ClientError> {
        let _permit = self.permits.acquire().await;
        let sent = self.clock.now().wall;
        let stopwatch = self.clock.stopwatch();
        let request = self.http.post(format!("{}/v1/ad-breaks", self.base)).bearer_auth(&self.app_key).json(body);
        let what = "POST /v1/ad-breaks";
        let bytes = self.send(what, request).await?;
        let latency_us = stopwatch.elapsed_us();
        let came = self.clock.now().wall;
        let answer = serde_json::from_slice(&bytes)
            .map_err(|error| ClientError::Body { what: what.to_owned(), reason: error.to_string() })?;
        Ok(Answered { answer, sent, came, latency_us })
    }

    /// Tells an event of the ad with that tracking URL. A server that is busy is told again, as players do; nothing else is.
    ///
    /// # Errors
    /// [`ClientError`] of the last attempt.
    pub async fn tell(&self, tracking_url: &str, event: BeaconEvent) -> Result<Acknowledged, ClientError> {
        let url = self.beacon_url(tracking_url, event);
        let what = || format!("POST /v1/t/{}", event.name());
        let mut retries = 0;
        loop {
            let result = {
                let _permit = self.permits.acquire().await;
                let sent = self.clock.now().wall;
                self.send(&what(), self.http.post(&url)).await.map(|_| sent)
            };
            match result {
                Ok(sent) => return Ok(Acknowledged { sent, at: self.clock.now().wall, retries }),
                Err(ClientError::Status { status: 503, .. }) if retries < RETRIES => {
                    retries += 1;
                    tokio::time::sleep(RETRY_PAUSE).await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Reads JSON with the operator's key.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn get_json(&self, path: &str) -> Result<serde_json::Value, ClientError> {
        let what = format!("GET {path}");
        let request = self.http.get(format!("{}{path}", self.base)).bearer_auth(&self.operator_key);
        let bytes = self.send(&what, request).await?;
        serde_json::from_slice(&bytes).map_err(|error| ClientError::Body { what, reason: error.to_string() })
    }

    /// Reads an entity and its tag with the operator's key.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn get_tagged(&self, path: &str) -> Result<(serde_json::Value, String), ClientError> {
        let what = format!("GET {path}");
        let request = self.http.get(format!("{}{path}", self.base)).bearer_auth(&self.operator_key);
        let response = accepted(&what, request.send().await).await?;
        let tag = response.headers().get("etag").and_then(|tag| tag.to_str().ok()).unwrap_or("*").to_owned();
        let body = response.json().await.map_err(|source| ClientError::Transport { what, source })?;
        Ok((body, tag))
    }

    /// Changes an entity whose tag is still that one, with the operator's key.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn change(
        &self,
        method: reqwest::Method,
        path: &str,
        tag: &str,
        body: &serde_json::Value,
    ) -> Result<(), ClientError> {
        let what = format!("{method} {path}");
        let request = self
            .http
            .request(method, format!("{}{path}", self.base))
            .bearer_auth(&self.operator_key)
            .header("if-match", tag)
            .json(body);
        self.send(&what, request).await.map(|_| ())
    }

    /// Sends a sound of an advertiser, with the operator's key.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn send_asset(&self, advertiser_id: AdvertiserId, bytes: Vec<u8>) -> Result<AssetFile, ClientError> {
        let what = "POST /v1/assets";
        let request = self
            .http
            .post(format!("{}/v1/assets?advertiser_id={advertiser_id}", self.base))
            .bearer_auth(&self.operator_key)
            .header("content-type", FileKind::Ogg.media_type())
            .body(bytes);
        let answer = self.send(what, request).await?;
        let answer: Option<serde_json::Value> = serde_json::from_slice(&answer).ok();
        let id = answer.as_ref().and_then(|asset| asset["id"].as_str()?.parse().ok());
        let id = id.ok_or_else(|| ClientError::Body { what: what.to_owned(), reason: "no id".to_owned() })?;
        Ok(AssetFile { id, kind: FileKind::Ogg })
    }

    /// Fetches a file from its first byte on: to the byte `last`, or all of it.
    ///
    /// # Errors
    /// [`ClientError`]; also when the server does not answer with the range.
    pub async fn fetch(&self, url: &str, last: Option<u64>) -> Result<Vec<u8>, ClientError> {
        let what = "GET /a/";
        let range = last.map_or("bytes=0-".to_owned(), |last| format!("bytes=0-{last}"));
        let _permit = self.permits.acquire().await;
        let sent = self.http.get(url).header("range", range).send().await;
        let response = accepted(what, sent).await?;
        if response.status() != reqwest::StatusCode::PARTIAL_CONTENT {
            return Err(ClientError::Body { what: what.to_owned(), reason: "not the range".to_owned() });
        }
        let transport = |source| ClientError::Transport { what: what.to_owned(), source };
        Ok(response.bytes().await.map_err(transport)?.to_vec())
    }

    /// The tracking URL for an event, on the server that we talk to: a public URL may name another host.
    fn beacon_url(&self, tracking_url: &str, event: BeaconEvent) -> String {
        let url = tracking_url.replace("{event}", event.name());
        let path = url.find("/v1/t/").map_or(url.as_str(), |start| &url[start..]);
        format!("{}{path}", self.base)
    }

    async fn send(&self, what: &str, request: reqwest::RequestBuilder) -> Result<Vec<u8>, ClientError> {
        let response = accepted(what, request.send().await).await?;
        let transport = |source| ClientError::Transport { what: what.to_owned(), source };
        Ok(response.bytes().await.map_err(transport)?.to_vec())
    }
}

/// The response, if it says success.
async fn accepted(
    what: &str,
    sent: Result<reqwest::Response, reqwest::Error>,
) -> Result<reqwest::Response, ClientError> {
    const BODY_KEPT: usize = 300;
    let response = sent.map_err(|source| ClientError::Transport { what: what.to_owned(), source })?;
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    let body: String = response.text().await.unwrap_or_default().chars().take(BODY_KEPT).collect();
    Err(ClientError::Status { what: what.to_owned(), status: status.as_u16(), body })
}
