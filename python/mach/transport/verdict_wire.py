"""What a verifier's verdict API and its operator agree on: who may ask, and who has answered.

Both hold one secret. What the asker shows is derived from it and does not give it away, so that a process which takes
the verifier's port while the verifier is down learns a bearer token and cannot answer: an answer carries a MAC under
another derived key, over the asker's nonce, the question and the answer.
"""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING, Final

from mach.transport.secret_files import read_secret

if TYPE_CHECKING:
    from pathlib import Path

SECRET_CHARACTERS: Final = 32
BEARER_LABEL: Final = b"mach verdict api: bearer"
ANSWER_LABEL: Final = b"mach verdict api: answer"
NONCE_HEADER: Final = "Mach-Nonce"
MAC_HEADER: Final = "Mach-Answer-Mac"
ALERTS_PATH: Final = "/v1/alerts"
VERDICTS_PATH: Final = "/v1/verdicts"
MAX_HASHES: Final = 100
"""Message hashes in one question: with them the request line stays below the 8,190 bytes that servers read."""
MAX_NONCE_CHARACTERS: Final = 128


class VerdictApiSecret:
    """The bearer token and the answers' MAC, both derived from one secret by HMAC-SHA256."""

    def __init__(self, secret: str) -> None:
        self.bearer = hmac.digest(secret.encode(), BEARER_LABEL, "sha256").hex()
        self._answer_key = hmac.digest(secret.encode(), ANSWER_LABEL, "sha256")

    @classmethod
    def read(cls, path: Path, setting: str) -> VerdictApiSecret:
        """From a file; raises `ConfigurationError`."""
        return cls(read_secret(path, setting, least_characters=SECRET_CHARACTERS))

    def admits(self, authorization: str | None) -> bool:
        """Whether an `Authorization` header holds the bearer token; in constant time."""
        expected = f"Bearer {self.bearer}".encode()
        return hmac.compare_digest((authorization or "").encode("utf-8", "replace"), expected)

    def seal(self, nonce: str, question: str, status: int, body: bytes) -> str:
        """The MAC, as hex, of an answer to a question (path and query) that came with a nonce."""
        message = b"\n".join((nonce.encode(), question.encode(), str(status).encode(), body))
        return hmac.digest(self._answer_key, message, "sha256").hex()

    def sealed(self, nonce: str, question: str, status: int, body: bytes, mac: str | None) -> bool:
        """Whether the MAC of an answer is right; in constant time."""
        return hmac.compare_digest(
            (mac or "").encode("utf-8", "replace"), self.seal(nonce, question, status, body).encode()
        )
