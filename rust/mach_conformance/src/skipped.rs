//! The tests that are not run, by name, each with its reason. Other clients' runners leave the same ones out.

/// A file of tests that is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Skip {
    /// Name of the file, without its folder and `.json`.
    pub file: &'static str,
    /// The network whose tests of the file are left out; `None` for all.
    pub network: Option<&'static str>,
    /// Why.
    pub reason: &'static str,
}

const COLLISION: &str = "creates a contract where an account has storage but neither code nor nonce; EIP-7610 says what \
     to do, but no chain has such an account, and revm does not look at the storage";
const NOT_BYTES: &str =
    "its JSON holds an integer of more than 256 bits, which no block can say (ethereum/tests#971)";

const EIP_1283: &str = "needs EIP-1283's gas for SSTORE, which held on no Ethereum chain: Petersburg took it back in the \
     block in which it would have begun, and revm does not know it";

/// Everything that is left out.
pub const SKIPPED: &[Skip] = &[
    Skip {
        file: "InitCollision",
        network: None,
        reason: COLLISION,
    },
    Skip {
        file: "InitCollisionParis",
        network: None,
        reason: COLLISION,
    },
    Skip {
        file: "RevertInCreateInInit",
        network: None,
        reason: COLLISION,
    },
    Skip {
        file: "RevertInCreateInInit_Paris",
        network: None,
        reason: COLLISION,
    },
    Skip {
        file: "RevertInCreateInInitCreate2",
        network: None,
        reason: COLLISION,
    },
    Skip {
        file: "RevertInCreateInInitCreate2Paris",
        network: None,
        reason: COLLISION,
    },
    Skip {
        file: "create2collisionStorage",
        network: None,
        reason: COLLISION,
    },
    Skip {
        file: "create2collisionStorageParis",
        network: None,
        reason: COLLISION,
    },
    Skip {
        file: "dynamicAccountOverwriteEmpty",
        network: None,
        reason: COLLISION,
    },
    Skip {
        file: "dynamicAccountOverwriteEmpty_Paris",
        network: None,
        reason: COLLISION,
    },
    Skip {
        file: "ValueOverflow",
        network: None,
        reason: NOT_BYTES,
    },
    Skip {
        file: "ValueOverflowParis",
        network: None,
        reason: NOT_BYTES,
    },
    Skip {
        file: "tx_selfdestruct_balance_bug",
        network: Some("Constantinople"),
        reason: EIP_1283,
    },
];

/// Why the tests of this network in the file with this path are left out, if they are.
pub(crate) fn reason(path: &str, network: &str) -> Option<&'static str> {
    let name = path.rsplit(['/', '\\']).next().unwrap_or(path);
    let name = name.strip_suffix(".gz").unwrap_or(name);
    let name = name.strip_suffix(".json").unwrap_or(name);
    let matches =
        |skip: &&Skip| skip.file == name && skip.network.is_none_or(|only| only == network);
    SKIPPED.iter().find(matches).map(|skip| skip.reason)
}
