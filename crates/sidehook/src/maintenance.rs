//! `sidehook store`: looking at a store as a whole, and moving all of it. These
//! commands open the store themselves; no server is asked.

mod copying;
mod file;
mod frames;
mod looking;

use std::{path::PathBuf, process::ExitCode, sync::Arc};

use sidehook_runtime::{
    config::{Layers, Problems},
    tasks::block_on,
    tls,
};
use sidehook_store::Store;

use crate::{PROCESS, client::Output, store, store::StoreConfig};

/// The file that the embedded store makes in its folder.
const EMBEDDED_FILE: &str = "store.redb";

/// Look at a store as a whole, back it up, or move it.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Check that a store does not contradict itself; exits with 1 if it does
    Check(Where),
    /// Show what each tenant has in a store
    Stats {
        #[command(flatten)]
        place: Where,
        /// How to print it
        #[arg(long, value_enum, default_value = "table")]
        output: Output,
    },
    /// Write all of a store to a file; stop the servers first
    Export {
        #[command(flatten)]
        place: Where,
        /// The file, or - for standard output
        file: PathBuf,
    },
    /// Fill an empty store from a file; no server may use it yet
    Import {
        #[command(flatten)]
        place: Where,
        /// The file, or - for standard input
        file: PathBuf,
    },
}

/// Which store: these options, else `SIDEHOOK_STORE__REDIS` and what else of that
/// section the server takes from the environment.
#[derive(Debug, clap::Args)]
struct Where {
    /// Redis that holds the state: redis://HOST:PORT/ or, with TLS, rediss://
    #[arg(long, value_name = "URL")]
    redis: Option<String>,
    /// Folder that holds the state instead
    #[arg(long, value_name = "DIR")]
    embedded: Option<String>,
}

impl Where {
    fn read(self) -> Result<StoreConfig, Problems> {
        // What is given here goes before all of the environment.
        let others: &[&str] = match (&self.redis, &self.embedded) {
            (Some(_), None) => &["SIDEHOOK_STORE__EMBEDDED", "SIDEHOOK_STORE__REDIS_FILE"],
            (None, Some(_)) => &["SIDEHOOK_STORE__REDIS"],
            _ => &[],
        };
        let flags = [("redis", self.redis), ("embedded", self.embedded)];
        let variables = ("SIDEHOOK_STORE__", others);
        Layers::of_process(None, variables, flags).read(StoreConfig::read)
    }
}

/// An open store, and what kind it is.
struct Opened {
    store: Arc<dyn Store>,
    kind: &'static str,
}

/// Opens a store; `is_new` if it may be made.
async fn open(config: StoreConfig, is_new: bool) -> Result<Opened, String> {
    let kind = match &config {
        StoreConfig::Redis { .. } => "redis",
        StoreConfig::Embedded { directory, .. } => {
            if !is_new && !directory.join(EMBEDDED_FILE).exists() {
                return Err(format!("there is no store in {}", directory.display()));
            }
            "embedded"
        }
    };
    let store = config.open(1).await?;
    Ok(Opened { store, kind })
}

/// Runs the subcommand.
pub(crate) fn run(arguments: Arguments) -> ExitCode {
    let (place, job) = match arguments.command {
        Command::Check(place) => (place, Job::Check),
        Command::Stats { place, output } => (place, Job::Stats(output)),
        Command::Export { place, file } => (place, Job::Export(file)),
        Command::Import { place, file } => (place, Job::Import(file)),
    };
    let config = match PROCESS.configured(place.read(), false) {
        Ok(config) => config,
        Err(code) => return code,
    };
    tls::install_crypto_provider();
    let ended = block_on(async {
        let is_new = matches!(job, Job::Import(_));
        let opened = open(config, is_new).await?;
        let done = job.run(&opened).await;
        let closed = store::close(&*opened.store).await;
        let code = done?;
        closed.map(|()| code)
    });
    match ended {
        Ok(Ok(code)) => code,
        Ok(Err(error)) => PROCESS.failed(&error, 1),
        Err(error) => PROCESS.failed(&error, 1),
    }
}

/// What is to be done with the store.
enum Job {
    Check,
    Stats(Output),
    Export(PathBuf),
    Import(PathBuf),
}

impl Job {
    async fn run(self, opened: &Opened) -> Result<ExitCode, String> {
        match self {
            Self::Check => looking::check(&*opened.store).await,
            Self::Stats(output) => looking::stats(&*opened.store, output).await,
            Self::Export(file) => copying::export(opened, &file).await,
            Self::Import(file) => copying::import(opened, &file).await,
        }
    }
}
