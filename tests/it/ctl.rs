//! `segue ctl` against a running server: what it changes is changed, what is refused is said field by field, and its exit status tells which.

use std::path::Path;
use std::process::Output;

use serde_json::{Value, json};

use crate::first_ad::Operator;
use crate::harness::{Server, folder, segue};

struct Terminal<'a> {
    folder: &'a Path,
    url: String,
}

impl Terminal<'_> {
    fn run(&self, arguments: &[&str]) -> Output {
        let first = ["ctl", "--url", &self.url, "--key-file", "data/operator.key"];
        segue(self.folder, &[&first, arguments].concat())
    }

    /// Standard output of a call that does what it was told.
    fn said(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        let [out, err] = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned());
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {out}{err}");
        out
    }

    /// Exit status and standard error of a call that does not.
    fn refused(&self, arguments: &[&str]) -> (Option<i32>, String) {
        let output = self.run(arguments);
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    }

    fn json(&self, arguments: &[&str]) -> Value {
        serde_json::from_str(&self.said(&[&["--json"], arguments].concat())).expect("JSON")
    }
}

#[test]
fn a_campaign_is_made_changed_and_read_from_a_terminal() {
    let folder = folder();
    let server = Server::start(folder.path(), &[]);
    let terminal = Terminal { folder: folder.path(), url: server.url() };
    let file = |name: &str, body: &Value| std::fs::write(folder.path().join(name), body.to_string()).expect("written");

    file("advertiser.json", &json!({"name": "Brook Coffee", "zone": "Europe/Stockholm"}));
    let made = terminal.json(&["create", "advertisers", "advertiser.json"]);
    let id = made["id"].as_str().expect("an id");
    let table = terminal.said(&["list", "advertisers"]);
    assert!(table.starts_with("ID") && table.contains("Brook Coffee") && table.contains(id), "{table}");

    for name in ["Spring", "Summer", "Autumn"] {
        file("campaign.json", &json!({"advertiser_id": id, "name": name}));
        terminal.said(&["create", "campaigns", "campaign.json"]);
    }
    let owned = format!("advertiser_id={id}");
    let listed = terminal.json(&["list", "campaigns", "--where", &owned, "--limit", "2"]);
    assert_eq!(listed["items"].as_array().map(Vec::len), Some(2));
    let all = terminal.json(&["list", "campaigns", "--where", &owned, "--limit", "0"]);
    assert_eq!((all["items"].as_array().map(Vec::len), &all["next_cursor"]), (Some(3), &Value::Null));

    let campaign = listed["items"][0]["id"].as_str().expect("an id");
    terminal.said(&["change", "campaigns", campaign, "--set", "budget.lifetime_micros=5000000", "--set", "name=May"]);
    assert!(terminal.said(&["pause", "campaigns", campaign]).contains("revision 3"));
    let document: Value = serde_json::from_str(&terminal.said(&["get", "campaigns", campaign])).expect("JSON");
    let seen = (&document["name"], &document["status"], &document["budget"]["lifetime_micros"]);
    assert_eq!(seen, (&json!("May"), &json!("paused"), &json!(5_000_000)));
    let history = terminal.said(&["history", "campaigns", campaign]);
    assert_eq!(history.lines().count(), 4, "{history}");
    assert!(terminal.said(&["report"]).starts_with("nothing"));
    assert!(terminal.said(&["servers"]).contains("live"));

    let operator = Operator::of(&server, &folder.path().join("data"));
    let line_item = operator.advertise(10_000_000);
    terminal.said(&["pause", "line-items", &line_item]);
    let why = terminal.said(&["why", &line_item]);
    assert!(why.lines().next().is_some_and(|verdict| verdict.contains("paused")), "{why}");

    let (code, told) = terminal.refused(&["change", "campaigns", campaign, "--revision", "1", "--set", "name=Late"]);
    assert_eq!(code, Some(2), "{told}");
    assert!(told.contains("it is at revision 3"), "{told}");
    let (code, told) = terminal.refused(&["change", "campaigns", campaign, "--set", "budget.lifetime_micros=-1"]);
    assert_eq!(code, Some(2), "{told}");
    assert!(told.contains("budget.lifetime_micros: "), "{told}");
    terminal.said(&["archive", "campaigns", campaign]);
    assert_eq!(terminal.refused(&["get", "campaigns", "nowhere"]).0, Some(2));
}

#[test]
fn who_has_no_key_or_no_server_is_told_so() {
    let folder = folder();
    let server = Server::start(folder.path(), &[]);
    let url = server.url();
    let ctl = |url: &str, key: &str| {
        let output = segue(folder.path(), &["ctl", "--url", url, "--key-file", key, "list", "advertisers"]);
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    std::fs::write(folder.path().join("wrong.key"), "wrong").expect("written");
    let (code, told) = ctl(&url, "wrong.key");
    assert_eq!(code, Some(2), "{told}");
    assert!(told.contains("a valid API key is needed"), "{told}");
    let (code, told) = ctl(&url, "absent.key");
    assert_eq!(code, Some(2), "{told}");
    assert!(told.contains("absent.key can't be read"), "{told}");
    assert_eq!(server.terminate().code(), Some(0));
    assert_eq!(ctl(&url, "wrong.key").0, Some(3));
}
