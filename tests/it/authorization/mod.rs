//! The authorization matrix: every endpoint of the served OpenAPI, as each caller, about its own, a neighbour's, another network's and nobody's
//! entities. `make matrix` prints it.
//!
//! An endpoint without a rule fails the test, so that a new one cannot be left out. What holds of each cell: without a key that opens anything 401; with
//! a key of the wrong role 403, or 404 about all that it can't see; what the caller can't see answers exactly as what is not there, and stays as it was; and no
//! answer holds the id of anything that its reader can't see.

mod rules;
mod world;

use std::collections::BTreeSet;

use self::rules::{About, RULES, Rule};
use self::world::{Caller, Relation, Subject, World};
use crate::harness::Answer;

/// What the answers of one rule were, for the printed table.
struct Row<'a> {
    rule: &'a Rule,
    cells: Vec<(Caller, Relation, u16)>,
}

#[test]
fn every_endpoint_answers_each_caller_as_its_rule_says() {
    let world = World::new();
    let described = described(&world);
    let ruled: BTreeSet<_> = RULES.iter().map(|rule| (rule.method.to_owned(), rule.path.to_owned())).collect();
    assert_eq!(described, ruled, "each endpoint of the description has a rule, and each rule an endpoint");
    let mut holes = Vec::new();
    let rows: Vec<_> = RULES.iter().map(|rule| row(&world, rule, &mut holes)).collect();
    let cells: usize = rows.iter().map(|row| row.cells.len()).sum();
    for row in &rows {
        println!("{}", line(row));
    }
    println!(
        "authorization: {} endpoints of {}, {cells} cells, {} holes",
        described.len(),
        described.len(),
        holes.len()
    );
    assert!(holes.is_empty(), "{}", holes.join("\n"));
}

/// The endpoints that the server says it has.
fn described(world: &World) -> BTreeSet<(String, String)> {
    const METHODS: [&str; 6] = ["get", "post", "put", "patch", "delete", "head"];
    let document = world.server.request("GET", "/v1/openapi.json", &[], b"").json();
    let paths = document["paths"].as_object().expect("paths");
    let endpoints = paths.iter().flat_map(|(path, operations)| {
        let operations = operations.as_object().expect("operations");
        let methods = operations.keys().filter(|method| METHODS.contains(&method.as_str()));
        methods.map(move |method| (method.to_ascii_uppercase(), path.clone()))
    });
    endpoints.collect()
}

/// Tries one endpoint as everybody about everything.
fn row<'a>(world: &World, rule: &'a Rule, holes: &mut Vec<String>) -> Row<'a> {
    let mut row = Row { rule, cells: Vec::new() };
    for caller in Caller::ALL {
        let absent = ask(world, rule, caller, Relation::Absent);
        for relation in rule.subject.relations() {
            let asked = if *relation == Relation::Absent { None } else { Some(ask(world, rule, caller, *relation)) };
            let asked = asked.as_ref().unwrap_or(&absent);
            row.cells.push((caller, *relation, asked.answer.status));
            if let Err(hole) = judge(world, rule, (caller, *relation), asked, &absent) {
                let at = format!("{} {} as {caller:?} about {relation:?}", rule.method, rule.path);
                holes.push(format!("{at}: {hole}; {} {}", asked.answer.status, asked.answer.body));
            }
        }
    }
    row
}

/// What came of a request.
struct Asked {
    answer: Answer,
    /// The answer without the id that was asked about.
    neutral: String,
    /// Whether what it was about is as it was.
    untouched: bool,
}

fn ask(world: &World, rule: &Rule, caller: Caller, relation: Relation) -> Asked {
    let changes = !matches!(rule.method, "GET" | "HEAD") && rule.path.contains("{id}");
    let id = world.subject(rule.subject, caller, relation, changes);
    let before = world.state(rule.subject, relation, &id);
    let creative = world.creative(if caller.sees(rule.subject, relation) { relation } else { Relation::Own });
    let request = (rule.request)(&About { id: &id, creative });
    let mut target = rule.path.replace("{id}", &id).replace("{advertiser}", &id);
    for (name, value) in
        [("{month}", "2026-11"), ("{event}", "impression"), ("{token}", "forged"), ("{name}", "none.ogg")]
    {
        target = target.replace(name, value);
    }
    target.push_str(&request.query);
    let answer = world.call(caller, rule.method, &target, &request, before.as_deref());
    let neutral = answer.body.replace(&id, "ID");
    let untouched = world.state(rule.subject, relation, &id) == before;
    Asked { answer, neutral, untouched }
}

fn judge(
    world: &World,
    rule: &Rule,
    (caller, relation): (Caller, Relation),
    asked: &Asked,
    absent: &Asked,
) -> Result<(), String> {
    let status = asked.answer.status;
    if let Some(leak) = world.hidden_from(caller).find(|id| asked.neutral.contains(id.as_str())) {
        return Err(format!("it holds {leak}, which its reader can't see"));
    }
    if rule.callers.is_empty() {
        return if matches!(status, 401 | 403) { Err("it wants a key".to_owned()) } else { Ok(()) };
    }
    let takes = rule.callers.contains(&caller);
    let wanted: &[u16] = if matches!(caller, Caller::Nobody | Caller::Revoked) {
        &[401]
    } else if caller.sees(rule.subject, relation) {
        if takes { &[rule.answer] } else { &[403] }
    } else if (status, &asked.neutral) != (absent.answer.status, &absent.neutral) {
        return Err(format!("not what an absent id gets: {} {}", absent.answer.status, absent.neutral));
    } else if takes {
        &[rule.unseen]
    } else {
        // Either is told of any id that the caller can't see, so neither tells whether there is such a thing.
        &[403, 404]
    };
    if !wanted.contains(&status) {
        return Err(format!("expected {wanted:?}"));
    }
    let may_touch = takes && wanted == [rule.answer];
    if asked.untouched || may_touch { Ok(()) } else { Err("it changed what it was about".to_owned()) }
}

/// One line of the table: for each caller the answers about own, neighbour's, foreign and absent ids.
fn line(row: &Row<'_>) -> String {
    let about = |caller| {
        let of = row.cells.iter().filter(move |(who, ..)| *who == caller);
        let statuses: Vec<_> = of.map(|(.., status)| status.to_string()).collect();
        format!("{}={}", caller.word(), statuses.join("/"))
    };
    let cells: Vec<_> = Caller::ALL.into_iter().map(about).collect();
    format!("{:6} {:40} {}", row.rule.method, row.rule.path, cells.join(" "))
}

#[test]
fn relations_are_told_in_the_order_of_the_table() {
    assert_eq!(
        Subject::LineItem.relations(),
        [Relation::Own, Relation::Neighbour, Relation::Foreign, Relation::Absent]
    );
    assert_eq!(Subject::Nothing.relations(), [Relation::Absent]);
}
