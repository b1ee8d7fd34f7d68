//! Redis scripts say what they take and give, and run in Redis Cluster.
//!
//! A script opens with `#!lua`, alone or with `flags=…`: the header is what makes
//! Redis check memory, cluster slots and writes before it starts, so its absence
//! means something and is never right here. A comment block follows at once and
//! names `KEYS`, `ARGV` and what it `Returns`.
//!
//! A fragment that other scripts are put together from cannot have that header.
//! It opens with `-- library:` and what it provides.

use crate::repository::Repository;
use crate::violation::Violation;

/// Where the scripts are.
const SCRIPTS: &str = "crates/redis/src/scripts/";
/// Flags that Redis knows and that keep a script inside one partition's slot.
const FLAGS: &[&str] = &["no-writes", "allow-oom", "allow-stale"];

/// Checks the header of every script.
pub(super) fn check(repository: &Repository) -> Vec<Violation> {
    repository
        .files
        .iter()
        .filter(|file| file.path.starts_with(SCRIPTS) && file.path.ends_with(".lua"))
        .flat_map(|file| {
            check_script(&file.text)
                .into_iter()
                .map(|(line, what)| Violation::new(&file.path, line, what))
        })
        .collect()
}

fn check_script(text: &str) -> Vec<(usize, String)> {
    let first = text.lines().next().unwrap_or_default();
    if let Some(provides) = first.strip_prefix("-- library:") {
        if provides.trim().is_empty() {
            return vec![(
                1,
                "say what the library provides after `-- library:`".to_owned(),
            )];
        }
        return Vec::new();
    }
    let Some(header) = first.strip_prefix("#!lua") else {
        return vec![(
            1,
            "no header; open with `#!lua` (and `flags=…`), or `-- library:` for a fragment"
                .to_owned(),
        )];
    };
    let mut found = Vec::new();
    if let Some(problem) = header_problem(header.trim()) {
        found.push((1, problem));
    }
    let comment: Vec<_> = text
        .lines()
        .skip(1)
        .take_while(|line| line.starts_with("--"))
        .collect();
    let comment = comment.join("\n");
    for (word, meaning) in [
        ("KEYS", "its keys"),
        ("ARGV", "its arguments"),
        ("RETURNS", "its result"),
    ] {
        if !comment.to_uppercase().contains(word) {
            found.push((
                2,
                format!(
                    "the comment below the header does not tell {meaning}; add a line with {word}"
                ),
            ));
        }
    }
    found
}

fn header_problem(header: &str) -> Option<String> {
    if header.is_empty() {
        return None;
    }
    let Some(flags) = header.strip_prefix("flags=") else {
        return Some(format!(
            "`{header}` is no header of ours; write `flags=` and flags with commas"
        ));
    };
    let unknown = flags
        .split(',')
        .find(|flag| !flag.is_empty() && !FLAGS.contains(flag))?;
    Some(format!(
        "flag `{unknown}` is not allowed; a script may have {}",
        FLAGS.join(", ")
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMMENT: &str = "-- KEYS[1]  state\n-- ARGV[1]  now\n-- Returns nothing.\n";

    #[test]
    fn a_header_with_or_without_flags_passes() {
        for header in [
            "#!lua",
            "#!lua flags=",
            "#!lua flags=allow-oom",
            "#!lua flags=no-writes,allow-stale",
        ] {
            assert_eq!(check_script(&format!("{header}\n{COMMENT}return 1\n")), []);
        }
    }

    #[test]
    fn a_missing_header_a_stranger_and_an_unsafe_flag_fail() {
        for header in [
            "-- claim",
            "#!lua name=x",
            "#!lua flags=no-cluster",
            "#!lua flags=allow-cross-slot-keys",
        ] {
            let found = check_script(&format!("{header}\n{COMMENT}"));
            assert_eq!(found.len(), 1, "{header}");
            assert_eq!(found[0].0, 1);
        }
    }

    #[test]
    fn the_comment_tells_keys_arguments_and_result() {
        let found = check_script("#!lua\n-- KEYS: none\n\n-- ARGV: too late\nreturn 1\n");
        assert_eq!(found.len(), 2, "{found:?}");
    }

    #[test]
    fn a_library_says_what_it_provides() {
        assert_eq!(
            check_script("-- library: packing of runs\nlocal x = 1\n"),
            []
        );
        assert_eq!(check_script("-- library:\n").len(), 1);
    }
}
