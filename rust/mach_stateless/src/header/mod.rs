//! The rules that bind a header to its parent and to its own body, without executing anything.

mod base_fee;
mod before_merge;

use alloc::{
    format,
    string::{String, ToString},
    vec::Vec,
};
use alloy_consensus::{EMPTY_OMMER_ROOT_HASH, Header, proofs::calculate_withdrawals_root};
use alloy_eips::{eip4844::DATA_GAS_PER_BLOB, eip7685::EMPTY_REQUESTS_HASH};
use alloy_hardforks::EthereumHardforks;
use alloy_op_hardforks::OpHardforks;
use alloy_primitives::{B64, U256};
use alloy_trie::root::ordered_trie_root_encoded;

use crate::{
    block::ServedBlock,
    chain_spec::{ChainSpec, EthereumRules, OpStackRules, Stack},
    error::Error,
    trie::EMPTY_ROOT,
    verdict::{FieldMismatch, Show},
};

/// Yellow Paper (46): what a header may add of its own.
const MAX_EXTRA_DATA_BYTES: usize = 32;
/// Yellow Paper (47): the gas limit moves by less than this part of the parent's, and stays above this floor.
const GAS_LIMIT_BOUND_DIVISOR: u64 = 1024;
const MIN_GAS_LIMIT: u64 = 5000;
/// geth's ceiling: gas is counted in signed 64-bit integers in places.
const MAX_GAS_LIMIT: u64 = i64::MAX as u64;
/// EIP-7934: 10 MiB less a margin of 2 MiB for the beacon block around the payload.
const MAX_BLOCK_BYTES: usize = 8 * 1024 * 1024;
/// Far above what any chain could reach; keeps the arithmetic of EIP-4844 within 64 bits.
const MAX_PLAUSIBLE_BLOB_GAS: u64 = 1 << 40;

/// A header held against its rules.
#[derive(Clone, Debug)]
pub(crate) struct CheckedHeader {
    /// The header, with every field that the rules determine set to what they say.
    pub(crate) header: Header,
    /// What was found wrong.
    pub(crate) mismatches: Vec<FieldMismatch>,
    /// Whether the rules still say how to execute the block: false if a field is wrong that they only bound.
    pub(crate) executable: bool,
}

/// Checks the header of `block` against its parent and its own body.
///
/// Fields that only the execution tells (roots, bloom, gas) are left as they are.
pub(crate) fn check(
    spec: &ChainSpec,
    parent: &Header,
    block: &ServedBlock<'_>,
) -> Result<CheckedHeader, Error> {
    let mut rules = Rules {
        parent,
        block,
        checked: CheckedHeader {
            header: block.header.clone(),
            mismatches: Vec::new(),
            executable: true,
        },
    };
    rules.check_common();
    match spec.stack() {
        Stack::Ethereum(ethereum) => {
            if ethereum.is_merged() {
                rules.check_merged();
            } else {
                rules.check_before_merge(ethereum)?;
            }
            rules.check_ethereum(ethereum)?;
        }
        Stack::OpStack(op_stack) => {
            rules.check_merged();
            rules.check_op_stack(op_stack);
        }
    }
    let base_fee = base_fee::next_base_fee(spec, parent, &block.header)?;
    rules.determined(
        "base_fee_per_gas",
        |header| &mut header.base_fee_per_gas,
        base_fee,
    );
    Ok(rules.checked)
}

struct Rules<'a> {
    parent: &'a Header,
    block: &'a ServedBlock<'a>,
    checked: CheckedHeader,
}

impl Rules<'_> {
    /// A field that has exactly one right value: a wrong one is noted and corrected.
    fn determined<T: PartialEq + Show>(
        &mut self,
        field: &str,
        of: fn(&mut Header) -> &mut T,
        value: T,
    ) {
        let served = of(&mut self.checked.header);
        if *served != value {
            self.checked
                .mismatches
                .push(FieldMismatch::new(field, served, &value));
            *served = value;
        }
    }

    /// A field that the rules only bound: nobody can say what would be right.
    fn bounded(
        &mut self,
        field: &str,
        holds: bool,
        served: &impl Show,
        rule: impl FnOnce() -> String,
    ) {
        if !holds {
            self.checked
                .mismatches
                .push(FieldMismatch::new(field, served, &rule()));
            self.checked.executable = false;
        }
    }

    fn check_common(&mut self) {
        let (parent, served) = (self.parent, &self.block.header);
        self.determined(
            "number",
            |header| &mut header.number,
            parent.number.saturating_add(1),
        );
        self.bounded(
            "timestamp",
            served.timestamp > parent.timestamp,
            &served.timestamp,
            || format!("above the parent's {}", parent.timestamp),
        );
        self.bounded(
            "gas_limit",
            served.gas_limit <= MAX_GAS_LIMIT,
            &served.gas_limit,
            || format!("at most {MAX_GAS_LIMIT}"),
        );
        self.bounded(
            "extra_data",
            served.extra_data.len() <= MAX_EXTRA_DATA_BYTES,
            &served.extra_data,
            || format!("at most {MAX_EXTRA_DATA_BYTES} bytes"),
        );
        // Amsterdam's fields: no supported fork has them.
        self.determined(
            "block_access_list_hash",
            |header| &mut header.block_access_list_hash,
            None,
        );
        self.determined("slot_number", |header| &mut header.slot_number, None);
        let bytes: Vec<&[u8]> = self
            .block
            .transactions
            .iter()
            .map(|transaction| transaction.encoded)
            .collect();
        let root = ordered_trie_root_encoded(&bytes);
        self.determined(
            "transactions_root",
            |header| &mut header.transactions_root,
            root,
        );
    }

    /// EIP-3675: what sealed a block before the merge is constant after it.
    fn check_merged(&mut self) {
        self.determined(
            "ommers_hash",
            |header| &mut header.ommers_hash,
            EMPTY_OMMER_ROOT_HASH,
        );
        self.determined("difficulty", |header| &mut header.difficulty, U256::ZERO);
        self.determined("nonce", |header| &mut header.nonce, B64::ZERO);
        if self.block.ommers != 0 {
            self.checked.mismatches.push(FieldMismatch::new(
                "ommers",
                &self.block.ommers,
                &0_usize,
            ));
        }
    }

    fn check_ethereum(&mut self, rules: &EthereumRules) -> Result<(), Error> {
        let (parent, block, served) = (self.parent, self.block, &self.block.header);
        let time = served.timestamp;
        // The gas limit doubles where EIP-1559 begins, so that the target stays.
        let begins = rules.is_london(served.number) && !rules.is_london(parent.number);
        let elasticity = if begins { 2 } else { 1 };
        let from = parent.gas_limit.saturating_mul(elasticity);
        let step = from / GAS_LIMIT_BOUND_DIVISOR;
        let moves = served.gas_limit.abs_diff(from) < step && served.gas_limit >= MIN_GAS_LIMIT;
        self.bounded("gas_limit", moves, &served.gas_limit, || {
            format!("less than {step} from the parent's {from}, and at least {MIN_GAS_LIMIT}")
        });
        // What is used the execution tells; that it is within the limit, the header alone.
        if served.gas_used > served.gas_limit {
            let rule = format!("at most the gas limit {}", served.gas_limit);
            let mismatch = FieldMismatch::new("gas_used", &served.gas_used, &rule);
            self.checked.mismatches.push(mismatch);
        }
        if rules.is_shanghai_active_at_timestamp(time) {
            match &block.withdrawals {
                Some(withdrawals) => {
                    let root = calculate_withdrawals_root(withdrawals);
                    self.determined(
                        "withdrawals_root",
                        |header| &mut header.withdrawals_root,
                        Some(root),
                    );
                }
                None => self.bounded("withdrawals", false, &None::<u64>, || "a list".to_string()),
            }
        } else {
            self.check_no_withdrawals();
        }
        match rules.blob_params(time) {
            Some(params) => {
                let (excess, used) = (
                    parent.excess_blob_gas.unwrap_or(0),
                    parent.blob_gas_used.unwrap_or(0),
                );
                if excess > MAX_PLAUSIBLE_BLOB_GAS || used > MAX_PLAUSIBLE_BLOB_GAS {
                    return Err(Error::ImplausibleParent("more blob gas than any block can"));
                }
                let base_fee = parent.base_fee_per_gas.unwrap_or(0);
                let excess = params.next_block_excess_blob_gas_osaka(excess, used, base_fee);
                self.determined(
                    "excess_blob_gas",
                    |header| &mut header.excess_blob_gas,
                    Some(excess),
                );
                // The transactions tell what is used, so that the block can be executed all the same.
                let maximum = params.max_blob_count.saturating_mul(DATA_GAS_PER_BLOB);
                if served.blob_gas_used.is_some_and(|used| used > maximum) {
                    let rule = format!("at most {maximum}");
                    let mismatch =
                        FieldMismatch::new("blob_gas_used", &served.blob_gas_used, &rule);
                    self.checked.mismatches.push(mismatch);
                }
                self.check_beacon_root();
            }
            None => self.check_no_cancun_fields(),
        }
        if !rules.is_prague_active_at_timestamp(time) {
            self.determined("requests_hash", |header| &mut header.requests_hash, None);
        }
        if rules.is_osaka_active_at_timestamp(time) {
            self.bounded(
                "block",
                block.size <= MAX_BLOCK_BYTES,
                &format!("{} bytes", block.size),
                || format!("at most {MAX_BLOCK_BYTES} bytes"),
            );
        }
        Ok(())
    }

    fn check_op_stack(&mut self, rules: &OpStackRules) {
        let (block, served) = (self.block, &self.block.header);
        let (forks, time) = (rules.forks(), served.timestamp);
        if forks.is_holocene_active_at_timestamp(time) {
            let jovian = forks.is_jovian_active_at_timestamp(time);
            if let Err(fault) = base_fee::extra_data_params(&served.extra_data, jovian) {
                self.bounded("extra_data", false, &served.extra_data, || {
                    format!("no {fault}")
                });
            }
        } else {
            self.bounded(
                "extra_data",
                served.extra_data.is_empty(),
                &served.extra_data,
                || "empty".to_string(),
            );
        }
        if forks.is_canyon_active_at_timestamp(time) {
            let count = block.withdrawals.as_ref().map(Vec::len);
            self.bounded("withdrawals", count == Some(0), &count, || {
                "an empty list".to_string()
            });
            if !forks.is_isthmus_active_at_timestamp(time) {
                self.determined(
                    "withdrawals_root",
                    |header| &mut header.withdrawals_root,
                    Some(EMPTY_ROOT),
                );
            }
        } else {
            self.check_no_withdrawals();
        }
        if forks.is_ecotone_active_at_timestamp(time) {
            self.determined(
                "excess_blob_gas",
                |header| &mut header.excess_blob_gas,
                Some(0),
            );
            // Jovian bounds what then holds the data-availability footprint; before, the field is zero.
            let within = served
                .blob_gas_used
                .is_none_or(|footprint| footprint <= served.gas_limit);
            self.bounded("blob_gas_used", within, &served.blob_gas_used, || {
                format!("at most the gas limit {}", served.gas_limit)
            });
            self.check_beacon_root();
        } else {
            self.check_no_cancun_fields();
        }
        let requests = forks
            .is_isthmus_active_at_timestamp(time)
            .then_some(EMPTY_REQUESTS_HASH);
        self.determined(
            "requests_hash",
            |header| &mut header.requests_hash,
            requests,
        );
    }

    fn check_beacon_root(&mut self) {
        let root = self.block.header.parent_beacon_block_root;
        self.bounded("parent_beacon_block_root", root.is_some(), &root, || {
            "a hash".to_string()
        });
    }

    fn check_no_withdrawals(&mut self) {
        let count = self.block.withdrawals.as_ref().map(Vec::len);
        self.bounded("withdrawals", count.is_none(), &count, || {
            "absent".to_string()
        });
        self.determined(
            "withdrawals_root",
            |header| &mut header.withdrawals_root,
            None,
        );
    }

    fn check_no_cancun_fields(&mut self) {
        self.determined("blob_gas_used", |header| &mut header.blob_gas_used, None);
        self.determined(
            "excess_blob_gas",
            |header| &mut header.excess_blob_gas,
            None,
        );
        self.determined(
            "parent_beacon_block_root",
            |header| &mut header.parent_beacon_block_root,
            None,
        );
    }
}
