//! JSON values that stand in filters: what a field is compared with.
//!
//! Numbers keep the text that they were given in: they are compared exactly (`number.rs`) and shown as their author
//! wrote them. Keys of objects are sorted, and none comes twice: two values for one key are a mistake that somebody
//! should hear of while it can be mended.

use core::fmt;

use serde_json::Value;

use super::{path::Path, scan::Scanner};
use crate::{limits::FILTER_JSON_DEPTH, violation::Violations};

/// A JSON value.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Constant {
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A number, as it was written.
    Number(Box<str>),
    /// A string, without quotes and escapes.
    Text(Box<str>),
    /// A list.
    Array(Vec<Self>),
    /// Members, sorted by their keys, each key once.
    Object(Vec<(Box<str>, Self)>),
}

impl Constant {
    /// Arrays and objects within each other, at most: 0 for what is neither.
    pub(super) fn nesting(&self) -> usize {
        let below = match self {
            Self::Array(items) => items.iter().map(Self::nesting).max(),
            Self::Object(members) => members.iter().map(|(_, value)| value.nesting()).max(),
            _ => return 0,
        };
        1 + below.unwrap_or(0)
    }

    /// What it is, for people.
    pub(super) const fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "a boolean",
            Self::Number(_) => "a number",
            Self::Text(_) => "a string",
            Self::Array(_) => "an array",
            Self::Object(_) => "an object",
        }
    }
}

/// Without blanks.
impl fmt::Display for Constant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("null"),
            Self::Bool(value) => value.fmt(f),
            Self::Number(text) => f.write_str(text),
            Self::Text(text) => Value::from(&**text).fmt(f),
            Self::Array(items) => {
                for (index, item) in items.iter().enumerate() {
                    write!(f, "{}{item}", if index == 0 { '[' } else { ',' })?;
                }
                f.write_str(if items.is_empty() { "[]" } else { "]" })
            }
            Self::Object(members) => {
                for (index, (key, value)) in members.iter().enumerate() {
                    let separator = if index == 0 { '{' } else { ',' };
                    write!(f, "{separator}{}:{value}", Value::from(&**key))?;
                }
                f.write_str(if members.is_empty() { "{}" } else { "}" })
            }
        }
    }
}

/// Reads a value from text that is known to be JSON; `None` if something is wrong with it, which has been noted.
pub(super) fn read(text: &str, path: &Path<'_>, violations: &mut Violations) -> Option<Constant> {
    let mut reader = Reader {
        scanner: Scanner::new(text.as_bytes()),
        violations,
    };
    reader.value(path, FILTER_JSON_DEPTH)
}

struct Reader<'t, 'v> {
    scanner: Scanner<'t>,
    violations: &'v mut Violations,
}

impl Reader<'_, '_> {
    /// `depth` more arrays and objects may lie within each other.
    fn value(&mut self, path: &Path<'_>, depth: usize) -> Option<Constant> {
        match self.scanner.peek().ok()? {
            b'n' => self.word("null", Constant::Null),
            b't' => self.word("true", Constant::Bool(true)),
            b'f' => self.word("false", Constant::Bool(false)),
            b'"' => Some(Constant::Text(self.text(path)?)),
            b'[' | b'{' if depth == 0 => {
                self.violations.add(
                    path.to_string(),
                    "arrays and objects are nested deeper than any filter needs",
                );
                None
            }
            b'[' => self.array(path, depth - 1),
            b'{' => self.object(path, depth - 1),
            _ => {
                let text = self.scanner.number().ok()?;
                Some(Constant::Number(core::str::from_utf8(text).ok()?.into()))
            }
        }
    }

    fn word(&mut self, word: &str, value: Constant) -> Option<Constant> {
        self.scanner.word(word).ok().map(|()| value)
    }

    fn text(&mut self, path: &Path<'_>) -> Option<Box<str>> {
        let text = self.scanner.string().ok()?;
        let text = String::from_utf8(text.into_owned());
        if text.is_err() {
            self.violations.add(
                path.to_string(),
                "half of a surrogate pair is not a character",
            );
        }
        text.ok().map(String::into_boxed_str)
    }

    fn array(&mut self, path: &Path<'_>, depth: usize) -> Option<Constant> {
        self.scanner.expect(b'[').ok()?;
        let mut items = Vec::new();
        let mut first = true;
        while self.scanner.more(&mut first, b']').ok()? {
            items.push(self.value(&path.item(items.len()), depth)?);
        }
        Some(Constant::Array(items))
    }

    fn object(&mut self, path: &Path<'_>, depth: usize) -> Option<Constant> {
        self.scanner.expect(b'{').ok()?;
        let mut members: Vec<(Box<str>, Constant)> = Vec::new();
        let mut first = true;
        while self.scanner.more(&mut first, b'}').ok()? {
            let key = self.text(path)?;
            self.scanner.expect(b':').ok()?;
            let value = self.value(&path.key(&key), depth)?;
            members.push((key, value));
        }
        members.sort_by(|(a, _), (b, _)| a.cmp(b));
        if let Some(twice) = members.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            self.violations
                .add(path.key(&twice[0].0).to_string(), "the key is given twice");
            return None;
        }
        Some(Constant::Object(members))
    }
}
