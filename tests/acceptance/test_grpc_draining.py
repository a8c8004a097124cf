"""F13 by gRPC: workers replaced under load answer what they took, tell their streams, and lose no record.

A call that reaches a connection in the instant its worker closes it is CANCELLED by the gRPC library, which our code never
sees: it was not answered and not recorded, and asking again succeeds.
"""

from __future__ import annotations

import json
import queue
import signal
import threading
from typing import Any, Self

import grpc
import pytest

from tests.acceptance.conftest import Churn
from tests.acceptance.logged import assert_every_answer_is_logged_once
from tests.acceptance.servers import DEADLINE_SECONDS, ROLL_SECONDS, drained, free_port, serving, wait_for
from trivet.dataplane.frontends.grpc.codec import CONTENTS
from trivet.dataplane.frontends.grpc.descriptor import inference
from trivet.dataplane.frontends.grpc.servicer import INFERENCE_SERVICE

pytestmark = pytest.mark.slow

WORKERS = 2  # by gRPC
CALLERS = 4


@pytest.mark.timeout(600)
def test_F13_grpc_workers_replaced_under_load_answer_what_they_took_and_end_their_streams_as_draining(churn: Churn):
    address = f"127.0.0.1:{free_port()}"
    with serving(churn.project, workers=1, grpc=address, grpc_workers=WORKERS) as server:
        before = set(wait_for(lambda: len(server.rolled()) == WORKERS + 2 and server.rolled()))
        with Calls(address, churn) as calls, Stream(address, churn) as stream, Stream(address, churn) as another:
            ids = [stream.asked(), another.asked()]
            wait_for(lambda: calls.answers.qsize() >= 50)
            server.process.send_signal(signal.SIGHUP)
            ids += asked_until_it_ends(stream)
            wait_for(lambda: not before & set(server.rolled()), ROLL_SECONDS)
            assert stream.ending() == another.ending() == (grpc.StatusCode.UNAVAILABLE, "DRAINING")
            goal = calls.answers.qsize() + 50
            wait_for(lambda: calls.answers.qsize() >= goal)
        with Stream(address, churn) as stream:
            ids.append(stream.asked())
        assert server.stop() == 0
    assert sum("event=rolled" in line for line in server.lines) == 1, server.lines
    assert not drained(calls.failures)
    assert_every_answer_is_logged_once(churn, ids + drained(calls.answers))


def test_F13_a_grpc_server_that_is_asked_to_end_answers_what_it_took_and_ends_with_0(churn: Churn):
    address = f"127.0.0.1:{free_port()}"
    with (
        serving(churn.project, workers=1, grpc=address, grpc_workers=WORKERS) as server,
        Stream(address, churn) as stream,
        Calls(address, churn, until_it_is_away=True) as calls,
    ):
        ids = [stream.asked()]
        wait_for(lambda: calls.answers.qsize() >= 50)
        server.process.send_signal(signal.SIGTERM)
        server.process.send_signal(signal.SIGTERM)
        assert stream.ending() == (grpc.StatusCode.UNAVAILABLE, "DRAINING")
        assert server.process.wait(timeout=DEADLINE_SECONDS) == 0
    assert_every_answer_is_logged_once(churn, ids + drained(calls.answers))


def asked_until_it_ends(stream: Stream) -> list[str]:
    """Ask on an open stream, again and again; return the ids of what was answered."""
    ids: list[str] = []
    while (prediction := stream.asked_or_ended()) is not None:
        ids.append(prediction)
    return ids


class Calls:
    """Callers in threads, each on a connection of its own, and one that connects anew for each call."""

    def __init__(self, address: str, churn: Churn, *, until_it_is_away: bool = False) -> None:
        self.answers: queue.SimpleQueue[str] = queue.SimpleQueue()
        self.failures: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._address, self._churn = address, churn
        self._until_it_is_away = until_it_is_away
        self._stopping = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(number == 0,)) for number in range(CALLERS)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join(timeout=DEADLINE_SECONDS)

    def _run(self, connects_anew: bool) -> None:
        channel, was_cut = channel_to(self._address), False
        while not self._stopping.is_set():
            if connects_anew:
                channel.close()
                channel = channel_to(self._address)
            stub = channel.unary_unary(
                f"/{INFERENCE_SERVICE}/ModelInfer",
                inference.ModelInferRequest.SerializeToString,
                inference.ModelInferResponse.FromString,
            )
            try:
                # a connection that a closing worker took before the call was sent is made again, if the caller says so
                waits = connects_anew and not self._until_it_is_away
                answer = stub(request(self._churn), metadata=metadata(self._churn), timeout=20, wait_for_ready=waits)
                self.answers.put(prediction_id(answer))
                was_cut = False
            except grpc.RpcError as error:
                if self._until_it_is_away and error.code() == grpc.StatusCode.UNAVAILABLE:
                    break
                if was_cut or error.code() != grpc.StatusCode.CANCELLED:
                    self.failures.put(f"{error.code()}: {error.details()}")
                was_cut = True
        channel.close()


class Stream:
    """One stream of predictions, open while the block runs."""

    def __init__(self, address: str, churn: Churn) -> None:
        self._channel = channel_to(address)
        self._churn = churn
        self._requests: queue.SimpleQueue[Any] = queue.SimpleQueue()
        stub = self._channel.stream_stream(
            f"/{INFERENCE_SERVICE}/ModelStreamInfer",
            inference.ModelInferRequest.SerializeToString,
            inference.ModelStreamInferResponse.FromString,
        )
        self._responses = stub(iter(self._requests.get, None), metadata=metadata(churn), timeout=DEADLINE_SECONDS)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._requests.put(None)
        self._channel.close()

    def asked(self) -> str:
        """Ask once; return the id of the prediction."""
        self._requests.put(request(self._churn))
        response = next(self._responses)
        assert not response.error_message, response.error_message
        return prediction_id(response.infer_response)

    def asked_or_ended(self) -> str | None:
        """Ask once; None when the stream has ended instead."""
        try:
            return self.asked()
        except grpc.RpcError:
            return None

    def ending(self) -> tuple[grpc.StatusCode, str]:
        """Wait for its end; return the status, and the code that explains it."""
        code = self._responses.code()  # waits
        return code, dict(self._responses.trailing_metadata()).get("trivet-error", "")


def channel_to(address: str) -> grpc.Channel:
    return grpc.insecure_channel(address, options=[("grpc.use_local_subchannel_pool", 1)])


def metadata(churn: Churn) -> list[tuple[str, str]]:
    return [("authorization", f"Bearer {churn.key}")]


def request(churn: Churn) -> Any:
    """Return the request of `churn.body` as a message."""
    message = inference.ModelInferRequest(model_name="churn")
    for spec in json.loads(churn.body)["inputs"]:
        tensor = message.inputs.add(name=spec["name"], datatype=spec["datatype"], shape=spec["shape"])
        values = [value.encode() if isinstance(value, str) else value for value in spec["data"]]
        getattr(tensor.contents, CONTENTS[spec["datatype"]]).extend(values)
    return message


def prediction_id(response: Any) -> str:
    return str(response.parameters["prediction_id"].string_param)
