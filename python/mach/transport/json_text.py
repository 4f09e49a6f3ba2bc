"""Reading JSON that strangers sent: total, whatever the nesting."""

from __future__ import annotations

import json
import re
from typing import Any, Final

MAX_DEPTH: Final = 64
"""Far more than any JSON-RPC message needs. The standard library's own bound is the interpreter's recursion limit;
libraries raise that so far (py_ecc: 100,000) that the C stack ends first, and the process with it."""

_TOKEN: Final = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"|([\[{])|[\]}]', re.DOTALL)


def parse_json(text: bytes) -> Any:
    """The value; raises `ValueError` for anything that is not JSON or nests deeper than `MAX_DEPTH`."""
    if text.count(b"[") + text.count(b"{") > MAX_DEPTH:
        depth = 0
        for token in _TOKEN.finditer(text):
            if token[1]:
                depth += 1
                if depth > MAX_DEPTH:
                    raise ValueError(f"JSON nested deeper than {MAX_DEPTH} levels")
            elif token[0] in (b"]", b"}"):
                depth -= 1
    return json.loads(text)
