//! What Redis pays for a delivery: run by hand, it prints and asserts nothing about
//! time. `cargo test --release -p sidehook-redis --test cost -- --ignored --nocapture`

mod support;

use std::time::Instant;

use bytes::Bytes;
use sidehook_core::{id::SubscriptionNumber, version::Version};
use sidehook_store::{
    Store, Turn,
    turn::{Disposition, Grant, Idempotency, LeaseSettle, Publish, Settle, SettleItem},
};
use support::{Line, Server, calls, claim, events, subscribe, tenant};

const TURNS: usize = 3_000;

/// Seconds of CPU that Redis has used.
async fn cpu(client: &mut redis::aio::MultiplexedConnection) -> f64 {
    let text: String = redis::cmd("INFO")
        .arg("cpu")
        .query_async(client)
        .await
        .expect("it answers");
    let of = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|value| value.trim().parse::<f64>().ok())
            .expect("INFO tells it")
    };
    of("used_cpu_user:") + of("used_cpu_sys:")
}

fn ends(grant: &Grant) -> Settle {
    let mut items = Vec::new();
    for run in &grant.runs {
        for index in &run.indices {
            items.push(SettleItem {
                position: items.len() as u16,
                tenant: run.tenant,
                subscription: run.subscription,
                segment: run.segment,
                index: *index,
                generation: run.generation,
                disposition: Disposition::End {
                    record: Bytes::from_static(&[7; 150]),
                },
            });
        }
    }
    Settle {
        leases: vec![LeaseSettle {
            lease: grant.lease,
            token: 4242,
            items,
        }],
    }
}

fn keyed(mut publish: Publish, turn: usize) -> Publish {
    for event in &mut publish.tenants[0].events {
        let mut key = [0; 16];
        key[..8].copy_from_slice(&(turn as u64).to_be_bytes());
        key[8] = event.id.index();
        event.idempotency = Some(Idempotency { key, content: key });
    }
    publish
}

/// Publishes, claims and settles `batch` events a turn, to `fan` subscriptions.
async fn measure(name: &str, batch: usize, fan: u32, keys: bool) {
    let server = Server::with(&[
        "--appendonly",
        "yes",
        "--appendfsync",
        "everysec",
        "--auto-aof-rewrite-percentage",
        "0",
    ]);
    let store = server.store().await;
    let mut client = server.client().await;
    let mut catalog = Version::default();
    for number in 0..fan {
        catalog = subscribe(&store, number, 1_000).await;
    }
    let targets: Vec<u32> = (0..fan).collect();
    let mut line = Line::new(1);
    let mut settle: Option<Settle> = None;
    let (mut settled, mut before, mut started) = (0, 0.0, Instant::now());
    for turn in 0..TURNS + 200 {
        if turn == 200 {
            (settled, before, started) = (0, cpu(&mut client).await, Instant::now());
        }
        let mut one = calls();
        if let Some(settle) = settle.take() {
            settled += settle
                .leases
                .iter()
                .map(|one| one.items.len())
                .sum::<usize>();
            one.settle = Some((line.stamp(0), settle));
        }
        let backlog = (turn + 1) * batch * fan as usize;
        if turn % fan.max(1) as usize == 0 || backlog == 0 {
            let stamp = line.stamp(1);
            let publish = events(stamp, catalog, batch, 1_024, &targets);
            one.publish = Some((stamp, if keys { keyed(publish, turn) } else { publish }));
        }
        one.claim = Some((line.stamp(2), claim(batch as u32)));
        let turn = Turn {
            now: None,
            calls: vec![one],
        };
        let reply = store.turn(0, &turn).await.expect("it answers");
        let claimed = reply.calls[0]
            .claim
            .clone()
            .expect("asked")
            .expect("it works");
        settle = claimed.grants[0].as_ref().map(ends);
    }
    let used = (cpu(&mut client).await - before) * 1e6;
    let seconds = started.elapsed().as_secs_f64();
    println!(
        "{name}: {:.2} µs of Redis CPU per delivery, {:.0} deliveries/s",
        used / settled as f64,
        settled as f64 / seconds
    );
    let stats: String = redis::cmd("INFO")
        .arg("commandstats")
        .query_async(&mut client)
        .await
        .expect("it answers");
    if std::env::var_os("COST_COMMANDS").is_some() {
        println!("{stats}");
    }
    assert!(settled > TURNS, "deliveries flowed for {}", tenant());
    assert_eq!(
        targets.first().copied().map(SubscriptionNumber),
        Some(SubscriptionNumber(0))
    );
}

#[tokio::test]
#[ignore = "measures; run by hand in release"]
async fn cost_per_delivery() {
    measure("batch 64", 64, 1, false).await;
    measure("batch 64, keys", 64, 1, true).await;
    measure("batch 16", 16, 1, false).await;
    measure("batch 64, fan-out 10", 64, 10, false).await;
}
