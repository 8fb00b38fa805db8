//! The walls between modules: the core names no outer module, no I/O, no clock and no unseeded randomness; adapters know each other only
//! where a table says so. Read from the source text, less comments, texts and test modules, so that a wall stands where the compiler
//! would let one through.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::repository::{root, rust_files};

/// Pure modules: synchronous, everything passed in.
const CORE: &[&str] = &[
    "model",
    "catalog",
    "targeting",
    "caps",
    "decision",
    "pod",
    "profile",
    "pacing",
    "accounting",
    "tokens",
    "impressions",
    "events",
];

/// Modules that touch the world or know those that do. The core names none of them.
const OUTER: &[&str] = &[
    "http",
    "journal",
    "event_log",
    "store",
    "assets",
    "roles",
    "app",
    "config",
    "cli",
    "sim",
    "demo",
    "workload",
    "telemetry",
    "entropy",
    "clock",
    "ending",
    "background",
];

/// Modules that each face one side of the world, and may know each other only as [`ADAPTER_EDGES`] says.
const ADAPTERS: &[&str] = &["http", "journal", "event_log", "store", "assets", "roles"];

/// Which adapter may name which, and why.
const ADAPTER_EDGES: &[(&str, &str, &str)] = &[
    ("roles", "store", "a role's shell does the I/O of its state machine"),
    ("roles", "event_log", "a role's shell reads and appends events"),
    ("roles", "journal", "the beacon role appends to the money journal"),
    ("http", "roles", "handlers turn requests into a role's inputs"),
    ("http", "store", "reports and the campaign API read their read models"),
    ("http", "assets", "handlers take files in and serve them"),
    ("event_log", "journal", "embedded, the journal is the log"),
];

/// What no core module may name, wherever it stands in a path.
const FOREIGN_CRATES: &[&str] = &["tokio", "actix_web", "fjall", "rdkafka", "scylla", "reqwest", "tracing", "metrics"];
const FOREIGN_STD: &[&str] = &["fs", "net", "env", "process", "thread"];
/// Addresses are values: only sockets are I/O.
const PLAIN_STD_NET: &[&str] = &["IpAddr", "Ipv4Addr", "Ipv6Addr"];
const CLOCK_CALLS: &[(&str, &str)] =
    &[("Instant", "now"), ("SystemTime", "now"), ("Timestamp", "now"), ("Zoned", "now"), ("Uuid", "now_v7")];
const UNSEEDED: &[&str] =
    &["thread_rng", "from_entropy", "from_os_rng", "OsRng", "SysRng", "getrandom", "new_v4", "RandomState"];

/// Lines of a file before its tests that a reader can hold. 400 is the aim; beyond this the test fails, so that growth is noticed.
const FILE_LINES_MAX: usize = 600;

/// Files that may be longer, and why.
const LONG_FILES: &[(&str, &str)] =
    &[("src/http/campaigns/wire.rs", "the documents of the API, one after the other: read as a table, not as code")];

#[test]
fn the_core_is_pure_and_adapters_keep_apart() {
    let mut violations = Vec::new();
    for file in rust_files(&root().join("src")) {
        let text = std::fs::read_to_string(&file).expect("a source file is readable");
        if !is_declared_for_tests(&file) {
            violations.extend(violations_in(&Place::of(&file), &text));
        }
    }
    assert!(violations.is_empty(), "the walls between modules are broken:\n{}", lines(&violations));
}

#[test]
fn files_stay_readable() {
    let mut violations = Vec::new();
    for file in rust_files(&root().join("src")) {
        let name = relative(&file);
        let text = std::fs::read_to_string(&file).expect("a source file is readable");
        let count = text.lines().count();
        let before_tests = text.lines().position(|line| line.trim() == "#[cfg(test)]").unwrap_or(count);
        let excused = LONG_FILES.iter().any(|(excused, _)| *excused == name);
        if before_tests > FILE_LINES_MAX && !excused && !is_test_file(&name) && !is_declared_for_tests(&file) {
            violations.push(format!("{name}: {before_tests} lines before its tests, {FILE_LINES_MAX} at most"));
        }
    }
    assert!(violations.is_empty(), "{}", lines(&violations));
}

/// A module of the package: `src/decision/price.rs` is of folder `decision`, two deep.
struct Place {
    name: String,
    folder: String,
    depth: usize,
}

impl Place {
    fn of(file: &Path) -> Self {
        Self::named(&relative(file))
    }

    fn named(name: &str) -> Self {
        let inside: Vec<&str> = name.trim_start_matches("src/").trim_end_matches(".rs").split('/').collect();
        let is_mod = matches!(inside.last(), Some(&("mod" | "lib" | "main")));
        let depth = if is_mod { inside.len() - 1 } else { inside.len() };
        Self { name: name.to_owned(), folder: inside[0].to_owned(), depth }
    }
}

#[derive(PartialEq, Eq, Debug)]
struct Violation {
    place: String,
    line: usize,
    what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.place, self.line, self.what)
    }
}

fn violations_in(place: &Place, text: &str) -> Vec<Violation> {
    let core = CORE.contains(&place.folder.as_str());
    let adapter = ADAPTERS.contains(&place.folder.as_str());
    if (!core && !adapter) || is_test_file(&place.name) {
        return Vec::new();
    }
    let mut violations = Vec::new();
    for named in paths(&tokens(text)) {
        let reason = if core { core_names(place, &named.segments) } else { adapter_names(place, &named.segments) };
        if let Some(what) = reason {
            violations.push(Violation { place: place.name.clone(), line: named.line, what });
        }
    }
    violations
}

fn core_names(place: &Place, segments: &[String]) -> Option<String> {
    let first = segments.first().map(String::as_str)?;
    let second = segments.get(1).map(String::as_str);
    let third = segments.get(2).map(String::as_str);
    if let Some(module) = own_module(place, segments)
        && OUTER.contains(&module)
    {
        return Some(format!("core module `{}` names the outer module `{module}`", place.folder));
    }
    if FOREIGN_CRATES.contains(&first) && second.is_some() {
        return Some(format!("core module `{}` names `{first}`", place.folder));
    }
    let module_of_std = second.filter(|_| matches!(first, "std" | "core"));
    if let Some(module) = module_of_std.filter(|module| FOREIGN_STD.contains(module))
        && !(module == "net" && third.is_some_and(|name| PLAIN_STD_NET.contains(&name)))
    {
        return Some(format!("core module `{}` names `{first}::{module}`", place.folder));
    }
    let mut pairs = segments.iter().zip(segments.iter().skip(1));
    if let Some((of, call)) = pairs.find(|(of, call)| CLOCK_CALLS.contains(&(of.as_str(), call.as_str()))) {
        return Some(format!("core module `{}` reads a clock: `{of}::{call}`", place.folder));
    }
    let unseeded = segments.iter().find(|segment| UNSEEDED.contains(&segment.as_str()));
    unseeded.map(|name| format!("core module `{}` draws from an unseeded source: `{name}`", place.folder))
}

fn adapter_names(place: &Place, segments: &[String]) -> Option<String> {
    let module = own_module(place, segments)?;
    let known = module == place.folder || !ADAPTERS.contains(&module);
    let allowed = ADAPTER_EDGES.iter().any(|(from, to, _)| *from == place.folder && *to == module);
    (!known && !allowed).then(|| format!("adapter `{}` names the adapter `{module}`", place.folder))
}

/// The top module of the package that a path leads to, if it leads to one.
fn own_module<'p>(place: &Place, segments: &'p [String]) -> Option<&'p str> {
    if matches!(segments.first().map(String::as_str), Some("crate" | "segue")) {
        return segments.get(1).map(String::as_str);
    }
    let supers = segments.iter().take_while(|segment| *segment == "super").count();
    (supers > 0 && supers >= place.depth).then(|| segments.get(supers).map(String::as_str)).flatten()
}

/// A path as the source names it: `std::fs::File`, with groups spread out, and the line of its first segment.
#[derive(PartialEq, Eq, Debug)]
struct NamedPath {
    segments: Vec<String>,
    line: usize,
}

/// All paths of a token stream. `use a::{b, c::d};` makes `a::b` and `a::c::d`.
fn paths(tokens: &[Token]) -> Vec<NamedPath> {
    let mut found = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        if tokens[at].is_name() {
            at = path_from(tokens, at, &[], &mut found);
        } else {
            at += 1;
        }
    }
    found
}

fn path_from(tokens: &[Token], start: usize, prefix: &[String], found: &mut Vec<NamedPath>) -> usize {
    let line = tokens[start].line;
    let mut segments = prefix.to_vec();
    let mut at = start;
    loop {
        segments.push(tokens[at].text.clone());
        let separated = tokens.get(at + 1).is_some_and(|token| token.text == "::");
        let next = tokens.get(at + 2);
        match next {
            Some(next) if separated && next.is_name() => at += 2,
            Some(next) if separated && next.text == "{" => return group_from(tokens, at + 3, &segments, found),
            _ => {
                found.push(NamedPath { segments, line });
                return at + 1;
            }
        }
    }
}

fn group_from(tokens: &[Token], start: usize, prefix: &[String], found: &mut Vec<NamedPath>) -> usize {
    let mut at = start;
    while let Some(token) = tokens.get(at) {
        match token.text.as_str() {
            "}" => return at + 1,
            _ if token.is_name() => at = path_from(tokens, at, prefix, found),
            _ => at += 1,
        }
    }
    at
}

#[derive(PartialEq, Eq, Debug)]
struct Token {
    text: String,
    line: usize,
}

impl Token {
    fn is_name(&self) -> bool {
        self.text.starts_with(|first: char| first.is_alphabetic() || first == '_')
    }
}

/// The source as names, `::` and single characters; without comments, texts, and what stands under `#[cfg(test)] mod`.
fn tokens(text: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut line = 1;
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let (length, kept) = lexeme(rest, first);
        let lexed = &rest[..length];
        if kept {
            tokens.push(Token { text: lexed.to_owned(), line });
        }
        line += lexed.matches('\n').count();
        rest = &rest[length..];
    }
    without_tests(tokens)
}

/// Length in bytes of what the source begins with, and whether it is kept.
fn lexeme(rest: &str, first: char) -> (usize, bool) {
    if rest.starts_with("//") {
        return (rest.find('\n').unwrap_or(rest.len()), false);
    }
    if rest.starts_with("/*") {
        return (rest.find("*/").map_or(rest.len(), |end| end + 2), false);
    }
    if let Some(length) = raw_text(rest) {
        return (length, false);
    }
    match first {
        '"' => (quoted(rest, '"'), false),
        '\'' => char_or_lifetime(rest),
        _ if first.is_alphabetic() || first == '_' => {
            let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
            (end, true)
        }
        ':' if rest.starts_with("::") => (2, true),
        _ => (first.len_utf8(), !first.is_whitespace()),
    }
}

fn raw_text(rest: &str) -> Option<usize> {
    let after = rest.strip_prefix("br").or_else(|| rest.strip_prefix('r'))?;
    let hashes = after.len() - after.trim_start_matches('#').len();
    let body = after[hashes..].strip_prefix('"')?;
    let end = format!("\"{}", "#".repeat(hashes));
    let length = body.find(&end).map_or(body.len(), |found| found + end.len());
    Some(rest.len() - body.len() + length)
}

fn quoted(rest: &str, quote: char) -> usize {
    let mut escaped = false;
    for (index, c) in rest.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if c == quote => return index + 1,
            _ => {}
        }
    }
    rest.len()
}

fn char_or_lifetime(rest: &str) -> (usize, bool) {
    let mut after = rest.chars().skip(1);
    let is_char = match (after.next(), after.next()) {
        (Some('\\'), _) | (Some(_), Some('\'')) => true,
        (_, _) => false,
    };
    if is_char { (quoted(rest, '\''), false) } else { (1, true) }
}

/// Drops `#[cfg(test)] mod name { ... }`: tests read files and clocks as they need.
fn without_tests(tokens: Vec<Token>) -> Vec<Token> {
    const MARK: [&str; 8] = ["#", "[", "cfg", "(", "test", ")", "]", "mod"];
    let texts: Vec<&str> = tokens.iter().map(|token| token.text.as_str()).collect();
    let mut keep = vec![true; tokens.len()];
    let mut at = 0;
    while at < texts.len() {
        if !texts[at..].starts_with(&MARK) {
            at += 1;
            continue;
        }
        let mut depth = 0_usize;
        while at < texts.len() {
            keep[at] = false;
            match texts[at] {
                "{" => depth += 1,
                "}" => depth -= 1,
                _ => {}
            }
            at += 1;
            if depth == 0 && matches!(texts[at - 1], "}" | ";") {
                break;
            }
        }
    }
    tokens.into_iter().zip(keep).filter_map(|(token, kept)| kept.then_some(token)).collect()
}

fn is_test_file(name: &str) -> bool {
    name.ends_with("/tests.rs") || name.ends_with("_tests.rs") || name.contains("/tests/")
}

/// Whether the module above says `#[cfg(test)] mod name;`: the file is then no part of the library.
fn is_declared_for_tests(file: &Path) -> bool {
    let (Some(folder), Some(stem)) = (file.parent(), file.file_stem().and_then(|stem| stem.to_str())) else {
        return false;
    };
    let above = [folder.join("mod.rs"), folder.with_extension("rs")];
    let text: String = above.iter().filter_map(|path| std::fs::read_to_string(path).ok()).collect();
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let declares = |line: &str| line == format!("mod {stem};") || line.ends_with(&format!(" mod {stem};"));
    lines.windows(2).any(|pair| pair[0] == "#[cfg(test)]" && declares(pair[1]))
}

fn relative(file: &Path) -> String {
    let inside: PathBuf = file.strip_prefix(root()).expect("a file of this repository").to_owned();
    inside.to_string_lossy().into_owned()
}

fn lines<T: fmt::Display>(violations: &[T]) -> String {
    violations.iter().map(T::to_string).collect::<Vec<_>>().join("\n")
}

mod canaries {
    //! A wall that can't fall is no wall: each kind of violation, and each thing that only looks like one.

    use super::*;

    fn check(file: &str, source: &str, expected: &[(usize, &str)]) {
        let found = violations_in(&Place::named(file), source);
        let found: Vec<_> = found.iter().map(|violation| (violation.line, violation.what.as_str())).collect();
        assert_eq!(found.len(), expected.len(), "{file}: {source}\n{found:?}");
        for ((line, what), (expected_line, expected_what)) in found.iter().zip(expected) {
            assert_eq!(line, expected_line, "{source}");
            assert!(what.contains(expected_what), "{what} does not say {expected_what}");
        }
    }

    #[test]
    fn the_core_may_not_name_outer_modules() {
        check("src/pod/mod.rs", "use crate::http::Problem;", &[(1, "`http`")]);
        check("src/pod/mod.rs", "\nuse crate::{\n model::Now,\n store::Store};", &[(4, "`store`")]);
        check("src/pod/fill.rs", "use super::super::clock::Clock;", &[(1, "`clock`")]);
        check("src/pod/mod.rs", "fn f() { super::telemetry::count() }", &[(1, "`telemetry`")]);
        check("src/pod/fill.rs", "use super::clock::Slots;", &[]);
        check("src/pod/mod.rs", "use crate::targeting::Expression;", &[]);
    }

    #[test]
    fn the_core_does_no_io_reads_no_clock_and_draws_nothing_unseeded() {
        check("src/caps/mod.rs", "use tokio::sync::Mutex;", &[(1, "`tokio`")]);
        check("src/caps/mod.rs", "use std::{fs, sync::Arc};", &[(1, "`std::fs`")]);
        check("src/caps/mod.rs", "use std::net::TcpStream;", &[(1, "`std::net`")]);
        check("src/caps/mod.rs", "use std::net::{IpAddr, Ipv4Addr};", &[]);
        check("src/caps/mod.rs", "let t = std::time::Instant::now();", &[(1, "`Instant::now`")]);
        check("src/caps/mod.rs", "let r = rand::thread_rng();", &[(1, "`thread_rng`")]);
        check("src/caps/mod.rs", "let r = ChaCha8Rng::from_os_rng();", &[(1, "`from_os_rng`")]);
    }

    #[test]
    fn adapters_know_each_other_only_by_the_table() {
        check("src/store/ledger.rs", "use crate::http::Problem;", &[(1, "adapter `store` names the adapter `http`")]);
        check("src/http/mod.rs", "use crate::roles::Beacon; use crate::journal::Journal;", &[(1, "`journal`")]);
        check("src/roles/mod.rs", "use crate::store::Store; use tokio::sync::mpsc;", &[]);
        check("src/app/mod.rs", "use crate::{http, journal, store};", &[]);
    }

    #[test]
    fn comments_texts_and_tests_are_passed_over() {
        check("src/caps/mod.rs", "// use tokio::x;\n/* crate::http::x */ const A: &str = \"std::fs::x\";", &[]);
        check(
            "src/caps/mod.rs",
            "const A: &str = r#\"std::fs::\"x\"#; fn f<'a>(c: &'a str) { c == '\"' }\nuse std::fs::x;",
            &[(2, "fs")],
        );
        check(
            "src/caps/mod.rs",
            "#[cfg(test)]\nmod tests { use std::fs::read; mod x {} }\nuse std::env::var;",
            &[(3, "env")],
        );
        check("src/caps/oracle_tests.rs", "use std::fs::read;", &[]);
    }
}
