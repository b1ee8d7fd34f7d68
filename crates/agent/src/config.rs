//! What an agent is told: a TOML file, `SIDEHOOK_AGENT_…` in the environment, flags.
//!
//! | key | meaning | default |
//! |---|---|---|
//! | `server` | URL of the control plane's port for agents | required |
//! | `ca_file` | authorities of that server, PEM, instead of the platform's | |
//! | `allow_plaintext` | whether `server` may be `http://` beyond this machine | false |
//! | `token`, `token_file` | the pool token | required |
//! | `name` | name for people | the host's name |
//! | `state_dir` | where the agent keeps its identity | none: a new identity at each start |
//! | `capacity` | deliveries at one time | 1024 |
//! | `capacity_bytes` | bytes of events at one time | 64MiB |
//! | `drain_timeout` | how long SIGTERM lets work in flight end: by default, longer than any attempt may take | 75s |
//! | `http.listen` | where health and metrics are served, plaintext | none |
//! | `egress.allow_private`, `egress.allow_loopback` | see [`crate::egress`] | false |
//! | `egress.ca_file` | authorities of receivers, PEM, besides the platform's | |
//! | `[[local_keys]]` `name`, `secret` or `secret_file` | signing keys that only this agent has | |
//! | `log.format`, `log.level` | see [`sidehook_runtime::logging`] | text, info |

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use rustls::RootCertStore;
use secrecy::{ExposeSecret as _, SecretString};
use sidehook_core::limits::{
    AGENT_CAPACITY_BYTES_MAX, AGENT_CAPACITY_MAX, NAME_BYTES, TOTAL_TIMEOUT_MAX,
};
use sidehook_core::text::is_plain;
use sidehook_runtime::config::{ByteSize, Reader};
use sidehook_runtime::logging::LogConfig;
use sidehook_runtime::loopback::is_loopback_host;
use sidehook_runtime::tls::add_ca_file;
use sidehook_signature::StandardKey;
use url::Url;

use crate::egress::Egress;

const SERVER_RIGHT: &str =
    "give the URL of the control plane's port for agents, such as https://sidehook.example:8702";

/// The configuration of an agent.
#[derive(Debug, Clone)]
pub struct AgentConfig {
    /// The control plane's port for agents: scheme, host and port.
    pub server: Url,
    /// Authorities of that server instead of the platform's.
    pub ca_file: Option<PathBuf>,
    /// The pool token.
    pub token: SecretString,
    /// Name for people.
    pub name: String,
    /// Where the identity is kept.
    pub state_dir: Option<PathBuf>,
    /// Deliveries at one time.
    pub capacity: u32,
    /// Bytes of events at one time.
    pub capacity_bytes: u64,
    /// How long a drain may take.
    pub drain_timeout: Duration,
    /// Where health and metrics are served.
    pub http_listen: Option<SocketAddr>,
    /// What beyond public addresses may be connected to.
    pub egress: Egress,
    /// Authorities of receivers besides the platform's.
    pub egress_ca_file: Option<PathBuf>,
    /// Signing keys by name, in their text forms.
    pub local_keys: HashMap<String, SecretString>,
    /// Logging.
    pub log: LogConfig,
}

impl AgentConfig {
    /// Default for [`Self::capacity`].
    pub const CAPACITY: u32 = 1_024;
    /// Default for [`Self::capacity_bytes`].
    pub const CAPACITY_BYTES: u64 = 64 << 20;
    /// Default for [`Self::drain_timeout`]: what began just before can end, and its outcome be acknowledged. An attempt
    /// that is cut off is made again once its lease is over, although the receiver may have had it.
    pub const DRAIN_TIMEOUT: Duration = TOTAL_TIMEOUT_MAX.saturating_add(Duration::from_secs(15));

    /// What an agent in the same process as its control plane needs to be told; everything else is the default.
    #[must_use]
    pub fn new(server: Url, token: SecretString) -> Self {
        Self {
            server,
            ca_file: None,
            token,
            name: host_name(),
            state_dir: None,
            capacity: Self::CAPACITY,
            capacity_bytes: Self::CAPACITY_BYTES,
            drain_timeout: Self::DRAIN_TIMEOUT,
            http_listen: None,
            egress: Egress::default(),
            egress_ca_file: None,
            local_keys: HashMap::new(),
            log: LogConfig::default(),
        }
    }

    /// Reads it; `None` if something that is required is missing.
    pub fn read(r: &mut Reader<'_>) -> Option<Self> {
        let server = read_server(r);
        let ca_file = read_authorities(r);
        if ca_file.is_some() && server.as_ref().is_some_and(|url| url.scheme() == "http") {
            r.problem(
                "ca_file",
                "has nothing to verify: server is an http URL",
                "give an https URL for server, or leave ca_file out",
            );
        }
        let token = r.required_secret("token");
        let name = r.value("name", host_name());
        if name.is_empty() || name.len() > NAME_BYTES || !is_plain(&name) {
            let right = format!("give 1 to {NAME_BYTES} bytes of plain text");
            r.problem("name", format!("{name:?} is not a name"), right);
        }
        let state_dir = r.optional("state_dir");
        let capacity = r.value_in("capacity", Self::CAPACITY, 1..=AGENT_CAPACITY_MAX);
        let default_bytes = ByteSize::from_bytes(Self::CAPACITY_BYTES);
        let bytes = ByteSize::mib(1)..=ByteSize::from_bytes(AGENT_CAPACITY_BYTES_MAX);
        let capacity_bytes = r.value_in("capacity_bytes", default_bytes, bytes).bytes();
        let drain_timeout = r.value_in(
            "drain_timeout",
            Self::DRAIN_TIMEOUT,
            Duration::ZERO..=Duration::from_secs(3_600),
        );
        let http_listen = r.section("http", |r| r.optional("listen"));
        let (egress, egress_ca_file) = r.section("egress", |r| {
            let egress = Egress {
                allow_private: r.value("allow_private", false),
                allow_loopback: r.value("allow_loopback", false),
            };
            (egress, read_authorities(r))
        });
        let local_keys = read_local_keys(r);
        let log = r.section("log", LogConfig::read);
        Some(Self {
            server: server?,
            ca_file,
            token: token?,
            name,
            state_dir,
            capacity,
            capacity_bytes,
            drain_timeout,
            http_listen,
            egress,
            egress_ca_file,
            local_keys,
            log,
        })
    }
}

fn read_server(r: &mut Reader<'_>) -> Option<Url> {
    let allow_plaintext = r.value("allow_plaintext", false);
    let text: String = r.required_as("server", SERVER_RIGHT)?;
    let url = match Url::parse(&text) {
        Ok(url) if matches!(url.scheme(), "http" | "https") => url,
        // The text may hold credentials: it is not shown.
        _ => {
            r.problem(
                "server",
                "does not begin with http:// or https://",
                SERVER_RIGHT,
            );
            return None;
        }
    };
    let is_bare = url.username().is_empty()
        && url.password().is_none()
        && matches!(url.path(), "" | "/")
        && url.query().is_none()
        && url.fragment().is_none();
    if !is_bare {
        r.problem(
            "server",
            "has more than scheme, host and port",
            SERVER_RIGHT,
        );
    }
    if url.scheme() == "http" && !allow_plaintext && !url.host_str().is_some_and(is_loopback_host) {
        r.problem(
            "server",
            "would send the token without TLS beyond this machine",
            "use https, or set allow_plaintext = true",
        );
    }
    Some(url)
}

/// The file that `ca_file` names, which must hold authorities.
fn read_authorities(r: &mut Reader<'_>) -> Option<PathBuf> {
    let path: PathBuf = r.optional("ca_file")?;
    if let Err(error) = add_ca_file(&mut RootCertStore::empty(), &path) {
        r.problem(
            "ca_file",
            error.to_string(),
            "name a readable PEM file with certificates of authorities",
        );
    }
    Some(path)
}

/// A signing key. Which scheme it is for only the subscriptions tell, and a plain HMAC
/// takes any text; but what begins like a key of Standard Webhooks is meant as one.
fn read_local_key(r: &mut Reader<'_>) -> Option<SecretString> {
    let secret = r.required_secret("secret")?;
    let text = secret.expose_secret();
    if ["whsec_", "whsk_"]
        .iter()
        .any(|start| text.starts_with(start))
        && let Err(wrong) = StandardKey::parse(text)
    {
        let right = "give the key as it was made, such as `whsec_` and base64 of 24 to 64 bytes";
        r.problem("secret", wrong.to_string(), right);
    }
    Some(secret)
}

fn read_local_keys(r: &mut Reader<'_>) -> HashMap<String, SecretString> {
    let entries = r.sections("local_keys", |r| {
        (r.required::<String>("name"), read_local_key(r))
    });
    let mut keys = HashMap::new();
    for (name, secret) in entries {
        let (Some(name), Some(secret)) = (name, secret) else {
            continue;
        };
        if keys.insert(name.clone(), secret).is_some() {
            let wrong = format!("{name:?} is given twice");
            r.problem("local_keys", wrong, "give each key a name of its own");
        }
    }
    keys
}

/// The host's name, or `agent` where it cannot be learnt.
fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name: String = name
        .trim()
        .chars()
        .filter(|c| c.is_ascii_graphic())
        .take(NAME_BYTES)
        .collect();
    if name.is_empty() {
        "agent".to_owned()
    } else {
        name
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sidehook_runtime::config::Layers;

    fn read(toml: &str) -> Result<AgentConfig, String> {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("agent.toml");
        std::fs::write(&file, toml).expect("written");
        Layers::new()
            .file(&file)
            .read(AgentConfig::read)
            .map_err(|problems| problems.to_string())
    }

    #[test]
    fn a_file_with_everything_is_read() {
        let config = read(
            r#"
            server = "https://sidehook.example:8702"
            token = "secret"
            name = "berlin-1"
            capacity = 64
            capacity_bytes = "1MiB"
            http.listen = "127.0.0.1:8703"
            egress.allow_private = true
            drain_timeout = "5s"
            [[local_keys]]
            name = "billing"
            secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
            "#,
        )
        .expect("valid");
        assert_eq!(config.server.as_str(), "https://sidehook.example:8702/");
        assert_eq!((config.capacity, config.capacity_bytes), (64, 1 << 20));
        assert_eq!(config.name, "berlin-1");
        assert!(config.egress.allow_private && !config.egress.allow_loopback);
        assert!(config.local_keys.contains_key("billing"));
        assert_eq!(config.drain_timeout, Duration::from_secs(5));
        assert!(!format!("{config:?}").contains("secret\""), "redacted");
    }

    #[test]
    fn plaintext_is_for_this_machine_or_on_demand() {
        let server = |url: &str, more: &str| {
            read(&format!("server = \"{url}\"\ntoken = \"t\"\n{more}")).map(|_| ())
        };
        for url in [
            "http://127.0.0.1:8702",
            "http://[::1]:8702",
            "http://localhost:8702",
        ] {
            assert_eq!(server(url, ""), Ok(()), "{url}");
        }
        let refused = server("http://sidehook.example", "").expect_err("plaintext");
        assert!(refused.contains("without TLS"), "{refused}");
        assert_eq!(
            server("http://sidehook.example", "allow_plaintext = true"),
            Ok(())
        );
    }

    #[test]
    fn authorities_are_for_a_server_with_tls_and_in_a_file_that_can_be_read() {
        let dir = tempfile::tempdir().expect("a directory");
        let ca = dir.path().join("ca.pem");
        let file = |url: &str| {
            let ca = ca.display();
            read(&format!(
                "server = \"{url}\"\ntoken = \"t\"\nca_file = \"{ca}\"\negress.ca_file = \"{ca}\""
            ))
        };
        let refused = file("https://sidehook.example").expect_err("no file");
        for wrong in [
            "2 configuration problems",
            "\n  ca_file",
            "\n  egress.ca_file",
        ] {
            assert!(refused.contains(wrong), "{wrong} is missing in {refused}");
        }
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]);
        std::fs::write(&ca, made.expect("a certificate").cert.pem()).expect("written");
        assert!(file("https://sidehook.example").is_ok());
        let refused = file("http://127.0.0.1:8702").expect_err("nothing to verify");
        assert!(refused.contains("ca_file"), "{refused}");
    }

    #[test]
    fn a_server_that_is_missing_is_asked_for_by_what_it_is() {
        let refused = read("token = \"t\"").expect_err("no server");
        assert!(
            refused.contains(
                "server: is missing; give the URL of the control plane's port for agents"
            ),
            "{refused}"
        );
    }

    #[test]
    fn a_drain_outlives_the_longest_attempt_and_the_unit_outlives_the_drain() {
        let drain =
            read("server = \"https://a\"\ntoken = \"t\"").map(|config| config.drain_timeout);
        let drain = drain.expect("valid");
        assert!(
            drain >= TOTAL_TIMEOUT_MAX + Duration::from_secs(10),
            "{drain:?}"
        );
        let seconds = |text: &str, key: &str| {
            let after = text.split_once(key).expect("the key").1;
            let number = after.split_once('s').expect("seconds").0;
            Duration::from_secs(number.parse().expect("a number"))
        };
        let unit = include_str!("../../../deploy/systemd/sidehook-agent.service");
        let compose = include_str!("../../../deploy/compose.yaml");
        let service = compose.split_once("\n  agent:\n").expect("the agent").1;
        assert!(seconds(unit, "\nTimeoutStopSec=") > drain);
        assert!(seconds(service, "stop_grace_period: ") > drain);
    }

    #[test]
    fn everything_that_is_wrong_is_told_at_once_and_no_secret_with_it() {
        let problems = read(
            r#"
            server = "ftp://user:hunter2@host"
            capacity = 0
            drain_timeout = "soon"
            capcity = 1
            [[local_keys]]
            name = "a"
            [[local_keys]]
            name = "b"
            secret = "whsec_hunter2"
            "#,
        )
        .expect_err("wrong");
        for part in [
            "server",
            "token",
            "capacity",
            "drain_timeout",
            "capcity",
            "local_keys[0].secret",
            "local_keys[1].secret",
        ] {
            assert!(problems.contains(part), "{part}: {problems}");
        }
        assert!(!problems.contains("hunter2"), "{problems}");
    }
}
