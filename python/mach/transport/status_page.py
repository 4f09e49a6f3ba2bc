"""What a service without a read API of its own shows over HTTP: health, readiness and metrics."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from aiohttp import web

from mach.transport.metrics_page import metrics_page

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry


class Readiness(Protocol):
    """What may keep a service from its work."""

    async def problems(self) -> list[str]:
        """In words for people; none when it is ready."""


def status_page(registry: CollectorRegistry, readiness: Readiness) -> web.Application:
    """GET /metrics, /healthz (200 while the process answers) and /readyz (503 with the problems if there are any)."""

    async def health(_request: web.Request) -> web.Response:
        return web.json_response({"status": "alive"})

    async def ready(_request: web.Request) -> web.Response:
        problems = await readiness.problems()
        body = {"status": "not ready" if problems else "ready", "problems": problems}
        return web.json_response(body, status=503 if problems else 200)

    app = metrics_page(registry)
    app.router.add_get("/healthz", health)
    app.router.add_get("/readyz", ready)
    return app
