"""Binding an aiohttp application to an address, with errors a person can act on."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from aiohttp import web

from mach.errors import MachError

if TYPE_CHECKING:
    import socket


class ListenError(MachError):
    """A server cannot listen on the address it was given."""


async def start_site(app: web.Application, host: str, port: int) -> tuple[web.AppRunner, int]:
    """Starts to serve `app`; returns the runner (its `cleanup()` stops it) and the port (0 asks for a free one)."""
    runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=2.0)
    await runner.setup()
    site = web.TCPSite(runner, host, port)
    try:
        await site.start()
    except OSError as error:
        await runner.cleanup()
        if error.errno == errno.EADDRINUSE:
            message = f"{host}:{port} is already in use; stop the process that listens there or set another port"
        else:
            message = f"cannot listen on {host}:{port}: {error.strerror}; set an address of this machine"
        raise ListenError(message) from None
    bound: socket.socket | None = next(iter(site._server.sockets), None)  # type: ignore[union-attr]  # noqa: SLF001
    return runner, bound.getsockname()[1] if bound is not None else port
