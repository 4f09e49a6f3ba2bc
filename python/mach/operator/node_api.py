"""EigenLayer's node API (specification v0.0.1): what an operator's monitoring asks."""

from __future__ import annotations

from http import HTTPStatus
from importlib.metadata import version
from typing import TYPE_CHECKING, Final

from aiohttp import web

if TYPE_CHECKING:
    from mach.operator.signer import AlertSigner

SPEC_VERSION: Final = "v0.0.1"
SERVICE_ID: Final = "operator-signer"


def node_api(avs_name: str, signer: AlertSigner) -> web.Application:
    """GET /eigen/node, /eigen/node/health (200 well, 206 partly, 503 not), /eigen/node/services[/{id}/health]."""

    async def node(_request: web.Request) -> web.Response:
        return web.json_response(
            {"node_name": avs_name, "spec_version": SPEC_VERSION, "node_version": f"v{version('mach-avs')}"}
        )

    def status() -> HTTPStatus:
        return HTTPStatus.OK if signer.aggregator_state.reachable else HTTPStatus.PARTIAL_CONTENT

    async def health(_request: web.Request) -> web.Response:
        return web.Response(status=status())

    async def services(_request: web.Request) -> web.Response:
        state = signer.aggregator_state
        return web.json_response(
            [
                {
                    "id": SERVICE_ID,
                    "name": "Operator signer",
                    "description": state.problem or "Signs alerts and submits them to the aggregator",
                    "status": "Up" if state.reachable else "Initializing",
                }
            ]
        )

    async def service_health(request: web.Request) -> web.Response:
        known = request.match_info["id"] == SERVICE_ID
        return web.Response(status=status() if known else HTTPStatus.NOT_FOUND)

    app = web.Application()
    app.router.add_get("/eigen/node", node)
    app.router.add_get("/eigen/node/health", health)
    app.router.add_get("/eigen/node/services", services)
    app.router.add_get("/eigen/node/services/{id}/health", service_health)
    return app
