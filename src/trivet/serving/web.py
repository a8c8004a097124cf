"""One web worker: uvicorn on the event loop, our front door in it, on a socket that was opened by whoever started it."""

from __future__ import annotations

import asyncio
import gc
import logging
import select
import socket
import time
from collections.abc import Callable
from functools import partial
from types import FrameType
from typing import Any

import uvicorn
from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.utils.module_loading import import_string

from trivet.control.registry.models import WorkerKind
from trivet.core.descriptors import allow_descriptors
from trivet.dataplane.frontends.uvicorn import DirectProtocol
from trivet.serving.asgi import FrontDoor, in_front_of
from trivet.serving.listening import BACKLOG
from trivet.serving.process import this_process

logger = logging.getLogger(__name__)

IDLE_SECONDS = 60  # a kept-alive connection without a request
DRAIN_SECONDS = 20  # requests under way are given this long after SIGTERM
ACCEPT_AGAIN_SECONDS = 1.0
ACCEPT_EVERY_SECONDS = 0.001  # to take a connection costs a tenth of that: a tenth of a busy loop's time


def run_web_worker(
    listening: socket.socket,
    *,
    on_ready: Callable[[], None] = lambda: None,
    ships: bool = True,
    processes: int | None = None,
) -> int:
    """Serve until SIGTERM; return the exit code. `on_ready` is called once requests are answered.

    With `ships` this process also ships its records where no keeper does. It is one of `processes` that answer here.
    """
    allow_descriptors()
    # what is live is loaded before the first request
    plane = this_process(WorkerKind.WEB, ships=ships, processes=processes).plane
    application = site_application()
    config = uvicorn.Config(
        application,
        loop="uvloop",
        http=partial(DirectProtocol, plane, application.slow_lane),  # type: ignore[arg-type]  # it is called, never subclassed
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=IDLE_SECONDS,
        timeout_graceful_shutdown=DRAIN_SECONDS,
        backlog=BACKLOG,
    )
    server = _Server(config, listening, on_ready)
    server.run(sockets=[])
    return 0 if server.started else 1


def site_application() -> FrontDoor:
    """Return the project's own ASGI application where it has a front door of ours, else one around its WSGI handler."""
    named = getattr(settings, "ASGI_APPLICATION", None)
    if named:
        application = import_string(named)
        if isinstance(application, FrontDoor):
            return application
    return in_front_of(get_wsgi_application())


class _Server(uvicorn.Server):
    """uvicorn, accepting one connection at a time, and telling when it is ready and when it begins to drain.

    asyncio takes every connection that waits, so of several workers on one socket the first to wake would take a whole
    burst. One a turn of the loop, the workers share it, and a busy one takes fewer. Where all are so busy that a turn
    takes long, those that wait are taken, or refused, at a steady rate: else they would wait for as long as the others ask.
    """

    def __init__(self, config: uvicorn.Config, listening: socket.socket, on_ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._listening = listening
        self._on_ready = on_ready
        self._arriving: set[asyncio.Task[Any]] = set()
        self._waits = select.poll()
        self._waits.register(listening, select.POLLIN)
        self._waiting_since: float | None = None  # since when a connection waits that was left for the next turn

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        if self.started:
            gc.collect()
            gc.freeze()  # Django, models and site stay: a collection that looked at them again would hold the loop for 25 ms
            self._listen()
            self._on_ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Take the connections that wait for being accepted, no more after them, and let each have its last answer."""
        while self._accept():
            pass
        asyncio.get_running_loop().remove_reader(self._listening.fileno())
        self._listening.close()
        await asyncio.gather(*self._arriving, return_exceptions=True)
        await super().shutdown(sockets=sockets)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002  (uvicorn's signature)
        """Not ready from now on. A second signal changes nothing: what is under way is bounded in time, and finished."""
        this_process(WorkerKind.WEB).plane.is_draining = True
        self.should_exit = True

    def _listen(self) -> None:
        if not self.should_exit:
            asyncio.get_running_loop().add_reader(self._listening.fileno(), self._accept_due)

    def _accept_due(self) -> None:
        """Take one connection, and one more for each millisecond that others have been left waiting."""
        now, since = time.monotonic(), self._waiting_since
        due = 1 if since is None else 1 + int((now - since) / ACCEPT_EVERY_SECONDS)
        while due and self._accept():
            due -= 1
        self._waiting_since = now if not due and self._waits.poll(0) else None

    def _accept(self) -> bool:
        """Take one connection that waits; False when none does."""
        try:
            connection, _ = self._listening.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return False  # another worker was faster, or the client left
        except OSError as error:  # out of descriptors: the connection waits until one is free
            logger.error("event=not_accepted error=%s", error.strerror)  # noqa: TRY400
            loop = asyncio.get_running_loop()
            loop.remove_reader(self._listening.fileno())
            loop.call_later(ACCEPT_AGAIN_SECONDS, self._listen)
            return False
        connection.setblocking(False)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        loop = asyncio.get_running_loop()
        task = loop.create_task(loop.connect_accepted_socket(self._protocol, connection))
        self._arriving.add(task)
        task.add_done_callback(self._arriving.discard)
        return True

    def _protocol(self) -> asyncio.Protocol:
        make = self.config.http_protocol_class
        return make(config=self.config, server_state=self.server_state, app_state=self.lifespan.state)  # type: ignore[call-arg]
