//! What Redis pays for a delivery: run by hand, it prints and asserts nothing about
//! time. `cargo test --release -p sidehook-redis --test cost -- --ignored --nocapture`

#![allow(clippy::print_stdout, reason = "its output is its purpose")]

mod support;

use std::time::{Duration, Instant};

use bytes::Bytes;
use sidehook_core::{
    health::{Kind, Latency, Mark},
    version::Version,
};
use sidehook_store::{
    Store, Turn,
    turn::{Disposition, Grant, Idempotency, Publish, Settle},
};
use support::{Line, Server, calls, claim, events, subscribe};

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
    let record = Bytes::from_static(&[7; 150]);
    let end = |_| Disposition::End {
        record: record.clone(),
    };
    let mut lease = grant.settle(4242, end);
    for item in &mut lease.items {
        item.mark = Some(Mark {
            kind: Kind::FirstSuccess,
            latency: Latency::of(Duration::from_millis(20)),
            note: Bytes::from_static(&[7; 40]),
        });
    }
    Settle {
        leases: vec![lease],
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

/// One tenant's flow of events in its own partition: every turn settles what the
/// last one claimed, publishes and claims.
struct Flow {
    catalog: Version,
    line: Line,
    settle: Option<Settle>,
    turns: usize,
}

impl Flow {
    fn turn(&mut self, batch: usize, targets: &[u32], keys: bool) -> Turn {
        let mut one = calls();
        if let Some(settle) = self.settle.take() {
            one.settle = Some((self.line.stamp(0), settle));
        }
        if self.turns.is_multiple_of(targets.len()) {
            let stamp = self.line.stamp(1);
            let publish = events(stamp, self.catalog, batch, 1_024, targets);
            let publish = if keys {
                keyed(publish, self.turns)
            } else {
                publish
            };
            one.publish = Some((stamp, publish));
        }
        one.claim = Some((self.line.stamp(2), claim(batch as u32)));
        self.turns += 1;
        Turn {
            now: None,
            calls: vec![one],
        }
    }
}

/// Redis' CPU for `batch` events a turn to `fan` subscriptions each.
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
    let mut flow = Flow {
        catalog,
        line: Line::new(1),
        settle: None,
        turns: 0,
    };
    let (mut claimed, mut before, mut started) = (0, 0.0, Instant::now());
    for turn in 0..TURNS + 200 {
        if turn == 200 {
            (claimed, before, started) = (0, cpu(&mut client).await, Instant::now());
        }
        let turn = flow.turn(batch, &targets, keys);
        let reply = store.turn(0, &turn).await.expect("it answers");
        let answer = reply.calls[0].claim.clone().expect("asked");
        flow.settle = answer.expect("it works").grants[0].as_ref().map(ends);
        claimed += flow
            .settle
            .iter()
            .map(|one| one.leases[0].items.len())
            .sum::<usize>();
    }
    let used = (cpu(&mut client).await - before) * 1e6;
    let rate = claimed as f64 / started.elapsed().as_secs_f64();
    let each = used / claimed as f64;
    println!("{name}: {each:.2} µs of Redis CPU per delivery, {rate:.0} deliveries/s");
    assert!(claimed >= TURNS * batch, "every turn has a full batch");
}

/// The same for plain SET, GET and DEL of the payload: what no layout can beat by
/// much, to compare with in the same run.
async fn measure_floor() {
    let server = Server::with(&[
        "--appendonly",
        "yes",
        "--appendfsync",
        "everysec",
        "--auto-aof-rewrite-percentage",
        "0",
    ]);
    let mut client = server.client().await;
    let before = cpu(&mut client).await;
    for turn in 0..TURNS {
        let mut pipe = redis::pipe();
        for item in 0..64 {
            let key = format!("{turn}-{item}");
            pipe.set(&key, &[7_u8; 1_024][..]).ignore();
            pipe.get(&key).ignore();
            pipe.del(&key).ignore();
        }
        let _: () = pipe.query_async(&mut client).await.expect("it answers");
    }
    let used = (cpu(&mut client).await - before) * 1e6;
    let each = used / (TURNS * 64) as f64;
    println!("floor (SET, GET, DEL): {each:.2} µs of Redis CPU per delivery");
}

#[tokio::test]
#[ignore = "measures; run by hand in release"]
async fn cost_per_delivery() {
    measure_floor().await;
    measure("batch 64", 64, 1, false).await;
    measure("batch 64, keys", 64, 1, true).await;
    measure("batch 16", 16, 1, false).await;
    measure("batch 64, fan-out 10", 64, 10, false).await;
}
