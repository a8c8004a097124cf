"""The services on an event loop: which method is answered how. Only this module of the room is asynchronous."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeVar

import grpc

from trivet.core.errors import (
    InternalError,
    InvalidRequest,
    NotFound,
    TooLarge,
    TrivetError,
    Unauthenticated,
    Unavailable,
)
from trivet.dataplane.frontends import reading, repository
from trivet.dataplane.frontends.grpc import descriptions
from trivet.dataplane.frontends.grpc.call import DOOR, Call, Prediction, Refusal, given_id, parsed
from trivet.dataplane.frontends.grpc.codec import Message
from trivet.dataplane.frontends.grpc.descriptor import health, inference
from trivet.dataplane.frontends.grpc.strangers import Strangers
from trivet.dataplane.frontends.slow_lane import LARGE_BYTES, Lane, LaneFull, SlowLane
from trivet.dataplane.plane import Plane
from trivet.dataplane.protocol.messages import Caller
from trivet.dataplane.table import EMPTY_TABLE, Table

logger = logging.getLogger(__name__)

Result = TypeVar("Result")
Context = Any  # grpc.aio.ServicerContext; the library has no types
INFERENCE_SERVICE = "inference.GRPCInferenceService"
HEALTH_SERVICE = "grpc.health.v1.Health"
ON_A_STREAM = frozenset({"triton_enable_empty_final_response"})  # our last response is never an empty one
MAX_WATCHES = 128  # they need no key, and each holds a place among the calls under way
WATCH_SECONDS = 0.5  # a change of a model's state is told within this
MESSAGE_SECONDS = 30.0  # a message may take this long, as a body over HTTP may: the library shows no part of one
PAUSE_SECONDS = 60.0  # of a stream without a key, as of a connection without a request
NAME_SECONDS = 5.0  # and one that only names a service
NAME_BYTES = 1024  # of which it may have this many

PUBLIC: dict[str, Callable[[Plane], Message]] = {
    "ServerLive": descriptions.server_live,
    "ServerReady": descriptions.server_ready,
}
WITH_A_KEY: dict[str, tuple[Any, descriptions.Describe]] = {
    "ServerMetadata": (inference.ServerMetadataRequest, descriptions.server_metadata),
    "ModelReady": (inference.ModelReadyRequest, descriptions.model_ready),
    "ModelMetadata": (inference.ModelMetadataRequest, descriptions.model_metadata),
    "RepositoryIndex": (inference.RepositoryIndexRequest, descriptions.repository_index),
    "ModelConfig": (inference.ModelConfigRequest, descriptions.model_configuration),
}
IN_A_THREAD: dict[str, tuple[Any, descriptions.Describe, Lane]] = {
    "ModelStatistics": (inference.ModelStatisticsRequest, descriptions.model_statistics, reading.LANE),
    "RepositoryModelLoad": (inference.RepositoryModelLoadRequest, descriptions.load, repository.LANE),
    "RepositoryModelUnload": (inference.RepositoryModelUnloadRequest, descriptions.unload, repository.LANE),
}


class Servicer(grpc.GenericRpcHandler):  # type: ignore[misc]  # the library has no types
    """Every method of both services. Make it on the event loop that serves it."""

    def __init__(self, plane: Plane, slow_lane: SlowLane) -> None:
        self._plane = plane
        self._slow_lane = slow_lane
        self._ending: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._watches = 0
        self._strangers = Strangers()
        self._opened: tuple[Table, bool] = (EMPTY_TABLE, False)
        self._methods: dict[str, Callable[[Call], grpc.RpcMethodHandler]] = {
            f"/{INFERENCE_SERVICE}/ModelInfer": self._for_infer,
            f"/{INFERENCE_SERVICE}/ModelStreamInfer": self._for_stream,
            f"/{HEALTH_SERVICE}/Check": self._for_check,
            f"/{HEALTH_SERVICE}/Watch": self._for_watch,
        }
        for name, public in PUBLIC.items():
            self._methods[f"/{INFERENCE_SERVICE}/{name}"] = partial(self._for_public, public)
        for name, (kind, describe) in WITH_A_KEY.items():
            self._methods[f"/{INFERENCE_SERVICE}/{name}"] = partial(self._for_description, kind, describe)
        for name, (kind, work, lane) in IN_A_THREAD.items():
            self._methods[f"/{INFERENCE_SERVICE}/{name}"] = partial(self._for_work, kind, work, lane)

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler | None:
        """Return what answers the call. It is judged on its metadata alone, before its message is read."""
        method = self._methods.get(details.method)
        if method is None:
            return None
        call = Call(self._plane, details.invocation_metadata)
        try:
            return self._seated(call, method(call))
        except TrivetError as error:
            refusal = call.refuse(error)
        except Exception:
            logger.exception("event=internal_error door=grpc method=%.200r", details.method)
            refusal = call.refuse(InternalError("internal error; the server's log has it."))
        return grpc.stream_stream_rpc_method_handler(partial(_refuse, refusal))

    def _seated(self, call: Call, handler: grpc.RpcMethodHandler) -> grpc.RpcMethodHandler:
        """Return `handler` once a caller without a key has a place; raises `Unavailable` where there is none."""
        task = asyncio.current_task()
        if call.is_stranger and task is not None:
            call.place = self._strangers.enter(task)
        return handler

    def drain(self) -> None:
        """Tell who watches that this worker ends, and end streams once what they asked is answered."""
        self._plane.is_draining = True
        if not self._ending.done():
            self._ending.set_result(None)

    # --- who calls ----------------------------------------------------------------------------------------------------

    def _let_in(self, call: Call) -> Caller:
        """Return the caller, who has a key or may come without one; raises `Unauthenticated`."""
        caller = call.authenticate()
        if caller.is_anonymous and not self._has_open_models():
            raise Unauthenticated("an API key is required: send it as metadata 'authorization: Bearer <key>'.")
        return caller

    def _has_open_models(self) -> bool:
        """True when some model answers without a key; worked out once for each table."""
        table = self._plane.table
        if self._opened[0] is not table:
            self._opened = (table, any(model.entry.anonymous for model in table.models.values()))
        return self._opened[1]

    async def _catch_up(self) -> None:
        """Look at the registry first, in a thread, where this process was stopped for longer than its lease."""
        if self._plane.lease.is_over:
            await asyncio.to_thread(self._plane.lease.catch_up)

    def _check_key(self, call: Call) -> None:
        """Refuse a caller without a key before the message is read, unless the registry must be looked at first."""
        if not self._plane.lease.is_over:
            call.is_stranger = self._let_in(call).is_anonymous

    async def _message(self, call: Call, context: Context, seconds: float, most: float = math.inf) -> bytes:
        """Return the one message of a call; raises `InvalidRequest` without one in time, and `TooLarge` beyond `most` bytes."""
        data: bytes = await self._within(seconds, call, context.read())
        if data is grpc.aio.EOF:
            raise InvalidRequest("the call has no message.", code="WRONG_TYPE")
        if len(data) > most:
            raise TooLarge(f"the message has over {most:.0f} bytes.", code="BODY_TOO_LARGE")
        return data

    async def _within(self, seconds: float | None, call: Call, reading: Awaitable[Result]) -> Result:
        """Return what is read, unless that takes too long, or a stranger has to make room for another meanwhile."""
        try:
            async with asyncio.timeout(seconds) as timer:
                if call.place is None:
                    return await reading
                self._strangers.wait(call.place, timer)
                try:
                    return await reading
                finally:
                    self._strangers.go_on(call.place)
        except TimeoutError:
            if call.place is not None and call.place.is_gone:
                raise Unavailable(
                    "others without a key had their message there; ask again.", code="QUEUE_FULL"
                ) from None
            raise InvalidRequest(f"no message was there within {seconds:.0f} s.", code="BODY_TIMEOUT") from None

    # --- predictions --------------------------------------------------------------------------------------------------

    def _for_infer(self, call: Call) -> grpc.RpcMethodHandler:
        call.door = DOOR
        self._check_key(call)
        return grpc.stream_unary_rpc_method_handler(partial(self._infer, call))

    def _for_stream(self, call: Call) -> grpc.RpcMethodHandler:
        call.door = DOOR
        self._check_key(call)
        return grpc.stream_stream_rpc_method_handler(partial(self._stream, call))

    async def _infer(self, call: Call, _requests: object, context: Context) -> bytes:
        set_deadline(call, context)
        outcome = await _outcome(call, self._inferred(call, context))
        if isinstance(outcome, Refusal):
            return await _refuse(outcome, None, context)
        prediction, message = outcome
        context.set_trailing_metadata(prediction.trailing)
        return _bytes(message)

    async def _inferred(self, call: Call, context: Context) -> tuple[Prediction, Message]:
        data = await self._message(call, context, MESSAGE_SECONDS)
        with self._at_work(call):
            return await self._answered(call, data)

    @contextmanager
    def _at_work(self, call: Call) -> Iterator[None]:
        """Let go of a stranger's place while something is done for it, which has bounds of its own."""
        if call.place is not None:
            self._strangers.leave(call.place)
        yield
        if call.place is not None:
            self._strangers.enter_again(call.place)  # for as long as the answer takes to be taken

    async def _answered(
        self, call: Call, data: bytes, *, ignored: frozenset[str] = frozenset()
    ) -> tuple[Prediction, Message]:
        await self._catch_up()
        is_large = len(data) > LARGE_BYTES
        if is_large:
            call.arrive()
            caller = self._let_in(call)
            prediction = await self._slow_lane.run(lambda: _read(call, caller, data, ignored))
        else:
            prediction = _read(call, self._let_in(call), data, ignored)
        if is_large or prediction.is_slow:
            prediction.wait()
            try:
                answer = await self._slow_lane.run(prediction.run, prediction.lane)
            except LaneFull as error:
                answer = prediction.run(error)
        else:
            answer = prediction.run()
        if self._plane.spool.commits is not None:
            await self._plane.spool.commits.held()
        return prediction, answer

    async def _stream(self, call: Call, _requests: object, context: Context) -> None:
        """Answer each message before the next is read: in order, and one at a time."""
        set_deadline(call, context)
        seconds: float | None = MESSAGE_SECONDS
        answer = await _outcome(call, self._next_answer(call, context, MESSAGE_SECONDS))
        while isinstance(answer, bytes):
            await context.write(answer)
            seconds = PAUSE_SECONDS if call.is_stranger else None
            answer = await _outcome(call, self._next_answer(call, context, seconds))
        if isinstance(answer, Refusal):
            await _refuse(answer, None, context)
        if self._ending.done():
            error = Unavailable("this worker is shutting down; ask again.", code="DRAINING")
            await _refuse(call.refuse(error), None, context)
        context.set_trailing_metadata(call.trailing)

    async def _next_answer(self, call: Call, context: Context, seconds: float | None) -> bytes | None:
        """Return the answer to the next message; None where there is none. Raises what `_within` raises."""
        data = await self._within(seconds, call, self._next(context))
        if data is None:
            return None
        with self._at_work(call):
            return _bytes(await self._streamed(call, data))

    async def _next(self, context: Context) -> bytes | None:
        """Return the next message of a stream; None at its end, or when this worker ends."""
        reading = asyncio.ensure_future(context.read())
        try:
            await asyncio.wait((reading, self._ending), return_when=asyncio.FIRST_COMPLETED)
            data = reading.result() if reading.done() else None
        finally:
            reading.cancel()
        return None if data is grpc.aio.EOF else data

    async def _streamed(self, call: Call, data: bytes) -> Message:
        """Return the answer to one message of a stream: a prediction, or what is wrong with it.

        The key is judged anew each time: it may be revoked while the stream is open.
        """
        outcome = await _outcome(call, self._answered(call, data, ignored=ON_A_STREAM))
        if isinstance(outcome, Refusal):
            response = inference.ModelStreamInferResponse(error_message=outcome.text)
            is_large = len(data) > LARGE_BYTES
            response.infer_response.id = await asyncio.to_thread(given_id, data) if is_large else given_id(data)
            response.infer_response.parameters["trivet_error"].string_param = outcome.code
        else:
            response = inference.ModelStreamInferResponse(infer_response=outcome[1])
        response.infer_response.parameters["triton_final_response"].bool_param = True
        return response

    # --- descriptions -------------------------------------------------------------------------------------------------

    def _for_public(self, describe: Callable[[Plane], Message], call: Call) -> grpc.RpcMethodHandler:
        async def answer(_context: Context) -> Message:
            return describe(self._plane)  # whatever its message says, and without waiting for it

        return _unary(call, answer)

    def _for_description(self, kind: Any, describe: descriptions.Describe, call: Call) -> grpc.RpcMethodHandler:
        async def answer(context: Context) -> Message:
            data = await self._message(call, context, MESSAGE_SECONDS)
            await self._catch_up()
            return describe(self._plane, call.authenticate(), parsed(kind, data))

        self._check_key(call)
        return _unary(call, answer)

    def _for_work(self, kind: Any, work: descriptions.Describe, lane: Lane, call: Call) -> grpc.RpcMethodHandler:
        async def answer(context: Context) -> Message:
            data = await self._message(call, context, MESSAGE_SECONDS)
            await self._catch_up()
            caller, message = call.authenticate(), parsed(kind, data)
            return await self._slow_lane.run(lambda: work(self._plane, caller, message), lane)

        self._check_key(call)
        return _unary(call, answer)

    # --- health -------------------------------------------------------------------------------------------------------

    def _for_check(self, call: Call) -> grpc.RpcMethodHandler:
        async def answer(context: Context) -> Message:
            return await self._status(call, await self._named(call, context))

        return _unary(call, answer)

    def _for_watch(self, call: Call) -> grpc.RpcMethodHandler:
        return grpc.stream_stream_rpc_method_handler(partial(self._watch, call))

    async def _named(self, call: Call, context: Context) -> str:
        """Return the service that a caller, who may have no key, asks for."""
        data = await self._message(call, context, NAME_SECONDS, NAME_BYTES)
        return str(parsed(health.HealthCheckRequest, data).service)

    async def _watch(self, call: Call, _requests: object, context: Context) -> None:
        """Tell the state of a service now, and whenever it changes, until this worker ends."""
        service = await _outcome(call, self._named(call, context))
        if isinstance(service, Refusal):
            await _refuse(service, None, context)
            return
        if self._watches >= MAX_WATCHES:
            error = Unavailable(f"over {MAX_WATCHES} watches; ask again.", code="QUEUE_FULL")
            await _refuse(call.refuse(error), None, context)
        self._watches += 1
        try:
            told, is_last = None, False
            while not is_last:
                is_last = self._ending.done()
                status = await self._watched(call, service)
                if status != told:
                    await context.write(_bytes(status))
                told = status
                if call.place is not None:
                    self._strangers.leave(call.place)  # watches have a bound of their own
                await asyncio.wait((self._ending,), timeout=WATCH_SECONDS)
        except TrivetError as error:
            await _refuse(call.refuse(error), None, context)
        finally:
            self._watches -= 1

    async def _watched(self, call: Call, service: str) -> Message:
        try:
            return await self._status(call, service)
        except NotFound:
            return health.HealthCheckResponse(status="SERVICE_UNKNOWN")

    async def _status(self, call: Call, service: str) -> Message:
        """Return the state of this worker, or of the model that `service` names, which takes the verb view."""
        serves = descriptions.is_ready(self._plane)
        if service not in ("", INFERENCE_SERVICE, HEALTH_SERVICE):
            await self._catch_up()
            serves = descriptions.is_model_ready(self._plane, call.authenticate(), service) and serves
        return health.HealthCheckResponse(status="SERVING" if serves else "NOT_SERVING")


def _read(call: Call, caller: Caller, data: bytes, ignored: frozenset[str]) -> Prediction:
    """Return the prediction that `data` asks for; raises what reading it raises."""
    return Prediction(call, caller, parsed(inference.ModelInferRequest, data), ignored=ignored)


def set_deadline(call: Call, context: Context) -> None:
    """Give `call` the client's deadline, where it has one."""
    seconds = context.time_remaining()
    if seconds is not None:
        call.ends = time.monotonic() + seconds


def _unary(call: Call, behaviour: Callable[[Context], Awaitable[Message]]) -> grpc.RpcMethodHandler:
    async def answer(_requests: object, context: Context) -> bytes:
        outcome = await _outcome(call, behaviour(context))
        if isinstance(outcome, Refusal):
            return await _refuse(outcome, None, context)
        context.set_trailing_metadata(call.trailing)
        return _bytes(outcome)

    return grpc.stream_unary_rpc_method_handler(answer)  # so that the message is ours to wait for


def _bytes(message: Message) -> bytes:
    data: bytes = message.SerializeToString()
    return data


async def _outcome(call: Call, work: Awaitable[Result]) -> Result | Refusal:
    """Return what `work` returns, or what the caller is told of its failure."""
    try:
        return await work
    except TrivetError as error:
        return call.refuse(error)
    except Exception:
        logger.exception("event=internal_error door=grpc")
        return call.refuse(InternalError("internal error; the server's log has it."))


async def _refuse(refusal: Refusal, _requests: object, context: Context) -> bytes:
    """End the call as `refusal` says; nothing is returned."""
    await context.abort(refusal.status, refusal.text, tuple(refusal.metadata))
    raise AssertionError("abort has raised")
