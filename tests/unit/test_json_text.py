"""JSON from strangers: the same values as the standard library's parser, and a bound on nesting."""

from __future__ import annotations

import json
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mach.transport.json_text import MAX_DEPTH, parse_json

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(st.lists(values, max_size=80))
def test_values_survive(value: list[object]) -> None:
    assert parse_json(json.dumps(value).encode()) == value


@pytest.mark.parametrize("opening", [b"[", b'{"a":', b'[{"a":'])
def test_deep_nesting_is_refused_whatever_the_interpreters_limit(opening: bytes) -> None:
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(1_000_000)
    try:
        with pytest.raises(ValueError, match="nested deeper"):
            parse_json(opening * 100_000)
    finally:
        sys.setrecursionlimit(limit)


def test_brackets_in_texts_do_not_count() -> None:
    text = '"' + "[" * 1000 + '\\"' + "{" * 1000 + '"'
    assert parse_json(text.encode()) == json.loads(text)


def test_the_bound_is_reached_exactly() -> None:
    parse_json(b"[" * MAX_DEPTH + b"]" * MAX_DEPTH + b" ")
    with pytest.raises(ValueError, match="nested deeper"):
        parse_json(b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1))


@given(st.binary(max_size=300))
def test_garbage_is_a_value_error_or_a_value(text: bytes) -> None:
    try:
        expected = json.loads(text)
    except (ValueError, UnicodeDecodeError):
        with pytest.raises(ValueError):  # noqa: PT011 - any kind will do
            parse_json(text)
    else:
        assert parse_json(text) == expected or expected != expected
