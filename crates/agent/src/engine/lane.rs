//! The queue of one subscription at this agent, and its workers.
//!
//! A worker is a task that takes one job after the other and holds a connection while there are any. There are at
//! most as many at work as the subscription's in-flight window, so a receiver that hangs holds its own lane's workers
//! and nobody else's. They start when there is work for them and end when there was none for a while.
//!
//! | worker  | event                               | next    |
//! |---------|-------------------------------------|---------|
//! | (none)  | jobs or a wider window, none idle   | working |
//! | working | queue empty                         | idle    |
//! | working | window became smaller               | (gone)  |
//! | working | panic                               | (gone)  |
//! | idle    | jobs or a wider window: claimed     | working |
//! | idle    | nothing for ten seconds             | (gone)  |
//!
//! Who is called for which change is [`state`]'s to say. A claim is a permit of a semaphore, which keeps it until a
//! worker takes it: none is lost because nobody stood in line at that moment.

mod state;

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use sidehook_runtime::tasks::{OnPanic, TaskKind};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::Shared;
use super::job::Job;
use super::post::Desk;
use state::{Call, Next, State};

/// In the background: the drain waits for the session, which waits for every outcome.
const WORKER: TaskKind = TaskKind::new("delivery_worker", OnPanic::Log).background();

/// How long a worker without work stays.
const IDLE: Duration = Duration::from_secs(10);

/// A queue and its workers.
pub(crate) struct Lane {
    // Boxed: a job moves through the queue as a pointer.
    state: Mutex<State<Box<Job>>>,
    claims: Semaphore,
}

impl Default for Lane {
    fn default() -> Self {
        Self {
            state: Mutex::default(),
            claims: Semaphore::new(0),
        }
    }
}

/// A worker's place in the lane, given up on drop.
struct Place {
    lane: Arc<Lane>,
    shared: Arc<Shared>,
    has_left: bool,
}

impl Lane {
    /// Sets the in-flight window.
    pub(super) fn set_window(self: &Arc<Self>, shared: &Arc<Shared>, window: u32) {
        let call = self.state.lock().set_window(window as usize);
        self.answer(shared, call);
    }

    /// Adds jobs, and sees to it that as many workers as the window allows take them up.
    pub(super) fn push(self: &Arc<Self>, shared: &Arc<Shared>, jobs: impl Iterator<Item = Job>) {
        let call = self.state.lock().push(jobs.map(Box::new));
        self.answer(shared, call);
    }

    /// Hands everything that has not started back.
    pub(super) fn clear(&self) {
        // Out of the lock: dropping a job reports it.
        let queue = self.state.lock().clear();
        drop(queue);
    }

    fn answer(self: &Arc<Self>, shared: &Arc<Shared>, call: Call) {
        self.claims.add_permits(call.claimed);
        for _ in 0..call.hired {
            let place = Place {
                lane: Arc::clone(self),
                shared: Arc::clone(shared),
                has_left: false,
            };
            // Boxed: moving a future into a task copies its whole size, and there are as many as POSTs in flight.
            shared.tasks.spawn(WORKER, Box::pin(place.work()));
        }
    }

    fn next(&self, waits: bool) -> Next<Box<Job>> {
        self.state.lock().next(waits)
    }

    /// Waits until this worker is claimed; `false` if it was not for long enough.
    async fn claimed(&self) -> bool {
        let is_late = timeout(IDLE, self.claim()).await.is_err();
        if is_late {
            if self.state.lock().give_up_waiting() {
                return false;
            }
            // Claimed at the last moment.
            self.claim().await;
        }
        true
    }

    async fn claim(&self) {
        // The semaphore is never closed.
        if let Ok(claim) = self.claims.acquire().await {
            claim.forget();
        }
    }
}

impl Place {
    async fn work(mut self) {
        let mut desk = Desk::new();
        let mut waits = false;
        loop {
            match self.lane.next(waits) {
                Next::Job(job) => {
                    desk.post(&self.shared, *job).await;
                    waits = false;
                }
                Next::Leave => {
                    // Before its place is another's, who then need not open a connection of its own.
                    desk.clear(&self.shared);
                    break;
                }
                Next::Wait if !waits => {
                    // Before it counts as idle: whoever comes next finds the connection.
                    desk.clear(&self.shared);
                    waits = true;
                }
                Next::Wait => {
                    if !self.lane.claimed().await {
                        break;
                    }
                }
            }
        }
        self.has_left = true;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // Without the other two it was cancelled, which only the end of the process does: nobody takes over then.
        if self.has_left || std::thread::panicking() {
            let call = self.lane.state.lock().leave();
            self.lane.answer(&self.shared, call);
        }
    }
}
