//! Both listeners over TLS, for callers and agents that trust one certificate.

use std::{error::Error as _, time::Duration};

use rcgen::generate_simple_self_signed;
use sidehook_testkit::{
    client::{Client, event},
    receiver::{Behaviour, Receiver},
    system::System,
    verify::verify,
};
use tonic::transport::Error as Failed;

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
        let transport = status.source().is_some_and(|source| source.is::<Failed>());
        assert!(transport, "{status:?}");
    }
    let taken = good.publish(vec![event("order", 1)]).await;
    assert!(taken.expect("published")[0].error.is_none());
}
