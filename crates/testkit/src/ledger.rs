//! The books of a run: what was acknowledged against what arrived.
//!
//! Delivery is at least once, so the one thing that may never happen is a loss: a
//! pair of an acknowledged event and a receiver that matched it, without a
//! request. Repeats are counted, for they have a price. An arrival that nobody
//! acknowledged is no fault by itself (the answer to the publisher may have been
//! lost on its way), so it is listed apart.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use crate::receiver::{Received, event_id};

/// An event's id and a receiver's name.
pub type Pair = (String, String);

/// The books; see the module. What is asked between two entries ([`is_complete`])
/// costs the same however many entries there are.
///
/// [`is_complete`]: Ledger::is_complete
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    published: u64,
    acknowledged: BTreeSet<String>,
    pairs: BTreeMap<Pair, Entry>,
    missing: usize,
}

/// What is known of a pair.
#[derive(Clone, Copy, Debug, Default)]
struct Entry {
    expected: bool,
    arrivals: u64,
}

impl Entry {
    const fn missing(self) -> bool {
        self.expected && self.arrivals == 0
    }
}

impl Ledger {
    /// Empty books.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// So many events were handed to the publisher's call, whatever became of them.
    pub const fn published(&mut self, events: u64) {
        self.published += events;
    }

    /// This event was acknowledged and has to reach each of `receivers` (names of
    /// the caller's choice). Saying it again changes nothing.
    pub fn acknowledged<'a>(&mut self, event: &str, receivers: impl IntoIterator<Item = &'a str>) {
        self.acknowledged.insert(event.to_owned());
        for receiver in receivers {
            self.note(event, receiver, |entry| entry.expected = true);
        }
    }

    /// This event arrived once at `receiver`.
    pub fn arrived(&mut self, event: &str, receiver: &str) {
        self.note(event, receiver, |entry| entry.arrivals += 1);
    }

    fn note(&mut self, event: &str, receiver: &str, change: impl FnOnce(&mut Entry)) {
        let pair = (event.to_owned(), receiver.to_owned());
        let entry = self.pairs.entry(pair).or_default();
        self.missing -= usize::from(entry.missing());
        change(entry);
        self.missing += usize::from(entry.missing());
    }

    /// Books everything that `receiver` answered with a 2xx: other requests were
    /// attempts and not deliveries. To be called once per request: one that is
    /// booked again counts as repeated.
    ///
    /// # Panics
    ///
    /// If a body has no event's id.
    pub fn received(&mut self, receiver: &str, requests: &[Received]) {
        for request in requests {
            if (200..300).contains(&request.answered) {
                let id = event_id(request).expect("a body names its event");
                self.arrived(&id, receiver);
            }
        }
    }

    /// How many events were acknowledged.
    #[must_use]
    pub fn acknowledged_count(&self) -> usize {
        self.acknowledged.len()
    }

    /// Whether everything that had to arrive has.
    #[must_use]
    pub const fn is_complete(&self) -> bool {
        self.missing == 0
    }

    /// Pairs that had to arrive and did not.
    #[must_use]
    pub fn lost(&self) -> Vec<Pair> {
        self.pairs_that(|entry| entry.missing())
    }

    /// Pairs that arrived and were not expected: events that were never
    /// acknowledged, or receivers that they had no business with.
    #[must_use]
    pub fn unexpected(&self) -> Vec<Pair> {
        self.pairs_that(|entry| !entry.expected)
    }

    fn pairs_that(&self, holds: impl Fn(&Entry) -> bool) -> Vec<Pair> {
        let found = self.pairs.iter().filter(|(_, entry)| holds(entry));
        found.map(|(pair, _)| pair.clone()).collect()
    }

    /// Arrivals beyond the first of each pair.
    #[must_use]
    pub fn repeated(&self) -> u64 {
        let arrivals = self.pairs.values().map(|entry| entry.arrivals);
        arrivals.map(|times| times.saturating_sub(1)).sum()
    }

    /// Expected pairs that arrived, each counted once.
    #[must_use]
    pub fn delivered(&self) -> usize {
        let expected = self.pairs.values().filter(|entry| entry.expected);
        expected.count() - self.missing
    }

    /// Fails the test, with the table and the first pairs, if anything was lost.
    ///
    /// # Panics
    ///
    /// If a pair was lost, or if nothing was expected: an empty run proves nothing.
    #[track_caller]
    pub fn assert_nothing_lost(&self) {
        let expected = self.pairs.values().any(|entry| entry.expected);
        assert!(expected, "nothing was expected:\n{self}");
        let lost = self.lost();
        let first = &lost[..lost.len().min(10)];
        assert!(lost.is_empty(), "lost, among others {first:?}:\n{self}");
    }
}

/// A table of one row: events published and acknowledged, then pairs of event and receiver.
impl fmt::Display for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let columns = [
            ("published", self.published),
            ("acknowledged", self.acknowledged_count() as u64),
            ("delivered", self.delivered() as u64),
            ("repeated", self.repeated()),
            ("lost", self.missing as u64),
        ];
        let heads = columns.map(|(head, _)| head);
        let cells = columns.map(|(head, count)| format!("{count:>width$}", width = head.len()));
        write!(f, "{}\n{}", heads.join(" | "), cells.join(" | "))
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn pair(event: &str, receiver: &str) -> Pair {
        (event.to_owned(), receiver.to_owned())
    }

    /// Three published, two acknowledged for two receivers; one pair lost, one twice.
    fn books() -> Ledger {
        let mut ledger = Ledger::new();
        ledger.published(3);
        ledger.acknowledged("ev_1", ["a", "b"]);
        ledger.acknowledged("ev_2", ["a", "b"]);
        for (event, receiver) in [("ev_1", "a"), ("ev_1", "a"), ("ev_1", "b"), ("ev_2", "a")] {
            ledger.arrived(event, receiver);
        }
        ledger
    }

    #[test]
    fn tells_losses_and_repeats_apart() {
        let ledger = books();
        assert_eq!(ledger.lost(), [pair("ev_2", "b")]);
        assert_eq!((ledger.repeated(), ledger.delivered()), (1, 3));
        assert_eq!(ledger.acknowledged_count(), 2);
        assert!(ledger.unexpected().is_empty());
        assert!(!ledger.is_complete());
    }

    #[test]
    fn an_arrival_at_the_wrong_receiver_makes_up_for_no_loss() {
        let mut ledger = books();
        ledger.arrived("ev_2", "c");
        ledger.arrived("ev_3", "a");
        assert_eq!(ledger.lost(), [pair("ev_2", "b")]);
        assert_eq!(ledger.unexpected(), [pair("ev_2", "c"), pair("ev_3", "a")]);
    }

    #[test]
    fn only_what_was_answered_well_is_delivered() {
        let mut ledger = Ledger::new();
        ledger.acknowledged("ev_1", ["a"]);
        let request = |answered| Received {
            path: "/hook".to_owned(),
            headers: Vec::new(),
            body: Bytes::from_static(br#"{"event": {"id": "ev_1"}}"#),
            answered,
        };
        ledger.received("a", &[request(500), request(0)]);
        assert_eq!(ledger.lost(), [pair("ev_1", "a")]);
        ledger.received("a", &[request(204)]);
        assert!(ledger.is_complete());
        ledger.assert_nothing_lost();
        assert_eq!(ledger.repeated(), 0);
    }

    #[test]
    #[should_panic(expected = "lost, among others")]
    fn a_loss_fails_the_test() {
        books().assert_nothing_lost();
    }

    #[test]
    #[should_panic(expected = "nothing was expected")]
    fn an_empty_run_proves_nothing() {
        Ledger::new().assert_nothing_lost();
    }

    #[test]
    fn shows_a_table() {
        let table = "published | acknowledged | delivered | repeated | lost\n        \
                     3 |            2 |         3 |        1 |    1";
        assert_eq!(books().to_string(), table);
    }
}
