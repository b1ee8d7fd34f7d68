//! Where in a filter something stands: `extra_filter.filters[2].field`.
//!
//! A chain of borrowed steps on the stack: nothing is built unless something is wrong.

use core::fmt;

/// Bytes of a key that are shown.
const KEY_BYTES: usize = 60;

/// A place in a filter's JSON.
#[derive(Clone, Copy, Debug)]
pub(super) struct Path<'p> {
    above: Option<&'p Self>,
    step: Step<'p>,
}

#[derive(Clone, Copy, Debug)]
enum Step<'p> {
    Key(&'p str),
    Item(usize),
}

impl<'p> Path<'p> {
    /// The filter itself, as its user knows it; may be empty.
    pub(super) const fn root(name: &'p str) -> Self {
        Self {
            above: None,
            step: Step::Key(name),
        }
    }

    /// The member `key` of this.
    pub(super) const fn key(&'p self, key: &'p str) -> Self {
        Self {
            above: Some(self),
            step: Step::Key(key),
        }
    }

    /// The item `index` of this, from 0.
    pub(super) const fn item(&'p self, index: usize) -> Self {
        Self {
            above: Some(self),
            step: Step::Item(index),
        }
    }

    fn is_empty(&self) -> bool {
        self.above.is_none() && matches!(self.step, Step::Key(""))
    }
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(above) = self.above else {
            return match self.step {
                Step::Key(name) => f.write_str(name),
                Step::Item(index) => write!(f, "[{index}]"),
            };
        };
        above.fmt(f)?;
        match self.step {
            Step::Item(index) => write!(f, "[{index}]"),
            Step::Key(key) if is_name(key) => {
                let dot = if above.is_empty() { "" } else { "." };
                write!(f, "{dot}{key}")
            }
            Step::Key(key) => {
                let end = key.floor_char_boundary(KEY_BYTES);
                let cut = if end < key.len() { "…" } else { "" };
                write!(f, "[{:?}{cut}]", &key[..end])
            }
        }
    }
}

/// Whether a key reads well between dots.
fn is_name(key: &str) -> bool {
    let of_name = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    (1..=KEY_BYTES).contains(&key.len()) && key.bytes().all(of_name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_those_of_the_json() {
        let root = Path::root("extra_filter");
        let filters = root.key("filters");
        let third = filters.item(2);
        assert_eq!(
            third.key("field").to_string(),
            "extra_filter.filters[2].field"
        );
        let strange = third.key("a.b\n\"");
        assert_eq!(strange.to_string(), r#"extra_filter.filters[2]["a.b\n\""]"#);
        let long = "ä".repeat(100);
        let expected = format!("extra_filter[\"{}\"…]", "ä".repeat(30));
        assert_eq!(root.key(&long).to_string(), expected);
        let nameless = Path::root("");
        assert_eq!(nameless.to_string(), "");
        assert_eq!(nameless.key("filter").to_string(), "filter");
        assert_eq!(
            nameless.key("filter").key("value").to_string(),
            "filter.value"
        );
    }
}
