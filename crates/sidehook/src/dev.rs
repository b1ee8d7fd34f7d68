//! `sidehook dev`: the whole system on this machine, to play with.
//!
//! It is made for loopback, where its well-known key and plaintext harm nobody. Beyond
//! that the server's rule holds for every address: plaintext only if it is asked for.
//! And whoever lets others reach the API gives a key of their own.

use std::{
    io::Write as _,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
};

use secrecy::{ExposeSecret as _, SecretString};
use sidehook_runtime::{
    listen::ListenConfig, logging::LogConfig, process::WRONG_CONFIGURATION, tasks::Tasks,
};
use sidehook_store::port::Durability;

use crate::{
    PROCESS, client,
    local::{Addresses, Local},
    store::{self, Redis, StoreConfig, WORKERS},
};

/// The well-known key of a development system: it opens what listens on loopback.
const API_KEY: &str = "sidehook-dev-key";
/// Seals signing keys of development systems, so that one over Redis can be started
/// again. It protects nothing: whoever runs `dev` runs it for themselves.
const SEALING_KEY: &str = "6465766465766465766465766465766465766465766465766465766465766465";
/// Fewest bytes of a key that the control plane takes.
const KEY_BYTES_MIN: usize = 8;

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
    /// Where clients of other webhook APIs connect
    #[arg(long, value_name = "ADDR", default_value_t = loopback(8703))]
    gateway: SocketAddr,
    /// Listen on addresses beyond this machine too, without TLS
    #[arg(long)]
    allow_plaintext: bool,
    /// Keep the state in this Redis instead of a folder
    #[arg(long, value_name = "URL")]
    redis: Option<String>,
    /// Keep the state in this folder, for the next time; without it in one that is
    /// removed at the end
    #[arg(long, value_name = "DIR", conflicts_with = "redis")]
    data: Option<PathBuf>,
    /// The key that opens the API, at least 8 bytes; on loopback a well-known one if left
    /// out. Rather use the environment or a file, which `ps` does not show
    #[arg(
        long,
        env = "SIDEHOOK_API_KEY",
        hide_env_values = true,
        value_name = "KEY"
    )]
    api_key: Option<String>,
    /// File that holds that key; goes before --api-key
    #[arg(long, value_name = "FILE")]
    api_key_file: Option<PathBuf>,
    /// Write {"http","grpc","agents","gateway","tenant","api_key"} here once everything serves;
    /// only you can read it
    #[arg(long, value_name = "FILE")]
    ready_file: Option<PathBuf>,
    /// A level, or directives such as `info,sidehook_control=debug`
    #[arg(long, value_name = "LEVEL", default_value = "info")]
    log_level: String,
}

impl Arguments {
    fn listen(&self, addr: SocketAddr) -> ListenConfig {
        ListenConfig {
            allow_plaintext: self.allow_plaintext,
            ..ListenConfig::new(addr)
        }
    }

    /// The key of the caller's own, if one is given.
    ///
    /// # Errors
    /// It cannot be read, or is no key.
    fn own_key(&self) -> Result<Option<SecretString>, String> {
        let key = client::api_key(self.api_key_file.as_deref(), self.api_key.as_deref());
        let Some(key) = key.map_err(|failure| failure.to_string())? else {
            return Ok(None);
        };
        if key.len() < KEY_BYTES_MIN {
            let given = match &self.api_key_file {
                Some(file) => format!("--api-key-file {}", file.display()),
                None => "--api-key (or SIDEHOOK_API_KEY)".to_owned(),
            };
            let (bytes, least) = (key.len(), KEY_BYTES_MIN);
            return Err(format!(
                "{given}: {bytes} bytes are too short for a key; give at least {least}, for \
                 example from `openssl rand -hex 32`"
            ));
        }
        Ok(Some(SecretString::from(key)))
    }

    /// # Errors
    /// Everything that would be served too widely.
    fn check(&self, has_own_key: bool) -> Result<(), String> {
        let addresses = [
            ("--http", self.http),
            ("--grpc", self.grpc),
            ("--agents", self.agents),
            ("--gateway", self.gateway),
        ];
        let mut wrong: Vec<_> = addresses
            .into_iter()
            .filter_map(|(flag, addr)| {
                let (wrong, _) = self.listen(addr).check_plaintext().err()?;
                Some(format!(
                    "{flag}: {wrong}; listen on a loopback address, or give --allow-plaintext"
                ))
            })
            .collect();
        for (flag, addr) in [("--grpc", self.grpc), ("--gateway", self.gateway)] {
            if !has_own_key && ListenConfig::new(addr).check_plaintext().is_err() {
                wrong.push(format!(
                    "{flag}: everybody knows the key that would open {addr}; give one of your \
                     own in SIDEHOOK_API_KEY"
                ));
            }
        }
        if wrong.is_empty() {
            Ok(())
        } else {
            Err(wrong.join("\n  "))
        }
    }
}

/// Runs the subcommand.
pub(crate) fn run(arguments: Arguments) -> ExitCode {
    let key = arguments.own_key();
    let checked = key.and_then(|key| arguments.check(key.is_some()).map(|()| key));
    let key = match checked {
        Ok(key) => key.unwrap_or_else(|| API_KEY.into()),
        Err(wrong) => return PROCESS.failed(&wrong, WRONG_CONFIGURATION),
    };
    let log = LogConfig {
        level: arguments.log_level.clone(),
        ..LogConfig::default()
    };
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
        grpc: arguments.listen(arguments.grpc),
        agents: arguments.listen(arguments.agents),
        gateway: arguments.listen(arguments.gateway),
    };
    let sealing_key = SecretString::from(SEALING_KEY);
    let local = Local::start(Arc::clone(&store), addresses, &api_key, sealing_key, &tasks).await?;
    local.plane.readiness.ready().await;
    if let Some(file) = &arguments.ready_file {
        write_ready_file(file, &ready(&local, &api_key))
            .map_err(|error| format!("--ready-file {}: {error}", file.display()))?;
    }
    greet(&local, &api_key);
    let ended = local.finish(&tasks).await;
    store::close(&*store).await?;
    Ok(ended.into())
}

fn where_to_keep(arguments: &Arguments, temporary: &Path) -> StoreConfig {
    if let Some(url) = &arguments.redis {
        return StoreConfig::Redis(Box::new(Redis::new(SecretString::from(url.clone()))));
    }
    let directory = arguments.data.as_deref().unwrap_or(temporary);
    StoreConfig::Embedded {
        directory: directory.to_owned(),
        durability: Durability::Relaxed,
    }
}

/// What the ready file tells.
fn ready(local: &Local, api_key: &SecretString) -> serde_json::Value {
    serde_json::json!({
        "http": local.plane.http.to_string(),
        "grpc": local.plane.grpc.to_string(),
        "agents": local.plane.agents.to_string(),
        "gateway": local.gateway.to_string(),
        "tenant": local.tenant.to_string(),
        "api_key": api_key.expose_secret(),
    })
}

/// Whoever waits for the file must not find half of it: it appears whole, in place of
/// an older one. It holds a key: from its first byte on only its owner can read it.
fn write_ready_file(file: &Path, ready: &serde_json::Value) -> std::io::Result<()> {
    let folder = file.parent().filter(|folder| *folder != Path::new(""));
    // Mode 0600 under a name of its own, and removed unless it gets its place.
    let mut beside = tempfile::NamedTempFile::new_in(folder.unwrap_or(Path::new(".")))?;
    writeln!(beside, "{ready}")?;
    beside.persist(file)?;
    Ok(())
}

fn greet(local: &Local, api_key: &SecretString) {
    let text = format!(
        "sidehook is ready: gRPC {}, agents {}, HTTP {}, gateway {}\n\n  export SIDEHOOK_SERVER=http://{}\n  \
         export SIDEHOOK_API_KEY={}\n  sidehook subscription list\n\nCtrl-C ends it.\n",
        local.plane.grpc,
        local.plane.agents,
        local.plane.http,
        local.gateway,
        local.plane.grpc,
        api_key.expose_secret(),
    );
    // A closed standard output is the reader's choice.
    let _ = std::io::stdout().write_all(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use std::fs;

    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        arguments: Arguments,
    }

    fn check(flags: &[&str], has_own_key: bool) -> Result<(), String> {
        let line = Line::try_parse_from([&["dev"], flags].concat());
        line.map_err(|error| error.to_string())?
            .arguments
            .check(has_own_key)
    }

    /// Whether the API's key opens what listens there.
    fn opens(flag: &str) -> bool {
        matches!(flag, "--grpc" | "--gateway")
    }

    #[test]
    fn beyond_loopback_plaintext_is_asked_for_and_the_key_is_ones_own() {
        assert_eq!(check(&[], false), Ok(()));
        assert_eq!(check(&["--grpc", "[::1]:0"], false), Ok(()));
        for flag in ["--http", "--grpc", "--agents", "--gateway"] {
            let wide = [flag, "0.0.0.0:8700"];
            let wrong = check(&wide, true).expect_err(flag);
            assert!(
                wrong.starts_with(flag) && wrong.contains("--allow-plaintext"),
                "{wrong}"
            );
            let asked = [&wide[..], &["--allow-plaintext"]].concat();
            assert_eq!(check(&asked, true), Ok(()), "{flag}");
            assert_eq!(check(&asked, false).is_ok(), !opens(flag));
        }
        let all = ["--http", "[::]:1", "--grpc", "[::]:2", "--agents", "[::]:3"];
        let all = [&all[..], &["--gateway", "[::]:4"]].concat();
        let wrong = check(&all, false).expect_err("six are wrong");
        assert_eq!(wrong.lines().count(), 6, "{wrong}");
    }

    #[test]
    fn the_key_comes_from_a_file_too_and_is_looked_at_first() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = folder.path().join("key");
        let name = file.to_str().expect("a path in UTF-8");
        let own_key = |flags: &[&str]| {
            let line = Line::try_parse_from([&["dev"], flags].concat()).expect("sound flags");
            let key = line.arguments.own_key()?;
            Ok::<_, String>(key.map(|key| key.expose_secret().to_owned()))
        };
        fs::write(&file, "of-the-file\n").expect("writable");
        let both = own_key(&["--api-key-file", name, "--api-key", "of-the-flag"]);
        assert_eq!(both, Ok(Some("of-the-file".to_owned())));
        let short = own_key(&["--api-key", "short"]).expect_err("too short");
        assert!(
            short.starts_with("--api-key (or") && !short.contains("short\""),
            "{short}"
        );
        fs::write(&file, "short").expect("writable");
        let short = own_key(&["--api-key-file", name]).expect_err("too short");
        assert!(short.starts_with("--api-key-file "), "{short}");
        fs::remove_file(&file).expect("it is there");
        assert!(own_key(&["--api-key-file", name]).is_err(), "no file");
    }

    #[test]
    fn the_ready_file_is_its_owners_and_appears_whole() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = folder.path().join("ready.json");
        fs::write(&file, "of an earlier start").expect("writable");
        let ready = serde_json::json!({ "api_key": "a key" });
        write_ready_file(&file, &ready).expect("writable");
        let text = fs::read_to_string(&file).expect("readable");
        assert_eq!(text, "{\"api_key\":\"a key\"}\n");
        let beside = fs::read_dir(folder.path()).expect("readable");
        assert_eq!(beside.count(), 1, "nothing is left beside it");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            let mode = fs::metadata(&file)
                .expect("it is there")
                .permissions()
                .mode();
            assert_eq!(mode & 0o777, 0o600);
        }
        let nowhere = folder.path().join("missing").join("ready.json");
        assert!(write_ready_file(&nowhere, &ready).is_err());
    }
}
