//! What is known of a listener besides the ads that were played to them: their taste, made of what they played ([`Taste`]), and the segments that an
//! operator imported ([`import`]). Pure. Where the listener's consent allows, a decision's targeting sees both ([`personal`]).

pub mod import;
mod taste;

use std::sync::Arc;

pub use taste::{Added, RECENT_MAX, Taste, TasteError, WEEKS_KEPT, WORDS_MAX, WordWeeks};

use crate::model::{AdBreakRequest, ConsentScope, Profile, WallMs};

/// The request as targeting is to see it: with the listener's taste, and the imported segments that are not over, where the listener allowed it. A session
/// has no profile.
#[must_use]
pub fn personal(request: &Arc<AdBreakRequest>, profile: &Profile, now: WallMs) -> Arc<AdBreakRequest> {
    let is_allowed = request.consent == ConsentScope::Personal && !request.child && !request.listener_key.is_session();
    if !is_allowed || profile.is_empty() {
        return Arc::clone(request);
    }
    let mut known = AdBreakRequest::clone(request);
    known.facts.taste_genres.clone_from(&profile.genres);
    known.facts.taste_moods.clone_from(&profile.moods);
    let current = profile.segments.iter().filter(|segment| segment.until > now).map(|segment| segment.name.clone());
    known.facts.segments.extend(current);
    known.facts.segments.sort_unstable();
    known.facts.segments.dedup();
    Arc::new(known)
}

#[cfg(test)]
mod tests;
