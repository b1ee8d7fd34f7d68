//! The receiver notes what it is asked and answers as told.

use std::{net::Ipv4Addr, sync::Arc, time::Duration};

use sidehook_testkit::{Behaviour, Receiver, event_id};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tokio_rustls::{
    TlsConnector,
    rustls::{ClientConfig, RootCertStore, crypto::aws_lc_rs, pki_types::ServerName},
};

const BODY: &str = r#"{"event": {"id": "ev_1"}, "subscription_id": "whsub_1"}"#;

async fn post(receiver: &Receiver) -> String {
    let mut stream = TcpStream::connect(receiver.address())
        .await
        .expect("listens");
    let request = format!(
        "POST /hook HTTP/1.1\r\nhost: x\r\nX-Mark: 7\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{BODY}",
        BODY.len()
    );
    let written = stream.write_all(request.as_bytes()).await;
    written.expect("takes the request");
    let mut answer = String::new();
    let read = stream.read_to_string(&mut answer).await;
    read.expect("answers");
    answer
}

#[tokio::test]
async fn fails_as_often_as_told_and_notes_everything() {
    let receiver = Receiver::start(Behaviour::FailFirst(1)).await;
    assert!(post(&receiver).await.starts_with("HTTP/1.1 500"));
    assert!(post(&receiver).await.starts_with("HTTP/1.1 200"));
    let received = receiver.received();
    assert_eq!(received.len(), 2);
    assert_eq!((received[0].answered, received[1].answered), (500, 200));
    assert_eq!(received[0].header("x-mark"), Some("7"));
    assert_eq!(received[0].path, "/hook");
    assert_eq!(event_id(&received[0]).as_deref(), Some("ev_1"));
}

#[tokio::test]
async fn a_hanging_receiver_notes_and_does_not_answer() {
    let receiver = Receiver::start(Behaviour::Hang).await;
    let none = Duration::from_millis(20);
    assert!(!receiver.wait_for(1, none).await, "nothing came");
    tokio::select! {
        answer = post(&receiver) => panic!("answered {answer}"),
        came = receiver.wait_for(1, Duration::from_secs(5)) => assert!(came),
    }
    assert_eq!(receiver.received()[0].answered, 0);
}

#[tokio::test]
async fn says_when_to_come_again() {
    let receiver = Receiver::start(Behaviour::RetryAfter(429, 3)).await;
    let answer = post(&receiver).await;
    assert!(answer.starts_with("HTTP/1.1 429") && answer.contains("retry-after: 3"));
}

#[tokio::test]
async fn tells_how_many_waited_at_one_time() {
    let receiver = Receiver::start(Behaviour::Held).await;
    let crowd = async { tokio::join!(post(&receiver), post(&receiver), post(&receiver)) };
    let free = async {
        assert!(receiver.wait_for(3, Duration::from_secs(5)).await);
        receiver.release();
    };
    tokio::join!(crowd, free);
    assert_eq!(receiver.most_at_once(), 3);
    post(&receiver).await;
    assert_eq!(
        receiver.most_at_once(),
        3,
        "one behind the other adds nobody"
    );
}

#[tokio::test]
async fn speaks_tls_with_the_certificate_it_is_given() {
    let names = ["127.0.0.1".to_owned()];
    let made = rcgen::generate_simple_self_signed(names).expect("a certificate");
    let key = made.signing_key.serialize_pem();
    let receiver = Receiver::start_tls(Behaviour::Ok, &made.cert.pem(), &key).await;
    assert!(receiver.url().starts_with("https://127.0.0.1:"));
    let mut roots = RootCertStore::empty();
    roots.add(made.cert.der().clone()).expect("an authority");
    let provider = Arc::new(aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let tcp = TcpStream::connect(receiver.address())
        .await
        .expect("listens");
    let name = ServerName::from(Ipv4Addr::LOCALHOST);
    let stream = TlsConnector::from(Arc::new(config))
        .connect(name, tcp)
        .await;
    let mut stream = stream.expect("the certificate is trusted");
    let request = b"POST /hook HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n";
    stream.write_all(request).await.expect("takes the request");
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).await.expect("answers");
    assert_eq!(&answer, b"HTTP/1.1 200");
    assert_eq!(receiver.count(), 1);
}
