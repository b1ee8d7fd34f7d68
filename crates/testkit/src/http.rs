//! A client of the HTTP gateway, down to the bytes.
//!
//! What clients of many languages send differs in ways that an HTTP library hides:
//! spelling of headers, chunks, waiting for `100 Continue`. So requests are written as
//! text here, and an answer is read as it comes.

use std::{net::SocketAddr, time::Duration};

use bytes::Bytes;
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::process::within;

/// How long an answer may take.
const ANSWER: Duration = Duration::from_secs(30);

/// An answer.
#[derive(Clone, Debug)]
pub struct Reply {
    /// Its status.
    pub status: u16,
    /// Headers in their order.
    pub headers: Vec<(String, String)>,
    /// The whole body.
    pub body: Bytes,
}

impl Reply {
    /// The value of the first header of this name, in any case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.headers.iter();
        let found = headers.find(|(key, _)| key.eq_ignore_ascii_case(name))?;
        Some(&found.1)
    }

    /// The body as JSON.
    ///
    /// # Panics
    ///
    /// If it is none.
    #[must_use]
    pub fn json(&self) -> Value {
        let read = serde_json::from_slice(&self.body);
        read.unwrap_or_else(|error| panic!("no JSON ({error}): {self:?}"))
    }

    /// The body as JSON, after a look at the status.
    ///
    /// # Panics
    ///
    /// If the status is another one, or the body is no JSON.
    pub fn expect(&self, status: u16) -> Value {
        let said = String::from_utf8_lossy(&self.body);
        assert_eq!(self.status, status, "{said}");
        self.json()
    }
}

/// A caller of one replica's gateway.
#[derive(Clone, Debug)]
pub struct Http {
    address: SocketAddr,
    authorization: Option<String>,
}

impl Http {
    /// Without a credential.
    #[must_use]
    pub const fn anonymous(address: SocketAddr) -> Self {
        Self {
            address,
            authorization: None,
        }
    }

    /// With this value of the header `Authorization`.
    #[must_use]
    pub fn authorized(&self, authorization: &str) -> Self {
        Self {
            authorization: Some(authorization.to_owned()),
            ..*self
        }
    }

    /// Where it connects.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// A request without a body.
    pub async fn get(&self, path: &str) -> Reply {
        self.send("GET", path, None).await
    }

    /// A deletion, without a body.
    pub async fn delete(&self, path: &str) -> Reply {
        self.send("DELETE", path, None).await
    }

    /// A request with JSON.
    pub async fn post(&self, path: &str, body: &Value) -> Reply {
        self.json("POST", path, body).await
    }

    /// A request with JSON.
    pub async fn put(&self, path: &str, body: &Value) -> Reply {
        self.json("PUT", path, body).await
    }

    /// A request with JSON.
    pub async fn json(&self, method: &str, path: &str, body: &Value) -> Reply {
        let text = body.to_string();
        let body = Some(("application/json", text.as_bytes()));
        self.send(method, path, body).await
    }

    /// A request with a body of this type.
    pub async fn send(&self, method: &str, path: &str, body: Option<(&str, &[u8])>) -> Reply {
        let mut head = format!("{method} {path} HTTP/1.1\r\nHost: {}\r\n", self.address);
        if let Some(value) = &self.authorization {
            head += &format!("Authorization: {value}\r\n");
        }
        if let Some((kind, body)) = body {
            let length = body.len();
            head += &format!("Content-Type: {kind}\r\nContent-Length: {length}\r\n");
        }
        head += "\r\n";
        let mut request = head.into_bytes();
        request.extend_from_slice(body.map_or(&[], |(_, body)| body));
        raw(self.address, &request).await
    }
}

/// The answer to a request of these bytes.
///
/// # Panics
///
/// If there is none within 30 s.
pub async fn raw(address: SocketAddr, request: &[u8]) -> Reply {
    raw_in_parts(address, request, None).await
}

/// The answer to a request whose `body` is sent once `100 Continue` asks for it.
///
/// # Panics
///
/// If nothing asks for it, or there is no answer within 30 s.
pub async fn raw_in_parts(address: SocketAddr, head: &[u8], body: Option<&[u8]>) -> Reply {
    let is_head = head.starts_with(b"HEAD ");
    let conversation = async {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(head).await?;
        let mut come = Vec::new();
        if let Some(body) = body {
            let interim = read_head(&mut stream, &mut come).await?;
            assert_eq!(interim.status, 100, "{interim:?}");
            stream.write_all(body).await?;
        }
        let mut reply = read_head(&mut stream, &mut come).await?;
        let length = reply.header("content-length").map(str::parse);
        let length: usize = length.and_then(Result::ok).unwrap_or_default();
        assert_eq!(reply.header("transfer-encoding"), None, "of known length");
        while !is_head && come.len() < length {
            read_more(&mut stream, &mut come).await?;
        }
        reply.body = Bytes::from(come);
        std::io::Result::Ok(reply)
    };
    let reply = within(ANSWER, "an answer of the gateway", conversation).await;
    reply.expect("the gateway answers")
}

async fn read_more(stream: &mut TcpStream, come: &mut Vec<u8>) -> std::io::Result<()> {
    match stream.read_buf(come).await? {
        0 => Err(std::io::ErrorKind::UnexpectedEof.into()),
        _ => Ok(()),
    }
}

/// The next head; what has come behind it stays in `come`.
async fn read_head(stream: &mut TcpStream, come: &mut Vec<u8>) -> std::io::Result<Reply> {
    const END: &[u8] = b"\r\n\r\n";
    let end = loop {
        if let Some(end) = come.windows(END.len()).position(|part| part == END) {
            break end;
        }
        read_more(stream, come).await?;
    };
    let head = String::from_utf8_lossy(&come[..end]).into_owned();
    come.drain(..end + END.len());
    let mut lines = head.split("\r\n");
    let status = lines.next().and_then(|line| line.split(' ').nth(1));
    let status = status.and_then(|status| status.parse().ok());
    let headers = lines.filter_map(|line| {
        let (name, value) = line.split_once(':')?;
        Some((name.to_owned(), value.trim().to_owned()))
    });
    Ok(Reply {
        status: status.unwrap_or_else(|| panic!("no HTTP: {head}")),
        headers: headers.collect(),
        body: Bytes::new(),
    })
}
