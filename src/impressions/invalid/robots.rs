//! Known robots, by what they call themselves.
//!
//! A user agent is a robot's when it contains one of the list's words, in any case, and none of its exceptions. The built-in words name
//! what says of itself that it is no listener; HTTP libraries are not among them, since players and stitching servers are built on those.
//! Who has a licensed list puts it into a file; it is added to the built-in one.

use aho_corasick::{AhoCorasick, AhoCorasickBuilder, AhoCorasickKind, MatchKind};

use super::list::{self, ListError};

/// Most words in one list.
pub const ROBOTS_MAX: usize = 20_000;
/// Shortest word in bytes: two letters would match half of all players.
pub const WORD_BYTES_MIN: usize = 3;
/// Longest word in bytes.
pub const WORD_BYTES_MAX: usize = 256;
/// How much of a user agent is looked at, in bytes; players' have some 200.
pub const USER_AGENT_BYTES_MAX: usize = 1_024;

/// The built-in words: what crawlers, monitors and link previews call themselves.
const BUILT_IN: [&str; 21] = [
    "bot",
    "crawl",
    "spider",
    "slurp",
    "scrape",
    "scrapy",
    "headless",
    "phantomjs",
    "selenium",
    "puppeteer",
    "playwright",
    "facebookexternalhit",
    "mediapartners-google",
    "google-read-aloud",
    "bingpreview",
    "linkpreview",
    "pingdom",
    "uptime",
    "statuscake",
    "nagios",
    "archive.org",
];

/// Players' names that hold one of the words: a maker of phones.
const BUILT_IN_EXCEPTIONS: [&str; 1] = ["cubot"];

/// The list of known robots.
#[derive(Clone, Debug)]
pub struct RobotList {
    words: AhoCorasick,
    exceptions: AhoCorasick,
}

impl Default for RobotList {
    /// The built-in list.
    fn default() -> Self {
        Self::of(std::iter::empty())
    }
}

impl RobotList {
    /// The built-in list and that of a file: a word a line, in any case; `!` before it makes it an exception.
    ///
    /// # Errors
    /// [`ListError`] with the line that is too short or too long, or when there are more than [`ROBOTS_MAX`].
    pub fn parse(text: &str) -> Result<Self, ListError> {
        let entries = list::entries(text, ROBOTS_MAX, |entry| {
            let word = entry.strip_prefix('!').unwrap_or(entry).trim();
            if (WORD_BYTES_MIN..=WORD_BYTES_MAX).contains(&word.len()) {
                Ok((word.to_owned(), word.len() < entry.len()))
            } else {
                Err(format!("a word has {WORD_BYTES_MIN} to {WORD_BYTES_MAX} bytes, found {word:?}"))
            }
        })?;
        Ok(Self::of(entries.iter().map(|(word, is_exception)| (word.as_str(), *is_exception))))
    }

    fn of<'a>(more: impl Iterator<Item = (&'a str, bool)>) -> Self {
        let mut words = BUILT_IN.to_vec();
        let mut exceptions = BUILT_IN_EXCEPTIONS.to_vec();
        for (word, is_exception) in more {
            if is_exception { &mut exceptions } else { &mut words }.push(word);
        }
        Self { words: matcher(&words), exceptions: matcher(&exceptions) }
    }

    /// Whether the user agent is a known robot's. An empty one is nobody's.
    #[must_use]
    pub fn knows(&self, user_agent: &str) -> bool {
        let looked_at = &user_agent.as_bytes()[..user_agent.len().min(USER_AGENT_BYTES_MAX)];
        self.words.is_match(looked_at) && !self.exceptions.is_match(looked_at)
    }
}

/// Finds any of the words, in any case, in one pass.
fn matcher(words: &[&str]) -> AhoCorasick {
    AhoCorasickBuilder::new()
        .ascii_case_insensitive(true)
        .match_kind(MatchKind::Standard)
        // The smaller automaton: a list of 20,000 words takes some megabytes, not hundreds.
        .kind(Some(AhoCorasickKind::ContiguousNFA))
        .build(words)
        .expect("20,000 words of 256 bytes are far below the automaton's limit of 2^31 states")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn robots_are_known_and_players_are_not() {
        let list = RobotList::default();
        for robot in [
            "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
            "SomeCrawler/1.0",
            "Mozilla/5.0 HeadlessChrome/120.0",
            "facebookexternalhit/1.1",
            "BOT",
        ] {
            assert!(list.knows(robot), "{robot}");
        }
        for player in [
            "",
            "Segue-Player/8.1 (Android 14; CUBOT KING KONG)",
            "Mozilla/5.0 (iPhone; CPU iPhone OS 17_1 like Mac OS X) AppleWebKit/605.1.15",
            "okhttp/4.12.0",
            "curl/8.5.0",
            "AppleCoreMedia/1.0.0.21B74",
        ] {
            assert!(!list.knows(player), "{player}");
        }
    }

    #[test]
    fn a_file_adds_words_and_exceptions() {
        let list = RobotList::parse("curl/ # nobody listens with it\n!Fine-Bot\n! spiderfm\n").expect("a list");
        assert!(list.knows("Curl/8.5.0") && list.knows("otherbot"));
        assert!(!list.knows("fine-bot/1") && !list.knows("SpiderFM 2"));
        let error = RobotList::parse("curl/\n!a\n").expect_err("too short");
        assert_eq!(error.to_string(), "line 2: a word has 3 to 256 bytes, found \"a\"");
    }

    #[test]
    fn what_stands_far_behind_is_not_looked_at() {
        let list = RobotList::default();
        assert!(list.knows(&format!("{}bot", "x".repeat(USER_AGENT_BYTES_MAX - 3))));
        assert!(!list.knows(&format!("{}bot", "x".repeat(USER_AGENT_BYTES_MAX - 2))));
        // Cut in the middle of a letter of two bytes.
        assert!(!list.knows(&format!("x{}", "ä".repeat(USER_AGENT_BYTES_MAX))));
    }

    fn naive_knows(words: &[String], exceptions: &[String], user_agent: &str) -> bool {
        let lower = user_agent.to_ascii_lowercase();
        let has = |word: &str| lower.contains(&word.to_ascii_lowercase());
        let excepted = exceptions.iter().any(|word| has(word)) || BUILT_IN_EXCEPTIONS.into_iter().any(has);
        (words.iter().any(|word| has(word)) || BUILT_IN.into_iter().any(has)) && !excepted
    }

    proptest! {
        #[test]
        fn the_list_knows_what_a_search_word_by_word_finds(
            words in proptest::collection::vec("[abAB]{3,5}", 0..6), exceptions in proptest::collection::vec("[abAB]{3,5}", 0..3),
            user_agent in "[abAB ]{0,16}(bot|Spider|cubot)?[abAB]{0,6}",
        ) {
            let exempt = exceptions.iter().map(|word| format!("!{word}"));
            let text: Vec<String> = words.iter().cloned().chain(exempt).collect();
            let list = RobotList::parse(&text.join("\n")).expect("a list");
            prop_assert_eq!(list.knows(&user_agent), naive_knows(&words, &exceptions, &user_agent));
        }
    }
}
