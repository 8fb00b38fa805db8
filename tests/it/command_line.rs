//! The command line as a person meets it: help, version, configuration errors, exit statuses.

use crate::harness::{folder, segue};

#[test]
fn help_tells_a_newcomer_what_to_do() {
    let output = segue(folder().path(), &["--help"]);
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success());
    let first_lines: Vec<&str> = text.lines().take(5).collect();
    assert!(first_lines.iter().any(|line| line.contains("segue demo")), "{text}");
    assert!(first_lines.iter().any(|line| line.contains("segue serve")), "{text}");
}

#[test]
fn no_command_is_wrong_usage() {
    assert_eq!(segue(folder().path(), &[]).status.code(), Some(2));
    assert_eq!(segue(folder().path(), &["no-such-command"]).status.code(), Some(2));
}

#[test]
fn the_version_is_the_packages() {
    let output = segue(folder().path(), &["--version"]);
    assert_eq!(String::from_utf8_lossy(&output.stdout), format!("segue {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn a_wrong_setting_stops_with_its_name_source_and_reason() {
    let folder = folder();
    std::fs::write(folder.path().join("segue.toml"), "[server]\nlisten = \"nowhere\"\n").expect("writes");
    let output = segue(folder.path(), &["config", "check"]);
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2));
    for part in ["server.listen", "\"nowhere\"", "segue.toml", "expected an IP address and a port"] {
        assert!(text.contains(part), "{part} is not in {text}");
    }
}

#[test]
fn the_printed_example_is_a_valid_file() {
    let folder = folder();
    let example = segue(folder.path(), &["config", "example"]);
    assert!(example.status.success());
    std::fs::write(folder.path().join("mine.toml"), &example.stdout).expect("writes");
    let checked = segue(folder.path(), &["config", "check", "--config", "mine.toml"]);
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
}
