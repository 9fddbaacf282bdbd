//! Flag over environment over file over default, each value with its origin.

use std::collections::BTreeMap;
use std::fmt;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// What kind of value a setting holds: how it may stand in a TOML file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A string.
    Text,
    /// A whole number.
    Integer,
    /// `true` or `false`.
    Switch,
    /// Strings: an array in TOML, separated by commas elsewhere.
    List,
}

/// One setting of a table such as [`SETTINGS`](super::SETTINGS).
#[derive(Debug, Clone, Copy)]
pub struct Setting {
    /// As in the TOML file: `a_b`.
    pub name: &'static str,
    /// What it holds.
    pub kind: Kind,
    /// The default's text, if it has one that does not depend on the machine.
    pub default: Option<&'static str>,
}

impl Setting {
    /// One row of the table.
    pub const fn new(name: &'static str, kind: Kind, default: Option<&'static str>) -> Setting {
        Setting { name, kind, default }
    }

    /// `RINGRAFT_A_B`.
    pub fn variable(&self) -> String {
        format!("RINGRAFT_{}", self.name.to_uppercase())
    }

    /// `--a-b`.
    pub fn flag(&self) -> String {
        format!("--{}", self.name.replace('_', "-"))
    }
}

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// A flag of the command line: its name.
    Flag(String),
    /// A variable of the environment: its name.
    Environment(String),
    /// A settings file.
    File(PathBuf),
    /// Nobody said anything else.
    Default,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Flag(name) => write!(f, "flag {name}"),
            Origin::Environment(name) => write!(f, "environment {name}"),
            Origin::File(path) => write!(f, "file {}", path.display()),
            Origin::Default => f.write_str("default"),
        }
    }
}

/// A setting is unknown, missing, malformed, or contradicts another; the text says which and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SettingsError(String);

impl SettingsError {
    pub(super) fn new(message: impl Into<String>) -> SettingsError {
        SettingsError(message.into())
    }
}

/// The merged layers: for each setting the winning text and its origin.
#[derive(Debug, Clone)]
pub struct Layers {
    settings: &'static [Setting],
    values: BTreeMap<&'static str, (String, Origin)>,
}

impl Layers {
    /// Merges the layers of `settings`. `flags` are (name, text if given); `file` is (path, TOML text).
    ///
    /// Unknown keys of the file are errors. Unknown variables are not: schedulers put variables of their own
    /// under any prefix (`RINGRAFT_SERVICE_HOST`).
    ///
    /// # Errors
    /// The file is not TOML, has an unknown key or a value of the wrong kind.
    pub fn resolve(
        settings: &'static [Setting],
        flags: &[(&'static str, Option<String>)],
        environment: impl Fn(&str) -> Option<String>,
        file: Option<(&Path, &str)>,
    ) -> Result<Layers, SettingsError> {
        let mut file_values = match file {
            Some((path, text)) => read_file(settings, path, text)?,
            None => BTreeMap::new(),
        };
        let mut values = BTreeMap::new();
        for setting in settings {
            let flag =
                flags.iter().find(|(name, _)| *name == setting.name).and_then(|(_, text)| text.clone());
            let variable = setting.variable();
            let value = flag
                .map(|text| (text, Origin::Flag(setting.flag())))
                .or_else(|| environment(&variable).map(|text| (text, Origin::Environment(variable))))
                .or_else(|| file_values.remove(setting.name))
                .or_else(|| setting.default.map(|text| (text.to_owned(), Origin::Default)));
            if let Some(value) = value {
                values.insert(setting.name, value);
            }
        }
        Ok(Layers { settings, values })
    }

    /// The value of `name`, parsed; `None` if no layer gives one.
    ///
    /// # Errors
    /// `parse` refused it: the text names the setting and the layer.
    pub fn optional<T>(
        &self,
        name: &str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Result<Option<T>, SettingsError> {
        let Some((text, origin)) = self.values.get(name) else { return Ok(None) };
        let parsed = parse(text.trim());
        parsed.map(Some).map_err(|why| SettingsError(format!("{name} = {text:?} ({origin}): {why}")))
    }

    /// The value of `name`, parsed.
    ///
    /// # Errors
    /// As [`Layers::optional`]; or no layer gives one.
    pub fn required<T>(
        &self,
        name: &'static str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Result<T, SettingsError> {
        self.optional(name, parse)?.ok_or_else(|| {
            let setting = Setting::new(name, Kind::Text, None);
            let (flag, variable) = (setting.flag(), setting.variable());
            SettingsError(format!(
                "{name} is missing: give {flag}, {variable}, or {name} in the file of --config"
            ))
        })
    }

    /// Where the value of `name` comes from, if there is one.
    pub fn origin(&self, name: &str) -> Option<&Origin> {
        self.values.get(name).map(|(_, origin)| origin)
    }
}

/// A settings file that gives the same result, each value with its origin as a comment.
impl fmt::Display for Layers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for setting in self.settings {
            let name = setting.name;
            match self.values.get(name) {
                Some((text, origin)) => {
                    let line = format!("{name} = {}", toml_value(setting.kind, text));
                    writeln!(f, "{line:<40} # {origin}")?;
                }
                None => writeln!(f, "{:<40} # not set", format!("# {name} ="))?,
            }
        }
        Ok(())
    }
}

fn toml_value(kind: Kind, text: &str) -> String {
    match kind {
        Kind::Integer | Kind::Switch => text.to_owned(),
        Kind::Text => toml::Value::from(text).to_string(),
        Kind::List => toml::Value::from(text.split(',').map(str::trim).collect::<Vec<_>>()).to_string(),
    }
}

type Values = BTreeMap<&'static str, (String, Origin)>;

fn read_file(settings: &'static [Setting], path: &Path, text: &str) -> Result<Values, SettingsError> {
    let shown = path.display();
    let table: toml::Table =
        text.parse().map_err(|error| SettingsError(format!("{shown} is not valid TOML: {error}")))?;
    let mut values = Values::new();
    for (key, value) in table {
        let Some(setting) = settings.iter().find(|setting| setting.name == key) else {
            return Err(unknown_key(settings, path, &key));
        };
        let text = value_text(setting.kind, &value)
            .ok_or_else(|| SettingsError(format!("{shown}: {key} = {value}: {}", expected(setting.kind))))?;
        values.insert(setting.name, (text, Origin::File(path.to_owned())));
    }
    Ok(values)
}

fn value_text(kind: Kind, value: &toml::Value) -> Option<String> {
    match (kind, value) {
        (Kind::Text | Kind::List, toml::Value::String(text)) => Some(text.clone()),
        (Kind::Integer, toml::Value::Integer(number)) => Some(number.to_string()),
        (Kind::Switch, toml::Value::Boolean(on)) => Some(on.to_string()),
        (Kind::List, toml::Value::Array(items)) => {
            let items: Option<Vec<&str>> = items.iter().map(toml::Value::as_str).collect();
            items.map(|items| items.join(","))
        }
        _ => None,
    }
}

fn expected(kind: Kind) -> &'static str {
    match kind {
        Kind::Text => "a string in quotes is wanted here",
        Kind::Integer => "a whole number without quotes is wanted here",
        Kind::Switch => "true or false is wanted here",
        Kind::List => "a string in quotes, or an array of them, is wanted here",
    }
}

fn unknown_key(settings: &[Setting], path: &Path, key: &str) -> SettingsError {
    let mut message = format!("{}: unknown setting {key:?}", path.display());
    let nearest = settings.iter().min_by_key(|setting| edits(setting.name, key));
    match nearest {
        Some(setting) if edits(setting.name, key) <= 2 => {
            write!(message, ": did you mean {}?", setting.name).expect("a String takes any text");
        }
        _ => {
            let names: Vec<&str> = settings.iter().map(|setting| setting.name).collect();
            write!(message, ": known are {}", names.join(", ")).expect("a String takes any text");
        }
    }
    SettingsError(message)
}

/// Levenshtein distance: how many letters to add, drop or change.
fn edits(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, l) in left.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, r) in right.iter().enumerate() {
            let replaced = diagonal + usize::from(l != *r);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[right.len()]
}
