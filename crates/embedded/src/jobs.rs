//! Jobs: work, and what was found out about it while it was run. Usually all parts
//! of all waiting work go into one transaction. A part that meets something
//! unreadable is set aside, with the row of an index on whose behalf it met it if
//! there is one, and all the others are run again: one more transaction for each bad
//! row, whatever the number of parts.

use std::cell::Cell;

use sidehook_store::StoreError;

use crate::{
    batch::Batch,
    error::{Culprit, Fault, hex},
    work::Work,
};

/// Rows that are taken out of a part's way in one run; the next run goes on.
const MOVES: usize = 8;

/// Which job, and which part of it.
pub(crate) type At = (usize, usize);

/// How far a transaction is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Before the commit: nothing of it was made. In which part, if it was in one.
    Run(Option<At>),
    /// In the commit: whether it was made is not known.
    Commit,
}

/// Work, and what is in its way.
pub(crate) struct Job {
    work: Box<dyn Work>,
    /// Parts that are not run: they met something unreadable.
    unreadable: Vec<usize>,
    /// Rows that are taken out of an index before a part is run.
    moved: Vec<(usize, Culprit)>,
}

impl Job {
    pub(crate) const fn new(work: Box<dyn Work>) -> Self {
        Self {
            work,
            unreadable: Vec::new(),
            moved: Vec::new(),
        }
    }

    /// How many parts there are.
    pub(crate) fn parts(&self) -> usize {
        self.work.parts()
    }

    /// Bytes that keeping it takes, about.
    pub(crate) fn weight(&self) -> usize {
        self.work.weight() + size_of::<Self>()
    }

    /// How often something of it can be set aside: for each part its rows, then the
    /// part, then its rows once more if they are what cannot be read.
    pub(crate) fn obstacles(&self) -> usize {
        self.parts().saturating_mul(MOVES + 2)
    }

    fn run(&mut self, number: usize, on: &mut Batch<'_>, stage: &Cell<Stage>) -> Result<(), Fault> {
        for part in 0..self.work.parts() {
            stage.set(Stage::Run(Some((number, part))));
            let moved = self.moved.iter().filter(|(of, _)| *of == part);
            for (_, culprit) in moved {
                on.take_out(culprit)?;
            }
            if !self.unreadable.contains(&part) {
                self.work.run(part, on)?;
            }
        }
        Ok(())
    }

    /// Takes what a part failed of out of its way, or else the part itself.
    fn set_aside(&mut self, part: usize, fault: Fault) {
        // A medium that fails may be well again: what lies there is no culprit.
        let damage = matches!(fault, Fault::Corrupt(..));
        let (detail, culprit) = fault.told();
        let culprit = culprit.filter(|_| damage);
        if self.unreadable.contains(&part) {
            // It is not run any more: it is its rows that cannot be taken out.
            tracing::error!(%detail, "the store holds something unreadable: it stays in the way");
            self.moved.retain(|(of, _)| *of != part);
            return;
        }
        let moved = || {
            let all = self.moved.iter().filter(|(of, _)| *of == part);
            all.map(|(_, one)| one)
        };
        let new = |culprit: &Culprit| !moved().any(|one| one == culprit);
        let count = moved().count();
        match culprit.filter(new) {
            Some(culprit) if count < MOVES => {
                let Culprit { index, key } = &culprit;
                let key = hex(key);
                tracing::error!(%detail, ?index, %key,
                    "the store holds something unreadable: its row goes to the damaged ones");
                // First: taking out another one may have met it.
                self.moved.insert(0, (part, culprit));
            }
            _ => {
                tracing::error!(%detail, "the store holds something unreadable");
                self.work.unreadable(part, detail);
                self.unreadable.push(part);
            }
        }
    }

    /// Answers; run again afterwards, it answers nobody.
    pub(crate) fn answer(&mut self) {
        self.work.answer();
    }

    /// Answers that what became of it is not known.
    pub(crate) fn fail(&mut self, error: StoreError) {
        self.work.fail(error);
    }
}

/// Runs every part of every job; `stage` tells how far it came.
pub(crate) fn run_all(
    jobs: &mut [Job],
    on: &mut Batch<'_>,
    stage: &Cell<Stage>,
) -> Result<(), Fault> {
    for (number, job) in jobs.iter_mut().enumerate() {
        job.run(number, on, stage)?;
    }
    stage.set(Stage::Run(None));
    Ok(())
}

/// Sets aside what failed there.
pub(crate) fn set_aside(jobs: &mut [Job], (job, part): At, fault: Fault) {
    if let Some(job) = jobs.get_mut(job) {
        job.set_aside(part, fault);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{error::Trouble, tables::Index};

    /// One part, which is told what it met.
    struct Told(u32);

    impl Work for Told {
        fn parts(&self) -> usize {
            1
        }

        fn run(&mut self, _part: usize, _on: &mut Batch<'_>) -> Result<(), Fault> {
            Ok(())
        }

        fn unreadable(&mut self, _part: usize, _detail: String) {
            self.0 += 1;
        }

        fn answer(&mut self) {}

        fn fail(&mut self, _error: StoreError) {}

        fn weight(&self) -> usize {
            0
        }
    }

    fn job() -> Job {
        Job::new(Box::new(Told(0)))
    }

    #[test]
    fn what_a_failing_medium_holds_stays_where_it_is() {
        let mut failed = job();
        let fault = Fault::Io(Trouble::Failed, "it fails".to_owned(), None);
        failed.set_aside(0, fault.blame(Index::Due, b"row"));
        assert_eq!((failed.moved.len(), &failed.unreadable[..]), (0, &[0][..]));

        let mut damaged = job();
        let fault = Fault::corrupt("it is cut".to_owned());
        damaged.set_aside(0, fault.blame(Index::Due, b"row"));
        assert_eq!((damaged.moved.len(), damaged.unreadable.len()), (1, 0));
    }

    #[test]
    fn setting_aside_comes_to_an_end() {
        let mut job = job();
        for row in 0..job.obstacles() {
            let fault = Fault::corrupt("it is cut".to_owned());
            job.set_aside(0, fault.blame(Index::Due, &row.to_be_bytes()));
        }
        assert_eq!((job.moved.len(), &job.unreadable[..]), (0, &[0][..]));
    }
}
