use std::collections::HashMap;
use std::sync::Arc;

use mach_bls::{G1Affine, PublicKeyG2, Signature, SignerSet, SumToVerify};

use super::IntakeError;
use super::members::MemberSet;
use super::stats::OperatorCounters;

const STAKE_BITS: u32 = 96;

/// An operator's id: keccak256 of its G1 key.
pub(super) type OperatorId = [u8; 32];

/// The members of the quorums at some blocks, as they are told to the engine.
#[derive(Debug, Clone)]
pub struct OperatorSetDefinition {
    /// The owner's name of the set.
    pub set_id: u64,
    /// keccak256 of each member's G1 key.
    pub operator_ids: Vec<[u8; 32]>,
    /// Each member's G2 key: `x.c1 ‖ x.c0 ‖ y.c1 ‖ y.c0`.
    pub public_keys_g2: Vec<[u8; 128]>,
    /// For each quorum, each member's stake in wei; 0 where it is not in the quorum.
    pub stakes: Vec<Vec<u128>>,
    /// Each quorum's whole stake in wei, as the chain has it.
    pub total_stakes: Vec<u128>,
}

/// A checked [`OperatorSetDefinition`].
pub(super) struct OperatorSet {
    pub(super) set_id: u64,
    operator_ids: Vec<OperatorId>,
    positions: HashMap<OperatorId, u32>,
    /// Each member's key, as often as the contracts add it: once for each quorum it is in.
    keys: SignerSet,
    /// Where each member's keys start in `keys`, and where the last one's end.
    key_starts: Vec<usize>,
    stakes: Vec<Vec<u128>>,
    total_stakes: Vec<u128>,
    counters: Vec<Arc<OperatorCounters>>,
}

impl OperatorSet {
    /// Decodes every key; `counters` gives each operator's own.
    pub(super) fn new(
        definition: OperatorSetDefinition,
        quorums: usize,
        mut counters: impl FnMut(&OperatorId) -> Arc<OperatorCounters>,
    ) -> Result<Self, IntakeError> {
        let OperatorSetDefinition {
            set_id,
            operator_ids,
            public_keys_g2,
            stakes,
            total_stakes,
        } = definition;
        let wrong = |reason: String| IntakeError::OperatorSet { set_id, reason };
        let members = operator_ids.len();
        if public_keys_g2.len() != members {
            return Err(wrong(format!(
                "{members} operator ids, but {} G2 keys",
                public_keys_g2.len()
            )));
        }
        if stakes.len() != quorums || total_stakes.len() != quorums {
            return Err(wrong(format!(
                "stakes of {} and totals of {} quorums, where there are {quorums}",
                stakes.len(),
                total_stakes.len()
            )));
        }
        if let Some(quorum) = stakes.iter().find(|quorum| quorum.len() != members) {
            return Err(wrong(format!(
                "a quorum has {} stakes for {members} operators: give 0 for those outside it",
                quorum.len()
            )));
        }
        if stakes
            .iter()
            .flatten()
            .chain(&total_stakes)
            .any(|stake| stake.leading_zeros() < u128::BITS - STAKE_BITS)
        {
            return Err(wrong(format!(
                "a stake needs more than {STAKE_BITS} bits, which the contracts cannot hold"
            )));
        }
        let positions: HashMap<OperatorId, u32> =
            operator_ids.iter().copied().zip(0_u32..).collect();
        if positions.len() != members {
            return Err(wrong("an operator id stands twice".to_owned()));
        }
        let mut keys = Vec::with_capacity(members);
        let mut key_starts = vec![0];
        for (member, (key, operator_id)) in public_keys_g2.iter().zip(&operator_ids).enumerate() {
            let key = PublicKeyG2::from_bytes(key).map_err(|error| {
                wrong(format!("operator 0x{}: {error}", hex::encode(operator_id)))
            })?;
            let quorums = stakes.iter().filter(|quorum| quorum[member] > 0).count();
            keys.extend(std::iter::repeat_n(key, quorums.max(1)));
            key_starts.push(keys.len());
        }
        Ok(Self {
            set_id,
            counters: operator_ids.iter().map(&mut counters).collect(),
            operator_ids,
            positions,
            keys: SignerSet::new(keys),
            key_starts,
            stakes,
            total_stakes,
        })
    }

    pub(super) fn len(&self) -> usize {
        self.operator_ids.len()
    }

    pub(super) fn position(&self, operator_id: &OperatorId) -> Option<u32> {
        self.positions.get(operator_id).copied()
    }

    pub(super) fn operator_id(&self, member: u32) -> &OperatorId {
        &self.operator_ids[member as usize]
    }

    pub(super) fn counters(&self, member: u32) -> &OperatorCounters {
        &self.counters[member as usize]
    }

    /// The sums that a pairing compares, of signatures over the message that hashes to `message_point`: each added as
    /// often as the contracts add its signer's key, so that what adds up here adds up there.
    ///
    /// `signers` are members' positions, each once, with their signatures.
    pub(super) fn sums(
        &self,
        message_point: &G1Affine,
        signers: &[(u32, Signature)],
    ) -> Option<SumToVerify> {
        let (keys, signatures) = self.as_often_as_added(signers);
        Some(SumToVerify {
            signature_sum: mach_bls::sum_g1(
                signatures.iter().map(|signature| *signature.as_point()),
            ),
            // Only a member that stands twice has no aggregate.
            key_sum: self.keys.aggregate(&keys).ok()?,
            message_point: *message_point,
        })
    }

    /// Positions in `signers` of the bad signatures, by bisection; the others together add up.
    pub(super) fn find_invalid(
        &self,
        message_point: &G1Affine,
        signers: &[(u32, Signature)],
    ) -> Vec<usize> {
        let (keys, signatures) = self.as_often_as_added(signers);
        let Ok(invalid) = self.keys.find_invalid(&keys, message_point, &signatures) else {
            return (0..signers.len()).collect();
        };
        let is_invalid = |member: u32| {
            let range = self.keys_of(member);
            invalid
                .iter()
                .any(|position| range.contains(&keys[*position]))
        };
        (0..signers.len())
            .filter(|position| is_invalid(signers[*position].0))
            .collect()
    }

    fn as_often_as_added(&self, signers: &[(u32, Signature)]) -> (Vec<usize>, Vec<Signature>) {
        let repeated = signers.iter().flat_map(|(member, signature)| {
            self.keys_of(*member).map(move |key| (key, *signature))
        });
        repeated.unzip()
    }

    fn keys_of(&self, member: u32) -> std::ops::Range<usize> {
        let member = member as usize;
        self.key_starts[member]..self.key_starts[member + 1]
    }
}

/// The stake in wei that some members have in each quorum.
#[derive(Clone)]
pub(super) struct Tally(Box<[u128]>);

impl Tally {
    pub(super) fn new(quorums: usize) -> Self {
        Self(vec![0; quorums].into_boxed_slice())
    }

    /// Counts a member; whoever calls sees to it that no member is counted twice.
    pub(super) fn add(&mut self, set: &OperatorSet, member: u32) {
        for (sum, quorum) in self.0.iter_mut().zip(&set.stakes) {
            *sum += quorum[member as usize];
        }
    }

    /// The stake of `members`.
    pub(super) fn of(set: &OperatorSet, members: &MemberSet) -> Self {
        let mut tally = Self::new(set.stakes.len());
        for member in members.iter() {
            tally.add(set, member);
        }
        tally
    }

    /// Whether each quorum's percentage is reached, as `confirmAlert` decides it; a quorum without stake never is.
    pub(super) fn meets(&self, set: &OperatorSet, percentages: &[u8]) -> bool {
        self.0
            .iter()
            .zip(&set.total_stakes)
            .zip(percentages)
            // 96-bit stakes times 100 stay far below 128 bits.
            .all(|((signed, total), percentage)| {
                *total > 0 && signed * 100 >= total * u128::from(*percentage)
            })
    }
}
