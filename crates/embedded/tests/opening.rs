//! Opening, closing and opening again.

mod support;

use std::{os::unix::fs::PermissionsExt as _, time::Duration};

use bytes::Bytes;
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use redb::{ReadableDatabase as _, ReadableTableMetadata as _, TableDefinition};
use sidehook_embedded::{Embedded, OpenError};
use sidehook_store::{
    Store as _, StoreError, conformance::Comparison, port::Durability, registry::Kind,
};
use support::Disk;

#[tokio::test]
async fn reopening_at_any_step_keeps_everything() {
    for seed in 100..112 {
        let directory = tempfile::tempdir().expect("a directory");
        let mut random = StdRng::seed_from_u64(seed);
        let mut comparison = Comparison::new(seed);
        let levels = [Durability::Relaxed, Durability::Strict];
        for sitting in 0..8 {
            let level = levels[random.random_range(0..2)];
            let store = Embedded::open(directory.path(), level).expect("it opens");
            comparison.reopened();
            comparison.agree(&store).await.expect("it answers");
            comparison.read(&store).await.expect("it answers");
            for _ in 0..random.random_range(0..20) {
                comparison.step(&store).await.expect("it answers");
            }
            if sitting % 2 == 0 {
                store.close().await.expect("it closes");
            }
        }
        let store = Embedded::open(directory.path(), Durability::Relaxed).expect("it opens");
        comparison.finish(&store).await.expect("it answers");
        drop(store);
        // All else that could stay behind is what `inspect` would call a fault.
        for table in ["keys", "lapses"] {
            assert_eq!(rows(directory.path(), table), 0, "{table}");
        }
    }
}

fn rows(directory: &std::path::Path, table: &str) -> u64 {
    let database = redb::Database::create(directory.join("store.redb")).expect("it opens");
    let table: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new(table);
    let reading = database.begin_read().expect("it begins");
    let table = reading.open_table(table).expect("a table");
    table.len().expect("it counts")
}

#[tokio::test]
async fn a_closed_store_is_away() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = Embedded::open(directory.path(), Durability::Strict).expect("it opens");
    store.close().await.expect("it closes");
    let key = store.registry_get(Kind::Tenant, b"a").await;
    assert!(
        matches!(key, Err(StoreError::Unavailable { .. })),
        "{key:?}"
    );
    let put = store.registry_put(Kind::Tenant, b"a", None).await;
    assert!(
        matches!(put, Err(StoreError::Unavailable { .. })),
        "{put:?}"
    );
    assert!(store.close().await.is_err(), "it is closed already");
    assert!(store.now().await.is_err(), "whoever asks for its health");
    Embedded::open(directory.path(), Durability::Strict).expect("nobody holds it");
}

#[test]
fn a_store_that_was_not_finished_is_made_again() {
    let directory = tempfile::tempdir().expect("a directory");
    let unfinished = directory.path().join("store.redb.new");
    std::fs::write(&unfinished, [0; 4_096]).expect("it writes");
    drop(Embedded::open(directory.path(), Durability::Strict).expect("it opens"));
    assert!(!unfinished.exists());
    assert_eq!(rows(directory.path(), "meta"), 2, "its format and its name");
}

#[test]
fn what_lost_its_bytes_is_not_made_anew() {
    let directory = tempfile::tempdir().expect("a directory");
    drop(Embedded::open(directory.path(), Durability::Strict).expect("it opens"));
    let file = directory.path().join("store.redb");
    assert!(Embedded::verify(directory.path()).expect("it is whole"));
    std::fs::write(&file, b"").expect("it is emptied");
    let refused = Embedded::open(directory.path(), Durability::Strict).err();
    let told = refused.expect("it is empty").to_string();
    assert!(
        told.contains(&directory.path().display().to_string()),
        "{told}"
    );
    assert!(Embedded::verify(directory.path()).is_err());
    let left = std::fs::metadata(&file).expect("it is there").len();
    assert_eq!(left, 0, "it is as it was");
}

#[test]
fn a_second_opener_is_refused() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = Embedded::open(directory.path(), Durability::Strict).expect("it opens");
    let second = Embedded::open(directory.path(), Durability::Strict).err();
    let told = second.expect("one is enough").to_string();
    let wanted = format!(
        "{} is in use by another sidehook process (",
        directory.path().display()
    );
    assert!(told.starts_with(&wanted), "{told}");
    drop(store);
    Embedded::open(directory.path(), Durability::Strict).expect("nobody holds it");
}

#[test]
fn nobody_else_may_read_it() {
    let directory = tempfile::tempdir().expect("a directory");
    let deep = directory.path().join("deep").join("down");
    drop(Embedded::open(&deep, Durability::Strict).expect("it opens"));
    let mode = |path| {
        let data = std::fs::metadata(path).expect("it is there");
        data.permissions().mode() & 0o777
    };
    assert_eq!(mode(&deep), 0o700);
    assert_eq!(mode(&deep.join("store.redb")), 0o600);
}

#[test]
fn what_is_not_ours_is_refused() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("store.redb");
    let database = redb::Database::create(&file).expect("a database");
    let write = database.begin_write().expect("it begins");
    let table: TableDefinition<'_, &str, u64> = TableDefinition::new("theirs");
    write
        .open_table(table)
        .expect("a table")
        .insert("a", 1)
        .expect("a row");
    write.commit().expect("it commits");
    drop(database);
    let refused = Embedded::open(directory.path(), Durability::Strict).err();
    assert!(matches!(refused, Some(OpenError::Foreign)), "{refused:?}");
    std::fs::write(&file, "no database at all, by far").expect("it writes");
    let refused = Embedded::open(directory.path(), Durability::Strict).err();
    assert!(refused.is_some());
}

#[test]
fn an_unknown_format_is_refused() {
    let directory = tempfile::tempdir().expect("a directory");
    drop(Embedded::open(directory.path(), Durability::Strict).expect("it opens"));
    let file = directory.path().join("store.redb");
    let database = redb::Database::create(&file).expect("a database");
    let write = database.begin_write().expect("it begins");
    let meta: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("meta");
    let newer = 1_000_000_u32.to_be_bytes();
    write
        .open_table(meta)
        .expect("a table")
        .insert(&b"format"[..], &newer[..])
        .expect("a row");
    write.commit().expect("it commits");
    drop(database);
    let refused = Embedded::open(directory.path(), Durability::Strict).err();
    let told = refused.expect("it is newer").to_string();
    assert!(
        told.contains("format 1000000") && told.contains("newer version"),
        "{told}"
    );
}

#[tokio::test]
async fn relaxed_writes_reach_the_disk_without_further_traffic() {
    let disk = Disk::default();
    let store = disk.store(Durability::Relaxed);
    let before = disk.syncs();
    let value = Some(Bytes::from_static(b"value"));
    let put = store.registry_put(Kind::Tenant, b"a", value.clone()).await;
    put.expect("it answers");
    assert_eq!(
        disk.syncs(),
        before,
        "it was answered before it was on disk"
    );
    let waiting = disk.clone();
    let synced = tokio::task::spawn_blocking(move || {
        // The first sync of the two that a commit makes leaves the old state valid.
        waiting.await_sync(before + 1, Duration::from_secs(20))
    });
    assert!(
        synced.await.expect("it waits"),
        "a second or so later it is"
    );
    let mut random = StdRng::seed_from_u64(1);
    let after = disk.after_power_loss(support::Survives::Nothing, &mut random);
    drop(store);
    let store = after.store(Durability::Relaxed);
    assert_eq!(store.registry_get(Kind::Tenant, b"a").await, Ok(value));
}
