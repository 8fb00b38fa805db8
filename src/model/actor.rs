//! Who asks: the holder of an API key.

use super::ad_break::AppKey;
use super::ids::{AdvertiserId, ApiKeyId, NetworkId};

/// The holder of an API key, as far as rights go.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Actor {
    /// The key that was shown.
    pub key_id: ApiKeyId,
    /// The network that the key belongs to; everything outside it does not exist for the actor.
    pub network_id: NetworkId,
    /// What the key may do.
    pub role: Role,
}

/// What a key may do.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Role {
    /// Everything in its network.
    Operator,
    /// Its own advertiser's entities; line items of the auction tier only.
    Advertiser(AdvertiserId),
    /// Reads everything in its network, changes nothing.
    Viewer,
    /// Asks for ad breaks as this app; nothing else.
    App(AppKey),
}

impl Role {
    /// The role's name on the wire, in the audit log and in metrics.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Operator => "operator",
            Self::Advertiser(_) => "advertiser",
            Self::Viewer => "viewer",
            Self::App(_) => "app",
        }
    }
}
