"""A JSON-RPC proxy that lies to some of its clients only, and remembers how each request looked."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import aiohttp
from aiohttp import web

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping


@dataclass(frozen=True)
class Seen:
    """One request as it came in: headers in their order, the path with its query, the body's bytes."""

    headers: tuple[tuple[str, str], ...]
    path: str
    body: bytes

    @property
    def method(self) -> str:
        return str(json.loads(self.body)["method"])


@dataclass
class PoisoningProxy:
    """`victims` says by a request's headers who is lied to; `poison` makes the lie of method, params and true result.

    The truth comes from `upstream`; victims' requests go to `victims_upstream`, where that is set.
    """

    upstream: str
    url: str = ""
    victims_upstream: str | None = None
    poison: Callable[[str, list[Any], Any], Any] | None = None
    victims: Callable[[Mapping[str, str]], bool] = lambda _headers: True
    seen: list[Seen] = field(default_factory=list)
    lies: int = 0

    async def handle(self, request: web.Request, session: aiohttp.ClientSession) -> web.Response:
        body = await request.read()
        names = [(name.decode(), value.decode()) for name, value in request.raw_headers]
        self.seen.append(Seen(tuple(names), request.raw_path, body))
        victim = self.victims(request.headers)
        target = self.victims_upstream if victim and self.victims_upstream else self.upstream
        async with session.post(target, data=body, headers={"Content-Type": "application/json"}) as response:
            answer = await response.json()
        asked = json.loads(body)
        if victim and self.poison is not None and "result" in answer:
            lie = self.poison(asked["method"], asked["params"], answer["result"])
            self.lies += lie != answer["result"]
            answer["result"] = lie
        return web.json_response(answer)


@asynccontextmanager
async def poisoning_proxy(upstream: str) -> AsyncIterator[PoisoningProxy]:
    """In front of the node at `upstream`, on a free port."""
    async with aiohttp.ClientSession() as session:
        proxy = PoisoningProxy(upstream)

        async def handle(request: web.Request) -> web.Response:
            return await proxy.handle(request, session)

        application = web.Application(client_max_size=1 << 24)
        application.router.add_post("/{path:.*}", handle)
        runner = web.AppRunner(application, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        host, port = runner.addresses[0][:2]
        proxy.url = f"http://{host}:{port}"
        try:
            yield proxy
        finally:
            await runner.cleanup()
