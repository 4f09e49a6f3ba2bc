"""EigenLayer's node API (specification v0.0.1): what an operator's monitoring asks."""

from __future__ import annotations

from http import HTTPStatus
from importlib.metadata import version
from typing import TYPE_CHECKING, Final

from aiohttp import web

if TYPE_CHECKING:
    from mach.operator.confirmations import Confirmations
    from mach.operator.signer import AlertSigner

SPEC_VERSION: Final = "v0.0.1"
SERVICE_ID: Final = "operator-signer"
SIGNS: Final = "Signs the alerts that its own verifier found and submits them to the aggregator"
TRUSTS: Final = "WARNING: signs EVERY alert it is told (trust_alerts is on) and submits it to the aggregator"


def node_api(avs_name: str, signer: AlertSigner, confirmations: Confirmations) -> web.Application:
    """GET /eigen/node, /eigen/node/health (200 well, 206 partly, 503 not), /eigen/node/services[/{id}/health]."""

    async def node(_request: web.Request) -> web.Response:
        return web.json_response(
            {"node_name": avs_name, "spec_version": SPEC_VERSION, "node_version": f"v{version('mach-avs')}"}
        )

    def status() -> HTTPStatus:
        well = signer.aggregator_state.reachable and confirmations.problem is None
        return HTTPStatus.OK if well else HTTPStatus.PARTIAL_CONTENT

    async def health(_request: web.Request) -> web.Response:
        return web.Response(status=status())

    async def services(_request: web.Request) -> web.Response:
        signs = TRUSTS if confirmations.trusting else SIGNS
        problems = (confirmations.problem, signer.aggregator_state.problem)
        return web.json_response(
            [
                {
                    "id": SERVICE_ID,
                    "name": "Operator signer",
                    "description": "; ".join([signs, *(problem for problem in problems if problem is not None)]),
                    "status": "Up" if signer.aggregator_state.reachable else "Initializing",
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
