//! A request in the snapshot's terms.

use std::sync::Arc;

use super::line::LineSlot;
use super::rebuild::document;
use super::snapshot::Snapshot;
use crate::model::{AdBreakRequest, Network, Now, Placement, WallMs, Zone};
use crate::targeting::dnf::{Field, Term};
use crate::targeting::index::{Lane, Query};
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
    /// The network, unless the snapshot has none of that id.
    pub network: Option<Arc<Network>>,
    /// The request as it came, in the values of the wire. Candidates are found by what follows from it in numbers.
    pub request: Arc<AdBreakRequest>,
    /// Index of the placement in `network.placements`.
    placement: Option<usize>,
    /// What targeting looks at.
    pub(super) query: Query,
}

impl ResolvedBreak {
    /// The placement's rules, unless the network has no placement of that key.
    #[must_use]
    pub fn placement(&self) -> Option<&Placement> {
        self.network.as_ref()?.placements.get(self.placement?)
    }
}

impl Snapshot {
    /// The request in this snapshot's terms, as of `now`.
    #[must_use]
    pub fn resolve(&self, request: &Arc<AdBreakRequest>, now: Now) -> ResolvedBreak {
        let network = self.tables.networks.get(&request.network_id).cloned();
        let placement =
            network.as_ref().and_then(|network| network.placements.iter().position(|one| one.key == request.placement));
        let query = self.query(request, now.wall);
        ResolvedBreak { catalog_version: self.version(), now, network, request: Arc::clone(request), placement, query }
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
        let utc = Zone::utc();
        let find = |field: Field, term: Term<'_>| dictionary.find(field, term, &utc);
        let number = |field: Field, number: Option<u8>| number.and_then(|number| find(field, Term::Number(number)));
        // Lanes come in order: nothing is sorted but the values of each.
        let mut query = Query::default();
        query.push(Lane::NETWORK, dictionary.find_network(request.network_id));
        for attribute in Attribute::ALL {
            let field = Field::Plain(attribute);
            let values = naive::values_of(attribute, request);
            query.push(Lane::of(field), values.filter_map(|text| find(field, Term::Text(text))));
        }
        query.push(Lane::of(Field::Age), number(Field::Age, facts.age));
        query.push(Lane::of(Field::Explicit), number(Field::Explicit, facts.explicit.map(u8::from)));
        let pairs = facts.key_values.iter().filter_map(|(key, value)| find(Field::KeyValue, Term::Pair(key, value)));
        query.push(Lane::of(Field::KeyValue), pairs);
        let hour = facts.zone.as_ref().map(|zone| zone.hour_of_week(at));
        query.push(Lane::of(Field::ListenerHour), number(Field::ListenerHour, hour));
        query.push(Lane::of(Field::LineItemHour), dictionary.line_item_hours(at));
        query.coordinates = facts.coordinates;
        query.os_version = facts.os_version.as_deref().and_then(Version::parse);
        query.app_version = facts.app_version.as_deref().and_then(Version::parse);
        query
    }
}
