//! What must hold of a Redis before it is used, and how safely it keeps things.
//!
//! Asked on every new connection and not only at the start: behind one name there
//! may be another server after a failover or a repair, older, evicting, a replica,
//! or one that keeps less on disk. A server that cannot be trusted is treated as one
//! that is away; what a trustworthy one does with the disk is the level that publish
//! answers tell. Nothing is asked between connections: a setting that is changed
//! under a running server is seen at the next one.

use std::collections::HashMap;

use redis::{FromRedisValue as _, Pipeline, ServerError, Value};
use sidehook_store::port::Durability;

use crate::{ConnectError, error, rights, slots::Kind};

/// Settings that decide what is on disk when.
const SETTINGS: [&str; 3] = ["appendonly", "appendfsync", "no-appendfsync-on-rewrite"];
/// Setting that decides what becomes of a file whose last write was torn: with `yes`, its
/// default, Redis drops the torn command and starts. Of a script's writes it may then keep
/// the first ones without the last.
const TORN: &str = "aof-load-truncated";

/// What a server is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    /// How safely it keeps what it acknowledged.
    pub(crate) durability: Durability,
    /// Where that was learnt, and what to change for more.
    pub(crate) why: &'static str,
    /// Replicas that are connected to it.
    pub(crate) replicas: u32,
    /// Whether its user may wait for them.
    pub(crate) may_wait: bool,
    /// Whether it starts from a file that was torn in the middle of a script's writes.
    pub(crate) takes_torn: bool,
}

/// What a new connection asks; [`judge`] reads the answers.
pub(crate) fn questions() -> Pipeline {
    let mut pipe = Pipeline::new();
    for section in ["server", "memory", "replication"] {
        pipe.cmd("INFO").arg(section);
    }
    pipe.cmd("CONFIG").arg("GET").arg(&SETTINGS).arg(TORN);
    pipe.add_command(rights::question());
    pipe
}

/// Whether the server can be trusted, and how far; `declared` counts where it does
/// not tell (managed services refuse CONFIG), and `kind` is what its system was.
pub(crate) fn judge(
    answers: Vec<Value>,
    declared: Option<Durability>,
    kind: Kind,
) -> Result<Found, ConnectError> {
    let mut answers = answers.into_iter();
    let mut info = HashMap::new();
    for answer in answers.by_ref().take(3) {
        read_info(answer, &mut info)?;
    }
    fits(kind, mode(&info))?;
    // Valkey keeps telling which Redis it is compatible with.
    let found = info.get("redis_version").cloned().unwrap_or_default();
    let major = found.split('.').next().and_then(|major| major.parse().ok());
    if major.unwrap_or(0) < 7 {
        return Err(ConnectError::Version { found });
    }
    if info.get("role").is_some_and(|role| role != "master") {
        return Err(ConnectError::Replica);
    }
    if let Some(policy) = info.get("maxmemory_policy")
        && policy != "noeviction"
    {
        return Err(ConnectError::Eviction {
            found: policy.clone(),
        });
    }
    let settings = match answers.next() {
        Some(Value::ServerError(_)) | None => None,
        Some(answer) => HashMap::<String, String>::from_redis_value(answer).ok(),
    };
    let may_wait = rights::check(answers.next())?;
    let found = settings
        .as_ref()
        .and_then(durability)
        .or_else(|| declared.map(as_declared))
        .ok_or(ConnectError::Undeclared)?;
    let replicas = info.get("connected_slaves");
    Ok(Found {
        replicas: replicas.and_then(|count| count.parse().ok()).unwrap_or(0),
        may_wait,
        takes_torn: found.durability != Durability::Volatile
            && settings.is_some_and(|all| all.get(TORN).is_some_and(|value| value == "yes")),
        ..found
    })
}

/// What a server says that it is: `standalone`, `sentinel` or `cluster`. Valkey calls
/// the field differently.
pub(crate) fn mode(info: &HashMap<String, String>) -> &str {
    let told = info.get("redis_mode").or_else(|| info.get("server_mode"));
    told.map_or("standalone", String::as_str)
}

/// Whether a server is of the kind that its system was when it was first asked.
fn fits(kind: Kind, mode: &str) -> Result<(), ConnectError> {
    let wanted = match kind {
        Kind::Single | Kind::Sentinel => "standalone",
        Kind::Cluster => "cluster",
    };
    if mode == wanted {
        return Ok(());
    }
    Err(ConnectError::Kind(format!(
        "it was {wanted} and is {mode} now: start again"
    )))
}

/// The durability that the server's settings give; `None` if they do not tell.
fn durability(settings: &HashMap<String, String>) -> Option<Found> {
    let [on, fsync, pauses] = SETTINGS.map(|name| settings.get(name).map(String::as_str));
    let found = |durability, why| {
        Some(Found {
            durability,
            why,
            replicas: 0,
            may_wait: true,
            takes_torn: false,
        })
    };
    match (on?, fsync?, pauses) {
        ("yes", "always" | "everysec", Some("yes")) => found(
            Durability::Volatile,
            "with `no-appendfsync-on-rewrite yes` nothing is synced while the file is rewritten: set it to `no`",
        ),
        ("yes", "always", _) => found(Durability::Strict, "appendfsync always"),
        ("yes", "everysec", _) => found(Durability::Relaxed, "appendfsync everysec"),
        ("yes", ..) => found(
            Durability::Volatile,
            "the system decides when to sync: set `appendfsync` to `everysec` or `always`",
        ),
        _ => found(
            Durability::Volatile,
            "Redis keeps nothing on disk: set `appendonly yes`, or a restart loses events",
        ),
    }
}

const fn as_declared(durability: Durability) -> Found {
    Found {
        durability,
        why: "declared in store.durability; Redis does not tell its settings",
        replicas: 0,
        may_wait: true,
        takes_torn: false,
    }
}

/// Adds the `name:value` lines of an answer to INFO.
pub(crate) fn read_info(
    answer: Value,
    info: &mut HashMap<String, String>,
) -> Result<(), ConnectError> {
    let text = match answer {
        Value::BulkString(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Value::VerbatimString { text, .. } => text,
        Value::ServerError(error) => return Err(refused(&error)),
        _ => String::new(),
    };
    let lines = text.lines();
    let pairs = lines.filter_map(|line| line.trim_end().split_once(':'));
    info.extend(pairs.map(|(name, value)| (name.to_owned(), value.to_owned())));
    Ok(())
}

/// A command that is needed before all others was refused.
pub(crate) fn refused(error: &ServerError) -> ConnectError {
    let text = error::text(error);
    match error.code() {
        "NOAUTH" | "WRONGPASS" => ConnectError::Credentials(text),
        "NOPERM" => ConnectError::Rights(text),
        _ => ConnectError::Unreachable(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: &str = "redis_version:6.2.14\r\n";
    const MASTER: &str = "redis_version:7.0.15\r\nrole:master\r\nmaxmemory_policy:noeviction\r\n";

    fn answers(info: &str, settings: Option<[&str; 3]>) -> Vec<Value> {
        let text = |text: &str| Value::BulkString(text.as_bytes().to_vec());
        let mut all = vec![text(info), text(""), text("")];
        let pairs = |values: [&str; 3]| {
            let pairs = SETTINGS.iter().zip(values);
            Value::Array(
                pairs
                    .flat_map(|(name, value)| [text(name), text(value)])
                    .collect(),
            )
        };
        all.push(settings.map_or(Value::Nil, pairs));
        all.push(Value::Array(Vec::new()));
        all
    }

    #[test]
    fn a_torn_file_that_is_taken_is_told() {
        let taken = |settings: [&str; 3], torn: &str| {
            let mut all = answers(MASTER, Some(settings));
            if let Value::Array(pairs) = &mut all[3] {
                let more = [TORN, torn].map(|text| Value::BulkString(text.into()));
                pairs.extend(more);
            }
            let found = judge(all, None, Kind::Single);
            found.expect("it may be used").takes_torn
        };
        assert!(taken(["yes", "always", "no"], "yes"));
        assert!(!taken(["yes", "always", "no"], "no"));
        assert!(!taken(["no", "always", "no"], "yes"), "there is no file");
    }

    #[test]
    fn settings_give_the_level() {
        for (settings, wanted) in [
            (["yes", "always", "no"], Durability::Strict),
            (["yes", "everysec", "no"], Durability::Relaxed),
            (["yes", "always", "yes"], Durability::Volatile),
            (["yes", "everysec", "yes"], Durability::Volatile),
            (["yes", "no", "no"], Durability::Volatile),
            (["no", "always", "no"], Durability::Volatile),
        ] {
            let found = judge(
                answers(MASTER, Some(settings)),
                Some(Durability::Strict),
                Kind::Single,
            );
            assert_eq!(
                found.expect("it may be used").durability,
                wanted,
                "{settings:?}"
            );
        }
    }

    #[test]
    fn a_server_that_does_not_tell_needs_a_declaration() {
        let found = judge(
            answers(MASTER, None),
            Some(Durability::Relaxed),
            Kind::Single,
        );
        assert_eq!(found.expect("declared").durability, Durability::Relaxed);
        let refused = judge(answers(MASTER, None), None, Kind::Single).expect_err("not declared");
        assert!(matches!(refused, ConnectError::Undeclared), "{refused}");
        assert!(
            refused.to_string().contains("store.durability"),
            "{refused}"
        );
    }

    #[test]
    fn old_servers_and_replicas_are_refused_by_name() {
        let settings = Some(["yes", "always", "no"]);
        let old = judge(answers(OLD, settings), None, Kind::Single).expect_err("too old");
        assert!(
            matches!(&old, ConnectError::Version { found } if found == "6.2.14"),
            "{old}"
        );
        let replica = MASTER.replace("role:master", "role:slave");
        let replica =
            judge(answers(&replica, settings), None, Kind::Single).expect_err("a replica");
        assert!(matches!(replica, ConnectError::Replica), "{replica}");
    }

    #[test]
    fn replicas_are_counted_and_kinds_told_apart() {
        let settings = Some(["yes", "always", "no"]);
        let with = |more: &str| answers(&format!("{MASTER}{more}"), settings);
        let found = judge(with("connected_slaves:2\r\n"), None, Kind::Single);
        assert_eq!(found.expect("a master").replicas, 2);
        let cluster = || with("redis_mode:cluster\r\nconnected_slaves:1\r\n");
        assert!(judge(cluster(), None, Kind::Cluster).is_ok());
        let other = judge(cluster(), None, Kind::Single).expect_err("another kind");
        assert!(matches!(other, ConnectError::Kind(_)), "{other}");
        let sentinel = with("redis_mode:sentinel\r\n");
        let other = judge(sentinel, None, Kind::Sentinel).expect_err("no server with data");
        assert!(matches!(other, ConnectError::Kind(_)), "{other}");
    }

    #[test]
    fn valkey_is_taken_for_the_redis_that_it_is_compatible_with() {
        let info = "# Server\r\nredis_version:7.2.4\r\nserver_name:valkey\r\n\
            valkey_version:8.1.3\r\nvalkey_release_stage:ga\r\nserver_mode:cluster\r\n\
            role:master\r\nconnected_slaves:1\r\nmaxmemory_policy:noeviction\r\n";
        let settings = Some(["yes", "always", "no"]);
        let found = judge(answers(info, settings), None, Kind::Cluster).expect("it may be used");
        assert_eq!((found.durability, found.replicas), (Durability::Strict, 1));
        let older = info.replace("server_mode", "redis_mode");
        assert!(judge(answers(&older, settings), None, Kind::Cluster).is_ok());
    }
}
