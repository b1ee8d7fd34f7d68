//! Work is bounded whatever has piled up: what Redis does for a call is counted in its
//! own commands, those of scripts included, and in the bytes that it answers.

mod support;

use std::time::Duration;

use bytes::Bytes;
use redis::aio::MultiplexedConnection;
use sidehook_core::{
    address::{DeliveryId, Partition, SegmentId},
    id::{AgentId, SubscriptionNumber},
    limits::{CALL_RECORDS, LOG_AGE},
    version::Version,
};
use sidehook_redis::RedisStore;
use sidehook_store::{
    Store as _,
    read::{Pair, Redeliver},
    turn::{Claim, Disposition, Grant, Holder, Settle},
};
use support::{Line, START, Server, calls, claim, demand, events, execute, subscribe, tenant};

/// A store with one tenant, and eyes on its server.
struct Bench {
    _server: Server,
    store: RedisStore,
    client: MultiplexedConnection,
    catalog: Version,
    line: Line,
}

impl Bench {
    async fn new(subscriptions: u32) -> Self {
        let server = Server::start();
        let store = server.store().await;
        let mut catalog = Version::default();
        for number in 1..=subscriptions {
            catalog = subscribe(&store, number, 1_000).await;
        }
        let client = server.client().await;
        Self {
            store,
            client,
            catalog,
            line: Line::new(3),
            _server: server,
        }
    }

    /// Publishes events for these subscriptions; their segment.
    async fn publish(&mut self, count: usize, targets: &[u32]) -> SegmentId {
        let stamp = self.line.stamp(1);
        let publish = events(stamp, self.catalog, count, 10, targets);
        let segment = publish.tenants[0].events[0].id.segment();
        let mut one = calls();
        one.publish = Some((stamp, publish));
        let reply = execute(&self.store, START, one).await.publish;
        reply.expect("asked").expect("it works");
        segment.expect("made here")
    }

    /// Lends to one of many sessions.
    async fn lend(&mut self, count: u32, session: u64) -> Grant {
        let mut demand = demand(count);
        demand.holder.session = session;
        let demands = vec![demand];
        let mut one = calls();
        one.claim = Some((self.line.stamp(2), Claim { demands }));
        let reply = execute(&self.store, START, one).await.claim;
        let grant = reply.expect("asked").expect("it works").grants.remove(0);
        grant.expect("something was queued")
    }

    async fn settle(&mut self, settle: Settle) {
        let mut one = calls();
        one.settle = Some((self.line.stamp(0), settle));
        let reply = execute(&self.store, START, one).await.settle;
        reply.expect("asked").expect("it works");
    }

    async fn info(&mut self, section: &str) -> String {
        let mut cmd = redis::cmd("INFO");
        let info = cmd.arg(section).query_async(&mut self.client).await;
        info.expect("it answers")
    }

    /// Commands executed so far, those in scripts included; our own do not count.
    async fn commands(&mut self) -> u64 {
        let text = self.info("commandstats").await;
        let calls = text.lines().filter_map(|line| {
            let (name, rest) = line.strip_prefix("cmdstat_")?.split_once(":calls=")?;
            let counts = !matches!(name, "info" | "ping" | "client|setinfo" | "config|get");
            counts.then(|| rest.split(',').next()?.parse::<u64>().ok())?
        });
        calls.sum()
    }

    /// Bytes answered so far.
    async fn answered(&mut self) -> u64 {
        let text = self.info("stats").await;
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix("total_net_output_bytes:"));
        let value = line.and_then(|value| value.trim().parse().ok());
        value.expect("INFO tells it")
    }
}

fn ending(grant: &Grant, record: &Bytes) -> Settle {
    let end = |_| Disposition::End {
        record: record.clone(),
    };
    Settle {
        leases: vec![grant.settle(4242, end)],
    }
}

/// Commands for a claim, a settle and a tick with a backlog.
async fn work_with(backlog: usize) -> [u64; 3] {
    let mut bench = Bench::new(1).await;
    let mut left = backlog;
    while left > 0 {
        let some = left.min(100);
        bench.publish(some, &[1]).await;
        left -= some;
    }
    // The first tick sweeps what never was.
    for _ in 0..2 {
        let mut one = calls();
        one.tick = true;
        execute(&bench.store, START, one).await;
    }
    let mut counts = [0; 3];
    let before = bench.commands().await;
    let grant = bench.lend(1, 1).await;
    counts[0] = bench.commands().await - before;
    let before = bench.commands().await;
    bench
        .settle(ending(&grant, &Bytes::from_static(b"done")))
        .await;
    counts[1] = bench.commands().await - before;
    let before = bench.commands().await;
    let mut one = calls();
    one.tick = true;
    execute(&bench.store, START, one).await;
    counts[2] = bench.commands().await - before;
    counts
}

#[tokio::test]
async fn a_backlog_costs_a_call_nothing() {
    let one = work_with(1).await;
    let many = work_with(10_000).await;
    for (one, many) in one.into_iter().zip(many) {
        // What is left in a queue and its ring needs a write or two.
        assert!(
            many <= one + 3,
            "commands: {one} with 1, {many} with 10,000"
        );
        assert!(one > 2, "they are counted: {one}");
    }
}

/// Commands for locating some deliveries, each alone under its lease.
async fn locating(count: usize) -> u64 {
    let mut bench = Bench::new(1).await;
    let segment = bench.publish(50, &[1]).await;
    for session in 0..50 {
        bench.lend(1, session).await;
    }
    let id = |index| DeliveryId::new(segment, index, SubscriptionNumber(1), 0);
    let ids: Vec<_> = (0..count as u8).map(id).collect();
    let before = bench.commands().await;
    let found = bench
        .store
        .locate(tenant(), &ids)
        .await
        .expect("it answers");
    assert!(found.iter().all(|one| one.leased), "{found:?}");
    bench.commands().await - before
}

#[tokio::test]
async fn leases_are_looked_through_once_for_all_names() {
    let (one, many) = (locating(1).await, locating(50).await);
    // For each name whether its lease was settled in part, and when it is due.
    assert!(many - one <= 2 * 49, "commands: {one} for 1, {many} for 50");
}

#[tokio::test]
async fn many_leases_are_found_and_given_back_in_parts() {
    let mut bench = Bench::new(1).await;
    for _ in 0..5 {
        bench.publish(100, &[1]).await;
    }
    let mut lent = Vec::new();
    for session in 0..500 {
        lent.push(bench.lend(1, session).await);
    }
    let ids = lent.iter().map(|grant| {
        let run = &grant.runs[0];
        DeliveryId::new(run.segment, run.indices[0], run.subscription, 0)
    });
    let ids: Vec<_> = ids.collect();
    let found = bench
        .store
        .locate(tenant(), &ids)
        .await
        .expect("it answers");
    assert!(found.iter().all(|one| one.leased));
    let holder = |session| Holder {
        agent: AgentId::from_bits(99),
        session,
    };
    let holders: Vec<_> = (0..500).map(holder).collect();
    let scripts = |text: String| {
        let line = text.lines().find_map(|line| {
            let rest = line.strip_prefix("cmdstat_evalsha:calls=")?;
            rest.split(',').next()?.parse::<u64>().ok()
        });
        line.expect("scripts were called")
    };
    let before = scripts(bench.info("commandstats").await);
    assert_eq!(bench.store.release(&holders, &[]).await, Ok(500));
    let rounds = scripts(bench.info("commandstats").await) - before - 63;
    assert!(rounds >= (500 / CALL_RECORDS) as u64, "{rounds} rounds");
    assert!(rounds <= 20, "one search for all sessions: {rounds} rounds");
    let seen = bench.store.inspect(Partition::of(tenant())).await;
    let seen = seen.expect("it answers");
    assert_eq!((seen.ready.len(), seen.faults), (500, Vec::new()));
}

#[tokio::test]
async fn one_delivery_is_read_without_its_neighbours() {
    let mut bench = Bench::new(8).await;
    let targets: Vec<u32> = (1..=8).collect();
    let segment = bench.publish(64, &targets).await;
    let record = Bytes::from(vec![7; 2_048]);
    for session in 0..4 {
        let grant = bench.lend(128, session).await;
        bench.settle(ending(&grant, &record)).await;
    }
    let pair = Pair {
        segment,
        index: 40,
        subscription: SubscriptionNumber(5),
    };
    let before = bench.answered().await;
    let found = bench.store.attempts(&[pair]).await.expect("it answers");
    let read = bench.answered().await - before;
    assert!(!found.is_empty());
    // A claim takes at most 16 of a queue in one visit: these are neighbours.
    assert!(found.len() <= 16, "{} attempts", found.len());
    assert!(read < 64 * 1024, "{read} bytes for one delivery");
    let before = bench.answered().await;
    let all = bench.store.outcomes(&[segment]).await.expect("it answers");
    let read = bench.answered().await - before;
    assert_eq!(all[0].len(), 512, "all of them, in several rounds");
    assert!(read > 1024 * 1024);
}

#[tokio::test]
async fn a_tick_reads_long_outcomes_in_parts() {
    let mut bench = Bench::new(1).await;
    let segment = bench.publish(100, &[1]).await;
    let record = Bytes::from_static(b"done");
    let grant = bench.lend(100, 1).await;
    bench.settle(ending(&grant, &record)).await;
    // Each redelivery makes a stretch.
    for generation in 1..=50 {
        for index in 0..100 {
            let number = SubscriptionNumber(1);
            let redeliver = Redeliver {
                tenant: tenant(),
                delivery: DeliveryId::new(segment, index, number, generation),
                subscription: number,
                retry: Bytes::new(),
            };
            assert_eq!(bench.store.redeliver(&redeliver).await, Ok(true));
        }
        let grant = bench.lend(100, 1).await;
        bench.settle(ending(&grant, &record)).await;
    }
    let mut ticks = 0;
    loop {
        let seen = bench.store.inspect(Partition::of(tenant())).await;
        let seen = seen.expect("it answers");
        if seen.segments == 0 {
            break;
        }
        assert_eq!(seen.faults, Vec::<String>::new());
        let mut one = calls();
        one.tick = true;
        execute(
            &bench.store,
            START + LOG_AGE + Duration::from_secs(ticks),
            one,
        )
        .await;
        ticks += 1;
        assert!(ticks < 20, "it ends");
    }
    assert!(ticks >= 2, "{ticks} ticks for 150 KB");
}

#[tokio::test]
async fn what_is_late_is_not_written_while_nothing_changes() {
    let mut bench = Bench::new(1).await;
    for _ in 0..40 {
        bench.publish(1, &[1]).await;
    }
    let late = START + LOG_AGE + Duration::from_secs(1);
    for second in 0..5 {
        let mut one = calls();
        one.tick = true;
        execute(&bench.store, late + Duration::from_secs(second), one).await;
    }
    let digest = |mut client: MultiplexedConnection| async move {
        let mut cmd = redis::cmd("DEBUG");
        let digest = cmd.arg("DIGEST").query_async::<String>(&mut client).await;
        digest.expect("it answers")
    };
    let changes = |text: String| {
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix("rdb_changes_since_last_save:"));
        line.and_then(|value| value.trim().parse::<u64>().ok())
    };
    let before = (
        digest(bench.client.clone()).await,
        changes(bench.info("persistence").await),
    );
    for second in 5..10 {
        let mut one = calls();
        one.tick = true;
        execute(&bench.store, late + Duration::from_secs(second), one).await;
    }
    let after = (
        digest(bench.client.clone()).await,
        changes(bench.info("persistence").await),
    );
    assert!(before.1.is_some());
    assert_eq!(after, before);
    // When they end they go, in turn.
    let grant = {
        let mut one = calls();
        one.claim = Some((bench.line.stamp(2), claim(100)));
        let reply = execute(&bench.store, late, one).await.claim;
        let grant = reply.expect("asked").expect("it works").grants.remove(0);
        grant.expect("they are queued")
    };
    bench
        .settle(ending(&grant, &Bytes::from_static(b"done")))
        .await;
    for second in 0..5 {
        let mut one = calls();
        one.tick = true;
        execute(&bench.store, late + Duration::from_secs(second), one).await;
    }
    let seen = bench.store.inspect(Partition::of(tenant())).await;
    assert_eq!(seen.expect("it answers").segments, 0);
}
