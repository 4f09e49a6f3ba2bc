"""`make bench`: one signature at a time against sums that are checked once, in one run, decoding included.

`extra_info` of a batch has the time of one of its signatures in microseconds and how many times as long the baseline
takes: the same library, one check of two pairings for each signature.
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from mach import bls

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_benchmark.fixture import BenchmarkFixture

MESSAGE = bytes(range(32))
MOST = 10_000


@dataclass(frozen=True)
class Signed:
    """`MOST` keys and their signatures over `MESSAGE`, laid end to end."""

    public_keys: bytes
    signatures: bytes

    def signers(self, count: int) -> bls.SignerSet:
        return bls.SignerSet.from_bytes(self.public_keys[: 128 * count])

    def first(self, count: int) -> bytes:
        return self.signatures[: 64 * count]


@pytest.fixture(scope="module")
def signed() -> Signed:
    keys = [bls.SecretKey.from_bytes(scalar.to_bytes(32, "big")) for scalar in range(10**40, 10**40 + MOST)]
    public_keys = b"".join(key.public_key_g2.to_bytes() for key in keys)
    return Signed(public_keys, b"".join(key.sign(MESSAGE).to_bytes() for key in keys))


def best_of(work: Callable[[], object], rounds: int) -> float:
    """Seconds of the fastest of some runs."""
    seconds = []
    for _ in range(rounds):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def check_one(signed: Signed) -> Callable[[], bool]:
    """The baseline: read one signature and check it by its key."""
    public_key = bls.PublicKeyG2.from_bytes(signed.public_keys[:128])
    encoded = signed.first(1)
    return lambda: bls.Signature.from_bytes(encoded).verify(public_key, MESSAGE)


def test_sign(benchmark: BenchmarkFixture) -> None:
    key = bls.SecretKey.generate()
    benchmark(key.sign, MESSAGE)


def test_one_signature_checked_alone(benchmark: BenchmarkFixture, signed: Signed) -> None:
    assert benchmark(check_one(signed))


@pytest.mark.parametrize("count", [100, 1_000, MOST])
def test_signatures_summed_and_checked_once(benchmark: BenchmarkFixture, signed: Signed, count: int) -> None:
    signers, signatures = signed.signers(count), signed.first(count)
    alone = best_of(check_one(signed), 50)
    assert benchmark(signers.verify_aggregate, MESSAGE, signatures)
    together = best_of(lambda: signers.verify_aggregate(MESSAGE, signatures), 50)
    benchmark.extra_info["us_per_signature"] = round(together / count * 1e6, 3)
    benchmark.extra_info["times_as_fast_as_one_by_one"] = round(alone * count / together)


def test_two_threads_against_one(benchmark: BenchmarkFixture, signed: Signed) -> None:
    signers, signatures, batches = signed.signers(1_000), signed.first(1_000), 64

    def check(_: int) -> bool:
        return signers.verify_aggregate(MESSAGE, signatures)

    with ThreadPoolExecutor(max_workers=1) as one, ThreadPoolExecutor(max_workers=2) as two:
        alone = best_of(lambda: all(one.map(check, range(batches))), 5)
        assert benchmark(lambda: all(two.map(check, range(batches))))
        together = best_of(lambda: all(two.map(check, range(batches))), 5)
    benchmark.extra_info["times_as_fast_as_one_thread"] = round(alone / together, 2)


@pytest.mark.parametrize("bad", [1, 10])
def test_bad_signatures_found_among_a_thousand(benchmark: BenchmarkFixture, signed: Signed, bad: int) -> None:
    signers, signatures = signed.signers(1_000), bytearray(signed.first(1_000))
    expected = [index * 97 + 13 for index in range(bad)]
    for index in expected:
        signatures[64 * index : 64 * index + 64] = signed.signatures[64 * index + 64 : 64 * index + 128]
    batch = bytes(signatures)
    assert benchmark(signers.find_invalid, MESSAGE, batch) == expected


def test_each_of_a_thousand_proved(benchmark: BenchmarkFixture, signed: Signed) -> None:
    signers, signatures = signed.public_keys[: 128 * 1_000], signed.first(1_000)
    assert benchmark(bls.verify_each, signers, MESSAGE, signatures)


@pytest.mark.parametrize("keys", [1, 256])
def test_two_hundred_and_fifty_six_messages_at_once(benchmark: BenchmarkFixture, keys: int) -> None:
    messages = [index.to_bytes(32, "big") for index in range(256)]
    signers = [bls.SecretKey.from_bytes((index % keys + 1).to_bytes(32, "big")) for index in range(256)]
    signatures = b"".join(key.sign(message).to_bytes() for key, message in zip(signers, messages, strict=True))
    public_keys = b"".join(key.public_key_g2.to_bytes() for key in signers)
    assert benchmark(bls.verify_batch, public_keys, b"".join(messages), signatures)


@pytest.mark.parametrize("count", [1, 64, 1_024])
def test_messages_hashed_to_the_curve(benchmark: BenchmarkFixture, count: int) -> None:
    messages = b"".join(index.to_bytes(32, "big") for index in range(count))
    assert len(benchmark(bls.hash_to_g1_many, messages)) == 64 * count


def test_an_operator_set_read(benchmark: BenchmarkFixture, signed: Signed) -> None:
    keys = signed.public_keys[: 128 * 200]
    assert len(benchmark(bls.SignerSet.from_bytes, keys)) == 200
