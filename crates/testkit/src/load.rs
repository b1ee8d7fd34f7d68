//! A publisher that does not give up and the receiver of what it publishes: the two
//! sides of a test in which the store goes away and comes back.
//!
//! It publishes small batches at a steady pace. One that is refused is repeated under
//! the same idempotency keys until it is acknowledged, and every refusal has to say
//! that the store is away and when to come again. What a test waits for is counted in
//! acknowledgements and refusals, so that it holds on a slow machine too.

use std::{
    collections::BTreeSet,
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use sidehook_api::v1;
use tokio::{sync::Notify, task::JoinSet, time::MissedTickBehavior};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::{
    client::{Client, event},
    ledger::Ledger,
    process::within,
    receiver::{Behaviour, Receiver},
};

/// Events of one call.
const BATCH: u64 = 10;
/// How often one is made, unless the one before takes longer.
const PACE: Duration = Duration::from_millis(20);
/// Between a refusal and the next attempt: less than any hint says, to press.
const PRESS: Duration = Duration::from_millis(20);
/// How long anything may take to come about.
const PATIENCE: Duration = Duration::from_secs(90);
/// The receiver's name in the ledger.
const RECEIVER: &str = "receiver";

/// A publisher at work, and its receiver.
pub struct Load {
    /// Who receives it all.
    pub receiver: Receiver,
    shared: Arc<Shared>,
    publishing: JoinSet<()>,
}

struct Shared {
    client: Client,
    books: Mutex<Books>,
    /// With each answer and each arrival.
    news: Arc<Notify>,
    enough: AtomicBool,
}

struct Books {
    ledger: Ledger,
    acknowledged: Vec<(Instant, String)>,
    refused: u64,
    /// The last acknowledgement, and the longest time between two.
    last: Instant,
    stall: Duration,
    /// Refusals that are no good.
    wrong: Vec<String>,
}

impl Load {
    /// Subscribes a receiver that behaves so, and begins to publish to it.
    ///
    /// # Panics
    ///
    /// If the subscription is refused.
    pub async fn start(client: Client, behaviour: Behaviour) -> Self {
        let news = Arc::new(Notify::new());
        let told = Arc::clone(&news);
        let receiver = Receiver::start_with(behaviour, move |_| told.notify_waiters()).await;
        client.subscribe(&receiver.url(), "order").await;
        let books = Books {
            ledger: Ledger::new(),
            acknowledged: Vec::new(),
            refused: 0,
            last: Instant::now(),
            stall: Duration::ZERO,
            wrong: Vec::new(),
        };
        let shared = Arc::new(Shared {
            client,
            books: Mutex::new(books),
            news,
            enough: AtomicBool::new(false),
        });
        let mut publishing = JoinSet::new();
        let publisher = Arc::clone(&shared);
        publishing.spawn(async move { publisher.publish().await });
        Self {
            receiver,
            shared,
            publishing,
        }
    }

    /// How many events were acknowledged so far.
    #[must_use]
    pub fn acknowledged(&self) -> u64 {
        self.shared.books.lock().acknowledged.len() as u64
    }

    /// How many calls were refused so far.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.shared.books.lock().refused
    }

    /// The events that were acknowledged within this time.
    #[must_use]
    pub fn acknowledged_within(&self, time: Range<Instant>) -> BTreeSet<String> {
        let books = self.shared.books.lock();
        let then = books
            .acknowledged
            .iter()
            .filter(|(at, _)| time.contains(at));
        then.map(|(_, id)| id.clone()).collect()
    }

    /// The longest time without an acknowledgement so far.
    #[must_use]
    pub fn stall(&self) -> Duration {
        let books = self.shared.books.lock();
        books.stall.max(books.last.elapsed())
    }

    /// Waits until so many more events are acknowledged.
    ///
    /// # Panics
    ///
    /// If they are not within 90 seconds, or a refusal did not say what it must.
    pub async fn until_acknowledged(&self, more: u64) {
        let wanted = self.acknowledged() + more;
        let is_so = |books: &Books| books.acknowledged.len() as u64 >= wanted;
        self.until("events are acknowledged", is_so).await;
    }

    /// Waits until so many more calls are refused.
    ///
    /// # Panics
    ///
    /// As `until_acknowledged`.
    pub async fn until_refused(&self, more: u64) {
        let wanted = self.refused() + more;
        self.until("calls are refused", |books| books.refused >= wanted)
            .await;
    }

    async fn until(&self, what: &str, holds: impl Fn(&Books) -> bool) {
        within(PATIENCE, what, async {
            loop {
                let news = self.shared.news.notified();
                tokio::pin!(news);
                // Registered before looking: news between the two wakes it.
                news.as_mut().enable();
                {
                    let books = self.shared.books.lock();
                    assert!(books.wrong.is_empty(), "{:?}", books.wrong);
                    if holds(&books) {
                        return;
                    }
                }
                news.await;
            }
        })
        .await;
    }

    /// Publishes no more; on return all that was published is acknowledged. How long
    /// its longest stall was.
    ///
    /// # Panics
    ///
    /// If the last batch is not acknowledged within 90 seconds, or a refusal did not
    /// say what it must.
    pub async fn stop(&mut self) -> Duration {
        self.shared.enough.store(true, Ordering::Relaxed);
        let ended = async { while self.publishing.join_next().await.is_some() {} };
        within(PATIENCE, "the last batch is acknowledged", ended).await;
        let books = self.shared.books.lock();
        assert!(books.wrong.is_empty(), "{:?}", books.wrong);
        books.stall
    }

    /// Books what has arrived until that is everything, or until `limit` is over: how
    /// long it took, and the ledger.
    pub async fn drain(&self, limit: Duration) -> (Duration, Ledger) {
        self.drain_but(&BTreeSet::new(), limit).await
    }

    /// As `drain`, without waiting for these events: they may be lost.
    pub async fn drain_but(&self, these: &BTreeSet<String>, limit: Duration) -> (Duration, Ledger) {
        let begun = Instant::now();
        loop {
            let news = self.shared.news.notified();
            tokio::pin!(news);
            news.as_mut().enable();
            {
                let mut books = self.shared.books.lock();
                books.ledger.received(RECEIVER, &self.receiver.take());
                let lost = books.ledger.lost();
                let is_over = lost.iter().all(|(event, _)| these.contains(event));
                if is_over || begun.elapsed() > limit {
                    return (begun.elapsed(), books.ledger.clone());
                }
            }
            // Without news for a second it looks whether its time is over.
            let _ = tokio::time::timeout(Duration::from_secs(1), news).await;
        }
    }
}

impl Shared {
    async fn publish(&self) {
        let mut pace = tokio::time::interval(PACE);
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut first = 0;
        while !self.enough.load(Ordering::Relaxed) {
            pace.tick().await;
            let batch = (first..first + BATCH).map(|n| v1::Event {
                idempotency_key: format!("order-{n}"),
                ..event("order", n)
            });
            let batch: Vec<_> = batch.collect();
            self.books.lock().ledger.published(BATCH);
            while !self.try_publish(&batch).await {
                tokio::time::sleep(PRESS).await;
            }
            first += BATCH;
        }
    }

    /// Publishes once; whether all of it is acknowledged.
    async fn try_publish(&self, batch: &[v1::Event]) -> bool {
        let answer = self.client.publish(batch.to_vec()).await;
        let mut books = self.books.lock();
        let refusals: Vec<_> = match &answer {
            Ok(results) => results.iter().filter_map(in_result).collect(),
            Err(status) => vec![in_status(status)],
        };
        let is_accepted = refusals.is_empty();
        books.refused += u64::from(!is_accepted);
        books
            .wrong
            .extend(refusals.into_iter().filter_map(Result::err));
        if is_accepted {
            books.note(&answer.unwrap_or_default());
        }
        self.news.notify_waiters();
        is_accepted
    }
}

impl Books {
    fn note(&mut self, results: &[v1::PublishResult]) {
        let now = Instant::now();
        self.stall = self.stall.max(now - self.last);
        self.last = now;
        for result in results {
            self.ledger.acknowledged(&result.event_id, [RECEIVER]);
            self.acknowledged.push((now, result.event_id.clone()));
        }
    }
}

/// Whether a refusal says that the store is away and when to come again; else what it
/// says.
type Refusal = Result<(), String>;

fn in_status(status: &Status) -> Refusal {
    let hint = status.get_error_details().retry_info().cloned();
    let delay = hint.and_then(|hint| hint.retry_delay);
    let is_good = status.code() == Code::Unavailable && delay > Some(Duration::ZERO);
    is_good.then_some(()).ok_or_else(|| format!("{status:?}"))
}

fn in_result(result: &v1::PublishResult) -> Option<Refusal> {
    let error = result.error.as_ref()?;
    let has_hint = error
        .retry_after
        .is_some_and(|hint| hint.seconds > 0 || hint.nanos > 0);
    let is_good = error.code == Code::Unavailable as i32 && has_hint;
    Some(is_good.then_some(()).ok_or_else(|| format!("{error:?}")))
}
