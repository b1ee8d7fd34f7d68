//! The answer is lost after Redis executed the call, for every operation of the port:
//! the adapter's own repeat (one loss) and the caller's (two losses) must leave the
//! same bytes in Redis as a run in which nothing was lost.

#[path = "support/proxy.rs"]
mod proxy;
#[path = "support/story.rs"]
mod story;
mod support;

use std::time::Duration;

use proxy::Proxy;
use sidehook_core::address::Partition;
use sidehook_store::{
    Store as _, StoreError,
    rates::{Rate, Want},
};
use story::{Past, STEPS, act, step};
use support::{START, Server, open, tenant};

/// One run of the story with answers lost at one step; after each step, what it
/// answered and what Redis holds.
async fn run(server: &Server, lossy: Option<usize>, losses: u64) -> Vec<(String, String)> {
    let mut client = server.client().await;
    let _: () = redis::cmd("FLUSHALL")
        .query_async(&mut client)
        .await
        .expect("it answers");
    let proxy = Proxy::start(server.port).await;
    let store = open(&proxy.url()).await;
    let watching = server.store().await;
    let (mut past, mut seen) = (Past::default(), Vec::new());
    for number in 0..STEPS {
        let step = step(number, &past);
        if lossy == Some(number) {
            proxy.lose(losses);
        }
        let answer = loop {
            match act(&store, &step, &mut past).await {
                Ok(answer) => break answer,
                Err(StoreError::Unavailable { .. }) if lossy == Some(number) => {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                Err(other) => panic!("step {number}: {other}"),
            }
        };
        assert_eq!(proxy.losses(), 0, "step {number}: the answers were lost");
        let view = watching
            .inspect(Partition::of(tenant()))
            .await
            .expect("it answers");
        assert_eq!(view.faults, Vec::<String>::new(), "step {number}");
        let digest: String = redis::cmd("DEBUG")
            .arg("DIGEST")
            .query_async(&mut client)
            .await
            .expect("it answers");
        seen.push((answer, digest));
    }
    seen
}

#[tokio::test]
async fn a_lost_answer_changes_nothing() {
    let server = Server::start();
    let smooth = run(&server, None, 0).await;
    assert!(
        smooth[8].0.contains("runs"),
        "the second claim lends: {}",
        smooth[8].0
    );
    assert_eq!(
        smooth,
        run(&server, None, 0).await,
        "the story tells itself the same way"
    );
    for number in 0..STEPS {
        for losses in [1, 2] {
            let lossy = run(&server, Some(number), losses).await;
            assert_eq!(lossy, smooth, "{losses} answers lost at step {number}");
        }
    }
}

#[tokio::test]
async fn tokens_whose_answer_is_lost_are_taken_once() {
    let server = Server::start();
    let proxy = Proxy::start(server.port).await;
    let (store, direct) = (open(&proxy.url()).await, server.store().await);
    let want = Want {
        tenant: tenant(),
        bucket: [1; 16],
        rate: Rate {
            per_second: 1,
            burst: 10,
        },
        tokens: 3,
    };
    let first = store.take(Some(START), &[want]).await.expect("it answers");
    assert_eq!(first[0].expect("it answers").left, 7);
    proxy.lose(1);
    let lost = store.take(Some(START), &[want]).await;
    assert!(
        !matches!(&lost, Ok(taken) if taken[0].is_some()),
        "the answer was lost: {lost:?}"
    );
    assert_eq!(proxy.losses(), 0);
    let last = direct.take(Some(START), &[want]).await.expect("it answers");
    assert_eq!(last[0].expect("it answers").left, 1);
}
