//! What is checked: the workspace's packages and the text files that git tracks
//! or would add. The only module that touches the machine.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{fs, io};

use serde::Deserialize;

/// A package of the workspace, as `cargo metadata` tells it.
#[derive(Debug, Deserialize)]
pub(crate) struct Package {
    /// Package name.
    pub(crate) name: String,
    /// Absolute as read; relative to the repository's root in a [`Repository`].
    pub(crate) manifest_path: PathBuf,
    /// Direct dependencies of every kind.
    pub(crate) dependencies: Vec<Dependency>,
}

/// A direct dependency of a package.
#[derive(Debug, Deserialize)]
pub(crate) struct Dependency {
    /// Name of the package depended on.
    pub(crate) name: String,
    /// `None` for an ordinary dependency, else `dev` or `build`.
    pub(crate) kind: Option<String>,
}

impl Package {
    /// Path of its manifest from the repository's root.
    pub(crate) fn manifest(&self) -> String {
        slashed(&self.manifest_path)
    }
}

/// A text file of the repository.
#[derive(Debug)]
pub(crate) struct TextFile {
    /// Path from the repository's root, with `/` between its parts.
    pub(crate) path: String,
    /// The whole file.
    pub(crate) text: String,
}

/// Everything the rules read.
#[derive(Debug)]
pub(crate) struct Repository {
    /// Members of the workspace.
    pub(crate) packages: Vec<Package>,
    /// Tracked and addable files that are UTF-8.
    pub(crate) files: Vec<TextFile>,
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
    workspace_root: PathBuf,
}

impl Repository {
    /// Reads the workspace that holds the current directory.
    ///
    /// # Errors
    /// When cargo or git cannot be run or refuse, or a file cannot be read.
    pub(crate) fn read() -> io::Result<Self> {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let json = output(Command::new(cargo).args([
            "metadata",
            "--format-version=1",
            "--no-deps",
            "--offline",
        ]))?;
        let Metadata {
            mut packages,
            workspace_root,
        } = serde_json::from_slice(&json)?;
        for package in &mut packages {
            if let Ok(relative) = package.manifest_path.strip_prefix(&workspace_root) {
                package.manifest_path = relative.to_owned();
            }
        }
        let files = tracked_files(&workspace_root)?;
        Ok(Self { packages, files })
    }

    /// The file at `path`, if the repository has it.
    pub(crate) fn file(&self, path: &str) -> Option<&TextFile> {
        self.files.iter().find(|file| file.path == path)
    }
}

/// Every regular file that git tracks or would add, unless it is not text or has
/// just been deleted.
fn tracked_files(root: &Path) -> io::Result<Vec<TextFile>> {
    let listed = output(Command::new("git").current_dir(root).args([
        "ls-files",
        "-z",
        "--cached",
        "--others",
        "--exclude-standard",
        "--deduplicate",
    ]))?;
    let mut files = Vec::new();
    for name in listed
        .split(|byte| *byte == 0)
        .filter(|name| !name.is_empty())
    {
        let Ok(name) = std::str::from_utf8(name) else {
            continue;
        };
        let path = root.join(name);
        if !path
            .symlink_metadata()
            .is_ok_and(|metadata| metadata.is_file())
        {
            continue;
        }
        if let Ok(text) = String::from_utf8(fs::read(&path)?) {
            files.push(TextFile {
                path: slashed(Path::new(name)),
                text,
            });
        }
    }
    Ok(files)
}

fn slashed(path: &Path) -> String {
    path.components()
        .map(|part| part.as_os_str().to_string_lossy())
        .collect::<Vec<_>>()
        .join("/")
}

fn output(command: &mut Command) -> io::Result<Vec<u8>> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command
        .output()
        .map_err(|error| io::Error::other(format!("cannot run {program}: {error}")))?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    let stderr = String::from_utf8_lossy(&output.stderr);
    Err(io::Error::other(format!(
        "{program} failed ({}): {}",
        output.status,
        stderr.trim()
    )))
}
