"""What can go wrong between Mach and the settlement chain (L1), one class for each failure a caller can act on."""

from __future__ import annotations

from typing import ClassVar

from mach.errors import EnvironmentFaultError, MachError


class L1UnavailableError(EnvironmentFaultError):
    """The node did not answer, or not usefully: the same request may work later. Retry with backoff."""


class MalformedAnswerError(L1UnavailableError, ValueError):
    """The node's answer has another form than Ethereum's JSON-RPC gives it."""


class WrongChainIdError(EnvironmentFaultError):
    """The node serves another chain than the configured one."""


class ContractNotFoundError(EnvironmentFaultError):
    """No code stands at an address that must be a contract."""


class RequestRefusedError(MachError):
    """The node understood the request and refused it: repeating the same request does not help."""


class TransactionRefusedError(RequestRefusedError):
    """The node did not accept a transaction, for a reason without a class of its own."""


class InsufficientFundsError(TransactionRefusedError):
    """The sender's balance does not cover value and gas."""


class NonceConsumedError(TransactionRefusedError):
    """Another transaction of the sender has the nonce: this one can never be mined; prepare a new one."""


class ReplacementUnderpricedError(TransactionRefusedError):
    """Another pending transaction has the nonce, and the fees are not high enough to take its place."""


class FeeCapReachedError(TransactionRefusedError):
    """Sending now would need fees above the configured cap."""


class RevertedError(MachError):
    """A call or a transaction reverted.

    `reason` is the decoded reason: a `require` text, or the name of a custom error with its arguments.
    `transaction_hash` is set when the revert was mined, None when a simulation found it.
    """

    exit_code: ClassVar[int] = 2

    def __init__(self, message: str, reason: str, transaction_hash: bytes | None = None) -> None:
        super().__init__(message)
        self.reason = reason
        self.transaction_hash = transaction_hash

    @property
    def error_name(self) -> str:
        """The custom error's name without arguments, such as "AlreadyAdded"; a `require` text as it is."""
        return self.reason.partition("(")[0] if self.reason.endswith(")") else self.reason


class TransactionTimeoutError(MachError):
    """A transaction was not mined before the deadline; it may still be."""

    exit_code: ClassVar[int] = 3
