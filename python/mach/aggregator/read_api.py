"""What can be read of a running aggregator over HTTP: health, metrics, tasks, and the description of all that."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Protocol

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from pydantic.json_schema import models_json_schema

from mach.aggregator.task_views import ProblemView, TaskDetailView, TaskPageView, TaskView
from mach.errors import MachError
from mach.storage.task_queries import MAX_PAGE, TaskFilter
from mach.storage.task_records import TASK_STATES

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from prometheus_client import CollectorRegistry
    from pydantic import BaseModel

    from mach.storage.task_queries import TaskQueries

DEFAULT_PAGE: Final = 100
MAX_INDEX: Final = 2**32 - 1


class Readiness(Protocol):
    """What may keep the aggregator from its work."""

    async def problems(self) -> list[str]:
        """In words for people; none when it is ready."""


class BadQueryError(MachError):
    """A parameter of a request is malformed."""


def read_api(queries: TaskQueries, registry: CollectorRegistry, readiness: Readiness) -> web.Application:
    """The application: /healthz, /readyz, /metrics, /v1/tasks, /v1/tasks/{index}, /openapi.json. It changes nothing."""
    pages = _Pages(queries, registry, readiness)
    app = web.Application(middlewares=[_problems_as_json], client_max_size=1024)
    app.router.add_get("/healthz", pages.health)
    app.router.add_get("/readyz", pages.ready)
    app.router.add_get("/metrics", pages.metrics)
    app.router.add_get("/v1/tasks", pages.tasks)
    app.router.add_get("/v1/tasks/{index}", pages.task)
    app.router.add_get("/openapi.json", pages.description)
    return app


class _Pages:
    def __init__(self, queries: TaskQueries, registry: CollectorRegistry, readiness: Readiness) -> None:
        self._queries = queries
        self._registry = registry
        self._readiness = readiness

    async def health(self, _: web.Request) -> web.Response:
        return web.json_response({"status": "alive"})

    async def ready(self, _: web.Request) -> web.Response:
        problems = await self._readiness.problems()
        body = {"status": "not ready" if problems else "ready", "problems": problems}
        return web.json_response(body, status=503 if problems else 200)

    async def metrics(self, _: web.Request) -> web.Response:
        return web.Response(body=generate_latest(self._registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def tasks(self, request: web.Request) -> web.Response:
        wanted, limit, before = _page_query(request)
        page = await self._queries.page(wanted, limit=limit, before=before)
        following = None if page.next_before is None else f"{page.next_before[0]!r},{page.next_before[1]}"
        return _json(TaskPageView(tasks=[TaskView.of(task) for task in page.tasks], next=following))

    async def task(self, request: web.Request) -> web.Response:
        index = _integer(request.match_info["index"], "the task index", 0, MAX_INDEX)
        detail = await self._queries.detail(index)
        if detail is None:
            return _json(ProblemView(error=f"there is no task {index}"), 404)
        return _json(TaskDetailView.of_detail(detail))

    async def description(self, _: web.Request) -> web.Response:
        return web.json_response(openapi())


@web.middleware
async def _problems_as_json(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    try:
        return await handler(request)
    except BadQueryError as error:
        return _json(ProblemView(error=str(error)), 400)
    except MachError as error:
        return _json(ProblemView(error=str(error)), 503)
    except web.HTTPException as error:
        return _json(ProblemView(error=f"{request.method} {request.path[:100]}: {error.reason}"), error.status)


def _json(view: BaseModel, status: int = 200) -> web.Response:
    return web.Response(text=view.model_dump_json(), status=status, content_type="application/json")


def _page_query(request: web.Request) -> tuple[TaskFilter, int, tuple[float, int] | None]:
    known = {"state", "alert_hash", "created_since", "limit", "before"}
    unknown = sorted(set(request.query).difference(known))
    if unknown:
        raise BadQueryError(f"there is no parameter {unknown[0][:50]!r}; use {', '.join(sorted(known))}")
    states = request.query.getall("state", [])
    for state in states:
        if state not in TASK_STATES:
            raise BadQueryError(f"state {state[:50]!r} is none of {', '.join(TASK_STATES)}")
    wanted = TaskFilter(
        states=[state for state in TASK_STATES if state in states] or None,
        message_hash=_hash(request.query["alert_hash"]) if "alert_hash" in request.query else None,
        created_since=_seconds(request.query["created_since"]) if "created_since" in request.query else None,
    )
    limit = _integer(request.query.get("limit", str(DEFAULT_PAGE)), "limit", 1, MAX_PAGE)
    return wanted, limit, _before(request.query["before"]) if "before" in request.query else None


def _integer(text: str, name: str, least: int, most: int) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 10 and least <= int(text) <= most):
        raise BadQueryError(f"{name} {text[:50]!r} is not an integer of {least} to {most}")
    return int(text)


def _hash(text: str) -> bytes:
    try:
        value = bytes.fromhex(text.removeprefix("0x"))
    except ValueError:
        value = b""
    if len(value) != 32:
        raise BadQueryError(f"alert_hash {text[:80]!r} is not 32 bytes in hex")
    return value


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < 2**53:
        raise BadQueryError(f"{text[:50]!r} is not a time in Unix seconds")
    return value


def _before(text: str) -> tuple[float, int]:
    at, separator, index = text.partition(",")
    if not separator:
        raise BadQueryError(f"before {text[:50]!r} is not what a page's `next` gave")
    return _seconds(at), _integer(index, "before", 0, MAX_INDEX)


def openapi() -> dict[str, Any]:
    """The description of the API, OpenAPI 3.1."""
    views: list[type[BaseModel]] = [TaskPageView, TaskDetailView, ProblemView]
    _, schemas = models_json_schema(
        [(view, "serialization") for view in views], ref_template="#/components/schemas/{model}"
    )

    def answer(model: str, description: str) -> dict[str, Any]:
        schema = {"$ref": f"#/components/schemas/{model}"}
        return {"description": description, "content": {"application/json": {"schema": schema}}}

    def parameter(name: str, schema: dict[str, Any], description: str) -> dict[str, Any]:
        return {"name": name, "in": "query", "schema": schema, "description": description}

    plain = {"type": "string"}
    problem = {
        "400": answer("ProblemView", "a malformed request"),
        "503": answer("ProblemView", "the database does not answer"),
    }
    status = {"description": "alive", "content": {"application/json": {"schema": {"type": "object"}}}}
    return {
        "openapi": "3.1.0",
        "info": {"title": "Mach aggregator", "version": "1", "description": "Alerts on their way to L1, read only."},
        "paths": {
            "/healthz": {"get": {"summary": "Whether the process answers", "responses": {"200": status}}},
            "/readyz": {
                "get": {
                    "summary": "Whether it can do its work, and what keeps it from it",
                    "responses": {"200": status, "503": {**status, "description": "not ready"}},
                }
            },
            "/metrics": {
                "get": {
                    "summary": "Prometheus metrics",
                    "responses": {"200": {"description": "metrics", "content": {"text/plain": {"schema": plain}}}},
                }
            },
            "/v1/tasks": {
                "get": {
                    "summary": "Tasks, newest first",
                    "parameters": [
                        parameter(
                            "state",
                            {"type": "array", "items": {"enum": list(TASK_STATES)}},
                            "only in these states; may stand several times",
                        ),
                        parameter("alert_hash", {"type": "string"}, "only of this alert, 32 bytes in hex"),
                        parameter("created_since", {"type": "number", "minimum": 0}, "Unix seconds"),
                        parameter(
                            "limit",
                            {"type": "integer", "minimum": 1, "maximum": MAX_PAGE},
                            f"{DEFAULT_PAGE} if not given",
                        ),
                        parameter("before", plain, "the `next` of the page before"),
                    ],
                    "responses": {"200": answer("TaskPageView", "a page"), **problem},
                }
            },
            "/v1/tasks/{index}": {
                "get": {
                    "summary": "One task with its signatures, transactions and earlier rounds",
                    "parameters": [
                        {
                            "name": "index",
                            "in": "path",
                            "required": True,
                            "schema": {"type": "integer", "minimum": 0, "maximum": MAX_INDEX},
                        }
                    ],
                    "responses": {
                        "200": answer("TaskDetailView", "the task"),
                        "404": answer("ProblemView", "no such task"),
                        **problem,
                    },
                }
            },
        },
        "components": {"schemas": schemas["$defs"]},
    }
