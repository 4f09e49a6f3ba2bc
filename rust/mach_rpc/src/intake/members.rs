/// A set of positions in an operator set, one bit each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct MemberSet(Box<[u64]>);

impl MemberSet {
    pub(super) fn new(members: usize) -> Self {
        Self(vec![0; members.div_ceil(64)].into_boxed_slice())
    }

    pub(super) fn contains(&self, member: u32) -> bool {
        self.0[member as usize / 64] >> (member % 64) & 1 == 1
    }

    /// Whether it was not in the set before.
    pub(super) fn insert(&mut self, member: u32) -> bool {
        let word = &mut self.0[member as usize / 64];
        let bit = 1 << (member % 64);
        let new = *word & bit == 0;
        *word |= bit;
        new
    }

    pub(super) fn clear(&mut self) {
        self.0.fill(0);
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        (0_u32..).zip(&self.0).flat_map(|(at, word)| {
            (0..64)
                .filter(move |bit| word >> bit & 1 == 1)
                .map(move |bit| at * 64 + bit)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn behaves_as_a_set(members in proptest::collection::vec(0_u32..200, 0..60)) {
            let mut bits = MemberSet::new(200);
            let mut set = BTreeSet::new();
            for member in members {
                prop_assert_eq!(bits.insert(member), set.insert(member));
            }
            prop_assert_eq!(bits.iter().collect::<Vec<_>>(), set.iter().copied().collect::<Vec<_>>());
            prop_assert!((0..200).all(|member| bits.contains(member) == set.contains(&member)));
            bits.clear();
            prop_assert_eq!(bits.iter().count(), 0);
        }
    }
}
