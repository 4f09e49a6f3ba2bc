//! The tests that are not run, by name, each with its reason. Other clients' runners leave the same ones out.

/// A file of tests that is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Skip {
    /// Name of the file, without its folder and `.json`.
    pub file: &'static str,
    /// Why.
    pub reason: &'static str,
}

const COLLISION: &str = "creates a contract where an account has storage but neither code nor nonce; EIP-7610 says what \
     to do, but no chain has such an account, and revm does not look at the storage";
const NOT_BYTES: &str =
    "its JSON holds an integer of more than 256 bits, which no block can say (ethereum/tests#971)";

/// Everything that is left out.
pub const SKIPPED: &[Skip] = &[
    Skip {
        file: "InitCollision",
        reason: COLLISION,
    },
    Skip {
        file: "InitCollisionParis",
        reason: COLLISION,
    },
    Skip {
        file: "RevertInCreateInInit",
        reason: COLLISION,
    },
    Skip {
        file: "RevertInCreateInInit_Paris",
        reason: COLLISION,
    },
    Skip {
        file: "RevertInCreateInInitCreate2",
        reason: COLLISION,
    },
    Skip {
        file: "RevertInCreateInInitCreate2Paris",
        reason: COLLISION,
    },
    Skip {
        file: "create2collisionStorage",
        reason: COLLISION,
    },
    Skip {
        file: "create2collisionStorageParis",
        reason: COLLISION,
    },
    Skip {
        file: "dynamicAccountOverwriteEmpty",
        reason: COLLISION,
    },
    Skip {
        file: "dynamicAccountOverwriteEmpty_Paris",
        reason: COLLISION,
    },
    Skip {
        file: "ValueOverflow",
        reason: NOT_BYTES,
    },
    Skip {
        file: "ValueOverflowParis",
        reason: NOT_BYTES,
    },
];

/// Why the file with this path is left out, if it is.
pub(crate) fn reason(path: &str) -> Option<&'static str> {
    let name = path.rsplit(['/', '\\']).next().unwrap_or(path);
    let name = name.strip_suffix(".gz").unwrap_or(name);
    let name = name.strip_suffix(".json").unwrap_or(name);
    SKIPPED
        .iter()
        .find(|skip| skip.file == name)
        .map(|skip| skip.reason)
}
