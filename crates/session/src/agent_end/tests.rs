//! The stories that matter, one by one; random histories are in [`world`].

mod world;

use super::*;

const TERM: Duration = Duration::from_secs(15);
const EVERY: Duration = Duration::from_secs(2);
const LIMIT: Duration = Duration::from_secs(5);
const CAPACITY: u32 = 20;

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn together() -> AgentEnd<u32> {
    let mut end = AgentEnd::new(CAPACITY, Vec::new());
    end.connect(1, Duration::ZERO);
    end.welcome(TERM, EVERY, &[], Duration::ZERO)
        .expect("the first");
    end
}

fn report(lease: &Lease, position: u32) -> Report<u32> {
    Report {
        lease: lease.number(),
        position,
        outcome: position,
    }
}

#[test]
fn a_lease_counts_from_the_echoed_frame_however_late_it_arrives() {
    let mut end = together();
    let stamp = end.stamp(ms(100));
    let late = ms(14_000);
    end.stamp(late);
    let lease = end
        .assign(&Bytes::from_static(b"a"), stamp, 2, LIMIT, late)
        .expect("in order")
        .expect("not empty");
    assert_eq!(lease.ends(), ms(15_100));
    assert_eq!(lease.check(ms(10_000), LIMIT), Check::Begin);
    assert_eq!(lease.check(late, LIMIT), Check::Renew);
    assert_eq!(end.tick(late).renew, [Bytes::from_static(b"a")]);
    assert_eq!(
        lease.check(late, LIMIT),
        Check::Begin,
        "a renewal is on its way"
    );
    assert_eq!(lease.check(ms(15_100), LIMIT), Check::Over);
    let asked = end.stamp(late);
    end.renewed(asked, &[Bytes::from_static(b"a")], &[])
        .expect("in order");
    assert_eq!(lease.ends(), late + TERM);
    assert_eq!(lease.check(ms(15_100), LIMIT), Check::Begin);
}

#[test]
fn a_cut_stream_ends_the_hope_for_a_renewal_and_a_dead_lease_stays_dead() {
    let mut end = together();
    let lease = end.assign(&Bytes::from_static(b"a"), 1, 1, LIMIT, ms(0));
    let lease = lease.expect("in order").expect("not empty");
    assert_eq!(end.tick(ms(12_000)).renew.len(), 1);
    assert_eq!(lease.check(ms(12_000), LIMIT), Check::Begin);
    end.disconnect();
    assert_eq!(lease.check(ms(12_000), LIMIT), Check::Renew);
    let hello = end.connect(2, ms(12_500));
    assert_eq!(hello.closed_session_ids, [1]);
    assert_eq!((hello.held_leases.len(), hello.held_deliveries), (1, 1));
    let dead = [Bytes::from_static(b"a")];
    end.welcome(TERM, EVERY, &dead, ms(13_000)).expect("first");
    assert_eq!(lease.check(ms(13_000), ms(1)), Check::Over);
    let stamp = end.stamp(ms(13_000));
    end.renewed(stamp, &dead, &[]).expect("in order");
    assert_eq!(lease.check(ms(13_000), ms(1)), Check::Over);
    assert!(end.tick(ms(13_100)).renew.is_empty());
    assert_eq!(
        end.connect(3, ms(14_000)).closed_session_ids,
        [2],
        "Welcome ended the matter of session 1"
    );
}

#[test]
fn a_session_is_named_as_closed_until_none_of_its_leases_is_held() {
    let mut end = together();
    let lease = end.assign(&Bytes::from_static(b"a"), 1, 1, LIMIT, ms(0));
    let lease = lease.expect("in order").expect("not empty");
    assert_eq!(end.connect(2, ms(0)).closed_session_ids, [1]);
    end.welcome(TERM, EVERY, &[], ms(0)).expect("first");
    assert_eq!(end.connect(3, ms(0)).closed_session_ids, [1, 2]);
    end.welcome(TERM, EVERY, &[], ms(0)).expect("first");
    end.report([report(&lease, 0)]).expect("open");
    end.acknowledge(1, &[]).expect("sent");
    assert_eq!(end.connect(4, ms(0)).closed_session_ids, [3]);
}

#[test]
fn sessions_of_an_earlier_process_are_closed_and_their_number_has_a_bound() {
    let mut end: AgentEnd<u32> = AgentEnd::new(CAPACITY, vec![7, 8]);
    assert_eq!(end.connect(100, ms(0)).closed_session_ids, [7, 8]);
    for session in 101..300 {
        end.connect(session, ms(0));
    }
    let hello = end.connect(300, ms(0));
    let newest: Vec<u64> = (236..300).collect();
    assert_eq!(hello.closed_session_ids, newest);
}

#[test]
fn frames_that_do_not_fit_are_errors_and_change_nothing() {
    let id = Bytes::from_static(b"a");
    let mut apart: AgentEnd<u32> = AgentEnd::new(CAPACITY, Vec::new());
    let early = apart.assign(&id, 1, 1, LIMIT, ms(0)).map(|_| ());
    assert_eq!(early, Err(ProtocolError::NotWelcomed));
    assert_eq!(apart.heartbeat(1), Err(ProtocolError::NotWelcomed));
    apart.connect(1, ms(0));
    assert_eq!(apart.acknowledge(0, &[]), Err(ProtocolError::NotWelcomed));
    assert_eq!(
        apart.welcome(ms(0), EVERY, &[], ms(0)),
        Err(ProtocolError::NoTime)
    );

    let mut end = together();
    let mut assign = |stamp, deliveries| {
        end.assign(&id, stamp, deliveries, LIMIT, ms(0))
            .map(|lease| lease.is_some())
    };
    let unknown = ProtocolError::UnknownStamp {
        stamp: 2,
        newest: 1,
    };
    let over = ProtocolError::OverCredit {
        assigned: 21,
        credit: 20,
    };
    assert_eq!(assign(2, 1), Err(unknown));
    assert_eq!(assign(1, 21), Err(over));
    assert_eq!(assign(1, 0), Ok(false));
    assert_eq!(assign(1, 20), Ok(true));
    assert_eq!(end.credit(), 0);
    assert_eq!(
        end.acknowledge(1, &[]),
        Err(ProtocolError::UnknownBatch {
            sequence: 1,
            newest: 0
        })
    );
    assert_eq!(
        end.welcome(TERM, EVERY, &[], ms(0)),
        Err(ProtocolError::WelcomedTwice)
    );
    assert_eq!(end.leases(), 1);
}

#[test]
fn outcomes_beyond_any_measure_wait_and_resume_with_an_acknowledgement() {
    let mut end = together();
    for round in 0..4_u32 {
        let id = Bytes::from(round.to_be_bytes().to_vec());
        let lease = end.assign(&id, 1, CAPACITY, LIMIT, ms(0));
        let lease = lease.expect("credit").expect("not empty");
        assert!(end.may_report());
        end.report((0..CAPACITY).map(|position| report(&lease, position)))
            .expect("open");
        assert_eq!(end.credit(), CAPACITY);
        assert!(
            end.report([report(&lease, 0)]).is_none(),
            "one outcome for each delivery"
        );
    }
    assert!(!end.may_report());
    end.acknowledge(1, &[3]).expect("sent");
    assert!(end.may_report());
    assert_eq!(end.leases(), 2);
    end.acknowledge(4, &[]).expect("sent");
    assert!(end.is_settled());
}
