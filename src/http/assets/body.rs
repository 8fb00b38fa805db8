//! Bodies in pieces, both ways.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use actix_web::body::{BodySize, MessageBody};
use actix_web::http::StatusCode;
use actix_web::web::{Bytes, BytesMut, Payload};
use futures_core::Stream as _;
use tokio::sync::OwnedSemaphorePermit;

use crate::assets::{AssetStore, OpenAsset, TakeError};
use crate::http::problem::Problem;

/// Bytes that are written or read at once.
const PIECE_BYTES: usize = 256 * 1_024;
/// Longest pause between two pieces of a body that comes in, in real time: a sender that has gone away holds no place.
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// Reads a request's body in pieces.
pub(super) struct Pieces {
    payload: Payload,
}

impl Pieces {
    pub(super) const fn new(payload: Payload) -> Self {
        Self { payload }
    }

    /// The next piece; nothing at the end.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, Problem> {
        let mut piece = BytesMut::new();
        while piece.len() < PIECE_BYTES {
            let chunk = tokio::time::timeout(PAUSE_MAX, poll_fn(|cx| Pin::new(&mut self.payload).poll_next(cx))).await;
            match chunk {
                Ok(Some(Ok(chunk))) => piece.extend_from_slice(&chunk),
                Ok(Some(Err(_))) => {
                    return Err(Problem::new(StatusCode::BAD_REQUEST, "body_broken", "the body ended too early"));
                }
                Ok(None) => break,
                Err(_) => {
                    return Err(Problem::new(StatusCode::REQUEST_TIMEOUT, "body_stalled", "the body stands still"));
                }
            }
        }
        Ok((!piece.is_empty()).then(|| piece.freeze()))
    }
}

type Reading = Pin<Box<dyn Future<Output = Result<Bytes, TakeError>>>>;

/// Some bytes of a file as a response's body, read piece by piece as the player takes them.
pub(super) struct FileBody {
    store: AssetStore,
    file: OpenAsset,
    at: u64,
    left: u64,
    size: u64,
    reading: Option<Reading>,
    /// A place among those that are served.
    _place: OwnedSemaphorePermit,
}

impl FileBody {
    pub(super) fn new(store: AssetStore, file: OpenAsset, (at, size): (u64, u64), place: OwnedSemaphorePermit) -> Self {
        Self { store, file, at, left: size, size, reading: None, _place: place }
    }
}

impl MessageBody for FileBody {
    type Error = TakeError;

    fn size(&self) -> BodySize {
        BodySize::Sized(self.size)
    }

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, TakeError>>> {
        let this = self.get_mut();
        if this.left == 0 {
            return Poll::Ready(None);
        }
        let reading = this.reading.get_or_insert_with(|| {
            let (store, file, at) = (this.store.clone(), this.file.clone(), this.at);
            let length = usize::try_from(this.left).map_or(PIECE_BYTES, |left| left.min(PIECE_BYTES));
            Box::pin(async move { store.read(&file, at, length).await })
        });
        let Poll::Ready(read) = reading.as_mut().poll(cx) else { return Poll::Pending };
        this.reading = None;
        if let Ok(bytes) = &read {
            this.at += bytes.len() as u64;
            this.left = this.left.saturating_sub(bytes.len() as u64);
        } else {
            // The length was promised: the connection breaks off, and the player asks for the rest.
            this.left = 0;
        }
        Poll::Ready(Some(read))
    }
}
