//! `sidehook store`: looking at a store as a whole, and moving all of it. These
//! commands open the store themselves; no server is asked.

mod export;
mod file;
mod frames;
mod import;
mod looking;

use std::{
    io::{self, Write as _},
    path::PathBuf,
    process::ExitCode,
    sync::Arc,
};

use sidehook_runtime::{
    config::{Layers, Problems},
    tasks::block_on,
    tls,
};
use sidehook_store::Store;

use crate::{
    PROCESS,
    client::{Failure, Output},
    store,
    store::StoreConfig,
};

/// The file that the embedded store makes in its folder.
const EMBEDDED_FILE: &str = "store.redb";
/// Stands for standard output or input.
const STANDARD: &str = "-";
/// What whoever starts servers on a copy must know.
const SEALED: &str =
    "signing keys are in it as they were sealed: its servers need the same sealing key as before";

/// Look at a store as a whole, back it up, or move it.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Check that a store is undamaged and does not contradict itself; exits with 1 if not
    Check {
        #[command(flatten)]
        place: Where,
        /// Also while servers use this Redis: it answers nobody while one partition, a
        /// 64th of the tenants, is read
        #[arg(long)]
        in_use: bool,
    },
    /// Show what each tenant has in a store; of a Redis also while servers use it
    Stats {
        #[command(flatten)]
        place: Where,
        /// How to print it
        #[arg(long, value_enum, default_value = "table")]
        output: Output,
    },
    /// Write all of a store to a file, for its owner's eyes; stop the servers first
    Export {
        #[command(flatten)]
        place: Where,
        /// The file, or - for standard output
        file: PathBuf,
    },
    /// Make a new embedded store, or fill an empty Redis, from an export
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

/// What is done about an embedded store's pages before it is opened.
enum Pages {
    /// All are read and compared with their checksums.
    Verified,
    /// They are taken as they are.
    Trusted,
}

/// An open store, and what kind it is.
struct Opened {
    store: Arc<dyn Store>,
    kind: &'static str,
}

impl Opened {
    /// Opens a store that is there, or Redis.
    async fn open(config: StoreConfig, pages: Pages) -> Result<Self, Failure> {
        let kind = match &config {
            StoreConfig::Redis { .. } => "redis",
            StoreConfig::Embedded { directory, .. } => {
                if !directory.join(EMBEDDED_FILE).exists() {
                    let place = directory.display();
                    return Err(Failure::new(format!("there is no store in {place}")));
                }
                if matches!(pages, Pages::Verified) {
                    looking::verify(directory)?;
                }
                "embedded"
            }
        };
        let store = config.open(1).await.map_err(Failure::new)?;
        Ok(Self { store, kind })
    }

    /// Refuses to go on beside others.
    async fn is_alone(&self) -> Result<(), Failure> {
        match self.store.others().await.map_err(looking::told)? {
            0 => Ok(()),
            1 => Err(Failure::new("another process uses this store")),
            more => Err(Failure::new(format!(
                "{more} other processes use this store"
            ))),
        }
        .map_err(|failure| failure.hint("stop all servers that use it"))
    }

    /// Closes the store after work that ended so.
    async fn close<T>(self, done: Result<T, Failure>) -> Result<T, Failure> {
        let closed = store::close(&*self.store).await;
        let done = done?;
        closed.map(|()| done).map_err(Failure::new)
    }
}

/// Runs the subcommand.
pub(crate) fn run(arguments: Arguments) -> ExitCode {
    let (place, job) = match arguments.command {
        Command::Check { place, in_use } => (place, Job::Check { in_use }),
        Command::Stats { place, output } => (place, Job::Stats(output)),
        Command::Export { place, file } => (place, Job::Export(file)),
        Command::Import { place, file } => (place, Job::Import(file)),
    };
    let config = match PROCESS.configured(place.read(), false) {
        Ok(config) => config,
        Err(code) => return code,
    };
    tls::install_crypto_provider();
    match block_on(job.run(config)) {
        Ok(Ok(code)) => code,
        Ok(Err(failure)) => PROCESS.failed(&failure, 1),
        Err(error) => PROCESS.failed(&error, 1),
    }
}

/// What is to be done with the store.
enum Job {
    Check { in_use: bool },
    Stats(Output),
    Export(PathBuf),
    Import(PathBuf),
}

impl Job {
    async fn run(self, config: StoreConfig) -> Result<ExitCode, Failure> {
        if let Self::Import(file) = &self {
            return import::import(config, file).await;
        }
        let pages = match &self {
            Self::Check { .. } => Pages::Verified,
            _ => Pages::Trusted,
        };
        let opened = Opened::open(config, pages).await?;
        let done = self.look(&opened).await;
        opened.close(done).await
    }

    async fn look(self, opened: &Opened) -> Result<ExitCode, Failure> {
        match self {
            Self::Check { in_use } => {
                if !in_use {
                    let alone = opened.is_alone().await;
                    alone.map_err(|failure| failure.hint("or look while it is used: --in-use"))?;
                }
                looking::check(&*opened.store).await
            }
            Self::Stats(output) => looking::stats(&*opened.store, output).await,
            Self::Export(file) => export::export(opened, &file).await,
            Self::Import(_) => Ok(ExitCode::SUCCESS),
        }
    }
}

/// Tells people, beside what may be standard output.
fn tell(text: &str) {
    // A closed standard error leaves the exit code to tell.
    let _ = writeln!(io::stderr(), "{text}");
}
