//! Every message, field, oneof, enum and value of the schemas has a comment, and a field with a unit names it there: consumers read the classes that are
//! generated from them.

use std::collections::BTreeMap;

use prost_types::{DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, FileDescriptorSet};

use super::compatibility::Sources;

/// Numbers of fields in `descriptor.proto`, of which the paths of comments are made.
const FILE_MESSAGES: i32 = 4;
const FILE_ENUMS: i32 = 5;
const MESSAGE_FIELDS: i32 = 2;
const MESSAGE_NESTED: i32 = 3;
const MESSAGE_ENUMS: i32 = 4;
const MESSAGE_ONEOFS: i32 = 8;
const ENUM_VALUES: i32 = 2;

/// Ends of fields' names that mean a unit, and what the comment must say then.
const UNITS: [(&str, &str); 4] =
    [("_ms", "(ms"), ("_micros", "micros"), ("_kbps", "Kilobits"), ("_basis_points", "ten-thousandths")];

/// All that lacks a comment, or a unit in it, in words.
fn uncommented(set: &FileDescriptorSet) -> Vec<String> {
    let mut search = Search { comments: BTreeMap::new(), found: Vec::new() };
    for file in set.file.iter().filter(|file| file.package() == "segue.v1") {
        let locations = file.source_code_info.iter().flat_map(|info| &info.location);
        let commented =
            locations.map(|location| (location.path.clone(), location.leading_comments().trim().to_owned()));
        search.comments = commented.filter(|(_, comment)| !comment.is_empty()).collect();
        for (index, message) in (0..).zip(&file.message_type) {
            search.message(message.name(), message, &[FILE_MESSAGES, index]);
        }
        for (index, kind) in (0..).zip(&file.enum_type) {
            search.enumeration(kind.name(), kind, &[FILE_ENUMS, index]);
        }
    }
    search.found
}

struct Search {
    /// Of the file that is searched, by path.
    comments: BTreeMap<Vec<i32>, String>,
    found: Vec<String>,
}

impl Search {
    fn comment(&mut self, what: &str, path: &[i32]) -> Option<String> {
        let comment = self.comments.get(path).cloned();
        match &comment {
            None => self.found.push(format!("{what} has no comment")),
            Some(comment) if !comment.ends_with('.') => self.found.push(format!("{what}: {comment:?} is no sentence")),
            Some(_) => {}
        }
        comment
    }

    fn message(&mut self, name: &str, message: &DescriptorProto, path: &[i32]) {
        self.comment(name, path);
        let below = |kind, index| [path, &[kind, index]].concat();
        for (index, field) in (0..).zip(&message.field) {
            self.field(&format!("{name}.{}", field.name()), field, &below(MESSAGE_FIELDS, index));
        }
        for (index, oneof) in (0..).zip(&message.oneof_decl) {
            // The compiler makes one for each optional field.
            let of_optional =
                |field: &FieldDescriptorProto| field.proto3_optional() && field.oneof_index == Some(index);
            if !message.field.iter().any(of_optional) {
                self.comment(&format!("{name}.{}", oneof.name()), &below(MESSAGE_ONEOFS, index));
            }
        }
        for (index, nested) in (0..).zip(&message.nested_type) {
            self.message(&format!("{name}.{}", nested.name()), nested, &below(MESSAGE_NESTED, index));
        }
        for (index, kind) in (0..).zip(&message.enum_type) {
            self.enumeration(&format!("{name}.{}", kind.name()), kind, &below(MESSAGE_ENUMS, index));
        }
    }

    fn field(&mut self, what: &str, field: &FieldDescriptorProto, path: &[i32]) {
        let Some(comment) = self.comment(what, path) else { return };
        for (ending, unit) in UNITS {
            if field.name().ends_with(ending) && !comment.contains(unit) {
                self.found.push(format!("{what}: {comment:?} does not say {unit:?}"));
            }
        }
    }

    fn enumeration(&mut self, name: &str, kind: &EnumDescriptorProto, path: &[i32]) {
        self.comment(name, path);
        for (index, value) in (0..).zip(&kind.value) {
            self.comment(&format!("{name}.{}", value.name()), &[path, &[ENUM_VALUES, index]].concat());
        }
    }
}

#[test]
fn everything_in_the_schemas_has_a_comment_with_its_unit() {
    assert_eq!(uncommented(&Sources::read().compile()), Vec::<String>::new());
}

#[test]
fn what_has_no_comment_is_found() {
    let cases = [
        ("// A lease is over. What was not settled went back.\n", "LeaseClosed has no comment"),
        ("  // The run of that server.\n  bytes boot_id = 5;", "Envelope.boot_id has no comment"),
        ("  // What it settles or takes back.\n", "LedgerEntry.cause has no comment"),
        ("// Kinds of account.\n", "LedgerAccountKind has no comment"),
        ("  // What a network earned.\n", "LedgerAccountKind.LEDGER_ACCOUNT_KIND_NETWORK has no comment"),
    ];
    for (comment, expected) in cases {
        let without = comment.lines().filter(|line| !line.trim().starts_with("//")).collect::<Vec<_>>().join("\n");
        assert_eq!(uncommented(&Sources::read().with("events", comment, &without).compile()), [expected]);
    }
    let unitless = Sources::read().with("events", "Length of the creative (ms).", "Length of the creative.");
    assert_eq!(
        uncommented(&unitless.compile()),
        ["BeaconRecord.duration_ms: \"Length of the creative.\" does not say \"(ms\""]
    );
}
