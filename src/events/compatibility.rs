//! Whether one version of the schemas can follow another: what was written under the old one is read alike under the new one, and classes that
//! consumers generate from the new one still fit the code that was written for the old.
//!
//! A file, a message, an enum, an enum's value or a field that was there must still be there with its number, name, type, cardinality, presence and
//! place in a oneof, unless a field's number *and* name are reserved. New ones are free to come. Names matter as much as numbers, and files as much
//! as names: consumers' code names the classes, and in some languages imports them by file.

use std::collections::BTreeMap;

use prost_types::field_descriptor_proto::Label;
use prost_types::{
    DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, FileDescriptorProto, FileDescriptorSet,
    descriptor_proto,
};

#[cfg(test)]
mod sources;
#[cfg(test)]
mod tests;

pub(crate) use sources::Sources;

/// Everything that breaks readers of old records or code over generated classes, each in words; empty when the new schemas can follow the old ones.
pub(crate) fn breaks(old: &FileDescriptorSet, new: &FileDescriptorSet) -> Vec<String> {
    let mut breaks = Vec::new();
    for old in &old.file {
        match new.file.iter().find(|new| new.name() == old.name()) {
            Some(new) => file_breaks(old, new, &mut breaks),
            None => breaks.push(format!("the file {} is gone", old.name())),
        }
    }
    let (old, new) = (Types::of(old), Types::of(new));
    for (name, (file, old)) in &old.messages {
        match new.messages.get(name) {
            Some((now_in, new)) => {
                moved(&format!("message {name}"), file, now_in, &mut breaks);
                message_breaks(name, old, new, &mut breaks);
            }
            None => breaks.push(format!("message {name} is gone")),
        }
    }
    for (name, (file, old)) in &old.enums {
        match new.enums.get(name) {
            Some((now_in, new)) => {
                moved(&format!("enum {name}"), file, now_in, &mut breaks);
                enum_breaks(name, old, new, &mut breaks);
            }
            None => breaks.push(format!("enum {name} is gone")),
        }
    }
    breaks
}

/// Messages and enums by full name, each with its file.
#[derive(Default)]
struct Types<'s> {
    messages: BTreeMap<String, (&'s str, &'s DescriptorProto)>,
    enums: BTreeMap<String, (&'s str, &'s EnumDescriptorProto)>,
}

impl<'s> Types<'s> {
    fn of(set: &'s FileDescriptorSet) -> Self {
        let mut types = Self::default();
        for file in &set.file {
            for message in &file.message_type {
                types.add(file, file.package(), message);
            }
            for kind in &file.enum_type {
                types.enums.insert(format!("{}.{}", file.package(), kind.name()), (file.name(), kind));
            }
        }
        types
    }

    fn add(&mut self, file: &'s FileDescriptorProto, scope: &str, message: &'s DescriptorProto) {
        let name = format!("{scope}.{}", message.name());
        for nested in &message.nested_type {
            self.add(file, &name, nested);
        }
        for kind in &message.enum_type {
            self.enums.insert(format!("{name}.{}", kind.name()), (file.name(), kind));
        }
        self.messages.insert(name, (file.name(), message));
    }
}

fn file_breaks(old: &FileDescriptorProto, new: &FileDescriptorProto, breaks: &mut Vec<String>) {
    for (aspect, was, is) in [("package", old.package(), new.package()), ("syntax", old.syntax(), new.syntax())] {
        if was != is {
            breaks.push(format!("{}: its {aspect} was {was} and is {is}", old.name()));
        }
    }
}

fn moved(what: &str, was_in: &str, is_in: &str, breaks: &mut Vec<String>) {
    if was_in != is_in {
        breaks.push(format!("{what} moved from {was_in} to {is_in}: generated classes are imported by file"));
    }
}

fn message_breaks(name: &str, old: &DescriptorProto, new: &DescriptorProto, breaks: &mut Vec<String>) {
    for field in &old.field {
        let number = field.number();
        let what = format!("{name}.{} = {number}", field.name());
        match new.field.iter().find(|new| new.number() == number) {
            Some(new_field) => {
                for ((aspect, was), (_, is)) in aspects(old, field).iter().zip(&aspects(new, new_field)) {
                    if was != is {
                        breaks.push(format!("{what}: its {aspect} was {was} and is {is}"));
                    }
                }
            }
            None if is_reserved(new, field) => {}
            None => match new.field.iter().find(|new| new.name() == field.name()) {
                Some(new_field) => breaks.push(format!("{what} has the number {} now", new_field.number())),
                None => breaks.push(format!("{what} is gone: reserve its number and its name")),
            },
        }
    }
    for range in &old.reserved_range {
        for number in range.start()..range.end() {
            let covered = new.reserved_range.iter().any(|new| (new.start()..new.end()).contains(&number));
            match new.field.iter().find(|field| field.number() == number) {
                Some(field) => breaks.push(format!("{name}.{} takes the reserved number {number}", field.name())),
                None if !covered => breaks.push(format!("{name}: the number {number} is no longer reserved")),
                None => {}
            }
        }
    }
    for reserved in old.reserved_name.iter().filter(|reserved| !new.reserved_name.contains(reserved)) {
        breaks.push(format!("{name}: the name {reserved} is no longer reserved"));
    }
}

/// What a reader relies on.
fn aspects(message: &DescriptorProto, field: &FieldDescriptorProto) -> [(&'static str, String); 6] {
    let index = field.oneof_index.filter(|_| !field.proto3_optional());
    let oneof = index.and_then(|index| message.oneof_decl.get(usize::try_from(index).ok()?));
    let kind = field.r#type().as_str_name().trim_start_matches("TYPE_").to_ascii_lowercase();
    [
        ("name", field.name().to_owned()),
        ("type", format!("{kind} {}", field.type_name().trim_start_matches('.')).trim_end().to_owned()),
        ("cardinality", if field.label() == Label::Repeated { "repeated" } else { "single" }.to_owned()),
        ("presence", if field.proto3_optional() { "optional" } else { "implicit" }.to_owned()),
        ("oneof", oneof.map_or("none", |oneof| oneof.name()).to_owned()),
        ("name in JSON", field.json_name().to_owned()),
    ]
}

fn is_reserved(message: &DescriptorProto, field: &FieldDescriptorProto) -> bool {
    let covers = |range: &descriptor_proto::ReservedRange| (range.start()..range.end()).contains(&field.number());
    message.reserved_range.iter().any(covers) && message.reserved_name.iter().any(|name| name == field.name())
}

fn enum_breaks(name: &str, old: &EnumDescriptorProto, new: &EnumDescriptorProto, breaks: &mut Vec<String>) {
    for value in &old.value {
        let what = format!("{name}.{} = {}", value.name(), value.number());
        match new.value.iter().find(|new| new.number() == value.number()) {
            Some(new) if new.name() != value.name() => breaks.push(format!("{what} is now {}", new.name())),
            Some(_) => {}
            // A removed value would turn old records into ones of an unknown kind, reserved or not.
            None => match new.value.iter().find(|new| new.name() == value.name()) {
                Some(new) => breaks.push(format!("{what} has the number {} now", new.number())),
                None => breaks.push(format!("{what} is gone: old records hold it")),
            },
        }
    }
}
