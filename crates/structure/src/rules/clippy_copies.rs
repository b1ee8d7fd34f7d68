//! Clippy reads one clippy.toml and merges none, so a crate that has its own
//! silently loses the root's rules unless it repeats them.

use std::collections::BTreeSet;

use crate::repository::Repository;
use crate::violation::Violation;

/// The file that the copies repeat.
const ROOT: &str = "clippy.toml";
/// The crates that must have a copy, and what the copy adds.
const PURE: &[&str] = &["crates/core", "crates/session", "crates/signature"];
const CLOCKS: &[&str] = &["std::time::SystemTime::now", "std::time::Instant::now"];

/// Checks that every nested clippy.toml holds all of the root's settings, and that
/// the pure crates' ones also refuse the clocks.
pub(super) fn check(repository: &Repository) -> Vec<Violation> {
    let Some(root) = repository.file(ROOT) else {
        return vec![Violation::new(
            ROOT,
            1,
            "missing; clippy's disallowed methods are set here",
        )];
    };
    let wanted = settings(&root.text);
    let mut found = Vec::new();
    for copy in repository
        .files
        .iter()
        .filter(|file| file.path.ends_with("/clippy.toml"))
    {
        let has = settings(&copy.text);
        for setting in wanted.difference(&has) {
            let what = format!(
                "{setting} of the root's clippy.toml is not repeated here; clippy merges nothing"
            );
            found.push(Violation::new(&copy.path, 1, what));
        }
    }
    for krate in PURE {
        let path = format!("{krate}/{ROOT}");
        let has = repository
            .file(&path)
            .map(|file| settings(&file.text))
            .unwrap_or_default();
        for clock in CLOCKS {
            if !has.contains(&format!("disallowed-methods {clock}")) {
                let what = format!("a pure crate has no clock; disallow {clock} here");
                found.push(Violation::new(&path, 1, what));
            }
        }
    }
    found
}

/// Every setting as one comparable line; lists give a line per item, named by its path.
fn settings(text: &str) -> BTreeSet<String> {
    let Ok(table) = text.parse::<toml::Table>() else {
        return BTreeSet::new();
    };
    let mut lines = BTreeSet::new();
    for (key, value) in &table {
        match value.as_array() {
            None => {
                lines.insert(format!("{key} = {value}"));
            }
            Some(items) => lines.extend(items.iter().map(|item| {
                let path = item.get("path").unwrap_or(item);
                format!("{key} {}", path.as_str().unwrap_or_default())
            })),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::repository_of;

    const ROOT_TEXT: &str =
        "limit = 70\ndisallowed-methods = [{ path = \"a::b\", reason = \"no\" }]\n";
    const PURE_TEXT: &str = "limit = 70\ndisallowed-methods = [\"a::b\", \"std::time::SystemTime::now\", \"std::time::Instant::now\"]\n";

    #[test]
    fn complete_copies_pass() {
        let repository = repository_of(&[
            ("clippy.toml", ROOT_TEXT),
            ("crates/core/clippy.toml", PURE_TEXT),
            ("crates/session/clippy.toml", PURE_TEXT),
            ("crates/signature/clippy.toml", PURE_TEXT),
        ]);
        assert_eq!(check(&repository), []);
    }

    #[test]
    fn a_copy_that_lost_a_setting_and_a_missing_copy_fail() {
        let lost = PURE_TEXT
            .replace("limit = 70\n", "")
            .replace("\"a::b\", ", "");
        let repository = repository_of(&[
            ("clippy.toml", ROOT_TEXT),
            ("crates/core/clippy.toml", &lost),
            ("crates/session/clippy.toml", PURE_TEXT),
        ]);
        let found = check(&repository);
        let of = |path: &str| {
            found
                .iter()
                .filter(|violation| violation.path == path)
                .count()
        };
        assert_eq!(of("crates/core/clippy.toml"), 2, "{found:?}");
        assert_eq!(of("crates/session/clippy.toml"), 0, "{found:?}");
        assert_eq!(of("crates/signature/clippy.toml"), 2, "{found:?}");
    }
}
