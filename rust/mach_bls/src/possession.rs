//! Proofs that an operator has the secret of its public keys, without which sums of keys prove nothing.

use ark_bn254::{Fr, G1Affine, G2Affine};
use ark_ec::AffineRepr;
use ark_ff::PrimeField;

use crate::pairing::verify_sum;
use crate::point::encode_g1;
use crate::{PublicKeyG1, PublicKeyG2, SecretKey, Signature, hash_to_g1, sum_g1};
use mach_keccak::keccak256_concat;

/// Stands before the keys in what a proof of possession signs, so that it is no alert and no other protocol's proof.
const DOMAIN: &[u8] = b"MACH_BLS_BN254_PROOF_OF_POSSESSION_V1";

impl SecretKey {
    /// The proof for operator sets that are kept outside EigenLayer, for [`verify_possession`]:
    /// sk · hash_to_g1(keccak256("MACH_BLS_BN254_PROOF_OF_POSSESSION_V1" ‖ G1 key ‖ G2 key)).
    ///
    /// EigenLayer has an operator sign a point of its own choice, which binds operator, chain and contract: for that,
    /// [`SecretKey::sign_point`] and [`verify_registration`].
    #[must_use]
    pub fn prove_possession(&self) -> Signature {
        self.sign(&possession_digest(
            &self.public_key_g1(),
            &self.public_key_g2(),
        ))
    }
}

/// Whether `proof` was made by [`SecretKey::prove_possession`] of the one secret of both keys.
#[must_use]
pub fn verify_possession(key_g1: &PublicKeyG1, key_g2: &PublicKeyG2, proof: &Signature) -> bool {
    let point = hash_to_g1(&possession_digest(key_g1, key_g2));
    verify_registration(key_g1, key_g2, &point, proof)
}

/// Whether EigenLayer's `BLSApkRegistry` accepts the registration: `signature` is sk · `registration_point` and both
/// keys are of the same sk.
///
/// `registration_point` is what the contract's `pubkeyRegistrationMessageHash(operator)` returns. Both claims are
/// checked at once with the weight γ = keccak256(signature ‖ G1 key ‖ G2 key ‖ point) mod r:
/// e(signature + γ · G1 key, -G2) · e(point + γ · G1, G2 key) = 1. Source: `registerBLSPublicKey` of
/// eigenlayer-middleware v0.1.2, `src/BLSApkRegistry.sol`.
#[must_use]
pub fn verify_registration(
    key_g1: &PublicKeyG1,
    key_g2: &PublicKeyG2,
    registration_point: &G1Affine,
    signature: &Signature,
) -> bool {
    let digest = keccak256_concat(&[
        &signature.to_bytes(),
        &key_g1.to_bytes(),
        &key_g2.to_bytes(),
        &encode_g1(registration_point),
    ]);
    let gamma = Fr::from_be_bytes_mod_order(&digest);
    let weighted = |point: &G1Affine, addend: &G1Affine| {
        let product: G1Affine = (*addend * gamma).into();
        sum_g1([*point, product])
    };
    let left = weighted(signature.as_point(), key_g1.as_point());
    let right = weighted(registration_point, &G1Affine::generator());
    let key: &G2Affine = key_g2.as_point();
    verify_sum(&left, key, &right)
}

fn possession_digest(key_g1: &PublicKeyG1, key_g2: &PublicKeyG2) -> [u8; 32] {
    keccak256_concat(&[DOMAIN, &key_g1.to_bytes(), &key_g2.to_bytes()])
}
