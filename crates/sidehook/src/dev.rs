//! `sidehook dev`: the whole system on this machine, to play with.

use core::time::Duration;
use std::{
    io::Write as _,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
};

use secrecy::{ExposeSecret as _, SecretString};
use sidehook_runtime::{logging::LogConfig, tasks::Tasks};
use sidehook_store::port::Durability;

use crate::{
    PROCESS,
    local::{Addresses, Local},
    store::{self, RESPONSE_TIMEOUT, StoreConfig, WORKERS},
};

/// The well-known key of a development system: it opens what listens on loopback.
const API_KEY: &str = "sidehook-dev-key";
/// Seals signing keys of development systems, so that one over Redis can be started
/// again. It protects nothing: whoever runs `dev` runs it for themselves.
const SEALING_KEY: &str = "6465766465766465766465766465766465766465766465766465766465766465";
/// How long work under way may take at the end.
const GRACE: Duration = Duration::from_secs(5);

const fn loopback(port: u16) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port)
}

/// Control plane and agent on this machine.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Where health and metrics are
    #[arg(long, value_name = "ADDR", default_value_t = loopback(8700))]
    http: SocketAddr,
    /// Where people and publishers connect
    #[arg(long, value_name = "ADDR", default_value_t = loopback(8701))]
    grpc: SocketAddr,
    /// Where agents connect
    #[arg(long, value_name = "ADDR", default_value_t = loopback(8702))]
    agents: SocketAddr,
    /// Keep the state in this Redis instead of a folder
    #[arg(long, value_name = "URL")]
    redis: Option<String>,
    /// Keep the state in this folder, for the next time; without it in one that is
    /// removed at the end
    #[arg(long, value_name = "DIR", conflicts_with = "redis")]
    data: Option<PathBuf>,
    /// Write {"http","grpc","agents","tenant","api_key"} here once everything serves
    #[arg(long, value_name = "FILE")]
    ready_file: Option<PathBuf>,
    /// A level, or directives such as `info,sidehook_control=debug`
    #[arg(long, value_name = "LEVEL", default_value = "info")]
    log_level: String,
}

/// Runs the subcommand. The API key is the client's global option.
pub(crate) fn run(arguments: Arguments, api_key: Option<String>) -> ExitCode {
    let log = LogConfig {
        level: arguments.log_level.clone(),
        ..LogConfig::default()
    };
    let key = SecretString::from(api_key.unwrap_or_else(|| API_KEY.to_owned()));
    PROCESS.run(&log, |tasks| serve(arguments, key, tasks))
}

async fn serve(
    arguments: Arguments,
    api_key: SecretString,
    tasks: Tasks,
) -> Result<ExitCode, String> {
    // Held to the end: it removes the folder.
    let temporary = tempfile::tempdir().map_err(|error| format!("temporary folder: {error}"))?;
    let store = where_to_keep(&arguments, temporary.path())
        .open(WORKERS)
        .await?;
    let addresses = Addresses {
        http: arguments.http,
        grpc: arguments.grpc,
        agents: arguments.agents,
    };
    let sealing_key = SecretString::from(SEALING_KEY);
    let local = Local::start(
        Arc::clone(&store),
        &addresses,
        &api_key,
        sealing_key,
        &tasks,
    )
    .await?;
    local.plane.readiness.ready().await;
    if let Some(file) = &arguments.ready_file {
        write_ready_file(file, &local, &api_key)
            .map_err(|error| format!("--ready-file {}: {error}", file.display()))?;
    }
    greet(&local, &api_key);
    let ended = tasks.finish(GRACE).await;
    store::close(&*store).await?;
    Ok(ended.into())
}

fn where_to_keep(arguments: &Arguments, temporary: &Path) -> StoreConfig {
    if let Some(url) = &arguments.redis {
        return StoreConfig::Redis {
            url: SecretString::from(url.clone()),
            declared: None,
            response_timeout: RESPONSE_TIMEOUT,
        };
    }
    let directory = arguments.data.as_deref().unwrap_or(temporary);
    StoreConfig::Embedded {
        directory: directory.to_owned(),
        durability: Durability::Relaxed,
    }
}

/// Whoever waits for the file must not find half of it: it appears whole.
fn write_ready_file(file: &Path, local: &Local, api_key: &SecretString) -> std::io::Result<()> {
    let text = serde_json::json!({
        "http": local.plane.http.to_string(),
        "grpc": local.plane.grpc.to_string(),
        "agents": local.plane.agents.to_string(),
        "tenant": local.tenant.to_string(),
        "api_key": api_key.expose_secret(),
    });
    let mut beside = file.as_os_str().to_owned();
    beside.push(".new");
    std::fs::write(&beside, format!("{text}\n"))?;
    std::fs::rename(&beside, file)
}

fn greet(local: &Local, api_key: &SecretString) {
    let text = format!(
        "sidehook is ready: gRPC {}, agents {}, HTTP {}\n\n  export SIDEHOOK_SERVER=http://{}\n  \
         export SIDEHOOK_API_KEY={}\n  sidehook subscription list\n\nCtrl-C ends it.\n",
        local.plane.grpc,
        local.plane.agents,
        local.plane.http,
        local.plane.grpc,
        api_key.expose_secret(),
    );
    // A closed standard output is the reader's choice.
    let _ = std::io::stdout().write_all(text.as_bytes());
}
