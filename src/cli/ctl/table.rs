//! Documents as tables: a column a field, as wide as what is in it.

use serde_json::Value;

use super::Kind;

/// Widest cell in characters; what is longer ends in an ellipsis.
const CELL_CHARS_MAX: usize = 48;

/// A column: its heading, and the JSON pointer of what is in it.
pub(super) type Column = (&'static str, &'static str);

const NETWORKS: &[Column] =
    &[("ID", "/id"), ("NAME", "/name"), ("CURRENCY", "/currency"), ("FLOOR CPM MICROS", "/floor_cpm_micros")];
const ADVERTISERS: &[Column] = &[
    ("ID", "/id"),
    ("NAME", "/name"),
    ("STATUS", "/status"),
    ("ZONE", "/zone"),
    ("LIFETIME MICROS", "/budget/lifetime_micros"),
];
const CAMPAIGNS: &[Column] = &[
    ("ID", "/id"),
    ("NAME", "/name"),
    ("STATUS", "/status"),
    ("ADVERTISER", "/advertiser_id"),
    ("LIFETIME MICROS", "/budget/lifetime_micros"),
];
const LINE_ITEMS: &[Column] = &[
    ("ID", "/id"),
    ("NAME", "/name"),
    ("STATUS", "/status"),
    ("TIER", "/tier"),
    ("PRICING", "/pricing/model"),
    ("MICROS", "/pricing/amount_micros"),
    ("LIFETIME MICROS", "/budget/lifetime_micros"),
    ("FLIGHT", "/flight/start"),
    ("TO", "/flight/end"),
];
const CREATIVES: &[Column] = &[
    ("ID", "/id"),
    ("NAME", "/name"),
    ("STATUS", "/status"),
    ("APPROVAL", "/approval"),
    ("MS", "/duration_ms"),
    ("ADVERTISER", "/advertiser_id"),
];
const KEYS: &[Column] = &[
    ("ID", "/id"),
    ("NAME", "/name"),
    ("ROLE", "/role"),
    ("ADVERTISER", "/advertiser_id"),
    ("APP", "/app"),
    ("CREATED", "/created_at"),
    ("REVOKED", "/revoked_at"),
];
/// An entity's revisions.
pub(super) const HISTORY: &[Column] =
    &[("REVISION", "/revision"), ("AT", "/at"), ("ACTION", "/action"), ("ROLE", "/role"), ("KEY", "/key_id")];
/// The causes of a diagnosis.
pub(super) const CAUSES: &[Column] = &[
    ("END", "/reason"),
    ("CONDITION", "/predicate"),
    ("SHARE, 1/100 %", "/share_basis_points"),
    ("BREAKS", "/breaks"),
    ("IN WORDS", "/words"),
];
/// The rows of a report.
pub(super) const REPORT: &[Column] = &[
    ("LINE ITEM", "/line_item_id"),
    ("HOUR", "/hour"),
    ("STARTS", "/starts"),
    ("IMPRESSIONS", "/impressions"),
    ("COMPLETES", "/completes"),
    ("CLICKS", "/clicks"),
    ("BILLED", "/billed_impressions"),
    ("BILLED MICROS", "/billed_micros"),
];
/// The register of servers.
pub(super) const SERVERS: &[Column] = &[
    ("SERVER", "/server_id"),
    ("STATE", "/state"),
    ("HEARD", "/heard_at"),
    ("CLOCK AHEAD MS", "/clock_ahead_ms"),
    ("COMPLETE UNTIL", "/complete_until"),
];

/// What is shown of each kind.
pub(super) const fn columns(kind: Kind) -> &'static [Column] {
    match kind {
        Kind::Networks => NETWORKS,
        Kind::Advertisers => ADVERTISERS,
        Kind::Campaigns => CAMPAIGNS,
        Kind::LineItems => LINE_ITEMS,
        Kind::Creatives => CREATIVES,
        Kind::Keys => KEYS,
    }
}

/// The rows of an array. Columns of which no row has anything are left out; numbers stand to the right.
pub(super) fn table(rows: &Value, columns: &[Column]) -> String {
    let rows = rows.as_array().map(Vec::as_slice).unwrap_or_default();
    if rows.is_empty() {
        return "nothing\n".to_owned();
    }
    let shown: Vec<_> =
        columns.iter().filter(|(_, at)| rows.iter().any(|row| row.pointer(at).is_some_and(is_there))).collect();
    let mut lines = vec![String::new(); rows.len() + 1];
    for (number, (heading, at)) in shown.iter().enumerate() {
        let values: Vec<_> = rows.iter().map(|row| row.pointer(at).unwrap_or(&Value::Null)).collect();
        let cells: Vec<_> =
            std::iter::once((*heading).to_owned()).chain(values.iter().map(|value| cell(value))).collect();
        let width = cells.iter().map(|cell| cell.chars().count()).max().unwrap_or_default();
        let is_number = values.iter().all(|value| value.is_number() || !is_there(value));
        for (line, cell) in lines.iter_mut().zip(&cells) {
            let gap = " ".repeat(width - cell.chars().count());
            let before = if number == 0 { "" } else { "  " };
            let parts = if is_number { [before, &gap, cell] } else { [before, cell, &gap] };
            line.extend(parts);
        }
    }
    let ends = lines.iter().flat_map(|line| [line.trim_end(), "\n"]);
    ends.collect()
}

fn is_there(value: &Value) -> bool {
    !value.is_null()
}

/// A value on one line, without what a terminal would act on.
fn cell(value: &Value) -> String {
    let text = match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => value.to_string(),
    };
    let clean = |c: char| if c.is_control() { '\u{fffd}' } else { c };
    let mut kept: String = text.chars().take(CELL_CHARS_MAX).map(clean).collect();
    if text.chars().nth(CELL_CHARS_MAX).is_some() {
        kept.pop();
        kept.push('\u{2026}');
    }
    kept
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn columns_are_as_wide_as_what_is_in_them_and_empty_ones_are_left_out() {
        let rows = json!([
            {"id": "a", "name": "Spring", "duration_ms": 15_000, "approval": "approved"},
            {"id": "bc", "name": "\u{1b}[2J", "duration_ms": 5_000},
        ]);
        let text = table(&rows, CREATIVES);
        assert_eq!(
            text,
            "ID  NAME    APPROVAL     MS\na   Spring  approved  15000\nbc  \u{fffd}[2J               5000\n"
        );
        assert_eq!(table(&json!([]), CREATIVES), "nothing\n");
    }

    #[test]
    fn a_long_cell_is_cut() {
        let rows = json!([{"id": "x".repeat(100)}]);
        let text = table(&rows, CREATIVES);
        assert!(text.lines().all(|line| line.chars().count() <= CELL_CHARS_MAX), "{text}");
        assert!(text.ends_with("\u{2026}\n"), "{text}");
    }
}
