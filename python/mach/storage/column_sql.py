"""Whole columns as one parameter: how each engine takes a list of integers or n values packed into one `bytes`.

A statement over a column costs one call from Python whatever its length, and the rows are made inside the engine with
the GIL released. Binding rows one by one costs twice as much on SQLite.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final, Literal

if TYPE_CHECKING:
    from collections.abc import Sequence

Dialect = Literal["sqlite", "postgresql"]

_ROWS: Final = {
    "sqlite": "(SELECT key AS position, value FROM json_each(:{0}))",
    "postgresql": (
        "(SELECT ordinality - 1 AS position, value "
        "FROM unnest(CAST(:{0} AS bigint[])) WITH ORDINALITY AS u (value, ordinality))"
    ),
}
_IN: Final = {
    "sqlite": "IN (SELECT value FROM json_each(:{0}))",
    "postgresql": "= ANY (CAST(:{0} AS bigint[]))",
}
_SLICE: Final = {
    "sqlite": "substr(:{0}, {1} * {2} + 1, {2})",
    "postgresql": "substring(CAST(:{0} AS bytea) FROM CAST({1} * {2} + 1 AS integer) FOR {2})",
}
_CONCATENATED: Final = {
    "sqlite": "group_concat(hex({0}), '')",  # group_concat makes text; of raw bytes its result is not defined
    "postgresql": "string_agg({0}, CAST('' AS bytea))",
}
_LOCKED: Final = {
    "sqlite": "",  # the transaction holds the whole file
    "postgresql": "FOR NO KEY UPDATE",
}


def integers(values: Sequence[int], dialect: Dialect) -> Any:
    """The parameter for `rows` and `is_in`."""
    return json.dumps(list(values)) if dialect == "sqlite" else list(values)


def rows(parameter: str, dialect: Dialect) -> str:
    """A table with the columns `position` (from 0) and `value`."""
    return _ROWS[dialect].format(parameter)


def is_in(parameter: str, dialect: Dialect) -> str:
    """The test whether an expression stands in the list."""
    return _IN[dialect].format(parameter)


def slice_of(parameter: str, position: str, width: int, dialect: Dialect) -> str:
    """Value number `position` of n values of `width` bytes."""
    return _SLICE[dialect].format(parameter, position, width)


def concatenated(column: str, dialect: Dialect) -> str:
    """An aggregate: the values of a group, one after another; `as_bytes` reads it."""
    return _CONCATENATED[dialect].format(column)


def as_bytes(value: str | bytes | None) -> bytes:
    """A `concatenated` value; none is empty."""
    if value is None:
        return b""
    return bytes.fromhex(value) if isinstance(value, str) else value


def locked(dialect: Dialect) -> str:
    """The end of a SELECT whose rows nobody else may change before the transaction has ended."""
    return _LOCKED[dialect]
