//! Why a candidate is not in the pod: every "no" has a name, and is counted.

/// The reason that a candidate is not in the pod: the first that applies, in the order of the variants. A decision asks whether it is held back
/// ([`PausedJustNow`](Self::PausedJustNow), [`Throttled`](Self::Throttled)) before all else; surveys and explanations keep the order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
pub enum NoFillReason {
    /// The request is outside its targeting. Only `explain` says so: a scan never yields it.
    NotMatched,
    /// What plays around the break is explicit, and the line item avoids that.
    AvoidsExplicit,
    /// The line item avoids a content category of what plays around the break.
    AvoidsContentCategory,
    /// The line item avoids a genre of what plays around the break.
    AvoidsGenre,
    /// The listener is a child, and what it advertises is not for children.
    NotForChildren,
    /// The line item, its campaign or its advertiser is paused.
    Paused,
    /// The flight has not begun.
    FlightNotStarted,
    /// The flight is over.
    FlightEnded,
    /// No creative of it is active and approved.
    NoServableCreative,
    /// The listener is a child, and all its creatives are explicit.
    OnlyExplicitCreatives,
    /// None of its creatives is in an encoding that the player can play.
    NoPlayableFormat,
    /// All its creatives are longer than the break.
    TooLong,
    /// All its creatives that fit were in the listener's break before.
    HeardInLastBreak,
    /// Another sponsor was drawn for this break, or none.
    SponsorNotDrawn,
    /// It has a strict cap, and nothing may be kept of the listener beyond their session.
    StrictCapInSession,
    /// It has a strict cap, and the listener's state could not be had or written in time.
    StrictCapUnsure,
    /// A frequency cap is reached.
    Capped,
    /// Its price is below the floor.
    BelowFloor,
    /// Its lease ran out between decision and draw; the caller excluded it.
    DrawFailed,
    /// Paused a moment ago; the snapshot does not know yet.
    PausedJustNow,
    /// Held back in this break, to spread delivery over the flight.
    Throttled,
    /// This server holds no lease of money for it.
    NoLease,
    /// The lease has less money left than one impression costs.
    LeaseSpent,
    /// The lease has no impression ids left.
    LeaseOutOfOrdinals,
    /// Another ad of its advertiser is in the pod.
    SameAdvertiser,
    /// An ad in the pod is of the same category, or one excludes the other's.
    CategorySeparation,
    /// The pod has no room left for it: as many ads as may be, or not enough time.
    Outranked,
    /// More candidates than a decision may weigh were ahead of it.
    BeyondLimit,
    /// The line item or creative that an operator wanted to hear does not exist.
    PreviewNotFound,
}

impl NoFillReason {
    /// How many there are.
    pub const COUNT: usize = 29;

    /// Every reason, in order.
    pub const ALL: [Self; Self::COUNT] = [
        Self::NotMatched,
        Self::AvoidsExplicit,
        Self::AvoidsContentCategory,
        Self::AvoidsGenre,
        Self::NotForChildren,
        Self::Paused,
        Self::FlightNotStarted,
        Self::FlightEnded,
        Self::NoServableCreative,
        Self::OnlyExplicitCreatives,
        Self::NoPlayableFormat,
        Self::TooLong,
        Self::HeardInLastBreak,
        Self::SponsorNotDrawn,
        Self::StrictCapInSession,
        Self::StrictCapUnsure,
        Self::Capped,
        Self::BelowFloor,
        Self::DrawFailed,
        Self::PausedJustNow,
        Self::Throttled,
        Self::NoLease,
        Self::LeaseSpent,
        Self::LeaseOutOfOrdinals,
        Self::SameAdvertiser,
        Self::CategorySeparation,
        Self::Outranked,
        Self::BeyondLimit,
        Self::PreviewNotFound,
    ];

    /// Its name in answers, metrics and logs; never changes.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::NotMatched => "not_matched",
            Self::AvoidsExplicit => "avoids_explicit",
            Self::AvoidsContentCategory => "avoids_content_category",
            Self::AvoidsGenre => "avoids_genre",
            Self::NotForChildren => "not_for_children",
            Self::Paused => "paused",
            Self::FlightNotStarted => "flight_not_started",
            Self::FlightEnded => "flight_ended",
            Self::NoServableCreative => "no_servable_creative",
            Self::OnlyExplicitCreatives => "only_explicit_creatives",
            Self::NoPlayableFormat => "no_playable_format",
            Self::TooLong => "too_long",
            Self::HeardInLastBreak => "heard_in_last_break",
            Self::SponsorNotDrawn => "sponsor_not_drawn",
            Self::StrictCapInSession => "strict_cap_in_session",
            Self::StrictCapUnsure => "strict_cap_unsure",
            Self::Capped => "capped",
            Self::BelowFloor => "below_floor",
            Self::PausedJustNow => "paused_just_now",
            Self::Throttled => "throttled",
            Self::NoLease => "no_lease",
            Self::LeaseSpent => "lease_spent",
            Self::LeaseOutOfOrdinals => "lease_out_of_ordinals",
            Self::DrawFailed => "draw_failed",
            Self::SameAdvertiser => "same_advertiser",
            Self::CategorySeparation => "category_separation",
            Self::Outranked => "outranked",
            Self::BeyondLimit => "beyond_limit",
            Self::PreviewNotFound => "preview_not_found",
        }
    }

    /// The reason of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.name() == name)
    }

    const fn index(self) -> usize {
        self as usize
    }
}

/// How many candidates fell for which reason.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct ReasonCounts([u32; NoFillReason::COUNT]);

impl ReasonCounts {
    /// None fell.
    #[must_use]
    pub const fn new() -> Self {
        Self([0; NoFillReason::COUNT])
    }

    /// Counts one more; stays at the end of the range instead of wrapping.
    pub const fn add(&mut self, reason: NoFillReason) {
        let count = &mut self.0[reason.index()];
        *count = count.saturating_add(1);
    }

    /// How many fell for that reason.
    #[must_use]
    pub const fn get(&self, reason: NoFillReason) -> u32 {
        self.0[reason.index()]
    }

    /// The reasons that apply to anybody, with their counts, in the order of the reasons.
    pub fn iter(&self) -> impl Iterator<Item = (NoFillReason, u32)> {
        NoFillReason::ALL.into_iter().zip(self.0).filter(|&(_, count)| count > 0)
    }

    /// How many fell in all.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.0.iter().map(|&count| u64::from(count)).sum()
    }
}

impl Default for ReasonCounts {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_where_they_say() {
        for (index, reason) in NoFillReason::ALL.into_iter().enumerate() {
            assert_eq!(reason.index(), index);
            assert_eq!(NoFillReason::named(reason.name()), Some(reason));
            assert!(reason.name().bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'));
        }
    }

    // INV-17.
    #[test]
    fn counts_add_up() {
        let mut counts = ReasonCounts::new();
        counts.add(NoFillReason::Capped);
        counts.add(NoFillReason::Capped);
        counts.add(NoFillReason::Throttled);
        assert_eq!(counts.get(NoFillReason::Capped), 2);
        assert_eq!(counts.iter().collect::<Vec<_>>(), [(NoFillReason::Capped, 2), (NoFillReason::Throttled, 1)]);
        assert_eq!(counts.total(), 3);
    }
}
