//! Settings as typed: merged from file, environment and flags, each value with the place it came from.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use figment::providers::{Format, Toml};
use figment::value::{Dict, Map, Value};
use figment::{Figment, Metadata, Profile, Provider};

use super::settings::{Kind, SETTINGS, find};

/// Prefix of environment variables. Only names with a double underscore are settings: orchestrators inject others with this prefix.
const ENV_PREFIX: &str = "SEGUE_";

/// Where settings come from, weakest first: defaults, file, environment, flags.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// The configuration file, if there is one.
    pub file: Option<PathBuf>,
    /// Environment variables, as the process has them; others than ours are passed over.
    pub environment: Vec<(String, String)>,
    /// Settings given on the command line: name, value and the flag that said so.
    pub flags: Vec<(String, String, String)>,
}

/// One wrong setting.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Problem {
    /// Its name, `server.listen`; of the file where that can't be read at all.
    pub setting: String,
    /// What is wrong with it.
    pub reason: String,
    /// The file, variable or flag it came from.
    pub source: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} (from {})", self.setting, self.reason, self.source)
    }
}

/// Merged settings, each given out once. What is wrong is collected, so that all of it is told at once.
#[derive(Debug)]
pub(super) struct RawConfig {
    given: BTreeMap<&'static str, Given>,
    problems: Vec<Problem>,
    taken: Vec<&'static str>,
}

#[derive(Debug)]
struct Given {
    text: Text,
    source: String,
}

#[derive(Debug)]
enum Text {
    /// From the environment or a flag: everything is text.
    Bare(String),
    /// From the file: quoted.
    Quoted(String),
    Number(u64),
    /// Something else, as the file writes it.
    Other(String),
}

impl RawConfig {
    /// Merges the sources and finds what no setting is called.
    pub(super) fn merge(sources: &Sources) -> Self {
        let mut raw = Self { given: BTreeMap::new(), problems: Vec::new(), taken: Vec::new() };
        let mut merged = Figment::new();
        if let Some(path) = &sources.file {
            merged = raw.merge_file(merged, path);
        }
        for (variable, value) in &sources.environment {
            if let Some(name) = setting_of_variable(variable) {
                merged = merged.merge(Layer::new(format!("environment variable {variable}"), &name, value));
            } else if let Some(meant) = mistyped_variable(variable) {
                let reason = format!("an environment variable has two underscores between section and key: {meant}");
                raw.problems.push(Problem { setting: variable.clone(), reason, source: "environment".to_owned() });
            }
        }
        for (name, value, flag) in &sources.flags {
            merged = merged.merge(Layer::new(format!("flag {flag}"), name, value));
        }
        raw.keep(&merged);
        raw
    }

    fn merge_file(&mut self, merged: Figment, path: &Path) -> Figment {
        let source = path.display().to_string();
        if !path.is_file() {
            let reason = "there is no such file".to_owned();
            self.problems.push(Problem { setting: "the configuration file".to_owned(), reason, source });
            return merged;
        }
        let toml = Toml::file_exact(path);
        match toml.data() {
            Ok(_) => merged.merge(toml),
            Err(error) => {
                let reason = format!("not TOML: {}", error.kind).replace('\n', " ");
                self.problems.push(Problem { setting: "the configuration file".to_owned(), reason, source });
                merged
            }
        }
    }

    fn keep(&mut self, merged: &Figment) {
        let Ok(all) = merged.extract::<Dict>() else { return };
        let mut leaves = Vec::new();
        collect_leaves("", &all, &mut leaves);
        for name in leaves {
            let source = merged.find_metadata(&name).map_or_else(|| "an unknown place".to_owned(), describe);
            if let (Some(setting), Ok(value)) = (find(&name), merged.find_value(&name)) {
                let from_file = merged.find_metadata(&name).is_some_and(|metadata| metadata.source.is_some());
                self.given.insert(setting.name, Given { text: Text::of(&value, from_file), source });
            } else {
                let reason = "no setting has this name; `segue config example` prints all of them".to_owned();
                self.problems.push(Problem { setting: name, reason, source });
            }
        }
    }

    /// A whole number within its bounds, in the unit that the table names.
    pub(super) fn number(&mut self, name: &'static str) -> u64 {
        let (kind, given) = self.take(name);
        let Kind::Number { default, min, max, .. } = kind else { panic!("{name} is no number in the table") };
        let Some(given) = given else { return default };
        let number = match &given.text {
            Text::Number(number) => Some(*number),
            Text::Bare(text) => text.replace('_', "").parse().ok(),
            Text::Quoted(_) | Text::Other(_) => None,
        };
        match number {
            Some(number) if (min..=max).contains(&number) => number,
            _ => self.refuse(name, &given, &format!("expected a whole number from {min} to {max}"), default),
        }
    }

    /// A number whose bounds fit 32 bits.
    pub(super) fn number_u32(&mut self, name: &'static str) -> u32 {
        u32::try_from(self.number(name)).expect("the bounds in the table fit 32 bits: a test reads each maximum")
    }

    /// A number of things held in memory.
    pub(super) fn number_usize(&mut self, name: &'static str) -> usize {
        usize::try_from(self.number(name)).expect("the bounds in the table fit an address: a test reads each maximum")
    }

    /// An address with a port.
    pub(super) fn address(&mut self, name: &'static str) -> SocketAddr {
        self.parsed(name, |text| {
            text.parse().map_err(|_| "expected an IP address and a port, such as 127.0.0.1:8080".to_owned())
        })
    }

    /// A path that is not empty.
    pub(super) fn path(&mut self, name: &'static str) -> PathBuf {
        self.parsed(
            name,
            |text| {
                if text.is_empty() { Err("expected a path".to_owned()) } else { Ok(PathBuf::from(text)) }
            },
        )
    }

    /// A text, as `parse` understands it. The default must be understood too.
    pub(super) fn parsed<T>(&mut self, name: &'static str, parse: impl Fn(&str) -> Result<T, String>) -> T {
        let (kind, given) = self.take(name);
        let default = match kind {
            Kind::Address { default }
            | Kind::Path { default }
            | Kind::Text { default, .. }
            | Kind::Choice { default, .. } => default,
            Kind::Number { .. } => panic!("{name} is a number in the table"),
        };
        let default_value = || parse(default).expect("the table's defaults are valid: a test loads them");
        let Some(given) = given else { return default_value() };
        let text = match &given.text {
            Text::Bare(text) | Text::Quoted(text) => text.clone(),
            Text::Number(_) | Text::Other(_) => {
                return self.refuse(name, &given, "expected a text in quotes", default_value());
            }
        };
        match parse(&text) {
            Ok(value) => value,
            Err(reason) => self.refuse(name, &given, &reason, default_value()),
        }
    }

    /// One of the table's words.
    pub(super) fn choice(&mut self, name: &'static str) -> &'static str {
        let Some(Kind::Choice { words, .. }) = find(name).map(|setting| setting.kind) else {
            panic!("{name} is no choice in the table")
        };
        self.parsed(name, |text| {
            let word = words.iter().find(|word| **word == text);
            word.copied().ok_or_else(|| format!("expected one of: {}", words.join(", ")))
        })
    }

    /// Adds what only several settings together show.
    pub(super) fn refuse_together(&mut self, setting: &str, reason: String) {
        let source = "this setting together with others".to_owned();
        self.problems.push(Problem { setting: setting.to_owned(), reason, source });
    }

    /// All that was wrong, after everything was read.
    pub(super) fn finish(self) -> Vec<Problem> {
        let unread = SETTINGS.iter().filter(|setting| !self.taken.contains(&setting.name)).map(|setting| setting.name);
        assert_eq!(unread.collect::<Vec<_>>(), Vec::<&str>::new(), "settings that nobody reads");
        self.problems
    }

    fn take(&mut self, name: &'static str) -> (Kind, Option<Given>) {
        let setting = find(name).expect("every setting that is read stands in the table: a test loads the defaults");
        assert!(!self.taken.contains(&name), "{name} is read twice");
        self.taken.push(name);
        (setting.kind, self.given.remove(name))
    }

    fn refuse<T>(&mut self, name: &str, given: &Given, reason: &str, instead: T) -> T {
        let reason = format!("{reason}, found {}", given.text);
        self.problems.push(Problem { setting: name.to_owned(), reason, source: given.source.clone() });
        instead
    }
}

impl Text {
    fn of(value: &Value, from_file: bool) -> Self {
        match value {
            Value::String(_, text) if from_file => Self::Quoted(text.clone()),
            Value::String(_, text) => Self::Bare(text.clone()),
            Value::Num(_, number) => {
                let number =
                    number.to_u128().or_else(|| number.to_i128().and_then(|signed| u128::try_from(signed).ok()));
                match number.and_then(|number| u64::try_from(number).ok()) {
                    Some(number) => Self::Number(number),
                    None => Self::Other("a number out of range".to_owned()),
                }
            }
            Value::Bool(_, truth) => Self::Other(truth.to_string()),
            Value::Char(_, letter) => Self::Quoted(letter.to_string()),
            Value::Empty(..) => Self::Other("nothing".to_owned()),
            Value::Dict(..) => Self::Other("a table".to_owned()),
            Value::Array(..) => Self::Other("a list".to_owned()),
        }
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bare(text) | Self::Quoted(text) => write!(f, "{text:?}"),
            Self::Number(number) => write!(f, "{number}"),
            Self::Other(what) => f.write_str(what),
        }
    }
}

/// One value from a variable or a flag.
struct Layer {
    source: String,
    name: String,
    value: String,
}

impl Layer {
    fn new(source: String, name: &str, value: &str) -> Self {
        Self { source, name: name.to_owned(), value: value.to_owned() }
    }
}

impl Provider for Layer {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.source.clone())
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        let nested = figment::util::nest(&self.name, Value::from(self.value.clone()));
        Ok(nested.into_dict().map(|dict| Profile::Default.collect(dict)).unwrap_or_default())
    }
}

fn describe(metadata: &Metadata) -> String {
    let file = metadata.source.as_ref().and_then(|source| source.file_path());
    file.map_or_else(|| metadata.name.to_string(), |path| format!("file {}", path.display()))
}

fn setting_of_variable(variable: &str) -> Option<String> {
    let (section, key) = variable.strip_prefix(ENV_PREFIX)?.split_once("__")?;
    Some(format!("{}.{}", section.to_ascii_lowercase(), key.to_ascii_lowercase().replace("__", ".")))
}

/// The variable that was probably meant: `SEGUE_SERVER_LISTEN` looks right and would be passed over in silence.
fn mistyped_variable(variable: &str) -> Option<String> {
    let rest = variable.strip_prefix(ENV_PREFIX)?.to_ascii_lowercase();
    let setting = SETTINGS.iter().find(|setting| setting.name.replace('.', "_") == rest)?;
    Some(format!("{ENV_PREFIX}{}", setting.name.replace('.', "__").to_ascii_uppercase()))
}

fn collect_leaves(prefix: &str, dict: &Dict, leaves: &mut Vec<String>) {
    for (key, value) in dict {
        let name = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
        match value {
            Value::Dict(_, inner) if find(&name).is_none() && !inner.is_empty() => collect_leaves(&name, inner, leaves),
            _ => leaves.push(name),
        }
    }
}
