use std::collections::VecDeque;
use std::ops::Range;

use super::IntakeError;

/// Task indices that were reserved for this process alone, and have not been given to a task yet.
#[derive(Default)]
pub(super) struct Indices {
    /// Not yet given out, ascending within each range; 64 bits so that a range may end at 2³².
    ranges: VecDeque<Range<u64>>,
    /// Everything below was reserved by some process at some time.
    high_water: u64,
    /// Below so many left, more are asked for.
    low_mark: u64,
    /// The end of what was ever reserved here, so that nothing is reserved twice.
    reserved_below: u64,
}

impl Indices {
    /// Adds `count` indices from `first` on; `count` 0 only moves the high-water mark.
    pub(super) fn reserve(
        &mut self,
        first: u32,
        count: u32,
        high_water: u64,
    ) -> Result<(), IntakeError> {
        let (first, end) = (u64::from(first), u64::from(first) + u64::from(count));
        let refuse = |reason| IntakeError::Range {
            first,
            last: end.saturating_sub(1),
            reason,
        };
        if high_water > 1 << 32 {
            return Err(refuse(
                "the high-water mark is above 2^32, and a task index has 32 bits",
            ));
        }
        if count > 0 {
            if end > high_water {
                return Err(refuse("they end above the high-water mark"));
            }
            if first < self.reserved_below {
                return Err(refuse(
                    "they overlap, or stand before, a range that was reserved earlier",
                ));
            }
            self.ranges.push_back(first..end);
            self.reserved_below = end;
            self.low_mark = self.left() / 2;
        }
        self.high_water = self.high_water.max(high_water);
        Ok(())
    }

    /// An index that no task ever had.
    pub(super) fn take(&mut self) -> Option<u32> {
        loop {
            let range = self.ranges.front_mut()?;
            match range.next() {
                // A range ends at 2³² at most, so that its members fit.
                Some(index) => return u32::try_from(index).ok(),
                None => self.ranges.pop_front(),
            };
        }
    }

    pub(super) fn left(&self) -> u64 {
        self.ranges
            .iter()
            .map(|range| range.end - range.start)
            .sum()
    }

    pub(super) fn run_low(&self) -> bool {
        self.left() <= self.low_mark
    }

    /// Whether a task may have had this index: it was reserved, and not for a task that is yet to come.
    pub(super) fn may_have_been_used(&self, index: u32) -> bool {
        let index = u64::from(index);
        index < self.high_water && !self.ranges.iter().any(|range| range.contains(&index))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gives_each_index_once_and_asks_early() {
        let mut indices = Indices::default();
        assert!(indices.run_low() && indices.take().is_none());
        indices.reserve(10, 4, 14).unwrap();
        assert!(!indices.run_low());
        assert_eq!((indices.take(), indices.take()), (Some(10), Some(11)));
        assert!(indices.run_low());
        indices.reserve(u32::MAX, 1, 1 << 32).unwrap();
        let rest: Vec<_> = std::iter::from_fn(|| indices.take()).collect();
        assert_eq!(rest, [12, 13, u32::MAX]);
    }

    #[test]
    fn refuses_what_was_reserved_before_or_is_no_index() {
        let mut indices = Indices::default();
        indices.reserve(10, 10, 20).unwrap();
        assert!(indices.reserve(19, 5, 30).is_err());
        assert!(indices.reserve(0, 5, 30).is_err());
        assert!(indices.reserve(20, 5, 24).is_err());
        assert!(indices.reserve(20, 5, (1 << 32) + 1).is_err());
        assert_eq!(indices.left(), 10);
        indices.reserve(0, 0, 40).unwrap();
        assert!(indices.may_have_been_used(39) && !indices.may_have_been_used(40));
    }

    #[test]
    fn an_index_that_is_yet_to_be_given_out_was_never_used() {
        let mut indices = Indices::default();
        indices.reserve(5, 3, 8).unwrap();
        assert!(indices.may_have_been_used(4) && !indices.may_have_been_used(5));
        indices.take();
        assert!(indices.may_have_been_used(5) && !indices.may_have_been_used(6));
    }
}
