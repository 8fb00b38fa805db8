//! The campaign role: the one writer of the catalogue.
//!
//! [`CampaignRole::step`] judges one command against the catalogue as it is and the commands already accepted in the same group; it changes
//! nothing but the group. The [`shell`] makes a group durable, applies it to [`CatalogState`], publishes it to the change feed, and
//! only then answers. So nobody is ever shown a revision that a crash can take back.
//!
//! Invariants: the number of an entity's revisions counts up by one; an archived entity never changes again; every entity that is in
//! the catalogue passed [`rules::check`] against the catalogue of that moment.

mod bootstrap;
mod refusal;
pub mod rules;
#[cfg(test)]
pub(crate) mod samples;
mod shell;
mod state;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::catalog::{Action, Author, Entity, EntityId, EntityKind, Revision};
use crate::model::{Actor, Advertiser, Approval, Campaign, Creative, LineItem, Now, Role, Status};
use crate::store::ApiKey;

pub use bootstrap::{
    APP_KEY_FILE, Bootstrap, BootstrapError, FIRST_APP, FIRST_PLACEMENT, OPERATOR_KEY_FILE, bootstrap,
};
pub use refusal::{FAULTS_MAX, Fault, Faults, Refusal};
pub use shell::{CampaignHandle, CampaignWriter, CatalogChange, Publish, start};
pub use state::{CatalogState, View};

/// Most entities of one kind in the catalogue. They are all held in memory: the largest, a line item, takes about a kilobyte.
pub const ENTITIES_PER_KIND_MAX: usize = 2_000_000;
/// Most API keys, revoked ones too.
pub const KEYS_MAX: usize = 100_000;

/// What somebody wants changed.
#[derive(Clone, PartialEq, Debug)]
pub enum Command {
    /// Make a new entity.
    Create {
        /// The whole entity, its id drawn by the caller.
        entity: Entity,
    },
    /// Replace an entity.
    Change {
        /// The whole entity as it is to be.
        entity: Entity,
        /// The revision that the caller saw; any other is refused.
        expected: u64,
    },
    /// End an entity for good.
    Archive {
        /// Which.
        id: EntityId,
        /// The revision that the caller saw.
        expected: u64,
    },
    /// Say whether a creative may serve.
    Review {
        /// Which; a creative.
        id: EntityId,
        /// The revision that the caller saw.
        expected: u64,
        /// The verdict.
        approval: Approval,
    },
    /// Put an API key on the ring.
    AddKey {
        /// The key; its secret was shown to nobody yet.
        key: ApiKey,
    },
    /// Take the power from an API key.
    RevokeKey {
        /// The key as it is on the ring.
        key: ApiKey,
    },
    /// Put many entities there at once, all or none. Existing ones are replaced.
    Import {
        /// The entities, in any order.
        entities: Vec<Entity>,
    },
}

/// What came of a command once it is durable.
#[derive(Clone, PartialEq, Debug)]
pub enum Outcome {
    /// The entity as it is now.
    Entity(Arc<Revision>),
    /// The key as it is now.
    Key(ApiKey),
    /// That many entities are there now.
    Imported(usize),
}

/// What a group of commands changed: one durable batch, one catalogue version.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Group {
    /// Every revision, in the order in which they were made.
    pub revisions: Vec<Arc<Revision>>,
    /// Every key that is new or changed.
    pub keys: Vec<ApiKey>,
    newest: BTreeMap<EntityId, Arc<Revision>>,
}

/// The state machine. Between groups it holds nothing.
#[derive(Debug, Default)]
pub struct CampaignRole {
    group: Group,
}

impl CampaignRole {
    /// A role with an empty group.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Judges a command and, when it is accepted, adds what it changes to the group.
    ///
    /// # Errors
    /// [`Refusal`]; the group is as it was.
    pub fn step(
        &mut self,
        committed: &CatalogState,
        command: Command,
        author: &Requester,
        now: Now,
    ) -> Result<Outcome, Refusal> {
        let view = View::new(committed, &self.group.newest);
        match command {
            Command::Create { entity } => {
                let revision = create(view, entity, author, now)?;
                Ok(Outcome::Entity(self.accept(revision)))
            }
            Command::Change { entity, expected } => {
                let revision = change(view, entity, expected, author, now)?;
                Ok(Outcome::Entity(self.accept(revision)))
            }
            Command::Archive { id, expected } => match archive(view, id, expected, author, now)? {
                Some(revision) => Ok(Outcome::Entity(self.accept(revision))),
                None => view.get(id).cloned().map(Outcome::Entity).ok_or(Refusal::NotFound),
            },
            Command::Review { id, expected, approval } => {
                let revision = review(view, id, expected, approval, author, now)?;
                Ok(Outcome::Entity(self.accept(revision)))
            }
            Command::AddKey { key } => {
                check_key(view, &key, author)?;
                self.group.keys.push(key.clone());
                Ok(Outcome::Key(key))
            }
            Command::RevokeKey { mut key } => {
                author.may_manage_keys()?;
                key.revoked_at.get_or_insert(now.wall);
                self.group.keys.push(key.clone());
                Ok(Outcome::Key(key))
            }
            Command::Import { entities } => {
                author.may_import()?;
                let revisions = import(view, entities, author, now)?;
                let count = revisions.len();
                for revision in revisions {
                    self.accept(revision);
                }
                Ok(Outcome::Imported(count))
            }
        }
    }

    /// Whether the group has nothing to commit.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.group.revisions.is_empty() && self.group.keys.is_empty()
    }

    /// Ends the group and gives what it changed.
    #[must_use]
    pub fn take(&mut self) -> Group {
        std::mem::take(&mut self.group)
    }

    fn accept(&mut self, revision: Revision) -> Arc<Revision> {
        let revision = Arc::new(revision);
        self.group.newest.insert(revision.entity.id(), Arc::clone(&revision));
        self.group.revisions.push(Arc::clone(&revision));
        revision
    }
}

impl Group {
    /// The newest revision of each entity that changed, parents before children.
    pub fn newest(&self) -> impl Iterator<Item = &Arc<Revision>> {
        self.newest.values()
    }
}

/// On whose behalf a command is given.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Requester {
    /// Segue itself: the first start and the demonstration's import.
    Segue,
    /// The holder of a key.
    Key(Actor),
}

impl Requester {
    fn author(&self) -> Author {
        match self {
            Self::Segue => Author::Segue,
            Self::Key(actor) => Author::Key { id: actor.key_id, role: actor.role.name().to_owned() },
        }
    }

    /// Whether the entity exists as far as this requester can know: a foreign one answers like an absent one.
    #[must_use]
    pub fn sees(&self, entity: &Entity) -> bool {
        match self {
            Self::Segue => true,
            Self::Key(actor) => {
                entity.network_id() == actor.network_id
                    && match &actor.role {
                        Role::Operator | Role::Viewer => true,
                        Role::Advertiser(own) => entity.advertiser_id() == Some(*own),
                        Role::App(_) => false,
                    }
            }
        }
    }

    /// Whether the requester may change entities of this kind at all.
    ///
    /// # Errors
    /// [`Refusal::Forbidden`] with the reason.
    pub fn may_write(&self, kind: EntityKind) -> Result<(), Refusal> {
        let Self::Key(actor) = self else { return Ok(()) };
        match (&actor.role, kind) {
            (Role::Operator, _)
            | (Role::Advertiser(_), EntityKind::Campaign | EntityKind::Creative | EntityKind::LineItem) => Ok(()),
            (Role::Advertiser(_), EntityKind::Network | EntityKind::Advertiser) => {
                Err(Refusal::Forbidden("an advertiser's key changes campaigns, line items and creatives only"))
            }
            (Role::Viewer, _) => Err(Refusal::Forbidden("a viewer's key changes nothing")),
            (Role::App(_), _) => Err(Refusal::Forbidden("an app's key asks for ad breaks only")),
        }
    }

    /// Whether the requester may read entities of this kind at all.
    ///
    /// # Errors
    /// [`Refusal::Forbidden`] with the reason.
    pub fn may_read(&self, kind: EntityKind) -> Result<(), Refusal> {
        let Self::Key(actor) = self else { return Ok(()) };
        match (&actor.role, kind) {
            (
                Role::Operator | Role::Viewer,
                EntityKind::Network
                | EntityKind::Advertiser
                | EntityKind::Campaign
                | EntityKind::Creative
                | EntityKind::LineItem,
            )
            | (
                Role::Advertiser(_),
                EntityKind::Advertiser | EntityKind::Campaign | EntityKind::Creative | EntityKind::LineItem,
            ) => Ok(()),
            (Role::Advertiser(_), EntityKind::Network) => {
                Err(Refusal::Forbidden("an advertiser's key does not read the network's settings"))
            }
            (Role::App(_), _) => Err(Refusal::Forbidden("an app's key asks for ad breaks only")),
        }
    }

    /// Whether the requester may make, see and revoke keys.
    ///
    /// # Errors
    /// [`Refusal::Forbidden`] with the reason.
    pub fn may_manage_keys(&self) -> Result<(), Refusal> {
        match self {
            Self::Segue | Self::Key(Actor { role: Role::Operator, .. }) => Ok(()),
            Self::Key(_) => Err(Refusal::Forbidden("keys are managed with an operator's key")),
        }
    }

    /// Whether the requester may say whether a creative serves.
    ///
    /// # Errors
    /// [`Refusal::Forbidden`] with the reason.
    pub fn may_review(&self) -> Result<(), Refusal> {
        match self {
            Self::Segue | Self::Key(Actor { role: Role::Operator, .. }) => Ok(()),
            Self::Key(_) => Err(Refusal::Forbidden("creatives are reviewed with an operator's key")),
        }
    }

    fn may_import(&self) -> Result<(), Refusal> {
        match self {
            Self::Segue => Ok(()),
            Self::Key(_) => Err(Refusal::Forbidden("there is no import through the API")),
        }
    }

    fn is_advertiser(&self) -> bool {
        matches!(self, Self::Key(Actor { role: Role::Advertiser(_), .. }))
    }
}

fn create(view: View<'_>, mut entity: Entity, author: &Requester, now: Now) -> Result<Revision, Refusal> {
    author.may_write(entity.id().kind())?;
    if view.count(entity.id().kind()) >= ENTITIES_PER_KIND_MAX {
        return Err(Refusal::Full { what: "entities of this kind", limit: ENTITIES_PER_KIND_MAX });
    }
    if view.get(entity.id()).is_some() {
        return Err(Refusal::Conflict { code: "id_taken", message: "an entity with this id exists" });
    }
    if let Entity::Creative(creative) = &mut entity {
        creative.approval = first_approval(view, creative, author);
    }
    let mut faults = Faults::new();
    judge(view, None, &entity, author, &mut faults);
    if entity.status() == Status::Archived {
        faults.add("status", "archived_at_birth", "a new entity is active or paused");
    }
    faults.into_result()?;
    Ok(revision(entity, 1, now, None, author, Action::Created))
}

fn change(
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
        new.approval = approval_after(view, old, new, author);
    }
    let mut faults = Faults::new();
    judge(view, Some(&before.entity), &entity, author, &mut faults);
    faults.into_result()?;
    let action = if entity.status() == Status::Archived { Action::Archived } else { Action::Changed };
    Ok(revision(entity, before.number + 1, now, Some(before), author, action))
}

/// The revision that archives, or none when the entity is archived already: archiving twice is archiving once.
fn archive(
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
        Entity::Advertiser(Advertiser { status, .. })
        | Entity::Campaign(Campaign { status, .. })
        | Entity::LineItem(LineItem { status, .. })
        | Entity::Creative(Creative { status, .. }) => *status = Status::Archived,
    }
    let mut faults = Faults::new();
    check_rights(Some(&before.entity), &entity, author, &mut faults);
    faults.into_result()?;
    Ok(Some(revision(entity, before.number + 1, now, Some(before), author, Action::Archived)))
}

fn review(
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
    creative.approval = approval;
    let action = match approval {
        Approval::Approved => Action::Approved,
        Approval::Rejected => Action::Rejected,
        Approval::Pending => Action::Changed,
    };
    Ok(revision(entity, before.number + 1, now, Some(before), author, action))
}

/// The revisions of an import, in an order in which each finds what it refers to.
fn import(view: View<'_>, mut entities: Vec<Entity>, author: &Requester, now: Now) -> Result<Vec<Revision>, Refusal> {
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
fn check_rights(before: Option<&Entity>, after: &Entity, author: &Requester, faults: &mut Faults) {
    if !author.is_advertiser() {
        return;
    }
    let Entity::LineItem(after) = after else { return };
    let operator_only = "an operator's key is needed for this";
    let was_auction = match before {
        Some(Entity::LineItem(before)) => before.tier == crate::model::Tier::Auction,
        Some(_) | None => true,
    };
    if after.tier != crate::model::Tier::Auction || !was_auction {
        faults.forbid("tier", operator_only);
    }
    if after.share_of_voice.is_some() {
        faults.forbid("share_of_voice", operator_only);
    }
}

/// A creative made with an advertiser's key waits for an operator, where the network says so.
fn first_approval(view: View<'_>, creative: &Creative, author: &Requester) -> Approval {
    if author.is_advertiser() && view.network(creative.network_id).is_none_or(|network| network.approve_creatives) {
        Approval::Pending
    } else if matches!(author, Requester::Segue) {
        creative.approval
    } else {
        Approval::Approved
    }
}

/// A verdict holds for what was looked at: when an advertiser's key changes what is heard or clicked, it is asked again.
fn approval_after(view: View<'_>, old: &Creative, new: &Creative, author: &Requester) -> Approval {
    let same_to_a_listener = old.renditions == new.renditions
        && old.click_url == new.click_url
        && old.duration_ms == new.duration_ms
        && old.explicit == new.explicit;
    if same_to_a_listener { old.approval } else { first_approval(view, new, author) }
}

fn check_key(view: View<'_>, key: &ApiKey, author: &Requester) -> Result<(), Refusal> {
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
