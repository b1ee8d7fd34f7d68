//! An agent with settings of the test's own.
//!
//! Those of a [`System`] are set up to deliver to loopback receivers and for nothing
//! else; what an operator can say to an agent beyond that is said here.

use std::{fs, process::Command};

use tempfile::TempDir;

use crate::{
    process::{Process, binary},
    system::System,
};

/// A running agent of the tenant's default pool, killed on drop.
pub struct Agent {
    /// Its process.
    pub process: Process,
    /// Its state, and whatever files its settings name.
    _folder: TempDir,
}

impl Agent {
    /// Starts an agent that dials the first replica without TLS; it logs at its
    /// default level and has an identity of its own. `settings` is what else its
    /// file says, in TOML: keys first, then sections.
    ///
    /// # Panics
    ///
    /// If the agent's binary is missing.
    #[must_use]
    pub fn start(system: &System, settings: &str) -> Self {
        Self::with_token(system, system.token(), settings)
    }

    /// As `start`, of the pool of another token.
    ///
    /// # Panics
    ///
    /// If the agent's binary is missing.
    #[must_use]
    pub fn with_token(system: &System, token: &str, settings: &str) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let config = folder.path().join("agent.toml");
        let text = format!(
            "server = \"http://{}\"\ntoken = \"{token}\"\nstate_dir = \"{}\"\n{settings}",
            system.agents(0),
            folder.path().display(),
        );
        fs::write(&config, text).expect("the configuration can be written");
        let mut command = Command::new(binary("sidehook-agent"));
        command.env_clear().arg("--config").arg(config);
        let process = Process::start(command, &folder.path().join("agent.log"));
        Self {
            process,
            _folder: folder,
        }
    }
}
