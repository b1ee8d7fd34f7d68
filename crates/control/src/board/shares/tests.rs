//! Shares by examples, and by random steps with a store in a few lines: tenants with
//! something queued, some of whose receivers hang.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use sidehook_core::{limits::CLAIM_QUANTUM, pool::Pool};

use super::{super::Answer, *};

fn platform() -> Pool {
    Pool {
        owner: TenantId::PLATFORM,
        name: "shared".to_owned(),
    }
}

fn tenant(number: u128) -> TenantId {
    TenantId::from_bits(number + 1)
}

/// A platform-wide pool, what is queued for it, and what its agents have.
struct World {
    board: Board,
    queued: BTreeMap<TenantId, u32>,
    held: BTreeMap<(SessionKey, TenantId), u32>,
    capacities: BTreeMap<SessionKey, u32>,
}

impl World {
    fn new(capacities: &[u32]) -> Self {
        let keys = (0..).map(SessionKey);
        let mut world = Self {
            board: Board::new(),
            queued: BTreeMap::new(),
            held: BTreeMap::new(),
            capacities: keys.zip(capacities.iter().copied()).collect(),
        };
        for (key, capacity) in &world.capacities {
            let credit = Credit::new(*capacity, u64::MAX, 0);
            world
                .board
                .join(*key, &platform(), credit, &Tally::default());
        }
        world.settle_down();
        world
    }

    fn publish(&mut self, tenant: TenantId, count: u32) {
        *self.queued.entry(tenant).or_default() += count;
        self.board.wake(&platform(), Partition::of(tenant));
    }

    /// What a store lends, a quantum of each tenant in turn; and what is left of shares.
    fn lend(&mut self, demand: &Reservation) -> (Tally, BTreeMap<TenantId, u32>) {
        let mut left = demand.max;
        let mut shares: BTreeMap<TenantId, u32> = demand.shares.iter().copied().collect();
        let mut lent = Tally::default();
        loop {
            let mut served = false;
            let here = self.queued.iter_mut();
            for (tenant, queued) in here.filter(|one| Partition::of(*one.0) == demand.partition) {
                let share = shares.entry(*tenant).or_insert(demand.each);
                let take = CLAIM_QUANTUM.min(left).min(*queued).min(*share);
                (*queued, *share, left) = (*queued - take, *share - take, left - take);
                if take > 0 {
                    served = true;
                    lent.add(*tenant, take, 0);
                    *self.held.entry((demand.session, *tenant)).or_default() += take;
                }
            }
            if !served {
                break;
            }
        }
        (lent, shares)
    }

    /// Whether there is more for a demand.
    fn more(&self, demand: &Reservation, left: &BTreeMap<TenantId, u32>) -> bool {
        self.queued.iter().any(|(tenant, queued)| {
            let share = left.get(tenant).copied().unwrap_or(demand.each);
            *queued > 0 && share > 0 && Partition::of(*tenant) == demand.partition
        })
    }

    /// One turn; how many demands it had.
    fn turn(&mut self) -> usize {
        let demands = self.board.demands(u64::MAX);
        let same = |one: &Reservation, other: &Reservation| one.partition == other.partition;
        for claim in demands.chunk_by(same) {
            let lent = claim.iter().map(|demand| self.lend(demand));
            let lent: Vec<(Tally, BTreeMap<TenantId, u32>)> = lent.collect();
            let granted = claim.iter().zip(&lent);
            let granted = granted.map(|(demand, (lent, _))| (demand, lent.clone()));
            self.board.granted(&granted.collect::<Vec<_>>());
            for (demand, (lent, shares)) in claim.iter().zip(lent) {
                let more = self.more(demand, &shares);
                self.board.over(demand.pool, demand.partition, more);
                let answer = Answer {
                    assigned: lent,
                    ..Answer::default()
                };
                self.board.answered(demand, &answer);
            }
        }
        demands.len()
    }

    /// Turns until nothing is asked for any more.
    fn settle_down(&mut self) {
        for _ in 0..1_000 {
            if self.turn() == 0 {
                return;
            }
        }
        panic!("it is asked again and again, and nothing comes of it");
    }

    fn report(&mut self, session: SessionKey, tenant: TenantId, most: u32) {
        let Some(held) = self.held.get_mut(&(session, tenant)) else {
            return;
        };
        let done = most.min(*held);
        *held -= done;
        if done > 0 {
            let mut known = Tally::default();
            known.add(tenant, done, 0);
            self.board.give_back(session, done, &known);
        }
    }

    fn has(&self, tenant: TenantId) -> u32 {
        let held = self.held.iter().filter(|((_, one), _)| *one == tenant);
        held.map(|(_, count)| count).sum()
    }

    /// Nobody has more than half, no agent more than it takes.
    fn check(&self) {
        let mut sums: BTreeMap<SessionKey, u32> = BTreeMap::new();
        for ((session, tenant), held) in &self.held {
            *sums.entry(*session).or_default() += held;
            let most = (self.capacities[session] / 2).max(1);
            assert!(*held <= most, "{tenant} has {held} of {most}");
        }
        for (session, sum) in sums {
            assert!(sum <= self.capacities[&session]);
            assert_eq!(self.board.in_flight(session), sum);
        }
    }

    /// Whoever has something queued is held back for a reason.
    fn check_settled(&self) {
        let waiting = self.queued.iter().filter(|(_, queued)| **queued > 0);
        for (tenant, _) in waiting {
            for session in self.capacities.keys() {
                let state = &self.board.sessions[session];
                let pool = &self.board.pools[&state.pool];
                let shares = state.shares.as_ref().expect("the pool is shared");
                assert!(
                    !shares.takes(&state.credit, pool.typical_bytes, *tenant),
                    "{tenant} could be lent more"
                );
            }
        }
    }
}

/// Floods an agent with one tenant after the other until one finds no place; how many
/// found one.
fn exhausted_by(capacity: u32) -> u128 {
    let mut world = World::new(&[capacity]);
    for number in 0.. {
        world.publish(tenant(number), 100_000);
        world.settle_down();
        world.check();
        world.check_settled();
        if world.has(tenant(number)) == 0 {
            return number;
        }
    }
    0
}

#[test]
fn agents_that_may_take_more_are_not_missed_turn_by_turn() {
    let mut world = World::new(&[216, 174]);
    for (number, count) in [(0, 93), (2, 93), (1, 41), (5, 43)] {
        world.publish(tenant(number), count);
        world.settle_down();
        world.check();
        world.check_settled();
    }
}

#[test]
fn many_tenants_must_hang_before_a_quiet_one_waits() {
    let wanted = [
        (1, 1),
        (2, 2),
        (16, 7),
        (256, 31),
        (1_024, 63),
        (4_096, 128),
    ];
    for (capacity, tenants) in wanted {
        assert_eq!(exhausted_by(capacity), tenants, "of {capacity} places");
    }
}

#[test]
fn alone_a_tenant_has_half() {
    let mut world = World::new(&[1_024]);
    world.publish(tenant(1), 100_000);
    world.settle_down();
    assert_eq!(world.has(tenant(1)), 512);
    world.publish(tenant(2), 20);
    world.settle_down();
    assert_eq!(world.has(tenant(2)), 20, "there is room at once");
}

#[test]
fn a_tenants_own_agent_is_all_its() {
    let mut board = Board::new();
    let pool = Pool {
        owner: tenant(1),
        name: "own".to_owned(),
    };
    let credit = Credit::new(100, u64::MAX, 0);
    board.join(SessionKey(1), &pool, credit, &Tally::default());
    let demand = board.demands(u64::MAX).remove(0);
    assert_eq!(
        (demand.max, demand.each, demand.shares),
        (100, u32::MAX, vec![])
    );
}

#[test]
fn those_who_are_held_back_are_due_when_something_is_done() {
    let mut world = World::new(&[100]);
    world.publish(tenant(1), 1_000);
    world.settle_down();
    let had = world.has(tenant(1));
    world.report(SessionKey(0), tenant(1), 10);
    world.settle_down();
    assert!(world.has(tenant(1)) > had - 10);
    // What others give back makes its share larger, too.
    world.publish(tenant(2), 40);
    world.settle_down();
    assert!(world.has(tenant(2)) > 10);
    world.report(SessionKey(0), tenant(1), 20);
    world.settle_down();
    let had = world.has(tenant(1));
    world.report(SessionKey(0), tenant(2), 40);
    world.settle_down();
    assert!(world.has(tenant(1)) > had);
    world.check_settled();
}

#[test]
fn large_events_count_by_their_bytes() {
    let mut board = Board::new();
    let credit = Credit::new(1_000, 1_000_000, 0);
    board.join(SessionKey(1), &platform(), credit, &Tally::default());
    let demands = board.demands(u64::MAX);
    let mine = Partition::of(tenant(1));
    for demand in &demands {
        let mut lent = Tally::default();
        if demand.partition == mine {
            lent.add(tenant(1), 10, 0);
        }
        board.granted(&[(demand, lent)]);
        board.over(demand.pool, demand.partition, false);
        let mut assigned = Tally::default();
        if demand.partition == mine {
            assigned.add(tenant(1), 10, 500_000);
        }
        let answer = Answer {
            assigned,
            ..Answer::default()
        };
        board.answered(demand, &answer);
    }
    board.wake(&platform(), mine);
    let demand = board.demands(u64::MAX).remove(0);
    assert_eq!(demand.max, 3, "a quarter of ten such events");
    assert_eq!(demand.shares, [(tenant(1), 0)], "it has half of the bytes");
    assert!(demand.each > 0);
}

#[test]
fn a_partition_with_too_many_to_name_waits() {
    let mine = Partition::of(tenant(0));
    let many = (0..).map(tenant).filter(|one| Partition::of(*one) == mine);
    let many: Vec<TenantId> = many.take(1_150).collect();
    let mut held = Tally::default();
    many.iter().for_each(|tenant| held.add(*tenant, 1, 0));
    let mut board = Board::new();
    let credit = Credit::new(1_200, u64::MAX, 1_150);
    board.join(SessionKey(1), &platform(), credit, &held);
    let asks = |demands: &[Reservation]| demands.iter().any(|demand| demand.partition == mine);
    for _ in 0..200 {
        let demands = board.demands(u64::MAX);
        assert!(!asks(&demands));
        for demand in &demands {
            board.granted(&[(demand, Tally::default())]);
            board.over(demand.pool, demand.partition, false);
            board.answered(demand, &Answer::default());
        }
    }
    let mut done = Tally::default();
    many.iter().take(130).for_each(|one| done.add(*one, 1, 0));
    board.give_back(SessionKey(1), 130, &done);
    assert!(asks(&board.demands(u64::MAX)));
}

#[test]
fn whoever_cannot_be_asked_for_a_tenant_does_not_have_it_asked_for_again() {
    let wanted = tenant(0);
    let mine = Partition::of(wanted);
    let others = (1..).map(tenant).filter(|one| Partition::of(*one) == mine);
    let others: Vec<TenantId> = others.take(1_150).collect();
    let mut held = Tally::default();
    others.iter().for_each(|tenant| held.add(*tenant, 1, 0));
    let mut world = World::new(&[64]);
    let credit = Credit::new(1_200, u64::MAX, 1_150);
    world.board.join(SessionKey(1), &platform(), credit, &held);
    world.capacities.insert(SessionKey(1), 1_200);
    for one in &others {
        world.held.insert((SessionKey(1), *one), 1);
    }
    // The one agent has had its share; the other takes some, but cannot be asked.
    world.publish(wanted, 1_000);
    world.settle_down();
    let has = |world: &World, key| world.held.get(&(SessionKey(key), wanted)).copied();
    assert!(has(&world, 0) >= Some(24) && has(&world, 1).is_none());
    // It is once it has fewer to name.
    for one in &others[..130] {
        world.report(SessionKey(1), *one, 1);
    }
    world.settle_down();
    assert!(has(&world, 1) > Some(0));
}

#[test]
fn agents_whose_names_do_not_fit_into_one_claim_take_turns() {
    let wanted = tenant(0);
    let mine = Partition::of(wanted);
    let others = (1..).map(tenant).filter(|one| Partition::of(*one) == mine);
    let others: Vec<TenantId> = others.take(600).collect();
    let mut held = Tally::default();
    others.iter().for_each(|tenant| held.add(*tenant, 1, 0));
    let mut world = World::new(&[]);
    for key in [SessionKey(0), SessionKey(1)] {
        let credit = Credit::new(700, u64::MAX, 600);
        world.board.join(key, &platform(), credit, &held);
        world.capacities.insert(key, 700);
        for one in &others {
            world.held.insert((key, *one), 1);
        }
    }
    world.publish(wanted, 1_000);
    world.settle_down();
    for key in [SessionKey(0), SessionKey(1)] {
        assert!(world.held.contains_key(&(key, wanted)), "{key:?}");
    }
}

#[derive(Clone, Debug)]
enum Step {
    Publish(u128, u32),
    Turn,
    Report(u64, u128, u32),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0..12_u128, 1..400_u32).prop_map(|(tenant, count)| Step::Publish(tenant, count)),
        Just(Step::Turn),
        (0..2_u64, 0..12_u128, 1..60_u32).prop_map(|(s, t, n)| Step::Report(s, t, n)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn shares_hold_and_nothing_is_forgotten(
        capacities in prop::collection::vec(1..300_u32, 1..3),
        hanging in prop::collection::btree_set(0..12_u128, 0..4),
        steps in prop::collection::vec(step(), 1..80),
    ) {
        let hanging: BTreeSet<TenantId> = hanging.into_iter().map(tenant).collect();
        let mut world = World::new(&capacities);
        for step in steps {
            match step {
                Step::Publish(number, count) => world.publish(tenant(number), count),
                Step::Turn => {
                    world.turn();
                }
                Step::Report(session, number, count) => {
                    if !hanging.contains(&tenant(number)) {
                        world.report(SessionKey(session), tenant(number), count);
                    }
                }
            }
            world.check();
        }
        world.settle_down();
        world.check_settled();
        // Without a tick or another event, everything is delivered whose receiver answers,
        // if the agents are not too small for those that hang.
        for _ in 0..10_000 {
            let held: Vec<_> = world.held.iter().map(|(key, count)| (*key, *count)).collect();
            let held = held.into_iter();
            let mut done = held.filter(|((_, one), count)| !hanging.contains(one) && *count > 0);
            let Some(((session, one), count)) = done.next() else { break };
            world.report(session, one, count);
            world.settle_down();
            world.check();
        }
        world.check_settled();
        if capacities.iter().any(|capacity| *capacity >= 16) {
            for (one, queued) in &world.queued {
                prop_assert!(hanging.contains(one) || *queued == 0, "{one}: {queued} left");
            }
        }
    }
}
