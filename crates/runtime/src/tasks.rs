//! Named tasks: the one place that spawns.
//!
//! Each spawn states a [`TaskKind`]: its name, what its panic means, and whether the drain waits for it.
//!
//! * **Panic.** [`OnPanic::Abort`] is for tasks without which the process only seems to live (the accept loop, the
//!   settle lane): the process drains and exits with failure, and the supervisor restarts it. [`OnPanic::Log`] is for
//!   tasks that serve one stream or one delivery: the panic is logged and counted, its neighbours live on.
//! * **Cancellation.** A task ends by itself after the drain signal; what has not ended when the drain is over is
//!   dropped at its next await. So a task that must not be cut inside a step has to finish that step within the grace.
//! * **Foreground and background.** The drain waits for foreground tasks. Background tasks (probes, certificate
//!   watching) serve *until* the drain is over, and so must not be waited for.

use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::FutureExt as _;
use parking_lot::Mutex;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::drain::{Drain, DrainTrigger, Outcome};

/// How long dropped tasks get to run their destructors before the process goes on to exit.
const UNWIND_GRACE: Duration = Duration::from_millis(500);

/// What the panic of a task means for the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnPanic {
    /// The process drains and ends with failure.
    Abort,
    /// The panic is logged and counted; nothing else changes.
    Log,
}

/// Names a kind of task and says what its panic and the drain mean for it. Declare them as constants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TaskKind {
    name: &'static str,
    on_panic: OnPanic,
    background: bool,
}

impl TaskKind {
    /// A foreground task; `name` appears in logs and metrics, `snake_case`.
    #[must_use]
    pub const fn new(name: &'static str, on_panic: OnPanic) -> Self {
        Self {
            name,
            on_panic,
            background: false,
        }
    }

    /// The same kind, but the drain does not wait for it.
    #[must_use]
    pub const fn background(mut self) -> Self {
        self.background = true;
        self
    }
}

const SIGNALS: TaskKind = TaskKind::new("signals", OnPanic::Abort).background();

type Live = Arc<Mutex<BTreeMap<&'static str, usize>>>;

/// All tasks of a process. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Tasks {
    trigger: DrainTrigger,
    ended: CancellationToken,
    foreground: TaskTracker,
    background: TaskTracker,
    live: Live,
}

/// A spawned task. Awaiting it gives the result, or `None` if it was cancelled or panicked. Dropping it detaches.
#[derive(Debug)]
pub struct TaskHandle<T>(JoinHandle<Option<T>>);

/// A task that is aborted when this is dropped: for helpers that must not outlive the scope that needs them.
#[derive(Debug)]
pub struct ScopedTask<T>(TaskHandle<T>);

struct LiveGuard(Live, &'static str);

impl Drop for LiveGuard {
    fn drop(&mut self) {
        if let Some(count) = self.0.lock().get_mut(self.1) {
            *count -= 1;
        }
    }
}

impl Tasks {
    /// The tasks that `trigger` drains.
    #[must_use]
    pub fn new(trigger: DrainTrigger) -> Self {
        Self {
            ended: trigger.ended_token(),
            trigger,
            foreground: TaskTracker::new(),
            background: TaskTracker::new(),
            live: Live::default(),
        }
    }

    /// The drain that these tasks watch.
    #[must_use]
    pub fn drain(&self) -> Drain {
        self.trigger.watcher()
    }

    /// What starts that drain.
    #[must_use]
    pub fn trigger(&self) -> &DrainTrigger {
        &self.trigger
    }

    /// Spawns `future`. Must be called within a Tokio runtime.
    pub fn spawn<F>(&self, kind: TaskKind, future: F) -> TaskHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let guard = (!kind.background).then(|| {
            *self.live.lock().entry(kind.name).or_insert(0) += 1;
            LiveGuard(Arc::clone(&self.live), kind.name)
        });
        let (ended, trigger) = (self.ended.clone(), self.trigger.clone());
        let task = async move {
            let _guard = guard;
            tokio::select! {
                biased;
                result = AssertUnwindSafe(future).catch_unwind() => match result {
                    Ok(value) => Some(value),
                    Err(panic) => {
                        panicked(kind, &trigger, panic.as_ref());
                        None
                    }
                },
                () = ended.cancelled() => None,
            }
        };
        let tracker = if kind.background {
            &self.background
        } else {
            &self.foreground
        };
        TaskHandle(tracker.spawn(task))
    }

    /// Lets SIGTERM and SIGINT begin the drain, and a second one of them end it.
    ///
    /// # Errors
    /// The signal handlers could not be registered.
    pub fn watch_signals(&self) -> io::Result<()> {
        let answer_signals = self.trigger.clone().on_signals()?;
        self.spawn(SIGNALS, answer_signals);
        Ok(())
    }

    /// How many foreground tasks of each name are alive (names without a live task are left out).
    #[must_use]
    pub fn live(&self) -> BTreeMap<&'static str, usize> {
        let live = self.live.lock();
        live.iter()
            .filter(|(_, n)| **n > 0)
            .map(|(k, n)| (*k, *n))
            .collect()
    }

    /// Waits for the drain to begin, then for all foreground tasks, at most for `grace` from there; then ends
    /// everything that is left. `main` awaits this last.
    pub async fn finish(&self, grace: Duration) -> Outcome {
        let drain = self.drain();
        drain.draining().await;
        self.foreground.close();
        self.background.close();
        let clean = tokio::select! {
            biased;
            () = self.foreground.wait() => true,
            () = drain.ended() => false,
            () = tokio::time::sleep(grace) => false,
        };
        if !clean {
            tracing::warn!(?grace, tasks = ?self.live(), "the drain is cut off with tasks still at work");
        }
        self.trigger.end();
        let unwound = async { tokio::join!(self.foreground.wait(), self.background.wait()) };
        if tokio::time::timeout(UNWIND_GRACE, unwound).await.is_err() {
            tracing::warn!(tasks = ?self.live(), "tasks do not yield; exiting without them");
        }
        match (self.trigger.has_failed(), clean) {
            (true, _) => Outcome::Failed,
            (false, true) => Outcome::Clean,
            (false, false) => Outcome::Forced,
        }
    }
}

fn panicked(kind: TaskKind, trigger: &DrainTrigger, panic: &(dyn std::any::Any + Send)) {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    let text = text.unwrap_or("(no message)");
    tracing::error!(task = kind.name, panic = text, "a task panicked");
    metrics::describe_counter!(
        "sidehook_task_panics_total",
        "Panics of tasks, which are bugs"
    );
    metrics::counter!("sidehook_task_panics_total", "task" => kind.name).increment(1);
    if kind.on_panic == OnPanic::Abort {
        trigger.fail(format!("the task {} panicked", kind.name));
    }
}

impl<T> TaskHandle<T> {
    /// Cancels the task at its next await.
    pub fn abort(&self) {
        self.0.abort();
    }

    /// Whether the task has ended, in whatever way.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.0.is_finished()
    }

    /// Ties the task to the scope that holds the result.
    #[must_use]
    pub fn scoped(self) -> ScopedTask<T> {
        ScopedTask(self)
    }
}

impl<T> Future for TaskHandle<T> {
    type Output = Option<T>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0)
            .poll(cx)
            .map(|joined| joined.ok().flatten())
    }
}

impl<T> Future for ScopedTask<T> {
    type Output = Option<T>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(cx)
    }
}

impl<T> Drop for ScopedTask<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Runs `future` on a multi-threaded runtime of its own and then leaves without waiting for blocking threads (a
/// pending read of standard input would keep the process alive for ever).
///
/// # Errors
/// The runtime could not be started.
pub fn block_on<F: Future>(future: F) -> io::Result<F::Output> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let runtime = builder.enable_all().thread_name("sidehook").build()?;
    let output = runtime.block_on(future);
    runtime.shutdown_background();
    Ok(output)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drain;
    use tokio::sync::oneshot;

    const VITAL: TaskKind = TaskKind::new("vital", OnPanic::Abort);
    const STREAM: TaskKind = TaskKind::new("stream", OnPanic::Log);
    const SIDE: TaskKind = TaskKind::new("side", OnPanic::Log).background();
    const LONG: Duration = Duration::from_secs(3_600);

    fn tasks() -> Tasks {
        Tasks::new(drain::channel().0)
    }

    /// Tells on drop: whether a future was dropped, and when.
    struct Tell(Option<oneshot::Sender<()>>);
    impl Drop for Tell {
        fn drop(&mut self) {
            let _ = self.0.take().map(|tell| tell.send(()));
        }
    }

    #[tokio::test]
    async fn the_drain_waits_for_the_foreground_and_then_ends_the_background() {
        let tasks = tasks();
        let (dropped, mut background_dropped) = oneshot::channel();
        let tell = Tell(Some(dropped));
        tasks.spawn(SIDE, async move {
            let _tell = tell;
            std::future::pending::<()>().await;
        });
        let drain = tasks.drain();
        let (release, released) = oneshot::channel::<()>();
        let stream = tasks.spawn(STREAM, async move {
            drain.draining().await;
            released.await.is_ok()
        });
        let mut finishing = Box::pin(tasks.finish(LONG));
        tasks.trigger().drain("test");
        for _ in 0..5 {
            assert!(futures_util::poll!(&mut finishing).is_pending());
            tokio::task::yield_now().await;
        }
        assert!(
            background_dropped.try_recv().is_err(),
            "the background serves while the foreground drains"
        );
        release.send(()).expect("the stream waits");
        assert_eq!(finishing.await, Outcome::Clean);
        assert_eq!(stream.await, Some(true));
        background_dropped.await.expect("dropped at the end");
        assert!(tasks.live().is_empty());
    }

    #[tokio::test]
    async fn the_grace_has_an_end() {
        let tasks = tasks();
        let grace = Duration::from_millis(30);
        let stuck = tasks.spawn(STREAM, std::future::pending::<()>());
        tasks.trigger().drain("test");
        let begun = std::time::Instant::now();
        assert_eq!(tasks.finish(grace).await, Outcome::Forced);
        assert!(begun.elapsed() >= grace);
        assert_eq!(stuck.await, None);
    }

    #[tokio::test]
    async fn ending_cuts_the_grace_short() {
        let tasks = tasks();
        tasks.spawn(STREAM, std::future::pending::<()>());
        tasks.trigger().end();
        assert_eq!(tasks.finish(LONG).await, Outcome::Forced);
    }

    #[tokio::test]
    async fn the_panic_of_a_stream_stays_its_own_and_that_of_a_vital_task_fails_the_process() {
        let tasks = tasks();
        assert_eq!(
            tasks.spawn(STREAM, async { panic!("one stream") }).await,
            None::<()>
        );
        assert!(!tasks.drain().is_draining());
        assert_eq!(
            tasks.spawn(VITAL, async { panic!("the lane") }).await,
            None::<()>
        );
        assert_eq!(tasks.drain().cause(), Some("the task vital panicked"));
        assert_eq!(tasks.finish(LONG).await, Outcome::Failed);
    }

    #[tokio::test]
    async fn a_scoped_task_ends_with_its_scope() {
        let tasks = tasks();
        let (dropped, was_dropped) = oneshot::channel();
        let tell = Tell(Some(dropped));
        let scope = tasks.spawn(STREAM, async move {
            let _tell = tell;
            std::future::pending::<()>().await;
        });
        assert_eq!(tasks.live().get("stream"), Some(&1));
        drop(scope.scoped());
        was_dropped.await.expect("dropped with the scope");
    }
}
