"""Writes docs/configuration.md from the settings models, so that the page cannot lag behind them.

`python tools/configuration_page.py` writes; with `--check` it exits 1 when the page is out of date.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import AliasChoices
from pydantic_core import PydanticUndefined

from mach.config.aggregator import AggregatorConfig
from mach.config.cross_check import CrossCheckConfig
from mach.config.operator import OperatorConfig
from mach.config.verifier import VerifierConfig

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo

    from mach.config.loading import ServiceConfig

PAGE = Path(__file__).parents[1] / "docs" / "configuration.md"
SERVICES: dict[str, type[ServiceConfig]] = {
    "mach-aggregator": AggregatorConfig,
    "mach-operator-signer": OperatorConfig,
    "mach-verifier": VerifierConfig,
    "mach-verifier with `verifier_mode: cross-check`": CrossCheckConfig,
}
HEAD = """# Configuration

Settings come from a YAML file (`--config`), from environment variables and from flags; flags win over the environment,
the environment over the file. An unknown key is an error. Lists in the environment are separated by commas. Addresses
to listen on are `host:port`; a missing host is loopback. The samples in `config-files/` run as they are against
`mach devnet up --only chains`.

This page is written by `tools/configuration_page.py` from the code.
"""


def page() -> str:
    """The whole page."""
    parts = [HEAD]
    for command, model in SERVICES.items():
        rows = ["| key | environment | default | |", "|---|---|---|---|"]
        rows += [row(name, info) for name, info in model.model_fields.items()]
        parts.append(f"\n## {command}\n\n" + "\n".join(rows) + "\n")
    return "".join(parts)


def row(name: str, info: FieldInfo) -> str:
    """One key's line."""
    names = [name]
    if isinstance(info.validation_alias, AliasChoices):
        names = [str(choice) for choice in info.validation_alias.choices]
    # the original's variable, where it differs from the key, is the one people know
    return f"| `{name}` | `{names[-1].upper()}` | {default(info)} | {description(info)} |"


def default(info: FieldInfo) -> str:
    """The default as text."""
    value: Any = info.default
    if value is PydanticUndefined:
        return "**required**"
    if value is None or value in ("", []):
        return "–"
    return f"`{', '.join(map(str, value))}`" if isinstance(value, list) else f"`{value}`"


def description(info: FieldInfo) -> str:
    """What the key is for, where its name does not say it."""
    return re.sub(r"\s+", " ", info.description or "").replace("|", "\\|")


if __name__ == "__main__":
    if "--check" in sys.argv[1:]:
        if not PAGE.exists() or PAGE.read_text(encoding="utf-8") != page():
            sys.exit(f"{PAGE.name} is out of date: run python tools/configuration_page.py")
    else:
        PAGE.write_text(page(), encoding="utf-8")
