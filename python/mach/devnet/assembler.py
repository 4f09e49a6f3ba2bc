"""A small EVM assembler: the devnet's own contracts are kept as commented source, and assembled when they are needed.

The language, one statement a line:

    ; a comment, to the end of the line
    name:               a jump target (assembles to JUMPDEST)
    ADD                 an instruction by its name in the Yellow Paper
    PUSH 0x20           the shortest PUSH1..PUSH32 that holds the number (decimal or hex); zero is PUSH0 (EIP-3855)
    PUSH @name          the position of a jump target

Several instructions may share a line.
"""

from __future__ import annotations

from typing import Final

from mach.errors import MachError

_RANGES: Final = {
    0x00: "STOP ADD MUL SUB DIV SDIV MOD SMOD ADDMOD MULMOD EXP SIGNEXTEND",
    0x10: "LT GT SLT SGT EQ ISZERO AND OR XOR NOT BYTE SHL SHR SAR",
    0x20: "KECCAK256",
    0x30: "ADDRESS BALANCE ORIGIN CALLER CALLVALUE CALLDATALOAD CALLDATASIZE CALLDATACOPY CODESIZE CODECOPY GASPRICE"
    " EXTCODESIZE EXTCODECOPY RETURNDATASIZE RETURNDATACOPY EXTCODEHASH",
    0x40: "BLOCKHASH COINBASE TIMESTAMP NUMBER PREVRANDAO GASLIMIT CHAINID SELFBALANCE BASEFEE BLOBHASH BLOBBASEFEE",
    0x50: "POP MLOAD MSTORE MSTORE8 SLOAD SSTORE JUMP JUMPI PC MSIZE GAS JUMPDEST TLOAD TSTORE MCOPY",
    0x80: " ".join(f"DUP{depth}" for depth in range(1, 17)),
    0x90: " ".join(f"SWAP{depth}" for depth in range(1, 17)),
    0xA0: "LOG0 LOG1 LOG2 LOG3 LOG4",
    0xF0: "CREATE CALL CALLCODE RETURN DELEGATECALL CREATE2",
    0xFA: "STATICCALL",
    0xFD: "REVERT INVALID SELFDESTRUCT",
}
"""Instructions in a row, by the opcode of the first."""

_MNEMONICS: Final = {
    name: first + offset for first, names in _RANGES.items() for offset, name in enumerate(names.split())
}
_PUSH0: Final = 0x5F
_PUSH2: Final = 0x61
_LABEL_BYTES: Final = 2


class AssemblyError(MachError):
    """A program does not assemble. The message names the statement."""


def assemble(source: str) -> bytes:
    """The bytecode of a program.

    Raises:
        AssemblyError: an unknown instruction, a PUSH without a number, an unknown or repeated jump target.
    """
    code = bytearray()
    targets: dict[str, int] = {}
    references: list[tuple[int, str]] = []
    words = iter([word for line in source.splitlines() for word in line.split(";", 1)[0].split()])
    for word in words:
        if word.endswith(":"):
            name = word[:-1]
            if name in targets:
                raise AssemblyError(f"jump target {name!r} stands twice: rename one")
            targets[name] = len(code)
            code.append(_MNEMONICS["JUMPDEST"])
        elif word == "PUSH":
            operand = next(words, "")
            if operand.startswith("@"):
                code.append(_PUSH2)
                references.append((len(code), operand[1:]))
                code.extend(bytes(_LABEL_BYTES))
            else:
                code.extend(_push(operand))
        elif word in _MNEMONICS:
            code.append(_MNEMONICS[word])
        else:
            raise AssemblyError(f"unknown instruction {word!r}: write instructions in capitals, targets as `name:`")
    for position, name in references:
        if name not in targets:
            raise AssemblyError(f"unknown jump target {name!r}: it needs a line `{name}:`")
        code[position : position + _LABEL_BYTES] = targets[name].to_bytes(_LABEL_BYTES, "big")
    return bytes(code)


def deployment(runtime: bytes) -> bytes:
    """Init code that deploys `runtime` as it is."""

    def copier(offset: int) -> bytes:
        return assemble(f"PUSH {len(runtime)} DUP1 PUSH {offset} PUSH 0 CODECOPY PUSH 0 RETURN")

    # The runtime follows the copier, whose length is the same for every offset of one byte.
    return copier(len(copier(1))) + runtime


def _push(operand: str) -> bytes:
    try:
        value = int(operand, 0)
    except ValueError:
        value = -1
    if not 0 <= value < 1 << 256:
        raise AssemblyError(f"PUSH {operand!r}: the operand is a number below 2^256, decimal or 0x hex, or @target")
    if value == 0:
        return bytes([_PUSH0])
    data = value.to_bytes((value.bit_length() + 7) // 8, "big")
    return bytes([_PUSH0 + len(data)]) + data
