//! The receiver notes what it is asked and answers as told.

use std::time::Duration;

use sidehook_testkit::{Behaviour, Receiver, event_id};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
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
