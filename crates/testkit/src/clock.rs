//! Another time of day for a process.
//!
//! What a store holds ages: leases run out, retries fall due, events leave the log after
//! 30 days. A store that was kept long ago is read as of the day on which it was made, by
//! a library between the process and its clock (`clock/shim.c`, built here with the
//! machine's C compiler). Durations are not touched.

use std::{
    fs,
    path::PathBuf,
    process::Command,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use tempfile::TempDir;

const SHIM: &str = include_str!("clock/shim.c");

/// A clock that goes as fast as all others and shows another time.
pub struct Clock {
    folder: TempDir,
    shift_s: i64,
}

impl Clock {
    /// A clock that shows this time now, in Unix milliseconds, to the second.
    ///
    /// # Panics
    ///
    /// If there is no C compiler, or no temporary folder.
    #[must_use]
    pub fn showing(unix_ms: i64) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let source = folder.path().join("shim.c");
        fs::write(&source, SHIM).expect("it can be written");
        let mut compiler = Command::new("cc");
        compiler.args(["-shared", "-fPIC", "-O2", "-fvisibility=hidden"]);
        compiler.args(["-Wall", "-Wextra", "-Werror", "-o"]);
        let built = compiler.arg(folder.path().join("shim.so")).arg(&source);
        let built = built.output().expect("a C compiler is installed");
        let said = String::from_utf8_lossy(&built.stderr);
        assert!(built.status.success(), "the shim is not built: {said}");
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = now.unwrap_or(Duration::ZERO).as_secs().cast_signed();
        Self {
            folder,
            shift_s: unix_ms / 1_000 - now,
        }
    }

    /// The variables under which a process has this time.
    #[must_use]
    pub fn variables(&self) -> [(&'static str, PathBuf); 2] {
        [
            ("LD_PRELOAD", self.folder.path().join("shim.so")),
            ("CLOCK_SHIFT_S", self.shift_s.to_string().into()),
        ]
    }
}
