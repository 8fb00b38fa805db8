//! The state machine alone: no thread, no disk, no HTTP.

use super::*;
use crate::catalog::EntityKind;
use crate::model::{Actor, ApiKeyId, LineItem, MonotonicMs, NetworkId, Role, WallMs};

const NOW: Now = Now { wall: WallMs(1_000), monotonic: MonotonicMs(0) };

fn operator() -> Requester {
    Requester::Key(Actor { key_id: ApiKeyId::from_u128(1), network_id: samples::NETWORK, role: Role::Operator })
}

/// The catalogue after a group that has to be accepted.
fn committed(commands: Vec<Command>) -> CatalogState {
    let mut state = CatalogState::default();
    let mut role = CampaignRole::new();
    for command in commands {
        role.step(&state, command, &Requester::Segue, NOW).expect("accepted");
    }
    state.apply(1, &role.take());
    state
}

fn sample_state() -> CatalogState {
    committed(vec![Command::Import { entities: samples::catalogue() }])
}

fn renamed(state: &CatalogState, name: &str) -> Entity {
    let found = state.get(EntityId::LineItem(samples::LINE_ITEM)).expect("a sample");
    let Entity::LineItem(line_item) = &found.entity else { panic!("a line item") };
    Entity::from(LineItem { name: name.to_owned(), ..LineItem::clone(line_item) })
}

#[test]
fn a_command_sees_those_before_it_in_the_group() {
    let state = sample_state();
    let mut role = CampaignRole::new();
    let change = |name| Command::Change { entity: renamed(&state, name), expected: 1 };
    assert!(role.step(&state, change("first"), &operator(), NOW).is_ok());
    assert_eq!(role.step(&state, change("second"), &operator(), NOW), Err(Refusal::Stale { current: 2 }));
    let group = role.take();
    assert_eq!(group.revisions.len(), 1);
    assert!(role.is_idle());
}

#[test]
fn a_child_may_be_made_in_the_group_of_its_parent() {
    let state = sample_state();
    let mut role = CampaignRole::new();
    let advertiser = samples::advertiser(crate::model::AdvertiserId::from_u128(99), samples::NETWORK);
    let campaign = samples::campaign(crate::model::CampaignId::from_u128(98), advertiser.id, samples::NETWORK);
    let create = |entity| Command::Create { entity };
    let orphan = role.step(&state, create(Entity::from(campaign.clone())), &operator(), NOW);
    assert!(matches!(orphan, Err(Refusal::Invalid(_))));
    role.step(&state, create(Entity::from(advertiser)), &operator(), NOW).expect("accepted");
    role.step(&state, create(Entity::from(campaign)), &operator(), NOW).expect("accepted");
    let kinds: Vec<_> = role.take().newest().map(|revision| revision.entity.id().kind()).collect();
    assert_eq!(kinds, [EntityKind::Advertiser, EntityKind::Campaign], "parents before children");
}

#[test]
fn an_import_is_all_or_nothing() {
    let mut entities = samples::catalogue();
    let Some(Entity::Creative(creative)) = entities.get_mut(2) else { panic!("the third is a creative") };
    Arc::make_mut(creative).duration_ms = 0;
    let mut role = CampaignRole::new();
    let refusal = role.step(&CatalogState::default(), Command::Import { entities }, &Requester::Segue, NOW);
    let Err(Refusal::Invalid(faults)) = refusal else { panic!("refused") };
    assert_eq!((faults[0].path.as_str(), faults[0].code), ("entities[2].duration_ms", "out_of_range"));
    assert!(role.is_idle());
    let twice = vec![samples::catalogue().remove(8), samples::catalogue().remove(8)];
    let refusal = role.step(&CatalogState::default(), Command::Import { entities: twice }, &Requester::Segue, NOW);
    assert!(matches!(refusal, Err(Refusal::Conflict { .. })));
    let by_key = role.step(&CatalogState::default(), Command::Import { entities: Vec::new() }, &operator(), NOW);
    assert!(matches!(by_key, Err(Refusal::Forbidden(_))));
}

#[test]
fn importing_again_makes_new_revisions() {
    let state = sample_state();
    let mut role = CampaignRole::new();
    let import = Command::Import { entities: samples::catalogue() };
    let outcome = role.step(&state, import, &Requester::Segue, NOW);
    assert_eq!(outcome, Ok(Outcome::Imported(samples::catalogue().len())));
    assert!(role.take().revisions.iter().all(|revision| revision.number == 2));
}

#[test]
fn under_an_archived_parent_nothing_lives_on() {
    let state = committed(vec![
        Command::Import { entities: samples::catalogue() },
        Command::Archive { id: EntityId::Campaign(samples::CAMPAIGN), expected: 1 },
    ]);
    let mut role = CampaignRole::new();
    let change = Command::Change { entity: renamed(&state, "again"), expected: 1 };
    let Err(Refusal::Invalid(faults)) = role.step(&state, change, &operator(), NOW) else { panic!("refused") };
    assert_eq!((faults[0].path.as_str(), faults[0].code), ("campaign_id", "archived"));
    let archive = Command::Archive { id: EntityId::LineItem(samples::LINE_ITEM), expected: 1 };
    assert!(role.step(&state, archive, &operator(), NOW).is_ok(), "archiving is always possible");
}

#[test]
fn history_reads_in_order_when_the_clock_is_set_back() {
    let state = sample_state();
    let mut role = CampaignRole::new();
    let earlier = Now { wall: WallMs(5), ..NOW };
    let change = Command::Change { entity: renamed(&state, "x"), expected: 1 };
    let Ok(Outcome::Entity(revision)) = role.step(&state, change, &operator(), earlier) else { panic!("accepted") };
    assert_eq!((revision.created_at, revision.at), (NOW.wall, NOW.wall));
}

#[test]
fn a_foreign_network_is_not_there() {
    let state = sample_state();
    let elsewhere = Requester::Key(Actor {
        key_id: ApiKeyId::from_u128(2),
        network_id: NetworkId::from_u128(77),
        role: Role::Operator,
    });
    let mut role = CampaignRole::new();
    let commands = [
        Command::Change { entity: renamed(&state, "x"), expected: 1 },
        Command::Archive { id: EntityId::LineItem(samples::LINE_ITEM), expected: 1 },
        Command::Review { id: EntityId::Creative(samples::CREATIVE), expected: 1, approval: Approval::Rejected },
    ];
    for command in commands {
        assert_eq!(role.step(&state, command, &elsewhere, NOW), Err(Refusal::NotFound));
    }
    assert!(role.is_idle());
}
