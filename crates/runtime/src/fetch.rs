//! One small document from one place, fetched now and then: keys, for instance, that somebody else publishes.
//!
//! Bounded in size and time. Over https, whose other end is verified; over http only from this machine, because whoever
//! can change such a document on its way can change what the process believes. Redirects are not followed: the place is
//! a setting, and an answer that points elsewhere is a wrong setting. Each fetch has a connection of its own.

use std::convert::Infallible;
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode, Uri, header, uri::Scheme};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::loopback::is_loopback_host;
use crate::tls::{TlsError, Trust, client_config};

/// Why the place is not one.
#[derive(Debug, thiserror::Error)]
pub enum PlaceError {
    /// It is no URL that can be fetched.
    #[error("not an absolute https URL without user name: {0}")]
    Malformed(&'static str),
    /// It is http, and not on this machine.
    #[error("http is taken from this machine alone: what comes over it can be changed on its way")]
    Plaintext,
    /// The trust could not be set up.
    #[error(transparent)]
    Trust(#[from] TlsError),
}

/// Why the document did not come.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// No connection.
    #[error("cannot connect: {0}")]
    Connect(#[source] std::io::Error),
    /// The connection broke, or what came is no HTTP.
    #[error("the answer cannot be read: {0}")]
    Http(#[source] hyper::Error),
    /// Another status than 200.
    #[error("the answer is {0}, not 200")]
    Status(StatusCode),
    /// The body is too large or broke off.
    #[error("the body is longer than {0} bytes, or broke off")]
    Body(usize),
    /// It took too long.
    #[error("no whole answer within {0:?}")]
    Late(Duration),
}

/// A place to fetch a document from.
pub struct Fetch {
    uri: Uri,
    host: String,
    port: u16,
    tls: Option<(TlsConnector, ServerName<'static>)>,
}

impl std::fmt::Debug for Fetch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Fetch").field(&self.uri).finish()
    }
}

impl Fetch {
    /// Whether a document may be fetched from `url`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn check(url: &str) -> Result<(), PlaceError> {
        parse(url).map(drop)
    }

    /// The document at `url`, which comes from somebody whom `trust` trusts.
    ///
    /// # Errors
    /// What is wrong with the place.
    pub fn new(url: &str, trust: Trust) -> Result<Self, PlaceError> {
        let (uri, host, is_tls) = parse(url)?;
        let port = uri.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
        let tls = if is_tls {
            let name = ServerName::try_from(host.clone());
            let name = name.map_err(|_| PlaceError::Malformed("its host is no name"))?;
            let config = client_config(trust, None, &[b"http/1.1"])?;
            Some((TlsConnector::from(Arc::new(config)), name))
        } else {
            None
        };
        Ok(Self {
            uri,
            host,
            port,
            tls,
        })
    }

    /// Fetches it, at most `max_bytes` of it.
    ///
    /// # Errors
    /// [`FetchError`]; it may be there the next time.
    pub async fn get(&self, max_bytes: usize, within: Duration) -> Result<Bytes, FetchError> {
        let fetched = tokio::time::timeout(within, self.fetch(max_bytes)).await;
        fetched.unwrap_or(Err(FetchError::Late(within)))
    }

    async fn fetch(&self, max_bytes: usize) -> Result<Bytes, FetchError> {
        let tcp = TcpStream::connect((&*self.host, self.port)).await;
        let tcp = tcp.map_err(FetchError::Connect)?;
        match &self.tls {
            None => self.ask(tcp, max_bytes).await,
            Some((connector, name)) => {
                let tls = connector.connect(name.clone(), tcp).await;
                self.ask(tls.map_err(FetchError::Connect)?, max_bytes).await
            }
        }
    }

    async fn ask(
        &self,
        io: impl AsyncRead + AsyncWrite + Unpin,
        max_bytes: usize,
    ) -> Result<Bytes, FetchError> {
        let handshake = http1::handshake(TokioIo::new(io)).await;
        let (mut sender, connection) = handshake.map_err(FetchError::Http)?;
        // When the connection ends, what was read of it is still to be taken.
        let drive = async {
            let _ = connection.await;
            pending::<Infallible>().await
        };
        let path = self.uri.path_and_query().map_or("/", |path| path.as_str());
        let authority = self.uri.authority().map_or("", |all| all.as_str());
        let request = Request::get(path)
            .header(header::HOST, authority)
            .header(header::ACCEPT, "application/json")
            .header(header::CONNECTION, "close")
            .body(Empty::<Bytes>::new());
        let answer = async {
            let request = request.map_err(|_| FetchError::Body(max_bytes))?;
            let response = sender.send_request(request).await;
            let response = response.map_err(FetchError::Http)?;
            if response.status() != StatusCode::OK {
                return Err(FetchError::Status(response.status()));
            }
            let body = Limited::new(response.into_body(), max_bytes)
                .collect()
                .await;
            let body = body.map_err(|_| FetchError::Body(max_bytes))?;
            Ok(body.to_bytes())
        };
        tokio::select! {
            answer = answer => answer,
            never = drive => match never {},
        }
    }
}

fn parse(url: &str) -> Result<(Uri, String, bool), PlaceError> {
    let uri: Uri = url
        .parse()
        .map_err(|_| PlaceError::Malformed("it cannot be read"))?;
    let host = uri.host().filter(|host| !host.is_empty());
    let host = host.ok_or(PlaceError::Malformed("it has no host"))?;
    let bare = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
        .unwrap_or(host);
    let (host, bare) = (host.to_owned(), bare.to_owned());
    let authority = uri.authority().map_or("", |all| all.as_str());
    if authority.contains('@') {
        return Err(PlaceError::Malformed("it holds a user name"));
    }
    match uri.scheme() {
        Some(scheme) if *scheme == Scheme::HTTPS => Ok((uri, bare, true)),
        Some(scheme) if *scheme == Scheme::HTTP && is_loopback_host(&host) => {
            Ok((uri, bare, false))
        }
        Some(scheme) if *scheme == Scheme::HTTP => Err(PlaceError::Plaintext),
        _ => Err(PlaceError::Malformed("it is not https")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    const WITHIN: Duration = Duration::from_secs(20);

    async fn fetched(answer: &'static [u8], max_bytes: usize) -> Result<Bytes, FetchError> {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}/keys", listener.local_addr().expect("bound"));
        let fetch = Fetch::new(&url, Trust::Roots(rustls::RootCertStore::empty()));
        let fetch = fetch.expect("a place");
        let serve = async {
            let (mut tcp, _) = listener.accept().await.expect("a connection");
            let mut asked = vec![0; 1024];
            let length = tcp.read(&mut asked).await.expect("a request");
            assert!(asked[..length].starts_with(b"GET /keys HTTP/1.1\r\n"));
            tcp.write_all(answer).await.expect("taken");
            tcp.shutdown().await.expect("closed");
        };
        tokio::join!(fetch.get(max_bytes, WITHIN), serve).0
    }

    #[tokio::test]
    async fn a_whole_small_document_comes_and_nothing_else() {
        let whole = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}";
        assert_eq!(fetched(whole, 2).await.expect("it came"), "{}");
        let until_the_end = b"HTTP/1.1 200 OK\r\n\r\n{ }";
        assert_eq!(fetched(until_the_end, 3).await.expect("it came"), "{ }");
        let large = fetched(until_the_end, 2).await;
        assert!(matches!(large, Err(FetchError::Body(2))), "{large:?}");
        let cut = fetched(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{}", 100).await;
        assert!(matches!(cut, Err(FetchError::Body(_))), "{cut:?}");
        let moved =
            b"HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1/\r\ncontent-length: 0\r\n\r\n";
        let moved = fetched(moved, 100).await;
        assert!(matches!(moved, Err(FetchError::Status(_))), "{moved:?}");
        let nonsense = fetched(b"nonsense\r\n\r\n", 100).await;
        assert!(matches!(nonsense, Err(FetchError::Http(_))), "{nonsense:?}");
    }

    #[tokio::test]
    async fn who_never_answers_is_not_waited_for() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}/", listener.local_addr().expect("bound"));
        let fetch = Fetch::new(&url, Trust::Roots(rustls::RootCertStore::empty()));
        let short = Duration::from_millis(20);
        let late = fetch.expect("a place").get(100, short).await;
        assert!(matches!(late, Err(FetchError::Late(_))), "{late:?}");
    }

    #[test]
    fn only_https_unless_it_is_this_machine() {
        for url in [
            "https://id.example.com/jwks",
            "http://127.0.0.1:1/",
            "http://[::1]:1/a",
        ] {
            Fetch::check(url).expect(url);
        }
        for url in [
            "http://id.example.com/",
            "ftp://127.0.0.1/",
            "/jwks",
            "https://user@id.example.com/",
            "https:///jwks",
            "no url at all",
            "",
        ] {
            Fetch::check(url).expect_err(url);
        }
    }
}
