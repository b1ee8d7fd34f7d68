//! Reading back: segments, outcomes, logs, the registry, hints.

use core::time::Duration;

use bytes::Bytes;
use sidehook_core::address::SegmentId;
use tokio::{sync::broadcast::Receiver, time::timeout};

use super::{
    choices::{START, TENANT, shared, tenants},
    desk::{Desk, end, outcomes, retry},
};
use crate::{
    hint::{Hint, HistoryRecord},
    port::Store,
    read::LogPage,
    registry::Kind,
};

pub(super) async fn segments_and_outcomes_read_back(store: &dyn Store) {
    let mut desk = Desk::new(store);
    desk.subscribe(TENANT, 1, 10).await;
    desk.subscribe(TENANT, 2, 10).await;
    let one = desk.publish(TENANT, 2, &[1, 2]).await;
    let two = desk.publish(TENANT, 1, &[]).await;
    let id = |events: &[sidehook_core::address::EventId]| events[0].segment().expect("an address");
    let (one, two) = (id(&one), id(&two));
    let never = SegmentId { ordinal: 9, ..one };
    let read = store
        .segments(&[two, never, one])
        .await
        .expect("it answers");
    let records = |at: usize| {
        let segment = read[at].as_ref().expect("it is there");
        assert_eq!(segment.tenant, TENANT);
        segment.records.clone()
    };
    let record = |index: u8| Bytes::from(vec![index; 20]);
    assert_eq!(records(0), [record(0)]);
    assert_eq!(read[1], None);
    assert_eq!(records(2), [record(0), record(1)]);
    let lent = desk.claim(10).await;
    let first = outcomes(&lent[..2], |_| retry(START + Duration::from_secs(1)));
    desk.settle(first).await;
    desk.settle(outcomes(&lent[2..3], |_| end("second"))).await;
    desk.settle(outcomes(&lent[3..], |_| end("third"))).await;
    let told = store.outcomes(&[two, one, never]).await;
    let wanted: Vec<_> = ["failed", "failed", "second", "third"]
        .iter()
        .map(|text| Bytes::from_static(text.as_bytes()))
        .collect();
    assert_eq!(told, Ok(vec![vec![], wanted, vec![]]), "oldest first");
}

async fn page(store: &dyn Store, from: Option<&LogPage>, max: usize) -> LogPage {
    let from = from.and_then(|page| page.next);
    let page = store.log(TENANT, from, max).await;
    page.expect("the store answers")
}

pub(super) async fn logs_page_from_the_newest(store: &dyn Store) {
    let mut desk = Desk::new(store);
    assert_eq!(page(store, None, 10).await, LogPage::default());
    let mut published = Vec::new();
    for _ in 0..5 {
        let events = desk.publish(TENANT, 2, &[]).await;
        published.push(events[0].segment().expect("an address"));
        desk.pass(Duration::from_secs(1));
    }
    desk.publish(tenants(false, 2)[1], 1, &[]).await;
    published.reverse();
    let first = page(store, None, 2).await;
    assert_eq!(first.segments, published[..2]);
    assert_eq!(first.retained_since, Some(START));
    // The cursor stays where it is while the log grows.
    desk.publish(TENANT, 1, &[]).await;
    let second = page(store, Some(&first), 2).await;
    assert_eq!(second.segments, published[2..4]);
    let third = page(store, Some(&second), 2).await;
    assert_eq!((&third.segments[..], third.next), (&published[4..], None));
    let all = page(store, None, 6).await;
    assert_eq!((all.segments.len(), all.next), (6, None));
}

pub(super) async fn registry_keeps_records(store: &dyn Store) {
    let value = |text: &str| Some(Bytes::copy_from_slice(text.as_bytes()));
    for key in ["b", "a", "c", "d"] {
        let put = store.registry_put(Kind::Agent, key.as_bytes(), value(key));
        assert_eq!(put.await, Ok(()));
    }
    let other = store.registry_put(Kind::Tenant, b"a", value("other"));
    assert_eq!(other.await, Ok(()));
    let put = store.registry_put(Kind::Agent, b"b", value("B"));
    assert_eq!(put.await, Ok(()));
    for _ in 0..2 {
        let removed = store.registry_put(Kind::Agent, b"d", None);
        assert_eq!(removed.await, Ok(()));
    }
    assert_eq!(store.registry_get(Kind::Agent, b"b").await, Ok(value("B")));
    assert_eq!(store.registry_get(Kind::Agent, b"d").await, Ok(None));
    assert_eq!(store.registry_get(Kind::ApiKey, b"a").await, Ok(None));
    let keys = |page: &crate::registry::Page| -> Vec<Bytes> {
        page.entries.iter().map(|entry| entry.key.clone()).collect()
    };
    let first = store.registry_list(Kind::Agent, b"", 2).await;
    let first = first.expect("it answers");
    assert_eq!(
        (keys(&first), first.more),
        (vec!["a".into(), "b".into()], true)
    );
    assert_eq!(first.entries[1].value, "B");
    let rest = store.registry_list(Kind::Agent, b"b", 2).await;
    let rest = rest.expect("it answers");
    assert_eq!((keys(&rest), rest.more), (vec!["c".into()], false));
}

pub(super) async fn a_registry_record_is_claimed_once(store: &dyn Store) {
    let (key, value) = (&b"name"[..], |text: &'static str| Bytes::from(text));
    let claim = |text| store.registry_claim(Kind::Agreement, key, value(text));
    assert_eq!(claim("first").await, Ok(value("first")));
    assert_eq!(claim("second").await, Ok(value("first")));
    let read = store.registry_get(Kind::Agreement, key).await;
    assert_eq!(read, Ok(Some(value("first"))));
    let listed = store.registry_list(Kind::Agreement, b"", 2).await;
    assert_eq!(listed.expect("it answers").entries.len(), 1);
    let put = store.registry_put(Kind::Agreement, key, None).await;
    assert_eq!(put, Ok(()));
    assert_eq!(claim("third").await, Ok(value("third")));
}

/// The next hint that `wanted` picks.
async fn hint<T>(hints: &mut Receiver<Hint>, wanted: impl Fn(Hint) -> Option<T> + Send) -> T {
    let search = async {
        loop {
            let hint = hints.recv().await.expect("the store lives");
            if let Some(found) = wanted(hint) {
                return found;
            }
        }
    };
    let found = timeout(Duration::from_secs(10), search).await;
    found.expect("hints come soon")
}

pub(super) async fn hints_tell_what_happened(store: &dyn Store) {
    let mut desk = Desk::new(store);
    let mut hints = store.hints();
    // Listening may take a moment to begin: change something until it is heard.
    let mut heard = false;
    for _ in 0..100 {
        desk.subscribe(TENANT, 1, 10).await;
        let about = |hint| (hint == Hint::Catalog(TENANT)).then_some(());
        let soon = Duration::from_millis(100);
        heard = timeout(soon, hint(&mut hints, about)).await.is_ok();
        if heard {
            break;
        }
    }
    assert!(heard, "a changed catalog is told of");
    desk.publish(TENANT, 2, &[1]).await;
    let (partition, pool) = (Desk::partition(), shared());
    let due = Hint::Due { partition, pool };
    hint(&mut hints, |hint| (hint == due).then_some(())).await;
    let lent = desk.claim(2).await;
    desk.finish(&lent).await;
    let settled = |hint| match hint {
        Hint::Settled(block) => Some(block),
        _ => None,
    };
    let block = hint(&mut hints, settled).await;
    let record = HistoryRecord {
        tenant: TENANT,
        record: Bytes::from_static(b"done"),
    };
    assert_eq!(store.history(&block).await, Ok(vec![record; 2]));
}
