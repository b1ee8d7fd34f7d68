//! Hints cross from one store to another over the same Redis.

mod support;

use std::time::Duration;

use bytes::Bytes;
use sidehook_core::address::Partition;
use sidehook_store::{
    Store,
    hint::{Hint, HistoryRecord},
    turn::{Disposition, Settle},
};
use support::{Line, START, Server, calls, claim, events, execute, pool, subscribe, tenant};
use tokio::sync::broadcast::Receiver;

async fn next(hints: &mut Receiver<Hint>) -> Hint {
    let told = tokio::time::timeout(Duration::from_secs(10), hints.recv()).await;
    told.expect("a hint comes").expect("the store lives")
}

#[tokio::test]
async fn what_one_store_does_another_hears() {
    let server = Server::start();
    let (store, other) = (server.store().await, server.store().await);
    let mut hints = other.hints();
    let partition = Partition::of(tenant());

    let catalog = subscribe(&store, 1, 10).await;
    assert_eq!(next(&mut hints).await, Hint::Catalog(tenant()));

    let mut line = Line::new(3);
    let stamp = line.stamp(1);
    let mut one = calls();
    one.publish = Some((stamp, events(stamp, catalog, 2, 10, &[1])));
    execute(&store, START, one).await;
    let due = Hint::Due {
        partition,
        pool: pool(),
    };
    assert_eq!(next(&mut hints).await, due);

    let mut one = calls();
    one.claim = Some((line.stamp(2), claim(1)));
    let replies = execute(&store, START, one).await;
    let grants = replies.claim.expect("asked").expect("it works").grants;
    let grant = grants[0].as_ref().expect("something was queued");
    let record = Bytes::from_static(b"an attempt");
    let end = |_| Disposition::End {
        record: record.clone(),
    };
    let mut one = calls();
    let settle = Settle {
        leases: vec![grant.settle(4242, end)],
    };
    one.settle = Some((line.stamp(0), settle));
    execute(&store, START, one).await;
    let Hint::Settled(block) = next(&mut hints).await else {
        panic!("the settle is told");
    };
    let told = HistoryRecord {
        tenant: tenant(),
        record,
    };
    assert_eq!(other.history(&block).await, Ok(vec![told]));
}
