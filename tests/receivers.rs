//! How receivers are reached: their certificates, their addresses, and each time-out,
//! told apart in what the attempt says.

use std::{fs, net::SocketAddr, time::Duration};

use rcgen::generate_simple_self_signed;
use sidehook_api::v1::{self, AttemptError, Blame, DeliveryState};
use sidehook_testkit::{
    agent::Agent,
    client::{Client, event, subscription},
    receiver::{Behaviour, Receiver},
    system::System,
    verify::verify,
};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

const PATIENCE: Duration = Duration::from_secs(30);
const LOOPBACK: &str = "[egress]\nallow_loopback = true\n";

async fn system() -> System {
    System::builder().embedded().without_agent().start().await
}

/// Publishes one event for `wanted` alone and waits until its delivery has an attempt.
async fn attempt(client: &Client, wanted: v1::Subscription) -> v1::Delivery {
    let made = client.create(wanted).await;
    let request = v1::WatchDeliveriesRequest {
        subscription_id: made.id.clone(),
    };
    let watch = client.deliveries().watch_deliveries(request).await;
    let mut watch = watch.expect("a watch").into_inner();
    let on = watch.message().await.expect("a stream");
    assert!(on.is_some(), "the watch is on");
    let request = v1::TestSubscriptionRequest { id: made.id };
    let sent = client.webhooks().test_subscription(request).await;
    sent.expect("a test event");
    let told = async {
        loop {
            let seen = watch.message().await.expect("a stream").expect("no end");
            let delivery = seen.delivery.expect("a delivery");
            if !delivery.attempts.is_empty() {
                return delivery;
            }
        }
    };
    let in_time = tokio::time::timeout(PATIENCE, told).await;
    in_time.expect("an attempt within 30 s")
}

/// What the last attempt says: its error, whose failure, and details.
fn failure(delivery: &v1::Delivery) -> (AttemptError, Blame, String) {
    let attempt = delivery.attempts.last().expect("it was tried");
    (
        attempt.error(),
        attempt.blame(),
        attempt.error_detail.clone(),
    )
}

/// A certificate for 127.0.0.1 and its key, both PEM.
fn certificate() -> (String, String) {
    let made = generate_simple_self_signed(["127.0.0.1".to_owned()]).expect("a certificate");
    (made.cert.pem(), made.signing_key.serialize_pem())
}

fn verifying(url: &str, verify_ssl: Option<bool>) -> v1::Subscription {
    v1::Subscription {
        verify_ssl,
        ..subscription(url, "order")
    }
}

#[tokio::test]
async fn a_strange_certificate_is_refused_unless_the_subscription_takes_any() {
    let system = system().await;
    let client = system.client(0);
    let _agent = Agent::start(&system, LOOPBACK);
    let (own, key) = certificate();
    let receiver = Receiver::start_tls(Behaviour::Ok, &own, &key).await;
    for verify_ssl in [None, Some(true)] {
        let strict = verifying(&receiver.url(), verify_ssl);
        let refused = attempt(&client, strict).await;
        assert_eq!(refused.state(), DeliveryState::Retrying);
        let (error, blame, detail) = failure(&refused);
        assert_eq!((error, blame), (AttemptError::Tls, Blame::Receiver));
        assert!(detail.contains("certificate"), "{detail}");
        assert_eq!(receiver.count(), 0, "nothing was sent");
    }
    let lax = verifying(&receiver.url(), Some(false));
    let delivered = attempt(&client, lax).await;
    assert_eq!(delivered.state(), DeliveryState::Delivered, "{delivered:?}");
    assert_eq!(receiver.count(), 1);
}

#[tokio::test]
async fn an_agent_trusts_the_authorities_of_its_own_file() {
    let system = system().await;
    let client = system.client(0);
    let (own, key) = certificate();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("receivers.pem");
    fs::write(&file, &own).expect("written");
    let settings = format!("{LOOPBACK}ca_file = \"{}\"\n", file.display());
    let _agent = Agent::start(&system, &settings);

    let receiver = Receiver::start_tls(Behaviour::Ok, &own, &key).await;
    let made = client.create(verifying(&receiver.url(), None)).await;
    client
        .publish(vec![event("order", 1)])
        .await
        .expect("published");
    assert!(receiver.wait_for(1, PATIENCE).await);
    assert_eq!(verify(&receiver.received()[0], &made), Ok(()));

    // The file is of one receiver, not of everybody.
    let (other, key) = certificate();
    let stranger = Receiver::start_tls(Behaviour::Ok, &other, &key).await;
    let refused = attempt(&client, verifying(&stranger.url(), None)).await;
    assert_eq!(failure(&refused).0, AttemptError::Tls);
    assert_eq!(stranger.count(), 0);
}

const fn millis(millis: i32) -> Option<prost_types::Duration> {
    Some(prost_types::Duration {
        seconds: 0,
        nanos: millis * 1_000_000,
    })
}

/// A subscription of `url` with these time-outs.
fn hasty(url: &str, timeouts: v1::Timeouts) -> v1::Subscription {
    v1::Subscription {
        timeouts: Some(timeouts),
        ..subscription(url, "order")
    }
}

/// A port where no connection is ever answered: its queue is full.
async fn black_hole() -> (SocketAddr, TcpListener, Vec<TcpStream>) {
    let socket = TcpSocket::new_v4().expect("a socket");
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    socket.bind(any).expect("a free loopback port");
    let listener = socket.listen(1).expect("it listens");
    let address = listener.local_addr().expect("bound");
    let mut queued = Vec::new();
    let short = Duration::from_millis(200);
    while let Ok(connected) = tokio::time::timeout(short, TcpStream::connect(address)).await {
        queued.push(connected.expect("a place in the queue"));
    }
    (address, listener, queued)
}

#[tokio::test]
async fn each_time_out_is_told_apart() {
    let system = system().await;
    let client = system.client(0);
    let _agent = Agent::start(&system, LOOPBACK);

    let hanging = Receiver::start(Behaviour::Hang).await;
    // Long enough for the request to be sent, on a slow machine too.
    let total = v1::Timeouts {
        total: Some(prost_types::Duration {
            seconds: 3,
            nanos: 0,
        }),
        ..v1::Timeouts::default()
    };
    let late = attempt(&client, hasty(&hanging.url(), total)).await;
    let (error, blame, detail) = failure(&late);
    assert_eq!((error, blame), (AttemptError::Timeout, Blame::Receiver));
    assert!(detail.contains("3s"), "{detail}");
    assert_eq!(hanging.count(), 1, "the request was sent");

    let (address, _listener, _queued) = black_hole().await;
    let connect = v1::Timeouts {
        connect: millis(300),
        ..v1::Timeouts::default()
    };
    let hole = format!("http://{address}/hook");
    let late = attempt(&client, hasty(&hole, connect)).await;
    let (error, blame, detail) = failure(&late);
    assert_eq!((error, blame), (AttemptError::Connect, Blame::Receiver));
    assert!(detail.contains("no connection"), "{detail}");

    // A connection is not yet a session: the handshake has the same limit.
    let silent = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = silent.local_addr().expect("bound");
    let silent = format!("https://{address}/hook");
    let late = attempt(&client, hasty(&silent, connect)).await;
    assert_eq!(failure(&late).0, AttemptError::Connect);
}

#[tokio::test]
async fn what_cannot_be_reached_says_why() {
    let system = system().await;
    let client = system.client(0);
    let _agent = Agent::start(&system, LOOPBACK);
    // Reserved for names that do not exist (RFC 6761), and with a longer part than a
    // name may have: no name server is asked, and so none can be slow.
    let nowhere = format!("http://{}.invalid/hook", "a".repeat(64));
    let nowhere = subscription(&nowhere, "order");
    let (error, blame, detail) = failure(&attempt(&client, nowhere).await);
    assert_eq!(
        (error, blame),
        (AttemptError::Dns, Blame::Receiver),
        "{detail}"
    );
    let [closed] = sidehook_testkit::process::free_ports();
    let closed = subscription(&format!("http://127.0.0.1:{closed}/hook"), "order");
    let (error, blame, detail) = failure(&attempt(&client, closed).await);
    assert_eq!((error, blame), (AttemptError::Connect, Blame::Receiver));
    assert!(detail.contains("refused"), "{detail}");
}

#[tokio::test]
async fn only_the_agents_own_file_lets_it_connect_inside() {
    let system = system().await;
    let client = system.client(0);
    let _agent = Agent::start(&system, "");
    let receiver = Receiver::start(Behaviour::Ok).await;
    let port = receiver.address().port();
    for (host, told) in [
        ("127.0.0.1", "loopback"),
        // Names and other ways of writing it are no way round.
        ("localhost", "loopback"),
        ("[::ffff:127.0.0.1]", "loopback"),
        ("10.0.0.1", "private"),
        ("169.254.169.254", "metadata"),
        ("169.254.1.1", "link-local"),
    ] {
        let wanted = subscription(&format!("http://{host}:{port}/hook"), "order");
        let delivery = attempt(&client, wanted).await;
        let (error, blame, detail) = failure(&delivery);
        let refused = (AttemptError::EgressRefused, Blame::Agent);
        assert_eq!((error, blame), refused, "{host}: {detail}");
        assert!(detail.contains(told), "{host}: {detail}");
    }
    assert_eq!(receiver.count(), 0);
}

#[tokio::test]
async fn metadata_and_link_local_addresses_are_refused_whatever_is_allowed() {
    let system = system().await;
    let client = system.client(0);
    let _agent = Agent::start(
        &system,
        "[egress]\nallow_loopback = true\nallow_private = true\n",
    );
    for host in [
        "169.254.169.254",
        "169.254.1.1",
        "[fe80::1]",
        "[fd00:ec2::254]",
    ] {
        let wanted = subscription(&format!("http://{host}/hook"), "order");
        let (error, _, detail) = failure(&attempt(&client, wanted).await);
        assert_eq!(error, AttemptError::EgressRefused, "{host}: {detail}");
    }
}
