//! Canaries, as whoever runs the commands meets them: a log that was forged with care ends `segue demo` and `segue audit` with exit status 1, and
//! both name what was forged.

use std::path::Path;

use serde_json::Value;

use crate::harness::{folder, segue};

/// A forgery, by the name that `segue demo --forge` has for it, and the names under which it must be found.
struct Case {
    forge: Option<&'static str>,
    /// Rules of the demo's checker, one of which must be broken.
    rules: &'static [&'static str],
    /// Checks of the audit, one of which must differ.
    checks: &'static [&'static str],
}

const CASES: [Case; 4] = [
    Case { forge: None, rules: &[], checks: &[] },
    Case { forge: Some("delete-record"), rules: &["missing_record"], checks: &["settled_ordinal"] },
    Case { forge: Some("double-record"), rules: &["doubled_record"], checks: &["record_not_doubled"] },
    // Found by another record of the impression that has the old price, or by its lease if there is none.
    Case {
        forge: Some("change-price"),
        rules: &["changed_record", "price"],
        checks: &["price_agrees", "lease_digest"],
    },
];

#[test]
fn a_forged_log_ends_checker_and_audit_with_status_1_and_is_named() {
    std::thread::scope(|scope| {
        for case in &CASES {
            scope.spawn(move || {
                let folder = folder();
                let forged = demo(folder.path(), case);
                audit(folder.path(), case, &forged);
            });
        }
    });
}

/// The names of the forged record: impression, lease, ordinal, creative and break.
#[derive(Default)]
struct Forged {
    impression: String,
    lease: String,
    ordinal: String,
    creative: String,
    decision: String,
}

impl Forged {
    /// Read from the line that says what was forged.
    fn said_in(text: &str) -> Option<Self> {
        let line = text.lines().find(|line| line.starts_with("forged "))?;
        let words: Vec<&str> = line.split(' ').collect();
        let after = |name: &str| {
            let place = words.iter().position(|word| *word == name)?;
            words.get(place + 1).map(|word| (*word).to_owned())
        };
        Some(Self {
            impression: after("impression")?,
            lease: after("lease")?,
            ordinal: after("ordinal")?,
            creative: after("creative")?,
            decision: after("break")?,
        })
    }
}

/// Plays a short demo whose log is forged before it is checked.
fn demo(folder: &Path, case: &Case) -> Forged {
    let mut arguments =
        vec!["demo", "--json", "--seconds", "3", "--seed", "7", "--listeners", "60", "--data-dir", "data"];
    arguments.extend(case.forge.map(|forge| ["--forge", forge]).into_iter().flatten());
    let output = segue(folder, &arguments);
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let summary: Value = serde_json::from_str(stdout.lines().last().unwrap_or_default())
        .unwrap_or_else(|error| panic!("{:?}: {error}: {stdout}{stderr}", case.forge));
    assert_eq!(summary["errors"], 0, "{summary}");
    assert!(summary["billed_impressions"].as_u64() > Some(10), "{summary}");
    let violations: Vec<&str> =
        summary["violations"].as_array().expect("a list").iter().filter_map(Value::as_str).collect();
    let Some(forge) = case.forge else {
        assert_eq!((output.status.code(), violations.len()), (Some(0), 0), "{stderr}");
        return Forged::default();
    };
    assert_eq!(output.status.code(), Some(1), "{forge}: {stderr}");
    let forged = Forged::said_in(&stderr).unwrap_or_else(|| panic!("{forge}: not said what was forged: {stderr}"));
    let names_it = violations.iter().any(|violation| {
        let is_the_rule = case.rules.iter().any(|rule| violation.starts_with(&format!("{rule}: ")));
        let by_ad = violation.contains(&forged.creative) && violation.contains(&forged.decision);
        is_the_rule && (by_ad || violation.contains(&forged.impression))
    });
    assert!(names_it, "{forge}: {violations:#?}");
    forged
}

/// Audits what the demo left.
fn audit(folder: &Path, case: &Case, forged: &Forged) {
    let output = segue(folder, &["audit", "--json", "--data-dir", "data"]);
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let report: Value =
        serde_json::from_str(&stdout).unwrap_or_else(|error| panic!("{:?}: {error}: {stdout}{stderr}", case.forge));
    let Some(forge) = case.forge else {
        assert_eq!((output.status.code(), &report["balanced"]), (Some(0), &Value::Bool(true)), "{report:#}");
        return;
    };
    assert_eq!((output.status.code(), &report["balanced"]), (Some(1), &Value::Bool(false)), "{forge}: {report:#}");
    let differences = report["differences"].as_array().expect("a list");
    let names_it = differences.iter().any(|difference| {
        let text = difference.to_string();
        let by_lease = text.contains(&forged.lease) && text.contains(&format!("ordinal {}", forged.ordinal));
        let is_the_check = case.checks.iter().any(|check| difference["check"] == *check);
        is_the_check && (by_lease || text.contains(&forged.impression))
    });
    assert!(names_it, "{forge}: {differences:#?}");
}
