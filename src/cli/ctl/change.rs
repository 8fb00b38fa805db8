//! What is to be sent: documents from files, and merge patches from single fields.

use std::io::Read as _;
use std::path::Path;

use serde_json::{Map, Value};

use super::api::Refusal;

/// Longest document in bytes, as the server takes it.
const DOCUMENT_BYTES_MAX: u64 = 1 << 20;

/// One `--set`: a path and a value.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Setting {
    path: Vec<String>,
    value: Value,
}

/// Reads `PATH=VALUE`. A value that is JSON is taken as such, anything else as text.
pub(super) fn setting(text: &str) -> Result<Setting, String> {
    let (path, value) = text.split_once('=').ok_or("expected PATH=VALUE")?;
    let path: Vec<String> = path.split('.').map(str::to_owned).collect();
    if path.iter().any(String::is_empty) {
        return Err("expected field names with dots between them before the equals sign".to_owned());
    }
    let value = serde_json::from_str(value).unwrap_or_else(|_| Value::from(value));
    Ok(Setting { path, value })
}

/// A JSON document from a file; - is standard input.
pub(super) fn document(file: &Path) -> Result<Value, Refusal> {
    let mut text = String::new();
    let read = if file == Path::new("-") {
        std::io::stdin().lock().take(DOCUMENT_BYTES_MAX + 1).read_to_string(&mut text)
    } else {
        std::fs::File::open(file).and_then(|opened| opened.take(DOCUMENT_BYTES_MAX + 1).read_to_string(&mut text))
    };
    read.map_err(|error| Refusal::Input(format!("{}: {error}", file.display())))?;
    if text.len() as u64 > DOCUMENT_BYTES_MAX {
        return Err(Refusal::Input(format!("{}: longer than {DOCUMENT_BYTES_MAX} bytes", file.display())));
    }
    serde_json::from_str(&text).map_err(|error| Refusal::Input(format!("{}: not JSON: {error}", file.display())))
}

/// The merge patch of a file and of settings, which go over it.
pub(super) fn patch(file: Option<&Path>, settings: &[Setting]) -> Result<Value, Refusal> {
    let mut patch = file.map_or_else(|| Ok(Value::Object(Map::new())), document)?;
    for setting in settings {
        let mut place = &mut patch;
        for name in &setting.path {
            if !place.is_object() {
                *place = Value::Object(Map::new());
            }
            place = &mut place[name.as_str()];
        }
        *place = setting.value.clone();
    }
    Ok(patch)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn settings_make_a_merge_patch() {
        let texts = ["name=Spring", "budget.daily_micros=null", "budget.lifetime_micros=5", "category=\"7\"", "a=b=c"];
        let settings: Vec<_> = texts.iter().map(|text| setting(text).expect("a setting")).collect();
        let made = patch(None, &settings).expect("a patch");
        let budget = json!({"daily_micros": null, "lifetime_micros": 5});
        assert_eq!(made, json!({"name": "Spring", "budget": budget, "category": "7", "a": "b=c"}));
    }

    #[test]
    fn what_is_no_setting_is_refused() {
        for text in ["name", "=1", "a..b=1", ".=1"] {
            assert!(setting(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_file_is_read_whole_or_refused_by_its_name() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("patch.json");
        std::fs::write(&file, r#"{"name": "A", "caps": []}"#).expect("written");
        let over = [setting("name=B").expect("a setting")];
        assert_eq!(patch(Some(&file), &over).expect("a patch"), json!({"name": "B", "caps": []}));
        std::fs::write(&file, "{").expect("written");
        let refused = document(&file).expect_err("not JSON").to_string();
        assert!(refused.contains("patch.json: not JSON"), "{refused}");
        assert!(document(&folder.path().join("absent")).is_err());
    }
}
