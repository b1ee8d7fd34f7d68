//! Where a setting is taken from, and which source wins: see [`Layers::of_process`].

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;

use toml::de::{DeTable, DeValue};
use toml::{Table, Value};

use super::{Problem, Problems, Reader};

/// The layers merged so far, lowest first.
#[derive(Debug, Default)]
pub struct Layers {
    table: Table,
    sources: BTreeMap<String, String>,
    problems: Problems,
}

impl Layers {
    /// No layer yet: every value is its default.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// What a process is told, the weakest first: a TOML file, the variables of its environment that begin with
    /// `prefix` but with none of `ignore`, and the flags that were given. What none of them says has its default.
    #[must_use]
    pub fn of_process<'p>(
        file: Option<&Path>,
        (prefix, ignore): (&str, &[&str]),
        flags: impl IntoIterator<Item = (&'p str, Option<String>)>,
    ) -> Self {
        let layers = match file {
            Some(file) => Self::new().file(file),
            None => Self::new(),
        };
        let given = flags.into_iter();
        let given = given.filter_map(|(path, value)| Some((path, value?)));
        layers.env(prefix, ignore, std::env::vars_os()).flags(given)
    }

    /// Lays the TOML file at `path` over the layers so far.
    #[must_use]
    pub fn file(mut self, path: &Path) -> Self {
        let name = path.display().to_string();
        match std::fs::read_to_string(path) {
            Ok(text) => self.text(&name, &text),
            Err(error) => self.problem(
                "",
                name,
                format!("cannot be read: {error}"),
                "name a readable TOML file",
            ),
        }
        self
    }

    /// Lays the environment variables that begin with `prefix` over the layers so far, except those that begin with
    /// an entry of `ignore` (other programs' prefixes). Pass `std::env::vars_os()`.
    ///
    /// What Kubernetes injects for a service of the same name (`SIDEHOOK_SERVICE_HOST`, `SIDEHOOK_PORT=tcp://…`) is
    /// left out too: a deployment must not fail because somebody named its service as the documentation does.
    #[must_use]
    pub fn env<I>(mut self, prefix: &str, ignore: &[&str], vars: I) -> Self
    where
        I: IntoIterator<Item = (OsString, OsString)>,
    {
        let names = vars
            .into_iter()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value)));
        let own = names.filter(|(name, _)| {
            name.starts_with(prefix) && !ignore.iter().any(|i| name.starts_with(i))
        });
        let sorted: BTreeMap<String, OsString> = own.collect();
        for (name, value) in sorted {
            let rest = &name[prefix.len()..];
            if is_service_link(rest, &value.to_string_lossy()) {
                continue;
            }
            let path = rest.to_ascii_lowercase().replace("__", ".");
            match value.into_string() {
                Ok(value) => self.insert(&path, Value::String(value), name),
                Err(_) => self.problem(&path, name, "is not valid UTF-8", "give text"),
            }
        }
        self
    }

    /// Lays flags over the layers so far: dotted path and value of each one that was given on the command line.
    #[must_use]
    pub fn flags<'p, I>(mut self, flags: I) -> Self
    where
        I: IntoIterator<Item = (&'p str, String)>,
    {
        for (path, value) in flags {
            let name = format!("--{}", path.replace(['.', '_'], "-"));
            self.insert(path, Value::String(value), name);
        }
        self
    }

    /// Reads the whole configuration with `read`, which answers `None` when a required value is missing.
    ///
    /// # Errors
    /// Everything that is wrong in any layer, and every key that `read` did not ask for.
    pub fn read<T>(
        mut self,
        read: impl FnOnce(&mut Reader<'_>) -> Option<T>,
    ) -> Result<T, Problems> {
        let mut reader = Reader::new(
            &self.table,
            String::new(),
            &self.sources,
            &mut self.problems,
        );
        let value = read(&mut reader);
        reader.finish();
        match value {
            Some(value) if self.problems.is_empty() => Ok(value),
            Some(_) => Err(self.problems),
            None => {
                if self.problems.is_empty() {
                    self.problem(
                        "",
                        String::new(),
                        "is incomplete",
                        "see the reference of all settings",
                    );
                }
                Err(self.problems)
            }
        }
    }

    fn text(&mut self, name: &str, text: &str) {
        // The error's own rendering quotes the line, which may hold a secret: only its message and place are used.
        let spanned =
            DeTable::parse(text).map_err(|error| (error.message().to_owned(), error.span()));
        let plain = text
            .parse::<Table>()
            .map_err(|error| (error.message().to_owned(), error.span()));
        match (spanned, plain) {
            (Ok(spanned), Ok(table)) => {
                let mut lines = BTreeMap::new();
                note_lines(spanned.get_ref(), "", text, &mut lines);
                for (path, line) in &lines {
                    self.sources.insert(path.clone(), format!("{name}:{line}"));
                }
                self.merge("", table, &lines, name);
            }
            (Err((message, span)), _) | (_, Err((message, span))) => {
                let line = line_of(text, span.map_or(0, |span| span.start));
                self.problem(
                    "",
                    format!("{name}:{line}"),
                    message,
                    "see https://toml.io for the syntax",
                );
            }
        }
    }

    fn merge(&mut self, prefix: &str, table: Table, lines: &BTreeMap<String, usize>, name: &str) {
        for (key, value) in table {
            let path = format!("{prefix}{key}");
            let source = lines
                .get(&path)
                .map_or_else(|| name.to_owned(), |line| format!("{name}:{line}"));
            match value {
                Value::Table(inner) if !inner.is_empty() => {
                    self.merge(&format!("{path}."), inner, lines, name)
                }
                leaf => self.insert(&path, leaf, source),
            }
        }
    }

    fn insert(&mut self, path: &str, value: Value, source: String) {
        let mut parts: Vec<&str> = path.split('.').collect();
        let last = parts.pop().unwrap_or_default();
        let mut table = &mut self.table;
        for part in parts {
            let next = table
                .entry(part)
                .or_insert_with(|| Value::Table(Table::new()));
            let Value::Table(inner) = next else {
                return self.problem(
                    path,
                    source,
                    format!("{part} is a value, not a section"),
                    "remove one of the two",
                );
            };
            table = inner;
        }
        if value.is_table() && table.get(last).is_some_and(Value::is_table) {
            return;
        }
        table.insert(last.to_owned(), value);
        self.sources.insert(path.to_owned(), source);
    }

    fn problem(
        &mut self,
        path: &str,
        source: String,
        wrong: impl Into<String>,
        right: impl Into<String>,
    ) {
        let source = (!source.is_empty()).then_some(source);
        let (path, wrong, right) = (path.to_owned(), wrong.into(), right.into());
        self.problems.push(Problem {
            path,
            source,
            wrong,
            right,
        });
    }
}

fn is_service_link(rest: &str, value: &str) -> bool {
    let port = rest.starts_with("PORT") || rest.contains("_PORT");
    rest.contains("SERVICE_HOST")
        || rest.contains("SERVICE_PORT")
        || (port && (value.starts_with("tcp://") || value.starts_with("udp://")))
        || (port && (rest.contains("_TCP") || rest.contains("_UDP")))
}

fn line_of(text: &str, offset: usize) -> usize {
    text.bytes()
        .take(offset)
        .filter(|byte| *byte == b'\n')
        .count()
        + 1
}

/// The line of each key, by dotted path.
fn note_lines(table: &DeTable<'_>, prefix: &str, text: &str, lines: &mut BTreeMap<String, usize>) {
    for (key, value) in table {
        let path = format!("{prefix}{}", key.get_ref());
        lines.insert(path.clone(), line_of(text, key.span().start));
        match value.get_ref() {
            DeValue::Table(inner) => note_lines(inner, &format!("{path}."), text, lines),
            DeValue::Array(items) => {
                for (index, item) in items.iter().enumerate() {
                    if let DeValue::Table(inner) = item.get_ref() {
                        note_lines(inner, &format!("{path}[{index}]."), text, lines);
                    }
                }
            }
            _ => {}
        }
    }
}
