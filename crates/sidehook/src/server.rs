//! `sidehook server`: reads its configuration and runs one replica of the control
//! plane over Redis until it is told to stop.

use core::time::Duration;
use std::{path::PathBuf, process::ExitCode, sync::Arc};

use secrecy::{ExposeSecret as _, SecretString};
use sidehook_control::server::{ControlPlane, ControlPlaneConfig};
use sidehook_redis::{RedisConfig, RedisStore};
use sidehook_runtime::{
    config::{Layers, Problems, Reader},
    logging::LogConfig,
    probe::Metrics,
    tasks::Tasks,
};
use sidehook_store::{Store, port::Durability};

use crate::PROCESS;

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
    /// Where people and publishers connect
    #[arg(long, value_name = "ADDR")]
    grpc_listen: Option<String>,
    /// Where agents connect
    #[arg(long, value_name = "ADDR")]
    agents_listen: Option<String>,
    /// Where health and metrics are
    #[arg(long, value_name = "ADDR")]
    http_listen: Option<String>,
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
    store: StoreConfig,
    log: LogConfig,
}

/// The section `store`.
struct StoreConfig {
    redis: SecretString,
    declared: Option<Durability>,
    response_timeout: Duration,
}

impl Arguments {
    fn read(self) -> Result<Config, Problems> {
        let flags = [
            ("store.redis", self.redis),
            ("grpc.listen", self.grpc_listen),
            ("agents.listen", self.agents_listen),
            ("http.listen", self.http_listen),
            ("log.level", self.log_level),
            ("log.format", self.log_format),
        ];
        // The agent's and the client's variables are other programs' affair.
        let others = [
            "SIDEHOOK_AGENT_",
            "SIDEHOOK_CONFIG",
            "SIDEHOOK_SERVER",
            "SIDEHOOK_API_KEY",
        ];
        let variables = ("SIDEHOOK_", others.as_slice());
        Layers::of_process(self.config.as_deref(), variables, flags).read(|r| {
            let control = ControlPlaneConfig::read(r);
            let store = r.section("store", read_store);
            let log = r.section("log", LogConfig::read);
            Some(Config {
                control: control?,
                store: store?,
                log,
            })
        })
    }
}

fn read_store(r: &mut Reader<'_>) -> Option<StoreConfig> {
    let redis = r.required_secret("redis");
    if redis
        .as_ref()
        .is_some_and(|url| !RedisConfig::is_url(url.expose_secret()))
    {
        // The text may hold a password: it is not shown.
        r.problem(
            "redis",
            "is not a Redis URL",
            "give redis://HOST:PORT/ or rediss://HOST:PORT/",
        );
    }
    let declared = match r.optional::<String>("durability").as_deref() {
        None => None,
        Some("strict") => Some(Durability::Strict),
        Some("relaxed") => Some(Durability::Relaxed),
        Some("volatile") => Some(Durability::Volatile),
        Some(other) => {
            let right = "give strict, relaxed or volatile; it counts only where Redis does not \
                         tell its own settings";
            r.problem(
                "durability",
                format!("{other:?} is no level of durability"),
                right,
            );
            None
        }
    };
    let (least, most) = (Duration::from_millis(100), Duration::from_secs(60));
    let response_timeout = r.value_in("response_timeout", Duration::from_secs(5), least..=most);
    Some(StoreConfig {
        redis: redis?,
        declared,
        response_timeout,
    })
}

/// Runs the subcommand.
pub(crate) fn run(arguments: Arguments) -> ExitCode {
    let is_check = arguments.check_config;
    match PROCESS.configured(arguments.read(), is_check) {
        Ok(config) => PROCESS.run(&config.log.clone(), |tasks| serve(config, tasks)),
        Err(code) => code,
    }
}

async fn serve(config: Config, tasks: Tasks) -> Result<ExitCode, String> {
    let metrics = Metrics::install().map_err(|error| error.to_string())?;
    let store = connect_redis(
        config.store.redis.expose_secret(),
        config.control.dispatch.workers,
        config.store.declared,
        config.store.response_timeout,
    )
    .await?;
    let grace = config.control.drain_timeout;
    let plane = ControlPlane::start(config.control, store, metrics, &tasks)
        .await
        .map_err(|error| error.to_string())?;
    tracing::info!(grpc = %plane.grpc, agents = %plane.agents, http = %plane.http, "serving");
    Ok(tasks.finish(grace).await.into())
}

/// Connects to Redis and says how safely it keeps what it is given.
pub(crate) async fn connect_redis(
    url: &str,
    workers: usize,
    durability_declared: Option<Durability>,
    response_timeout: Duration,
) -> Result<Arc<dyn Store>, String> {
    let config = RedisConfig {
        url: url.to_owned(),
        workers,
        durability_declared,
        response_timeout,
    };
    let store = RedisStore::connect(config)
        .await
        .map_err(|error| error.to_string())?;
    let durability = store.durability();
    tracing::info!(?durability, "connected to Redis");
    if durability == Durability::Volatile {
        tracing::warn!(
            "Redis keeps nothing on disk: set `appendonly yes`, or a restart loses events"
        );
    }
    Ok(Arc::new(store))
}
