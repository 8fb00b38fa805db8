//! Normal forms of targeting values: one spelling for one thing, on both sides, so that a line item's `Stockholm` meets a listener's
//! `stockholm`. Used where a value enters: the targeting syntax and the player's request. Each function gives `None` for a text that can't
//! be a value of its kind.

use super::expression::{Attribute, Version};

/// Most characters of a free word (a genre, a playlist, a segment, a key-value).
pub const WORD_MAX_CHARS: usize = 128;

/// A free word: trimmed, lower case, 1 to 128 characters, none of them control characters.
#[must_use]
pub fn word(text: &str) -> Option<String> {
    let word = text.trim().to_lowercase();
    let fits = !word.is_empty() && word.chars().count() <= WORD_MAX_CHARS && !word.chars().any(char::is_control);
    fits.then_some(word)
}

/// An ISO 3166-1 alpha-2 code in lower case. Only the form is checked.
#[must_use]
pub fn country(text: &str) -> Option<String> {
    let code = text.trim().to_ascii_lowercase();
    (code.len() == 2 && code.bytes().all(|byte| byte.is_ascii_lowercase())).then_some(code)
}

/// An ISO 3166-2 code in lower case: country, hyphen, 1 to 3 letters or digits. Only the form is checked.
#[must_use]
pub fn region(text: &str) -> Option<String> {
    let code = text.trim().to_ascii_lowercase();
    let (country_code, subdivision) = code.split_once('-')?;
    country(country_code)?;
    let fits = (1..=3).contains(&subdivision.len()) && subdivision.bytes().all(|byte| byte.is_ascii_alphanumeric());
    fits.then_some(code)
}

/// `country/name`, both in normal form, e.g. `se/stockholm`.
#[must_use]
pub fn city(text: &str) -> Option<String> {
    let (country_code, name) = text.split_once('/')?;
    Some(format!("{}/{}", country(country_code)?, word(name)?))
}

/// `country/code`, lower case and without spaces, e.g. `se/11122`.
#[must_use]
pub fn postal_code(text: &str) -> Option<String> {
    let (country_code, code) = text.split_once('/')?;
    let code: String = code.chars().filter(|letter| !letter.is_whitespace()).collect();
    Some(format!("{}/{}", country(country_code)?, word(&code)?))
}

/// The primary language of a BCP 47 tag: `en-GB` is `en`.
#[must_use]
pub fn language(text: &str) -> Option<String> {
    let tag = text.trim().to_ascii_lowercase();
    let primary = tag.split(['-', '_']).next()?;
    let fits = (2..=8).contains(&primary.len()) && primary.bytes().all(|byte| byte.is_ascii_lowercase());
    fits.then(|| primary.to_owned())
}

/// One of `female`, `male`, `other`.
#[must_use]
pub fn gender(text: &str) -> Option<String> {
    one_of(text, &["female", "male", "other"])
}

/// One of `ios`, `android`, `web`, `desktop`, `tv`, `speaker`, `car`, `console`.
#[must_use]
pub fn platform(text: &str) -> Option<String> {
    one_of(text, &["ios", "android", "web", "desktop", "tv", "speaker", "car", "console"])
}

/// One of `wifi`, `cellular`, `wired`.
#[must_use]
pub fn connection(text: &str) -> Option<String> {
    one_of(text, &["wifi", "cellular", "wired"])
}

/// One of `pre_roll`, `mid_roll`, `post_roll`.
#[must_use]
pub fn break_position(text: &str) -> Option<String> {
    one_of(text, &["pre_roll", "mid_roll", "post_roll"])
}

/// A version of up to four dotted numbers, as it was written.
#[must_use]
pub fn version(text: &str) -> Option<String> {
    let text = text.trim();
    Version::parse(text).map(|_| text.to_owned())
}

/// A key that the network or the player chose (app, placement): as it stands, since keys are exact.
#[must_use]
pub fn key(text: &str) -> Option<String> {
    let fits = (1..=WORD_MAX_CHARS).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
    fits.then(|| text.to_owned())
}

/// The normal form of a value of that attribute.
#[must_use]
pub fn value(attribute: Attribute, text: &str) -> Option<String> {
    match attribute {
        Attribute::Country => country(text),
        Attribute::Region => region(text),
        Attribute::City => city(text),
        Attribute::PostalCode => postal_code(text),
        Attribute::Language => language(text),
        Attribute::Gender => gender(text),
        Attribute::Platform => platform(text),
        Attribute::Connection => connection(text),
        Attribute::BreakPosition => break_position(text),
        Attribute::App | Attribute::Placement => key(text),
        Attribute::DeviceType
        | Attribute::Os
        | Attribute::Genre
        | Attribute::Mood
        | Attribute::Playlist
        | Attribute::Artist
        | Attribute::ContentCategory
        | Attribute::Segment
        | Attribute::TasteGenre
        | Attribute::TasteMood => word(text),
    }
}

/// The text in lower case, if it is one of these.
fn one_of(text: &str, allowed: &[&str]) -> Option<String> {
    let word = text.trim().to_ascii_lowercase();
    allowed.contains(&word.as_str()).then_some(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_spelling_for_one_thing() {
        for (attribute, text, normal) in [
            (Attribute::Country, " SE ", Some("se")),
            (Attribute::Country, "SWE", None),
            (Attribute::Region, "SE-AB", Some("se-ab")),
            (Attribute::Region, "Stockholm", None),
            (Attribute::City, "SE/São Paulo ", Some("se/são paulo")),
            (Attribute::City, "Stockholm", None),
            (Attribute::PostalCode, "SE/111 22", Some("se/11122")),
            (Attribute::Language, "en-GB", Some("en")),
            (Attribute::Language, "e", None),
            (Attribute::Gender, "Female", Some("female")),
            (Attribute::Gender, "yes", None),
            (Attribute::Genre, "Jazz", Some("jazz")),
            (Attribute::Genre, "", None),
            (Attribute::Genre, "a\u{0}b", None),
            (Attribute::Placement, "Music", Some("Music")),
        ] {
            assert_eq!(value(attribute, text).as_deref(), normal, "{attribute:?} {text:?}");
        }
        assert_eq!(word(&"x".repeat(129)), None);
        assert_eq!(version("17.1").as_deref(), Some("17.1"));
    }

    #[test]
    fn normal_forms_are_stable() {
        for (attribute, text) in
            [(Attribute::City, "SE/Stockholm"), (Attribute::Language, "PT-br"), (Attribute::Genre, "ÅÄÖ")]
        {
            let once = value(attribute, text).expect("a value");
            assert_eq!(value(attribute, &once), Some(once.clone()));
        }
    }
}
