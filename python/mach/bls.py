"""BN254 BLS signatures as EigenLayer uses them: keys, signatures, hash to curve, sums and checks of many at once.

Signatures and the chain's copies of public keys are G1 points, 64 bytes `x ‖ y`. The keys that signatures are checked
against are G2 points, 128 bytes `x.c1 ‖ x.c0 ‖ y.c1 ‖ y.c0`. Coordinates are 32-byte big-endian integers below the
field modulus, and the point at infinity is all zeros, as in the EVM precompiles (EIP-196, EIP-197). Messages are
32-byte digests.

    key = SecretKey.generate()
    signature = key.sign(digest)
    assert signature.verify(key.public_key_g2, digest)

Many signatures over one message are summed and checked at once:

    signers = SignerSet.from_bytes(public_keys)
    if not signers.verify_aggregate(digest, signatures):
        bad = signers.find_invalid(digest, signatures)

A sum proves the aggregate. That each signature is good is what `verify_each` and, over many messages, `verify_batch`
prove. Sums of keys are safe only where each key's owner has proved to have its secret: EigenLayer asks for that at
registration (`verify_registration`), elsewhere `SecretKey.prove_possession` and `verify_possession` serve.

Everything that reads bytes checks them and raises a subclass of `BlsError` that names the fault. Batches are laid end
to end in one buffer, so that no point is touched by Python. Work longer than a few microseconds runs with the GIL
released. Keys, points and signatures are immutable, comparable and hashable.
"""

from __future__ import annotations

from mach._core import (
    BlsError,
    CountMismatchError,
    IdentityError,
    NonCanonicalCoordinateError,
    NotInSubgroupError,
    NotOnCurveError,
    PublicKeyG1,
    PublicKeyG2,
    SecretKey,
    SecretKeyRangeError,
    Signature,
    SignerIndexError,
    SignerSet,
    WrongLengthError,
    aggregate_public_keys_g1,
    aggregate_public_keys_g2,
    aggregate_signatures,
    find_invalid,
    hash_to_g1,
    hash_to_g1_many,
    verify_aggregate,
    verify_batch,
    verify_each,
    verify_possession,
    verify_registration,
)

__all__ = [
    "BlsError",
    "CountMismatchError",
    "IdentityError",
    "NonCanonicalCoordinateError",
    "NotInSubgroupError",
    "NotOnCurveError",
    "PublicKeyG1",
    "PublicKeyG2",
    "SecretKey",
    "SecretKeyRangeError",
    "Signature",
    "SignerIndexError",
    "SignerSet",
    "WrongLengthError",
    "aggregate_public_keys_g1",
    "aggregate_public_keys_g2",
    "aggregate_signatures",
    "find_invalid",
    "hash_to_g1",
    "hash_to_g1_many",
    "verify_aggregate",
    "verify_batch",
    "verify_each",
    "verify_possession",
    "verify_registration",
]
