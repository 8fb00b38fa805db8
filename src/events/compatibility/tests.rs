//! The schemas against the committed ones, and every way to break them, made in their source and refused by name.

use prost::Message;

use super::*;

/// The schemas as they are.
fn current() -> FileDescriptorSet {
    let bytes: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/segue.binpb"));
    FileDescriptorSet::decode(bytes).expect("the build wrote it")
}

/// The rule of INV-21 for events: today's schemas can follow those of every record ever written. What is merely new makes the committed
/// set old, and is added to it with `UPDATE_GOLDEN=1`, never by it when something breaks.
#[test]
fn the_schemas_can_follow_the_committed_ones() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("schemas/golden/v1/segue.binpb");
    let new = current();
    if let Ok(bytes) = std::fs::read(&path) {
        let old = FileDescriptorSet::decode(bytes.as_slice()).expect("a descriptor set");
        assert_eq!(
            breaks(&old, &new),
            Vec::<String>::new(),
            "readers of records or of classes of earlier versions break"
        );
    }
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, new.encode_to_vec()).expect("the golden file is writable");
    }
    let committed = FileDescriptorSet::decode(std::fs::read(&path).expect("it is committed").as_slice());
    assert!(committed.as_ref() == Ok(&new), "the committed set is old; UPDATE_GOLDEN=1 adds what is new");
}

/// One file's text replaced by another.
type Edit = (&'static str, &'static str, &'static str);

fn judge(edits: &[Edit]) -> Vec<String> {
    let changed = edits.iter().fold(Sources::read(), |sources, (file, from, to)| sources.with(file, from, to));
    breaks(&current(), &changed.compile())
}

#[test]
fn every_change_of_a_field_that_breaks_is_refused_by_its_name_and_the_reason() {
    let cases: &[(&[Edit], &[&str])] = &[
        (
            &[("events", "  bytes pseudonym = 12;\n", "")],
            &["segue.v1.BeaconRecord.pseudonym = 12 is gone: reserve its number and its name"],
        ),
        (
            &[("events", "  bytes pseudonym = 12;\n", "  reserved 12;\n")],
            &["segue.v1.BeaconRecord.pseudonym = 12 is gone: reserve its number and its name"],
        ),
        (
            &[("events", "optional int64 price_micros = 11;", "optional int64 price_micros = 111;")],
            &["segue.v1.BeaconRecord.price_micros = 11 has the number 111 now"],
        ),
        (
            &[("events", "optional int64 price_micros = 11;", "optional sint64 price_micros = 11;")],
            &["segue.v1.BeaconRecord.price_micros = 11: its type was int64 and is sint64"],
        ),
        (
            &[("events", "  Tier tier = 9;", "  PriceModel tier = 9;")],
            &["segue.v1.BeaconRecord.tier = 9: its type was enum segue.v1.Tier and is enum segue.v1.PriceModel"],
        ),
        (
            &[("events", "string placement = 13;", "string place = 13;")],
            &[
                "segue.v1.BeaconRecord.placement = 13: its name was placement and is place",
                "segue.v1.BeaconRecord.placement = 13: its name in JSON was placement and is place",
            ],
        ),
        (
            &[("events", "string placement = 13;", "string placement = 13 [json_name = \"place\"];")],
            &["segue.v1.BeaconRecord.placement = 13: its name in JSON was placement and is place"],
        ),
        (
            &[("events", "string placement = 13;", "repeated string placement = 13;")],
            &["segue.v1.BeaconRecord.placement = 13: its cardinality was single and is repeated"],
        ),
        (
            &[("events", "optional uint32 played_ms = 22;", "uint32 played_ms = 22;")],
            &["segue.v1.BeaconRecord.played_ms = 22: its presence was optional and is implicit"],
        ),
        (
            &[
                ("events", "    BeaconRecord beacon = 18;\n", ""),
                ("events", "  reserved 8;\n", "  reserved 8;\n  BeaconRecord beacon = 18;\n"),
            ],
            &["segue.v1.Envelope.beacon = 18: its oneof was body and is none"],
        ),
        (
            &[
                ("common", "  uint32 number = 3;\n", ""),
                ("common", "    bytes decision_id = 2;\n", "    bytes decision_id = 2;\n    uint32 number = 3;\n"),
            ],
            &["segue.v1.ImpressionId.number = 3: its oneof was none and is owner"],
        ),
        (
            &[("common", "oneof owner {", "oneof holder {")],
            &[
                "segue.v1.ImpressionId.lease_id = 1: its oneof was owner and is holder",
                "segue.v1.ImpressionId.decision_id = 2: its oneof was owner and is holder",
            ],
        ),
        (&[("events", "  reserved 8;\n", "")], &["segue.v1.Envelope: the number 8 is no longer reserved"]),
        (
            &[("events", "  reserved 8;\n", "  string producer = 8;\n")],
            &["segue.v1.Envelope.producer takes the reserved number 8"],
        ),
    ];
    for (edits, expected) in cases {
        assert_eq!(judge(edits), *expected, "{edits:?}");
    }
}

#[test]
fn every_change_of_a_type_that_breaks_is_refused_by_its_name_and_the_reason() {
    const LIMIT_WINDOW: &str = "enum LimitWindow {
  // The whole life.
  LIMIT_WINDOW_UNSPECIFIED = 0;
  // The lease's day at that level: the advertiser's day for advertiser and campaign, the line item's for the line item.
  LIMIT_WINDOW_DAY = 1;
}
";
    let cases: &[(&[Edit], &[&str])] = &[
        (
            &[
                ("events", "message Settlement {", "message Settled {"),
                ("events", "Settlement settlement = 2;", "Settled settlement = 2;"),
            ],
            &[
                "segue.v1.LedgerEntry.settlement = 2: its type was message segue.v1.Settlement and is message segue.v1.Settled",
                "message segue.v1.Settlement is gone",
            ],
        ),
        (
            &[
                ("events", "enum LimitWindow {", "enum Window {"),
                ("events", "LimitWindow window = 4;", "Window window = 4;"),
            ],
            &[
                "segue.v1.LevelLimit.window = 4: its type was enum segue.v1.LimitWindow and is enum segue.v1.Window",
                "enum segue.v1.LimitWindow is gone",
            ],
        ),
        (
            &[("events", LIMIT_WINDOW, ""), ("common", "// The kind of player.\n", LIMIT_WINDOW)],
            &[
                "enum segue.v1.LimitWindow moved from segue/v1/events.proto to segue/v1/common.proto: generated classes are imported by file",
            ],
        ),
        (
            &[("common", "  TIER_SPONSORSHIP = 1;\n", "")],
            &["segue.v1.Tier.TIER_SPONSORSHIP = 1 is gone: old records hold it"],
        ),
        (
            &[("common", "  TIER_SPONSORSHIP = 1;\n", "  reserved 1;\n  reserved \"TIER_SPONSORSHIP\";\n")],
            &["segue.v1.Tier.TIER_SPONSORSHIP = 1 is gone: old records hold it"],
        ),
        (
            &[("common", "TIER_SPONSORSHIP = 1;", "TIER_SPONSORSHIP = 9;")],
            &["segue.v1.Tier.TIER_SPONSORSHIP = 1 has the number 9 now"],
        ),
        (
            &[("common", "TIER_SPONSORSHIP = 1;", "TIER_SHARE = 1;")],
            &["segue.v1.Tier.TIER_SPONSORSHIP = 1 is now TIER_SHARE"],
        ),
    ];
    for (edits, expected) in cases {
        assert_eq!(judge(edits), *expected, "{edits:?}");
    }
}

#[test]
fn another_package_or_syntax_and_a_file_that_is_gone_are_refused() {
    let files = ["common", "catalog", "decision", "events"];
    let edits = files.map(|file| (file, "package segue.v1;", "package segue.v2;"));
    let found = judge(&edits);
    for file in files {
        assert!(
            found.contains(&format!("segue/v1/{file}.proto: its package was segue.v1 and is segue.v2")),
            "{found:?}"
        );
    }
    assert!(found.contains(&"message segue.v1.BeaconRecord is gone".to_owned()), "{found:?}");

    let mut changed = current();
    changed.file[0].syntax = Some("proto2".to_owned());
    assert_eq!(breaks(&current(), &changed), ["segue/v1/common.proto: its syntax was proto3 and is proto2"]);
    changed.file.remove(0);
    assert!(breaks(&current(), &changed).contains(&"the file segue/v1/common.proto is gone".to_owned()));
}

#[test]
fn what_is_new_or_properly_removed_breaks_nothing() {
    let cases: &[&[Edit]] = &[
        &[("events", "  bytes pseudonym = 12;\n", "  reserved 12;\n  reserved \"pseudonym\";\n")],
        &[("events", "  uint32 schema_version = 7;\n", "  uint32 schema_version = 7;\n  string producer = 9;\n")],
        &[(
            "events",
            "    Checkpoint checkpoint = 24;\n",
            "    Checkpoint checkpoint = 24;\n    Goal promised = 99;\n",
        )],
        &[("common", "  TIER_HOUSE = 4;\n", "  TIER_HOUSE = 4;\n  TIER_TEST = 5;\n")],
        &[("common", "// The kind of player.\n", "message New { string name = 1; }\n// The kind of player.\n")],
        &[("common", "// The kind of player.\n", "// Another comment.\n")],
    ];
    for edits in cases {
        assert_eq!(judge(edits), Vec::<String>::new(), "{edits:?}");
    }
}

/// A name once reserved stays so.
#[test]
fn reserved_names_stay_reserved() {
    let reserve =
        |name: &str| Sources::read().with("events", "  reserved 8;\n", &format!("  reserved 8;\n{name}")).compile();
    let (old, new) = (reserve("  reserved \"producer\";\n"), reserve(""));
    assert_eq!(breaks(&old, &new), ["segue.v1.Envelope: the name producer is no longer reserved"]);
}
