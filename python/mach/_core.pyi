"""The native extension, held to the binary by mypy.stubtest. Use `mach.bls`, `mach.protocol` and `mach.rollup`."""

from collections.abc import Sequence
from typing import Any, Literal, Self, final

from typing_extensions import Buffer

from mach.errors import EnvironmentFaultError, MachError

# ---- BLS on BN254 and Keccak (rust/mach_core/src/bls.rs, hashing.rs); use `mach.bls` and `mach.protocol` ----

class BlsError(MachError):
    """Bytes are not the key, point or batch they should be."""

class WrongLengthError(BlsError):
    """An encoding or a batch of them has a wrong length."""

class NonCanonicalCoordinateError(BlsError):
    """A coordinate is not below the BN254 field modulus."""

class NotOnCurveError(BlsError):
    """The coordinates are not those of a curve point."""

class NotInSubgroupError(BlsError):
    """A G2 point is on the curve, but not in the subgroup of order r."""

class IdentityError(BlsError):
    """The point at infinity stands where a key or a signature should."""

class SecretKeyRangeError(BlsError):
    """A secret key is zero or not below the group order."""

class CountMismatchError(BlsError):
    """There is not one signature for each public key."""

class SignerIndexError(BlsError):
    """A signer is named that the signer set does not have, or one is named twice."""

@final
class SecretKey:
    """A BN254 secret key: a scalar in 1..r, overwritten in memory when the object goes away."""

    @staticmethod
    def from_bytes(data: bytes) -> SecretKey:
        """Read a 32-byte big-endian scalar. Raises WrongLengthError or SecretKeyRangeError."""

    @staticmethod
    def generate() -> SecretKey:
        """Create a key from the operating system's random source."""

    def to_bytes(self) -> bytes:
        """The scalar as 32 big-endian bytes. The copy that Python holds is not overwritten."""

    @property
    def public_key_g1(self) -> PublicKeyG1:
        """The public key in G1, which the chain stores and sums."""

    @property
    def public_key_g2(self) -> PublicKeyG2:
        """The public key in G2, which signatures are checked against."""

    def sign(self, message: bytes) -> Signature:
        """Sign a 32-byte message (a digest): sk · hash_to_g1(message). Raises WrongLengthError."""

    def sign_point(self, point: bytes) -> bytes:
        """Multiply a G1 point (64 bytes) that a trusted contract hashed: sk · point (64 bytes).

        Raises WrongLengthError, NonCanonicalCoordinateError, NotOnCurveError or IdentityError.
        """

    def prove_possession(self) -> Signature:
        """Sign both public keys, for an operator set outside EigenLayer: proof that their sum with others is safe."""

    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self, /) -> int: ...

@final
class PublicKeyG1:
    """A BN254 public key in G1; never the point at infinity."""

    @staticmethod
    def from_bytes(data: bytes) -> PublicKeyG1:
        """Read 64 bytes: x ‖ y, big-endian.

        Raises WrongLengthError, NonCanonicalCoordinateError, NotOnCurveError or IdentityError.
        """

    def to_bytes(self) -> bytes:
        """64 bytes: x ‖ y, big-endian."""

    @property
    def operator_id(self) -> bytes:
        """keccak256(x ‖ y), 32 bytes: EigenLayer's name of the operator."""

    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self, /) -> int: ...

@final
class PublicKeyG2:
    """A BN254 public key in G2; in the subgroup of order r and never the point at infinity."""

    @staticmethod
    def from_bytes(data: bytes) -> PublicKeyG2:
        """Read 128 bytes: x.c1 ‖ x.c0 ‖ y.c1 ‖ y.c0, big-endian, the order of the EVM precompiles.

        Raises WrongLengthError, NonCanonicalCoordinateError, NotOnCurveError, NotInSubgroupError or IdentityError.
        """

    def to_bytes(self) -> bytes:
        """128 bytes: x.c1 ‖ x.c0 ‖ y.c1 ‖ y.c0, big-endian."""

    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self, /) -> int: ...

@final
class Signature:
    """A signature: a G1 point other than the point at infinity."""

    @staticmethod
    def from_bytes(data: bytes) -> Signature:
        """Read 64 bytes: x ‖ y, big-endian.

        Raises WrongLengthError, NonCanonicalCoordinateError, NotOnCurveError or IdentityError.
        """

    def to_bytes(self) -> bytes:
        """64 bytes: x ‖ y, big-endian."""

    def verify(self, public_key: PublicKeyG2, message: bytes) -> bool:
        """Whether the owner of `public_key` signed the 32-byte `message`. Raises WrongLengthError."""

    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self, /) -> int: ...

def verify_possession(key_g1: PublicKeyG1, key_g2: PublicKeyG2, proof: Signature) -> bool:
    """Whether `proof` was made by `SecretKey.prove_possession` of the one secret of both keys."""

def verify_registration(
    key_g1: PublicKeyG1, key_g2: PublicKeyG2, registration_point: bytes, signature: Signature
) -> bool:
    """Whether EigenLayer's BLSApkRegistry accepts a registration: `signature` is sk · `registration_point` (64 bytes,
    what the contract's pubkeyRegistrationMessageHash returns) and both keys are of the same sk.

    Raises WrongLengthError, NonCanonicalCoordinateError or NotOnCurveError.
    """

# Buffers are of bytes: `bytes`, `bytearray`, `memoryview`, arrays of uint8. Only `bytes` are read without a copy.

@final
class SignerSet:
    """The G2 public keys of an operator set, checked once, with their sum; signers are named by their index."""

    @staticmethod
    def from_bytes(public_keys: Buffer) -> SignerSet:
        """Read n keys of 128 bytes each, laid end to end.

        Raises WrongLengthError, NonCanonicalCoordinateError, NotOnCurveError, NotInSubgroupError or IdentityError.
        """

    def aggregate(self, present: Sequence[int] | None = None) -> bytes:
        """The sum (128 bytes) of the keys of the signers `present`, by default of all.

        Costs one addition for each signer present or absent, whichever are fewer. Raises SignerIndexError.
        """

    def verify_aggregate(self, message: bytes, signatures: Buffer, present: Sequence[int] | None = None) -> bool:
        """Whether `signatures` (64 bytes each) sum to one by the signers `present`, by default all, over one message.

        What that proves, and what it does not, stands at `verify_aggregate`. Raises WrongLengthError,
        NonCanonicalCoordinateError, NotOnCurveError, IdentityError, CountMismatchError or SignerIndexError.
        """

    def find_invalid(self, message: bytes, signatures: Buffer, present: Sequence[int] | None = None) -> list[int]:
        """Positions in `present`, by default all signers, whose signatures (64 bytes each) are bad, ascending.

        As the function `find_invalid`, whose errors it raises, and SignerIndexError.
        """

    def __len__(self) -> int: ...

def hash_to_g1(message: bytes) -> bytes:
    """The G1 point (64 bytes) of a 32-byte message, by EigenLayer's try-and-increment. Raises WrongLengthError."""

def hash_to_g1_many(messages: Buffer) -> bytes:
    """The G1 points (n · 64 bytes) of n messages of 32 bytes each, laid end to end; several are hashed at once.

    Raises WrongLengthError.
    """

def aggregate_signatures(signatures: Buffer) -> bytes:
    """The sum (64 bytes) of n signatures of 64 bytes each, laid end to end.

    All zeros, the point at infinity, is accepted and may be the sum: that of no signatures, or of two opposite ones.
    Raises WrongLengthError, NonCanonicalCoordinateError or NotOnCurveError, which name the position.
    """

def aggregate_public_keys_g1(public_keys: Buffer) -> bytes:
    """The sum (64 bytes) of n G1 public keys of 64 bytes each, laid end to end: a set's aggregate public key.

    All zeros, the point at infinity, is accepted and may be the sum.
    Raises WrongLengthError, NonCanonicalCoordinateError or NotOnCurveError, which name the position.
    """

def aggregate_public_keys_g2(public_keys: Buffer) -> bytes:
    """The sum (128 bytes) of n G2 public keys of 128 bytes each, laid end to end.

    All zeros, the point at infinity, is accepted and may be the sum.
    Raises WrongLengthError, NonCanonicalCoordinateError, NotOnCurveError or NotInSubgroupError, with the position.
    """

def verify_aggregate(public_keys: Buffer, message: bytes, signatures: Buffer) -> bool:
    """Whether n signatures (64 bytes each) sum to one by the sum of n G2 public keys (128 bytes each) over one message.

    One pairing product, however many there are. True proves the aggregate, which is what the chain checks; errors in
    two signatures can cancel out. False for no signatures and for keys that cancel out. For a set of keys that is used
    more than once, a SignerSet is much faster: here each key is checked anew.
    Raises WrongLengthError, NonCanonicalCoordinateError, NotOnCurveError, NotInSubgroupError, IdentityError or
    CountMismatchError.
    """

def verify_each(public_keys: Buffer, message: bytes, signatures: Buffer) -> bool:
    """Whether each of n signatures (64 bytes each) is one by its own G2 public key (128 bytes each) over one message.

    Each is weighed with 64 fresh random bits, so that errors cannot cancel out: a bad one passes with a probability of
    2⁻⁶⁴. False for no signatures. Raises what `verify_aggregate` raises.
    """

def verify_batch(public_keys: Buffer, messages: Buffer, signatures: Buffer) -> bool:
    """Whether each of n signatures (64 bytes each) is one by its key (128 bytes) over its own message (32 bytes).

    Signatures that share a key or a message cost less. Each is weighed with 64 fresh random bits: a bad one passes with
    a probability of 2⁻⁶⁴. False for no signatures. Raises what `verify_aggregate` raises.
    """

def find_invalid(public_keys: Buffer, message: bytes, signatures: Buffer) -> list[int]:
    """Positions of the bad ones among n signatures (64 bytes each) by n G2 keys (128 bytes each) over one message.

    Ascending. Each position named is of a bad signature; all the others sum to a good one, but errors in two of them
    can cancel out, which `verify_each` would tell. Raises what `verify_aggregate` raises.
    """

def keccak256(data: bytes) -> bytes:
    """Keccak-256 (the Ethereum variant) of `data`: 32 bytes."""

def keccak256_many(messages: Sequence[bytes]) -> list[bytes]:
    """Keccak-256 of each of `messages`, several at once where the processor can: 32 bytes each, in their order."""

def block_mismatch_hash(invalid_output_root: bytes, expect_output_root: bytes, l2_block_number: int) -> bytes:
    """keccak256(invalid_output_root ‖ expect_output_root ‖ minimal big-endian l2_block_number): 32 bytes."""

def output_oracle_mismatch_hash(expect_output_root: bytes, invalid_output_index: int) -> bytes:
    """keccak256(expect_output_root ‖ minimal big-endian invalid_output_index): 32 bytes."""

def sign_hash(message_hash: bytes, reference_block_number: int, rollup_chain_id: bytes | None = None) -> bytes:
    """keccak256(abi.encode(message_hash, uint32 reference block, uint256 rollup chain id)): 32 bytes.

    `rollup_chain_id` is 32 big-endian bytes; None leaves it out, as the older contract does.
    """

# ---- Stateless re-execution (rust/mach_core/src/stateless.rs); use `mach.verifier` ----

@final
class FieldMismatch:
    """A field of a block that is not what the rules or the re-execution make it."""

    @property
    def field(self) -> str:
        """Name of the field: `state_root`, `base_fee_per_gas`, `transactions[3]`, `receipts[2].status` …"""

    @property
    def served(self) -> str:
        """What the block says: hexadecimal with `0x`, decimal, or `absent`."""

    @property
    def computed(self) -> str:
        """What it should say, or which rule it violates."""

    def __eq__(self, other: object, /) -> bool: ...

@final
class BlockVerification:
    """The result of re-executing a block."""

    @property
    def verdict(self) -> Literal["VALID", "INVALID", "INCONCLUSIVE"]:
        """VALID; INVALID: a rule is broken or a commitment not reproduced; INCONCLUSIVE: nobody can tell from this."""

    @property
    def mismatches(self) -> list[FieldMismatch]:
        """Every field found wrong; empty unless the verdict is INVALID."""

    @property
    def reason(self) -> str | None:
        """One line that says why the verdict is not VALID, or what was left out of account."""

    @property
    def missing(self) -> bytes | None:
        """The hash (32 bytes) of the preimage or ancestor header for want of which execution stopped."""

    @property
    def missing_account(self) -> bytes | None:
        """The account (20 bytes) that the missing trie node is needed for: a proof of the account holds the node."""

    @property
    def missing_slot(self) -> bytes | None:
        """The slot (32 bytes) of `missing_account` that it is needed for, if it is a node of the storage trie."""

    @property
    def number(self) -> int:
        """Number of the block; 0 if it could not be read."""

    @property
    def gas_used(self) -> int:
        """Gas used by the block as re-executed, or as served if it could not be."""

    @property
    def transaction_count(self) -> int:
        """Number of transactions in the block."""

    @property
    def block_hash(self) -> bytes:
        """Hash (32 bytes) of the header as served; zeros if it could not be read."""

    @property
    def parent_hash(self) -> bytes:
        """Hash (32 bytes) of the parent that the block names; zeros if it could not be read."""

    @property
    def computed_block_hash(self) -> bytes | None:
        """Hash (32 bytes) of `computed_header`."""

    @property
    def computed_header(self) -> bytes | None:
        """RLP of the header with every commitment replaced by the computed one, if the block could be executed."""

    @property
    def output_root(self) -> bytes | None:
        """OP Stack output root (32 bytes, version 0) of the block as served; None on other chains."""

    @property
    def computed_output_root(self) -> bytes | None:
        """OP Stack output root (32 bytes, version 0) of the block as computed; None on other chains."""

    @property
    def timings(self) -> dict[str, float]:
        """Seconds by stage: decode, witness, senders, execute, state_root, commitments."""

def verify_block(
    chain_config: str,
    parent_header: bytes,
    block: bytes,
    preimages: Sequence[bytes],
    ancestors: Sequence[bytes] = ...,
    served_receipts: Sequence[bytes] | None = None,
    block_hash: bytes | None = None,
    *,
    threads: int = 1,
) -> BlockVerification:
    """Re-execute a block on its parent's state and compare everything it says with what its inputs produce.

    `chain_config` is the JSON text of a geth genesis `config` object; an `optimism` object in it makes the chain an OP
    Stack chain. `parent_header` (RLP) is the root of trust. `block` is RLP, `[header, transactions, ommers,
    withdrawals?]`, as `debug_getRawBlock` gives it; `preimages` are trie nodes and codes in any order; `ancestors` are
    RLP headers for BLOCKHASH; `served_receipts` are EIP-2718 encoded, as `debug_getRawReceipts` gives them, and help to
    name a difference; `block_hash` (32 bytes) is the hash that the block was served under. `threads` is 1, or 2 for a
    second thread that recovers senders and makes codes ready ahead of the first; the result is the same.

    Malformed or missing bytes give INCONCLUSIVE, never an exception. The GIL is released.
    Raises ValueError for a malformed `chain_config` or other `threads`, RuntimeError for a defect in the native code.
    """

# ---- Conformance (rust/mach_core/src/conformance.rs); use `mach.rollup.conformance` ----

@final
class ConformanceCase:
    """A blockchain test and what came of it."""

    @property
    def name(self) -> str:
        """The test's name."""

    @property
    def outcome(self) -> Literal["passed", "failed", "skipped"]:
        """Passed if every block was accepted or refused as the test says, and for the reason that it says."""

    @property
    def reason(self) -> str | None:
        """Which block went wrong and how, or why the test was not run; None if it passed."""

    @property
    def blocks(self) -> int:
        """Number of blocks that were verified."""

    @property
    def gas_used(self) -> int:
        """Gas of the blocks that were accepted."""

def run_blockchain_tests(path: str, document: bytes) -> list[ConformanceCase]:
    """Run every blockchain test in a document, the JSON of a file of ethereum/tests; a document of others has none.

    `path` names the file, which may be one that is left out. The GIL is released.
    Raises ValueError for text that is not JSON, or no object, RuntimeError for a defect in the native code.
    """

def skipped_blockchain_tests() -> list[tuple[str, str | None, str]]:
    """The tests that are not run: the file without `.json`, the network (None for all of them), and the reason."""

class IntakeRefusedError(MachError): ...
class UnknownOperatorSetError(IntakeRefusedError): ...
class UnknownReferenceBlockError(IntakeRefusedError): ...
class ServerStartError(EnvironmentFaultError): ...

@final
class IntakeBatch:
    @property
    def id(self) -> int: ...
    @property
    def tasks(self) -> list[tuple[bytes, int, int, int, float]]: ...
    @property
    def task_indices(self) -> list[int]: ...
    @property
    def reference_blocks(self) -> list[int]: ...
    @property
    def operator_ids(self) -> bytes: ...
    @property
    def signatures(self) -> bytes: ...
    @property
    def alert_hashes(self) -> dict[int, bytes]: ...
    @property
    def quorum_reached(self) -> list[int]: ...
    @property
    def announcements(self) -> list[tuple[bytes, int, int, int, float]]: ...
    @property
    def bad_signatures(self) -> list[tuple[bytes, int, bytes, str]]: ...
    @property
    def needs_indices(self) -> bool: ...

@final
class Intake:
    def __new__(
        cls,
        *,
        quorum_numbers: Sequence[int],
        quorum_threshold_percentages: Sequence[int],
        rollup_chain_id: int,
        layer1_chain_id: int,
        operator_state_retriever: bytes,
        registry_coordinator: bytes,
        max_open_tasks: int,
        max_unsigned_per_peer: int,
        cool_down_s: float,
        queue_bound: int,
        shared: bool,
        verifier_threads: int | None,
        linger_s: float,
        servers: str,
    ) -> Self: ...
    def start(self) -> tuple[int | None, int | None, int | None]: ...
    def stop(self) -> None: ...
    def add_operator_set(
        self,
        set_id: int,
        operator_ids: bytes,
        public_keys_g2: bytes,
        stakes: Sequence[Sequence[int]],
        total_stakes: Sequence[int],
    ) -> None: ...
    def set_head(self, reference_block: int, set_id: int) -> None: ...
    def add_reference_block(self, reference_block: int, set_id: int) -> None: ...
    def reserve(self, first: int, count: int, high_water: int) -> None: ...
    def restore(self, tasks: Sequence[tuple[int, bytes, int, str, float, bytes | None, bytes]]) -> list[int]: ...
    def next_batch(self, timeout_ms: int) -> IntakeBatch | None: ...
    def commit(self, batch: int, refused: Sequence[int], announced: Sequence[tuple[int, bytes, int]]) -> list[int]: ...
    def fail(self, batch: int, reason: str) -> None: ...
    def finish(self, task_index: int, state: str, tx_hash: bytes | None = None) -> bool: ...
    def alert_confirmed(self, alert_hash: bytes, tx_hash: bytes) -> int | None: ...
    def alert_unconfirmed(self, alert_hash: bytes) -> None: ...
    def new_round(self, task_index: int, reference_block: int) -> None: ...
    def note_signatures(self, task_index: int, operator_ids: bytes) -> bool: ...
    def stats(self) -> dict[str, Any]: ...
