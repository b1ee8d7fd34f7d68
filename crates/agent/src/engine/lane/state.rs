//! The arithmetic of a lane: who takes up which job, and how many workers there are for it.
//!
//! A worker is *idle* from the moment it is told to wait until somebody claims it, and *busy* otherwise, also while a
//! claimed one or a hired one is still on its way. What holds always:
//! * No job is begun while more workers than the window are busy.
//! * While a job waits, somebody is busy, and whoever is busy looks at the queue before it goes idle: so no job is
//!   stranded. Everything that could break this, a push, another window and the end of a worker, ends in
//!   [`State::rouse`].
//! * Claims that are given out and not yet taken are as many as the workers that wait without being idle.

use std::collections::VecDeque;

/// Jobs and workers of one lane.
#[derive(Debug)]
pub(super) struct State<J> {
    queue: VecDeque<J>,
    workers: usize,
    idle: usize,
    window: usize,
}

/// Whom a change calls to work.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub(super) struct Call {
    /// Waiting workers that are claimed, and must be woken.
    pub(super) claimed: usize,
    /// Workers that are counted already, and must be started.
    pub(super) hired: usize,
}

/// What a worker does next.
#[derive(Debug)]
pub(super) enum Next<J> {
    Job(J),
    /// There is nothing to do: wait to be claimed.
    Wait,
    /// More are busy than the window allows.
    Leave,
}

impl<J> Default for State<J> {
    fn default() -> Self {
        Self {
            queue: VecDeque::new(),
            workers: 0,
            idle: 0,
            window: 1,
        }
    }
}

impl<J> State<J> {
    pub(super) fn set_window(&mut self, window: usize) -> Call {
        self.window = window.max(1);
        self.rouse()
    }

    pub(super) fn push(&mut self, jobs: impl Iterator<Item = J>) -> Call {
        self.queue.extend(jobs);
        self.rouse()
    }

    /// Empties the queue.
    pub(super) fn clear(&mut self) -> VecDeque<J> {
        std::mem::take(&mut self.queue)
    }

    /// What a busy worker does next; one that `waits` is idle if there is nothing.
    pub(super) fn next(&mut self, waits: bool) -> Next<J> {
        if self.busy() > self.window {
            return Next::Leave;
        }
        match self.queue.pop_front() {
            Some(job) => Next::Job(job),
            None => {
                self.idle += usize::from(waits);
                Next::Wait
            }
        }
    }

    /// A worker waited for long enough. Answers whether it is busy now and may leave; if not, every idle one is
    /// claimed, this one too, and its call is on its way.
    pub(super) fn give_up_waiting(&mut self) -> bool {
        let is_idle = self.idle > 0;
        self.idle -= usize::from(is_idle);
        is_idle
    }

    /// A busy worker is gone.
    pub(super) fn leave(&mut self) -> Call {
        self.workers -= 1;
        self.rouse()
    }

    /// Claims and hires for the jobs that wait, within the window.
    fn rouse(&mut self) -> Call {
        let room = self.window.saturating_sub(self.busy());
        let wanted = self.queue.len().min(room);
        let claimed = wanted.min(self.idle);
        let hired = wanted - claimed;
        self.idle -= claimed;
        self.workers += hired;
        Call { claimed, hired }
    }

    fn busy(&self) -> usize {
        self.workers - self.idle
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Where a worker stands; it moves one step at a time.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    enum Worker {
        Started,
        Looking,
        Waiting,
        Working,
    }

    #[derive(Debug, Clone)]
    enum Step {
        Push(usize),
        Window(usize),
        /// A worker goes on: looks, is woken if a call is there, or ends its job.
        Go(usize),
        TimeOut(usize),
        Panic(usize),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            3 => (1_usize..5).prop_map(Step::Push),
            1 => (0_usize..6).prop_map(Step::Window),
            9 => any::<usize>().prop_map(Step::Go),
            3 => any::<usize>().prop_map(Step::TimeOut),
            1 => any::<usize>().prop_map(Step::Panic),
        ]
    }

    /// A lane whose workers are moved by hand.
    #[derive(Default)]
    struct World {
        state: State<u32>,
        workers: Vec<Worker>,
        /// Calls that no waiting worker has answered yet.
        calls: usize,
        pushed: u32,
        begun: Vec<u32>,
    }

    impl World {
        fn run(&mut self, step: &Step) {
            match *step {
                Step::Push(count) => {
                    let first = self.pushed;
                    self.pushed += u32::try_from(count).expect("few");
                    let call = self.state.push(first..self.pushed);
                    self.answer(call);
                }
                Step::Window(window) => {
                    let call = self.state.set_window(window);
                    self.answer(call);
                }
                Step::Go(which) => self.with(which, Self::go),
                Step::TimeOut(which) => self.with(which, |world, which| {
                    if world.workers[which] == Worker::Waiting && world.state.give_up_waiting() {
                        world.leave(which);
                    }
                }),
                Step::Panic(which) => self.with(which, |world, which| {
                    if world.workers[which] == Worker::Working {
                        world.leave(which);
                    }
                }),
            }
            self.check();
        }

        fn with(&mut self, which: usize, act: impl Fn(&mut Self, usize)) {
            if let Some(which) = which.checked_rem(self.workers.len()) {
                act(self, which);
            }
        }

        fn go(&mut self, which: usize) {
            let waits = match self.workers[which] {
                Worker::Waiting if self.calls == 0 => return,
                Worker::Waiting => {
                    self.calls -= 1;
                    true
                }
                Worker::Looking => true,
                Worker::Started | Worker::Working => false,
            };
            match self.state.next(waits) {
                Next::Job(job) => {
                    self.begun.push(job);
                    self.workers[which] = Worker::Working;
                    let working = self.workers.iter();
                    let working = working.filter(|it| **it == Worker::Working).count();
                    assert!(self.state.busy() <= self.state.window && working <= self.state.window);
                }
                Next::Wait if waits => self.workers[which] = Worker::Waiting,
                Next::Wait => self.workers[which] = Worker::Looking,
                Next::Leave => self.leave(which),
            }
        }

        fn leave(&mut self, which: usize) {
            self.workers.swap_remove(which);
            let call = self.state.leave();
            self.answer(call);
        }

        fn answer(&mut self, call: Call) {
            self.calls += call.claimed;
            let hired = std::iter::repeat_n(Worker::Started, call.hired);
            self.workers.extend(hired);
        }

        fn check(&self) {
            let waiting = self.workers.iter().filter(|it| **it == Worker::Waiting);
            assert_eq!(waiting.count(), self.state.idle + self.calls);
            assert_eq!(self.workers.len(), self.state.workers);
            let is_stranded = !self.state.queue.is_empty() && self.state.busy() == 0;
            assert!(!is_stranded, "jobs wait and nobody will take them");
        }

        /// Lets everybody go on who can without a job ending.
        fn settle(&mut self) {
            let can_go = |world: &Self| {
                world.workers.iter().position(|worker| match worker {
                    Worker::Started | Worker::Looking => true,
                    Worker::Waiting => world.calls > 0,
                    Worker::Working => false,
                })
            };
            while let Some(which) = can_go(self) {
                self.run(&Step::Go(which));
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]
        #[test]
        fn no_job_is_stranded_and_the_window_is_used(steps in prop::collection::vec(step(), 1..80)) {
            let mut world = World::default();
            for step in steps {
                world.run(&step);
            }
            world.settle();
            let working = world.workers.iter().filter(|it| **it == Worker::Working).count();
            prop_assert!(world.state.queue.is_empty() || working >= world.state.window);
            while let Some(which) = world.workers.iter().position(|it| *it == Worker::Working) {
                world.run(&Step::Go(which));
                world.settle();
            }
            prop_assert_eq!(world.begun, (0..world.pushed).collect::<Vec<_>>());
        }
    }
}
