//! Asking a Redis system what it is and where its masters are.
//!
//! Any server tells its own kind (`INFO server`); a Sentinel then names the master, and
//! a node of a Cluster tells who has which slots. Whoever is asked first changes with
//! every time, and a node that does not see its Cluster whole is passed over: one that
//! is cut off tells an old map.

use core::time::Duration;
use std::collections::HashMap;

use redis::{
    AsyncConnectionConfig, Cmd, ConnectionInfo, RedisConnectionInfo, Value,
    aio::{ConnectionLike as _, MultiplexedConnection},
};

use crate::{
    ConnectError,
    address::Node,
    error,
    leases::{bytes, list},
    preflight,
    slots::{Kind, Map},
    system::System,
};

/// How long one of several may take to answer.
const PATIENCE: Duration = Duration::from_secs(1);

/// Asks one after the other, the one at `from` first, until one can tell; the error is
/// that which tells most of why none could.
pub(crate) async fn ask(
    system: &System,
    known: Option<&Map>,
    from: usize,
) -> Result<Map, ConnectError> {
    let mut nodes: Vec<Node> = known
        .filter(|map| map.kind == Kind::Cluster)
        .map(|map| map.nodes.clone())
        .unwrap_or_default();
    let others = system
        .address
        .seeds
        .iter()
        .filter(|one| !nodes.contains(one));
    let others: Vec<Node> = others.cloned().collect();
    nodes.extend(others);
    let count = nodes.len();
    nodes.rotate_left(from % count);
    let timeout = match count {
        1 => system.response_timeout,
        _ => system.response_timeout.min(PATIENCE),
    };
    let mut failure = None;
    for node in &nodes {
        match one(system, node, timeout).await {
            Ok(map) => return Ok(map),
            Err(error) => {
                let is_away = |error: &ConnectError| matches!(error, ConnectError::Unreachable(_));
                let tells_more = failure.as_ref().is_none_or(is_away) || !is_away(&error);
                if tells_more {
                    failure = Some(error);
                }
            }
        }
    }
    Err(failure.unwrap_or_else(|| ConnectError::Unreachable("it has no address".to_owned())))
}

/// A connection to ask over.
struct Asked<'a> {
    system: &'a System,
    node: &'a Node,
    connection: MultiplexedConnection,
}

async fn one(system: &System, node: &Node, timeout: Duration) -> Result<Map, ConnectError> {
    let (mut asked, mode) = introduce(system, node, timeout).await?;
    match mode.as_str() {
        "sentinel" => asked.sentinel().await,
        "cluster" => asked.cluster().await,
        _ => asked.single(),
    }
}

/// Connects and asks for the kind. Whether to show the Sentinels' credentials or those
/// of the nodes with data is not known before: first those are shown that fit the
/// address, and where they are refused the others.
async fn introduce<'a>(
    system: &'a System,
    node: &'a Node,
    timeout: Duration,
) -> Result<(Asked<'a>, String), ConnectError> {
    // Without a database: who has none refuses to choose one, in words of its own.
    let data = system.address.of(node);
    let settings = data.redis_settings().clone().set_db(0);
    let data = data.set_redis_settings(settings);
    let watching = sentinels(system, &data);
    let tries = if system.address.master.is_some() || system.sentinel.1.is_some() {
        vec![watching, data]
    } else if system.address.has_credentials() {
        vec![data, watching]
    } else {
        vec![data]
    };
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(timeout))
        .set_response_timeout(Some(timeout));
    let mut refusal = None;
    for info in tries {
        let connected = system.connect(info, &config).await;
        let mut asked = match connected.map_err(|error| at(node, error)) {
            Ok(connection) => Asked {
                system,
                node,
                connection,
            },
            Err(error @ ConnectError::Credentials(_)) => {
                refusal.get_or_insert(error);
                continue;
            }
            Err(error) => return Err(error),
        };
        match asked.mode().await {
            Ok(mode) => return Ok((asked, mode)),
            Err(error @ (ConnectError::Credentials(_) | ConnectError::Rights(_))) => {
                refusal.get_or_insert(error);
            }
            Err(error) => return Err(error),
        }
    }
    Err(refusal.unwrap_or_else(|| ConnectError::Unreachable(node.to_string())))
}

/// How to reach a node with the credentials of the Sentinels.
fn sentinels(system: &System, data: &ConnectionInfo) -> ConnectionInfo {
    let (user, password) = &system.sentinel;
    let settings = RedisConnectionInfo::default();
    let settings = user
        .iter()
        .fold(settings, RedisConnectionInfo::set_username);
    let settings = password
        .iter()
        .fold(settings, RedisConnectionInfo::set_password);
    let settings = settings.set_protocol(data.redis_settings().protocol());
    data.clone().set_redis_settings(settings)
}

/// Says who cannot be reached.
fn at(node: &Node, error: ConnectError) -> ConnectError {
    match error {
        ConnectError::Unreachable(why) => ConnectError::Unreachable(format!("{node}: {why}")),
        other => other,
    }
}

impl Asked<'_> {
    async fn tell(&mut self, command: &Cmd) -> Result<Value, ConnectError> {
        match self.connection.req_packed_command(command).await {
            Ok(Value::ServerError(error)) => Err(preflight::refused(&error)),
            Ok(value) => Ok(value),
            Err(error) => Err(at(self.node, error::connect_error(&error))),
        }
    }

    async fn mode(&mut self) -> Result<String, ConnectError> {
        let answer = self.tell(redis::cmd("INFO").arg("server")).await?;
        let mut info = HashMap::new();
        preflight::read_info(answer, &mut info)?;
        Ok(preflight::mode(&info).to_owned())
    }

    /// A server of its own.
    fn single(&self) -> Result<Map, ConnectError> {
        let node = self.node;
        if let Some(name) = &self.system.address.master {
            return Err(ConnectError::Kind(format!(
                "{node} is no Sentinel: leave `#{name}` out, or name the Sentinels"
            )));
        }
        if self.system.address.seeds.len() > 1 {
            return Err(ConnectError::Kind(format!(
                "{node} is a server of its own: name it alone, or the Sentinels that watch it, \
                 or nodes of one Cluster"
            )));
        }
        Ok(Map::whole(Kind::Single, node.clone()))
    }

    /// The master that a Sentinel names.
    async fn sentinel(&mut self) -> Result<Map, ConnectError> {
        let name = match &self.system.address.master {
            Some(name) => name.clone(),
            None => {
                let mut names = self.masters().await?;
                match (names.pop(), names.is_empty()) {
                    (Some(name), true) => name,
                    (None, _) => {
                        return Err(ConnectError::Kind(
                            "the Sentinels watch no master".to_owned(),
                        ));
                    }
                    (Some(last), false) => {
                        let names = names.join(", ");
                        return Err(ConnectError::Kind(format!(
                            "the Sentinels watch several masters: put #NAME at the end of the \
                             address, one of {names}, {last}"
                        )));
                    }
                }
            }
        };
        let mut cmd = redis::cmd("SENTINEL");
        let answer = self
            .tell(cmd.arg("GET-MASTER-ADDR-BY-NAME").arg(&name))
            .await?;
        let parts: Vec<_> = list(answer).into_iter().map(bytes).collect();
        if let [host, port] = &parts[..]
            && let Ok(port) = String::from_utf8_lossy(port).parse()
        {
            let host = String::from_utf8_lossy(host).into_owned();
            return Ok(Map::whole(Kind::Sentinel, Node { host, port }));
        }
        let names = self.masters().await?.join(", ");
        Err(ConnectError::Kind(format!(
            "the Sentinels know no master `{name}`; they watch: {names}"
        )))
    }

    /// The names of all masters that a Sentinel watches, in order.
    async fn masters(&mut self) -> Result<Vec<String>, ConnectError> {
        let answer = self.tell(redis::cmd("SENTINEL").arg("MASTERS")).await?;
        let mut names: Vec<String> = list(answer)
            .into_iter()
            .filter_map(|row| {
                redis::from_redis_value::<HashMap<String, String>>(row)
                    .ok()?
                    .remove("name")
            })
            .collect();
        names.sort_unstable();
        Ok(names)
    }

    /// A Cluster, as one of its nodes sees it.
    async fn cluster(&mut self) -> Result<Map, ConnectError> {
        let (node, address) = (self.node, &self.system.address);
        if let Some(name) = &address.master {
            return Err(ConnectError::Kind(format!(
                "{node} is a node of a Cluster, not a Sentinel: leave `#{name}` out"
            )));
        }
        if address.database != 0 {
            return Err(ConnectError::Kind(format!(
                "a Redis Cluster has no database {}: leave it out of the address",
                address.database
            )));
        }
        let answer = self.tell(redis::cmd("CLUSTER").arg("INFO")).await?;
        let mut info = HashMap::new();
        preflight::read_info(answer, &mut info)?;
        if info.get("cluster_state").is_some_and(|state| state != "ok") {
            let served = info.get("cluster_slots_ok").map_or("?", String::as_str);
            return Err(ConnectError::Cluster(format!(
                "{node} says that it is down, with {served} of 16384 slots served"
            )));
        }
        let answer = self.tell(redis::cmd("CLUSTER").arg("SLOTS")).await?;
        let map =
            Map::cluster(answer, node).map_err(|error| ConnectError::Cluster(error.to_string()))?;
        match map.gap() {
            None => Ok(map),
            Some(slot) => Err(ConnectError::Cluster(format!(
                "{node} says that slot {slot} is nobody's: give all slots to masters"
            ))),
        }
    }
}
