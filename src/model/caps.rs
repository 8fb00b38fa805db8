//! Frequency caps: how often one listener may hear the same.

/// At most `max` impressions to one listener in a sliding `window`, counted over `scope`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct FrequencyCap {
    /// What is counted together.
    pub scope: CapScope,
    /// Most impressions in the window; at least 1.
    pub max: u16,
    /// The window.
    pub window: CapWindow,
    /// How sure it must be that the cap is kept.
    pub strictness: Strictness,
}

/// What a cap counts together.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum CapScope {
    /// Every impression of one creative of the line item.
    Creative,
    /// Every impression of the line item.
    LineItem,
    /// Every impression of the campaign.
    Campaign,
    /// Every impression of the advertiser.
    Advertiser,
}

/// How far back a cap looks.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum CapWindow {
    /// The pod being filled.
    Pod,
    /// The last this many milliseconds, sliding: an exposure counts while `now - at < window`.
    Sliding(u64),
}

/// How sure it must be that a cap is kept, and what it does when the listener's state can't be reached.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Strictness {
    /// Serves from what is known: bounded excess.
    Soft,
    /// Does not serve: never exceeded, with any number of servers and devices. Each ad under it is reserved durably before it is answered.
    Strict,
}
