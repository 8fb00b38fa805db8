//! A request in the snapshot's terms.

use std::sync::Arc;

use super::line::LineSlot;
use super::rebuild::document;
use super::snapshot::Snapshot;
use crate::model::{
    AdBreakRequest, BreakSpec, ConsentScope, Network, NetworkId, Now, Placement, Preview, Subscription, WallMs, Zone,
};
use crate::targeting::dnf::{Field, Term};
use crate::targeting::index::{Lane, Query, ValueId};
use crate::targeting::{Attribute, Version, naive};

/// A request for an ad break, resolved against one snapshot: dense ids for targeting, and what a decision needs of the request besides.
///
/// Good only for the snapshot that made it. Never logged: dense ids mean nothing elsewhere.
#[derive(Clone, Debug)]
pub struct ResolvedBreak {
    /// Version of the snapshot that made it.
    pub catalog_version: u64,
    /// When it is decided.
    pub now: Now,
    /// The tenant.
    pub network_id: NetworkId,
    /// The network, unless the snapshot has none of that id.
    pub network: Option<Arc<Network>>,
    /// What is asked for.
    pub spec: BreakSpec,
    /// What the listener allowed.
    pub consent: ConsentScope,
    /// Whether the listener is a child.
    pub child: bool,
    /// Whether the listener pays not to hear ads.
    pub subscription: Subscription,
    /// Milliseconds since the listener's last break as the player knows it.
    pub since_last_break_ms: Option<u64>,
    /// Whether it is asked ahead of time.
    pub prefetch: bool,
    /// What an operator wants to hear.
    pub preview: Option<Preview>,
    /// Whether what plays around the break is explicit.
    pub explicit: Option<bool>,
    /// Genres of what plays around the break.
    pub genres: Vec<String>,
    /// Its content categories.
    pub content_categories: Vec<String>,
    /// Index of the placement in `network.placements`.
    placement: Option<usize>,
    /// What targeting looks at.
    pub(super) query: Query,
    request: Box<AdBreakRequest>,
}

impl ResolvedBreak {
    /// The placement's rules, unless the network has no placement of that key.
    #[must_use]
    pub fn placement(&self) -> Option<&Placement> {
        self.network.as_ref()?.placements.get(self.placement?)
    }

    /// The request as it came, in the values of the wire: for explaining, not for deciding.
    #[must_use]
    pub fn request(&self) -> &AdBreakRequest {
        &self.request
    }
}

impl Snapshot {
    /// The request in this snapshot's terms, as of `now`.
    #[must_use]
    pub fn resolve(&self, request: &AdBreakRequest, now: Now) -> ResolvedBreak {
        let network = self.tables.networks.get(&request.network_id).cloned();
        let placement =
            network.as_ref().and_then(|network| network.placements.iter().position(|one| one.key == request.placement));
        ResolvedBreak {
            catalog_version: self.version(),
            now,
            network_id: request.network_id,
            network,
            spec: request.spec.clone(),
            consent: request.consent,
            child: request.child,
            subscription: request.subscription,
            since_last_break_ms: request.since_last_break_ms,
            prefetch: request.prefetch,
            preview: request.preview,
            explicit: request.facts.explicit,
            genres: request.facts.genres.clone(),
            content_categories: request.facts.content_categories.clone(),
            placement,
            query: self.query(request, now.wall),
            request: Box::new(request.clone()),
        }
    }

    /// Whether the line item's network and targeting match, by the definition rather than by the index: for `explain`. False for a line item
    /// that may not serve.
    #[must_use]
    pub fn matches(&self, slot: LineSlot, resolved: &ResolvedBreak) -> bool {
        self.get(slot)
            .and_then(|entry| document(&entry.line_item, &mut &*self.dictionary))
            .is_some_and(|document| document.matches(&resolved.query))
    }

    /// The values of a request that some line item asks for, in numbers.
    fn query(&self, request: &AdBreakRequest, at: WallMs) -> Query {
        let (facts, dictionary) = (&request.facts, &*self.dictionary);
        let mut values: Vec<(Lane, ValueId)> = Vec::new();
        let utc = Zone::utc();
        let mut add = |field: Field, term: Term<'_>| {
            values.extend(dictionary.find(field, term, &utc).map(|value| (Lane::of(field), value)));
        };
        for attribute in Attribute::ALL {
            for text in naive::values_of(attribute, request) {
                add(Field::Plain(attribute), Term::Text(text));
            }
        }
        for (key, value) in &facts.key_values {
            add(Field::KeyValue, Term::Pair(key, value));
        }
        if let Some(age) = facts.age {
            add(Field::Age, Term::Number(age));
        }
        if let Some(explicit) = facts.explicit {
            add(Field::Explicit, Term::Number(u8::from(explicit)));
        }
        if let Some(zone) = &facts.zone {
            add(Field::ListenerHour, Term::Number(zone.hour_of_week(at)));
        }
        values.extend(dictionary.line_item_hours(at).map(|hour| (Lane::of(Field::LineItemHour), hour)));
        values.extend(dictionary.find_network(request.network_id).map(|network| (Lane::NETWORK, network)));
        let mut query = Query::new(values);
        query.coordinates = facts.coordinates;
        query.os_version = facts.os_version.as_deref().and_then(Version::parse);
        query.app_version = facts.app_version.as_deref().and_then(Version::parse);
        query
    }
}
