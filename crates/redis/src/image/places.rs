//! Where an export goes on: a stage, and a place in it.

use bytes::Bytes;
use sidehook_store::{StoreError, image::Cursor};

use crate::layout::{Reader, corrupt};

/// What a page is about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Stage {
    /// Tenants, each with its subscriptions and its log.
    #[default]
    Tenants,
    /// What is lent.
    Lent,
    /// What is queued.
    Queued,
    /// What waits.
    Waiting,
    /// Idempotency keys.
    Keys,
    /// There is no more.
    Over,
}

const STAGES: [Stage; 6] = [
    Stage::Tenants,
    Stage::Lent,
    Stage::Queued,
    Stage::Waiting,
    Stage::Keys,
    Stage::Over,
];

/// A place: packed as stage 1, offset 8, day 8 (all bits set: none), length of a name
/// 1, the last name that was done with, and the names to go on with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) stage: Stage,
    /// How much is behind us: of the first name's list, or of the stage's.
    pub(super) offset: u64,
    /// The day whose keys are read.
    pub(super) day: Option<u64>,
    /// The last tenant or queue that is behind us.
    pub(super) after: Bytes,
    /// Tenants or queues that are next.
    pub(super) names: Vec<Bytes>,
}

impl Place {
    /// The beginning of a stage.
    pub(super) fn of(stage: Stage) -> Self {
        Self {
            stage,
            ..Self::default()
        }
    }

    /// Goes on to the next name.
    pub(super) fn advance(&mut self) {
        self.offset = 0;
        if !self.names.is_empty() {
            self.after = self.names.remove(0);
        }
    }

    pub(super) fn cursor(&self) -> Cursor {
        let stage = STAGES.iter().position(|one| *one == self.stage);
        let mut packed = vec![stage.unwrap_or(0) as u8];
        packed.extend_from_slice(&self.offset.to_be_bytes());
        packed.extend_from_slice(&self.day.unwrap_or(u64::MAX).to_be_bytes());
        let size = self
            .after
            .len()
            .max(self.names.first().map_or(0, Bytes::len));
        packed.push(size as u8);
        packed.push(u8::from(!self.after.is_empty()));
        packed.extend_from_slice(&self.after);
        for name in &self.names {
            packed.extend_from_slice(name);
        }
        Cursor(packed.into())
    }

    pub(super) fn parse(cursor: &Cursor) -> Result<Self, StoreError> {
        let what = "an export's cursor";
        let mut reader = Reader::new(what, cursor.0.clone());
        let stage = STAGES.get(usize::from(reader.u8()?));
        let mut place = Self::of(*stage.ok_or_else(|| corrupt(what))?);
        place.offset = reader.u64()?;
        place.day = Some(reader.u64()?).filter(|day| *day != u64::MAX);
        let size = usize::from(reader.u8()?);
        if reader.u8()? == 1 {
            place.after = reader.take(size)?;
        }
        while size > 0 && !reader.is_empty() {
            place.names.push(reader.take(size)?);
        }
        Ok(place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_survive_their_cursors() {
        let name = |byte: u8| Bytes::from(vec![byte; 20]);
        let place = Place {
            stage: Stage::Queued,
            offset: 7,
            day: Some(20_000),
            after: name(1),
            names: vec![name(2), name(3)],
        };
        for place in [place, Place::default(), Place::of(Stage::Keys)] {
            assert_eq!(Place::parse(&place.cursor()), Ok(place));
        }
        for cut in 0..10 {
            let cursor = Cursor(Place::default().cursor().0.slice(..cut));
            assert!(Place::parse(&cursor).is_err());
        }
    }
}
