//! Mending the append-only file of a server that is not running, as an operator does
//! after a power loss, with Redis' own tool.

use std::{
    fs,
    io::Write as _,
    path::Path,
    process::{Command, Stdio},
};

use super::RedisServer;

/// What the tool says when it has cut something off.
const CUT: &str = "Successfully truncated";

impl RedisServer {
    /// Cuts off the end of its file where it is torn, as far back as a transaction
    /// begins; whether anything was. Redis itself, unless `aof-load-truncated no` has it
    /// refuse, cuts off the last command alone, and leaves of a script whose end is
    /// missing its beginning, which is executed at the next start if another script has
    /// ended since.
    ///
    /// # Panics
    ///
    /// If redis-check-aof is not installed, or the file cannot be mended.
    #[must_use]
    pub fn mend(&self) -> bool {
        let folder = self.home.data().join("appendonlydir");
        let manifest = folder.join("appendonly.aof.manifest");
        let (is_whole, said) = fix(&manifest);
        if is_whole {
            return said.contains(CUT);
        }
        // When Redis has just begun to rewrite, the file before the last may not be
        // synced yet. The tool leaves that to the operator: what comes after the tear
        // goes, too.
        assert!(said.contains("it is not the last file"), "{said}");
        let files = fs::read_to_string(&manifest).expect("there is a manifest");
        let mut kept = String::new();
        for line in files.lines() {
            kept += &format!("{line}\n");
            // file NAME seq NUMBER type KIND
            let mut words = line.split(' ');
            let (name, kind) = (words.nth(1), words.nth(3));
            if kind != Some("i") {
                continue;
            }
            let (is_whole, said) = fix(&folder.join(name.expect("a line names its file")));
            assert!(is_whole, "{said}");
            if said.contains(CUT) {
                break;
            }
        }
        fs::write(&manifest, kept).expect("it can be written");
        let (is_whole, said) = fix(&manifest);
        assert!(is_whole, "{said}");
        true
    }
}

/// Mends a file, or the last of those that a manifest names: whether all is whole now,
/// and what the tool says.
fn fix(file: &Path) -> (bool, String) {
    let mut command = Command::new("redis-check-aof");
    command.arg("--fix").arg(file);
    let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = piped.spawn().expect("redis-check-aof comes with Redis");
    let mut answers = child.stdin.take().expect("it is piped");
    // It asks only where it finds something.
    let _ = answers.write_all(b"y\n");
    drop(answers);
    let ended = child.wait_with_output().expect("it ends");
    let said = String::from_utf8_lossy(&ended.stdout).into_owned();
    (ended.status.success(), said)
}
