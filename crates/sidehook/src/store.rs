//! Which store a process uses, and opening it.

use core::time::Duration;
use std::{fs, path::PathBuf, sync::Arc};

use secrecy::{ExposeSecret as _, SecretString};
use sidehook_embedded::Embedded;
use sidehook_redis::{RedisConfig, RedisStore, RedisTls};
use sidehook_runtime::config::Reader;
use sidehook_store::{Store, port::Durability};

/// Turn workers of a local system: as many as a server has unless told otherwise.
pub(crate) const WORKERS: usize = 4;
/// How long a call of Redis may take, unless told otherwise.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(5);

/// The section `store`: one of these.
#[derive(Clone, Debug)]
pub(crate) enum StoreConfig {
    /// Shared by several replicas.
    Redis(Box<Redis>),
    /// In a folder of this machine, for one replica.
    Embedded {
        /// Made if it is missing.
        directory: PathBuf,
        /// Strict or relaxed.
        durability: Durability,
    },
}

/// A Redis: a single server, Sentinels or a Cluster.
#[derive(Clone, Debug)]
pub(crate) struct Redis {
    /// `redis://` or `rediss://`; it may hold a password.
    url: SecretString,
    /// The durability to go by where Redis does not tell its settings.
    declared: Option<Durability>,
    /// How long a call may take.
    response_timeout: Duration,
    /// Certificates for `rediss://`.
    tls: RedisTls,
    /// Replicas that must have what is acknowledged, if that is set.
    replicas: Option<u32>,
    /// User of the Sentinels.
    sentinel_username: Option<String>,
    /// Password of the Sentinels.
    sentinel_password: Option<SecretString>,
}

impl Redis {
    /// What is usual, for this address.
    pub(crate) fn new(url: SecretString) -> Self {
        Self {
            url,
            declared: None,
            response_timeout: RESPONSE_TIMEOUT,
            tls: RedisTls::default(),
            replicas: None,
            sentinel_username: None,
            sentinel_password: None,
        }
    }

    /// Opens it for this many turn workers.
    async fn open(self, workers: usize) -> Result<RedisStore, String> {
        let password = self.sentinel_password.as_ref();
        let config = RedisConfig {
            url: self.url.expose_secret().to_owned(),
            workers,
            durability_declared: self.declared,
            response_timeout: self.response_timeout,
            tls: self.tls,
            replicas: self.replicas,
            sentinel_username: self.sentinel_username,
            sentinel_password: password.map(|word| word.expose_secret().to_owned()),
        };
        let store = RedisStore::connect(config).await;
        store.map_err(|error| error.to_string())
    }
}

impl StoreConfig {
    /// Reads the section.
    pub(crate) fn read(r: &mut Reader<'_>) -> Option<Self> {
        let redis = r.secret("redis");
        let embedded = r.optional::<String>("embedded");
        let durability = read_durability(r);
        let (least, most) = (Duration::from_millis(100), Duration::from_secs(60));
        let response_timeout = r.value_in("response_timeout", RESPONSE_TIMEOUT, least..=most);
        let tls = read_tls(r, redis.as_ref());
        let replicas = read_replicas(r);
        let (sentinel_username, sentinel_password) = read_sentinel(r);
        match (redis, embedded) {
            (Some(url), None) => {
                if !RedisConfig::is_url(url.expose_secret()) {
                    // The text may hold a password: it is not shown.
                    r.problem(
                        "redis",
                        "is not a Redis URL",
                        "give redis://HOST:PORT/ or rediss://HOST:PORT/, with commas between \
                         several places, and #NAME at the end for a master that Sentinels watch",
                    );
                }
                Some(Self::Redis(Box::new(Redis {
                    url,
                    declared: durability,
                    response_timeout,
                    tls,
                    replicas,
                    sentinel_username,
                    sentinel_password,
                })))
            }
            (None, Some(directory)) => {
                let durability = durability.unwrap_or(Durability::Strict);
                if durability == Durability::Volatile {
                    r.problem(
                        "durability",
                        "the embedded store is never volatile",
                        "give strict or relaxed",
                    );
                }
                Some(Self::Embedded {
                    directory: directory.into(),
                    durability,
                })
            }
            (None, None) => {
                r.problem(
                    "redis",
                    "and store.embedded are missing: no store is named",
                    "give store.redis or store.redis_file, the URL of Redis, or store.embedded, \
                     the folder of an embedded store",
                );
                None
            }
            (Some(_), Some(_)) => {
                r.problem("embedded", "is given beside store.redis", "name one store");
                None
            }
        }
    }

    /// Opens the store for this many turn workers.
    ///
    /// # Errors
    /// What is wrong, for people.
    pub(crate) async fn open(self, workers: usize) -> Result<Arc<dyn Store>, String> {
        match self {
            Self::Redis(redis) => Ok(Arc::new(redis.open(workers).await?)),
            Self::Embedded {
                directory,
                durability,
            } => {
                let place = directory.display().to_string();
                let open = move || Embedded::open(&directory, durability);
                let store = tokio::task::spawn_blocking(open).await;
                let store = store.map_err(|error| error.to_string())?;
                let store = store.map_err(|error| error.to_string())?;
                tracing::info!(directory = place, ?durability, "opened the embedded store");
                Ok(Arc::new(store))
            }
        }
    }
}

/// Closes the store of a process that has drained.
///
/// # Errors
/// What was acknowledged and may be lost, for people.
pub(crate) async fn close(store: &dyn Store) -> Result<(), String> {
    let closed = store.close().await;
    closed.map_err(|error| format!("what was acknowledged last may be lost: {error}"))
}

/// Reads `ca_file`, `cert_file` and `key_file`, and what is in them.
fn read_tls(r: &mut Reader<'_>, url: Option<&SecretString>) -> RedisTls {
    let authorities = read_pem(r, "ca_file");
    let (certificate, key) = (read_pem(r, "cert_file"), read_pem(r, "key_file"));
    let is_tls = url.is_some_and(|url| url.expose_secret().starts_with("rediss:"));
    for (name, given) in [("ca_file", &authorities), ("cert_file", &certificate)] {
        if given.is_some() && !is_tls {
            r.problem(
                name,
                "is for TLS to Redis, and store.redis has none",
                "give a rediss:// URL for store.redis, or leave it out",
            );
        }
    }
    if certificate.is_some() != key.is_some() {
        r.problem(
            "cert_file",
            "and store.key_file belong together",
            "give both, or neither",
        );
    }
    RedisTls {
        authorities,
        identity: certificate.zip(key),
    }
}

/// More replicas than anybody has: a number that large is a mistake.
const REPLICAS_MOST: u32 = 16;

fn read_replicas(r: &mut Reader<'_>) -> Option<u32> {
    let replicas = r.optional::<u32>("replicas")?;
    if replicas > REPLICAS_MOST {
        r.problem(
            "replicas",
            format!("{replicas} is out of range"),
            format!("give a number from 0 to {REPLICAS_MOST}"),
        );
    }
    Some(replicas)
}

/// Reads the user and the password of the Sentinels.
fn read_sentinel(r: &mut Reader<'_>) -> (Option<String>, Option<SecretString>) {
    let user = r.optional::<String>("sentinel_username");
    let password = r.secret("sentinel_password");
    if user.is_some() && password.is_none() {
        r.problem(
            "sentinel_username",
            "is given without store.sentinel_password",
            "give both, or only the password",
        );
    }
    (user, password)
}

fn read_pem(r: &mut Reader<'_>, key: &str) -> Option<Vec<u8>> {
    let path = r.optional::<String>(key)?;
    match fs::read(&path) {
        Ok(pem) => Some(pem),
        Err(error) => {
            r.problem(
                key,
                format!("{path} cannot be read: {error}"),
                "give the path of a PEM file",
            );
            None
        }
    }
}

fn read_durability(r: &mut Reader<'_>) -> Option<Durability> {
    match r.optional::<String>("durability")?.as_str() {
        "strict" => Some(Durability::Strict),
        "relaxed" => Some(Durability::Relaxed),
        "volatile" => Some(Durability::Volatile),
        other => {
            r.problem(
                "durability",
                format!("{other:?} is no level of durability"),
                "give strict, relaxed or volatile; for Redis it counts only where Redis does not \
                 tell its own settings",
            );
            None
        }
    }
}
