"""The tiny data plane behind a real gRPC server on a free port, and a client that knows the door's own messages only."""

from __future__ import annotations

import asyncio
import threading
from typing import Any, Self

import grpc

from tests.unit.dataplane.world import GOOD_ROW, SIGNATURE, World
from trivet.dataplane.frontends.grpc.codec import CONTENTS
from trivet.dataplane.frontends.grpc.descriptor import health, inference
from trivet.dataplane.frontends.grpc.server import make_server
from trivet.dataplane.frontends.grpc.servicer import HEALTH_SERVICE, INFERENCE_SERVICE, Servicer
from trivet.dataplane.frontends.slow_lane import SlowLane

SECONDS = 20  # the longest that any call here may take


class Door:
    """The gRPC door of a world, open while the block runs. A failed call raises `grpc.RpcError`."""

    def __init__(self, world: World, *, slow_lane: SlowLane | None = None) -> None:
        self.world = world
        self._slow_lane = slow_lane or SlowLane()
        self._is_open = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._is_open.wait(SECONDS)
        self.channel = grpc.insecure_channel(self.address, options=[("grpc.use_local_subchannel_pool", 1)])
        return self

    def __exit__(self, *_: object) -> None:
        self.channel.close()
        self._loop.call_soon_threadsafe(self._ended.set)
        self._thread.join(SECONDS)
        assert not self._thread.is_alive()

    async def _serve(self) -> None:
        self._loop, self._ended = asyncio.get_running_loop(), asyncio.Event()
        self._servicer = Servicer(self.world.plane, self._slow_lane)
        server = make_server(self._servicer, self.world.plane.limits.max_body_bytes)
        self.address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
        await server.start()
        self._is_open.set()
        await self._ended.wait()
        await server.stop(0)

    def drain(self) -> None:
        """Begin to shut down, as a process does that is told to."""
        self._loop.call_soon_threadsafe(self._servicer.drain)

    @property
    def metadata(self) -> list[tuple[str, str]]:
        """What a caller with the world's key sends."""
        return [("authorization", f"Bearer {self.world.key}")]

    def ask(self, method: str, message: Any = None, *, metadata: Any = None, timeout: float = SECONDS) -> Any:
        """Call one method of the inference service; return its response."""
        return self.call(method, message, metadata=metadata, timeout=timeout)[0]

    def call(
        self, method: str, message: Any = None, *, metadata: Any = None, timeout: float = SECONDS
    ) -> tuple[Any, dict[str, str]]:
        """Call one method; return its response and trailing metadata."""
        kind = getattr(inference, f"{method}Response")
        stub = self.channel.unary_unary(f"/{INFERENCE_SERVICE}/{method}", _bytes, kind.FromString)
        message = getattr(inference, f"{method}Request")() if message is None else message
        sent = self.metadata if metadata is None else metadata
        answer, call = stub.with_call(message, timeout=timeout, metadata=sent)
        return answer, dict(call.trailing_metadata())

    def stream(self, messages: Any, *, timeout: float = SECONDS) -> Any:
        """Open a stream of inferences; iterate over its responses."""
        stub = self.channel.stream_stream(
            f"/{INFERENCE_SERVICE}/ModelStreamInfer", _bytes, inference.ModelStreamInferResponse.FromString
        )
        return stub(messages, timeout=timeout, metadata=self.metadata)

    def check(self, service: str = "", *, metadata: Any = ()) -> str:
        """Return the state that `grpc.health.v1` tells of `service`."""
        stub = self.channel.unary_unary(f"/{HEALTH_SERVICE}/Check", _bytes, health.HealthCheckResponse.FromString)
        return state(stub(health.HealthCheckRequest(service=service), timeout=SECONDS, metadata=metadata))

    def watch(self, service: str = "", *, metadata: Any = ()) -> Any:
        """Return the call that tells the state of `service` and each change of it."""
        stub = self.channel.unary_stream(f"/{HEALTH_SERVICE}/Watch", _bytes, health.HealthCheckResponse.FromString)
        return stub(health.HealthCheckRequest(service=service), timeout=SECONDS, metadata=metadata)


def state(response: Any) -> str:
    """Return the word of a health response."""
    field = response.DESCRIPTOR.fields_by_name["status"]
    return field.enum_type.values_by_number[response.status].name


def request(*, model: str = "churn", version: str = "", **changes: list) -> Any:
    """Return a ModelInferRequest of the good row with typed contents; `changes` replace a tensor's data."""
    message = inference.ModelInferRequest(model_name=model, model_version=version)
    datatypes = {spec.name: spec.datatype for spec in SIGNATURE.inputs}
    for name, data in ({name: [value] for name, value in GOOD_ROW.items()} | changes).items():
        tensor = message.inputs.add(name=name, datatype=datatypes.get(name, "FP64"), shape=[len(data), 1])
        values = [value.encode() if isinstance(value, str) else value for value in data]
        getattr(tensor.contents, CONTENTS[tensor.datatype]).extend(values)
    return message


def _bytes(message: Any) -> bytes:
    return message if isinstance(message, bytes) else message.SerializeToString()
