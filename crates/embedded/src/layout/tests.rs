//! What is packed comes back, keys sort as what they stand for, and what is cut
//! short is refused.

use core::fmt::Debug;

use sidehook_core::{
    address::{DeliveryId, Lane, Sequence},
    id::AgentId,
};
use sidehook_store::{read::Segment, registry::Kind};

use super::*;

fn partition() -> Partition {
    Partition::of(tenant_id())
}

fn tenant_id() -> TenantId {
    TenantId::from_bits(7 << 90)
}

fn a_segment(lane: u64, ordinal: u8) -> SegmentId {
    SegmentId {
        partition: partition(),
        lane: Lane::from_random(lane),
        sequence: Sequence::new(77).expect("in range"),
        ordinal,
    }
}

fn a_pool(name: &str) -> Pool {
    Pool {
        owner: TenantId::PLATFORM,
        name: name.to_owned(),
    }
}

fn a_run(retry: Option<Bytes>) -> Run {
    Run {
        tenant: tenant_id(),
        subscription: SubscriptionNumber(u32::MAX),
        segment: a_segment(u64::MAX, 127),
        indices: vec![0, 127],
        leases_lost: 3,
        charge: 700,
        generation: 1_023,
        retry,
    }
}

/// Comes back whole; of less than `least` bytes it does not.
fn comes_back<T: Debug + PartialEq>(
    value: &T,
    packed: Vec<u8>,
    parse: impl Fn(Bytes) -> Result<T, Fault>,
    least: usize,
) {
    let packed = Bytes::from(packed);
    assert_eq!(parse(packed.clone()).as_ref(), Ok(value));
    for length in 0..least {
        let cut = parse(packed.slice(..length));
        assert!(
            matches!(cut, Err(Fault::Corrupt(..))),
            "{length} of {value:?}"
        );
    }
}

#[test]
fn tenants_come_back() {
    let version = Version {
        counter: 3,
        nonce: u64::MAX,
    };
    let tenant = TenantRow {
        version,
        position: 9,
        subscriptions: 1_000,
        front: 4,
        used: Usage {
            pending: 1 << 40,
            log: 3,
        },
        budget: Some(Budget { pending: 1, log: 0 }),
    };
    comes_back(&tenant, tenant.pack(), TenantRow::parse, 68);
    let untold = TenantRow {
        budget: None,
        ..tenant
    };
    comes_back(&untold, untold.pack(), TenantRow::parse, 68);
}

#[test]
fn rows_come_back() {
    for stage in [Stage::Live, Stage::Clearing, Stage::Cleared] {
        let mut queue = Queue::new(QueueSettings {
            pool: a_pool("shared"),
            window: 64,
            paused: true,
        });
        queue.stage = stage;
        queue.ring = 5;
        queue.owed = 9;
        let packed = queue.pack();
        let length = packed.len();
        comes_back(&queue, packed, Queue::parse, length);
    }
    let entry = Entry {
        recorded: true,
        leases_lost: 255,
        charge: u32::MAX,
        generation: 1,
        segment: a_segment(1, 2),
        indices: vec![9],
    };
    let parse = |value| Entry::parse(partition(), value);
    comes_back(&entry, entry.pack(), parse, 22);
    for due in [None, Some(Timestamp::from_millis(0))] {
        let record = Record {
            leases_lost: 1,
            charge: 300,
            due,
            retry: Bytes::from_static(b"again"),
        };
        comes_back(&record, record.pack(), Record::parse, 14);
    }
    for leaving in [Leaving::ByAge, Leaving::Next, Leaving::WithItsLast] {
        let state = SegmentState {
            tenant: tenant_id(),
            published: Timestamp::from_millis(1_790_000_000_000),
            position: 1,
            unfinished: 2,
            outcomes: 3,
            bytes: 4,
            leaving,
        };
        comes_back(&state, state.pack(), SegmentState::parse, 45);
    }
    let key = KeyRow {
        content: [7; 16],
        event: EventId::from_bits(5),
        at: Timestamp::from_millis(4),
    };
    comes_back(&key, key.pack(), KeyRow::parse, 40);
}

#[test]
fn leases_and_segments_come_back() {
    let retry = Some(Bytes::from_static(b"once"));
    let loan = Loan {
        token: u128::MAX - 1,
        holder: Holder {
            agent: AgentId::from_bits(8),
            session: 9,
        },
        deadline: Timestamp::from_millis(10),
        open: 0b1011,
        runs: vec![a_run(None), a_run(retry)],
    };
    let parse = |value| Loan::parse(partition(), value);
    comes_back(&loan, loan.pack(), parse, 64);
    let lease = loan.read(LeaseId(a_segment(1, 1)));
    assert_eq!(lease.open, [0, 1, 3]);

    let segment = Segment {
        tenant: tenant_id(),
        records: vec![
            Bytes::from_static(b"one"),
            Bytes::new(),
            Bytes::from_static(b"3"),
        ],
    };
    let packed = pack_segment(segment.tenant, &segment.records);
    let length = packed.len();
    comes_back(&segment, packed, parse_segment, length);
}

#[test]
fn keys_come_back() {
    let queue_key = (tenant_id(), SubscriptionNumber(6));
    assert_eq!(parse_queue(&queue(queue_key)), Ok(queue_key));
    assert_eq!(parse_entry(&entry(queue_key, 7)), Ok((queue_key, 7)));
    assert!(parse_queue(&entry(queue_key, 7)).is_err());
    let id = DeliveryId::new(a_segment(3, 4), 5, queue_key.1, 6);
    let place = Place::of(tenant_id(), id).expect("an address");
    assert_eq!(place.id(), id);
    assert_eq!(parse_record(&record(&place)), Ok(place));
    let at = Timestamp::from_millis(44);
    assert_eq!(parse_due(&due(at, &place)), Ok((at, place)));
    let one = a_segment(3, 4);
    assert_eq!(parse_segment_key(&segment(one)), Ok(one));
    assert_eq!(parse_segment_of(&part(one, 1)), Ok(one));
    assert!(parse_segment_key(&part(one, 1)).is_err());
    assert_eq!(parse_timed(&timed(at, one)), Ok((at, one)));
    let who = Holder {
        agent: AgentId::from_bits(1),
        session: 2,
    };
    let lease = LeaseId(a_segment(9, 9));
    assert_eq!(parse_holder(&holder(who, lease)), Ok(lease));
    assert!(holder(who, lease).starts_with(&held(partition(), who)));
    assert_eq!(parse_lent(&lent(one, queue_key.1, lease)), Ok(lease));
    let pool_of = a_pool("a");
    let key = ring_tenant(partition(), &pool_of, 3);
    assert_eq!(parse_ring_tenant(&key), Ok((pool_of.clone(), 3)));
    let key = ring_queue(&pool_of, tenant_id(), 4);
    assert_eq!(parse_ring_queue(&key), Ok((pool_of, tenant_id(), 4)));
}

#[test]
fn keys_of_a_partition_are_a_range_in_order() {
    let queue_key = (tenant_id(), SubscriptionNumber(6));
    assert!(entry(queue_key, 1) < entry(queue_key, 256));
    assert!(entry(queue_key, u64::MAX) < entry((tenant_id(), SubscriptionNumber(7)), 0));
    let (early, late) = (Timestamp::from_millis(255), Timestamp::from_millis(256));
    assert!(timed(early, a_segment(9, 0)) < timed(late, a_segment(1, 0)));
    let first = [partition().number()];
    for key in [
        tenant(tenant_id()),
        queue(queue_key),
        timed(late, a_segment(1, 0)),
        lane(partition(), b's', Lane::from_random(1)),
        pool(partition(), &a_pool("x")),
        idempotency_key(tenant_id(), &[1; 16]),
        log(tenant_id(), 1),
    ] {
        assert!(key.starts_with(&first), "{key:?}");
    }
    assert!(registry(Kind::Agent, b"a") > registry(Kind::ApiKey, b"z"));
}

#[test]
fn no_pools_rows_are_among_anothers() {
    let names = ["", "a", "ab", "b"];
    for one in names {
        for other in names.into_iter().filter(|other| *other != one) {
            let prefix = pool(partition(), &a_pool(one));
            let key = ring_tenant(partition(), &a_pool(other), 1);
            assert!(!key.starts_with(&prefix), "{one:?} {other:?}");
        }
    }
}
