"""What the gRPC door waits for, for how long, and for how many: messages that do not come, or that are too large."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from tests.acceptance.servers import wait_for
from tests.unit.dataplane.grpc_world import Door, request, state
from tests.unit.dataplane.world import World
from trivet.dataplane.frontends.grpc import servicer
from trivet.dataplane.frontends.grpc.descriptor import health, inference
from trivet.dataplane.frontends.grpc.servicer import HEALTH_SERVICE, INFERENCE_SERVICE, NAME_BYTES
from trivet.dataplane.frontends.grpc.strangers import Strangers

Code = grpc.StatusCode
SOON = 0.05  # seconds
INFER = f"/{INFERENCE_SERVICE}/ModelInfer"
CHECK = f"/{HEALTH_SERVICE}/Check"
WATCH = f"/{HEALTH_SERVICE}/Watch"
PADDED = health.HealthCheckRequest().SerializeToString() + b"\x7a"  # field 15, which the message does not have


@pytest.fixture
def door(tmp_path: Path) -> Iterator[Door]:
    with Door(World(tmp_path)) as door:
        yield door


class Slow:
    """A call whose messages come when `send` is called."""

    def __init__(self, door: Door, method: str, metadata: Any = ()) -> None:
        self._sent: list[bytes] = []
        self._more = threading.Event()
        self._is_over = threading.Event()
        self.call = door.channel.stream_stream(method)(self._messages(), metadata=metadata, timeout=20)
        self.call.add_callback(self._is_over.set)
        self.call.add_callback(self._more.set)

    def _messages(self) -> Iterator[bytes]:
        while not self._is_over.is_set():
            self._more.wait()
            self._more.clear()
            yield from self._sent
            self._sent = []

    def send(self, message: Any) -> None:
        """Send one."""
        self._sent = [message.SerializeToString()]
        self._more.set()

    def is_told(self) -> tuple[grpc.StatusCode, str]:
        """Return the status it ends with, and the catalogue's code."""
        with pytest.raises(grpc.RpcError):
            list(self.call)
        return self.call.code(), dict(self.call.trailing_metadata()).get("trivet-error", "")


@pytest.mark.parametrize("method", [CHECK, WATCH])
def test_who_asks_for_a_state_and_does_not_say_of_what_is_told_so_soon(
    door: Door, method: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(servicer, "NAME_SECONDS", SOON)
    assert Slow(door, method).is_told() == (Code.DEADLINE_EXCEEDED, "BODY_TIMEOUT")


@pytest.mark.parametrize("method", ["ModelInfer", "ModelStreamInfer", "ModelReady", "RepositoryModelLoad"])
def test_the_first_message_of_a_caller_with_a_key_has_its_time_too(
    door: Door, method: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(servicer, "MESSAGE_SECONDS", SOON)
    slow = Slow(door, f"/{INFERENCE_SERVICE}/{method}", door.metadata)
    assert slow.is_told() == (Code.DEADLINE_EXCEEDED, "BODY_TIMEOUT")


def test_a_stream_with_a_key_may_pause_between_its_messages_and_one_without_may_not(
    door: Door, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(servicer, "PAUSE_SECONDS", SOON)
    door.world.route({1: 100}, anonymous=True)
    opened = [Slow(door, f"/{INFERENCE_SERVICE}/ModelStreamInfer", who) for who in (door.metadata, ())]
    for slow in opened:
        slow.send(request())
        assert inference.ModelStreamInferResponse.FromString(next(slow.call)).infer_response.model_version == "1"
    with_key, without = opened
    assert without.is_told() == (Code.DEADLINE_EXCEEDED, "BODY_TIMEOUT")
    with_key.send(request())
    assert inference.ModelStreamInferResponse.FromString(next(with_key.call)).infer_response.model_version == "1"
    with_key.call.cancel()


@pytest.mark.parametrize("method", [CHECK, WATCH])
def test_a_request_for_a_state_is_bounded(door: Door, method: str):
    longest = PADDED + bytes([0xF9, 0x07]) + b"x" * (NAME_BYTES - len(PADDED) - 2)
    assert len(longest) == NAME_BYTES
    call = door.channel.unary_stream(method)(longest, timeout=20)
    assert state(health.HealthCheckResponse.FromString(next(call))) == "SERVING"
    call.cancel()
    with pytest.raises(grpc.RpcError) as raised:
        list(door.channel.unary_stream(method)(longest + b"\x08", timeout=20))
    assert raised.value.code() == Code.RESOURCE_EXHAUSTED


def test_whether_the_worker_lives_is_told_without_waiting_for_a_message(door: Door):
    for method, field in (("ServerLive", "live"), ("ServerReady", "ready")):
        answer = next(Slow(door, f"/{INFERENCE_SERVICE}/{method}").call)
        assert getattr(getattr(inference, f"{method}Response").FromString(answer), field)


@pytest.mark.parametrize("method", [CHECK, WATCH, INFER])
def test_a_call_that_ends_without_a_message_is_told_so(door: Door, method: str):
    with pytest.raises(grpc.RpcError) as raised:
        list(door.channel.stream_stream(method)(iter(()), metadata=door.metadata, timeout=20))
    assert raised.value.code() == Code.INVALID_ARGUMENT


def test_callers_without_a_key_make_room_for_each_other_and_take_none_from_who_has_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    seated = Strangers(2)
    monkeypatch.setattr(servicer, "Strangers", lambda: seated)
    monkeypatch.setattr(servicer, "NAME_SECONDS", 20.0)  # none is sent away for its silence before the others have come
    with Door(World(tmp_path)) as door:
        first = Slow(door, CHECK)
        wait_for(
            lambda: len(seated._waiting) == 1
        )  # in one burst the last ones are sent away, as none of the others waits yet
        others = [Slow(door, WATCH)]
        wait_for(lambda: len(seated._waiting) == 2)
        others += [Slow(door, CHECK), Slow(door, CHECK)]
        assert first.is_told() == (Code.UNAVAILABLE, "QUEUE_FULL")
        assert door.ask("ModelInfer", request()).model_version == "1"
        assert door.check() == "SERVING"  # its message comes with it
        for slow in others:
            slow.call.cancel()
