//! Whether somebody may have an entity as they want it: its place, their rights, and the rules that hold for all.

use super::{Faults, Refusal, Requester, View, rules};
use crate::catalog::{Entity, EntityId};
use crate::model::{Approval, Creative, Role, Tier};
use crate::store::ApiKey;

/// Finds everything wrong with an entity that a requester wants to be there, in place of `before` if there is one.
///
/// Where it would stand under a parent that is not the requester's, nothing further is looked at: what the rules then said would depend
/// on an entity that does not exist for the requester.
pub fn judge(view: View<'_>, before: Option<&Entity>, after: &Entity, author: &Requester, faults: &mut Faults) {
    let mut place = Faults::new();
    match before {
        None => own_parent(after, author, &mut place),
        Some(before) => keeps_its_place(before, after, &mut place),
    }
    if !place.is_empty() {
        faults.take_new(place);
        return;
    }
    check_rights(before, after, author, faults);
    rules::check(view, after, faults);
}

/// A new entity belongs to its maker's network and advertiser. Parents that the maker can't see are reported as absent.
fn own_parent(entity: &Entity, author: &Requester, faults: &mut Faults) {
    if author.sees(entity) {
        return;
    }
    let path = match entity {
        Entity::Network(_) => "id",
        Entity::Advertiser(_) => "network_id",
        Entity::LineItem(_) => "campaign_id",
        Entity::Campaign(_) | Entity::Creative(_) => "advertiser_id",
    };
    faults.add(path, "not_found", "there is no such entity");
}

/// An entity never moves to another parent: its money is counted there.
fn keeps_its_place(before: &Entity, after: &Entity, faults: &mut Faults) {
    let fixed = "is given at creation and never changes";
    if before.network_id() != after.network_id() {
        faults.add("network_id", "read_only", fixed);
    }
    if before.advertiser_id() != after.advertiser_id() {
        faults.add("advertiser_id", "read_only", fixed);
    }
    match (before, after) {
        (Entity::LineItem(before), Entity::LineItem(after)) if before.campaign_id != after.campaign_id => {
            faults.add("campaign_id", "read_only", fixed);
        }
        (Entity::Network(before), Entity::Network(after)) if before.currency != after.currency => {
            faults.add("currency", "read_only", fixed);
        }
        _ => {}
    }
}

/// What an advertiser's key may not put into an entity that is its own.
pub(super) fn check_rights(before: Option<&Entity>, after: &Entity, author: &Requester, faults: &mut Faults) {
    if !author.is_advertiser() {
        return;
    }
    let Entity::LineItem(after) = after else { return };
    let operator_only = "an operator's key is needed for this";
    let was_auction = match before {
        Some(Entity::LineItem(before)) => before.tier == Tier::Auction,
        Some(_) | None => true,
    };
    if after.tier != Tier::Auction || !was_auction {
        faults.forbid("tier", operator_only);
    }
    if after.share_of_voice.is_some() {
        faults.forbid("share_of_voice", operator_only);
    }
}

/// A creative made with an advertiser's key waits for an operator, where the network says so.
pub(super) fn first_approval(view: View<'_>, creative: &Creative, author: &Requester) -> Approval {
    if author.is_advertiser() && view.network(creative.network_id).is_none_or(|network| network.approve_creatives) {
        Approval::Pending
    } else if matches!(author, Requester::Segue) {
        creative.approval
    } else {
        Approval::Approved
    }
}

/// A verdict holds for what was looked at: when an advertiser's key changes what is heard or clicked, it is asked again.
pub(super) fn approval_after(view: View<'_>, old: &Creative, new: &Creative, author: &Requester) -> Approval {
    let same_to_a_listener = old.renditions == new.renditions
        && old.click_url == new.click_url
        && old.duration_ms == new.duration_ms
        && old.explicit == new.explicit;
    if same_to_a_listener { old.approval } else { first_approval(view, new, author) }
}

pub(super) fn check_key(view: View<'_>, key: &ApiKey, author: &Requester) -> Result<(), Refusal> {
    author.may_manage_keys()?;
    let mut faults = Faults::new();
    rules::name("name", &key.name, &mut faults);
    match &key.role {
        Role::Operator | Role::Viewer => {}
        Role::Advertiser(id) => {
            let known = view.get(EntityId::Advertiser(*id)).is_some_and(|found| author.sees(&found.entity));
            if !known {
                faults.add("advertiser_id", "not_found", "there is no such entity");
            }
        }
        Role::App(app) => {
            let known =
                view.network(key.network_id).is_some_and(|network| network.apps.iter().any(|known| known.key == *app));
            if !known {
                faults.add("app", "not_found", "the network has no app with this key");
            }
        }
    }
    faults.into_result()
}
