"""A devnet's story on a terminal: a picture that redraws itself, or plain lines where no terminal is."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Final, Self

from rich.console import Console, Group
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from mach.devnet.processes import Event
    from mach.devnet.story import Moment, Story

LINES_SHOWN: Final = 14


class LiveView(AbstractContextManager["LiveView"]):
    """Shows a story while it happens; call `note` with every event."""

    def __init__(self, story: Story, title: str, console: Console | None = None) -> None:
        self._story = story
        self._title = title
        self._console = console or Console()
        self._told = 0
        self._live = (
            Live(console=self._console, refresh_per_second=8, get_renderable=self._picture)
            if self._console.is_terminal
            else None
        )

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.__enter__()
        return self

    def __exit__(self, *details: object) -> None:
        if self._live is not None:
            self._live.__exit__(None, None, None)
        self._tell_rest()

    def note(self, name: str, event: Event) -> None:
        """Takes in one event and shows what it changes."""
        self._story.note(name, event)
        self.refresh()

    def refresh(self) -> None:
        """Shows what is new in the story."""
        if self._live is None:
            self._tell_rest()

    def _tell_rest(self) -> None:
        if self._live is not None:
            return
        for moment in self._story.moments[self._told :]:
            self._console.print(_line(moment), soft_wrap=True)
        self._told = len(self._story.moments)

    def _picture(self) -> Group:
        story = self._story
        verifiers = Table(expand=True, box=None, header_style="dim")
        numbers = ("blocks valid", "transactions", "last block", "re-executed in", "outputs agree")
        for heading in ("verifier", *numbers, "verdict"):
            verifiers.add_column(heading, justify="right" if heading in numbers else "left")
        for name, verifier in sorted(story.verifiers.items()):
            verdict = Text("VALID" if verifier.valid else "…", style="green")
            if verifier.invalid:
                block, mismatches = next(iter(verifier.invalid.items()))
                verdict = Text(f"block {block} INVALID: {mismatches[0].split(':')[0]}", style="bold red")
            elif verifier.false_outputs:
                verdict = Text(f"output root of block {min(verifier.false_outputs)} on L1 is FALSE", style="bold red")
            elif verifier.waiting:
                verdict = Text(verifier.waiting[:60], style="dim")
            verifiers.add_row(
                name,
                str(verifier.valid),
                str(verifier.transactions),
                str(verifier.last_block),
                f"{verifier.last_ms:.1f} ms",
                str(verifier.outputs_agree),
                verdict,
            )
        events = Text("\n").join(_line(moment) for moment in story.moments[-LINES_SHOWN:])
        title = f"{self._title} · {story.seconds:.0f} s"
        return Group(Panel(verifiers, title=title, border_style="cyan"), Panel(events, border_style="dim"))


def _line(moment: Moment) -> Text:
    return Text.assemble((f"{moment.at_s:6.1f} s  ", "dim"), (f"{moment.who:<11}", "cyan"), (moment.what, moment.style))
