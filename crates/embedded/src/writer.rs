//! The writer: one thread that takes whatever waits, executes it in one transaction,
//! commits, and then answers. What arrives meanwhile is the next batch, so a busy
//! store pays one commit, and at the strict level one fsync, for many calls; an idle
//! one answers a single call at once. What changes nothing is not committed: an idle
//! store's ticks cost no fsync. There is no timer but the one that brings relaxed
//! commits to disk.
//!
//! # When the medium fails
//! redb refuses everything after an I/O error until the database is opened anew. What
//! failed in a commit is answered as unknown (it may have been made); callers repeat
//! their calls with the same stamps, so that a commit that was made is found and one
//! that was not is made. What failed before its commit was not made: it is run again
//! once the database is open, and a part that fails again, while the medium takes
//! commits, is answered as unreadable, so that a bad sector under one row does not
//! keep all others away. Whatever waits while opening fails is answered that the store
//! is away, and so are readers. What was answered already stays (see
//! [`engine`](crate::engine)). Openings that follow one another closely are slowed
//! down.
//!
//! # Quick repair
//! Every commit that goes to disk saves the allocator's state, so that opening after
//! a crash takes moments instead of a walk through the whole file. At the relaxed
//! level that is one commit a second; at the strict level it is part of the price of
//! each: a second fsync, and about half as much again in time; and the state grows
//! with the file, from 21 KB for each commit up to 32 MiB to 82 KB at 514 MiB. The
//! alternative is to be away after a crash for as long as it takes to read a log of
//! 30 days.

use core::time::Duration;
use std::time::Instant;

use sidehook_store::hint::Hint;
use tokio::{
    runtime,
    sync::{broadcast, mpsc},
};

use crate::{
    engine::{Engine, Failure},
    error::{Fault, Trouble, unavailable},
    jobs::{self, At, Job, Stage},
    work::{Asker, Work},
};

/// Work that may wait for the writer; whoever comes then, waits to wait.
pub(crate) const QUEUE: usize = 256;
/// Work of one batch: bounds how long an answer waits for others' work.
const BATCH: usize = 64;
/// First and longest pause between attempts to reopen.
const REOPEN_FIRST: Duration = Duration::from_millis(10);
const REOPEN_LAST: Duration = Duration::from_secs(5);
/// An opening so soon after another one waits, longer each time up to a bound.
const CLOSE_BY: Duration = Duration::from_secs(2);
const BACK_OFF_FIRST: Duration = Duration::from_millis(1);
const BACK_OFF_LAST: Duration = Duration::from_millis(500);

/// What the writer is sent.
pub(crate) enum Message {
    /// Something to do.
    Work(Box<dyn Work>),
    /// A reader met an I/O error: see whether the database must be reopened.
    Check,
    /// Bring everything to disk.
    Flush(Asker<()>),
    /// Bring everything to disk and stop.
    Close(Asker<()>),
}

pub(crate) struct Writer {
    engine: Engine,
    inbox: mpsc::Receiver<Message>,
    /// Waits for the inbox, or for a time.
    waiter: runtime::Runtime,
    hints: broadcast::Sender<Hint>,
    /// When the database was last opened anew, and how long the next time waits.
    reopened: Option<Instant>,
    back_off: Duration,
}

impl Writer {
    pub(crate) const fn new(
        engine: Engine,
        inbox: mpsc::Receiver<Message>,
        waiter: runtime::Runtime,
        hints: broadcast::Sender<Hint>,
    ) -> Self {
        Self {
            engine,
            inbox,
            waiter,
            hints,
            reopened: None,
            back_off: Duration::ZERO,
        }
    }

    /// Works until it is told to close, or nobody is left to tell it anything.
    pub(crate) fn run(mut self) {
        let mut closing = None;
        while closing.is_none() {
            let message = match self.wait() {
                Waited::Message(message) => message,
                Waited::Due => {
                    self.flush(None);
                    continue;
                }
                Waited::Over => break,
            };
            let (mut batch, mut flush, mut check) = (Vec::new(), Vec::new(), false);
            let mut next = Some(message);
            while let Some(message) = next.take() {
                match message {
                    Message::Work(work) => batch.push(Job::new(work)),
                    Message::Check => check = true,
                    Message::Flush(asker) => flush.push(asker),
                    Message::Close(asker) => closing = Some(asker),
                }
                if batch.len() < BATCH && flush.is_empty() && closing.is_none() {
                    next = self.inbox.try_recv().ok();
                }
            }
            if check {
                self.check();
            }
            if !batch.is_empty() {
                self.execute(batch);
            }
            for asker in flush {
                self.flush(Some(asker));
            }
        }
        self.close(closing);
    }

    /// Waits for a message, or until what is committed must be brought to disk.
    fn wait(&mut self) -> Waited {
        // Then closing brings to disk what it can, and does not insist.
        if self.inbox.is_closed() && self.inbox.is_empty() {
            return Waited::Over;
        }
        let received = match self.engine.flush_in() {
            None => self.inbox.blocking_recv(),
            Some(Duration::ZERO) => return Waited::Due,
            Some(left) => {
                let inbox = &mut self.inbox;
                let received = self
                    .waiter
                    .block_on(async { tokio::time::timeout(left, inbox.recv()).await });
                match received {
                    Ok(received) => received,
                    Err(_) => return Waited::Due,
                }
            }
        };
        received.map_or(Waited::Over, Waited::Message)
    }

    /// Executes a batch, and answers it.
    fn execute(&mut self, mut batch: Vec<Job>) {
        let mut failed: Option<Option<At>> = None;
        // A part fails twice before it is given up, and once for someone else's error.
        let parts: usize = batch.iter().map(Job::parts).sum();
        let mut rounds = 2 * parts + 2;
        loop {
            let Failure { fault, stage } = match self.engine.execute(&mut batch) {
                Ok(hints) => {
                    for hint in hints {
                        // No receiver is no error: hints are for whoever listens.
                        let _ = self.hints.send(hint);
                    }
                    return;
                }
                Err(failure) => failure,
            };
            let (detail, _) = fault.clone().told();
            rounds -= 1;
            self.engine.shut();
            let Stage::Run(at) = stage else {
                fail(&mut batch, &detail);
                self.reopen(&detail, &mut batch);
                return;
            };
            let full = matches!(fault, Fault::Io(Trouble::Full, ..));
            let again = failed.is_some_and(|before| full || before.is_none() && at.is_none());
            if rounds == 0 || again {
                fail(&mut batch, &detail);
            }
            self.reopen(&detail, &mut batch);
            if batch.is_empty() {
                return;
            }
            if let Some(here) = at
                && failed == Some(at)
                && matches!(fault, Fault::Io(Trouble::Failed, ..))
            {
                // Opening brought something to disk: it is not the medium as a whole.
                jobs::set_aside(&mut batch, here, fault);
                failed = None;
            } else {
                // What failed under someone else earlier tells nothing of this part.
                let earlier = matches!(fault, Fault::Io(Trouble::Earlier, ..));
                failed = (!earlier).then_some(at);
            }
        }
    }

    /// Sees whether the database must be reopened.
    fn check(&mut self) {
        if let Err(fault) = self.engine.probe() {
            let (detail, _) = fault.told();
            self.reopen(&detail, &mut Vec::new());
        }
    }

    /// Brings to disk what is not there yet, reopening the database if that failed:
    /// that brings it to disk too.
    fn flush(&mut self, asker: Option<Asker<()>>) {
        let flushed = self.engine.flush();
        if let Err(fault) = &flushed {
            let (detail, _) = fault.clone().told();
            tell(asker, flushed);
            self.reopen(&detail, &mut Vec::new());
        } else {
            tell(asker, flushed);
        }
    }

    /// Opens the database anew, as often as it takes. Unless the first attempt
    /// succeeds, `batch` and whatever waits is answered that the store is away; closing
    /// ends it.
    fn reopen(&mut self, detail: &str, batch: &mut Vec<Job>) {
        let answered = self.engine.answered();
        tracing::error!(%detail, answered, "the store failed: opening it again");
        self.engine.shut();
        let close_by = |at: Instant| at.elapsed() < CLOSE_BY;
        if self.reopened.is_some_and(close_by) {
            self.back_off = (self.back_off * 2).clamp(BACK_OFF_FIRST, BACK_OFF_LAST);
            if !self.turn_away(self.back_off, detail) {
                fail(batch, detail);
                return;
            }
        } else {
            self.back_off = Duration::ZERO;
        }
        let mut pause = REOPEN_FIRST;
        while let Err(error) = self.engine.reopen() {
            tracing::warn!(%error, "opening the store again failed");
            self.engine.shut();
            fail(batch, detail);
            if !self.turn_away(pause, detail) {
                return;
            }
            pause = (pause * 2).min(REOPEN_LAST);
        }
        self.reopened = Some(Instant::now());
        tracing::info!("the store is open again");
        // What was told meanwhile, and what was not, is not known to anyone.
        let _ = self.hints.send(Hint::Gap);
    }

    /// Answers whatever comes for a while that the store is away; whether to go on.
    fn turn_away(&mut self, pause: Duration, detail: &str) -> bool {
        let until = Instant::now() + pause;
        let failed = || Err(Fault::failed(detail.to_owned()));
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let inbox = &mut self.inbox;
            let received = self
                .waiter
                .block_on(async { tokio::time::timeout(left, inbox.recv()).await });
            match received {
                Ok(Some(Message::Work(mut work))) => work.fail(unavailable(detail.to_owned())),
                Ok(Some(Message::Check)) => {}
                Ok(Some(Message::Flush(asker))) => tell(Some(asker), failed()),
                Ok(Some(Message::Close(asker))) => {
                    tell(Some(asker), failed());
                    self.inbox.close();
                    return false;
                }
                Ok(None) => return false,
                Err(_) => return true,
            }
        }
    }

    fn close(mut self, closing: Option<Asker<()>>) {
        let mut flushed = self.engine.flush();
        if flushed.is_err() {
            // Once more: what was answered is still known.
            self.engine.shut();
            flushed = self
                .engine
                .reopen()
                .map_err(|error| Fault::failed(error.to_string()));
        }
        if let Err(fault) = &flushed {
            tracing::error!(?fault, "closing the store failed");
        }
        self.engine.shut();
        tell(closing, flushed);
    }
}

/// Answers whoever wanted everything on disk; who is gone needs no answer.
fn tell(asker: Option<Asker<()>>, flushed: Result<(), Fault>) {
    if let Some(asker) = asker {
        let _ = asker.send(flushed.map_err(Into::into));
    }
}

/// Answers jobs that what became of them is not known.
fn fail(jobs: &mut Vec<Job>, detail: &str) {
    for mut job in jobs.drain(..) {
        job.fail(unavailable(detail.to_owned()));
    }
}

/// What waiting came to.
enum Waited {
    Message(Message),
    /// What is committed must be brought to disk.
    Due,
    /// Nobody is left.
    Over,
}
