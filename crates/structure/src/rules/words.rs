//! Words that tie the project to one machine or one network: paths of the machine
//! that somebody worked on, and hosts of package registries. Whoever builds has
//! paths and mirrors of their own.

use crate::repository::Repository;
use crate::violation::Violation;

/// Written in two parts, so that this file does not break its own rule.
const MACHINE_PATHS: &[(&str, &str)] = &[("/wo", "rk/"), ("/ro", "ot/"), ("/tmp", "/t-")];
const REGISTRY_HOSTS: &[(&str, &str)] = &[
    ("crates", ".io"),
    ("pypi", ".org"),
    ("pythonhosted", ".org"),
    ("npmjs", ".org"),
    ("npmjs", ".com"),
    ("repo.maven", ".apache.org"),
    ("repo1.maven", ".org"),
    ("proxy.golang", ".org"),
    ("sum.golang", ".org"),
    ("deb.debian", ".org"),
];
/// Cargo writes its registry's name into this one.
const EXEMPT: &[&str] = &["Cargo.lock"];

/// Checks every text file.
pub(super) fn check(repository: &Repository) -> Vec<Violation> {
    let mut found = Vec::new();
    for file in repository
        .files
        .iter()
        .filter(|file| !EXEMPT.contains(&&*file.path))
    {
        for (index, line) in file.text.lines().enumerate() {
            if let Some(what) = problem(line) {
                found.push(Violation::new(&file.path, index + 1, what));
            }
        }
    }
    found
}

fn problem(line: &str) -> Option<String> {
    let path = MACHINE_PATHS
        .iter()
        .map(|(a, b)| format!("{a}{b}"))
        .find(|path| has_path(line, path));
    if let Some(path) = path {
        return Some(format!(
            "`{path}` is a path of one machine; say it relative to the project"
        ));
    }
    let host = REGISTRY_HOSTS
        .iter()
        .map(|(a, b)| format!("{a}{b}"))
        .find(|host| line.contains(host))?;
    Some(format!(
        "`{host}` is a registry's host; name the package only"
    ))
}

/// Whether `path` begins somewhere in `line`, and is not the middle of a longer one.
fn has_path(line: &str, path: &str) -> bool {
    let continues = |c: char| c.is_alphanumeric() || "._-~})]>*".contains(c);
    line.match_indices(path)
        .any(|(at, _)| !line[..at].ends_with(continues))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_path_and_a_registry_host_are_found() {
        let path = format!("cd {}{}x", "/wo", "rk/");
        let host = format!("see https://{}{}/x", "pypi", ".org");
        assert!(problem(&path).is_some_and(|what| what.contains("relative")));
        assert!(problem(&host).is_some_and(|what| what.contains("registry")));
    }

    #[test]
    fn the_middle_of_another_path_is_not() {
        for prefix in ["crates", "https://example.com", "..", "${HOME}"] {
            assert_eq!(problem(&format!("{prefix}{}{}x", "/wo", "rk/")), None);
        }
        assert_eq!(problem("a working directory, net/work, work/"), None);
    }
}
