//! Every package takes the workspace's lints: one that forgets the line is
//! checked by nothing and looks clean.

use super::line_of;
use crate::repository::Repository;
use crate::violation::Violation;

/// Checks that each manifest says `[lints] workspace = true`.
pub(super) fn check(repository: &Repository) -> Vec<Violation> {
    let manifests = repository.files.iter().filter(|file| {
        file.path == "Cargo.toml"
            || (file.path.starts_with("crates/") && file.path.ends_with("/Cargo.toml"))
    });
    manifests
        .filter(|manifest| !inherits_lints(&manifest.text))
        .map(|manifest| {
            let line = line_of(&manifest.text, "[lints]");
            Violation::new(
                &manifest.path,
                line,
                "lints are not the workspace's; add `[lints]` with `workspace = true`",
            )
        })
        .collect()
}

fn inherits_lints(manifest: &str) -> bool {
    let Ok(table) = manifest.parse::<toml::Table>() else {
        return false;
    };
    table
        .get("lints")
        .and_then(|lints| lints.get("workspace"))
        .and_then(toml::Value::as_bool)
        == Some(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::repository_of;

    #[test]
    fn a_manifest_takes_the_workspace_lints() {
        let good = "[package]\nname = \"x\"\n[lints]\nworkspace = true\n";
        let bad = "[package]\nname = \"x\"\n\n[lints]\nworkspace = false\n";
        let repository =
            repository_of(&[("crates/a/Cargo.toml", good), ("crates/b/Cargo.toml", bad)]);
        let found = check(&repository);
        assert_eq!(found.len(), 1);
        assert_eq!(
            (found[0].path.as_str(), found[0].line),
            ("crates/b/Cargo.toml", 4)
        );
    }
}
