//! A story in which every operation of the port happens, the same in every run.

use std::time::Duration;

use bytes::Bytes;
use sidehook_core::{
    address::{DeliveryId, Lane, Partition, Sequence},
    health::{Kind as Outcome, Latency, Mark},
    id::SubscriptionNumber,
    time::Timestamp,
    version::Version,
};
use sidehook_redis::RedisStore;
use sidehook_store::{
    Stamp, Store, StoreError, Turn,
    catalog::{Bounds, Change, Expect, QueueSettings, Write, Written},
    read::Redeliver,
    registry::Kind,
    rules,
    turn::{Calls, Claim, Disposition, Grant, Idempotency, Publish, Settle, SettleItem},
};

use crate::support::{START, calls, demand, events, pool, tenant};

/// Something that happens to the store.
#[derive(Clone)]
pub(crate) enum Step {
    Write(Write),
    Turn(Timestamp, Calls),
    Renew,
    Release,
    Redeliver(Redeliver),
    Register(Option<Bytes>),
}

pub(crate) fn stamp(lane: u64, sequence: u32) -> Stamp {
    Stamp {
        lane: Lane::from_random(lane),
        sequence: Sequence::new(sequence).expect("few calls"),
    }
}

fn at(seconds: u64) -> Timestamp {
    START + Duration::from_secs(seconds)
}

fn put(number: u32, window: u32) -> Write {
    Write {
        tenant: tenant(),
        number: SubscriptionNumber(number),
        expect: Expect::Absent,
        bounds: Bounds::default(),
        nonce: u64::from(number) + 100,
        change: Change::Put {
            record: Bytes::from_static(b"subscription"),
            queue: QueueSettings {
                pool: pool(),
                window,
                paused: false,
            },
        },
    }
}

/// What the story needs to know of its own past; the same in every run.
#[derive(Default)]
pub(crate) struct Past {
    catalog: Version,
    subscription: Version,
    grant: Option<Grant>,
}

#[allow(dead_code, reason = "each test binary uses a part of it")]
pub(crate) const STEPS: usize = 14;

fn publishing(past: &Past, sequence: u32) -> (Stamp, Publish) {
    let stamp = stamp(1, sequence);
    let mut publish = events(stamp, past.catalog, 6, 100, &[1, 2]);
    for event in publish.tenants[0].events.iter_mut().take(4) {
        let key = [event.id.index() + 1; 16];
        event.idempotency = Some(Idempotency { key, content: key });
    }
    (stamp, publish)
}

/// Ends the first delivery of the last grant, retries the second, gives the third back;
/// the first two count.
fn settling(past: &Past) -> Settle {
    let grant = past.grant.clone().expect("a claim was granted");
    let record = Bytes::from_static(&[7; 40]);
    let mut settled = grant.settle(4242, |position| match position {
        0 => Disposition::End {
            record: record.clone(),
        },
        1 => Disposition::Retry {
            at: at(20),
            retry: Bytes::from_static(b"once"),
            record: record.clone(),
        },
        _ => Disposition::Release,
    });
    settled.items.truncate(3);
    for (item, is_success) in settled.items.iter_mut().zip([true, false]) {
        item.mark = Some(Mark {
            kind: Outcome::of(true, is_success),
            latency: Latency::of(Duration::from_millis(20)),
            note: Bytes::from_static(b"note"),
        });
    }
    Settle {
        leases: vec![settled],
    }
}

/// Ends all that was granted; the deliveries.
#[allow(dead_code, reason = "each test binary uses a part of it")]
pub(crate) fn ending(grant: &Grant) -> (Settle, Vec<DeliveryId>) {
    let settled = grant.settle(4242, |_| Disposition::End {
        record: Bytes::from_static(b"ended"),
    });
    let name = |one: &SettleItem| {
        DeliveryId::new(one.segment, one.index, one.subscription, one.generation)
    };
    let names = settled.items.iter().map(name).collect();
    let leases = vec![settled];
    (Settle { leases }, names)
}

pub(crate) fn step(number: usize, past: &Past) -> Step {
    let turn = |seconds, change: &dyn Fn(&mut Calls)| {
        let mut one = calls();
        change(&mut one);
        Step::Turn(at(seconds), one)
    };
    let claiming = |sequence, max| {
        (
            stamp(1, sequence),
            Claim {
                demands: vec![demand(max)],
            },
        )
    };
    match number {
        0 => Step::Write(put(1, 100)),
        1 => Step::Write(Write {
            bounds: Bounds {
                catalog: Some(past.catalog),
                ..Bounds::default()
            },
            ..put(2, 100)
        }),
        2 => turn(1, &|one| one.publish = Some(publishing(past, 1))),
        3 => turn(2, &|one| one.claim = Some(claiming(1, 5))),
        4 => turn(3, &|one| one.settle = Some((stamp(1, 1), settling(past)))),
        5 => Step::Renew,
        6 => {
            let segment = rules::address(Partition::of(tenant()), stamp(1, 1), 0);
            let number = SubscriptionNumber(1);
            Step::Redeliver(Redeliver {
                tenant: tenant(),
                delivery: DeliveryId::new(segment.expect("the first"), 0, number, 1),
                subscription: number,
                retry: Bytes::from_static(b"by hand"),
            })
        }
        7 => Step::Release,
        8 => turn(8, &|one| one.claim = Some(claiming(2, 20))),
        9 => turn(90, &|one| one.tick = true),
        10 => Step::Register(Some(Bytes::from_static(b"value"))),
        11 => Step::Register(None),
        12 => Step::Write(Write {
            expect: Expect::Version(past.subscription),
            nonce: 900,
            change: Change::Delete,
            ..put(2, 100)
        }),
        _ => turn(91, &|one| {
            // Four of its events have keys that are known.
            one.publish = Some(publishing(past, 2));
            one.claim = Some(claiming(3, 4));
            one.tick = true;
        }),
    }
}

pub(crate) async fn act(
    store: &RedisStore,
    step: &Step,
    past: &mut Past,
) -> Result<String, StoreError> {
    Ok(match step {
        Step::Write(write) => {
            let written = store.write(write).await?;
            if let (Written::Done(version), 2) = (&written, write.number.0) {
                past.subscription = *version;
            }
            let catalog = store.catalog(tenant(), None).await?;
            past.catalog = catalog.expect("there is one").version;
            format!("{written:?}")
        }
        Step::Turn(now, calls) => {
            let turn = Turn {
                now: Some(*now),
                calls: vec![calls.clone()],
            };
            let mut reply = store.turn(0, &turn).await?;
            let replies = &mut reply.calls[0];
            if let Some(Ok(claimed)) = &replies.claim {
                past.grant = claimed.grants[0].clone();
            }
            // A tick has no memory: what it did before it does not tell twice.
            if let Some(Ok(tick)) = &mut replies.tick {
                tick.leases_lost = 0;
            }
            format!("{reply:?}")
        }
        Step::Renew => {
            let lease = past.grant.as_ref().expect("a claim was granted").lease;
            let leases = [(lease, 4242)];
            let renewed = store.renew(Some(at(5)), &leases, Duration::from_secs(30));
            format!("{:?}", renewed.await?)
        }
        Step::Release => {
            // It tells how many it gave back now; a repeat finds none.
            store.release(&[demand(1).holder], &[]).await?;
            String::new()
        }
        Step::Redeliver(redeliver) => format!("{}", store.redeliver(redeliver).await?),
        Step::Register(value) => {
            store
                .registry_put(Kind::Tenant, b"key", value.clone())
                .await?;
            format!("{:?}", store.registry_get(Kind::Tenant, b"key").await?)
        }
    })
}
