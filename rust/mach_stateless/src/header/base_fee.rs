//! The base fee of a block, from its parent: EIP-1559, with what Holocene and Jovian add.

use alloy_consensus::Header;
use alloy_eips::eip1559::{BaseFeeParams, INITIAL_BASE_FEE};
use alloy_op_hardforks::OpHardforks;
use op_alloy::consensus::{decode_holocene_extra_data, decode_jovian_extra_data};

use crate::{
    chain_spec::{ChainSpec, OpStackRules, Stack},
    error::Error,
};

const NO_BASE_FEE: Error = Error::ImplausibleParent("no base fee");

/// The only base fee that the block after `parent` may have: none before London. Of `header` only the timestamp counts,
/// and the number.
pub(super) fn next_base_fee(
    spec: &ChainSpec,
    parent: &Header,
    header: &Header,
) -> Result<Option<u64>, Error> {
    let timestamp = header.timestamp;
    let base_fee = match &spec.stack() {
        Stack::Ethereum(rules) if !rules.is_london(header.number) => return Ok(None),
        Stack::Ethereum(rules) if !rules.is_london(parent.number) => Ok(INITIAL_BASE_FEE),
        Stack::Ethereum(_) => {
            let base_fee = parent.base_fee_per_gas.ok_or(NO_BASE_FEE)?;
            Ok(adjusted(
                base_fee,
                parent.gas_used,
                parent.gas_limit,
                spec.base_fee_params(timestamp),
            ))
        }
        Stack::OpStack(rules) => next_op_stack_base_fee(spec, rules, parent, timestamp),
    };
    base_fee.map(Some)
}

/// See the specifications of Holocene ("Base Fee Computation") and Jovian ("Minimum Base Fee", "DA Footprint").
fn next_op_stack_base_fee(
    spec: &ChainSpec,
    rules: &OpStackRules,
    parent: &Header,
    timestamp: u64,
) -> Result<u64, Error> {
    let base_fee = parent.base_fee_per_gas.ok_or(NO_BASE_FEE)?;
    let forks = rules.forks();
    if !forks.is_holocene_active_at_timestamp(parent.timestamp) {
        return Ok(adjusted(
            base_fee,
            parent.gas_used,
            parent.gas_limit,
            spec.base_fee_params(timestamp),
        ));
    }
    let jovian = forks.is_jovian_active_at_timestamp(parent.timestamp);
    let (params, minimum) =
        extra_data_params(&parent.extra_data, jovian).map_err(Error::ImplausibleParent)?;
    // From Jovian on the field holds the data-availability footprint.
    let footprint = if jovian {
        parent.blob_gas_used.unwrap_or(0)
    } else {
        0
    };
    Ok(adjusted(
        base_fee,
        parent.gas_used.max(footprint),
        parent.gas_limit,
        params,
    )
    .max(minimum))
}

/// The EIP-1559 parameters and the minimum base fee that a header's `extra_data` carries from Holocene on, or what is
/// wrong with it.
pub(super) fn extra_data_params(
    extra_data: &[u8],
    jovian: bool,
) -> Result<(BaseFeeParams, u64), &'static str> {
    let decoded = if jovian {
        decode_jovian_extra_data(extra_data)
    } else {
        decode_holocene_extra_data(extra_data)
            .map(|(elasticity, denominator)| (elasticity, denominator, 0))
    };
    match (decoded, jovian) {
        (Ok((0, _, _) | (_, 0, _)), _) => {
            Err("extra data with a zero EIP-1559 denominator or elasticity")
        }
        (Ok((elasticity, denominator, minimum)), _) => Ok((
            BaseFeeParams::new(denominator.into(), elasticity.into()),
            minimum,
        )),
        (Err(_), true) => Err("extra data that is not Jovian's 17 bytes of version 1"),
        (Err(_), false) => Err("extra data that is not Holocene's 9 bytes of version 0"),
    }
}

/// EIP-1559's rule; at the edges (no target at all, a fee beyond 64 bits) the fee stays as near as it can.
fn adjusted(base_fee: u64, gas_metered: u64, gas_limit: u64, params: BaseFeeParams) -> u64 {
    let target = u128::from(gas_limit)
        .checked_div(params.elasticity_multiplier)
        .unwrap_or(0);
    let metered = u128::from(gas_metered);
    let change = |distance: u128| {
        // Both factors are below 2^64.
        (u128::from(base_fee) * distance)
            .checked_div(target)
            .and_then(|change| change.checked_div(params.max_change_denominator))
            .unwrap_or(0)
    };
    let adjusted = match metered.cmp(&target) {
        _ if target == 0 => u128::from(base_fee),
        core::cmp::Ordering::Equal => u128::from(base_fee),
        core::cmp::Ordering::Greater => u128::from(base_fee) + change(metered - target).max(1),
        core::cmp::Ordering::Less => u128::from(base_fee).saturating_sub(change(target - metered)),
    };
    u64::try_from(adjusted).unwrap_or(u64::MAX)
}
