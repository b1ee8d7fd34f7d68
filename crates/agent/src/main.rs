//! `sidehook-agent`: reads its configuration and runs one agent until it is told to stop.
//!
//! Exit codes: 0 drained, 1 failed, 2 the configuration is wrong, 3 the drain was cut off.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use sidehook_agent::{Agent, AgentConfig};
use sidehook_runtime::config::{Layers, Problems};
use sidehook_runtime::probe::{Metrics, Probe, Readiness};
use sidehook_runtime::process::Process;
use sidehook_runtime::tasks::{OnPanic, TaskKind, Tasks};

/// Returns memory after a burst, which the system's allocator keeps in its arenas.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const AGENT: TaskKind = TaskKind::new("agent", OnPanic::Abort);
const PROCESS: Process = Process("sidehook-agent");

/// Delivers webhooks inside this network for a Sidehook control plane.
///
/// Settings come from a TOML file, then from the environment (SIDEHOOK_AGENT_SERVER, two underscores between section
/// and key: SIDEHOOK_AGENT_HTTP__LISTEN), then from the options below.
#[derive(Debug, Parser)]
#[command(name = "sidehook-agent", version)]
struct Args {
    /// TOML file with settings
    #[arg(long, value_name = "FILE", env = "SIDEHOOK_AGENT_CONFIG")]
    config: Option<PathBuf>,
    /// Check the configuration and exit
    #[arg(long)]
    check_config: bool,
    /// URL of the control plane's port for agents
    #[arg(long, value_name = "URL")]
    server: Option<String>,
    /// Authorities of the control plane, PEM
    #[arg(long, value_name = "FILE")]
    ca_file: Option<String>,
    /// Allow http:// beyond this machine
    #[arg(long)]
    allow_plaintext: bool,
    /// File that holds the pool token
    #[arg(long, value_name = "FILE")]
    token_file: Option<String>,
    /// Name for people
    #[arg(long)]
    name: Option<String>,
    /// Where to keep the agent's identity
    #[arg(long, value_name = "DIR")]
    state_dir: Option<String>,
    /// Deliveries at one time
    #[arg(long, value_name = "NUMBER")]
    capacity: Option<String>,
    /// How long work in flight may take to end after SIGTERM
    #[arg(long, value_name = "TIME")]
    drain_timeout: Option<String>,
    /// Where to serve health and metrics
    #[arg(long, value_name = "ADDR")]
    http_listen: Option<String>,
    /// Allow receivers in private networks
    #[arg(long)]
    egress_allow_private: bool,
    /// Allow receivers on this machine
    #[arg(long)]
    egress_allow_loopback: bool,
    /// Authorities of receivers besides the platform's, PEM
    #[arg(long, value_name = "FILE")]
    egress_ca_file: Option<String>,
    /// A level, or directives such as info,sidehook_agent=debug
    #[arg(long, value_name = "LEVEL")]
    log_level: Option<String>,
    /// text or json
    #[arg(long, value_name = "FORMAT")]
    log_format: Option<String>,
}

impl Args {
    fn read(self) -> Result<AgentConfig, Problems> {
        let yes = |given: bool| given.then(|| "true".to_owned());
        let flags = [
            ("server", self.server),
            ("ca_file", self.ca_file),
            ("allow_plaintext", yes(self.allow_plaintext)),
            ("token_file", self.token_file),
            ("name", self.name),
            ("state_dir", self.state_dir),
            ("capacity", self.capacity),
            ("drain_timeout", self.drain_timeout),
            ("http.listen", self.http_listen),
            ("egress.allow_private", yes(self.egress_allow_private)),
            ("egress.allow_loopback", yes(self.egress_allow_loopback)),
            ("egress.ca_file", self.egress_ca_file),
            ("log.level", self.log_level),
            ("log.format", self.log_format),
        ];
        let variables = ("SIDEHOOK_AGENT_", ["SIDEHOOK_AGENT_CONFIG"].as_slice());
        Layers::of_process(self.config.as_deref(), variables, flags).read(AgentConfig::read)
    }
}

fn main() -> ExitCode {
    let args = Args::parse();
    let is_check = args.check_config;
    match PROCESS.configured(args.read(), is_check) {
        Ok(config) => PROCESS.run(&config.log.clone(), |tasks| serve(config, tasks)),
        Err(code) => code,
    }
}

async fn serve(config: AgentConfig, tasks: Tasks) -> Result<ExitCode, String> {
    let readiness = Readiness::new(tasks.drain());
    let connected = readiness.condition("control_plane");
    if let Some(listen) = config.http_listen {
        // Only where somebody can ask for them: nobody else folds the samples together.
        let metrics = Metrics::install().map_err(|error| error.to_string())?;
        let serving = Probe::new(readiness, metrics).serve(listen, &tasks).await;
        let listening = serving.map_err(|error| format!("http.listen: {listen}: {error}"))?;
        tracing::info!(%listening, "health and metrics");
    }
    let grace = config.drain_timeout;
    let agent = Agent::new(config, tasks.drain(), tasks.clone(), Some(connected))
        .map_err(|error| error.to_string())?;
    tasks.spawn(AGENT, agent.run());
    Ok(tasks.finish(grace).await.into())
}
