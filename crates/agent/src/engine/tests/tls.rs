//! Receivers behind TLS.

use std::sync::Arc;

use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use sidehook_api::agent_v1::SubscriptionSettings;
use sidehook_core::outcome::OutcomeKind;
use sidehook_runtime::tasks::Tasks;
use tokio_rustls::TlsAcceptor;

use super::receiver::{Do, Receiver, answer};
use super::rig::{OPEN, Rig, settings};

/// What shows a certificate for `localhost` that it signed itself, and the certificate as PEM.
fn acceptor() -> (TlsAcceptor, String) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], PrivateKeyDer::Pkcs8(key))
        .expect("a pair");
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    (TlsAcceptor::from(Arc::new(config)), made.cert.pem())
}

async fn self_signed(tasks: &Tasks) -> (Receiver, String) {
    let (acceptor, pem) = acceptor();
    let ok = |_| Do::Answer(answer(200, "", b""));
    let receiver = Receiver::start_tls(tasks, Some(acceptor), ok).await;
    (receiver, pem)
}

fn https(receiver: &Receiver, host: &str) -> SubscriptionSettings {
    settings(&format!("https://{host}:{}/", receiver.addr.port()))
}

#[tokio::test]
async fn an_unknown_certificate_is_refused_unless_the_subscription_says_otherwise() {
    let mut rig = Rig::new();
    let (receiver, _) = self_signed(&rig.tasks).await;
    let strict = https(&receiver, "localhost");
    let outcome = rig.post(&strict).await;
    assert_eq!(outcome.kind, OutcomeKind::Tls, "{}", outcome.detail);
    assert!(outcome.detail.contains("certificate"), "{}", outcome.detail);
    assert!(receiver.requests().is_empty());
    let lax = SubscriptionSettings {
        verify_ssl: false,
        ..strict.clone()
    };
    for _ in 0..2 {
        let outcome = rig.post(&lax).await;
        assert_eq!((outcome.kind, outcome.status), (OutcomeKind::Response, 200));
    }
    let outcome = rig.post(&strict).await;
    assert_eq!(
        outcome.kind,
        OutcomeKind::Tls,
        "what was opened without verification is not used with it"
    );
}

#[tokio::test]
async fn a_company_authority_is_trusted_for_the_names_that_it_signed() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("ca.pem");
    let probe = Rig::new();
    let (receiver, pem) = self_signed(&probe.tasks).await;
    std::fs::write(&file, pem).expect("written");
    let mut rig = Rig::with(OPEN, Some(&file));
    assert_eq!(
        rig.kind_of(&https(&receiver, "localhost")).await,
        OutcomeKind::Response
    );
    assert_eq!(
        rig.kind_of(&https(&receiver, "127.0.0.1")).await,
        OutcomeKind::Tls,
        "another name"
    );
}

#[tokio::test]
async fn a_receiver_that_speaks_no_tls_is_a_tls_failure() {
    let mut rig = Rig::new();
    let hello = b"220 smtp ready\r\n".to_vec();
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0))
        .await
        .expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let greeting = async {
        use tokio::io::AsyncWriteExt as _;
        let (mut tcp, _) = listener.accept().await.expect("a connection");
        tcp.write_all(&hello).await.expect("sent");
        tcp
    };
    let settings = settings(&format!("https://localhost:{port}/"));
    let (outcome, _open) = tokio::join!(rig.post(&settings), greeting);
    assert_eq!(outcome.kind, OutcomeKind::Tls, "{}", outcome.detail);
}

#[tokio::test]
async fn a_lease_that_ends_while_the_connection_opens_sends_nothing() {
    let mut rig = Rig::new();
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0))
        .await
        .expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let settings = SubscriptionSettings {
        verify_ssl: false,
        ..settings(&format!("https://localhost:{port}/"))
    };
    let lease = rig.submit(&settings, 1);
    let (tcp, _) = listener.accept().await.expect("a connection");
    rig.end_lease(&lease);
    let (acceptor, _) = acceptor();
    let mut tls = acceptor.accept(tcp).await.expect("a handshake");
    let mut sent = Vec::new();
    // The agent may close without a farewell.
    let _ = tokio::io::AsyncReadExt::read_to_end(&mut tls, &mut sent).await;
    assert!(sent.is_empty(), "{}", String::from_utf8_lossy(&sent));
    let outcome = rig.outcomes(1).await.remove(0).outcome;
    assert_eq!(outcome.kind, OutcomeKind::NotStarted, "{}", outcome.detail);
}
