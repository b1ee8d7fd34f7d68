//! The board by examples, and by random steps against its promises.

use std::collections::{HashMap, hash_map::Entry};

use proptest::prelude::*;
use sidehook_core::id::TenantId;

use super::*;

fn pool(owner: u128) -> Pool {
    Pool {
        owner: TenantId::from_bits(owner),
        name: "default".to_owned(),
    }
}

fn tally(tenant: u128, deliveries: u32, bytes: u64) -> Tally {
    let mut tally = Tally::default();
    tally.add(TenantId::from_bits(tenant), deliveries, bytes);
    tally
}

/// All of it goes to the agent.
fn lent(tenant: u128, deliveries: u32, bytes: u64) -> Answer {
    Answer {
        assigned: tally(tenant, deliveries, bytes),
        ..Answer::default()
    }
}

fn credit(deliveries: u32) -> Credit {
    Credit::new(deliveries, u64::MAX, 0)
}

/// Everything asked for, and nothing granted.
fn decline(board: &mut Board, demands: &[Reservation]) {
    for demand in demands {
        board.answered(demand, &Answer::default());
        board.over(demand.pool, demand.partition, false);
    }
}

#[test]
fn an_agent_is_asked_for_its_own_tenants_partition_only() {
    let mut board = Board::new();
    let mine = Partition::of(TenantId::from_bits(7));
    let reach = board.join(SessionKey(1), &pool(7), credit(100), &Tally::default());
    assert_eq!(reach, bit(mine));
    let demands = board.demands(u64::MAX);
    assert_eq!(demands.len(), 1);
    assert_eq!((demands[0].partition, demands[0].max), (mine, 100));
    assert!(board.demands(u64::MAX).is_empty(), "busy");
    decline(&mut board, &demands);
    assert!(board.demands(u64::MAX).is_empty(), "idle");
    assert!(board.wake(&pool(7), mine));
    assert!(!board.wake(&pool(8), mine), "no agents");
    assert_eq!(board.demands(u64::MAX).len(), 1);
}

#[test]
fn work_that_is_noticed_during_a_claim_is_claimed_next() {
    let mut board = Board::new();
    let mine = Partition::of(TenantId::from_bits(7));
    board.join(SessionKey(1), &pool(7), credit(100), &Tally::default());
    let demands = board.demands(u64::MAX);
    board.wake(&pool(7), mine);
    assert!(board.demands(u64::MAX).is_empty(), "one claim at a time");
    decline(&mut board, &demands);
    assert_eq!(board.demands(u64::MAX).len(), 1);
}

#[test]
fn without_credit_work_stays_due_until_credit_returns() {
    let mut board = Board::new();
    let mine = Partition::of(TenantId::from_bits(7));
    board.join(SessionKey(1), &pool(7), credit(10), &Tally::default());
    let demand = board.demands(u64::MAX).remove(0);
    board.answered(&demand, &lent(7, 10, 10_000));
    board.over(demand.pool, demand.partition, true);
    assert!(board.demands(u64::MAX).is_empty());
    assert_eq!(board.in_flight(SessionKey(1)), 10);
    assert_eq!(
        board.give_back(SessionKey(1), 3, &tally(7, 3, 3_000)),
        bit(mine)
    );
    assert_eq!(board.demands(u64::MAX)[0].max, 3);
}

#[test]
fn partitions_share_a_platform_pools_credit_and_take_turns() {
    let mut board = Board::new();
    let platform = pool(0);
    assert_eq!(
        board.join(SessionKey(1), &platform, credit(64), &Tally::default()),
        u64::MAX
    );
    let mut asked: HashMap<Partition, u32> = HashMap::new();
    for _ in 0..64 {
        let demands = board.demands(u64::MAX);
        assert!(demands.iter().map(|demand| demand.max).sum::<u32>() <= 64);
        for demand in &demands {
            *asked.entry(demand.partition).or_default() += 1;
            board.answered(demand, &Answer::default());
            board.over(demand.pool, demand.partition, true);
        }
    }
    assert_eq!(asked.len(), 64, "every partition had its turn");
}

#[test]
fn agents_of_a_pool_take_turns() {
    let mut board = Board::new();
    let mine = Partition::of(TenantId::from_bits(7));
    for session in 1..=3 {
        board.join(
            SessionKey(session),
            &pool(7),
            credit(1_000),
            &Tally::default(),
        );
    }
    let mut asked = Vec::new();
    for _ in 0..3 {
        board.wake(&pool(7), mine);
        let demands = board.demands(u64::MAX);
        asked.extend(demands.iter().map(|demand| demand.session));
        decline(&mut board, &demands);
    }
    asked.sort_unstable();
    assert_eq!(asked, [SessionKey(1), SessionKey(2), SessionKey(3)]);
}

#[test]
fn a_pool_is_forgotten_with_its_last_agent() {
    let mut board = Board::new();
    let mine = Partition::of(TenantId::from_bits(7));
    board.join(SessionKey(1), &pool(7), credit(10), &Tally::default());
    let demands = board.demands(u64::MAX);
    board.leave(SessionKey(1));
    decline(&mut board, &demands);
    assert!(!board.wake(&pool(7), mine));
    assert!(board.pools.is_empty() && board.by_name.is_empty() && board.sessions.is_empty());
    board.join(SessionKey(2), &pool(7), credit(10), &Tally::default());
    assert_eq!(board.demands(u64::MAX).len(), 1);
    assert!(board.queues.iter().all(VecDeque::is_empty));
}

#[test]
fn large_events_narrow_the_demand() {
    let mut board = Board::new();
    board.join(
        SessionKey(1),
        &pool(7),
        Credit::new(100, 1_000_000, 0),
        &Tally::default(),
    );
    let demand = board.demands(u64::MAX).remove(0);
    board.answered(&demand, &lent(7, 4, 400_000));
    board.over(demand.pool, demand.partition, true);
    assert_eq!(board.demands(u64::MAX)[0].max, 6);
}

#[derive(Clone, Debug)]
enum Step {
    Join(u64, u8, u32),
    Leave(u64),
    Wake(u8, u8),
    Turn(u64, bool, u32),
    Report(u64, u32),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0..6_u64, 0..3_u8, 0..300_u32).prop_map(|(s, p, c)| Step::Join(s, p, c)),
        (0..6_u64).prop_map(Step::Leave),
        (0..3_u8, 0..64_u8).prop_map(|(p, n)| Step::Wake(p, n)),
        (any::<u64>(), any::<bool>(), 0..200_u32).prop_map(|(m, more, n)| Step::Turn(m, more, n)),
        (0..6_u64, 1..50_u32).prop_map(|(s, n)| Step::Report(s, n)),
    ]
}

proptest! {
    #[test]
    fn no_agent_gets_more_than_its_credit_and_no_claim_more_than_a_call(
        steps in prop::collection::vec(step(), 1..200),
    ) {
        let mut board = Board::new();
        let mut capacity: HashMap<u64, u32> = HashMap::new();
        let mut held: HashMap<u64, u32> = HashMap::new();
        for step in steps {
            match step {
                Step::Join(session, owner, deliveries) => {
                    if let Entry::Vacant(vacant) = capacity.entry(session) {
                        board.join(SessionKey(session), &pool(owner.into()), credit(deliveries), &Tally::default());
                        vacant.insert(deliveries);
                        held.insert(session, 0);
                    }
                }
                Step::Leave(session) => {
                    board.leave(SessionKey(session));
                    capacity.remove(&session);
                    held.remove(&session);
                }
                Step::Wake(owner, number) => {
                    let partition = Partition::new(number).expect("below 64");
                    board.wake(&pool(owner.into()), partition);
                }
                Step::Turn(mask, more, grant) => {
                    let demands = board.demands(mask);
                    let mut records: HashMap<Partition, u32> = HashMap::new();
                    for demand in &demands {
                        prop_assert!(demand.max > 0 && mask & bit(demand.partition) != 0);
                        *records.entry(demand.partition).or_default() += demand.max;
                        let used = demand.max.min(grant);
                        *held.get_mut(&demand.session.0).expect("a session") += used;
                        board.granted(&[(demand, tally(7, used, 0))]);
                        board.answered(demand, &lent(7, used, used.into()));
                        board.over(demand.pool, demand.partition, more);
                    }
                    prop_assert!(records.values().all(|records| *records <= CALL_RECORDS as u32));
                }
                Step::Report(session, deliveries) => {
                    if let Some(held) = held.get_mut(&session) {
                        let done = deliveries.min(*held);
                        *held -= done;
                        board.give_back(SessionKey(session), done, &tally(7, done, done.into()));
                    }
                }
            }
            for (session, capacity) in &capacity {
                prop_assert!(held[session] <= *capacity);
                prop_assert_eq!(board.in_flight(SessionKey(*session)), held[session]);
            }
        }
    }
}
