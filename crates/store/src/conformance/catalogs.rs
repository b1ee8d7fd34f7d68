//! Subscriptions at rest.

use bytes::Bytes;
use sidehook_core::{id::SubscriptionNumber, limits::SUBSCRIPTIONS_PER_TENANT, version::Version};

use super::choices::{TENANT, shared};
use crate::{
    catalog::{Bounds, Catalog, Change, Expect, QueueSettings, Row, Write, Written},
    port::Store,
};

fn put(number: u32, expect: Expect, nonce: u64) -> Write {
    Write {
        tenant: TENANT,
        number: SubscriptionNumber(number),
        expect,
        bounds: Bounds::default(),
        nonce,
        change: Change::Put {
            record: Bytes::from(nonce.to_string()),
            queue: QueueSettings {
                pool: shared(),
                window: 10,
                paused: false,
            },
        },
    }
}

fn delete(number: u32, expect: Expect, nonce: u64) -> Write {
    Write {
        change: Change::Delete,
        ..put(number, expect, nonce)
    }
}

async fn write(store: &dyn Store, write: Write) -> Written {
    store.write(&write).await.expect("the store answers")
}

async fn done(store: &dyn Store, one: Write) -> Version {
    match write(store, one.clone()).await {
        Written::Done(version) => version,
        other => panic!("{one:?}: {other:?}"),
    }
}

async fn read(store: &dyn Store) -> Catalog {
    let catalog = store.catalog(TENANT, None).await.expect("it answers");
    catalog.expect("nothing is known")
}

pub(super) async fn versions_guard_writes(store: &dyn Store) {
    assert_eq!(read(store).await, Catalog::default());
    let none = store.catalog(TENANT, Some(Version::default())).await;
    assert_eq!(none, Ok(None));
    let first = done(store, put(1, Expect::Absent, 11)).await;
    let absent = Written::Conflict { current: None };
    let conflict = |version| Written::Conflict {
        current: Some(version),
    };
    let taken = write(store, put(1, Expect::Absent, 12)).await;
    assert_eq!(taken, conflict(first));
    let second = done(store, put(1, Expect::Version(first), 13)).await;
    assert_ne!(first, second);
    let late = write(store, put(1, Expect::Version(first), 14)).await;
    assert_eq!(late, conflict(second));
    let late = write(store, delete(1, Expect::Version(first), 15)).await;
    assert_eq!(late, conflict(second));
    let never = write(store, put(2, Expect::Version(first), 16)).await;
    assert_eq!(never, absent);
    let never = write(store, delete(2, Expect::Absent, 17)).await;
    assert_eq!(never, absent);
    let catalog = read(store).await;
    let row = Row {
        number: SubscriptionNumber(1),
        version: second,
        record: Bytes::from_static(b"13"),
    };
    assert_eq!(catalog.rows, [row]);
    let known = store.catalog(TENANT, Some(catalog.version)).await;
    assert_eq!(known, Ok(None));
}

pub(super) async fn repeated_writes_answer_the_same(store: &dyn Store) {
    let create = put(1, Expect::Absent, 11);
    let first = done(store, create.clone()).await;
    let catalog = read(store).await;
    assert_eq!(done(store, create).await, first);
    assert_eq!(read(store).await, catalog, "a repeat changes nothing");
    let update = put(1, Expect::Version(first), 12);
    let second = done(store, update.clone()).await;
    assert_eq!(done(store, update).await, second);
    let remove = delete(1, Expect::Version(second), 13);
    assert_eq!(done(store, remove.clone()).await, second);
    let catalog = read(store).await;
    assert_eq!(catalog.rows, []);
    assert_eq!(done(store, remove).await, second);
    assert_eq!(read(store).await, catalog);
}

pub(super) async fn numbers_are_never_used_again(store: &dyn Store) {
    let version = done(store, put(1, Expect::Absent, 11)).await;
    done(store, delete(1, Expect::Version(version), 12)).await;
    for expect in [Expect::Absent, Expect::Version(version)] {
        let gone = write(store, put(1, expect, 13)).await;
        assert_eq!(gone, Written::Conflict { current: None });
    }
}

pub(super) async fn a_tenants_own_bound_holds(store: &dyn Store) {
    let bounds = Bounds {
        most: 5,
        catalog: None,
    };
    let bounded = |number, expect, nonce| Write {
        bounds,
        ..put(number, expect, nonce)
    };
    let first = done(store, bounded(1, Expect::Absent, 1)).await;
    for number in 2..=5 {
        done(store, bounded(number, Expect::Absent, number.into())).await;
    }
    for number in 6..=8 {
        let refused = write(store, bounded(number, Expect::Absent, number.into())).await;
        assert_eq!(refused, Written::TooMany);
    }
    let again = done(store, bounded(1, Expect::Absent, 1)).await;
    assert_eq!(again, first, "made before, so answered");
    assert_eq!(read(store).await.rows.len(), 5);
    // Not about what is there, however many that are.
    let fewer = Bounds { most: 1, ..bounds };
    let change = Write {
        bounds: fewer,
        ..put(1, Expect::Version(first), 20)
    };
    done(store, change).await;
}

pub(super) async fn a_change_that_looked_at_all_is_overtaken_by_any(store: &dyn Store) {
    let at = |catalog, write: Write| Write {
        bounds: Bounds {
            catalog: Some(catalog),
            ..Bounds::default()
        },
        ..write
    };
    let none = Version::default();
    let first = at(none, put(1, Expect::Absent, 1));
    let version = done(store, first.clone()).await;
    let late = write(store, at(none, put(2, Expect::Absent, 2))).await;
    assert_eq!(late, Written::Overtaken);
    assert_eq!(
        done(store, first).await,
        version,
        "made before, so answered"
    );
    let now = read(store).await.version;
    done(store, at(now, put(2, Expect::Absent, 3))).await;
    let late = at(now, put(1, Expect::Version(version), 4));
    assert_eq!(write(store, late).await, Written::Overtaken);
    let wrong = at(none, put(1, Expect::Absent, 5));
    let conflict = Written::Conflict {
        current: Some(version),
    };
    assert_eq!(write(store, wrong).await, conflict, "of its own first");
    assert_eq!(read(store).await.rows.len(), 2);
}

pub(super) async fn catalogs_are_bounded(store: &dyn Store) {
    let count = u32::try_from(SUBSCRIPTIONS_PER_TENANT).expect("small");
    let mut last = Version::default();
    for number in 1..=count {
        last = done(store, put(number, Expect::Absent, u64::from(number))).await;
    }
    let many = write(store, put(count + 1, Expect::Absent, 5_000)).await;
    assert_eq!(many, Written::TooMany);
    done(store, put(count, Expect::Version(last), 5_001)).await;
    let first = read(store).await.rows[0].version;
    done(store, delete(1, Expect::Version(first), 5_002)).await;
    done(store, put(count + 1, Expect::Absent, 5_003)).await;
    let rows = read(store).await.rows;
    assert_eq!(rows.len(), SUBSCRIPTIONS_PER_TENANT);
    assert!(rows.is_sorted_by_key(|row| row.number), "by number");
}
