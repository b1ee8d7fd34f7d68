//! The engine: transactions over the open database, and what the relaxed level has
//! answered but not yet brought to disk.
//!
//! # What was answered is not lost while the process lives
//! A relaxed commit is answered before it is on disk. Opening the database anew goes
//! back to its last durable commit, so the work of every commit since then is kept
//! ([`Journal`]), bounded in bytes, and run again after opening, in its order and
//! with its own times, in one durable commit, before anyone else sees the database.
//! Commits are numbered, and the number lies beside what they wrote: so it is known
//! which of them are there, whatever became of the one that failed, and none is made
//! twice. After an error every commit is durable until one has succeeded: on a disk
//! that stays full, callers are told instead of being answered on credit.
//!
//! # Room
//! When little room is left on the medium, publishing is refused and all else goes
//! on: what is there already can be delivered, settled and dropped.

use core::time::Duration;
use std::{
    cell::Cell,
    collections::VecDeque,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::Instant,
};

use parking_lot::RwLock;
use redb::{Database, Durability};
use sidehook_store::hint::Hint;

use crate::{
    batch::Batch,
    error::{Fault, OpenError, Trouble},
    jobs::{self, At, Job, Stage},
    media::Media,
    open::{self, Name},
    tables::Tables,
};

/// The longest that a relaxed commit stays off the disk.
const FLUSH_AFTER: Duration = Duration::from_secs(1);
/// The most that is answered and not on disk, in bytes of work.
const JOURNAL_BYTES: usize = 32 * 1024 * 1024;
/// Room on the medium that publishing may not take.
const RESERVE_BYTES: u64 = 64 * 1024 * 1024;
/// The room is looked at as often, or whenever so many bytes of work came.
const LOOK_AFTER: Duration = Duration::from_secs(1);
const LOOK_BYTES: usize = 8 * 1024 * 1024;

/// The database while it is usable, shared with the readers.
pub(crate) type Slot = Arc<RwLock<Option<Arc<Database>>>>;

/// A transaction failed.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) fault: Fault,
    pub(crate) stage: Stage,
}

/// Work that was answered and is not on disk yet, by the number of its commit.
#[derive(Default)]
struct Journal {
    kept: VecDeque<(u64, Vec<Job>)>,
    bytes: usize,
    /// When the first of it was committed.
    since: Option<Instant>,
}

impl Journal {
    fn clear(&mut self) {
        *self = Self::default();
    }

    fn keep(&mut self, number: u64, jobs: Vec<Job>) {
        self.bytes += jobs.iter().map(Job::weight).sum::<usize>();
        self.since.get_or_insert_with(Instant::now);
        self.kept.push_back((number, jobs));
    }

    /// Whether it must be brought to disk.
    fn is_due(&self) -> bool {
        let late = self.since.is_some_and(|at| at.elapsed() >= FLUSH_AFTER);
        late || self.bytes >= JOURNAL_BYTES
    }
}

/// What is known of the room on the medium.
#[derive(Default)]
struct Room {
    looked: Option<Instant>,
    /// Bytes of work since then.
    since: usize,
    full: bool,
}

/// How a transaction is to be made.
#[derive(Clone, Copy)]
struct How {
    durable: bool,
    /// Even if nothing changed: to bring to disk what was committed before.
    always: bool,
    full: bool,
}

pub(crate) struct Engine {
    media: Box<dyn Media>,
    slot: Slot,
    strict: bool,
    /// Which store it is.
    name: Name,
    /// Number of the last commit.
    commits: u64,
    journal: Journal,
    /// Since an error no commit with something in it was brought to disk.
    careful: bool,
    /// Where the last attempt to run the journal again failed.
    suspect: Option<At>,
    room: Room,
}

impl Engine {
    pub(crate) fn new(
        media: Box<dyn Media>,
        slot: Slot,
        strict: bool,
        (name, commits): (Name, u64),
    ) -> Self {
        Self {
            media,
            slot,
            strict,
            name,
            commits,
            journal: Journal::default(),
            careful: false,
            suspect: None,
            room: Room::default(),
        }
    }

    /// Calls that were answered and are perhaps not on disk.
    pub(crate) fn answered(&self) -> usize {
        let kept = self.journal.kept.iter();
        kept.map(|(_, jobs)| jobs.len()).sum()
    }

    /// How long what is committed may stay off the disk; `None` if all is there.
    pub(crate) fn flush_in(&self) -> Option<Duration> {
        let since = self.journal.since?;
        if self.journal.is_due() {
            return Some(Duration::ZERO);
        }
        Some(FLUSH_AFTER.saturating_sub(since.elapsed()))
    }

    /// Executes jobs in one transaction and commits it, setting aside what is
    /// unreadable. Answers them, if that went well.
    pub(crate) fn execute(&mut self, jobs: &mut Vec<Job>) -> Result<Vec<Hint>, Failure> {
        let weight = jobs.iter().map(Job::weight).sum();
        self.look_for_room(weight);
        let database = self.slot.read().clone();
        let Some(database) = database else {
            let fault = Fault::failed("the database is not open".to_owned());
            let stage = Stage::Run(None);
            return Err(Failure { fault, stage });
        };
        let how = How {
            durable: self.strict || self.careful || self.journal.is_due(),
            always: false,
            full: self.room.full,
        };
        let committed = self.insist(&database, jobs, how)?;
        for job in &mut *jobs {
            job.answer();
        }
        let jobs = core::mem::take(jobs);
        if committed.is_some() && !how.durable {
            self.journal.keep(self.commits, jobs);
        }
        Ok(committed.unwrap_or_default())
    }

    /// Brings to disk what is not there yet.
    pub(crate) fn flush(&mut self) -> Result<(), Fault> {
        if self.journal.since.is_none() {
            return Ok(());
        }
        let database = self.slot.read().clone();
        let Some(database) = database else {
            return Err(Fault::failed("the database is not open".to_owned()));
        };
        let how = How {
            durable: true,
            always: true,
            full: false,
        };
        let flushed = self.transact(&database, &mut [], how);
        flushed.map(drop).map_err(|failure| failure.fault)
    }

    /// Whether the engine still takes transactions: after an I/O error under anyone
    /// it refuses them all.
    pub(crate) fn probe(&self) -> Result<(), Fault> {
        let database = self.slot.read().clone();
        let Some(database) = database else {
            return Err(Fault::failed("the database is not open".to_owned()));
        };
        caught(|| Ok(database.begin_write()?.abort()?)).map_err(Fault::of_the_medium)
    }

    /// Lets the database go.
    pub(crate) fn shut(&self) {
        let database = self.slot.write().take();
        // Closing may write, and may meet what made it necessary.
        let _ = caught(|| {
            drop(database);
            Ok(())
        });
    }

    /// Opens the database anew, and makes what was answered and is not there. Only
    /// then may others see it.
    ///
    /// # Errors
    /// Why not; it may be tried again.
    pub(crate) fn reopen(&mut self) -> Result<(), OpenError> {
        self.careful = true;
        let opened = caught(|| {
            let database = open::database(&*self.media);
            Ok(database.map_err(|error| open::told(&self.media.name(), error)))
        });
        let database = opened??;
        let (name, commits) = caught(|| open::identity(&database))?.ok_or(OpenError::Foreign)?;
        if name != self.name {
            return Err(OpenError::Other);
        }
        self.redo(&database, commits)?;
        *self.slot.write() = Some(Arc::new(database));
        Ok(())
    }

    /// Makes what was answered and is not among the first `commits` commits, durably.
    fn redo(&mut self, database: &Database, commits: u64) -> Result<(), Fault> {
        let how = How {
            durable: true,
            always: true,
            full: false,
        };
        let journal = core::mem::take(&mut self.journal);
        let kept = journal.kept.into_iter();
        let (numbers, mut jobs): (Vec<u64>, Vec<Vec<Job>>) =
            kept.filter(|(number, _)| *number > commits).unzip();
        let lengths: Vec<usize> = jobs.iter().map(Vec::len).collect();
        let mut flat: Vec<Job> = jobs.drain(..).flatten().collect();
        let count = flat.len();
        let done = match self.suspect {
            // Only if the medium takes a commit, is it this work that it cannot take.
            Some(_) => self.transact(database, &mut [], how).map(drop),
            None => Ok(()),
        };
        let done = done.and_then(|()| self.insist(database, &mut flat, how).map(drop));
        let Err(failure) = done else {
            self.suspect = None;
            if count > 0 {
                tracing::warn!(calls = count, "made again what was not on disk yet");
            }
            return Ok(());
        };
        if let Stage::Run(Some(at)) = failure.stage
            && matches!(failure.fault, Fault::Io(Trouble::Failed, ..))
        {
            if self.suspect == Some(at) {
                tracing::error!("a call that was answered cannot be made again");
                jobs::set_aside(&mut flat, at, failure.fault.clone());
                self.suspect = None;
            } else {
                self.suspect = Some(at);
            }
        }
        let mut flat = flat.into_iter();
        for (number, length) in numbers.into_iter().zip(lengths) {
            let jobs = flat.by_ref().take(length).collect();
            self.journal.keep(number, jobs);
        }
        Err(failure.fault)
    }

    /// Makes a transaction; what meets something unreadable is set aside, until the
    /// rest goes through.
    fn insist(
        &mut self,
        database: &Database,
        jobs: &mut [Job],
        how: How,
    ) -> Result<Option<Vec<Hint>>, Failure> {
        let mut left: usize = jobs.iter().map(Job::obstacles).sum();
        loop {
            match self.transact(database, jobs, how) {
                Err(Failure {
                    fault: fault @ Fault::Corrupt(..),
                    stage: Stage::Run(Some(at)),
                }) if left > 0 => {
                    left -= 1;
                    jobs::set_aside(jobs, at, fault);
                }
                Err(failure) => {
                    let fault = failure.fault.of_the_medium();
                    if matches!(fault, Fault::Io(Trouble::Full, ..)) {
                        self.tell_room(true);
                    }
                    let stage = failure.stage;
                    return Err(Failure { fault, stage });
                }
                Ok(committed) => return Ok(committed),
            }
        }
    }

    /// Runs jobs in one transaction and commits it; `None` if nothing changed. A panic
    /// in the engine counts as a failing medium: the database is opened anew.
    fn transact(
        &mut self,
        database: &Database,
        jobs: &mut [Job],
        how: How,
    ) -> Result<Option<Vec<Hint>>, Failure> {
        let stage = Cell::new(Stage::Run(None));
        let number = self.commits + 1;
        let counted = (!self.strict).then_some(number);
        let committed = caught(|| commit(database, jobs, how, counted, &stage));
        let committed = committed.map_err(|fault| {
            let stage = stage.get();
            Failure { fault, stage }
        })?;
        if committed.is_some() {
            self.commits = number;
        }
        if how.durable && (committed.is_some() || how.always) {
            self.journal.clear();
        }
        if how.durable && committed.is_some() {
            self.careful = false;
        }
        Ok(committed)
    }

    /// Looks, now and then, whether there is room for more events.
    fn look_for_room(&mut self, weight: usize) {
        self.room.since = self.room.since.saturating_add(weight);
        let late = |at: Instant| at.elapsed() >= LOOK_AFTER;
        if self.room.looked.is_none_or(late) || self.room.since >= LOOK_BYTES {
            let free = self.media.free_bytes();
            self.tell_room(free.is_some_and(|free| free < RESERVE_BYTES));
        }
    }

    fn tell_room(&mut self, full: bool) {
        let had = core::mem::replace(
            &mut self.room,
            Room {
                looked: Some(Instant::now()),
                since: 0,
                full,
            },
        );
        match (had.full, full) {
            (false, true) => tracing::error!("the disk is full: no event is accepted"),
            (true, false) => tracing::info!("there is room on the disk again"),
            _ => {}
        }
    }
}

/// Does something; a panic counts as a failing medium.
fn caught<T>(run: impl FnOnce() -> Result<T, Fault>) -> Result<T, Fault> {
    let done = catch_unwind(AssertUnwindSafe(run));
    done.unwrap_or_else(|_| Err(Fault::failed("the engine panicked".to_owned())))
}

fn commit(
    database: &Database,
    jobs: &mut [Job],
    how: How,
    number: Option<u64>,
    stage: &Cell<Stage>,
) -> Result<Option<Vec<Hint>>, Fault> {
    let begun = database.begin_write().map_err(Fault::from);
    let mut transaction = begun.map_err(Fault::of_the_medium)?;
    if how.durable {
        transaction.set_durability(Durability::Immediate)?;
        transaction.set_quick_repair(true);
    } else {
        transaction.set_durability(Durability::None)?;
    }
    let mut run = || {
        let mut on = Batch::new(Tables::open(&transaction)?, how.full);
        jobs::run_all(jobs, &mut on, stage)?;
        on.finish(number)
    };
    match run() {
        Ok(None) if !how.always => {
            transaction.abort()?;
            Ok(None)
        }
        Ok(changed) => {
            stage.set(Stage::Commit);
            let committed = transaction.commit().map_err(Fault::from);
            committed.map_err(Fault::of_the_medium)?;
            Ok(changed)
        }
        Err(fault) => {
            // If this fails, so does the next transaction.
            let _ = transaction.abort();
            Err(fault)
        }
    }
}
