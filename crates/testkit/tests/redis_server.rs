//! A killed Redis server comes back with what it had on disk.

use sidehook_testkit::RedisServer;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

async fn ask(server: &RedisServer, command: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", server.port())).await?;
    stream
        .write_all(format!("{command}\r\n").as_bytes())
        .await?;
    let mut answer = vec![0; 64];
    let read = stream.read(&mut answer).await?;
    Ok(String::from_utf8_lossy(&answer[..read]).into_owned())
}

#[tokio::test]
async fn survives_a_kill_on_the_same_port_with_its_data() {
    let mut server = RedisServer::start_with(&["--appendfsync", "always"]).await;
    assert_eq!(ask(&server, "SET a b").await.expect("runs"), "+OK\r\n");
    let url = server.url();
    server.kill9();
    assert!(ask(&server, "GET a").await.is_err(), "it is dead");
    server.restart().await;
    assert_eq!(ask(&server, "GET a").await.expect("runs"), "$1\r\nb\r\n");
    assert_eq!(server.url(), url);
}
