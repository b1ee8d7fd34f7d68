//! Real sockets on loopback, with certificates made on the spot.

use std::net::{IpAddr, Ipv4Addr};

use futures_util::StreamExt as _;
use rcgen::generate_simple_self_signed;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_rustls::TlsConnector;
use tokio_rustls::client;

use super::*;
use crate::config::{Layers, Problems};
use crate::drain;
use crate::tls::{self, Trust};

/// Anything, begun by either side.
const ANY: Protocol = Protocol {
    alpn: b"",
    opening_bytes: 0,
};

const LOOPBACK: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

fn tasks() -> Tasks {
    Tasks::new(drain::channel().0)
}

/// Writes a fresh certificate for `localhost` and answers its PEM text.
fn write_cert(dir: &TempDir) -> String {
    let made = generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    std::fs::write(dir.path().join("cert.pem"), made.cert.pem()).expect("written");
    std::fs::write(dir.path().join("key.pem"), made.signing_key.serialize_pem()).expect("written");
    made.cert.pem()
}

fn files(dir: &TempDir) -> TlsFiles {
    TlsFiles {
        cert_file: dir.path().join("cert.pem"),
        key_file: dir.path().join("key.pem"),
        client_ca_file: None,
        client_cert_required: true,
    }
}

fn with_tls(files: TlsFiles) -> ListenConfig {
    ListenConfig {
        tls: Some(files),
        ..ListenConfig::new(LOOPBACK)
    }
}

async fn dial(
    addr: SocketAddr,
    ca: &TempDir,
    identity: bool,
) -> io::Result<client::TlsStream<TcpStream>> {
    let mut roots = rustls::RootCertStore::empty();
    tls::add_ca_file(&mut roots, &ca.path().join("cert.pem")).expect("a CA");
    let own = (ca.path().join("cert.pem"), ca.path().join("key.pem"));
    let identity = identity.then_some((own.0.as_path(), own.1.as_path()));
    let config = tls::client_config(Trust::Roots(roots), identity, &[b"h2"]).expect("a client");
    let name = ServerName::try_from("localhost").expect("a name");
    TlsConnector::from(Arc::new(config))
        .connect(name, TcpStream::connect(addr).await?)
        .await
}

async fn next(incoming: &mut Incoming) -> Connection {
    incoming.next().await.expect("open").expect("a connection")
}

#[tokio::test]
async fn plain_connections_know_their_peer_and_the_port_closes_with_the_drain() {
    let tasks = tasks();
    let listener = Listener::bind("test", ListenConfig::new(LOOPBACK), ANY)
        .await
        .expect("bound");
    let addr = listener.local_addr();
    let mut incoming = listener.incoming(&tasks).expect("accepting");
    let mut client = TcpStream::connect(addr).await.expect("connected");
    let mut server = next(&mut incoming).await;
    assert_eq!(server.peer_addr(), client.local_addr().expect("bound"));
    client.write_all(b"ping").await.expect("sent");
    let mut got = [0; 4];
    server.read_exact(&mut got).await.expect("received");
    assert_eq!(&got, b"ping");

    tasks.trigger().drain("test");
    assert!(incoming.next().await.is_none());
    assert!(TcpStream::connect(addr).await.is_err());
}

#[tokio::test]
async fn a_new_certificate_is_served_without_a_restart_and_a_bad_one_is_not() {
    let dir = TempDir::new().expect("a directory");
    write_cert(&dir);
    let tasks = tasks();
    let listener = Listener::bind("test", with_tls(files(&dir)), Protocol::HTTP2)
        .await
        .expect("bound");
    let (addr, server) = (listener.local_addr(), listener.tls.clone().expect("TLS"));
    let mut incoming = listener.start(&tasks);
    let client = dial(addr, &dir, false).await.expect("trusted");
    assert_eq!(client.get_ref().1.alpn_protocol(), Some(b"h2".as_slice()));
    next(&mut incoming).await;
    assert!(!server.reload().expect("unchanged"));

    let old_key = std::fs::read(dir.path().join("key.pem")).expect("read");
    let new_cert = write_cert(&dir);
    let new_key = std::fs::read(dir.path().join("key.pem")).expect("read");
    std::fs::write(dir.path().join("key.pem"), old_key).expect("written");
    server
        .reload()
        .expect_err("the key is not the certificate's");
    assert!(!server.reload().expect("told once"));
    dial(addr, &dir, false)
        .await
        .expect_err("still the old certificate");

    std::fs::write(dir.path().join("key.pem"), new_key).expect("written");
    assert!(server.reload().expect("sound again"));
    let client = dial(addr, &dir, false)
        .await
        .expect("the new certificate is served");
    let expected = CertificateDer::from_pem_slice(new_cert.as_bytes()).expect("PEM");
    assert_eq!(
        client.get_ref().1.peer_certificates(),
        Some([expected].as_slice())
    );
}

#[tokio::test]
async fn the_watch_reloads_by_itself_and_at_once_on_sighup() {
    let dir = TempDir::new().expect("a directory");
    write_cert(&dir);
    let tasks = tasks();
    let listener = Listener::bind("test", with_tls(files(&dir)), ANY)
        .await
        .expect("bound");
    let addr = listener.local_addr();
    let _incoming = listener.incoming(&tasks).expect("accepting");
    write_cert(&dir);
    let pid = std::process::id().to_string();
    let signalled = std::process::Command::new("kill")
        .args(["-HUP", &pid])
        .status();
    assert!(signalled.expect("kill runs").success());
    while dial(addr, &dir, false).await.is_err() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_client_certificate_is_asked_for() {
    let dir = TempDir::new().expect("a directory");
    write_cert(&dir);
    let tasks = tasks();
    let files = TlsFiles {
        client_ca_file: Some(dir.path().join("cert.pem")),
        ..files(&dir)
    };
    let listener = Listener::bind("test", with_tls(files), Protocol::HTTP2)
        .await
        .expect("bound");
    let addr = listener.local_addr();
    let mut incoming = listener.incoming(&tasks).expect("accepting");
    if let Ok(mut anonymous) = dial(addr, &dir, false).await {
        // TLS 1.3 clients learn of the refusal with their first read.
        anonymous.read_u8().await.expect_err("refused");
    }
    let _client = dial(addr, &dir, true).await.expect("accepted");
    next(&mut incoming).await;
}

#[tokio::test]
async fn peers_that_never_finish_a_handshake_are_bounded_and_cut_off() {
    let dir = TempDir::new().expect("a directory");
    write_cert(&dir);
    let tasks = tasks();
    let config = ListenConfig {
        handshake_timeout: Duration::from_millis(50),
        max_handshakes: 2,
        ..with_tls(files(&dir))
    };
    let listener = Listener::bind("test", config, ANY).await.expect("bound");
    let addr = listener.local_addr();
    let mut incoming = listener.incoming(&tasks).expect("accepting");
    let mut silent = Vec::new();
    for _ in 0..6 {
        silent.push(
            TcpStream::connect(addr)
                .await
                .expect("the backlog takes it"),
        );
    }
    dial(addr, &dir, false)
        .await
        .expect("served after the silent ones");
    next(&mut incoming).await;
    for mut peer in silent {
        assert_eq!(peer.read(&mut [0; 8]).await.expect("closed"), 0);
    }
}

#[tokio::test]
async fn a_peer_that_does_not_open_the_protocol_is_cut_off_in_time_and_by_the_drain() {
    let listen = async |handshake_timeout, tasks: &Tasks| {
        let config = ListenConfig {
            handshake_timeout,
            ..ListenConfig::new(LOOPBACK)
        };
        let listener = Listener::bind("test", config, Protocol::HTTP2).await;
        let listener = listener.expect("bound");
        (listener.local_addr(), listener.start(tasks))
    };
    let buf = &mut [0; 64];

    let tasks = tasks();
    let (addr, mut incoming) = listen(Duration::from_millis(50), &tasks).await;
    let mut slow = TcpStream::connect(addr).await.expect("connected");
    let mut server = next(&mut incoming).await;
    slow.write_all(b"PRI").await.expect("sent");
    assert_eq!(server.read(buf).await.expect("the beginning"), 3);
    let error = server.read(buf).await.expect_err("the rest does not come");
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);

    let (addr, mut incoming) = listen(Duration::from_secs(60), &tasks).await;
    let _silent = TcpStream::connect(addr).await.expect("connected");
    let mut silent = next(&mut incoming).await;
    let mut open = TcpStream::connect(addr).await.expect("connected");
    let mut served = next(&mut incoming).await;
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    open.write_all(preface).await.expect("sent");
    assert_eq!(served.read(buf).await.expect("opened"), preface.len());
    tasks.trigger().drain("test");
    let error = silent.read(buf).await.expect_err("the process drains");
    assert_eq!(error.kind(), io::ErrorKind::ConnectionAborted);
    open.write_all(b"more").await.expect("sent");
    assert_eq!(served.read(buf).await.expect("goes on"), 4);
}

#[tokio::test]
async fn connections_beyond_the_bound_wait_until_one_closes() {
    let tasks = tasks();
    let config = ListenConfig {
        max_connections: 2,
        ..ListenConfig::new(LOOPBACK)
    };
    let listener = Listener::bind("test", config, ANY).await.expect("bound");
    let addr = listener.local_addr();
    let mut incoming = listener.incoming(&tasks).expect("accepting");
    let mut clients = Vec::new();
    for _ in 0..3 {
        let client = TcpStream::connect(addr).await;
        clients.push(client.expect("the backlog takes it"));
    }
    let first = next(&mut incoming).await;
    let _second = next(&mut incoming).await;
    let mut third = Box::pin(next(&mut incoming));
    for _ in 0..100 {
        tokio::task::yield_now().await;
        assert!(futures_util::poll!(&mut third).is_pending());
    }
    drop(first);
    let third = third.await;
    let waited = clients[2].local_addr().expect("bound");
    assert_eq!(third.peer_addr(), waited);
}

fn read(flags: &[(&str, &str)]) -> Result<ListenConfig, Problems> {
    let flags: Vec<_> = flags
        .iter()
        .map(|(key, value)| (*key, (*value).to_owned()))
        .collect();
    Layers::new()
        .flags(flags)
        .read(|r| ListenConfig::read(r, LOOPBACK))
}

#[tokio::test]
async fn plaintext_beyond_loopback_must_be_asked_for() {
    for fine in ["127.0.0.1:1", "[::1]:1", "[::ffff:127.0.0.1]:1"] {
        read(&[("listen", fine)]).expect("loopback");
    }
    let problems = read(&[("listen", "0.0.0.0:8701")])
        .expect_err("open to all")
        .to_string();
    assert!(
        problems.contains("listen (--listen): 0.0.0.0:8701 would be served without TLS"),
        "{problems}"
    );
    read(&[("listen", "0.0.0.0:8701"), ("allow_plaintext", "true")]).expect("asked for");
    let dir = TempDir::new().expect("a directory");
    write_cert(&dir);
    let path = |name: &str| dir.path().join(name).display().to_string();
    let (cert, key) = (path("cert.pem"), path("key.pem"));
    let tls = [
        ("listen", "0.0.0.0:8701"),
        ("tls.cert_file", cert.as_str()),
        ("tls.key_file", key.as_str()),
    ];
    let config = read(&tls).expect("with TLS");
    std::fs::remove_file(&cert).expect("it is there");
    assert!(
        matches!(
            Listener::bind("test", config, ANY).await,
            Err(ListenError::Tls(_))
        ),
        "a file does not exist any more"
    );
    let half = read(&tls[..2]).expect_err("no key").to_string();
    assert_eq!(
        half,
        "1 configuration problem\n  tls.key_file: is missing; give the path of a file or directory"
    );
    let open = ListenConfig::new("0.0.0.0:0".parse().expect("an address"));
    assert!(matches!(
        Listener::bind("test", open, ANY).await,
        Err(ListenError::Plaintext(..))
    ));
}

#[test]
fn files_that_cannot_be_used_are_told_all_at_once() {
    let dir = TempDir::new().expect("a directory");
    write_cert(&dir);
    let path = |name: &str| dir.path().join(name).display().to_string();
    let (cert, key, empty, none) = (
        path("cert.pem"),
        path("key.pem"),
        path("empty"),
        path("none"),
    );
    std::fs::write(&empty, "").expect("written");
    let told = |cert: &str, key: &str, ca: &str| {
        let files = [
            ("tls.cert_file", cert),
            ("tls.key_file", key),
            ("tls.client_ca_file", ca),
        ];
        read(&files).map(|_| ()).map_err(|wrong| wrong.to_string())
    };
    assert_eq!(told(&cert, &key, &cert), Ok(()));
    let all = told(&none, &empty, &key).expect_err("three are wrong");
    for wrong in [
        "3 configuration problems",
        "tls.cert_file",
        "tls.key_file",
        "tls.client_ca_file",
    ] {
        assert!(all.contains(wrong), "{wrong} is missing in {all}");
    }
    let other = TempDir::new().expect("a directory");
    write_cert(&other);
    let foreign = other.path().join("key.pem").display().to_string();
    let pair = told(&cert, &foreign, &cert).expect_err("another's key");
    assert!(
        pair.starts_with("1 configuration problem\n  tls.key_file"),
        "{pair}"
    );
}
