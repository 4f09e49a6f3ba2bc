"""An HTTP server between Mach and an anvil: it counts what is asked, and lies where a test says so."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import aiohttp
from aiohttp import web

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable


class L1Proxy:
    """Passes JSON-RPC on to a node. `requests` holds each HTTP request's calls."""

    def __init__(self, target: str, session: aiohttp.ClientSession) -> None:
        self.url = ""
        self.requests: list[list[dict[str, Any]]] = []
        self.tamper: Callable[[dict[str, Any], dict[str, Any]], Any] | None = None
        """Makes the answer that is sent of a call and its true answer."""
        self.body: bytes | None = None
        """Sent instead of any answer."""
        self.status = 200
        self.on_call: Callable[[dict[str, Any]], None] | None = None
        """Told of each call when it arrives."""
        self._target = target
        self._session = session

    def methods(self) -> list[str]:
        """The methods of all calls so far."""
        return [call["method"] for calls in self.requests for call in calls]

    async def handle(self, request: web.Request) -> web.StreamResponse:
        asked = await request.json()
        calls = asked if isinstance(asked, list) else [asked]
        self.requests.append(calls)
        if self.on_call is not None:
            for call in calls:
                self.on_call(call)
        if self.body is not None or self.status != 200:
            return web.Response(status=self.status, body=self.body or b"")
        async with self._session.post(self._target, json=asked) as response:
            answered = await response.json()
        if self.tamper is not None:
            if isinstance(answered, list):
                by_id = {call["id"]: call for call in calls}
                answered = [self.tamper(by_id[answer["id"]], answer) for answer in answered]
            else:
                answered = self.tamper(asked, answered)
        return web.json_response(answered)


@contextlib.asynccontextmanager
async def l1_proxy(target: str) -> AsyncIterator[L1Proxy]:
    """A proxy in front of the node at `target`, on a free port."""
    async with aiohttp.ClientSession() as session:
        proxy = L1Proxy(target, session)
        application = web.Application(client_max_size=1 << 26)
        application.router.add_post("/", proxy.handle)
        runner = web.AppRunner(application, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        host, port = runner.addresses[0][:2]
        proxy.url = f"http://{host}:{port}"
        try:
            yield proxy
        finally:
            await runner.cleanup()
