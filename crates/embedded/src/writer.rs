//! The writer: one thread that takes whatever waits, executes it in one transaction,
//! commits, and then answers. What arrives meanwhile is the next batch, so a busy
//! store pays one commit, and at the strict level one fsync, for many calls; an idle
//! one answers a single call at once. There is no timer but the one that brings
//! relaxed commits to disk.
//!
//! # When the medium fails
//! redb refuses everything after an I/O error until the database is opened anew. The
//! batch is answered as unknown (its commit may have been made), whatever waits is
//! answered the same as long as reopening fails, and readers are told that the store
//! is away. Callers repeat their calls with the same stamps, so that a commit that
//! was made is found and one that was not is made. At the relaxed level the reopened
//! database is the last one that was brought to disk.
//!
//! # Quick repair
//! Every commit that goes to disk saves the allocator's state, so that opening after
//! a crash takes moments instead of a walk through the whole file. At the relaxed
//! level that is one commit a second; at the strict level it is part of the price of
//! each: a second fsync, and about half as much again in time. The alternative is to
//! be away after a crash for as long as it takes to read a log of 30 days.

use core::time::Duration;
use std::{panic::AssertUnwindSafe, sync::Arc, time::Instant};

use parking_lot::RwLock;
use redb::{Database, Durability, WriteTransaction};
use sidehook_store::{hint::Hint, port};
use tokio::{
    runtime,
    sync::{broadcast, mpsc},
};

use crate::{
    batch::Batch,
    error::{Fault, unavailable},
    media::Media,
    open,
    tables::Tables,
    work::{Asker, Work},
};

/// Work that may wait for the writer; whoever comes then, waits to wait.
pub(crate) const QUEUE: usize = 256;
/// Work of one batch: bounds how long an answer waits for others' work.
const BATCH: usize = 64;
/// The longest that a relaxed commit stays off the disk.
const FLUSH_AFTER: Duration = Duration::from_secs(1);
/// First and longest pause between attempts to reopen.
const REOPEN_FIRST: Duration = Duration::from_millis(10);
const REOPEN_LAST: Duration = Duration::from_secs(5);

/// The database while it is usable, shared with the readers.
pub(crate) type Slot = Arc<RwLock<Option<Arc<Database>>>>;

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
    pub(crate) media: Box<dyn Media>,
    pub(crate) slot: Slot,
    pub(crate) strict: bool,
    pub(crate) hints: broadcast::Sender<Hint>,
    /// When the oldest commit that is not on disk was made.
    unflushed: Option<Instant>,
}

impl Writer {
    pub(crate) fn new(
        media: Box<dyn Media>,
        slot: Slot,
        durability: port::Durability,
        hints: broadcast::Sender<Hint>,
    ) -> Self {
        Self {
            media,
            slot,
            strict: durability == port::Durability::Strict,
            hints,
            unflushed: None,
        }
    }

    /// Works until it is told to close, or nobody is left to tell it anything.
    pub(crate) fn run(mut self, mut inbox: mpsc::Receiver<Message>, waiter: &runtime::Runtime) {
        let mut closing = None;
        while closing.is_none() {
            let message = match self.wait(&mut inbox, waiter) {
                Waited::Message(message) => message,
                Waited::Due => {
                    self.flush(None, &mut inbox, waiter);
                    continue;
                }
                Waited::Over => break,
            };
            let (mut batch, mut flush) = (Vec::new(), Vec::new());
            let mut next = Some(message);
            while let Some(message) = next.take() {
                match message {
                    Message::Work(work) => batch.push(work),
                    Message::Check => self.flush(None, &mut inbox, waiter),
                    Message::Flush(asker) => flush.push(asker),
                    Message::Close(asker) => closing = Some(asker),
                }
                if batch.len() < BATCH && flush.is_empty() && closing.is_none() {
                    next = inbox.try_recv().ok();
                }
            }
            if !batch.is_empty() {
                self.execute(batch, &mut inbox, waiter);
            }
            for asker in flush {
                self.flush(Some(asker), &mut inbox, waiter);
            }
        }
        self.close(closing);
    }

    /// Waits for a message, or until what is committed must be brought to disk.
    fn wait(&self, inbox: &mut mpsc::Receiver<Message>, waiter: &runtime::Runtime) -> Waited {
        let received = match self.unflushed {
            None => inbox.blocking_recv(),
            Some(since) => {
                let left = FLUSH_AFTER.saturating_sub(since.elapsed());
                let received =
                    waiter.block_on(async { tokio::time::timeout(left, inbox.recv()).await });
                match received {
                    Ok(received) => received,
                    Err(_) => return Waited::Due,
                }
            }
        };
        received.map_or(Waited::Over, Waited::Message)
    }

    /// Executes a batch, and answers it.
    fn execute(
        &mut self,
        mut batch: Vec<Box<dyn Work>>,
        inbox: &mut mpsc::Receiver<Message>,
        waiter: &runtime::Runtime,
    ) {
        let together = self.attempt(|transaction| {
            let mut on = Batch::new(Tables::open(transaction)?);
            for work in &mut batch {
                for part in 0..work.parts() {
                    work.run(part, &mut on)?;
                }
            }
            on.finish()
        });
        let outcome = match together {
            Ok(hints) => Ok(hints),
            Err(Fault::Corrupt(_)) => self.one_by_one(&mut batch),
            Err(fault) => Err(fault),
        };
        match outcome {
            Ok(hints) => {
                for work in batch {
                    work.answer();
                }
                for hint in hints {
                    // No receiver is no error: hints are for whoever listens.
                    let _ = self.hints.send(hint);
                }
            }
            Err(Fault::Io(detail) | Fault::Corrupt(detail)) => {
                for work in batch {
                    work.fail(unavailable(detail.clone()));
                }
                self.reopen(&detail, inbox, waiter);
            }
        }
    }

    /// Runs each part in a transaction of its own: what is unreadable fails alone.
    fn one_by_one(&mut self, batch: &mut [Box<dyn Work>]) -> Result<Vec<Hint>, Fault> {
        let mut hints = Vec::new();
        for work in batch {
            for part in 0..work.parts() {
                let alone = self.attempt(|transaction| {
                    let mut on = Batch::new(Tables::open(transaction)?);
                    work.run(part, &mut on)?;
                    on.finish()
                });
                match alone {
                    Ok(more) => hints.extend(more),
                    Err(Fault::Corrupt(detail)) => {
                        tracing::error!(%detail, "the store holds something unreadable");
                        work.unreadable(part, detail);
                    }
                    Err(fault) => return Err(fault),
                }
            }
        }
        Ok(hints)
    }

    /// Runs something in a transaction and commits it; given up if it fails. A panic
    /// in the engine counts as a failing medium: the database is opened anew.
    fn attempt<T>(
        &mut self,
        run: impl FnOnce(&WriteTransaction) -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        let database = self.slot.read().clone();
        let Some(database) = database else {
            return Err(Fault::Io("the database is not open".to_owned()));
        };
        let late = |since: Instant| since.elapsed() >= FLUSH_AFTER;
        let durable = self.strict || self.unflushed.is_some_and(late);
        let attempt = AssertUnwindSafe(|| commit(&database, durable, run));
        let done = std::panic::catch_unwind(attempt);
        let done = done.unwrap_or_else(|_| Err(Fault::Io("the engine panicked".to_owned())))?;
        self.unflushed = match durable {
            true => None,
            false => self.unflushed.or_else(|| Some(Instant::now())),
        };
        Ok(done)
    }

    /// Brings to disk what is not there yet, answers, and reopens the database if
    /// that failed.
    fn flush(
        &mut self,
        asker: Option<Asker<()>>,
        inbox: &mut mpsc::Receiver<Message>,
        waiter: &runtime::Runtime,
    ) {
        let flushed = self.bring_to_disk();
        tell(asker, &flushed);
        if let Err(Fault::Io(detail) | Fault::Corrupt(detail)) = flushed {
            self.reopen(&detail, inbox, waiter);
        }
    }

    fn bring_to_disk(&mut self) -> Result<(), Fault> {
        let database = self.slot.read().clone();
        let Some(database) = database else {
            return Err(Fault::Io("the database is not open".to_owned()));
        };
        commit(&database, true, |_| Ok(()))?;
        self.unflushed = None;
        Ok(())
    }

    /// Opens the database anew, as often as it takes. Whatever waits meanwhile is
    /// answered that the store is away; closing ends it.
    fn reopen(
        &mut self,
        detail: &str,
        inbox: &mut mpsc::Receiver<Message>,
        waiter: &runtime::Runtime,
    ) {
        tracing::error!(%detail, "the store failed: opening it again");
        self.unflushed = None;
        let mut pause = REOPEN_FIRST;
        loop {
            *self.slot.write() = None;
            match open::database(&*self.media) {
                Ok(database) => {
                    *self.slot.write() = Some(Arc::new(database));
                    tracing::info!("the store is open again");
                    return;
                }
                Err(error) => tracing::debug!(%error, "opening failed"),
            }
            let until = Instant::now() + pause;
            pause = (pause * 2).min(REOPEN_LAST);
            if !turn_away(until, detail, inbox, waiter) {
                return;
            }
        }
    }

    fn close(mut self, closing: Option<Asker<()>>) {
        let flushed = self.bring_to_disk();
        if let Err(fault) = &flushed {
            tracing::error!(?fault, "closing the store failed");
        }
        *self.slot.write() = None;
        tell(closing, &flushed);
    }
}

/// Answers whoever wanted everything on disk; who is gone needs no answer.
fn tell(asker: Option<Asker<()>>, flushed: &Result<(), Fault>) {
    if let Some(asker) = asker {
        let _ = asker.send(flushed.clone().map_err(Into::into));
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

/// Answers whatever comes until `until` that the store is away; whether to go on.
fn turn_away(
    until: Instant,
    detail: &str,
    inbox: &mut mpsc::Receiver<Message>,
    waiter: &runtime::Runtime,
) -> bool {
    let failed = || Err(Fault::Io(detail.to_owned()));
    loop {
        let left = until.saturating_duration_since(Instant::now());
        let received = waiter.block_on(async { tokio::time::timeout(left, inbox.recv()).await });
        match received {
            Ok(Some(Message::Work(work))) => work.fail(unavailable(detail.to_owned())),
            Ok(Some(Message::Check)) => {}
            Ok(Some(Message::Flush(asker))) => tell(Some(asker), &failed()),
            Ok(Some(Message::Close(asker))) => {
                tell(Some(asker), &failed());
                inbox.close();
                return false;
            }
            Ok(None) => return false,
            Err(_) => return true,
        }
    }
}

fn commit<T>(
    database: &Database,
    durable: bool,
    run: impl FnOnce(&WriteTransaction) -> Result<T, Fault>,
) -> Result<T, Fault> {
    let mut transaction = database.begin_write()?;
    if durable {
        transaction.set_durability(Durability::Immediate)?;
        transaction.set_quick_repair(true);
    } else {
        transaction.set_durability(Durability::None)?;
    }
    match run(&transaction) {
        Ok(done) => {
            // After a commit that failed nothing is known, whatever the reason.
            let committed = transaction.commit();
            committed.map_err(|error| Fault::Io(error.to_string()))?;
            Ok(done)
        }
        Err(fault) => {
            transaction.abort()?;
            Err(fault)
        }
    }
}
