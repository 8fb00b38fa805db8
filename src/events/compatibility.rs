//! Whether one version of the schemas can follow another: what was written under the old one is read alike under the new one.
//!
//! A field, an enum's value, a message or an enum that was there must still be there with its number, name, type, cardinality and place in a
//! oneof, unless its number *and* name are reserved. New ones are free to come. Names matter as much as numbers: consumers generate classes
//! from them.

use std::collections::BTreeMap;

use prost_types::field_descriptor_proto::Label;
use prost_types::{
    DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, FileDescriptorSet, descriptor_proto,
    field_descriptor_proto,
};

/// Everything that breaks readers of old records, each in words; empty when the new schemas can follow the old ones.
pub(crate) fn breaks(old: &FileDescriptorSet, new: &FileDescriptorSet) -> Vec<String> {
    let (old, new) = (Types::of(old), Types::of(new));
    let mut breaks = Vec::new();
    for (name, old) in &old.messages {
        match new.messages.get(name) {
            Some(new) => message_breaks(name, old, new, &mut breaks),
            None => breaks.push(format!("message {name} is gone")),
        }
    }
    for (name, old) in &old.enums {
        match new.enums.get(name) {
            Some(new) => enum_breaks(name, old, new, &mut breaks),
            None => breaks.push(format!("enum {name} is gone")),
        }
    }
    breaks
}

/// Messages and enums by full name.
#[derive(Default)]
struct Types<'s> {
    messages: BTreeMap<String, &'s DescriptorProto>,
    enums: BTreeMap<String, &'s EnumDescriptorProto>,
}

impl<'s> Types<'s> {
    fn of(set: &'s FileDescriptorSet) -> Self {
        let mut types = Self::default();
        for file in &set.file {
            for message in &file.message_type {
                types.add(file.package(), message);
            }
            for kind in &file.enum_type {
                types.enums.insert(format!("{}.{}", file.package(), kind.name()), kind);
            }
        }
        types
    }

    fn add(&mut self, scope: &str, message: &'s DescriptorProto) {
        let name = format!("{scope}.{}", message.name());
        for nested in &message.nested_type {
            self.add(&name, nested);
        }
        for kind in &message.enum_type {
            self.enums.insert(format!("{name}.{}", kind.name()), kind);
        }
        self.messages.insert(name, message);
    }
}

fn message_breaks(name: &str, old: &DescriptorProto, new: &DescriptorProto, breaks: &mut Vec<String>) {
    for field in &old.field {
        let number = field.number();
        let what = format!("{name}.{} = {number}", field.name());
        match new.field.iter().find(|new| new.number() == number) {
            Some(new_field) if shape(old, field) != shape(new, new_field) => breaks.push(format!(
                "{what} was {} and is {}",
                shape(old, field).join(" "),
                shape(new, new_field).join(" ")
            )),
            Some(_) => {}
            None if is_reserved(new, field) => {}
            None => breaks.push(format!("{what} is gone and not reserved")),
        }
    }
    for range in &old.reserved_range {
        if !new.reserved_range.iter().any(|new| new.start() <= range.start() && range.end() <= new.end()) {
            breaks.push(format!("{name}: the numbers {} to {} are no longer reserved", range.start(), range.end() - 1));
        }
    }
}

/// What a reader relies on: name, type, cardinality, presence, oneof.
fn shape(message: &DescriptorProto, field: &FieldDescriptorProto) -> [String; 5] {
    let index = field.oneof_index.filter(|_| !field.proto3_optional());
    let oneof = index.and_then(|index| message.oneof_decl.get(usize::try_from(index).ok()?));
    [
        field.name().to_owned(),
        format!("{:?}{}", field.r#type(), field.type_name()),
        if field.label() == Label::Repeated { "repeated" } else { "single" }.to_owned(),
        if field.proto3_optional() { "optional" } else { "plain" }.to_owned(),
        oneof.map_or("on its own", |oneof| oneof.name()).to_owned(),
    ]
}

fn is_reserved(message: &DescriptorProto, field: &FieldDescriptorProto) -> bool {
    let covers = |range: &descriptor_proto::ReservedRange| (range.start()..range.end()).contains(&field.number());
    message.reserved_range.iter().any(covers) && message.reserved_name.iter().any(|name| name == field.name())
}

fn enum_breaks(name: &str, old: &EnumDescriptorProto, new: &EnumDescriptorProto, breaks: &mut Vec<String>) {
    for value in &old.value {
        match new.value.iter().find(|new| new.number() == value.number()) {
            Some(new) if new.name() != value.name() => {
                breaks.push(format!("{name}.{} = {} is now {}", value.name(), value.number(), new.name()));
            }
            Some(_) => {}
            // A removed value would turn old records into ones of an unknown kind, reserved or not.
            None => breaks.push(format!("{name}.{} = {} is gone", value.name(), value.number())),
        }
    }
}

#[cfg(test)]
mod tests {
    use prost::Message;

    use super::*;

    /// The schemas as they are.
    fn current() -> FileDescriptorSet {
        let bytes: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/segue.binpb"));
        FileDescriptorSet::decode(bytes).expect("the build wrote it")
    }

    fn message<'s>(set: &'s mut FileDescriptorSet, name: &str) -> &'s mut DescriptorProto {
        let mut messages = set.file.iter_mut().flat_map(|file| &mut file.message_type);
        messages.find(|message| message.name() == name).expect("there is such a message")
    }

    fn field<'s>(set: &'s mut FileDescriptorSet, name: &str, field: &str) -> &'s mut FieldDescriptorProto {
        let mut fields = message(set, name).field.iter_mut();
        fields.find(|candidate| candidate.name() == field).expect("there is such a field")
    }

    /// The rule of INV-21 for events: today's schemas can follow those of every record ever written. What is merely new makes the committed
    /// set old, and is added to it with `UPDATE_GOLDEN=1`, never by it when something breaks.
    #[test]
    fn the_schemas_can_follow_the_committed_ones() {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("schemas/golden/v1/segue.binpb");
        let new = current();
        if let Ok(bytes) = std::fs::read(&path) {
            let old = FileDescriptorSet::decode(bytes.as_slice()).expect("a descriptor set");
            assert_eq!(breaks(&old, &new), Vec::<String>::new(), "records of earlier versions could not be read");
        }
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(&path, new.encode_to_vec()).expect("the golden file is writable");
        }
        let committed = FileDescriptorSet::decode(std::fs::read(&path).expect("it is committed").as_slice());
        assert!(committed.as_ref() == Ok(&new), "the committed set is old; UPDATE_GOLDEN=1 adds what is new");
    }

    #[test]
    fn a_broken_schema_is_found() {
        type Change = fn(&mut FileDescriptorSet);
        let cases: [(&str, Change, &str); 12] = [
            ("removed", |set| message(set, "BeaconRecord").field.retain(|f| f.name() != "pseudonym"), "is gone"),
            ("renumbered", |set| field(set, "LeaseGranted", "amount_micros").number = Some(99), "is gone"),
            (
                "retyped",
                |set| field(set, "LeaseGranted", "amount_micros").set_type(field_descriptor_proto::Type::Sint64),
                "was amount_micros Int64",
            ),
            (
                "renamed",
                |set| field(set, "Pricing", "amount_micros").name = Some("amount_cents".to_owned()),
                "amount_cents",
            ),
            ("repeated", |set| field(set, "Network", "name").set_label(Label::Repeated), "is name String repeated"),
            (
                "swapped enum",
                |set| field(set, "LineItem", "tier").type_name = Some(".segue.v1.Status".to_owned()),
                "Status",
            ),
            ("left its oneof", |set| field(set, "Envelope", "beacon").oneof_index = None, "on its own"),
            ("presence dropped", |set| field(set, "Budget", "daily_micros").proto3_optional = Some(false), "plain"),
            (
                "message removed",
                |set| set.file.iter_mut().for_each(|f| f.message_type.retain(|m| m.name() != "Goal")),
                "is gone",
            ),
            (
                "enum removed",
                |set| set.file.iter_mut().for_each(|f| f.enum_type.retain(|e| e.name() != "Tier")),
                "is gone",
            ),
            (
                "enum value moved",
                |set| {
                    let tier = set.file.iter_mut().flat_map(|f| &mut f.enum_type).find(|e| e.name() == "Tier");
                    tier.expect("there is one").value[1].number = Some(7);
                },
                "TIER_SPONSORSHIP = 1 is gone",
            ),
            ("no longer reserved", |set| message(set, "Envelope").reserved_range.clear(), "no longer reserved"),
        ];
        for (name, change, words) in cases {
            let mut changed = current();
            change(&mut changed);
            let found = breaks(&current(), &changed);
            assert!(found.iter().any(|found| found.contains(words)), "{name}: {found:?}");
        }
    }

    #[test]
    fn what_is_new_or_properly_removed_breaks_nothing() {
        let mut changed = current();
        let envelope = message(&mut changed, "Envelope");
        let mut added = envelope.field[0].clone();
        added.name = Some("producer".to_owned());
        added.number = Some(9);
        envelope.field.push(added);
        let goal = message(&mut changed, "Goal");
        goal.field.retain(|field| field.name() != "daily_impressions");
        goal.reserved_range.push(descriptor_proto::ReservedRange { start: Some(2), end: Some(3) });
        goal.reserved_name.push("daily_impressions".to_owned());
        assert_eq!(breaks(&current(), &changed), Vec::<String>::new());
    }

    #[test]
    fn every_field_and_value_has_a_comment() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("schemas/segue/v1");
        for entry in std::fs::read_dir(folder).expect("the schemas are there") {
            let path = entry.expect("readable").path();
            let text = std::fs::read_to_string(&path).expect("text");
            let mut before = "";
            for (number, line) in text.lines().enumerate() {
                let says = line.trim();
                let defines = says.ends_with('{')
                    || (says.contains(" = ") && says.ends_with(';') && says != "syntax = \"proto3\";");
                assert!(!defines || before.starts_with("//"), "{}:{}: no comment", path.display(), number + 1);
                before = says;
            }
        }
    }
}
