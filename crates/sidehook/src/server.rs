//! `sidehook server`: reads its configuration and runs one replica of the control
//! plane until it is told to stop.

use std::{path::PathBuf, process::ExitCode, sync::Arc};

use sidehook_control::server::{ControlPlane, ControlPlaneConfig, StartError};
use sidehook_gateway::{self as gateway, Gateway, GatewayConfig, InProcess};
use sidehook_runtime::{
    config::{Layers, Problems},
    listen::{ListenError, check_free},
    logging::LogConfig,
    probe::Metrics,
    tasks::Tasks,
};

use crate::{
    PROCESS,
    store::{self, StoreConfig},
};

/// Where settings come from, for `--help`.
pub(crate) const SETTINGS: &str = "Settings come from the TOML file, then from the environment, \
then from these options. In the environment two underscores separate section and key: \
SIDEHOOK_STORE__REDIS is store.redis, SIDEHOOK_SEALING_KEY_FILE is sealing_key_file. The README \
lists all settings.";

/// Settings come from a TOML file, then from the environment (`SIDEHOOK_LEASE`, two
/// underscores between section and key: `SIDEHOOK_STORE__REDIS`), then from these
/// options.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// TOML file with settings
    #[arg(long, value_name = "FILE", env = "SIDEHOOK_CONFIG")]
    config: Option<PathBuf>,
    /// Check the configuration and exit
    #[arg(long)]
    check_config: bool,
    /// Redis that holds the state: redis://HOST:PORT/ or, with TLS, rediss://
    #[arg(long, value_name = "URL")]
    redis: Option<String>,
    /// Folder that holds the state of this one replica instead
    #[arg(long, value_name = "DIR")]
    embedded: Option<String>,
    /// Where people and publishers connect
    #[arg(long, value_name = "ADDR")]
    grpc_listen: Option<String>,
    /// Where agents connect
    #[arg(long, value_name = "ADDR")]
    agents_listen: Option<String>,
    /// Where health and metrics are
    #[arg(long, value_name = "ADDR")]
    http_listen: Option<String>,
    /// Where clients of other webhook APIs connect
    #[arg(long, value_name = "ADDR")]
    gateway_listen: Option<String>,
    /// A level, or directives such as `info,sidehook_control=debug`
    #[arg(long, value_name = "LEVEL")]
    log_level: Option<String>,
    /// text or json
    #[arg(long, value_name = "FORMAT")]
    log_format: Option<String>,
}

/// Everything that the process is told.
struct Config {
    control: ControlPlaneConfig,
    gateway: GatewayConfig,
    store: StoreConfig,
    log: LogConfig,
}

impl Arguments {
    fn read(self) -> Result<Config, Problems> {
        let flags = [
            ("store.redis", self.redis),
            ("store.embedded", self.embedded),
            ("grpc.listen", self.grpc_listen),
            ("agents.listen", self.agents_listen),
            ("http.listen", self.http_listen),
            ("gateway.listen", self.gateway_listen),
            ("log.level", self.log_level),
            ("log.format", self.log_format),
        ];
        // The agent's and the client's variables are other programs' affair.
        let others = [
            "SIDEHOOK_AGENT_",
            "SIDEHOOK_CONFIG",
            "SIDEHOOK_SERVER",
            "SIDEHOOK_API_KEY",
            "SIDEHOOK_ALLOW_PLAINTEXT",
        ];
        let variables = ("SIDEHOOK_", others.as_slice());
        Layers::of_process(self.config.as_deref(), variables, flags).read(|r| {
            let control = ControlPlaneConfig::read(r);
            let gateway = GatewayConfig::read(r);
            if let (Some(control), Some(gateway)) = (&control, &gateway) {
                let others = control.listeners();
                check_free(r, "gateway.listen", gateway.listen.addr, &others);
            }
            let store = r.section("store", StoreConfig::read);
            let log = r.section("log", LogConfig::read);
            Some(Config {
                control: control?,
                gateway: gateway?,
                store: store?,
                log,
            })
        })
    }
}

/// Runs the subcommand.
pub(crate) fn run(arguments: Arguments) -> ExitCode {
    let is_check = arguments.check_config;
    match PROCESS.configured(arguments.read(), is_check) {
        Ok(config) => PROCESS.run(&config.log.clone(), |tasks| serve(config, tasks)),
        Err(code) => code,
    }
}

/// Why the control plane does not start; the flag of each section's address is the
/// section's name and `flag_end`.
pub(crate) fn explained(error: &StartError, flag_end: &str) -> String {
    match error {
        StartError::Listen {
            section,
            source: ListenError::Bind(..),
        } => {
            format!("{error}; is another one running? --{section}{flag_end} names another address")
        }
        _ => error.to_string(),
    }
}

/// The same for the gateway.
pub(crate) fn gateway_explained(error: &gateway::StartError, flag_end: &str) -> String {
    match error {
        gateway::StartError::Listen(ListenError::Bind(..)) => {
            format!("{error}; is another one running? --gateway{flag_end} names another address")
        }
        _ => error.to_string(),
    }
}

async fn serve(config: Config, tasks: Tasks) -> Result<ExitCode, String> {
    let metrics = Metrics::install().map_err(|error| error.to_string())?;
    let store = config.store.open(config.control.dispatch.workers).await?;
    let (grace, longest) = (config.control.drain_timeout, config.control.longest_total());
    let failed = |error| gateway_explained(&error, "-listen");
    let gateway = Gateway::bind(config.gateway).await.map_err(failed)?;
    let plane = ControlPlane::start(config.control, Arc::clone(&store), metrics, &tasks)
        .await
        .map_err(|error| explained(&error, "-listen"))?;
    let service = InProcess::new(plane.api).with_longest_total(longest);
    gateway.serve(&service, grace, &tasks).map_err(failed)?;
    let ended = tasks.finish(grace).await;
    store::close(&*store).await?;
    Ok(ended.into())
}
