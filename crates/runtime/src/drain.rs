//! One drain signal for the whole process.
//!
//! Ending has three phases, and everything that runs long watches the first change:
//!
//! | phase    | entered by                                              | meaning                                        |
//! |----------|---------------------------------------------------------|------------------------------------------------|
//! | running  | start                                                   | take work                                      |
//! | draining | SIGTERM, SIGINT, [`DrainTrigger::drain`], a vital panic  | take no new work, finish what is held          |
//! | ended    | all foreground tasks done, grace over, a second signal  | every future is dropped at its next await      |
//!
//! There is one signal, not one per component, because partial drains are how connections get forgotten. The grace
//! has an end because a peer that never closes its stream would otherwise keep the process alive: the supervisor
//! would then kill it without any order at all. [`crate::tasks::Tasks::finish`] drives the phases.

use std::future::Future;
use std::io;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

#[derive(Debug, Default)]
struct State {
    draining: CancellationToken,
    ended: CancellationToken,
    failed: AtomicBool,
    cause: OnceLock<String>,
}

/// Watches for the drain. Cheap to clone; every long stream holds one.
#[derive(Debug, Clone)]
pub struct Drain(Arc<State>);

/// Starts and ends the drain. Held by the few who may: the signal watcher, the task supervisor, `main`.
#[derive(Debug, Clone)]
pub struct DrainTrigger(Arc<State>);

/// How the process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Every foreground task finished by itself: exit code 0.
    Clean,
    /// A vital task panicked or a component reported a failure: exit code 1.
    Failed,
    /// The grace ended, or a second signal came, with tasks still at work: exit code 3.
    Forced,
}

impl From<Outcome> for ExitCode {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Clean => Self::SUCCESS,
            Outcome::Failed => Self::FAILURE,
            Outcome::Forced => Self::from(3),
        }
    }
}

/// A trigger and its watcher, in the running phase.
#[must_use]
pub fn channel() -> (DrainTrigger, Drain) {
    let state = Arc::new(State::default());
    (DrainTrigger(Arc::clone(&state)), Drain(state))
}

impl Drain {
    /// Resolves when the process begins to drain (at once if it already does).
    pub async fn draining(&self) {
        self.0.draining.cancelled().await;
    }

    /// Whether new work must be refused.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.0.draining.is_cancelled()
    }

    /// Resolves when the drain is over, finished or not. Tasks need not watch this: they are dropped then.
    pub async fn ended(&self) {
        self.0.ended.cancelled().await;
    }

    /// Why the process drains, once it does: for logs and for the notice sent to peers.
    #[must_use]
    pub fn cause(&self) -> Option<&str> {
        self.0.cause.get().map(String::as_str)
    }
}

impl DrainTrigger {
    /// Begins the drain. Only the first cause is kept.
    pub fn drain(&self, cause: impl Into<String>) {
        let cause = cause.into();
        if self.0.cause.set(cause).is_ok() {
            tracing::info!(cause = self.0.cause.get(), "draining");
        }
        self.0.draining.cancel();
    }

    /// Begins the drain because something vital broke: the process will end with [`Outcome::Failed`].
    pub fn fail(&self, cause: impl Into<String>) {
        let cause = cause.into();
        tracing::error!(cause, "failure: the process will end");
        self.0.failed.store(true, Ordering::Release);
        self.drain(cause);
    }

    /// Ends the drain at once.
    pub fn end(&self) {
        self.drain("ended");
        self.0.ended.cancel();
    }

    /// Whether [`Self::fail`] was called.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        self.0.failed.load(Ordering::Acquire)
    }

    /// A watcher of this trigger.
    #[must_use]
    pub fn watcher(&self) -> Drain {
        Drain(Arc::clone(&self.0))
    }

    pub(crate) fn ended_token(&self) -> CancellationToken {
        self.0.ended.clone()
    }

    /// Takes SIGTERM and SIGINT over at once, and returns the future that answers them: the first begins the drain,
    /// the second ends it.
    ///
    /// # Errors
    /// The signal handlers could not be registered.
    pub(crate) fn on_signals(self) -> io::Result<impl Future<Output = ()> + Send + 'static> {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        Ok(async move {
            loop {
                let name = tokio::select! {
                    _ = terminate.recv() => "SIGTERM",
                    _ = interrupt.recv() => "SIGINT",
                };
                if self.0.draining.is_cancelled() {
                    tracing::warn!(signal = name, "signal while draining: ending at once");
                    self.end();
                } else {
                    self.drain(name);
                }
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn phases_follow_in_order_and_the_first_cause_stays() {
        let (trigger, drain) = channel();
        assert!(!drain.is_draining());
        assert_eq!(drain.cause(), None);
        trigger.drain("SIGTERM");
        drain.draining().await;
        assert!(!drain.0.ended.is_cancelled());
        trigger.fail("later");
        assert_eq!(drain.cause(), Some("SIGTERM"));
        assert!(trigger.has_failed());
        trigger.end();
        drain.ended().await;
    }

    #[tokio::test]
    async fn ending_implies_draining() {
        let (trigger, drain) = channel();
        trigger.end();
        drain.draining().await;
        drain.ended().await;
        assert!(!trigger.has_failed());
    }
}
