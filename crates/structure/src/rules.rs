//! The rules, one module each. What they share: the repository in, violations out.

mod clippy_copies;
mod layers;
mod lints;
mod module_docs;
mod scripts;
mod sizes;
mod words;

use crate::repository::Repository;
use crate::violation::Violation;

/// Applies every rule; violations come sorted by place.
pub(crate) fn check(repository: &Repository) -> Vec<Violation> {
    let rules = [
        clippy_copies::check,
        layers::check,
        lints::check,
        module_docs::check,
        scripts::check,
        sizes::check,
        words::check,
    ];
    let mut found: Vec<_> = rules.iter().flat_map(|rule| rule(repository)).collect();
    found.sort();
    found
}

/// The first line of `text` (from 1) in which `needle` stands, else 1.
fn line_of(text: &str, needle: &str) -> usize {
    text.lines()
        .position(|line| line.contains(needle))
        .map_or(1, |index| index + 1)
}

/// Makes a repository of `(path, text)` files for the rules' own tests.
#[cfg(test)]
fn repository_of(files: &[(&str, &str)]) -> Repository {
    let files = files
        .iter()
        .map(|(path, text)| crate::repository::TextFile {
            path: (*path).to_owned(),
            text: (*text).to_owned(),
        })
        .collect();
    Repository {
        packages: Vec::new(),
        files,
    }
}
