//! The next revision of an entity, by command: made when the command may be followed, and then whole.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::judgement::{approval_after, check_rights, first_approval, judge};
use super::{ENTITIES_PER_KIND_MAX, Faults, Refusal, Requester, View, rules};
use crate::catalog::{Action, Entity, EntityId, EntityKind, Revision};
use crate::model::{Approval, Now, Status};

pub(super) fn create(view: View<'_>, mut entity: Entity, author: &Requester, now: Now) -> Result<Revision, Refusal> {
    author.may_write(entity.id().kind())?;
    if view.count(entity.id().kind()) >= ENTITIES_PER_KIND_MAX {
        return Err(Refusal::Full { what: "entities of this kind", limit: ENTITIES_PER_KIND_MAX });
    }
    if view.get(entity.id()).is_some() {
        return Err(Refusal::Conflict { code: "id_taken", message: "an entity with this id exists" });
    }
    if let Entity::Creative(creative) = &mut entity {
        Arc::make_mut(creative).approval = first_approval(view, creative, author);
    }
    let mut faults = Faults::new();
    judge(view, None, &entity, author, &mut faults);
    if entity.status() == Status::Archived {
        faults.add("status", "archived_at_birth", "a new entity is active or paused");
    }
    faults.into_result()?;
    Ok(revision(entity, 1, now, None, author, Action::Created))
}

pub(super) fn change(
    view: View<'_>,
    mut entity: Entity,
    expected: u64,
    author: &Requester,
    now: Now,
) -> Result<Revision, Refusal> {
    let before = visible(view, entity.id(), author)?;
    author.may_write(entity.id().kind())?;
    expect_revision(before, expected)?;
    refuse_archived(before)?;
    if let (Entity::Creative(old), Entity::Creative(new)) = (&before.entity, &mut entity) {
        Arc::make_mut(new).approval = approval_after(view, old, new, author);
    }
    let mut faults = Faults::new();
    judge(view, Some(&before.entity), &entity, author, &mut faults);
    faults.into_result()?;
    let action = if entity.status() == Status::Archived { Action::Archived } else { Action::Changed };
    Ok(revision(entity, before.number + 1, now, Some(before), author, action))
}

/// The revision that archives, or none when the entity is archived already: archiving twice is archiving once.
pub(super) fn archive(
    view: View<'_>,
    id: EntityId,
    expected: u64,
    author: &Requester,
    now: Now,
) -> Result<Option<Revision>, Refusal> {
    let before = visible(view, id, author)?;
    author.may_write(id.kind())?;
    expect_revision(before, expected)?;
    if before.entity.status() == Status::Archived {
        return Ok(None);
    }
    let mut entity = before.entity.clone();
    match &mut entity {
        Entity::Network(_) => {
            return Err(Refusal::Conflict { code: "not_archivable", message: "a network can't be archived" });
        }
        Entity::Advertiser(one) => Arc::make_mut(one).status = Status::Archived,
        Entity::Campaign(one) => Arc::make_mut(one).status = Status::Archived,
        Entity::LineItem(one) => Arc::make_mut(one).status = Status::Archived,
        Entity::Creative(one) => Arc::make_mut(one).status = Status::Archived,
    }
    let mut faults = Faults::new();
    check_rights(Some(&before.entity), &entity, author, &mut faults);
    faults.into_result()?;
    Ok(Some(revision(entity, before.number + 1, now, Some(before), author, Action::Archived)))
}

pub(super) fn review(
    view: View<'_>,
    id: EntityId,
    expected: u64,
    approval: Approval,
    author: &Requester,
    now: Now,
) -> Result<Revision, Refusal> {
    let before = visible(view, id, author)?;
    author.may_write(id.kind())?;
    author.may_review()?;
    expect_revision(before, expected)?;
    refuse_archived(before)?;
    let mut entity = before.entity.clone();
    let Entity::Creative(creative) = &mut entity else { return Err(Refusal::NotFound) };
    Arc::make_mut(creative).approval = approval;
    let action = match approval {
        Approval::Approved => Action::Approved,
        Approval::Rejected => Action::Rejected,
        Approval::Pending => Action::Changed,
    };
    Ok(revision(entity, before.number + 1, now, Some(before), author, action))
}

/// The revisions of an import, in an order in which each finds what it refers to.
pub(super) fn import(
    view: View<'_>,
    mut entities: Vec<Entity>,
    author: &Requester,
    now: Now,
) -> Result<Vec<Revision>, Refusal> {
    let order: BTreeMap<EntityId, usize> = entities.iter().enumerate().map(|(at, entity)| (entity.id(), at)).collect();
    if order.len() != entities.len() {
        return Err(Refusal::Conflict { code: "id_taken", message: "an import names each entity once" });
    }
    entities.sort_by_key(Entity::id);
    let mut staged = view.staged();
    let mut revisions = Vec::with_capacity(entities.len());
    let mut faults = Faults::new();
    for entity in entities {
        let id = entity.id();
        let mut own = Faults::new();
        rules::check(staged.view(), &entity, &mut own);
        let before = view.get(id);
        if before.is_some_and(|before| before.entity.status() == Status::Archived) {
            own.add("status", "archived", "an archived entity never changes again");
        }
        faults.take(own, &format!("entities[{}]", order[&id]));
        if faults.is_full() {
            break;
        }
        let number = before.map_or(1, |before| before.number + 1);
        let revision = revision(entity, number, now, before, author, Action::Imported);
        staged.insert(Arc::new(revision.clone()));
        revisions.push(revision);
    }
    faults.into_result()?;
    for kind in EntityKind::ALL {
        if staged.view().count(kind) > ENTITIES_PER_KIND_MAX {
            return Err(Refusal::Full { what: "entities of this kind", limit: ENTITIES_PER_KIND_MAX });
        }
    }
    Ok(revisions)
}

fn revision(
    entity: Entity,
    number: u64,
    now: Now,
    before: Option<&Arc<Revision>>,
    author: &Requester,
    action: Action,
) -> Revision {
    // The machine's clock may have been set back; history still reads in order.
    let at = before.map_or(now.wall, |before| before.at.max(now.wall));
    let created_at = before.map_or(at, |before| before.created_at);
    Revision { entity, number, created_at, at, author: author.author(), action }
}

fn visible<'a>(view: View<'a>, id: EntityId, author: &Requester) -> Result<&'a Arc<Revision>, Refusal> {
    author.may_read(id.kind())?;
    view.get(id).filter(|found| author.sees(&found.entity)).ok_or(Refusal::NotFound)
}

fn expect_revision(before: &Revision, expected: u64) -> Result<(), Refusal> {
    if before.number == expected { Ok(()) } else { Err(Refusal::Stale { current: before.number }) }
}

fn refuse_archived(before: &Revision) -> Result<(), Refusal> {
    match before.entity.status() {
        Status::Archived => {
            Err(Refusal::Conflict { code: "archived", message: "an archived entity never changes again" })
        }
        Status::Active | Status::Paused => Ok(()),
    }
}
