//! Random histories against what an observer of both ends knows.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone)]
enum Step {
    Wait(u64),
    Connect { dead_one_in: u8 },
    Cut,
    Assign { deliveries: u32, stamp_back: u64 },
    Report { lease: usize, count: usize },
    Ack { watermark: u64, above: Vec<u64> },
    Tick,
    AnswerRenew { dead: bool },
    Check { lease: usize },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0_u64..6_000).prop_map(Step::Wait),
        1 => (1_u8..5).prop_map(|dead_one_in| Step::Connect { dead_one_in }),
        1 => Just(Step::Cut),
        6 => (0_u32..9, 0_u64..4).prop_map(|(deliveries, stamp_back)| Step::Assign { deliveries, stamp_back }),
        6 => (0_usize..6, 1_usize..8).prop_map(|(lease, count)| Step::Report { lease, count }),
        3 => (0_u64..9, prop::collection::vec(1_u64..9, 0..3)).prop_map(|(watermark, above)| Step::Ack { watermark, above }),
        4 => Just(Step::Tick),
        3 => any::<bool>().prop_map(|dead| Step::AnswerRenew { dead }),
        8 => (0_usize..6).prop_map(|lease| Step::Check { lease }),
    ]
}

/// What an observer of both ends knows.
struct World {
    end: AgentEnd<(u64, u32)>,
    now: Duration,
    session: u64,
    /// When each frame of the stream was really sent.
    frames: Vec<Duration>,
    /// Held leases: the lease, its real end, positions without outcome.
    leases: Vec<(Lease, Duration, Vec<u32>)>,
    dead: BTreeSet<u64>,
    reported: BTreeSet<(u64, u32)>,
    acknowledged: BTreeSet<(u64, u32)>,
    /// Batches of this session by sequence, as the other end received them.
    received: BTreeMap<u64, Vec<(u64, u32)>>,
    /// Credit as the other end counts it; below zero if outcomes returned too much or too little.
    credit: i64,
    asked: Option<(u64, Vec<Bytes>)>,
}

impl World {
    fn new() -> Self {
        Self {
            end: AgentEnd::new(CAPACITY, Vec::new()),
            now: ms(1),
            session: 0,
            frames: Vec::new(),
            leases: Vec::new(),
            dead: BTreeSet::new(),
            reported: BTreeSet::new(),
            acknowledged: BTreeSet::new(),
            received: BTreeMap::new(),
            credit: 0,
            asked: None,
        }
    }

    fn send(&mut self) -> u64 {
        let stamp = self.end.stamp(self.now);
        self.frames.push(self.now);
        assert_eq!(stamp, self.frames.len() as u64);
        stamp
    }

    fn receive(&mut self, sequence: u64, ids: Vec<(u64, u32)>) {
        self.credit += i64::try_from(ids.len()).expect("few");
        assert!(self.credit <= CAPACITY.into(), "too much credit came back");
        assert!(self.received.insert(sequence, ids).is_none());
    }

    fn run(&mut self, step: Step) {
        match step {
            Step::Wait(wait) => self.now += ms(wait),
            Step::Connect { dead_one_in } => self.connect(dead_one_in),
            Step::Cut => self.end.disconnect(),
            Step::Assign {
                deliveries,
                stamp_back,
            } => self.assign(deliveries, stamp_back),
            Step::Report { lease, count } => self.report(lease, count),
            Step::Ack { watermark, above } => self.acknowledge(watermark, &above),
            Step::Tick => self.tick(),
            Step::AnswerRenew { dead } => self.answer(dead),
            Step::Check { lease } => self.check(lease),
        }
        assert!(self.end.credit() <= CAPACITY);
        if self.end.is_welcome() {
            assert!(self.credit >= 0 && i64::from(self.end.credit()) >= self.credit);
        }
    }

    fn connect(&mut self, dead_one_in: u8) {
        let before = self.session;
        let was_apart = self.end.stream.is_none();
        self.session += 1;
        let hello = self.end.connect(self.session, self.now);
        self.frames = vec![self.now];
        self.received.clear();
        self.asked = None;
        if !was_apart || before > 0 {
            assert!(hello.closed_session_ids.contains(&before));
        }
        self.credit = i64::from(CAPACITY) - i64::from(hello.held_deliveries);
        let dead: Vec<Bytes> = hello
            .held_leases
            .iter()
            .step_by(dead_one_in.into())
            .cloned()
            .collect();
        self.end
            .welcome(TERM, EVERY, &dead, self.now)
            .expect("the first");
        for (lease, ..) in &self.leases {
            if dead.contains(lease.id()) {
                self.dead.insert(lease.number());
            }
        }
        let resent: Vec<_> = self
            .end
            .unacknowledged()
            .map(|batch| (batch.sequence, ids(batch)))
            .collect();
        for (sequence, ids) in resent {
            self.send();
            self.receive(sequence, ids);
        }
        let again: BTreeSet<_> = self.received.values().flatten().copied().collect();
        let missing: Vec<_> = self
            .reported
            .difference(&self.acknowledged)
            .filter(|id| !again.contains(id))
            .collect();
        assert!(
            missing.is_empty(),
            "neither settled nor sent again: {missing:?}"
        );
    }

    fn assign(&mut self, deliveries: u32, stamp_back: u64) {
        if !self.end.is_welcome() || i64::from(deliveries) > self.credit {
            return;
        }
        let stamp = (self.frames.len() as u64).saturating_sub(stamp_back).max(1);
        let sent = self.frames[usize::try_from(stamp).expect("small") - 1];
        let id = Bytes::from((self.end.next_number + 1).to_be_bytes().to_vec());
        let lease = self
            .end
            .assign(&id, stamp, deliveries, LIMIT, self.now)
            .expect("within the credit");
        self.credit -= i64::from(deliveries);
        if let Some(lease) = lease {
            self.leases
                .push((lease, sent + TERM, (0..deliveries).collect()));
        }
    }

    fn report(&mut self, lease: usize, count: usize) {
        let Some((lease, _, open)) = self.leases.get_mut(lease) else {
            return;
        };
        if !self.end.may_report() {
            return;
        }
        let count = count.min(open.len());
        let reports: Vec<_> = open
            .drain(..count)
            .map(|position| Report {
                lease: lease.number(),
                position,
                outcome: (lease.number(), position),
            })
            .collect();
        self.reported
            .extend(reports.iter().map(|report| report.outcome));
        let sent = self
            .end
            .report(reports)
            .map(|batch| (batch.sequence, ids(batch)));
        assert_eq!(sent.is_some(), count > 0);
        if let Some((sequence, ids)) = sent {
            self.send();
            self.receive(sequence, ids);
        }
        self.leases.retain(|(_, _, open)| !open.is_empty());
    }

    fn acknowledge(&mut self, watermark: u64, above: &[u64]) {
        let newest = self.received.keys().max().copied().unwrap_or(0);
        let is_known = watermark <= newest && above.iter().all(|sequence| *sequence <= newest);
        let answer = self.end.acknowledge(watermark, above);
        assert_eq!(answer.is_ok(), is_known && self.end.is_welcome());
        if answer.is_ok() {
            for (sequence, ids) in &self.received {
                if *sequence <= watermark || above.contains(sequence) {
                    self.acknowledged.extend(ids);
                }
            }
        }
    }

    fn tick(&mut self) {
        let due = self.end.tick(self.now);
        if let Some(number) = due.heartbeat {
            self.send();
            self.end.heartbeat(number).expect("together");
        }
        if !due.renew.is_empty() {
            let stamp = self.send();
            self.asked = Some((stamp, due.renew));
        }
    }

    fn answer(&mut self, is_dead: bool) {
        let Some((stamp, ids)) = self.asked.take().filter(|_| self.end.is_welcome()) else {
            return;
        };
        let (kept, dead) = if is_dead {
            (vec![], ids)
        } else {
            (ids, vec![])
        };
        self.end.renewed(stamp, &kept, &dead).expect("in order");
        let sent = self.frames[usize::try_from(stamp).expect("small") - 1];
        for (lease, real_end, _) in &mut self.leases {
            if kept.contains(lease.id()) && !self.dead.contains(&lease.number()) {
                *real_end = (*real_end).max(sent + TERM);
            }
            if dead.contains(lease.id()) {
                self.dead.insert(lease.number());
            }
        }
    }

    fn check(&self, lease: usize) {
        let Some((lease, real_end, _)) = self.leases.get(lease) else {
            return;
        };
        let asked = self.asked.as_ref();
        let is_asked = asked.is_some_and(|(_, ids)| ids.contains(lease.id()));
        let said = lease.check(self.now, LIMIT);
        if self.dead.contains(&lease.number()) || self.now >= *real_end {
            assert_eq!(said, Check::Over);
        } else if said == Check::Begin && !is_asked && !self.end.is_welcome() {
            assert!(
                self.now + LIMIT <= *real_end,
                "nobody can renew it, and it does not fit"
            );
        }
    }
}

fn ids(batch: &Batch<(u64, u32)>) -> Vec<(u64, u32)> {
    batch
        .leases
        .iter()
        .flat_map(|lease| lease.outcomes.iter().map(|(_, id)| *id))
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]
    #[test]
    fn any_history_keeps_the_promises(steps in prop::collection::vec(step(), 1..80)) {
        let mut world = World::new();
        world.run(Step::Connect { dead_one_in: 1 });
        for step in steps {
            world.run(step);
        }
        world.run(Step::Connect { dead_one_in: 1 });
        for lease in 0..world.leases.len() {
            world.run(Step::Check { lease });
        }
    }
}
