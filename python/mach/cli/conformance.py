"""`mach conformance`: blockchain tests of the form of ethereum/tests, run through the verifier's own code."""

from __future__ import annotations

import json
import time
from collections import Counter
from dataclasses import asdict
from pathlib import Path

import click

from mach.rollup.conformance import CaseReport, run_paths


@click.command()
@click.argument("paths", nargs=-1, required=True, metavar="PATH…", type=click.Path(exists=True, path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option("--threads", type=click.IntRange(1, 1024), help="Documents run at a time; as many as processors.")
@click.option("-v", "--verbose", is_flag=True, help="Name the tests that pass, too.")
def conformance(paths: tuple[Path, ...], as_json: bool, threads: int | None, verbose: bool) -> int:
    """Run blockchain tests from files, folders and archives (.json, .json.gz, .tar.xz, .tar.gz, .zip).

    Each block is verified statelessly. A valid one must be VALID; an invalid one must not be, and for a reason that the
    test names. The last line is `N passed, N failed`, with `, N skipped` if any were. Ends with 0 if none failed, with
    1 if one did.
    """
    started = time.perf_counter()
    counts: Counter[str] = Counter()
    blocks, gas_used = 0, 0
    noted: list[CaseReport] = []
    for case in run_paths(paths, threads):
        counts[case.outcome] += 1
        blocks, gas_used = blocks + case.blocks, gas_used + case.gas_used
        if case.outcome != "passed":
            noted.append(case)
        if not as_json and (verbose or case.outcome != "passed"):
            click.echo(_line(case))
    if as_json:
        summary = {
            **{outcome: counts[outcome] for outcome in ("passed", "failed", "skipped")},
            "blocks": blocks,
            "gas_used": gas_used,
            "seconds": round(time.perf_counter() - started, 3),
            **{
                f"{outcome}_cases": [asdict(case) for case in noted if case.outcome == outcome]
                for outcome in ("failed", "skipped")
            },
        }
        click.echo(json.dumps(summary))
    else:
        skipped = f", {counts['skipped']} skipped" if counts["skipped"] else ""
        click.echo(f"{counts['passed']} passed, {counts['failed']} failed{skipped}")
    return 1 if counts["failed"] else 0


def _line(case: CaseReport) -> str:
    """One line for one test; names come out of an archive, so nothing in them reaches the terminal as control."""
    text = f"{case.outcome.upper()} {case.document} {case.name}" + (f": {case.reason}" if case.reason else "")
    return "".join(character if character.isprintable() else "\ufffd" for character in text)
