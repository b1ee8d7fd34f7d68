//! The command line's client side: one command, one call of the public API, one table.
//!
//! `--output json` is for programs: its names are those of the API and stay. Tables are
//! for people and may change.

mod admin;
mod agents;
mod channel;
mod deliveries;
mod event;
pub(crate) mod event_file;
mod failure;
mod filter;
mod publish;
mod reach;
mod render;
mod settings;
mod subscription;
mod table;
mod terminal;

use std::path::PathBuf;

pub(crate) use channel::api_key;
pub(crate) use failure::Failure;
pub(crate) use render::{line, list};

/// The heading of what every command takes.
const CONNECTION: &str = "Connection and output";

/// Where the server is, who calls, and how to print.
#[derive(Debug, clap::Args)]
pub(crate) struct Global {
    /// URL of the control plane
    #[arg(
        long,
        global = true,
        help_heading = CONNECTION,
        env = "SIDEHOOK_SERVER",
        value_name = "URL",
        default_value = "http://127.0.0.1:8701"
    )]
    pub(crate) server: String,
    /// API key; rather use the environment or a file, which `ps` does not show
    #[arg(
        long,
        global = true,
        help_heading = CONNECTION,
        env = "SIDEHOOK_API_KEY",
        hide_env_values = true,
        value_name = "KEY"
    )]
    pub(crate) api_key: Option<String>,
    /// File that holds the API key; goes before --api-key
    #[arg(long, global = true, help_heading = CONNECTION, value_name = "FILE")]
    pub(crate) api_key_file: Option<PathBuf>,
    /// Certificate authorities (PEM) of the server, in place of the system's
    #[arg(long, global = true, help_heading = CONNECTION, value_name = "FILE")]
    pub(crate) ca_file: Option<PathBuf>,
    /// Send the API key over http:// beyond this machine too, where anybody on the way can read it
    #[arg(
        long,
        global = true,
        help_heading = CONNECTION,
        env = "SIDEHOOK_ALLOW_PLAINTEXT"
    )]
    pub(crate) allow_plaintext: bool,
    /// How to print results
    #[arg(long, global = true, help_heading = CONNECTION, value_enum, default_value = "table")]
    pub(crate) output: Output,
}

/// How to print results.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Output {
    /// For people
    Table,
    /// For programs; lists are arrays, watches one object per line
    Json,
}

/// A group of commands, with what each of them takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Group<C: clap::Subcommand> {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: C,
}

/// A command of the client.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Manage subscriptions
    Subscription(Box<Group<subscription::Command>>),
    /// Try filters out
    Filter(Group<filter::Command>),
    /// Publish an event, or a file of events
    Publish(publish::Arguments),
    /// Read the event log
    Event(Group<event::Command>),
    /// Observe and repeat deliveries
    Deliveries(Group<deliveries::Command>),
    /// Observe agents
    Agents(Group<agents::Agents>),
    /// Observe pools of agents
    Pools(Group<agents::Pools>),
    /// Manage tenants and keys; for operators
    Admin(Group<admin::Command>),
}

/// Runs `command` against the server that it names.
///
/// # Errors
/// What is wrong, and what to do next, for people.
pub(crate) async fn run(command: Command) -> Result<(), Failure> {
    match command {
        Command::Subscription(group) => {
            let Group { global, command } = *group;
            subscription::run(command, &global).await
        }
        Command::Filter(Group { global, command }) => filter::run(command, &global).await,
        Command::Publish(arguments) => publish::run(arguments).await,
        Command::Event(Group { global, command }) => event::run(command, &global).await,
        Command::Deliveries(Group { global, command }) => deliveries::run(command, &global).await,
        Command::Agents(Group { global, command }) => {
            let agents::Agents::List { tenant } = command;
            agents::list(tenant, &global).await
        }
        Command::Pools(Group { global, command }) => {
            let agents::Pools::List { tenant } = command;
            agents::pools(tenant, &global).await
        }
        Command::Admin(Group { global, command }) => admin::run(command, &global).await,
    }
}
