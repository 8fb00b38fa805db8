//! Creatives' files: probed, kept by the hash of their bytes, served under signed URLs.
//!
//! A file is taken in three steps. It lands in a temporary file; it is *probed*, which for sound means decoded from the first frame to the
//! last, so that what it is comes from its samples and not from its name; then it is renamed to the hash of its bytes, synced, and a row
//! says which advertiser it belongs to. What is kept is never changed, so whatever stands between server and player may keep it for ever.
//!
//! [`probe()`], [`Limits`] and [`UrlSigner`] are pure; [`AssetStore`] does the I/O, on threads of its own ([`Threads`]).

mod audio;
mod files;
mod image;
mod limits;
mod probe;
mod sign;
mod sniff;
mod store;
#[cfg(test)]
pub(crate) mod testkit;
#[cfg(test)]
mod tests;
mod threads;
mod uploads;

pub use files::FileTrouble;
pub use limits::{Limits, LoudnessRule, Warning};
pub use probe::{AudioFacts, Facts, ImageFacts, Rejection, Shape, probe};
pub use sign::{SignError, UrlSigner};
pub use sniff::{Declared, declared};
pub use store::{
    ASSETS_PER_ADVERTISER_MAX, AssetRow, AssetStore, Incoming, OpenAsset, Owner, StoreSettings, TakeError,
};
pub use threads::{Busy, Threads};
pub use uploads::{UPLOADS_PER_KEY_MAX, Upload, UploadError, UploadId, Uploader};
