//! A system that moves from one kind of store to another and back, with deliveries
//! pending; and exports that are not as they were written.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use sidehook_api::v1;
use sidehook_testkit::{
    client::{event, subscription},
    ledger::Ledger,
    process::binary,
    receiver::{Behaviour, Receiver},
    redis_server::RedisServer,
    system::{Builder, Place, System},
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
    /// which the server starts again; what that store had before.
    async fn moves(&mut self, file: &Path) -> serde_json::Value {
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
        let counts = self.counts();
        self.system.restart_server(0).await;
        counts
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

    let counts = story.moves(&folder.path().join("there")).await;
    assert_eq!(counts["subscriptions"], 1, "{counts}");
    assert_eq!(counts["waiting"], failing, "{counts}");
    assert_eq!(counts["queued"], 30, "{counts}");
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

/// A system that has one subscription and one queued delivery.
async fn small(builder: Builder) -> System {
    let system = builder.without_agent().start().await;
    let client = system.client(0);
    client.subscribe("http://127.0.0.1:9/", "order").await;
    let published = client.publish(vec![event("order", 1)]).await;
    published.expect("published");
    system
}

/// An export of such a system.
async fn exported(folder: &Path) -> Vec<u8> {
    let mut system = small(System::builder().embedded()).await;
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

/// One bit of a payload has changed on the disk.
#[tokio::test]
async fn a_rotten_payload_is_found() {
    let mut system = small(System::builder().embedded()).await;
    system.terminate_server().await;
    let place = system.place();
    let (well, told, error) = place.store("check", &[]);
    assert!(well && told.contains("sound"), "{told}{error}");
    let Place::Embedded(folder) = &place else {
        panic!("it is embedded");
    };
    let file = Path::new(folder).join("store.redb");
    let mut bytes = fs::read(&file).expect("it is there");
    let needle = br#"{"n":1}"#;
    let found = bytes.windows(needle.len()).position(|at| at == needle);
    bytes[found.expect("payloads are kept as they are") + 2] ^= 1;
    fs::write(&file, bytes).expect("it can be written");
    let (well, told, error) = place.store("check", &[]);
    assert!(!well && !told.contains("sound"), "{told}{error}");
    assert!(error.contains("restore it from an export"), "{error}");
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

/// A server at work on Redis: nobody reads it out, fills it, or holds it up unasked.
#[tokio::test]
async fn a_redis_in_use_is_looked_at_and_no_more() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut system = small(System::builder()).await;
    let redis = system.place();
    let file = folder.path().join("file").display().to_string();
    for (command, more) in [
        ("export", &[&*file][..]),
        ("export", &["-"]),
        ("check", &[]),
    ] {
        let (well, printed, told) = redis.store(command, more);
        assert!(!well && printed.is_empty(), "{command}: {printed}");
        let words = "another process uses this store";
        assert!(told.contains(words), "{command}: {told}");
    }
    let left = fs::read_dir(folder.path()).expect("a folder").count();
    assert_eq!(left, 0, "nothing was written");
    let (well, told, error) = redis.store("stats", &["--output", "json"]);
    assert!(well, "{error}");
    let stats: serde_json::Value = serde_json::from_str(&told).expect("it is JSON");
    assert_eq!(stats[0]["queued"], 1, "{stats}");
    let (well, told, error) = redis.store("check", &["--in-use"]);
    assert!(well && told.contains("sound"), "{told}{error}");

    system.terminate_server().await;
    let (well, _, told) = redis.store("export", &[&file]);
    assert!(well, "{told}");
    system.restart_server(0).await;
    let (well, _, told) = redis.store("import", &[&file]);
    assert!(!well && told.contains("another process"), "{told}");
}

/// An embedded store is there as a whole or not at all, and what is there is left alone.
#[tokio::test]
async fn an_embedded_store_is_made_whole_or_not_at_all() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let whole = exported(folder.path()).await;
    let file = folder.path().join("file");
    fs::write(&file, &whole).expect("a file can be written");
    let name = file.display().to_string();
    let target = folder.path().join("target");
    let place = Place::folder(&target);
    // What a killed import leaves: a store that is not whole, and not even a store.
    let workshop = target.join(".sidehook-import");
    fs::create_dir_all(&workshop).expect("a folder can be made");
    fs::write(workshop.join("store.redb"), &whole[..40]).expect("it can be written");
    let other = workshop.join("other");
    fs::write(&other, b"somebody's").expect("it can be written");
    let (well, _, told) = place.store("import", &[&name]);
    assert!(!well && told.contains("it holds other"), "{told}");
    assert!(other.exists(), "what is not its own is left alone");
    fs::remove_file(&other).expect("it can be removed");
    let (well, _, told) = place.store("import", &[&name]);
    assert!(well, "{told}");
    assert!(!workshop.exists(), "nothing is left of either import");
    let (well, told, _) = place.store("check", &[]);
    assert!(well, "{told}");
    let store = fs::read(target.join("store.redb")).expect("there is a store");
    assert_refused(&place, &file, &whole, "there is a store");
    let left = fs::read(target.join("store.redb")).expect("there is a store");
    assert!(left == store, "it is as it was");

    let other = folder.path().join("other");
    let changed = [&whole[..], b"x"].concat();
    assert_refused(
        &Place::folder(&other),
        &file,
        &changed,
        "nothing was imported",
    );
    assert!(!other.exists(), "nothing was made");
}

/// Where an export cannot be written, that is told, and what was there stays.
#[tokio::test]
async fn exports_that_cannot_be_written_are_told() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut system = small(System::builder().embedded()).await;
    system.terminate_server().await;
    let place = system.place();
    for (file, words) in [
        (folder.path().display().to_string(), "else than a file"),
        ("/dev/null".to_owned(), "else than a file"),
        (
            format!("{}/none/file", folder.path().display()),
            "cannot be written",
        ),
    ] {
        let (well, _, told) = place.store("export", &[&file]);
        assert!(!well && told.contains(words), "{told}");
    }
    let Place::Embedded(store) = &place else {
        panic!("it is an embedded store");
    };
    let full = fs::OpenOptions::new().write(true).open("/dev/full");
    let mut export = Command::new(binary("sidehook"));
    export
        .env_clear()
        .args(["store", "export", "--embedded", store, "-"]);
    export
        .stdout(full.expect("Linux has it"))
        .stderr(Stdio::piped());
    let ended = export.output().expect("the binary can be run");
    let told = String::from_utf8_lossy(&ended.stderr);
    assert!(
        !ended.status.success() && told.contains("No space left"),
        "{told}"
    );
}

/// The README's commands, as they stand there.
#[tokio::test]
async fn the_commands_of_the_readme_move_a_system() {
    let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let text = fs::read_to_string(readme).expect("there is a README");
    let (_, rest) = text
        .split_once("```sh moving\n")
        .expect("a block of commands");
    let (block, _) = rest.split_once("\n```").expect("the block ends");

    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut system = small(System::builder().embedded()).await;
    system.terminate_server().await;
    let Place::Embedded(from) = system.place() else {
        panic!("it is an embedded store");
    };
    let redis = RedisServer::start().await;
    let sidehook = binary("sidehook");
    let bin = sidehook.parent().expect("a folder").display().to_string();
    let path = std::env::var("PATH").unwrap_or_default();
    let mut shell = Command::new("bash");
    shell.args(["-eu", "-o", "pipefail", "-c", block]);
    shell.current_dir(folder.path());
    shell.env("PATH", format!("{bin}:{path}"));
    shell
        .env("OLD", from)
        .env("SIDEHOOK_STORE__REDIS", redis.url());
    let ended = shell.output().expect("bash can be run");
    let told = String::from_utf8_lossy(&ended.stderr);
    assert!(ended.status.success(), "{told}");
    let printed = String::from_utf8_lossy(&ended.stdout);
    assert!(printed.contains("the store is sound"), "{printed}");
    assert!(printed.contains("QUEUED"), "{printed}");
}
