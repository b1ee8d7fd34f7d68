//! What the control plane is told at its start.

use core::time::Duration;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use secrecy::{ExposeSecret as _, SecretString};
use sidehook_core::limits::{
    EVENT_BYTES_DEFAULT, EVENT_BYTES_MAX, EVENT_BYTES_MIN, LEASE_CONFIGURED_MAX, TENANT_BYTES_MAX,
    TENANT_BYTES_MIN, TENANT_LOG_BYTES_DEFAULT, TENANT_PENDING_BYTES_DEFAULT, TIMEOUT_MIN,
    TOTAL_TIMEOUT_MAX,
};
use sidehook_runtime::{
    config::{ByteSize, Reader},
    listen::{ListenConfig, check_free},
};
use sidehook_store::budget::Budget;

use crate::{
    auth::{ClientIdentity, JwtConfig},
    engine::DispatchConfig,
    sealing::Sealer,
};

/// Fewest bytes of a key that the configuration gives.
const KEY_BYTES_MIN: usize = 16;

const fn loopback(port: u16) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port)
}

/// The control plane's configuration.
#[derive(Clone, Debug)]
pub struct ControlPlaneConfig {
    /// Where people and publishers connect.
    pub grpc: ListenConfig,
    /// Where agents connect.
    pub agents: ListenConfig,
    /// Where `/metrics`, `/healthz` and `/readyz` are.
    pub http: SocketAddr,
    /// Whom the bearers of client certificates on the `grpc` port are.
    pub identities: Vec<ClientIdentity>,
    /// Whose bearer tokens are believed, beside keys.
    pub jwt: Option<JwtConfig>,
    /// The operator's key; without it nobody can create tenants over the API.
    pub operator_key: Option<SecretString>,
    /// A token of the platform-wide pool `default` (`platform/default`), for
    /// installations that come up in one piece.
    pub pool_token: Option<SecretString>,
    /// The key that signing keys are sealed with at rest, 64 hex digits: the same on
    /// all replicas.
    pub sealing_key: SecretString,
    /// Longest payload of an event, in bytes.
    pub event_bytes: usize,
    /// The engine's sizes and times.
    pub dispatch: DispatchConfig,
    /// How long the process may take to end.
    pub drain_timeout: Duration,
}

impl ControlPlaneConfig {
    /// The defaults, with this sealing key.
    #[must_use]
    pub fn new(sealing_key: SecretString) -> Self {
        Self {
            grpc: ListenConfig::new(loopback(8701)),
            agents: ListenConfig::new(loopback(8702)),
            http: loopback(8700),
            identities: Vec::new(),
            jwt: None,
            operator_key: None,
            pool_token: None,
            sealing_key,
            event_bytes: EVENT_BYTES_DEFAULT,
            dispatch: DispatchConfig::default(),
            drain_timeout: Duration::from_secs(30),
        }
    }

    /// Reads the keys `grpc`, `agents`, `http`, `jwt`, `operator_key`, `sealing_key`,
    /// `workers`, `lease`, `heartbeat`, `drain_timeout` and `limits`; the sections
    /// `store` and `log` are the binary's.
    pub fn read(r: &mut Reader<'_>) -> Option<Self> {
        let (grpc, identities) = r.section("grpc", |r| {
            let listen = ListenConfig::read(r, loopback(8701));
            let identities = read_identities(r, listen.as_ref());
            (listen, identities)
        });
        let (agents, pool_token) = r.section("agents", |r| {
            let listen = ListenConfig::read(r, loopback(8702));
            (listen, read_key(r, "pool_token"))
        });
        let http = r.section("http", |r| r.value("listen", loopback(8700)));
        let listeners = [
            ("grpc.listen", grpc.as_ref().map(|port| port.addr)),
            ("agents.listen", agents.as_ref().map(|port| port.addr)),
            ("http.listen", Some(http)),
        ];
        check_distinct(r, &listeners);
        let jwt = r.optional_section("jwt", JwtConfig::read);
        let operator_key = read_key(r, "operator_key");
        if let (Some(operator), Some(pool)) = (&operator_key, &pool_token)
            && operator.expose_secret() == pool.expose_secret()
        {
            r.problem(
                "operator_key",
                "is the same as agents.pool_token: a key has one role",
                "give two different keys",
            );
        }
        let sealing_key = read_sealing_key(r);
        let (event_bytes, tenant_budget) = r.section("limits", read_limits);
        let (second, minute) = (Duration::from_secs(1), Duration::from_secs(60));
        let drain_timeout = r.value_in(
            "drain_timeout",
            Duration::from_secs(30),
            second..=10 * minute,
        );
        let dispatch = DispatchConfig {
            tenant_budget,
            ..read_dispatch(r, drain_timeout)
        };
        Some(Self {
            grpc: grpc?,
            agents: agents?,
            http,
            identities,
            jwt: jwt.flatten(),
            operator_key,
            pool_token,
            sealing_key: sealing_key?,
            event_bytes,
            dispatch,
            drain_timeout,
        })
    }

    /// The ports by the keys of their addresses, for whoever serves another one.
    #[must_use]
    pub fn listeners(&self) -> [(&'static str, SocketAddr); 3] {
        [
            ("grpc.listen", self.grpc.addr),
            ("agents.listen", self.agents.addr),
            ("http.listen", self.http),
        ]
    }

    /// The longest time limit of an attempt that the leases leave room for: a lease
    /// outlasts the attempt and two heartbeats.
    #[must_use]
    pub fn longest_total(&self) -> Duration {
        let room = self
            .dispatch
            .lease
            .saturating_sub(2 * self.dispatch.heartbeat);
        room.clamp(TIMEOUT_MIN, TOTAL_TIMEOUT_MAX)
    }
}

/// The second of two listeners with one address would find it taken.
fn check_distinct(r: &mut Reader<'_>, listeners: &[(&str, Option<SocketAddr>)]) {
    let known: Vec<_> = listeners
        .iter()
        .filter_map(|(key, addr)| Some((*key, (*addr)?)))
        .collect();
    for (index, (key, addr)) in known.iter().enumerate() {
        check_free(r, key, *addr, &known[..index]);
    }
}

/// The longest payload, and how much each tenant may have in the store.
fn read_limits(r: &mut Reader<'_>) -> (usize, Budget) {
    let default = ByteSize::from_bytes(EVENT_BYTES_DEFAULT as u64);
    let range =
        ByteSize::from_bytes(EVENT_BYTES_MIN as u64)..=ByteSize::from_bytes(EVENT_BYTES_MAX as u64);
    let event_bytes = r.value_in("event_bytes", default, range).as_usize();
    let mut of = |key, default| {
        let range = ByteSize::from_bytes(TENANT_BYTES_MIN)..=ByteSize::from_bytes(TENANT_BYTES_MAX);
        let bytes = r.value_in(key, ByteSize::from_bytes(default), range);
        bytes.bytes()
    };
    let budget = Budget {
        pending: of("tenant_pending_bytes", TENANT_PENDING_BYTES_DEFAULT),
        log: of("tenant_log_bytes", TENANT_LOG_BYTES_DEFAULT),
    };
    (event_bytes, budget)
}

fn read_dispatch(r: &mut Reader<'_>, drain_timeout: Duration) -> DispatchConfig {
    let default = DispatchConfig::default();
    let second = Duration::from_secs(1);
    let lease = r.value_in("lease", default.lease, 3 * second..=LEASE_CONFIGURED_MAX);
    let tenth = Duration::from_millis(100);
    let heartbeat = r.value_in("heartbeat", default.heartbeat, tenth..=60 * second);
    if lease < 2 * heartbeat + second {
        r.problem(
            "lease",
            format!(
                "{lease:?} leaves no time for an attempt beside two heartbeats of {heartbeat:?}"
            ),
            "make it at least the longest request time-out and two heartbeats",
        );
    }
    let workers = r.value_in("workers", default.workers, 1..=64);
    DispatchConfig {
        workers,
        lease,
        heartbeat,
        // What is left of the time is for closing connections.
        drain: drain_timeout * 2 / 3,
        ..default
    }
}

/// Whom the bearers of client certificates are; of use only where certificates are asked
/// for.
fn read_identities(r: &mut Reader<'_>, listen: Option<&ListenConfig>) -> Vec<ClientIdentity> {
    let identities = ClientIdentity::read_all(r);
    let tls = listen.and_then(|listen| listen.tls.as_ref());
    let asks = tls.is_some_and(|tls| tls.client_ca_file.is_some());
    if listen.is_some() && !identities.is_empty() && !asks {
        let wrong = "are given, and nobody is asked for a certificate";
        r.problem("identities", wrong, "give grpc.tls.client_ca_file");
    }
    identities
}

fn read_key(r: &mut Reader<'_>, key: &str) -> Option<SecretString> {
    let secret = r.secret(key)?;
    if secret.expose_secret().len() < KEY_BYTES_MIN {
        r.problem(
            key,
            "is too short",
            "give at least 16 characters, for example from `openssl rand -hex 32`",
        );
    }
    Some(secret)
}

fn read_sealing_key(r: &mut Reader<'_>) -> Option<SecretString> {
    let key = r.required_secret("sealing_key")?;
    if let Err(error) = Sealer::parse(&key) {
        r.problem("sealing_key", "is not a sealing key", error.to_string());
    }
    Some(key)
}

#[cfg(test)]
mod tests {
    use sidehook_runtime::config::{Layers, Problems};

    use super::*;

    fn read(flags: &[(&'static str, &str)]) -> Result<ControlPlaneConfig, Problems> {
        let flags = flags.iter().map(|(key, value)| (*key, (*value).to_owned()));
        Layers::new().flags(flags).read(ControlPlaneConfig::read)
    }

    const KEY: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    #[test]
    fn a_sealing_key_is_all_that_is_needed() {
        let config = read(&[("sealing_key", KEY)]).expect("complete");
        assert_eq!(config.grpc.addr.to_string(), "127.0.0.1:8701");
        assert_eq!(config.agents.addr.to_string(), "127.0.0.1:8702");
        assert_eq!(config.http.to_string(), "127.0.0.1:8700");
        assert_eq!(config.longest_total(), TOTAL_TIMEOUT_MAX);
    }

    #[test]
    fn everything_wrong_is_told_at_once_and_no_secret_with_it() {
        let problems = read(&[
            ("sealing_key", "hunter2hunter2"),
            ("operator_key", "short"),
            ("grpc.listen", "0.0.0.0:8701"),
            ("lease", "5s"),
            ("heartbeat", "4s"),
            ("limits.event_bytes", "5MiB"),
            ("workrs", "3"),
        ])
        .expect_err("much is wrong")
        .to_string();
        for said in [
            "sealing_key",
            "operator_key",
            "grpc.listen",
            "lease",
            "limits.event_bytes",
            "did you mean workers?",
        ] {
            assert!(problems.contains(said), "{said} is missing in {problems}");
        }
        assert!(!problems.contains("hunter2") && !problems.contains("short\""));
    }

    #[test]
    fn settings_that_contradict_each_other_are_told_with_both_names() {
        let one = "0123456789abcdef";
        let problems = read(&[
            ("sealing_key", KEY),
            ("operator_key", one),
            ("agents.pool_token", one),
            ("agents.tls.cert_file", "c"),
            ("agents.tls.key_file", "k"),
            ("agents.tls.client_cert_required", "true"),
        ])
        .expect_err("two contradictions, and two files that are not there")
        .to_string();
        for said in [
            "4 configuration problems",
            "operator_key (--operator-key): is the same as agents.pool_token",
            "agents.tls.client_cert_required",
            "has no client_ca_file",
        ] {
            assert!(problems.contains(said), "{said} is missing in {problems}");
        }
        assert!(!problems.contains(one));
    }

    #[test]
    fn listeners_have_addresses_of_their_own() {
        let at = |grpc: &str, agents: &str, http: &str| {
            let listen = [
                ("sealing_key", KEY),
                ("grpc.listen", grpc),
                ("agents.listen", agents),
                ("http.listen", http),
                ("grpc.allow_plaintext", "true"),
            ];
            read(&listen).map(|_| ()).map_err(|wrong| wrong.to_string())
        };
        let any = "127.0.0.1:0";
        assert_eq!(at(any, any, any), Ok(()));
        assert_eq!(at("127.0.0.1:1", "127.0.0.2:1", "[::1]:1"), Ok(()));
        let same = at(any, "127.0.0.1:1", "127.0.0.1:1").expect_err("the same");
        assert!(
            same.contains("http.listen") && same.contains("agents.listen"),
            "{same}"
        );
        let all = at("0.0.0.0:1", "127.0.0.1:1", "[::1]:1").expect_err("one is all");
        assert!(all.contains("1 configuration problem\n"), "{all}");
    }

    #[test]
    fn tokens_and_certificates_are_configured_whole_or_refused() {
        let tenant = sidehook_core::id::TenantId::from_bits(7);
        let identity =
            format!("[[grpc.identities]]\nsan = 'a'\ntenant = '{tenant}'\nrole = 'viewer'\n");
        let in_file = |text: &str| {
            let folder = tempfile::tempdir().expect("a folder");
            let file = folder.path().join("server.toml");
            std::fs::write(&file, format!("sealing_key = '{KEY}'\n{text}")).expect("written");
            let read = Layers::new().file(&file).read(ControlPlaneConfig::read);
            read.map_err(|problems| problems.to_string())
        };
        let unasked = in_file(&identity).expect_err("nobody is asked for a certificate");
        assert!(unasked.contains("grpc.tls.client_ca_file"), "{unasked}");
        let half = in_file("[jwt]\nissuer = 'me'\n").expect_err("whose audience, which keys?");
        for said in ["jwt.audience", "jwt.jwks_url"] {
            assert!(half.contains(said), "{said} is missing in {half}");
        }
        let jwt = "[jwt]\nissuer = 'me'\naudience = 'you'\njwks_url = 'https://a.example/'\n";
        assert!(in_file(jwt).expect("whole").jwt.is_some());
    }

    #[test]
    fn a_missing_sealing_key_is_told() {
        let problems = read(&[]).expect_err("no key").to_string();
        assert!(problems.contains("sealing_key"), "{problems}");
    }
}
