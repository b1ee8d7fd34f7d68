//! The project's own conventions, checked by a program.
//!
//! Code bases rot in one central file and one convenient dependency, and no
//! compiler objects. This check does: it reads `cargo metadata` and the files
//! that git knows (or would add), applies one small rule per module of [`rules`],
//! and prints every violation as `path:line: what, and what would be right`.
//!
//! A rule is a pure function from what was read to violations, tested beside its
//! own code; everything that touches the machine is in [`repository`]. What
//! another tool already checks is absent here: function size and lints (clippy),
//! third-party crates (cargo-deny), protos (buf).
//!
//! Exit code: 0 clean, 1 violations, 2 the repository could not be read.

mod repository;
mod rules;
mod source;
mod violation;

use std::io::{self, Write};
use std::process::ExitCode;

use repository::Repository;

fn main() -> ExitCode {
    match check() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            eprintln!("sidehook-structure: {error}");
            ExitCode::from(2)
        }
    }
}

/// Reads, checks and prints; answers whether the repository is clean.
fn check() -> Result<bool, Box<dyn std::error::Error>> {
    let repository = Repository::read()?;
    let violations = rules::check(&repository);
    let mut out = io::stdout().lock();
    for violation in &violations {
        writeln!(out, "{violation}")?;
    }
    let (packages, files) = (repository.packages.len(), repository.files.len());
    match violations.len() {
        0 => writeln!(
            out,
            "structure: {packages} packages and {files} files keep the rules"
        )?,
        n => writeln!(
            out,
            "structure: {n} violations in {packages} packages and {files} files"
        )?,
    }
    Ok(violations.is_empty())
}
