"""The devnet's own L2 contracts, as source for `mach.devnet.assembler`, and the calls that traffic makes to them."""

from __future__ import annotations

from enum import IntEnum
from functools import cache
from typing import TYPE_CHECKING, Final

from mach.devnet.assembler import assemble, deployment

if TYPE_CHECKING:
    from collections.abc import Sequence

L1_BLOCK_IMPLEMENTATION: Final = "0xc0d3c0d3c0d3c0d3c0d3c0d3c0d3c0d3c0d30015"
"""The L1Block implementation that the template genesis holds (Ecotone: it does not know `setL1BlockValuesJovian`)."""

JOVIAN_SELECTOR: Final = 0x3DB6BE2B
"""`setL1BlockValuesJovian()`, the call of the L1-info deposit from the Jovian fork on (OP Stack specification)."""

_L1_BLOCK: Final = f"""
; L1Block with Jovian's setter; any other call goes on to the template's implementation.
; Storage layout and packed calldata as the OP Stack specification gives them ("L1 attributes predeployed contract").
        PUSH 0 CALLDATALOAD PUSH 224 SHR
        PUSH {JOVIAN_SELECTOR} EQ
        PUSH @set JUMPI

        CALLDATASIZE PUSH 0 PUSH 0 CALLDATACOPY
        PUSH 0 PUSH 0 CALLDATASIZE PUSH 0
        PUSH {L1_BLOCK_IMPLEMENTATION} GAS DELEGATECALL
        RETURNDATASIZE PUSH 0 PUSH 0 RETURNDATACOPY
        PUSH @delegated JUMPI
        RETURNDATASIZE PUSH 0 REVERT
delegated:
        RETURNDATASIZE PUSH 0 RETURN

set:
        CALLER PUSH 0xdeaddeaddeaddeaddeaddeaddeaddeaddead0001 EQ    ; the depositor account alone
        PUSH @authorised JUMPI
        PUSH 0 PUSH 0 REVERT
authorised:
        PUSH 4 CALLDATALOAD PUSH 128 SHR PUSH 3 SSTORE      ; base fee scalar, blob base fee scalar, sequence number
        PUSH 20 CALLDATALOAD PUSH 128 SHR PUSH 0 SSTORE     ; L1 timestamp and number
        PUSH 36 CALLDATALOAD PUSH 1 SSTORE                  ; L1 base fee
        PUSH 68 CALLDATALOAD PUSH 7 SSTORE                  ; L1 blob base fee
        PUSH 100 CALLDATALOAD PUSH 2 SSTORE                 ; L1 block hash
        PUSH 132 CALLDATALOAD PUSH 4 SSTORE                 ; batcher hash
        PUSH 176 CALLDATALOAD PUSH 240 SHR PUSH 96 SHL      ; DA footprint gas scalar, above
        PUSH 164 CALLDATALOAD PUSH 160 SHR OR PUSH 8 SSTORE ; operator fee scalar and constant
        STOP
"""

_TRAFFIC_TARGET: Final = """
; The first word of the calldata chooses what a call does (TargetCall).
        PUSH 0 CALLDATALOAD
        DUP1 PUSH 1 EQ PUSH @store JUMPI
        DUP1 PUSH 2 EQ PUSH @store_and_revert JUMPI
        DUP1 PUSH 3 EQ PUSH @ephemeral JUMPI
        DUP1 PUSH 4 EQ PUSH @observe JUMPI
        DUP1 PUSH 6 EQ PUSH @precompile JUMPI
        DUP1 PUSH 7 EQ PUSH @blobs JUMPI
        PUSH @compute JUMPI
        STOP                                   ; an empty call: a plain deposit of ether

; store: pairs (key, value) from byte 32 on; a zero value deletes the slot. Logs the pairs.
store:
        PUSH @log PUSH @write_pairs JUMP
log:
        PUSH 32 CALLDATASIZE SUB
        DUP1 PUSH 32 PUSH 0 CALLDATACOPY
        CALLER PUSH 32 CALLDATALOAD            ; topics: the first key, the caller
        DUP3 PUSH 0 LOG2
        STOP

; store_and_revert: as store, and then everything is taken back.
store_and_revert:
        PUSH @take_back PUSH @write_pairs JUMP
take_back:
        PUSH 0xdead PUSH 0 MSTORE
        PUSH 32 PUSH 0 REVERT

; write_pairs: a subroutine; the return target lies on the stack.
write_pairs:
        PUSH 32                                ; position
next_pair:
        DUP1 CALLDATASIZE GT ISZERO PUSH @pairs_done JUMPI
        DUP1 PUSH 32 ADD CALLDATALOAD          ; value
        DUP2 CALLDATALOAD                      ; key
        SSTORE
        PUSH 64 ADD
        PUSH @next_pair JUMP
pairs_done:
        POP JUMP

; ephemeral: creates a child that holds the call's value and a storage slot, and has it destroy itself in this same
; transaction: after EIP-6780 the only way in which an account with code still disappears.
; The child's init code is PUSH1 1 PUSH0 SSTORE (60015f55), which sets slot 0, and then returns the two bytes
; CALLER SELFDESTRUCT (33ff): PUSH2 33ff PUSH0 MSTORE PUSH1 2 PUSH1 30 RETURN.
ephemeral:
        PUSH 0x60015f556133ff5f526002601ef3 PUSH 0 MSTORE
        PUSH 14 PUSH 18 CALLVALUE CREATE       ; the 14 bytes stand right-aligned in the word
        PUSH 0 PUSH 0 PUSH 0 PUSH 0 PUSH 0
        DUP6 GAS CALL
        PUSH 9 SSTORE                          ; slot 9: whether the call went well
        STOP

; observe: stores the hash of an ancestor block, and balance and code hash of the address, that the call names.
observe:
        PUSH 32 CALLDATALOAD NUMBER SUB BLOCKHASH PUSH 10 SSTORE
        PUSH 64 CALLDATALOAD BALANCE PUSH 11 SSTORE
        PUSH 64 CALLDATALOAD EXTCODEHASH PUSH 12 SSTORE
        STOP

; compute: precompiles (SHA-256, identity, ecrecover with the calldata as it is), memory, transient storage, logs.
compute:
        CALLDATASIZE PUSH 0 PUSH 0 CALLDATACOPY
        PUSH 32 PUSH 0x200 CALLDATASIZE PUSH 0 PUSH 2 GAS STATICCALL POP
        PUSH 32 PUSH 0x220 CALLDATASIZE PUSH 0 PUSH 4 GAS STATICCALL POP
        PUSH 32 PUSH 0x240 PUSH 128 PUSH 0 PUSH 1 GAS STATICCALL POP
        PUSH 0x200 MLOAD PUSH 0 TSTORE
        PUSH 0 TLOAD PUSH 13 SSTORE
        PUSH 96 PUSH 0x200 KECCAK256
        PUSH 96 PUSH 0x200 LOG1
        STOP

; precompile: calls the address that the call names with what follows from byte 64 on, with bounded gas, since a failing
; precompile takes it all. Stores whether it went well, and the hash of what it answered.
precompile:
        PUSH 64 CALLDATASIZE SUB
        DUP1 PUSH 64 PUSH 0 CALLDATACOPY
        PUSH 0 PUSH 0 DUP3 PUSH 0 PUSH 32 CALLDATALOAD PUSH 200000 STATICCALL
        PUSH 14 SSTORE
        RETURNDATASIZE PUSH 0 PUSH 0 RETURNDATACOPY
        RETURNDATASIZE PUSH 0 KECCAK256 PUSH 15 SSTORE
        STOP

; blobs: stores the versioned hash of the transaction's blob that the call names by position, and a blob's price.
blobs:
        PUSH 32 CALLDATALOAD BLOBHASH PUSH 16 SSTORE
        BLOBBASEFEE PUSH 17 SSTORE
        STOP
"""


class TargetCall(IntEnum):
    """What a call to the traffic target does: the first word of its calldata."""

    RECEIVE = 0
    STORE = 1
    STORE_AND_REVERT = 2
    EPHEMERAL = 3
    OBSERVE = 4
    COMPUTE = 5
    PRECOMPILE = 6
    BLOBS = 7


def target_calldata(call: TargetCall, words: Sequence[int] = ()) -> bytes:
    """Calldata for the traffic target: the call and its arguments, 32 bytes each.

    `STORE` and `STORE_AND_REVERT` take keys and values in turn, `OBSERVE` a distance in blocks and an address,
    `COMPUTE` up to 15 words of any content, `BLOBS` a blob's position in its transaction. `PRECOMPILE` takes an
    address, and any bytes after it.
    """
    return b"".join(word.to_bytes(32, "big") for word in (call, *words))


@cache
def l1_block_code() -> bytes:
    """Runtime code of the devnet's L1Block implementation."""
    return assemble(_L1_BLOCK)


@cache
def traffic_target_code() -> bytes:
    """Runtime code of the contract that traffic calls."""
    return assemble(_TRAFFIC_TARGET)


@cache
def traffic_target_init_code() -> bytes:
    """Init code that deploys the traffic target."""
    return deployment(traffic_target_code())


@cache
def vanishing_init_code() -> bytes:
    """Init code of a contract that writes a slot and destroys itself before it is deployed."""
    return assemble("PUSH 1 PUSH 0 SSTORE CALLER SELFDESTRUCT")
