//! BN254 BLS signatures as EigenLayer uses them, and the hashes that Mach's operators sign. No Python, no I/O.
//!
//! Signatures and the chain's copies of public keys are in G1, the keys that signatures are checked against in G2.
//! Every function that reads bytes is total: any input gives a value or a [`BlsError`].

mod affine;
mod aggregate;
#[cfg_attr(not(target_arch = "x86_64"), path = "avx512_absent.rs")]
mod avx512;
mod backend;
mod batch;
mod bisection;
mod error;
mod hash_to_curve;
mod keys;
mod pairing;
pub mod point;
mod possession;
mod signature;
mod signer_set;
mod square_root;
pub mod statements;
mod subgroup;
mod weighted_sum;

pub use aggregate::{sum_g1, sum_g2, verify_aggregate};
pub use ark_bn254::{G1Affine, G2Affine};
pub use backend::{has_avx512, portably};
pub use batch::{SignedMessage, verify_batch, verify_each};
pub use bisection::find_invalid;
pub use error::BlsError;
pub use hash_to_curve::{hash_to_g1, hash_to_g1_many};
pub use keys::{PublicKeyG1, PublicKeyG2, SecretKey};
pub use mach_keccak::{keccak256, keccak256_many};
pub use pairing::{SumToVerify, verify_sum, verify_sums};
pub use possession::{verify_possession, verify_registration};
pub use signature::Signature;
pub use signer_set::SignerSet;
