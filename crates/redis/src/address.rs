//! The address of a Redis system: one kind for a single server, Sentinels and a Cluster.
//!
//! `redis://[user:password@]host[:port][,host[:port]…][/database][#master]`, with TLS
//! `rediss://`. Several places are seeds of one system; what the system is, it is asked
//! itself (`topology`), so that nothing can be set wrongly. The name behind `#` is the
//! one under which Sentinels know the master.

use core::{fmt, time::Duration};

use redis::{
    ConnectionAddr, ConnectionInfo, IntoConnectionInfo as _,
    io::tcp::{TcpSettings, socket2::TcpKeepalive},
};

use crate::ConnectError;

/// After how long without a word the system asks whether the other end is there, and how
/// long between further questions.
const KEEPALIVE: Duration = Duration::from_secs(10);

const SCHEMES: [&str; 4] = ["redis", "rediss", "valkey", "valkeys"];

/// Where a server listens.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Node {
    pub(crate) host: String,
    pub(crate) port: u16,
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            return write!(f, "[{}]:{}", self.host, self.port);
        }
        write!(f, "{}:{}", self.host, self.port)
    }
}

/// An address that was understood.
#[derive(Clone)]
pub(crate) struct Address {
    /// Where to ask, in their order; at least one.
    pub(crate) seeds: Vec<Node>,
    /// The name of the master among Sentinels.
    pub(crate) master: Option<String>,
    /// The database; 0 unless it is given.
    pub(crate) database: i64,
    /// Credentials, TLS and protocol, with any host.
    template: ConnectionInfo,
}

impl Address {
    /// Understands the text.
    ///
    /// # Errors
    /// [`ConnectError::Url`], which does not repeat the text: it may hold a password.
    pub(crate) fn parse(text: &str) -> Result<Self, ConnectError> {
        let wrong = |why: &str| ConnectError::Url(why.to_owned());
        let (scheme, rest) = text
            .split_once("://")
            .filter(|(scheme, _)| SCHEMES.contains(scheme))
            .ok_or_else(|| wrong("it does not begin with redis:// or rediss://"))?;
        let (authority, tail) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
        let (path, master) = tail.split_once('#').unwrap_or((tail, ""));
        let allowed = |one: char| one.is_ascii_alphanumeric() || ".-_".contains(one);
        if !master.chars().all(allowed) {
            return Err(wrong(
                "a master's name has letters, digits, `.`, `-` and `_`",
            ));
        }
        let (user, hosts) = match authority.rsplit_once('@') {
            Some((user, hosts)) => (format!("{user}@"), hosts),
            None => (String::new(), authority),
        };
        let mut seeds = Vec::new();
        let mut template = None;
        for host in hosts.split(',') {
            let one = format!("{scheme}://{user}{host}{path}");
            let info = one
                .into_connection_info()
                .map_err(|error| ConnectError::Url(error.to_string()))?;
            let (ConnectionAddr::Tcp(host, port) | ConnectionAddr::TcpTls { host, port, .. }) =
                info.addr()
            else {
                return Err(wrong("it names no host"));
            };
            let seed = Node {
                host: host.clone(),
                port: *port,
            };
            if !seeds.contains(&seed) {
                seeds.push(seed);
            }
            template.get_or_insert(info);
        }
        let template = template.ok_or_else(|| wrong("it names no host"))?;
        Ok(Self {
            seeds,
            master: Some(master.to_owned()).filter(|name| !name.is_empty()),
            database: template.redis_settings().db(),
            template: template.set_tcp_settings(settings()),
        })
    }

    /// Whether connections are made with TLS.
    pub(crate) fn is_tls(&self) -> bool {
        matches!(self.template.addr(), ConnectionAddr::TcpTls { .. })
    }

    /// How to reach a node of the system.
    pub(crate) fn of(&self, node: &Node) -> ConnectionInfo {
        let (host, port) = (node.host.clone(), node.port);
        let addr = if self.is_tls() {
            ConnectionAddr::TcpTls {
                host,
                port,
                insecure: false,
                tls_params: None,
            }
        } else {
            ConnectionAddr::Tcp(host, port)
        };
        self.template.clone().set_addr(addr)
    }

    /// Whether there are credentials of the nodes with data.
    pub(crate) fn has_credentials(&self) -> bool {
        self.template.redis_settings().password().is_some()
    }
}

/// How connections are kept: nothing waits to be sent, and one that nobody uses, as that
/// of hints, is looked at by the system, so that it does not stay when its other end is
/// gone without a word.
fn settings() -> TcpSettings {
    let keepalive = TcpKeepalive::new()
        .with_time(KEEPALIVE)
        .with_interval(KEEPALIVE);
    TcpSettings::default()
        .set_nodelay(true)
        .set_keepalive(keepalive)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nodes(address: &Address) -> Vec<String> {
        address.seeds.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn one_kind_of_address_names_every_kind_of_system() {
        let one = Address::parse("redis://127.0.0.1:7000/3").expect("a single server");
        assert_eq!(nodes(&one), ["127.0.0.1:7000"]);
        assert_eq!((one.database, one.is_tls()), (3, false));
        assert_eq!(
            (one.master.as_deref(), one.has_credentials()),
            (None, false)
        );
        let text = "rediss://me:p%40ss@a.example:1,[::1]:2,b#my-master.1";
        let many = Address::parse(text).expect("Sentinels");
        assert_eq!(nodes(&many), ["a.example:1", "[::1]:2", "b:6379"]);
        assert_eq!(many.master.as_deref(), Some("my-master.1"));
        assert!(many.is_tls() && many.has_credentials());
        let info = many.of(&many.seeds[1]);
        assert_eq!(info.redis_settings().username(), Some("me"));
        assert_eq!(info.redis_settings().password(), Some("p@ss"));
        assert!(
            matches!(info.addr(), ConnectionAddr::TcpTls { host, port: 2, .. } if host == "::1")
        );
        let twice = Address::parse("redis://a,a:6379,b/#x").expect("a seed twice");
        assert_eq!(nodes(&twice), ["a:6379", "b:6379"]);
    }

    #[test]
    fn what_is_no_address_is_refused_without_its_password() {
        for text in [
            "",
            "a:1",
            "http://a:1/",
            "redis://",
            "redis://,",
            "redis://a,,b",
            "redis://me:secret@",
            "redis://me:secret@a:1,b:99999",
            "redis://me:secret@a:1/x",
            "redis://me:secret@a:1/0#na me",
            "redis+unix:///tmp/secret",
        ] {
            let error = Address::parse(text).err();
            let error = error.unwrap_or_else(|| panic!("{text} is an address"));
            assert!(!error.to_string().contains("secret"), "{error}");
        }
    }
}
