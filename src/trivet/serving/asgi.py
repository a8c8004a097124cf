"""The front door under ASGI: prediction paths are answered on the event loop, everything else goes to the site behind."""

from __future__ import annotations

import asyncio
import inspect
from typing import Any

from trivet import conf
from trivet.dataplane.frontends import asgi
from trivet.dataplane.frontends.asgi import Receive, Scope, Send
from trivet.dataplane.frontends.paths import is_prediction_path
from trivet.dataplane.frontends.slow_lane import SlowLane
from trivet.dataplane.plane import Plane
from trivet.serving.bounded import AsgiApplication, BoundedSite
from trivet.serving.site import Site


def in_front_of(application: Any) -> FrontDoor:
    """Return an ASGI application that answers the prediction paths and hands everything else to `application`.

    `application` is Django's WSGI handler (`get_wsgi_application()`, the fast way), or an ASGI application where the
    site needs one. Put it in `asgi.py`: `application = in_front_of(get_wsgi_application())`.
    """
    is_asgi = inspect.iscoroutinefunction(application) or inspect.iscoroutinefunction(type(application).__call__)
    most = conf.MAX_BODY_MB() * conf.MIB
    return FrontDoor(BoundedSite(application, most) if is_asgi else Site(application, conf.WEB_THREADS(), most))


class FrontDoor:
    """The ASGI application of a web worker."""

    def __init__(self, site: AsgiApplication) -> None:
        self._site = site
        self._prefix = conf.PREFIX()
        self.slow_lane = SlowLane()
        self._plane: Plane | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or one lifespan."""
        kind = scope["type"]
        if kind == "http" and is_prediction_path(scope["path"], self._prefix):
            plane = self._plane or await self._start()
            await asgi.answer(plane, scope, receive, send, self.slow_lane)
        elif kind == "lifespan":
            await self._live(receive, send)
        else:
            await self._site(scope, receive, send)

    async def _start(self) -> Plane:
        """Load what is live, in a thread: it asks the database. Servers without a lifespan come here with the first request."""
        self._plane = await asyncio.to_thread(_plane)
        self.slow_lane.tell, self.slow_lane.is_in_use = self._plane.tell_in_flight, self._plane.has_model
        return self._plane

    async def _live(self, receive: Receive, send: Send) -> None:
        """Load what is live before the first request, and give the lease back after the last."""
        await receive()
        await self._start()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await asyncio.to_thread(_stop)
        await send({"type": "lifespan.shutdown.complete"})


# An `asgi.py` imports this module before it sets Django up, and what follows needs Django's models.


def _plane() -> Plane:
    from trivet.control.registry.models import WorkerKind
    from trivet.serving.process import this_process

    return this_process(WorkerKind.WEB).plane


def _stop() -> None:
    from trivet.control.registry.models import WorkerKind
    from trivet.serving.process import this_process

    this_process(WorkerKind.WEB).stop()
