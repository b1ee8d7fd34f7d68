//! Binaries of a version that comes after this one: see the feature `later` in the
//! repository's `build.rs`.

use std::{env, process::Command, sync::OnceLock};

static BUILT: OnceLock<()> = OnceLock::new();

/// Builds `sidehook-later` and `sidehook-agent-later` beside the binaries of this
/// version, if they are not there yet: with the same features of everything else, so
/// that only what knows the protos is compiled once more.
///
/// # Panics
///
/// If they cannot be built.
pub fn build_later() {
    BUILT.get_or_init(|| {
        let test = env::current_exe().expect("a test knows its path");
        // The test is TARGET/PROFILE/deps/NAME.
        let mut folders = test.ancestors().skip(2);
        let profile = folders.next().and_then(|folder| folder.file_name());
        let target = folders.next().expect("a test lies in a target directory");
        let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut command = Command::new(cargo);
        command.args(["build", "--quiet", "--workspace", "--target-dir"]);
        command.arg(target);
        command.args(["--bin", "sidehook-later", "--bin", "sidehook-agent-later"]);
        command.args(["--features", "sidehook/later,sidehook-agent/later"]);
        if profile.is_some_and(|name| name == "release") {
            command.arg("--release");
        }
        let built = command.status().expect("cargo can be run");
        assert!(built.success(), "the later version is not built");
    });
}
