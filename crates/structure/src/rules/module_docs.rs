//! Every Rust file opens with a module doc: the tree explains itself.

use crate::repository::Repository;
use crate::violation::Violation;

/// Checks that the first thing in each .rs file, inner attributes aside, is `//!`.
pub(super) fn check(repository: &Repository) -> Vec<Violation> {
    repository
        .files
        .iter()
        .filter(|file| file.path.ends_with(".rs"))
        .filter_map(|file| {
            let line = undocumented_at(&file.text)?;
            Some(Violation::new(
                &file.path,
                line,
                "no module doc; open the file with `//!` and say what it is and why so",
            ))
        })
        .collect()
}

/// The line (from 1) that stands where the module doc should; `None` if the doc does.
fn undocumented_at(text: &str) -> Option<usize> {
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with("#![") || line.starts_with("#!/") {
            continue;
        }
        let doc = line
            .strip_prefix("//!")
            .or_else(|| line.strip_prefix("/*!"));
        return if doc.is_some_and(|words| !words.trim().is_empty()) {
            None
        } else {
            Some(index + 1)
        };
    }
    Some(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_doc_comes_first_or_behind_attributes() {
        assert_eq!(undocumented_at("//! What.\n\nfn f() {}\n"), None);
        assert_eq!(undocumented_at("#![allow(x)]\n\n//! What.\n"), None);
    }

    #[test]
    fn code_comments_and_emptiness_are_no_doc() {
        assert_eq!(undocumented_at("\nuse std::io;\n//! Late.\n"), Some(2));
        assert_eq!(undocumented_at("// Not a doc.\n"), Some(1));
        assert_eq!(undocumented_at("//!\nfn f() {}\n"), Some(1));
        assert_eq!(undocumented_at(""), Some(1));
    }
}
