//! Random operations on the model and on Redis must answer alike, word for word.

#[path = "support/driver.rs"]
mod driver;
mod support;

use std::time::Duration;

use bytes::Bytes;
use driver::Driver;
use rand::Rng as _;
use sidehook_store::{
    Store, Turn,
    inspect::Inspection,
    model::Model,
    read::Redeliver,
    turn::{Calls, LeaseId},
};
use support::Server;

/// Order within a lease aside, which both give by position.
fn sorted(mut seen: Inspection) -> Inspection {
    seen.leased.sort_unstable();
    seen.waiting.sort_unstable();
    seen
}

async fn compare(seed: u64, steps: usize, redis: &dyn Store) {
    let model = Model::new();
    let mut driver = Driver::new(seed);
    let context = |step: usize| format!("seed {seed}, step {step}");
    for step in 0..steps {
        match driver.random.random_range(0..10) {
            0 => {
                let write = driver.write();
                let key = (write.tenant, write.number.0);
                let wanted = model.write(&write).await;
                assert_eq!(
                    redis.write(&write).await,
                    wanted,
                    "{} {write:?}",
                    context(step)
                );
                if let Ok(sidehook_store::catalog::Written::Done(version)) = wanted {
                    driver.versions.insert(key, version);
                }
                let known = model.catalog(write.tenant, None).await;
                assert_eq!(
                    redis.catalog(write.tenant, None).await,
                    known,
                    "{}",
                    context(step)
                );
            }
            1 => others(&mut driver, &model, redis, &context(step)).await,
            _ => {
                let turn = driver.turn(&model).await;
                let wanted = model.turn(0, &turn).await.expect("the model answers");
                let got = redis.turn(0, &turn).await.expect("Redis answers");
                let (mut wanted_one, mut got_one) = (wanted.calls[0].clone(), got.calls[0].clone());
                // When idempotency keys lapse is of no matter to anyone.
                for tick in [&mut wanted_one.tick, &mut got_one.tick] {
                    if let Some(Ok(tick)) = tick {
                        tick.next_due = None;
                    }
                }
                assert_eq!(
                    format!("{got_one:?}"),
                    format!("{wanted_one:?}"),
                    "{} {turn:#?}",
                    context(step)
                );
                driver.learn(&turn, &wanted);
            }
        }
        let wait = Duration::from_millis(driver.random.random_range(0..8_000));
        driver.now = driver.now + wait;
        let seen = redis
            .inspect(driver.partition)
            .await
            .expect("Redis answers");
        assert_eq!(seen.faults, Vec::<String>::new(), "{}", context(step));
        let wanted = model
            .inspect(driver.partition)
            .await
            .expect("the model answers");
        assert_eq!(sorted(seen), sorted(wanted), "{}", context(step));
    }
    finish(&mut driver, &model, redis).await;
}

/// Reads, renewals, releases and redeliveries.
async fn others(driver: &mut Driver, model: &Model, redis: &dyn Store, context: &str) {
    let leases: Vec<LeaseId> = driver.grants.iter().map(|(grant, _)| grant.lease).collect();
    assert_eq!(
        redis.leases(&leases).await,
        model.leases(&leases).await,
        "{context}"
    );
    let tokens: Vec<_> = driver
        .grants
        .iter()
        .map(|(grant, token)| (grant.lease, *token))
        .take(3)
        .collect();
    let (now, term) = (Some(driver.now), Duration::from_secs(60));
    assert_eq!(
        redis.renew(now, &tokens, term).await,
        model.renew(now, &tokens, term).await,
        "{context}"
    );
    if driver.chance(4) {
        let holder = driver.holder();
        let keep: Vec<_> = leases.iter().copied().take(2).collect();
        assert_eq!(
            redis.release(holder, &keep).await,
            model.release(holder, &keep).await,
            "{context}"
        );
    }
    let some = driver.ended.len().min(40);
    let asked: Vec<_> = driver.ended[driver.ended.len() - some..].to_vec();
    for tenant in driver.tenants.clone() {
        let ids: Vec<_> = asked
            .iter()
            .filter(|(one, _)| *one == tenant)
            .map(|(_, id)| *id)
            .collect();
        assert_eq!(
            redis.locate(tenant, &ids).await,
            model.locate(tenant, &ids).await,
            "{context}"
        );
    }
    if let Some((tenant, id)) = driver.ended.last().copied() {
        let call = Redeliver {
            tenant,
            delivery: id.next_generation().expect("few generations"),
            subscription: id.subscription(),
            retry: Bytes::from_static(b"again"),
        };
        assert_eq!(
            redis.redeliver(&call).await,
            model.redeliver(&call).await,
            "{context}"
        );
    }
    let segments = driver.segments.clone();
    assert_eq!(
        redis.segments(&segments).await,
        model.segments(&segments).await,
        "{context}"
    );
    assert_eq!(
        redis.outcomes(&segments).await,
        model.outcomes(&segments).await,
        "{context}"
    );
}

/// Logs in pages; then everything past its age leaves.
async fn finish(driver: &mut Driver, model: &Model, redis: &dyn Store) {
    for round in 0..2 {
        for tenant in driver.tenants.clone() {
            let mut from = None;
            loop {
                let wanted = model.log(tenant, from, 3).await.expect("the model answers");
                let got = redis.log(tenant, from, 3).await;
                assert_eq!(got, Ok(wanted.clone()), "round {round}");
                from = wanted.next;
                if from.is_none() {
                    break;
                }
            }
        }
        driver.now = driver.now + Duration::from_secs(31 * 24 * 3600);
        for _ in 0..40 {
            let mut calls = Calls::new(driver.partition);
            calls.tick = true;
            let turn = Turn {
                now: Some(driver.now),
                calls: vec![calls],
            };
            model.turn(0, &turn).await.expect("the model answers");
            redis.turn(0, &turn).await.expect("Redis answers");
        }
        let seen = redis
            .inspect(driver.partition)
            .await
            .expect("Redis answers");
        let wanted = model
            .inspect(driver.partition)
            .await
            .expect("the model answers");
        assert_eq!(sorted(seen), sorted(wanted), "round {round}");
    }
}

#[tokio::test]
async fn random_operations_answer_as_the_model_does() {
    let server = Server::start();
    for seed in 0..12 {
        let mut client = server.client().await;
        let _: () = redis::cmd("FLUSHALL")
            .query_async(&mut client)
            .await
            .expect("it answers");
        compare(seed, 250, &server.store().await).await;
    }
}
