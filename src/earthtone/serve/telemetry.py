"""Whether the server is alive and ready, and figures for Prometheus."""

from collections.abc import MutableMapping
from typing import Any

from fastapi import APIRouter, Response
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from earthtone.serve.answers import Health, Refused
from earthtone.serve.served import Served

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.15, 0.25, 0.5, 0.7, 1.0, 2.5, 5.0, 10.0, 30.0)


class Telemetry:
    """Figures of one server; other parts add theirs to `registry`."""

    def __init__(self, served: Served) -> None:
        self.registry = CollectorRegistry()
        self._requests = Counter("earthtone_requests", "Answers", ["route", "method", "status"], registry=self.registry)
        self._seconds = Histogram(
            "earthtone_request_seconds", "Seconds an answer took", ["route"], buckets=_SECONDS, registry=self.registry
        )
        rows = Gauge("earthtone_rows", "Rows of the index", ["modality"], registry=self.registry)
        for name, found in served.index.catalogue.media.items():
            rows.labels(name).set(len(found))
        waiting = Gauge("earthtone_queries_waiting", "Queries that wait for the model", registry=self.registry)
        waiting.set_function(lambda: float(served.worker.waiting))
        passes = Gauge("earthtone_model_passes", "Passes of the model, each for all who wait", registry=self.registry)
        passes.set_function(lambda: float(served.worker.passes))
        ready = Gauge("earthtone_model_ready", "Whether queries can be embedded", registry=self.registry)
        ready.set_function(lambda: float(served.model_state == "ready"))

    def seen(self, scope: MutableMapping[str, Any], status: int, seconds: float) -> None:
        """Count an answer; what has no route counts as one, so that strangers cannot make names."""
        route = getattr(scope.get("route"), "path", "other")
        method = scope["method"] if scope["method"] in ("GET", "HEAD", "POST") else "other"
        self._requests.labels(route, method, str(status)).inc()
        self._seconds.labels(route).observe(seconds)


def routes(served: Served, telemetry: Telemetry) -> APIRouter:
    """Return health, readiness and metrics; the first two need no thread, so that they answer while all are busy."""
    router = APIRouter(tags=["server"])

    def health(state: Any) -> Health:
        return Health(state=state, rows=len(served.table), model=served.model_state)

    @router.get("/healthz")
    async def alive() -> Health:
        """Tell that the server answers."""
        return health("alive")

    @router.get("/readyz", responses={503: {"model": Refused}})
    async def ready(response: Response) -> Health:
        """Tell whether the model is loaded, or known to be none; 503 before."""
        if served.model_state == "loading":
            response.status_code = 503
            response.headers["Retry-After"] = "2"
            return health("loading")
        return health("ready")

    @router.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
    def metrics() -> Response:
        """Return figures as Prometheus reads them."""
        return Response(generate_latest(telemetry.registry), media_type=CONTENT_TYPE_LATEST)

    return router
