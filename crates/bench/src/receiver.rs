//! The receiver: answers 200, counts, and notes how long ago each event was made.
//!
//! Bodies carry `"sent_us":<microseconds since 1970>`; both processes share the
//! machine's clock. `GET /counts` answers the counts, `GET /stats`
//! also the percentiles since the last `GET /reset`; a path `/hang…` answers only after
//! the next `GET /release`.

use std::{
    convert::Infallible,
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Request, Response, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::{net::TcpListener, sync::Notify};

use crate::{
    Failure,
    stats::{Summary, now_us},
};

#[derive(Default)]
struct Counters {
    received: AtomicU64,
    /// Those that hang at this moment.
    hanging: AtomicU64,
    release: Notify,
    delays_us: Mutex<Vec<u64>>,
}

/// Counted as hanging until it is dropped.
struct Hanging<'a>(&'a AtomicU64);

impl<'a> Hanging<'a> {
    fn count(hanging: &'a AtomicU64) -> Self {
        hanging.fetch_add(1, Ordering::SeqCst);
        Self(hanging)
    }
}

impl Drop for Hanging<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Serves until killed.
pub(crate) async fn serve(port: u16) -> Result<(), Failure> {
    let listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).await?;
    let counters = Arc::new(Counters::default());
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let counters = Arc::clone(&counters);
        #[expect(
            clippy::disallowed_methods,
            reason = "the benchmark has no drain to name tasks for"
        )]
        tokio::spawn(async move {
            let service = service_fn(|request| answer(Arc::clone(&counters), request));
            // A client that goes away mid-request is its own affair.
            let _ = http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

async fn answer(
    counters: Arc<Counters>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    match request.uri().path() {
        // Sorting the delays is not free: who only waits asks for the counts.
        "/counts" => return Ok(json(counters.report(Summary::default()))),
        "/stats" => return Ok(json(counters.report(counters.delays()))),
        "/reset" => {
            counters.received.store(0, Ordering::Relaxed);
            counters.delays_us.lock().clear();
            return Ok(Response::new(Full::default()));
        }
        "/release" => {
            counters.release.notify_waiters();
            return Ok(Response::new(Full::default()));
        }
        path if path.starts_with("/hang") => {
            counters.hang().await;
            return Ok(Response::new(Full::default()));
        }
        _ => {}
    }
    if let Ok(body) = request.into_body().collect().await {
        counters.received.fetch_add(1, Ordering::Relaxed);
        if let Some(sent) = sent_us(&body.to_bytes()) {
            counters
                .delays_us
                .lock()
                .push(now_us().saturating_sub(sent));
        }
    }
    Ok(Response::new(Full::default()))
}

/// The number behind `"sent_us":` near the end of a body.
fn sent_us(body: &[u8]) -> Option<u64> {
    const MARK: &[u8] = b"\"sent_us\":";
    let start = body.windows(MARK.len()).position(|window| window == MARK)? + MARK.len();
    let digits = body[start..]
        .iter()
        .take_while(|byte| byte.is_ascii_digit());
    Some(digits.fold(0, |number, digit| number * 10 + u64::from(digit - b'0')))
}

fn json(text: String) -> Response<Full<Bytes>> {
    Response::new(Full::new(Bytes::from(text)))
}

impl Counters {
    /// Hangs until the release, or until whoever asked goes away.
    async fn hang(&self) {
        // It waits from before it is counted: who sees it counted can release it.
        let released = self.release.notified();
        let _counted = Hanging::count(&self.hanging);
        released.await;
    }

    fn delays(&self) -> Summary {
        let mut delays = self.delays_us.lock().clone();
        Summary::of(&mut delays)
    }

    fn report(&self, summary: Summary) -> String {
        let received = self.received.load(Ordering::Relaxed);
        let hanging = self.hanging.load(Ordering::Relaxed);
        serde_json::json!({"received": received, "hanging": hanging, "delay_us": summary})
            .to_string()
    }
}
