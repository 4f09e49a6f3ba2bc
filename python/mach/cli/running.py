"""Running a command to its exit code: one line on stderr for a failure, no traceback, a clean stop on a signal."""

from __future__ import annotations

import asyncio
import signal
import sys
from typing import TYPE_CHECKING, Any, NoReturn

import click

from mach.errors import MachError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

INTERRUPTED = 130


def run_command(command: click.Command) -> NoReturn:
    """Runs a click command as a process: a `MachError` becomes one line on stderr and its exit code."""
    try:
        code = command.main(standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except click.Abort:
        sys.exit(INTERRUPTED)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except MachError as error:
        fail(error)
    except BaseExceptionGroup as group:
        meant = first_mach_error(group)
        if meant is None:
            raise
        fail(meant)
    sys.exit(code if isinstance(code, int) else 0)


def fail(error: MachError) -> NoReturn:
    """Ends the process with an error's one line and exit code."""
    click.echo(f"error: {' '.join(str(error).split())}", err=True)
    sys.exit(error.exit_code)


def first_mach_error(group: BaseExceptionGroup[Any]) -> MachError | None:
    """The error a group of task failures is about, if Mach raised it on purpose."""
    for error in group.exceptions:
        if isinstance(error, MachError):
            return error
        if isinstance(error, BaseExceptionGroup):
            nested = first_mach_error(error)
            if nested is not None:
                return nested
    return None


def run_until_signal(main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Runs a service until it ends, or until SIGINT or SIGTERM asks it to: then it is cancelled and cleans up."""

    async def guarded() -> None:
        task = asyncio.ensure_future(main())
        loop = asyncio.get_running_loop()
        stopping = False

        def stop() -> None:
            nonlocal stopping
            stopping = True
            task.cancel()

        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stop)
        try:
            await task
        except asyncio.CancelledError:
            if not stopping:
                raise

    asyncio.run(guarded())
