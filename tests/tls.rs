//! Both listeners over TLS, for callers and agents that trust one certificate.

use std::{error::Error as _, net::SocketAddr, time::Duration};

use rcgen::generate_simple_self_signed;
use sidehook_testkit::{
    client::{Client, event},
    receiver::{Behaviour, Receiver},
    system::System,
    verify::verify,
};
use tonic::{Status, transport::Error as Failed};

const PATIENCE: Duration = Duration::from_secs(30);

/// A certificate for the loopback address and its key, both PEM.
fn certificate() -> (String, String) {
    let made = generate_simple_self_signed(["127.0.0.1".to_owned()]).expect("a certificate");
    (made.cert.pem(), made.signing_key.serialize_pem())
}

#[tokio::test]
async fn deliveries_pass_where_both_listeners_speak_tls() {
    let (own, key) = certificate();
    let system = System::builder().tls(&own, &key).start().await;
    let client = system.client(0);
    let receiver = Receiver::start(Behaviour::Ok).await;
    let made = client.subscribe(&receiver.url(), "order").await;
    let results = client.publish(vec![event("order", 1)]).await;
    assert!(results.expect("published")[0].error.is_none());
    assert!(receiver.wait_for(1, PATIENCE).await);
    assert_eq!(verify(&receiver.received()[0], &made), Ok(()));
}

/// Whether the caller's own transport failed.
fn is_transports(status: &Status) -> bool {
    status.source().is_some_and(|source| source.is::<Failed>())
}

#[tokio::test]
async fn neither_plaintext_nor_a_strange_certificate_is_taken() {
    let (own, key) = certificate();
    let system = System::builder()
        .without_agent()
        .tls(&own, &key)
        .start()
        .await;
    let (strange, _) = certificate();
    let good = system.client(0);
    for caller in [
        Client::new(system.grpc(0), good.key()),
        Client::over_tls(system.grpc(0), good.key(), &strange),
    ] {
        let refused = caller.publish(vec![event("order", 1)]).await;
        let status = refused.expect_err("no connection");
        // The caller's own transport failed: no status of the server's came through.
        // Which code that becomes depends on whether the alert or the close is read
        // first.
        assert!(is_transports(&status), "{status:?}");
    }
    let taken = good.publish(vec![event("order", 1)]).await;
    assert!(taken.expect("published")[0].error.is_none());
}

/// Whether a new connection to `address` that trusts only `authority` is answered.
async fn is_reached(address: SocketAddr, authority: &str) -> bool {
    let caller = Client::over_tls(address, "anybody", authority);
    let answer = caller.publish(vec![event("order", 1)]).await;
    // Nobody's key: an answer is a refusal of the server's own.
    !is_transports(&answer.expect_err("nobody's key"))
}

#[tokio::test]
async fn a_new_certificate_is_served_on_both_listeners_without_a_restart() {
    let (old, key) = certificate();
    let builder = System::builder().embedded().without_agent();
    let mut system = builder.tls(&old, &key).start().await;
    let listeners = [system.grpc(0), system.agents(0)];
    for address in listeners {
        assert!(is_reached(address, &old).await);
    }
    let connected = system.client(0);
    let publish = async || connected.publish(vec![event("order", 1)]).await;
    publish().await.expect("published");

    let (new, new_key) = certificate();
    system.replace_certificate(&new, &new_key);
    let reloaded = async {
        for address in listeners {
            while !is_reached(address, &new).await {}
            assert!(!is_reached(address, &old).await, "the old one is gone");
        }
    };
    let in_time = tokio::time::timeout(PATIENCE, reloaded).await;
    in_time.expect("the new certificate within 30 s");

    publish().await.expect("an open connection goes on");
    assert_eq!(system.server(0).exited(), None, "it was not restarted");
    // The agent's authority is the file, which has the new certificate.
    let receiver = Receiver::start(Behaviour::Ok).await;
    connected.subscribe(&receiver.url(), "order").await;
    system.start_agent(0);
    publish().await.expect("published");
    assert!(receiver.wait_for(1, PATIENCE).await);
}
