//! What must hold for the repository's texts: invariants are numbered, cited and exist; no file names a place of one machine.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Folders that are not the project's text.
const SKIPPED_FOLDERS: &[&str] = &[".git", "target", "segue-data", "demo-data", "node_modules"];

/// The repository's root.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// All Rust files under a folder, in order.
pub(crate) fn rust_files(folder: &Path) -> Vec<PathBuf> {
    files(folder).into_iter().filter(|path| path.extension().is_some_and(|extension| extension == "rs")).collect()
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let Ok(entries) = std::fs::read_dir(folder) else { return found };
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("a folder is readable").path()).collect();
    paths.sort();
    for path in paths {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if path.is_dir() {
            if !SKIPPED_FOLDERS.contains(&name) {
                found.extend(files(&path));
            }
        } else {
            found.push(path);
        }
    }
    found
}

#[test]
fn every_invariant_is_cited_and_every_citation_exists() {
    let architecture = std::fs::read_to_string(root().join("ARCHITECTURE.md")).expect("ARCHITECTURE.md");
    let defined: BTreeSet<String> =
        architecture.lines().filter(|line| line.starts_with("- **INV-")).flat_map(cited_in).collect();
    let mut cited: BTreeMap<String, String> = BTreeMap::new();
    for folder in ["src", "tests", "benches"] {
        for file in rust_files(&root().join(folder)) {
            if file == root().join("tests/it/repository.rs") {
                continue;
            }
            let text = std::fs::read_to_string(&file).expect("a source file is readable");
            for invariant in cited_in(&text) {
                cited.entry(invariant).or_insert_with(|| file.display().to_string());
            }
        }
    }
    let uncited: Vec<_> = defined.iter().filter(|invariant| !cited.contains_key(*invariant)).collect();
    let unknown: Vec<_> = cited.iter().filter(|(invariant, _)| !defined.contains(*invariant)).collect();
    assert!(!defined.is_empty(), "ARCHITECTURE.md lists invariants as `- **INV-n**: ...`");
    assert!(uncited.is_empty(), "invariants that no assert or test cites: {uncited:?}");
    assert!(unknown.is_empty(), "cited, but not in ARCHITECTURE.md: {unknown:?}");
}

/// All `INV-n` in a text.
fn cited_in(text: &str) -> Vec<String> {
    let pieces = text.split("INV-").skip(1);
    let numbers = pieces.map(|rest| rest.chars().take_while(char::is_ascii_digit).collect::<String>());
    numbers.filter(|number| !number.is_empty()).map(|number| format!("INV-{number}")).collect()
}

#[test]
fn every_file_that_the_architecture_names_exists() {
    let architecture = std::fs::read_to_string(root().join("ARCHITECTURE.md")).expect("ARCHITECTURE.md");
    let is_path = |span: &&str| Path::new(span).extension().is_some_and(|ending| ending == "rs") || span.ends_with('/');
    let named = architecture.split('`').skip(1).step_by(2).filter(is_path);
    let missing: Vec<&str> =
        named.filter(|path| !["src", ""].iter().any(|folder| root().join(folder).join(path).exists())).collect();
    assert!(missing.is_empty(), "ARCHITECTURE.md names what is not there: {missing:?}");
}

#[test]
fn no_file_names_a_place_of_one_machine() {
    // Written in two pieces, so that this file is not its own finding.
    let places = [
        concat!("/wo", "rk/"),
        concat!("/ro", "ot/"),
        concat!("/ho", "me/"),
        concat!("bash_", "jobs"),
        concat!("wt", "-house"),
    ];
    let mut found = Vec::new();
    for file in files(root()) {
        // Binary files have no lines to judge.
        let Ok(text) = std::fs::read_to_string(&file) else { continue };
        for (index, line) in text.lines().enumerate() {
            if let Some(place) = places.iter().find(|place| line.contains(**place)) {
                found.push(format!("{}:{}: {place}", file.display(), index + 1));
            }
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn invariants_are_found_in_text() {
    assert_eq!(cited_in("see INV-3, INV-12: and INV-x"), ["INV-3", "INV-12"]);
}
