//! Files stay small enough to hold in the head. Functions are clippy's.

use crate::repository::Repository;
use crate::source;
use crate::violation::Violation;

/// Lines of Rust code in a file, without blank lines, comments and test modules.
const RUST_LINES_MAX: usize = 400;
/// Lines of Lua code in a script, without blank lines and comments: a script holds
/// the whole of Redis while it runs, and a long one decides something that Rust should.
const LUA_LINES_MAX: usize = 150;

/// Checks the size of every .rs and .lua file.
pub(super) fn check(repository: &Repository) -> Vec<Violation> {
    let mut found = Vec::new();
    for file in &repository.files {
        let (lines, max) = if file.path.ends_with(".rs") {
            (source::code_lines(&file.text), RUST_LINES_MAX)
        } else if file.path.ends_with(".lua") {
            (lua_code_lines(&file.text), LUA_LINES_MAX)
        } else {
            continue;
        };
        if lines > max {
            let what = format!(
                "{lines} lines of code; split the file so that each part has at most {max}"
            );
            found.push(Violation::new(&file.path, 1, what));
        }
    }
    found
}

fn lua_code_lines(text: &str) -> usize {
    text.lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with("--"))
        .count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::repository_of;

    #[test]
    fn files_up_to_the_limit_pass_and_one_line_more_fails() {
        let rust = |lines: usize| format!("//! Doc.\n{}", "f();\n".repeat(lines));
        let lua = |lines: usize| format!("-- Doc.\n\n{}", "f()\n".repeat(lines));
        let repository = repository_of(&[
            ("a.rs", &rust(RUST_LINES_MAX)),
            ("b.rs", &rust(RUST_LINES_MAX + 1)),
            ("c.lua", &lua(LUA_LINES_MAX)),
            ("d.lua", &lua(LUA_LINES_MAX + 1)),
            ("e.md", &rust(1000)),
        ]);
        let paths: Vec<_> = check(&repository)
            .into_iter()
            .map(|violation| violation.path)
            .collect();
        assert_eq!(paths, ["b.rs", "d.lua"]);
    }
}
