//! Whether a line item suits what plays around the break and who listens. Judged before anything else.

use super::reason::NoFillReason;
use crate::catalog::{LineEntry, ResolvedBreak};
use crate::model::LineItem;

/// What is not advertised to children, in words of a network.
const NOT_FOR_CHILDREN_WORDS: [&str; 8] =
    ["adult", "alcohol", "cannabis", "dating", "gambling", "sexual-health", "tobacco", "weapons"];

/// The same as codes of the IAB Ad Product Taxonomy 2.0, first and last of each branch: adult products, alcohol, cannabis, dating, gambling,
/// sexual health, tobacco, weapons.
const NOT_FOR_CHILDREN_CODES: [(u32, u32); 7] =
    [(1001, 1007), (1049, 1057), (1259, 1261), (1361, 1367), (1519, 1523), (1544, 1550), (1576, 1582)];

/// Whether the line item suits the break; otherwise why not.
pub(super) fn suits(entry: &LineEntry, resolved: &ResolvedBreak) -> Result<(), NoFillReason> {
    let LineItem { avoid, category, .. } = &*entry.line_item;
    if avoid.explicit && resolved.request.facts.explicit == Some(true) {
        return Err(NoFillReason::AvoidsExplicit);
    }
    if shared(&avoid.content_categories, &resolved.request.facts.content_categories).is_some() {
        return Err(NoFillReason::AvoidsContentCategory);
    }
    if shared(&avoid.genres, &resolved.request.facts.genres).is_some() {
        return Err(NoFillReason::AvoidsGenre);
    }
    if resolved.request.child && category.as_deref().is_some_and(is_not_for_children) {
        return Err(NoFillReason::NotForChildren);
    }
    Ok(())
}

/// The first avoided value that is present.
pub(super) fn shared<'a>(avoided: &'a [String], present: &[String]) -> Option<&'a str> {
    avoided.iter().find(|value| present.contains(value)).map(String::as_str)
}

/// Whether a category is one that children must not hear advertised.
fn is_not_for_children(category: &str) -> bool {
    NOT_FOR_CHILDREN_WORDS.iter().any(|word| word.eq_ignore_ascii_case(category))
        || category
            .parse::<u32>()
            .is_ok_and(|code| NOT_FOR_CHILDREN_CODES.iter().any(|&(first, last)| (first..=last).contains(&code)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_what_is_not_for_children() {
        for category in ["alcohol", "Gambling", "1004", "1361", "1582"] {
            assert!(is_not_for_children(category), "{category}");
        }
        for category in ["toys", "1008", "1583", "", "-1", "1004x"] {
            assert!(!is_not_for_children(category), "{category}");
        }
    }
}
