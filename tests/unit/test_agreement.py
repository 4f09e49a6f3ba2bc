"""The rule of agreement: never with fewer endpoints or providers than are required, whoever is away."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from mach.config.cross_check import CrossCheckConfig, CrossCheckEndpoint, load_verifier
from mach.config.verifier import VerifierConfig
from mach.errors import ConfigurationError
from mach.rollup.node import MalformedAnswerError
from mach.verifier.agreement import COMPARED, Endpoint, EndpointHeader, Rule, agreed, reachable_height, read_header

if TYPE_CHECKING:
    from pathlib import Path

BASE: dict[str, Any] = {"verifier_mode": "cross-check", "layer2_chain_id": 42161}


def header(seed: int) -> EndpointHeader:
    fields = ["0x" + bytes([seed]).hex() * 32] * 5 + ["0x" + "00" * 256, hex(seed), "0x1"]
    return EndpointHeader(7, tuple(fields))


@st.composite
def situations(draw: st.DrawFn) -> tuple[dict[Endpoint, EndpointHeader], Rule]:
    providers = draw(st.lists(st.sampled_from("abcd"), min_size=2, max_size=8))
    endpoints = [Endpoint(f"{provider}/{position}", provider) for position, provider in enumerate(providers)]
    answers = {endpoint: header(draw(st.integers(1, 3))) for endpoint in endpoints}
    required = draw(st.integers(len(endpoints) // 2 + 1, len(endpoints)))
    return answers, Rule(required, draw(st.integers(1, required)))


@given(situations(), st.data())
def test_agreement_needs_the_full_number_and_a_failover_never_makes_one(
    situation: tuple[dict[Endpoint, EndpointHeader], Rule], data: st.DataObject
) -> None:
    answers, rule = situation
    whole = agreed(answers, rule)
    groups = {found: [one for one, served in answers.items() if served == found] for found in answers.values()}
    enough = [
        found
        for found, group in groups.items()
        if len(group) >= rule.endpoints and len({one.provider for one in group}) >= rule.providers
    ]
    assert [whole[0]] == enough if whole else not enough
    away = data.draw(st.sets(st.sampled_from(sorted(answers, key=lambda one: one.name))))
    left = {endpoint: served for endpoint, served in answers.items() if endpoint not in away}
    part = agreed(left, rule)
    assert part is None or (whole is not None and part[0] == whole[0])
    heads = {endpoint: int(served.fields[6], 16) for endpoint, served in left.items()}
    height = reachable_height(heads, rule)
    if height is not None:
        assert rule.holds(one for one, head in heads.items() if head >= height)
        assert not rule.holds(one for one, head in heads.items() if head > height)


BLOCK = {"number": "0x7", **dict(zip(COMPARED, header(1).fields, strict=True))}


def test_a_header_is_read_whatever_its_case() -> None:
    shouted = {key: value.upper().replace("0X", "0x") if key != "number" else value for key, value in BLOCK.items()}
    assert read_header(shouted, 7) == read_header(BLOCK, 7) == header(1)
    assert EndpointHeader.from_json(header(1).as_json()) == header(1)
    assert header(1).differences(header(2))[0] == ("hash", "0x" + "01" * 32, "0x" + "02" * 32)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=70),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*BLOCK, "x"]), inner, max_size=4),
    max_leaves=6,
)


@given(JSON, st.dictionaries(st.sampled_from(list(BLOCK)), JSON, max_size=3))
def test_reading_a_header_is_total(anything: Any, changes: dict[str, Any]) -> None:
    for answer in (anything, BLOCK | changes):
        try:
            found = read_header(answer, 7)
        except MalformedAnswerError:
            continue
        assert (len(found.hash), len(found.parent_hash)) == (32, 32)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"cross_check_agreement": 2}, "2 of 4 endpoints: set 3 to 4"),
        ({"cross_check_agreement": 5}, "5 of 4 endpoints: set 3 to 4"),
        ({"cross_check_providers": 4}, "can never be of so many"),
        ({"cross_check_endpoints": "a=http://x,b=http://x,c=http://y"}, "names one URL twice"),
        ({"cross_check_endpoints": "http://x,b=http://z"}, "PROVIDER=URL"),
        ({"cross_check_endpoints": [{"url": "http://x"}]}, "PROVIDER=URL"),
        ({"cross_check_endpoints": ["a=ftp://x", "b=http://y"]}, "PROVIDER=URL"),
        ({"verdict_api_ip_port_address": "0.0.0.0:1"}, "loopback only"),
    ],
)
def test_a_rule_that_cannot_hold_or_is_none_is_refused(settings: dict[str, Any], words: str) -> None:
    good = BASE | {"cross_check_endpoints": "a=http://1,a=http://2,b=http://3,c=http://4", "cross_check_agreement": 3}
    assert CrossCheckConfig(**good).cross_check_providers == 2
    with pytest.raises(ValidationError, match=words):
        CrossCheckConfig(**good | settings)


def test_the_file_says_which_mode_it_is_of(tmp_path: Path) -> None:
    path = tmp_path / "verifier.yaml"
    path.write_text(
        "verifier_mode: cross-check\nlayer2_chain_id: 42161\ncross_check_agreement: 2\n"
        "cross_check_endpoints: [One=https://u:p@x/key, {provider: two, url: 'http://y'}]\n"
    )
    config = load_verifier(path)
    assert isinstance(config, CrossCheckConfig)
    assert config.cross_check_endpoints[0] == CrossCheckEndpoint("one", "https://u:p@x/key")
    path.write_text("layer2_chain_id: 10\nl2_rpc_url: http://x\nl2_chain_config: c.json\n")
    assert isinstance(load_verifier(path), VerifierConfig)
    path.write_text("verifier_mode: guess\nlayer2_chain_id: 10\nl2_rpc_url: http://x\nl2_chain_config: c.json\n")
    with pytest.raises(ConfigurationError, match="`verifier_mode`"):
        load_verifier(path)
