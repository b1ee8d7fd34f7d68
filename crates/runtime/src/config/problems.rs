//! What is wrong with a configuration: everything, not only the first thing.

use std::fmt;

/// One error: where, what is wrong, what would be right. Never carries the value of a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The dotted path of the key; empty for the configuration as a whole.
    pub path: String,
    /// Where the value came from (`sidehook.toml:12`, `SIDEHOOK_LOG__LEVEL`, `--log-level`), if it came from anywhere.
    pub source: Option<String>,
    /// What is wrong.
    pub wrong: String,
    /// What would be right.
    pub right: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.path.as_str(), &self.source) {
            ("", None) => {}
            ("", Some(source)) => write!(f, "{source}: ")?,
            (path, None) => write!(f, "{path}: ")?,
            (path, Some(source)) => write!(f, "{path} ({source}): ")?,
        }
        write!(f, "{}; {}", self.wrong, self.right)
    }
}

/// All errors of a configuration, in the order they were found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Problems(Vec<Problem>);

impl Problems {
    /// Adds one.
    pub fn push(&mut self, problem: Problem) {
        self.0.push(problem);
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Each of them.
    pub fn iter(&self) -> impl Iterator<Item = &Problem> {
        self.0.iter()
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = if self.0.len() == 1 { "" } else { "s" };
        write!(f, "{} configuration problem{plural}", self.0.len())?;
        self.0
            .iter()
            .try_for_each(|problem| write!(f, "\n  {problem}"))
    }
}

impl std::error::Error for Problems {}

/// The candidate that `word` was most likely meant to be: few edits away in proportion to its length.
pub(super) fn nearest<'a>(
    word: &str,
    candidates: impl Iterator<Item = &'a str>,
) -> Option<&'a str> {
    let allowed = (word.chars().count() / 3).max(2);
    candidates
        .map(|candidate| (edits(word, candidate), candidate))
        .filter(|(edits, _)| *edits <= allowed)
        .min()
        .map(|(_, candidate)| candidate)
}

/// Levenshtein distance, one row at a time.
fn edits(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_key_is_near() {
        let keys = ["drain_timeout", "listen", "log"];
        assert_eq!(
            nearest("drain_timout", keys.into_iter()),
            Some("drain_timeout")
        );
        assert_eq!(nearest("lsiten", keys.into_iter()), Some("listen"));
        assert_eq!(nearest("redis_url", keys.into_iter()), None);
        assert_eq!(
            (
                edits("kitten", "sitting"),
                edits("", "abc"),
                edits("abc", "")
            ),
            (3, 3, 3)
        );
    }
}
