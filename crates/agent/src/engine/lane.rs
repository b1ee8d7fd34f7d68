//! The queue of one subscription at this agent, and its workers.
//!
//! A worker is a task that takes one job after the other and holds a connection while there are any. There are at
//! most as many as the subscription's in-flight window, so a receiver that hangs holds its own lane's workers and
//! nobody else's. They start when there is work for them and end when there was none for a while.
//!
//! | worker  | event                     | next    |
//! |---------|---------------------------|---------|
//! | (none)  | jobs, window not used up  | working |
//! | working | queue empty               | idle    |
//! | working | window became smaller     | (gone)  |
//! | idle    | jobs: claimed and woken   | working |
//! | idle    | nothing for ten seconds   | (gone)  |
//!
//! Who pushes jobs claims as many idle workers as it wakes, so that two pushes in a row never count on the same one.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use sidehook_runtime::tasks::{OnPanic, TaskKind};
use tokio::sync::Notify;
use tokio::time::timeout;

use super::Shared;
use super::job::Job;
use super::post::Desk;

/// In the background: the drain waits for the session, which waits for every outcome.
const WORKER: TaskKind = TaskKind::new("delivery_worker", OnPanic::Log).background();

/// How long a worker without work stays.
const IDLE: Duration = Duration::from_secs(10);

/// A queue and its workers.
#[derive(Default)]
pub(crate) struct Lane {
    state: Mutex<State>,
    work: Notify,
}

#[derive(Default)]
struct State {
    queue: VecDeque<Job>,
    workers: usize,
    /// Workers that wait and are not claimed.
    idle: usize,
    window: usize,
}

/// A worker's place in the lane, given up on drop.
struct Place {
    lane: Arc<Lane>,
    shared: Arc<Shared>,
}

enum Next {
    Job(Box<Job>),
    Wait,
    Leave,
}

impl Lane {
    /// Sets the in-flight window.
    pub(super) fn set_window(&self, window: u32) {
        self.state.lock().window = window.max(1) as usize;
    }

    /// Adds jobs, and sees to it that as many workers as the window allows take them up.
    pub(super) fn push(self: &Arc<Self>, shared: &Arc<Shared>, jobs: impl Iterator<Item = Job>) {
        let (woken, started) = {
            let mut state = self.state.lock();
            state.queue.extend(jobs);
            let woken = state.idle.min(state.queue.len());
            state.idle -= woken;
            (woken, state.hire(woken))
        };
        for _ in 0..woken {
            self.work.notify_one();
        }
        self.start(shared, started);
    }

    /// Hands everything that has not started back.
    pub(super) fn clear(&self) {
        // Out of the lock: dropping a job reports it.
        let queue = std::mem::take(&mut self.state.lock().queue);
        drop(queue);
    }

    fn start(self: &Arc<Self>, shared: &Arc<Shared>, workers: usize) {
        for _ in 0..workers {
            let place = Place {
                lane: Arc::clone(self),
                shared: Arc::clone(shared),
            };
            // Boxed: moving a future into a task copies its whole size, and there are as many as POSTs in flight.
            shared.tasks.spawn(WORKER, Box::pin(place.work()));
        }
    }

    fn next(&self, mut wait: bool) -> Next {
        let mut state = self.state.lock();
        if state.workers > state.window {
            return Next::Leave;
        }
        match state.queue.pop_front() {
            Some(job) => Next::Job(Box::new(job)),
            None => {
                state.idle += usize::from(std::mem::take(&mut wait));
                Next::Wait
            }
        }
    }
}

impl State {
    /// Takes on as many workers as there are jobs that `woken` ones do not take up, within the window.
    fn hire(&mut self, woken: usize) -> usize {
        let room = self.window.saturating_sub(self.workers);
        let hired = self.queue.len().saturating_sub(woken).min(room);
        self.workers += hired;
        hired
    }
}

impl Place {
    async fn work(self) {
        let mut desk = Desk::new();
        loop {
            match self.lane.next(false) {
                Next::Job(job) => desk.post(&self.shared, *job).await,
                Next::Leave => return,
                Next::Wait => {
                    desk.clear(&self.shared);
                    match self.wait().await {
                        Some(job) => desk.post(&self.shared, *job).await,
                        None => return,
                    }
                }
            }
        }
    }

    /// Waits for a job; `None` when there was none for long enough.
    async fn wait(&self) -> Option<Box<Job>> {
        loop {
            let mut woken = std::pin::pin!(self.lane.work.notified());
            // In line before looking once more: a push in between wakes us.
            woken.as_mut().enable();
            match self.lane.next(true) {
                Next::Job(job) => return Some(job),
                Next::Leave => return None,
                Next::Wait => {}
            }
            if timeout(IDLE, woken.as_mut()).await.is_ok() {
                continue;
            }
            {
                let mut state = self.lane.state.lock();
                if state.idle > 0 {
                    state.idle -= 1;
                    return None;
                }
            }
            // Claimed at the last moment: the call is on its way.
            woken.await;
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let replaced = {
            let mut state = self.lane.state.lock();
            state.workers -= 1;
            // A worker that panicked must not leave the queue without anybody.
            if std::thread::panicking() {
                state.hire(0)
            } else {
                0
            }
        };
        self.lane.start(&self.shared, replaced);
    }
}
