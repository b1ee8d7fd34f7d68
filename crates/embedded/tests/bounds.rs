//! What could grow without a bound is done some at a time, a commit each.

mod support;

use bytes::Bytes;
use sidehook_core::{address::Partition, id::TenantId, limits::LOG_AGE};
use sidehook_store::{Store as _, port::Durability};
use support::{
    Disk,
    story::{claim, holder, publish, publish_record, tick, write},
};

const TENANT: TenantId = TenantId::from_bits(7);

#[tokio::test]
async fn many_leases_are_given_back_some_at_a_time() {
    const LEASES: u32 = 300;
    let disk = Disk::default();
    let store = disk.store(Durability::Strict);
    store.write(&write(TENANT, 1)).await.expect("it answers");
    let mut kept = None;
    for sequence in 1..=LEASES {
        let published = publish(&store, TENANT, sequence, 1).await;
        published.expect("it publishes");
        let grant = claim(&store, TENANT, sequence, 1).await.grants[0].clone();
        kept = Some(grant.expect("one was queued").lease);
    }
    let keep = [kept.expect("some were lent")];
    let before = disk.syncs();
    let back = store.release(&[holder(), holder()], &keep).await;
    assert_eq!(back, Ok(LEASES - 1));
    assert_eq!(disk.syncs() - before, 3 * 2, "three commits");
    let seen = store.inspect(Partition::of(TENANT)).await;
    let seen = seen.expect("it answers");
    assert_eq!(seen.faults, Vec::<String>::new());
    assert_eq!((seen.ready.len(), seen.leased.len()), (299, 1));
}

#[tokio::test]
async fn large_old_events_leave_some_at_a_time() {
    let disk = Disk::default();
    let store = disk.store(Durability::Relaxed);
    let record = Bytes::from(vec![1; 600_000]);
    for sequence in 1..=20 {
        let published = publish_record(&store, TENANT, sequence, 1, record.clone()).await;
        published.expect("it publishes");
    }
    let partition = Partition::of(TENANT);
    let now = Some(store.now().await.expect("it answers") + LOG_AGE);
    let mut left = vec![20];
    loop {
        let due = tick(&store, now, partition).await.next_due;
        let seen = store.inspect(partition).await.expect("it answers");
        assert_eq!(seen.faults, Vec::<String>::new());
        left.push(seen.segments);
        if due.is_none_or(|due| Some(due) > now) {
            break;
        }
    }
    assert_eq!(left.last(), Some(&0), "{left:?}");
    let at_once = left.windows(2).map(|pair| pair[0] - pair[1]).max();
    assert!(at_once < Some(16), "{left:?}");
}
