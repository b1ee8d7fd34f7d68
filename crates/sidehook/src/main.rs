//! `sidehook`: the control plane, a ready-made system to play with, a
//! demonstration, and the command-line client. `main` only composes.
//!
//! Exit codes: 0 done, 1 failed, 2 the command or the configuration is wrong, 3 a
//! drain was cut off.

mod client;
mod demo;
mod dev;
mod local;
mod maintenance;
mod server;
mod store;

use std::{io, process::ExitCode};

use clap::{CommandFactory as _, Parser, Subcommand};
use sidehook_runtime::{process::Process, tasks::block_on, tls};

/// Returns memory after a burst, which the system's allocator keeps in its arenas.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const PROCESS: Process = Process("sidehook");

const AFTER_HELP: &str = "All commands but server, dev, demo, store and completions call a \
server: SIDEHOOK_SERVER or --server says which, SIDEHOOK_API_KEY or --api-key-file as whom.";

/// Webhooks into networks that you cannot reach.
#[derive(Debug, Parser)]
#[command(name = "sidehook", version, after_help = AFTER_HELP)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the control plane
    #[command(after_help = server::SETTINGS)]
    Server(server::Arguments),
    /// Run control plane and agent on this machine, with a ready-made tenant and key
    Dev(dev::Arguments),
    /// Show one event's way through the whole system, in seconds
    Demo,
    /// Check, count, export or import all that a store holds
    Store(maintenance::Arguments),
    /// Print a shell's completions
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    #[command(flatten)]
    Client(client::Command),
}

fn main() -> ExitCode {
    match Arguments::parse().command {
        Command::Server(arguments) => server::run(arguments),
        Command::Dev(arguments) => dev::run(arguments),
        Command::Demo => demo::run(),
        Command::Store(arguments) => maintenance::run(arguments),
        Command::Completions { shell } => {
            clap_complete::generate(
                shell,
                &mut Arguments::command(),
                "sidehook",
                &mut io::stdout(),
            );
            ExitCode::SUCCESS
        }
        Command::Client(command) => {
            tls::install_crypto_provider();
            match block_on(client::run(command)) {
                Ok(Ok(())) => ExitCode::SUCCESS,
                Ok(Err(failure)) => PROCESS.failed(&failure, 1),
                Err(error) => PROCESS.failed(&error, 1),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Arguments::command().debug_assert();
    }
}
