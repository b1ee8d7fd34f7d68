//! The agent against a control plane that says what the test tells it to.

mod plane;

use std::time::Duration;

use sidehook_api::agent_v1::connect_request::Frame;
use sidehook_api::agent_v1::connect_response::Frame as Answer;
use sidehook_api::agent_v1::{
    Drain, GoAway, Heartbeat, LeaseOutcomes, OutcomeKind, OutcomesAck, Renewed,
};
use tonic::Status;
use tonic::transport::Identity;

use plane::{LEASE, Plane, TOKEN, assign, assign_to, welcome};

fn kinds(leases: &[LeaseOutcomes]) -> Vec<(u32, OutcomeKind)> {
    let outcomes = leases.iter().flat_map(|lease| &lease.outcomes);
    let mut kinds: Vec<_> = outcomes
        .map(|outcome| (outcome.position, outcome.kind()))
        .collect();
    kinds.sort_unstable_by_key(|(position, _)| *position);
    kinds
}

#[tokio::test]
async fn an_agent_introduces_itself_delivers_and_reports() {
    let mut plane = Plane::start().await;
    let mut stream = plane.accept().await;
    assert_eq!(stream.authorization, format!("Bearer {TOKEN}"));
    let (stamp, hello) = stream.hello().await;
    assert_eq!((stamp, hello.protocol, hello.agent_id.len()), (1, 1, 16));
    assert_eq!((hello.capacity, hello.name.as_str()), (100, "test"));
    assert!(hello.closed_session_ids.is_empty() && hello.held_leases.is_empty());
    stream.send(welcome(60_000, 60_000)).await;
    stream.send(assign(&plane.receiver, 1, 3)).await;
    let outcomes = stream.outcomes(3).await;
    assert_eq!(outcomes.first_sequence, 1);
    assert_eq!(
        kinds(&outcomes.leases),
        [0, 1, 2].map(|position| (position, OutcomeKind::Response))
    );
    for lease in &outcomes.leases {
        assert_eq!(&lease.lease[..], LEASE);
        for outcome in &lease.outcomes {
            assert_eq!(outcome.response_status, 200);
            assert_eq!(&outcome.response_body[..], b"taken");
            assert!(outcome.duration_us > 0 && outcome.started_ago_ms < 60_000);
        }
    }
    assert_eq!(plane.receiver.requests(), 3);
}

#[tokio::test]
async fn what_was_not_acknowledged_is_named_and_sent_again() {
    let mut plane = Plane::start().await;
    let mut stream = plane.accept().await;
    let (_, first) = stream.hello().await;
    stream.send(welcome(60_000, 60_000)).await;
    stream.send(assign(&plane.receiver, 1, 2)).await;
    stream.outcomes(2).await;
    drop(stream);

    let mut stream = plane.accept().await;
    let (_, hello) = stream.hello().await;
    assert_eq!(hello.agent_id, first.agent_id);
    assert_eq!(hello.boot_id, first.boot_id);
    assert_eq!(hello.closed_session_ids, [first.session_id]);
    assert_eq!(
        (hello.held_leases.as_slice(), hello.held_deliveries),
        ([LEASE.into()].as_slice(), 2)
    );
    stream.send(welcome(60_000, 60_000)).await;
    let again = stream.outcomes(2).await;
    assert_eq!(again.first_sequence, 1, "numbered anew");
    assert_eq!(plane.receiver.requests(), 2, "posted once");
    let ack = OutcomesAck {
        watermark: again.last_sequence,
        above: vec![],
    };
    stream.send(Answer::OutcomesAck(ack)).await;
    stream
        .send(assign_to(b"other", &plane.receiver, 1, 1))
        .await;
    stream.outcomes(1).await;
    drop(stream);

    let (_, hello) = plane.accept().await.hello().await;
    assert_eq!(hello.held_leases, [&b"other"[..]]);
}

#[tokio::test]
async fn a_drain_finishes_hands_back_and_waits_for_the_acknowledgement() {
    let mut plane = Plane::start().await;
    let mut stream = plane.accept().await;
    stream.hello().await;
    stream.send(welcome(60_000, 60_000)).await;
    stream.send(assign(&plane.hanging, 1, 3)).await;
    plane.hanging.wait_for(1).await;
    plane.tasks.trigger().drain("test");
    assert!(matches!(stream.next().await, Frame::Draining(_)));
    let outcomes = stream.outcomes(3).await;
    assert_eq!(
        kinds(&outcomes.leases),
        [
            (0, OutcomeKind::Timeout),
            (1, OutcomeKind::NotStarted),
            (2, OutcomeKind::NotStarted)
        ]
    );
    assert!(!plane.agent.is_finished(), "not acknowledged");
    // A cut at this moment too: it comes back and says it once more.
    drop(stream);
    let mut stream = plane.accept().await;
    let (_, hello) = stream.hello().await;
    assert_eq!(hello.held_deliveries, 3);
    stream.send(welcome(60_000, 60_000)).await;
    let again = stream.outcomes(3).await;
    let ack = OutcomesAck {
        watermark: again.last_sequence,
        above: vec![],
    };
    stream.send(Answer::OutcomesAck(ack)).await;
    assert_eq!(plane.agent.await, Some(()));
}

#[tokio::test]
async fn an_idle_agent_drains_at_once_connected_or_not() {
    let mut plane = Plane::start().await;
    let mut stream = plane.accept().await;
    stream.hello().await;
    stream.send(welcome(60_000, 60_000)).await;
    plane.connected().await;
    plane.tasks.trigger().drain("test");
    assert_eq!(plane.agent.await, Some(()));

    let mut plane = Plane::start().await;
    let stream = plane.accept().await;
    let _ = stream.answers.send(Err(Status::unavailable("later"))).await;
    plane.tasks.trigger().drain("test");
    assert_eq!(plane.agent.await, Some(()));
}

#[tokio::test]
async fn leases_are_renewed_while_they_have_work_and_dead_ones_are_not_used() {
    let mut plane = Plane::start().await;
    let mut stream = plane.accept().await;
    stream.hello().await;
    stream.send(welcome(1_500, 60_000)).await;
    stream.send(assign(&plane.hanging, 1, 4)).await;
    let (stamp, frame) = stream.next_stamped().await;
    let Frame::Renew(renew) = frame else {
        panic!("not a Renew: {frame:?}");
    };
    assert_eq!(renew.leases, [LEASE]);
    stream
        .send(Answer::Renewed(Renewed {
            stamp,
            leases: vec![],
            dead_leases: renew.leases,
        }))
        .await;
    let outcomes = stream.outcomes(4).await;
    let not_started = kinds(&outcomes.leases);
    let not_started = not_started
        .iter()
        .filter(|(_, kind)| *kind == OutcomeKind::NotStarted);
    assert!(not_started.count() >= 2, "{:?}", outcomes.leases);
    assert!(plane.hanging.requests() <= 2);
}

#[tokio::test]
async fn a_stream_that_does_not_answer_or_breaks_the_protocol_is_left() {
    let mut plane = Plane::start().await;
    let mut stream = plane.accept().await;
    stream.hello().await;
    stream.send(welcome(60_000, 40)).await;
    for number in 1..=3 {
        let frame = stream.next().await;
        assert!(
            matches!(frame, Frame::Heartbeat(Heartbeat { number: n, .. }) if n == number),
            "{frame:?}"
        );
    }
    stream.ended().await;

    let mut stream = plane.accept().await;
    stream.hello().await;
    stream.send(welcome(60_000, 60_000)).await;
    stream.send(assign(&plane.receiver, 99, 1)).await;
    stream.ended().await;
    assert!(plane.unmet().await.contains("stamp 99"));

    let mut stream = plane.accept().await;
    let (_, hello) = stream.hello().await;
    assert!(hello.held_leases.is_empty(), "nothing of it was taken");
    let reason = "no such pool".to_owned();
    stream.send(Answer::GoAway(GoAway { reason })).await;
    stream.ended().await;
    assert!(plane.unmet().await.contains("no such pool"));
    assert_eq!(plane.receiver.requests(), 0);
}

#[tokio::test]
async fn an_agent_that_is_asked_to_move_does_so_without_waiting() {
    let mut plane = Plane::start().await;
    let mut stream = plane.accept().await;
    stream.hello().await;
    stream.send(welcome(60_000, 60_000)).await;
    plane.connected().await;
    let drain = Drain {
        deadline_ms: 60_000,
        reconnect_after_ms: 30,
    };
    stream.send(Answer::Drain(drain)).await;
    let moved = tokio::time::timeout(Duration::from_millis(400), plane.accept()).await;
    moved.expect("sooner than the shortest back-off");
}

#[tokio::test]
async fn a_refused_token_is_told_in_words() {
    let mut plane = Plane::start().await;
    let stream = plane.accept().await;
    let refused = Status::unauthenticated("unknown key");
    let _ = stream.answers.send(Err(refused)).await;
    let reason = plane.unmet().await;
    assert!(
        reason.contains("token is not accepted") && !reason.contains(TOKEN),
        "{reason}"
    );
}

#[tokio::test]
async fn an_agent_that_was_killed_comes_back_and_closes_what_it_left() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut plane = Plane::with_state(dir.path().to_owned()).await;
    let (_, killed) = plane.accept().await.hello().await;
    // Its lock is free as soon as the task is gone.
    plane.agent.abort();
    let _ = plane.agent.await;

    let mut plane = Plane::with_state(dir.path().to_owned()).await;
    let (_, hello) = plane.accept().await.hello().await;
    assert_eq!(hello.agent_id, killed.agent_id);
    assert_ne!(hello.boot_id, killed.boot_id);
    assert_eq!(hello.closed_session_ids, [killed.session_id]);
}

#[tokio::test]
async fn the_control_plane_is_verified_against_the_file_of_authorities() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("ca.pem");
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    std::fs::write(&file, made.cert.pem()).expect("written");
    let identity = Identity::from_pem(made.cert.pem(), made.signing_key.serialize_pem());
    let mut plane = Plane::with_tls(identity.clone(), "localhost", Some(file.clone())).await;
    let mut stream = plane.accept().await;
    stream.hello().await;
    stream.send(welcome(60_000, 60_000)).await;
    plane.connected().await;

    for (host, ca_file) in [("localhost", None), ("127.0.0.1", Some(file))] {
        let plane = Plane::with_tls(identity.clone(), host, ca_file).await;
        let reason = plane.unmet().await;
        assert!(reason.contains("certificate"), "{host}: {reason}");
    }
}
