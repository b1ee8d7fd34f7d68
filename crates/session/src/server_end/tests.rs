//! Examples and properties of the server's end.

use std::collections::{HashMap, HashSet};

use proptest::prelude::*;
use sidehook_core::{
    address::{Lane, Partition, SegmentId, Sequence},
    id::{SubscriptionNumber, TenantId},
    limits::ASSIGN_DELIVERIES,
    retry::RetryState,
    version::Version,
};

use super::{Ack, Acks, Credit, LeaseRef, Lent, Receipt, ServerEnd, SettingsUse, Void};
use super::{acks::WAITING_MAX, settings::SETTINGS_MAX};

fn segment(sequence: u32) -> SegmentId {
    SegmentId {
        partition: Partition::of(TenantId::from_bits(7)),
        lane: Lane::from_random(99),
        sequence: Sequence::new(sequence).expect("in range"),
        ordinal: 3,
    }
}

fn lease(sequence: u32, token: u128) -> LeaseRef {
    LeaseRef {
        id: segment(sequence),
        token,
    }
}

fn lent(index: u8) -> Lent {
    Lent {
        tenant: TenantId::from_bits(7),
        subscription: SubscriptionNumber(5),
        segment: segment(1),
        index,
        generation: 0,
        retry: RetryState::default(),
        policy: None,
        bytes: 100,
        accepted_at: None,
    }
}

#[test]
fn a_delivery_is_taken_once_and_only_with_the_token() {
    let mut end = ServerEnd::new();
    end.assign(lease(1, 42), vec![Some(lent(0)), None, Some(lent(2))]);
    assert_eq!(end.open(), 2);
    assert!(end.holds(lease(1, 42)) && !end.holds(lease(1, 43)));
    assert_eq!(end.take(lease(1, 43), 0), Err(Void::UnknownLease));
    assert_eq!(end.take(lease(1, 42), 1), Err(Void::UnknownPosition));
    assert_eq!(end.take(lease(1, 42), u32::MAX), Err(Void::UnknownPosition));
    assert_eq!(end.take(lease(1, 42), 2), Ok(lent(2)));
    assert_eq!(end.take(lease(1, 42), 2), Err(Void::UnknownPosition));
    assert!(end.take(lease(1, 42), 0).is_ok());
    assert_eq!(end.take(lease(1, 42), 0), Err(Void::UnknownLease));
    assert_eq!(end.open(), 0);
}

#[test]
fn a_closed_session_is_void() {
    let mut end = ServerEnd::new();
    end.assign(lease(1, 42), vec![Some(lent(0))]);
    end.close();
    assert_eq!(end.take(lease(1, 42), 0), Err(Void::Closed));
    assert!(!end.holds(lease(1, 42)));
    assert_eq!(end.open(), 0);
}

#[test]
fn settings_go_out_on_first_use_and_change() {
    let mut settings = super::SentSettings::default();
    let (tenant, number) = (TenantId::from_bits(1), SubscriptionNumber(1));
    let (old, new) = (Version::default().next(1), Version::default().next(2));
    let send = |key, replaces| SettingsUse::Send { key, replaces };
    assert_eq!(settings.want(tenant, number, old, 1), send(1, 0));
    assert_eq!(
        settings.want(tenant, number, old, 1),
        SettingsUse::Known { key: 1 }
    );
    assert_eq!(
        settings.want(TenantId::from_bits(2), number, old, 1),
        send(2, 0)
    );
    assert_eq!(settings.want(tenant, number, new, 1), send(3, 1));
    assert_eq!(settings.want(tenant, number, new, 2), send(4, 3));
}

/// What an agent has, that does what it is told.
#[derive(Default)]
struct Kept(HashMap<u64, u64>);

impl Kept {
    fn apply(&mut self, subscription: u64, wanted: SettingsUse) {
        if let SettingsUse::Send { key, replaces } = wanted {
            self.0.remove(&replaces);
            assert!(self.0.insert(key, subscription).is_none());
        }
        assert_eq!(self.0.get(&wanted.key()), Some(&subscription));
    }
}

#[test]
fn subscriptions_that_come_and_go_leave_nothing_behind() {
    let mut settings = super::SentSettings::default();
    let mut kept = Kept::default();
    let (tenant, version) = (TenantId::from_bits(1), Version::default().next(1));
    let mut want = |number: u32| {
        let wanted = settings.want(tenant, SubscriptionNumber(number), version, 1);
        kept.apply(number.into(), wanted);
        (kept.0.len(), wanted)
    };
    for number in 0..20_000 {
        let (len, _) = want(number);
        assert!(len <= SETTINGS_MAX);
        let (_, always) = want(u32::MAX);
        assert_eq!(always.key(), 2, "in use all the time");
    }
}

#[test]
fn numbers_left_out_and_zero_break_the_session() {
    let mut acks = Acks::default();
    assert_eq!(acks.receive(0), Receipt::Gap);
    assert_eq!(acks.receive(2), Receipt::Gap);
    assert_eq!(acks.receive(u64::MAX), Receipt::Gap);
    assert_eq!(acks.receive(1), Receipt::New);
    assert_eq!(acks.receive(1), Receipt::Repeat);
}

#[test]
fn a_batch_that_is_stuck_holds_up_none_of_those_after_it() {
    let mut acks = Acks::default();
    assert_eq!(acks.receive(1), Receipt::New);
    let last = 2 * WAITING_MAX as u64;
    for sequence in 2..=last {
        assert_eq!(acks.receive(sequence), Receipt::New);
        acks.settled(sequence);
        let ack = acks.ack();
        assert_eq!((ack.watermark, &ack.above[..]), (0, &[sequence][..]));
    }
    assert_eq!(acks.receive(7), Receipt::Repeat);
    assert_eq!(acks.ack().above, [7], "said again");
    acks.settled(1);
    let ack = acks.ack();
    assert_eq!((ack.watermark, ack.above.len()), (last, 0));
}

#[test]
fn more_that_wait_than_an_agent_may_send_break_the_session() {
    let mut acks = Acks::default();
    for sequence in 1..=WAITING_MAX as u64 {
        assert_eq!(acks.receive(sequence), Receipt::New);
    }
    assert_eq!(acks.receive(WAITING_MAX as u64 + 1), Receipt::TooMany);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn what_one_frame_uses_is_with_the_agent_when_it_arrives(
        frames in prop::collection::vec((0_u32..20_000, 1_u32..=ASSIGN_DELIVERIES as u32, 0_u64..3), 100..150),
    ) {
        let mut settings = super::SentSettings::default();
        let mut kept = Kept::default();
        for (first, count, version) in frames {
            let version = Version::default().next(version);
            let numbers = first..first + count;
            let used: Vec<_> = numbers
                .map(|number| {
                    let wanted = settings.want(TenantId::from_bits(1), SubscriptionNumber(number), version, 1);
                    kept.apply(number.into(), wanted);
                    (number, wanted.key())
                })
                .collect();
            for (number, key) in used {
                prop_assert_eq!(kept.0.get(&key), Some(&u64::from(number)));
            }
            prop_assert!(kept.0.len() <= SETTINGS_MAX);
        }
    }
}

proptest! {
    #[test]
    fn lease_refs_come_back(sequence in 1_u32..1 << 30, token: u128) {
        let lease = lease(sequence, token);
        prop_assert_eq!(LeaseRef::from_slice(&lease.to_bytes()), Some(lease));
    }

    #[test]
    fn foreign_bytes_are_refused_or_canonical(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
        if let Some(lease) = LeaseRef::from_slice(&bytes) {
            prop_assert_eq!(&lease.to_bytes()[..], &bytes[..]);
        }
    }

    #[test]
    fn acks_name_together_exactly_what_is_settled(
        total in 1_u64..60, settle in prop::collection::vec((0_u64..70, any::<bool>()), 0..80),
    ) {
        let mut acks = Acks::default();
        for sequence in 1..=total {
            prop_assert_eq!(acks.receive(sequence), Receipt::New);
        }
        let (mut model, mut named, mut unsent) = (HashSet::new(), HashSet::new(), Ack::default());
        for (sequence, is_sent) in settle {
            acks.settled(sequence);
            if (1..=total).contains(&sequence) {
                model.insert(sequence);
            }
            unsent.merge(acks.ack());
            prop_assert!(!model.contains(&(unsent.watermark + 1)));
            if is_sent {
                let Ack { watermark, above } = std::mem::take(&mut unsent);
                named.extend(1..=watermark);
                for sequence in above {
                    prop_assert!(named.insert(sequence), "named once");
                }
                prop_assert_eq!(&named, &model);
            }
            prop_assert_eq!(acks.is_settled(), model.len() as u64 == total);
        }
    }

    #[test]
    fn an_account_is_never_overdrawn_in_deliveries(
        capacity in 0_u32..200, steps in prop::collection::vec((0_u32..50, 0_u32..50, 1_u64..5_000), 0..60),
    ) {
        let mut credit = Credit::new(capacity, 50_000, 0);
        let mut out: Vec<u64> = Vec::new();
        for (want, granted, bytes) in steps {
            let reserved = want.min(credit.free(1_000));
            credit.reserve(reserved);
            prop_assert!(u64::from(credit.used()) + u64::from(reserved) <= u64::from(capacity));
            let used = granted.min(reserved);
            credit.settle(reserved, used, u64::from(used) * bytes);
            out.extend((0..used).map(|_| bytes));
            if out.len() > 20 {
                for bytes in out.drain(..10) {
                    credit.give_back(1, bytes);
                }
            }
            prop_assert_eq!(credit.used() as usize, out.len());
        }
        for bytes in out.drain(..) {
            credit.give_back(1, bytes);
        }
        prop_assert_eq!(credit, Credit::new(capacity, 50_000, 0));
    }
}

#[test]
fn an_idle_agent_takes_one_event_of_any_size() {
    let mut credit = Credit::new(10, 1_000, 0);
    assert_eq!(credit.free(5_000), 1);
    credit.reserve(1);
    assert_eq!(credit.free(5_000), 0);
    credit.settle(1, 1, 5_000);
    assert_eq!(credit.free(1), 0);
    credit.give_back(1, 5_000);
    assert_eq!(credit.free(100), 10);
    credit.stop();
    assert_eq!(credit.free(1), 0);
}
