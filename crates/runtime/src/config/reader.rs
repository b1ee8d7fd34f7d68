//! Reads typed values out of the merged layers and collects what is wrong with them.
//!
//! A reader never stops at an error: it notes the problem and goes on with the default, so that one run reports all
//! of them. What was asked for is what is known; a key that nobody asked for is a problem of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use secrecy::SecretString;
use toml::{Table, Value};

use super::problems::{Problem, Problems, nearest};
use super::setting::Setting;

/// The largest secret read from a file, in bytes.
const MAX_SECRET_BYTES: usize = 64 * 1_024;

/// Reads one section of the configuration.
#[derive(Debug)]
pub struct Reader<'a> {
    table: &'a Table,
    prefix: String,
    known: BTreeSet<String>,
    sources: &'a BTreeMap<String, String>,
    problems: &'a mut Problems,
}

impl<'a> Reader<'a> {
    pub(super) fn new(
        table: &'a Table,
        prefix: String,
        sources: &'a BTreeMap<String, String>,
        problems: &'a mut Problems,
    ) -> Self {
        Self {
            table,
            prefix,
            known: BTreeSet::new(),
            sources,
            problems,
        }
    }

    /// The value of `key`, or `default` if it is absent (or wrong: then the problem is noted).
    pub fn value<T: Setting>(&mut self, key: &str, default: T) -> T {
        self.optional(key).unwrap_or(default)
    }

    /// The value of `key`, which must lie within `range`, or `default`.
    pub fn value_in<T>(&mut self, key: &str, default: T, range: RangeInclusive<T>) -> T
    where
        T: Setting + PartialOrd + Debug,
    {
        let value = self.value(key, default);
        if !range.contains(&value) {
            let right = format!(
                "it must lie between {:?} and {:?}",
                range.start(),
                range.end()
            );
            self.problem(key, format!("{value:?} is out of range"), right);
        }
        value
    }

    /// The value of `key` if it is there.
    pub fn optional<T: Setting>(&mut self, key: &str) -> Option<T> {
        let value = self.raw(key)?;
        let parsed = T::from_value(value);
        if parsed.is_none() {
            let shown = if T::SECRET {
                "the value".to_owned()
            } else {
                show(value)
            };
            self.problem(
                key,
                format!("{shown} is not valid"),
                format!("expected {}", T::RIGHT),
            );
        }
        parsed
    }

    /// The value of `key`; its absence is a problem.
    pub fn required<T: Setting>(&mut self, key: &str) -> Option<T> {
        self.required_as(key, &format!("give {}", T::RIGHT))
    }

    /// As [`Self::required`], with what would be right where its absence is told.
    pub fn required_as<T: Setting>(&mut self, key: &str, right: &str) -> Option<T> {
        if self.raw(key).is_none() {
            self.problem(key, "is missing", right);
            return None;
        }
        self.optional(key)
    }

    /// One of a few words, each standing for a value.
    pub fn choice<T: Clone>(&mut self, key: &str, words: &[(&str, T)], default: T) -> T {
        let Some(value) = self.raw(key) else {
            return default;
        };
        let found = words.iter().find(|(word, _)| value.as_str() == Some(*word));
        if let Some((_, value)) = found {
            return value.clone();
        }
        let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        self.problem(
            key,
            format!("{} is not known", show(value)),
            format!("use one of {}", known.join(", ")),
        );
        default
    }

    /// A secret: the text of `key`, or the contents of the file that `key_file` names (a line end at its end is cut).
    pub fn secret(&mut self, key: &str) -> Option<SecretString> {
        let file_key = format!("{key}_file");
        let inline = self.optional::<SecretString>(key);
        let Some(path) = self.optional::<PathBuf>(&file_key) else {
            return inline;
        };
        if self.table.contains_key(key) {
            let wrong = format!("{0}{key} and {0}{file_key} are both given", self.prefix);
            self.problem(key, wrong, "give one of them");
            return inline;
        }
        match secret_from_file(&path) {
            Ok(secret) => Some(secret),
            Err(wrong) => {
                let wrong = format!("{}: {wrong}", path.display());
                self.problem(
                    &file_key,
                    wrong,
                    "name a readable text file that holds only the secret",
                );
                None
            }
        }
    }

    /// As [`Self::secret`]; its absence is a problem.
    pub fn required_secret(&mut self, key: &str) -> Option<SecretString> {
        let file_key = format!("{key}_file");
        if !self.table.contains_key(key) && !self.table.contains_key(&file_key) {
            let right = format!("give {0}{key} or {0}{file_key}", self.prefix);
            self.problem(key, "is missing", right);
        }
        self.secret(key)
    }

    /// Reads the section `key`; if it is absent, as if it were empty.
    pub fn section<R>(&mut self, key: &str, read: impl FnOnce(&mut Reader<'_>) -> R) -> R {
        let empty = Table::new();
        let table = self.table_at(key).unwrap_or(&empty);
        self.nested(table, key, read)
    }

    /// Reads the section `key` if it is there.
    pub fn optional_section<R>(
        &mut self,
        key: &str,
        read: impl FnOnce(&mut Reader<'_>) -> R,
    ) -> Option<R> {
        let table = self.table_at(key)?;
        Some(self.nested(table, key, read))
    }

    /// Reads each section of the array `[[key]]`.
    pub fn sections<R>(&mut self, key: &str, mut read: impl FnMut(&mut Reader<'_>) -> R) -> Vec<R> {
        let right = format!("write each entry as a section [[{}{key}]]", self.prefix);
        let items = match self.raw(key) {
            None => return Vec::new(),
            Some(Value::Array(items)) => items,
            Some(_) => {
                self.problem(key, "is not a list of sections", right);
                return Vec::new();
            }
        };
        let mut all = Vec::with_capacity(items.len());
        for (index, item) in items.iter().enumerate() {
            let key = format!("{key}[{index}]");
            match item {
                Value::Table(table) => all.push(self.nested(table, &key, &mut read)),
                _ => self.problem(&key, "is not a section", right.clone()),
            }
        }
        all
    }

    /// Notes a problem with `key` that only the caller can see, for instance between two values.
    pub fn problem(&mut self, key: &str, wrong: impl Into<String>, right: impl Into<String>) {
        let path = format!("{}{key}", self.prefix);
        let source = self.sources.get(&path).cloned();
        self.problems.push(Problem {
            path,
            source,
            wrong: wrong.into(),
            right: right.into(),
        });
    }

    /// Notes every key that was not asked for.
    pub(super) fn finish(mut self) {
        let known = std::mem::take(&mut self.known);
        for key in self.table.keys().filter(|key| !known.contains(*key)) {
            let right = match nearest(key, known.iter().map(String::as_str)) {
                Some(near) => format!("did you mean {}{near}?", self.prefix),
                None => format!(
                    "known here: {}",
                    known.iter().cloned().collect::<Vec<_>>().join(", ")
                ),
            };
            self.problem(key, "is not a known key", right);
        }
    }

    fn raw(&mut self, key: &str) -> Option<&'a Value> {
        if !self.known.contains(key) {
            self.known.insert(key.to_owned());
        }
        self.table.get(key)
    }

    fn table_at(&mut self, key: &str) -> Option<&'a Table> {
        let value = self.raw(key)?;
        let table = value.as_table();
        if table.is_none() {
            let right = format!("write it as a section [{}{key}]", self.prefix);
            self.problem(key, "is not a section", right);
        }
        table
    }

    fn nested<R>(
        &mut self,
        table: &Table,
        key: &str,
        read: impl FnOnce(&mut Reader<'_>) -> R,
    ) -> R {
        let prefix = format!("{}{key}.", self.prefix);
        let mut nested = Reader::new(table, prefix, self.sources, self.problems);
        let result = read(&mut nested);
        nested.finish();
        result
    }
}

/// A value as a message shows it: at most 60 characters.
fn show(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(60) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

fn secret_from_file(path: &Path) -> Result<SecretString, String> {
    let size = std::fs::metadata(path)
        .map_err(|error| error.to_string())?
        .len();
    if size > MAX_SECRET_BYTES as u64 {
        return Err(format!("is larger than {MAX_SECRET_BYTES} bytes"));
    }
    let text = std::fs::read_to_string(path).map_err(|error| error.to_string())?;
    SecretString::from_text(text.trim_end_matches(['\r', '\n']))
        .ok_or_else(|| "is empty".to_owned())
}
