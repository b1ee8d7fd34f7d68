//! A system that moves from one kind of store to another and back, with deliveries
//! pending; and exports that are not as they were written.

use std::{fs, path::Path, time::Duration};

use sidehook_api::v1;
use sidehook_testkit::{
    client::{event, subscription},
    ledger::Ledger,
    receiver::{Behaviour, Receiver},
    redis_server::RedisServer,
    system::{Place, System},
    verify::verify,
};

const PATIENCE: Duration = Duration::from_secs(60);
/// Requests that the receiver answers with 500 at first.
const FAILING: u32 = 20;

/// A system on an embedded store with a receiver that fails at first.
struct Story {
    system: System,
    receiver: Receiver,
    subscription: v1::Subscription,
    ledger: Ledger,
    published: u64,
    /// Requests that are in the ledger.
    booked: usize,
}

impl Story {
    async fn begin() -> Self {
        let system = System::builder().embedded().start().await;
        let receiver = Receiver::start(Behaviour::FailFirst(FAILING)).await;
        let mut wanted = subscription(&receiver.url(), "order");
        wanted.max_in_flight = 64;
        wanted.retry_policy = Some(v1::RetryPolicy {
            initial_backoff: Some(prost_types::Duration {
                seconds: 20,
                nanos: 0,
            }),
            ..v1::RetryPolicy::default()
        });
        let subscription = system.client(0).create(wanted).await;
        Self {
            system,
            receiver,
            subscription,
            ledger: Ledger::new(),
            published: 0,
            booked: 0,
        }
    }

    /// Publishes so many events, each with an idempotency key.
    async fn publish(&mut self, count: u64) {
        let events = (self.published..self.published + count).map(keyed);
        let results = self.system.client(0).publish(events.collect()).await;
        self.ledger.published(count);
        for result in results.expect("published") {
            assert!(result.error.is_none(), "{result:?}");
            self.ledger.acknowledged(&result.event_id, ["receiver"]);
        }
        self.published += count;
    }

    /// Waits until everything has arrived. An agent that is killed may repeat what it
    /// had not reported, so requests alone do not tell.
    async fn all_arrive(&mut self) {
        loop {
            let received = self.receiver.received();
            for request in &received[self.booked..] {
                assert_eq!(verify(request, &self.subscription), Ok(()));
            }
            self.ledger.received("receiver", &received[self.booked..]);
            self.booked = received.len();
            if self.ledger.is_complete() {
                return;
            }
            let more = self.receiver.wait_for(self.booked + 1, PATIENCE).await;
            assert!(more, "{:?} is missing: {}", self.ledger.lost(), self.ledger);
        }
    }

    /// Stops everything and brings all that there is to a store of the other kind, on
    /// which the server starts again.
    async fn moves(&mut self, file: &Path) {
        self.system.kill_agent();
        self.system.terminate_server().await;
        let from = self.system.place();
        let name = file.display().to_string();
        let (well, _, told) = from.store("export", &[&name]);
        assert!(well, "{told}");
        assert!(told.contains("same sealing key"), "{told}");
        if matches!(from, Place::Redis(_)) {
            self.system.use_embedded("another");
        } else {
            self.system.use_redis().await;
        }
        let (well, _, told) = self.system.place().store("import", &[&name]);
        assert!(well, "{told}");
        let (well, told, _) = self.system.place().store("check", &[]);
        assert!(well, "{told}");
        self.system.restart_server(0).await;
    }

    fn counts(&self) -> serde_json::Value {
        let place = self.system.place();
        let (well, told, error) = place.store("stats", &["--output", "json"]);
        assert!(well, "{error}");
        let stats: serde_json::Value = serde_json::from_str(&told).expect("it is JSON");
        stats[0].clone()
    }
}

fn keyed(n: u64) -> v1::Event {
    v1::Event {
        idempotency_key: format!("order-{n}"),
        ..event("order", n)
    }
}

/// 20 deliveries wait for a retry and 30 are queued when the system moves to Redis;
/// 40 more are queued when it moves back.
#[tokio::test]
async fn a_system_moves_there_and_back_without_loss() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut story = Story::begin().await;
    let failing = u64::from(FAILING);
    story.publish(failing).await;
    assert!(story.receiver.wait_for(FAILING as usize, PATIENCE).await);
    story.system.terminate_agent(PATIENCE).await;
    story.publish(30).await;

    story.moves(&folder.path().join("there")).await;
    let counts = story.counts();
    assert_eq!(counts["subscriptions"], 1, "{counts}");
    assert_eq!(counts["waiting"], failing, "{counts}");
    assert_eq!(counts["ready"], 30, "{counts}");
    // What was published before is known.
    let again = story.system.client(0).publish(vec![keyed(3)]).await;
    let again = again.expect("published").remove(0);
    assert!(again.duplicate, "{again:?}");
    story.system.start_agent(0);
    story.all_arrive().await;

    story.system.kill_agent();
    story.publish(40).await;
    story.moves(&folder.path().join("back")).await;
    story.system.start_agent(0);
    story.all_arrive().await;
    story.ledger.assert_nothing_lost();
    assert!(story.ledger.unexpected().is_empty(), "{}", story.ledger);
}

/// An export of a system that has one subscription and one queued delivery.
async fn exported(folder: &Path) -> Vec<u8> {
    let mut system = System::builder().embedded().without_agent().start().await;
    let client = system.client(0);
    client.subscribe("http://127.0.0.1:9/", "order").await;
    client
        .publish(vec![event("order", 1)])
        .await
        .expect("published");
    let file = folder.join("whole");
    let name = file.display().to_string();
    let (well, _, told) = system.place().store("export", &[&name]);
    assert!(!well, "a server uses the store");
    assert!(told.contains("in use"), "{told}");
    assert!(!file.exists(), "nothing is left of an export that failed");
    system.terminate_server().await;
    let (well, _, told) = system.place().store("export", &[&name]);
    assert!(well, "{told}");
    fs::read(file).expect("it was written")
}

#[track_caller]
fn assert_refused(place: &Place, file: &Path, bytes: &[u8], words: &str) {
    fs::write(file, bytes).expect("a file can be written");
    let name = file.display().to_string();
    let (well, _, told) = place.store("import", &[&name]);
    assert!(!well, "it is refused");
    assert!(told.contains(words), "{words:?} is not told: {told}");
}

#[tokio::test]
async fn what_is_not_whole_is_refused() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let whole = exported(folder.path()).await;
    let server = RedisServer::start().await;
    let redis = Place::Redis(server.url());
    let file = folder.path().join("file");
    assert_refused(&redis, &file, &whole[..whole.len() - 1], "cut off");
    assert_refused(&redis, &file, &whole[..whole.len() / 2], "cut off");
    assert_refused(&redis, &file, b"something else", "store export");
    let mut changed = whole.clone();
    let middle = changed.len() / 2;
    changed[middle] ^= 1;
    assert_refused(&redis, &file, &changed, "changed or is damaged");
    // The header's first field is the format, behind the first line and two lengths.
    let mut newer = whole.clone();
    let at = b"sidehook image\n".len() + 4;
    assert_eq!(newer[at], 1, "the format's place");
    newer[at] = 2;
    assert_refused(&redis, &file, &newer, "has format 2");

    let (well, told, _) = redis.store("stats", &["--output", "json"]);
    assert!(well && told.trim() == "[]", "nothing was imported: {told}");
    fs::write(&file, &whole).expect("a file can be written");
    let name = file.display().to_string();
    let (well, _, told) = redis.store("import", &[&name]);
    assert!(well, "{told}");
    assert_refused(
        &redis,
        &file,
        &whole,
        "not empty: it holds 1 tenant, 1 subscription, 1 event",
    );
}

#[cfg(unix)]
#[tokio::test]
async fn exports_are_for_their_owner_only() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().expect("a temporary folder");
    exported(folder.path()).await;
    let file = fs::metadata(folder.path().join("whole")).expect("it was written");
    assert_eq!(file.permissions().mode() & 0o777, 0o600);
    let left = fs::read_dir(folder.path()).expect("a folder").count();
    assert_eq!(left, 1, "no temporary file is left");
}

#[test]
fn a_store_that_is_not_there_is_not_made() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let missing = Place::folder(&folder.path().join("missing"));
    for (command, more) in [("check", &[][..]), ("stats", &[]), ("export", &["-"])] {
        let (well, _, told) = missing.store(command, more);
        assert!(!well, "{command}");
        assert!(told.contains("there is no store in"), "{told}");
    }
    assert!(!folder.path().join("missing").exists());
}
