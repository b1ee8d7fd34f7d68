//! What a delivery costs Redis while everything flows, in commands and not in time:
//! each turn settles what the last one lent, publishes and claims, in one write. The
//! batch is the unit of all of it, so the commands of a turn do not grow with it.

mod support;

use core::time::Duration;

use bytes::Bytes;
use sidehook_core::{
    health::{Kind, Latency, Mark},
    version::Version,
};
use sidehook_redis::RedisStore;
use sidehook_store::{
    Store as _, Turn,
    turn::{Disposition, Grant, Settle},
};
use support::{Line, START, Server, calls, claim, events, subscribe};

/// Turns that are counted, after some that are not.
const TURNS: u64 = 50;
const WARMUP: u64 = 5;

/// Events of a turn, subscriptions of each, and commands per delivery that are
/// allowed: a tenth more than the 45 per turn that were counted for one queue, and
/// than the 90 for ten.
const BOUNDS: [(usize, u32, f64); 4] = [(1, 1, 49.5), (16, 1, 3.09), (64, 1, 0.77), (12, 10, 0.83)];

/// Commands of a server so far.
#[derive(Clone, Copy)]
struct Counted {
    /// Over connections: those that scripts call are not among them.
    sent: u64,
    /// All of them.
    executed: u64,
}

/// Commands of everybody but us who ask.
async fn counted(client: &mut redis::aio::MultiplexedConnection) -> Counted {
    let text: String = redis::cmd("INFO")
        .arg("commandstats")
        .query_async(client)
        .await
        .expect("it answers");
    let mut counted = Counted {
        sent: 0,
        executed: 0,
    };
    for line in text.lines() {
        let Some((name, rest)) = line
            .strip_prefix("cmdstat_")
            .and_then(|line| line.split_once(":calls="))
        else {
            continue;
        };
        let calls = rest.split(',').next().and_then(|calls| calls.parse().ok());
        let calls: u64 = calls.expect("a number of calls");
        match name {
            "info" => {}
            "evalsha" => {
                counted.sent += calls;
                counted.executed += calls;
            }
            _ => counted.executed += calls,
        }
    }
    counted
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

struct Flow {
    store: RedisStore,
    catalog: Version,
    line: Line,
    settle: Option<Settle>,
}

impl Flow {
    /// One turn; how many deliveries it lent.
    async fn turn(&mut self, events_of_turn: usize, targets: &[u32]) -> u64 {
        let mut one = calls();
        if let Some(settle) = self.settle.take() {
            one.settle = Some((self.line.stamp(0), settle));
        }
        let stamp = self.line.stamp(1);
        let publish = events(stamp, self.catalog, events_of_turn, 100, targets);
        one.publish = Some((stamp, publish));
        one.claim = Some((self.line.stamp(2), claim(128)));
        let turn = Turn {
            now: Some(START),
            calls: vec![one],
        };
        let mut reply = self.store.turn(0, &turn).await.expect("it answers");
        let replies = reply.calls.remove(0);
        replies.publish.expect("asked").expect("it works");
        assert!(replies.settle.is_none_or(|settled| settled.is_ok()));
        let grants = replies.claim.expect("asked").expect("it works").grants;
        self.settle = grants.iter().flatten().next().map(ends);
        let items = self.settle.iter().flat_map(|settle| &settle.leases);
        items.map(|lease| lease.items.len() as u64).sum()
    }
}

/// Scripts sent per turn, and commands of any kind per delivery.
async fn cost(batch: usize, fan: u32) -> (f64, f64) {
    let server = Server::start();
    let store = server.store().await;
    let mut catalog = Version::default();
    for number in 0..fan {
        catalog = subscribe(&store, number, 1_000).await;
    }
    let targets: Vec<u32> = (0..fan).collect();
    let mut flow = Flow {
        store,
        catalog,
        line: Line::new(1),
        settle: None,
    };
    let mut client = server.client().await;
    for _ in 0..WARMUP {
        flow.turn(batch, &targets).await;
    }
    let (before, mut lent) = (counted(&mut client).await, 0);
    for _ in 0..TURNS {
        lent += flow.turn(batch, &targets).await;
    }
    let after = counted(&mut client).await;
    assert_eq!(
        lent,
        TURNS * batch as u64 * u64::from(fan),
        "everything flows"
    );
    (
        (after.sent - before.sent) as f64 / TURNS as f64,
        (after.executed - before.executed) as f64 / lent as f64,
    )
}

#[tokio::test]
#[expect(clippy::print_stdout, reason = "the figures are worth seeing")]
async fn a_turn_costs_the_same_commands_whatever_its_batch() {
    for (batch, fan, bound) in BOUNDS {
        let (scripts, commands) = cost(batch, fan).await;
        println!("batch {batch}, fan-out {fan}: {commands:.2} commands per delivery");
        assert_eq!(
            scripts, 3.0,
            "settle, publish and claim are one script each"
        );
        assert!(
            commands <= bound,
            "{commands} commands per delivery, {bound} are allowed"
        );
    }
}
