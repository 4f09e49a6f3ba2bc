//! Contract codes made ready for the EVM, each once, by whoever needs or reaches it first.

use alloy_primitives::{B256, Bytes, map::B256Map};
use revm::state::Bytecode;

use crate::once::Once;
#[cfg(feature = "parallel")]
use crate::{rlp::Item, witness::Witness};

/// What in a witness looks like code: whatever is not one RLP list, as every trie node is.
pub(crate) struct Codes<'w> {
    codes: B256Map<(&'w [u8], Once<Bytecode>)>,
}

impl<'w> Codes<'w> {
    #[cfg(feature = "parallel")]
    pub(crate) fn of(witness: &Witness<'w>) -> Self {
        let codes = witness
            .iter()
            .filter(|(_, preimage)| !matches!(Item::only(preimage), Ok(Item { list: true, .. })));
        Self {
            codes: codes
                .map(|(hash, code)| (*hash, (code, Once::new())))
                .collect(),
        }
    }

    /// The code with this hash, if it is known here.
    pub(crate) fn get(&self, hash: &B256) -> Option<Bytecode> {
        let (code, ready) = self.codes.get(hash)?;
        Some(ready.get_or_init(|| analyse(code)).clone())
    }

    /// Makes every code ready, until `stop` says that none is wanted any more.
    #[cfg(feature = "parallel")]
    pub(crate) fn analyse_all(&self, stop: impl Fn() -> bool) {
        for (code, ready) in self.codes.values() {
            if stop() {
                return;
            }
            ready.get_or_init(|| analyse(code));
        }
    }
}

/// Makes code ready for the EVM: finds where it may jump to.
pub(crate) fn analyse(code: &[u8]) -> Bytecode {
    let code = Bytes::copy_from_slice(code);
    // Code that begins like an EIP-7702 delegation without being one is older than the rule against such code.
    Bytecode::new_raw_checked(code.clone()).unwrap_or_else(|_| Bytecode::new_legacy(code))
}
