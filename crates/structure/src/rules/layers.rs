//! Which crate may know which: the walls of the house.
//!
//! The table is complete on purpose. A new crate has no row, fails here, and its
//! author decides where it stands before anything leans on it.

use super::line_of;
use crate::repository::{Dependency, Package, Repository};
use crate::violation::Violation;

/// What a crate may depend on among our own.
enum Allowed {
    /// Exactly these, without their prefix.
    Only(&'static [&'static str]),
    /// Everything but the test and bench crates: the composing binary.
    System,
}

use Allowed::{Only, System};

/// One row per package: its name, and what it may depend on.
const LAYERS: &[(&str, Allowed)] = &[
    // Vocabulary and pure machines.
    ("sidehook-core", Only(&[])),
    ("sidehook-signature", Only(&[])),
    ("sidehook-runtime", Only(&[])),
    ("sidehook-session", Only(&["core"])),
    // Ports and wire types.
    ("sidehook-api", Only(&["core"])),
    ("sidehook-store", Only(&["core"])),
    // Adapters of the store port.
    ("sidehook-redis", Only(&["core", "store"])),
    ("sidehook-embedded", Only(&["core", "store"])),
    // The two programs, and what composes them.
    (
        "sidehook-control",
        Only(&["api", "core", "runtime", "session", "signature", "store"]),
    ),
    ("sidehook-gateway", Only(&["api", "core", "runtime"])),
    (
        "sidehook-agent",
        Only(&["api", "core", "runtime", "session", "signature"]),
    ),
    ("sidehook", System),
    // Around the system: these meet it over the wire.
    ("sidehook-testkit", Only(&["api", "core", "signature"])),
    (
        "sidehook-bench",
        Only(&["api", "core", "redis", "store", "testkit"]),
    ),
    (
        "sidehook-sim",
        Only(&[
            "agent",
            "api",
            "control",
            "core",
            "session",
            "signature",
            "store",
            "testkit",
        ]),
    ),
    ("sidehook-tests", Only(&["api", "testkit"])),
    ("sidehook-structure", Only(&[])),
];

/// Crates that no shipped code may depend on. The test kit is not among them: its
/// receiver is the one that `sidehook demo` delivers to.
const AROUND: &[&str] = &[
    "sidehook-bench",
    "sidehook-sim",
    "sidehook-tests",
    "sidehook-structure",
];

/// Crates without clock, task or wire, and what they must therefore not use.
const PURE: &[&str] = &["sidehook-core", "sidehook-session", "sidehook-signature"];
const IMPURE: &[&str] = &[
    "tokio",
    "tokio-util",
    "prost",
    "tonic",
    "redis",
    "hyper",
    "rand",
    "jiff",
    "uuid",
];

/// Checks every package's dependencies on our own crates, and the pure ones' on others.
pub(super) fn check(repository: &Repository) -> Vec<Violation> {
    repository
        .packages
        .iter()
        .flat_map(|package| check_package(repository, package))
        .collect()
}

fn check_package(repository: &Repository, package: &Package) -> Vec<Violation> {
    let manifest = package.manifest();
    let text = repository.file(&manifest).map_or("", |file| &file.text);
    let Some((_, allowed)) = LAYERS.iter().find(|(name, _)| *name == package.name) else {
        let what = format!(
            "{} has no layer; give it a row in crates/structure/src/rules/layers.rs",
            package.name
        );
        return vec![Violation::new(
            &manifest,
            line_of(text, &package.name),
            what,
        )];
    };
    let at = |dependency: &Dependency| line_of_dependency(text, &dependency.name);
    let mut found = Vec::new();
    for dependency in &package.dependencies {
        if is_ours(&dependency.name) && !permits(allowed, package, dependency) {
            let what = format!(
                "{} must not depend on {}; {}",
                package.name,
                dependency.name,
                advice(allowed)
            );
            found.push(Violation::new(&manifest, at(dependency), what));
        }
        let ordinary = dependency.kind.is_none();
        if ordinary && PURE.contains(&&*package.name) && IMPURE.contains(&&*dependency.name) {
            let what = format!(
                "{} is pure and must not use {}; let the caller pass what it needs",
                package.name, dependency.name
            );
            found.push(Violation::new(&manifest, at(dependency), what));
        }
    }
    found
}

fn is_ours(name: &str) -> bool {
    name == "sidehook" || name.starts_with("sidehook-")
}

fn permits(allowed: &Allowed, package: &Package, dependency: &Dependency) -> bool {
    let is_dev = dependency.kind.as_deref() == Some("dev");
    // The test kit, and a crate's own features, are for anybody's tests.
    if is_dev && (dependency.name == "sidehook-testkit" || dependency.name == package.name) {
        return true;
    }
    match allowed {
        Only(names) => dependency
            .name
            .strip_prefix("sidehook-")
            .is_some_and(|short| names.contains(&short)),
        System => !AROUND.contains(&&*dependency.name),
    }
}

fn advice(allowed: &Allowed) -> String {
    match allowed {
        Only([]) => "it may depend on none of ours".to_owned(),
        Only(names) => format!("of ours it may depend on {}", names.join(", ")),
        System => "the test and bench crates may only be dev-dependencies".to_owned(),
    }
}

fn line_of_dependency(manifest: &str, name: &str) -> usize {
    let declares = |line: &str| {
        line.strip_prefix(name)
            .is_some_and(|rest| rest.starts_with(['.', ' ', '=']))
    };
    manifest
        .lines()
        .position(declares)
        .map_or(1, |index| index + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::repository_of;

    fn violations(name: &str, dependencies: &[(&str, Option<&str>)]) -> Vec<Violation> {
        let mut repository = repository_of(&[(
            "crates/x/Cargo.toml",
            "[dependencies]\nsidehook-redis.workspace = true\n",
        )]);
        repository.packages.push(Package {
            name: name.to_owned(),
            manifest_path: "crates/x/Cargo.toml".into(),
            dependencies: dependencies
                .iter()
                .map(|(name, kind)| Dependency {
                    name: (*name).to_owned(),
                    kind: kind.map(str::to_owned),
                })
                .collect(),
        });
        check(&repository)
    }

    #[test]
    fn the_control_plane_knows_the_port_and_not_the_adapter() {
        assert_eq!(
            violations("sidehook-control", &[("sidehook-store", None)]),
            []
        );
        let found = violations("sidehook-control", &[("sidehook-redis", None)]);
        assert_eq!(found.len(), 1);
        assert_eq!(
            (found[0].path.as_str(), found[0].line),
            ("crates/x/Cargo.toml", 2)
        );
        assert!(
            found[0].what.contains("may depend on api, core"),
            "{}",
            found[0]
        );
    }

    #[test]
    fn the_rule_holds_for_tests_and_build_scripts_but_for_the_test_kit() {
        assert_eq!(
            violations("sidehook-control", &[("sidehook-redis", Some("dev"))]).len(),
            1
        );
        assert_eq!(
            violations("sidehook-core", &[("sidehook-api", Some("build"))]).len(),
            1
        );
        assert_eq!(
            violations("sidehook-core", &[("sidehook-testkit", Some("dev"))]),
            []
        );
        assert_eq!(
            violations("sidehook-core", &[("sidehook-testkit", None)]).len(),
            1
        );
    }

    #[test]
    fn the_binary_composes_everything_that_ships() {
        assert_eq!(
            violations("sidehook", &[("sidehook-redis", None), ("clap", None)]),
            []
        );
        assert_eq!(violations("sidehook", &[("sidehook-bench", None)]).len(), 1);
    }

    #[test]
    fn a_new_crate_needs_a_row() {
        assert_eq!(violations("sidehook-attic", &[]).len(), 1);
    }

    #[test]
    fn a_pure_crate_may_use_tokio_in_tests_only() {
        assert_eq!(violations("sidehook-session", &[("tokio", None)]).len(), 1);
        assert_eq!(
            violations("sidehook-session", &[("tokio", Some("dev"))]),
            []
        );
        assert_eq!(violations("sidehook-control", &[("tokio", None)]), []);
    }
}
