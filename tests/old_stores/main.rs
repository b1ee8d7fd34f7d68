//! Stores that earlier versions wrote, read by this one.
//!
//! `tests/data/stores-VERSION/` keeps for each version what a system of it left behind,
//! with one of everything in it: a snapshot of Redis, an embedded store and an export,
//! and beside them what the command line told of them. A server of this version is
//! started on each, at the time of day of its making: it must tell the same. Then time
//! goes on, receivers are named, and whatever was pending must arrive and verify.

mod account;
mod making;

use std::{
    collections::HashMap,
    env, fs,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde_json::Value;
use sidehook_api::v1;
use sidehook_testkit::{
    Agent,
    client::Client,
    clock::Clock,
    process::binary,
    receiver::{Behaviour, Receiver, event_id},
    redis_kept::KeptRedis,
    system::System,
    verify::verify,
};
use tempfile::TempDir;

use account::{account, differences};

/// The operator's key of every test's servers.
const OPERATOR_KEY: &str = "test-operator-key-0123456789abcdef";
/// A signing key that only agents know: its name, and the key.
const LOCAL_KEY: (&str, &str) = (
    "kept",
    "1f2e3d4c5b6a79880123456789abcdef1f2e3d4c5b6a79880123456789abcdef",
);
const PATIENCE: Duration = Duration::from_secs(60);
/// Long enough for leases to run out and retries to fall due.
const LATER_MS: i64 = 1_200_000;

fn agent_settings() -> String {
    let (name, secret) = LOCAL_KEY;
    format!(
        "[egress]\nallow_loopback = true\n[[local_keys]]\nname = \"{name}\"\nsecret = \"{secret}\"\n"
    )
}

fn now_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    u64::try_from(now.unwrap_or_default().as_millis()).unwrap_or(u64::MAX)
}

/// What was kept of one store.
struct Kept {
    made_at_ms: i64,
    tenant: String,
    key: String,
    token: String,
    account: Value,
}

impl Kept {
    fn read(file: &Path) -> Self {
        let text = fs::read_to_string(file);
        let text = text.unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        let mut kept: Value = serde_json::from_str(&text).expect("it is JSON");
        let text = |name: &str| kept[name].as_str().expect("a text").to_owned();
        Self {
            made_at_ms: kept["made_at_ms"].as_i64().expect("a time"),
            tenant: text("tenant"),
            key: text("key"),
            token: text("token"),
            account: kept["account"].take(),
        }
    }
}

/// A system on a copy of a kept store.
struct Opened {
    system: System,
    // Gone after the system that is on it.
    _redis: Option<KeptRedis>,
    _folder: Option<TempDir>,
}

/// Which of a version's stores.
#[derive(Clone, Copy, Debug)]
enum Store {
    Redis,
    Embedded,
    Export,
}

impl Store {
    const fn told(self) -> &'static str {
        match self {
            Self::Redis => "redis.json",
            Self::Embedded | Self::Export => "embedded.json",
        }
    }

    /// Starts a server on a copy, at this time of day.
    async fn open(self, kept: &Path, unix_ms: i64) -> Opened {
        let clock = Clock::showing(unix_ms);
        if matches!(self, Self::Redis) {
            let redis = KeptRedis::start(&kept.join("redis.rdb"), &clock).await;
            let section = format!("redis = \"{}\"", redis.url());
            let system = System::builder().store(&section).without_agent();
            return Opened {
                system: system.start().await,
                _redis: Some(redis),
                _folder: None,
            };
        }
        let folder = tempfile::tempdir().expect("a temporary folder");
        if matches!(self, Self::Embedded) {
            unpack(
                &kept.join("embedded.redb.gz"),
                &folder.path().join("store.redb"),
            );
        } else {
            let mut import = Command::new(binary("sidehook"));
            import.env_clear().envs(clock.variables());
            import
                .args(["store", "import", "--embedded"])
                .arg(folder.path());
            let ended = import.arg(kept.join("sidehook.image")).output();
            let ended = ended.expect("the binary can be run");
            let said = String::from_utf8_lossy(&ended.stderr);
            assert!(ended.status.success(), "{said}");
        }
        let section = format!("embedded = \"{}\"", folder.path().display());
        let system = System::builder().store(&section).at(&clock).without_agent();
        Opened {
            system: system.start().await,
            _redis: None,
            _folder: Some(folder),
        }
    }
}

fn unpack(packed: &Path, to: &Path) {
    let unpacked = Command::new("gzip").arg("-dc").arg(packed).output();
    let unpacked = unpacked.expect("gzip is there");
    assert!(unpacked.status.success(), "{}", packed.display());
    fs::write(to, unpacked.stdout).expect("it can be written");
}

/// The folders of all versions.
fn versions() -> Vec<PathBuf> {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data");
    let found = fs::read_dir(data).expect("there are test data");
    let paths = found.map(|entry| entry.expect("it can be read").path());
    let named = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str());
        name.is_some_and(|name| name.starts_with("stores-"))
    };
    let found: Vec<_> = paths.filter(named).collect();
    assert!(!found.is_empty(), "nothing is kept");
    found
}

/// A server tells of the store what was told when it was made. An export knows no
/// leases: what was lent is queued again.
async fn tells_the_same(store: Store, folder: &Path) {
    let kept = Kept::read(&folder.join(store.told()));
    let opened = store.open(folder, kept.made_at_ms + 1_000).await;
    let server = opened.system.grpc(0);
    let found = account(server, OPERATOR_KEY, &kept.tenant, &kept.key);
    let mut wrong = differences(&kept.account, &found);
    if matches!(store, Store::Export) {
        let before = wrong.len();
        wrong.retain(|_, (kept, found)| {
            (&*kept, &*found) != (&"in_flight".into(), &"queued".into())
        });
        assert_eq!(before - wrong.len(), 2, "what was lent");
    }
    assert!(
        wrong.is_empty(),
        "{store:?} of {}: {wrong:#?}",
        folder.display()
    );
}

/// Names a receiver for each subscription, which changes its old record.
async fn redirect(client: &Client, ids: &[String], url: &str) -> HashMap<String, v1::Subscription> {
    let mut subscriptions = HashMap::new();
    for id in ids {
        let request = v1::UpdateSubscriptionRequest {
            subscription: Some(v1::Subscription {
                id: id.clone(),
                url: format!("{url}/{id}"),
                ..v1::Subscription::default()
            }),
            ..v1::UpdateSubscriptionRequest::default()
        };
        let updated = client.webhooks().update_subscription(request).await;
        updated.unwrap_or_else(|error| panic!("{id}: {error}"));
        let request = v1::GetSubscriptionRequest { id: id.clone() };
        let shown = client.webhooks().get_subscription(request).await;
        let shown = shown.expect("it is there").into_inner().subscription;
        subscriptions.insert(id.clone(), shown.expect("an answer has it"));
    }
    subscriptions
}

/// The subscription as its receiver knows it: a local key is in no answer.
fn with_local_key(mut subscription: v1::Subscription) -> v1::Subscription {
    if let Some(signing) = &mut subscription.signing
        && !signing.local_key.is_empty()
    {
        signing.keys = vec![v1::SigningKey {
            secret: LOCAL_KEY.1.to_owned(),
            ..v1::SigningKey::default()
        }];
    }
    subscription
}

/// Everything that was pending arrives, signed by the keys that were sealed then.
async fn delivers_what_was_pending(store: Store, folder: &Path) {
    let kept = Kept::read(&folder.join(store.told()));
    let opened = store.open(folder, kept.made_at_ms + LATER_MS).await;
    let client = Client::new(opened.system.grpc(0), &kept.key);
    let receiver = Receiver::start(Behaviour::Ok).await;
    let items = |name: &str| kept.account[name].as_object().expect("an object").clone();
    let active = items("subscriptions");
    let active = active
        .into_iter()
        .filter(|(_, one)| one["status"] == "active");
    let active: Vec<_> = active.map(|(id, _)| id).collect();
    let subscriptions = redirect(&client, &active, &receiver.url()).await;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut pending: Vec<_> = items("deliveries")
        .into_values()
        .filter(|one| !["delivered", "dead", "cancelled"].contains(&&*text(&one["state"])))
        .map(|one| (text(&one["subscription_id"]), text(&one["event_id"])))
        .filter(|(subscription, _)| active.contains(subscription))
        .collect();
    assert!(pending.len() > 10, "{pending:?}");

    let _agent = Agent::with_token(&opened.system, &kept.token, &agent_settings());
    let arrived = receiver.wait_for(pending.len(), PATIENCE).await;
    assert!(
        arrived,
        "{store:?}: {} of {}",
        receiver.count(),
        pending.len()
    );
    let mut received = Vec::new();
    for request in receiver.received() {
        let id = request
            .path
            .rsplit('/')
            .next()
            .unwrap_or_default()
            .to_owned();
        let subscription = with_local_key(subscriptions[&id].clone());
        let scheme = subscription
            .signing
            .as_ref()
            .and_then(|signing| signing.scheme.as_ref());
        if !matches!(scheme, Some(v1::signing::Scheme::Unsigned(_))) {
            assert_eq!(verify(&request, &subscription), Ok(()), "{subscription:?}");
        }
        received.push((id, event_id(&request).expect("an envelope")));
    }
    received.sort();
    pending.sort();
    assert_eq!(received, pending, "{store:?}");
}

async fn is_read(store: Store) {
    for folder in versions() {
        tells_the_same(store, &folder).await;
        delivers_what_was_pending(store, &folder).await;
    }
}

#[tokio::test]
async fn a_redis_of_every_version_is_read() {
    is_read(Store::Redis).await;
}

#[tokio::test]
async fn an_embedded_store_of_every_version_is_read() {
    is_read(Store::Embedded).await;
}

#[tokio::test]
async fn an_export_of_every_version_is_read() {
    is_read(Store::Export).await;
}

/// No test, but how the data are made: `tools/keep-stores.sh`.
#[tokio::test]
#[ignore = "writes what the other tests read"]
async fn make() {
    let folder = env::var_os("SIDEHOOK_KEEP_IN").expect("SIDEHOOK_KEEP_IN names a folder");
    Box::pin(making::make(Path::new(&folder))).await;
}
