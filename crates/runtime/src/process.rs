//! The outer shell of a process: from its configuration to its exit code, the same for every long-running command.
//!
//! Exit codes: 0 drained, 1 failed, [`WRONG_CONFIGURATION`], and [`Outcome`](crate::drain::Outcome)'s own for a drain
//! that was cut off. Until logging has started a problem is a plain sentence on standard error; from then on it is
//! logged, so that whoever collects logs sees why a process does not start.

use std::{fmt::Display, io::Write as _, process::ExitCode};

use crate::{
    config::Problems,
    drain,
    logging::{self, LogConfig},
    tasks::{Tasks, block_on},
    tls,
};

/// Exit code for a configuration or a command line that is wrong.
pub const WRONG_CONFIGURATION: u8 = 2;

/// A process, by the name that its messages begin with.
#[derive(Clone, Copy, Debug)]
pub struct Process(pub &'static str);

impl Process {
    /// The configuration, if it is to be run with; else the exit code, after the problems, or for `is_check` that there
    /// are none, have been told.
    ///
    /// # Errors
    /// The exit code to end with.
    pub fn configured<C>(self, config: Result<C, Problems>, is_check: bool) -> Result<C, ExitCode> {
        match config {
            Err(problems) => Err(self.failed(&problems, WRONG_CONFIGURATION)),
            Ok(_) if is_check => {
                // A closed standard output is the reader's choice.
                let _ = writeln!(std::io::stdout(), "the configuration is valid");
                Err(ExitCode::SUCCESS)
            }
            Ok(config) => Ok(config),
        }
    }

    /// Starts logging and the cryptography, and runs `job` on a runtime of its own, with tasks that drain when the
    /// process is told to stop.
    pub fn run<F>(self, log: &LogConfig, job: impl FnOnce(Tasks) -> F) -> ExitCode
    where
        F: Future<Output = Result<ExitCode, String>>,
    {
        let guard = match logging::init(log, None) {
            Ok(guard) => guard,
            Err(error) => return self.failed(&error, WRONG_CONFIGURATION),
        };
        tls::install_crypto_provider();
        let watched = async {
            let tasks = Tasks::new(drain::channel().0);
            tasks.watch_signals().map_err(|error| error.to_string())?;
            job(tasks).await
        };
        let ended = block_on(watched).unwrap_or_else(|error| Err(error.to_string()));
        let code = ended.unwrap_or_else(|error| {
            tracing::error!("{} does not start: {error}", self.0);
            ExitCode::FAILURE
        });
        drop(guard);
        code
    }

    /// Says on standard error what is wrong; answers `code`.
    pub fn failed(self, error: &dyn Display, code: u8) -> ExitCode {
        // A closed standard error leaves the exit code to tell.
        let _ = writeln!(std::io::stderr(), "{}: {error}", self.0);
        ExitCode::from(code)
    }
}
