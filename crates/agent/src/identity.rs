//! Who this agent is, over its restarts, and which sessions it left behind.
//!
//! Sessions are noted before they begin: an agent that was killed names its last ones as closed when it comes back, and
//! what they held returns to the queues at once instead of when the leases run out.
//!
//! The id lies in a file of the state directory, which is locked for the life of the process: two agents with one
//! identity would settle each other's leases. Without a state directory the id lasts as long as the process; what such
//! an agent held when it died comes back when its leases run out.
//!
//! The control plane derives from this id and the token what the agent is called there, so that nobody can pose as an
//! agent of another token. Its Welcome tells that name, and the log shows it.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek as _, Write as _};
use std::path::{Path, PathBuf};

use sidehook_core::id::AgentId;

const FILE: &str = "agent_id";
/// The sessions that may be open, one number a line.
const SESSIONS_FILE: &str = "sessions";

/// Why the identity cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The directory or file cannot be created, read or written.
    #[error("state_dir: {path}: {source}")]
    File {
        /// The path.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Another process uses it.
    #[error("state_dir: {path} is in use by another agent; give each agent a directory of its own")]
    InUse {
        /// The path.
        path: PathBuf,
    },
    /// The file holds something else.
    #[error(
        "state_dir: {path} does not hold an agent's id (`agt_` and 22 letters and digits); remove it to become a new agent"
    )]
    NotAnId {
        /// The path.
        path: PathBuf,
    },
}

/// The agent's id, and the lock on it.
#[derive(Debug)]
pub(crate) struct Identity {
    pub(crate) id: AgentId,
    /// Sessions of earlier processes that may be open still.
    pub(crate) left_behind: Vec<u64>,
    sessions: Option<PathBuf>,
    _lock: Option<File>,
}

impl Identity {
    /// An id for this process alone.
    pub(crate) fn ephemeral() -> Self {
        Self {
            id: AgentId::from_bits(rand::random()),
            left_behind: Vec::new(),
            sessions: None,
            _lock: None,
        }
    }

    /// The id that `directory` keeps; both are created if they are missing.
    pub(crate) fn kept(directory: &Path) -> Result<Self, IdentityError> {
        let path = directory.join(FILE);
        let failed = |source| IdentityError::File {
            path: path.clone(),
            source,
        };
        fs::create_dir_all(directory).map_err(failed)?;
        let mut options = OpenOptions::new();
        let open = options.read(true).write(true).create(true).truncate(false);
        let mut file = open.open(&path).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(IdentityError::InUse { path }),
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        let mut text = String::new();
        Read::by_ref(&mut file)
            .take(1_024)
            .read_to_string(&mut text)
            .map_err(failed)?;
        let id = match text.trim() {
            // New, or created by a process that died before it wrote.
            "" => {
                let id = AgentId::from_bits(rand::random());
                file.rewind().map_err(failed)?;
                writeln!(file, "{id}").map_err(failed)?;
                file.sync_all().map_err(failed)?;
                id
            }
            text => text
                .parse()
                .map_err(|_| IdentityError::NotAnId { path: path.clone() })?,
        };
        let sessions = directory.join(SESSIONS_FILE);
        let noted = fs::read_to_string(&sessions).unwrap_or_default();
        Ok(Self {
            id,
            left_behind: noted.lines().filter_map(|line| line.parse().ok()).collect(),
            sessions: Some(sessions),
            _lock: Some(file),
        })
    }

    /// Notes the sessions that are open or may be. A note that is lost costs time, not deliveries: so it is not synced,
    /// and a failure is only logged.
    pub(crate) fn note_sessions(&self, sessions: impl Iterator<Item = u64>) {
        let Some(path) = &self.sessions else {
            return;
        };
        let text: String = sessions.map(|session| format!("{session}\n")).collect();
        if let Err(error) = fs::write(path, text) {
            tracing::warn!(path = %path.display(), %error, "the session cannot be noted");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_is_kept_and_belongs_to_one_process() {
        let dir = tempfile::tempdir().expect("a directory");
        let state = dir.path().join("deep/state");
        let first = Identity::kept(&state).expect("created");
        assert!(matches!(
            Identity::kept(&state),
            Err(IdentityError::InUse { .. })
        ));
        let id = first.id;
        assert!(first.left_behind.is_empty());
        first.note_sessions([7, u64::MAX].into_iter());
        drop(first);
        let second = Identity::kept(&state).expect("kept");
        assert_eq!(second.id, id);
        assert_eq!(second.left_behind, [7, u64::MAX]);
        assert_ne!(Identity::ephemeral().id, id);
    }

    #[test]
    fn what_is_not_an_id_is_not_overwritten() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join(FILE);
        fs::write(&path, "something else").expect("written");
        let error = Identity::kept(dir.path()).expect_err("no id");
        assert!(matches!(error, IdentityError::NotAnId { .. }), "{error}");
        assert_eq!(fs::read_to_string(&path).expect("kept"), "something else");
        fs::write(&path, "").expect("written");
        Identity::kept(dir.path()).expect("an empty file is a new one");
    }
}
