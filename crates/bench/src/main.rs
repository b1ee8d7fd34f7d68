//! The benchmark: what Sidehook carries, as a ratio to what a bare HTTP client
//! carries on the same machine in the same run.
//!
//! Every part is a process of its own (receiver, Redis, control plane, agent, and
//! this load generator), so that each one's CPU and memory can be told apart. What
//! only the store decides is measured at the store port, without the others.
//! Absolute figures are of this machine only; see `docs/performance.md`.

mod desk;
mod limit;
mod load;
mod plan;
mod proc_stat;
mod receiver;
mod report;
mod rig;
mod scenarios;
mod stats;
mod target;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Measures Sidehook against a bare HTTP client.
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    /// Runs of each measurement, of which the median is reported.
    #[arg(long, default_value_t = 3)]
    runs: usize,
    /// Seconds of each paced run.
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// Deliveries of each saturated run.
    #[arg(long, default_value_t = 150_000)]
    events: u64,
    /// Deliveries that wait for an agent's start.
    #[arg(long, default_value_t = 100_000)]
    drain: u64,
    /// Deliveries in the long backlog, over 10,000 subscriptions: at least what a claim takes
    /// of each.
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(160_000..))]
    backlog: u64,
    /// A little of everything: shows that it runs, not how fast.
    #[arg(long)]
    quick: bool,
    /// Where to write the figures.
    #[arg(long, default_value = "target/bench.json")]
    output: std::path::PathBuf,
    /// Only these scenarios, separated by commas: saturated, latency, drain, black-hole,
    /// stores, backlog, clearing, queued.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
}

#[derive(Subcommand)]
enum Command {
    /// Serves as the receiver; the benchmark starts it itself.
    Receiver {
        /// Port on loopback.
        #[arg(long)]
        port: u16,
    },
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let result = match arguments.command {
        Some(Command::Receiver { port }) => receiver::serve(port).await,
        None => scenarios::run(&arguments).await,
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Anything that ends the benchmark.
type Failure = Box<dyn std::error::Error + Send + Sync>;
