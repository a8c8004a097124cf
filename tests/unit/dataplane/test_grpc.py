"""What a caller of the gRPC door sees: the answers and refusals of REST, in gRPC's words."""

from __future__ import annotations

import math
import queue
import re
import struct
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest

from tests.unit.dataplane.grpc_world import Door, request, state
from tests.unit.dataplane.loop import Held as Pausing
from tests.unit.dataplane.world import SIGNATURE, World, infer_body
from trivet.core.keys import mint_key
from trivet.dataplane.frontends.grpc import call, servicer
from trivet.dataplane.frontends.grpc.descriptor import INFERENCE, inference
from trivet.dataplane.frontends.grpc.server import MAX_METADATA, MESSAGE_OVERHEAD
from trivet.dataplane.frontends.slow_lane import SlowLane
from trivet.dataplane.plane import Limits
from trivet.dataplane.protocol.catalogue import GRPC_STATUS, HTTP_STATUS
from trivet.dataplane.spool import Spool
from trivet.dataplane.witness import Passage, Witness

Code = grpc.StatusCode


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


@pytest.fixture
def door(world: World) -> Iterator[Door]:
    with Door(world) as door:
        yield door


def refused(door: Door, message: Any, **options: Any) -> tuple[grpc.StatusCode, str, str]:
    """Return status, catalogue code and text of a prediction that is refused."""
    with pytest.raises(grpc.RpcError) as raised:
        door.ask("ModelInfer", message, **options)
    error: Any = raised.value
    return error.code(), dict(error.trailing_metadata()).get("trivet-error", ""), error.details()


def raw(**changes: list) -> Any:
    """Return the good request with raw contents."""
    message = request(**changes)
    for tensor in message.inputs:
        [(field, values)] = tensor.contents.ListFields()
        packed = {
            "fp64_contents": lambda values: struct.pack(f"<{len(values)}d", *values),
            "int64_contents": lambda values: struct.pack(f"<{len(values)}q", *values),
            "bytes_contents": lambda values: b"".join(struct.pack("<I", len(v)) + v for v in values),
        }[field.name](values)
        message.raw_input_contents.append(packed)
        tensor.ClearField("contents")
    return message


# --- predictions ----------------------------------------------------------------------------------------------------


def test_typed_contents_in_typed_contents_out_and_the_answer_is_recorded(door: Door):
    message = request()
    message.id = "mine"
    answer, trailing = door.call("ModelInfer", message)
    label, probabilities = answer.outputs
    assert list(label.contents.bytes_contents) == [b"stays"]
    assert list(probabilities.contents.fp64_contents) == [0.5, 0.5]
    assert (answer.model_name, answer.model_version, answer.id) == ("churn", "1", "mine")
    assert not answer.raw_output_contents
    [record] = door.world.records()
    assert (record.door, record.caller, record.caller_id) == ("grpc", f"key:{door.world.key_id}", "mine")
    assert record.id == answer.parameters["prediction_id"].string_param == trailing["trivet-prediction-id"]
    assert trailing["trivet-model-version"] == "1"


def test_raw_contents_in_raw_contents_out(door: Door):
    answer = door.ask("ModelInfer", raw())
    label, probabilities = answer.raw_output_contents
    assert label == b"\x05\x00\x00\x00stays"
    assert struct.unpack("<2d", probabilities) == (0.5, 0.5)
    assert not any(output.HasField("contents") for output in answer.outputs)


def test_56_typed_raw_and_rest_answer_with_the_same_bits_and_parameters(door: Door):
    values = {"age": [17.3, 33.1, 250.0], "city": ["Lyon", "Oslo", "Rome"], "seats": [1, 2, 3]}
    typed, binary = door.ask("ModelInfer", request(**values)), door.ask("ModelInfer", raw(**values))
    _, rest, _ = door.world.ask(body=infer_body(**values))
    by_json = {output["name"]: output["data"] for output in rest["outputs"]}
    assert list(typed.outputs[1].contents.fp64_contents) == by_json["probabilities"]
    assert list(struct.unpack("<6d", binary.raw_output_contents[1])) == by_json["probabilities"]
    assert [text.decode() for text in typed.outputs[0].contents.bytes_contents] == by_json["label"]
    assert typed.parameters["flagged_rows"].int64_param == rest["parameters"]["flagged_rows"] == 1
    one, two, three = door.world.records()
    assert one.inputs == two.inputs == three.inputs
    assert one.flags == two.flags == three.flags


def test_a_nan_means_null_and_an_infinity_is_refused_both_typed_and_raw(door: Door):
    for make in (request, raw):
        door.ask("ModelInfer", make(age=[math.nan]))
        status, code, text = refused(door, make(age=[math.inf]))
        assert (status, code) == (Code.INVALID_ARGUMENT, "NOT_FINITE"), text
    assert [record.inputs for record in door.world.records()] == [[[None], ["Lyon"], [3]]] * 2


def test_outputs_that_are_asked_for_come_in_that_order(door: Door):
    message = request()
    message.outputs.add(name="probabilities")
    message.outputs.add(name="label")
    assert [output.name for output in door.ask("ModelInfer", message).outputs] == ["probabilities", "label"]
    message.outputs.add(name="label")
    assert refused(door, message)[1] == "DUPLICATE_OUTPUT"


def test_classes_are_asked_for_and_counted_as_by_rest(door: Door):
    message = request()
    message.outputs.add(name="probabilities").parameters["classification"].int64_param = 1
    [output] = door.ask("ModelInfer", message).outputs
    body = infer_body() | {"outputs": [{"name": "probabilities", "parameters": {"classification": 1}}]}
    [by_rest] = door.world.ask(body=body)[1]["outputs"]
    assert (output.datatype, list(output.shape)) == (by_rest["datatype"], by_rest["shape"]) == ("BYTES", [1, 1])
    assert [text.decode() for text in output.contents.bytes_contents] == by_rest["data"]


@pytest.mark.parametrize(("version", "answering"), [("", "1"), ("1", "1"), ("champion", "1"), ("2", "2")])
def test_a_version_is_a_number_an_alias_or_nothing(door: Door, version: str, answering: str):
    assert door.ask("ModelInfer", request(version=version)).model_version == answering


def test_zero_rows_are_an_empty_answer_without_a_record(door: Door):
    answer = door.ask("ModelInfer", request(age=[], city=[], seats=[]))
    assert [list(output.shape) for output in answer.outputs] == [[0], [0, 2]]
    assert not door.world.records()


def test_a_request_id_is_kept_and_another_is_made_where_it_is_none(door: Door):
    asked = [*door.metadata, ("x-request-id", "from-a-proxy.7")]
    assert door.call("ModelInfer", request(), metadata=asked)[1]["x-request-id"] == "from-a-proxy.7"
    asked = [*door.metadata, ("x-request-id", "no id at all")]
    answer, trailing = door.call("ModelInfer", request(), metadata=asked)
    assert trailing["x-request-id"] == answer.parameters["prediction_id"].string_param


def test_whoever_watches_is_shown_each_call_once_it_is_over(door: Door):
    seen: list[Passage] = []

    class Watching(Witness):
        def see(self, passage: Passage) -> None:
            seen.append(passage)

    door.world.plane.witnesses = (Watching(),)
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    door.ask("ModelInfer", request(), metadata=[*door.metadata, ("traceparent", trace)])
    refused(door, request(model="nobody"))
    assert [(p.door, p.model, p.version, p.code) for p in seen] == [
        ("grpc", "churn", 1, "OK"),
        ("grpc", "_unknown", 0, "UNKNOWN_MODEL"),
    ]
    assert seen[0].traceparent == door.world.records()[0].traceparent == trace


def test_an_answer_waits_for_the_disk_where_power_must_lose_nothing(tmp_path: Path):
    world = World(tmp_path)
    world.plane.spool = Spool(tmp_path / "spool", "durable", survives_power_loss=True)
    with Door(world) as door:
        door.ask("ModelInfer", request())
    assert len(world.records()) == 1


# --- refusals -------------------------------------------------------------------------------------------------------


def spoiled(spoil: Any) -> Any:
    message = request()
    spoil(message)
    return message


@pytest.mark.parametrize(
    ("spoil", "code"),
    [
        (lambda m: setattr(m, "id", "a b"), "BAD_ID"),
        (lambda m: m.inputs.pop(), "MISSING_INPUT"),
        (lambda m: setattr(m.inputs[0], "name", "agee"), "UNKNOWN_INPUT"),
        (lambda m: setattr(m.inputs[0], "datatype", "FP65"), "BAD_DATATYPE"),
        (lambda m: setattr(m.inputs[0], "datatype", "BF16"), "BINARY_REQUIRED"),
        (lambda m: m.inputs[0].contents.fp64_contents.append(1.0), "COUNT_MISMATCH"),
        (lambda m: m.inputs[0].contents.fp32_contents.append(1.0), "WRONG_TYPE"),
        (lambda m: m.inputs[0].shape.__setitem__(0, -1), "BAD_SHAPE"),
        (lambda m: m.inputs[0].shape.__setitem__(1, 2**62), "BAD_SHAPE"),
        (lambda m: m.inputs[0].ClearField("shape"), "BAD_SHAPE"),
        (lambda m: m.inputs[1].contents.bytes_contents.__setitem__(0, b"\xff"), "BAD_ELEMENT"),
        (lambda m: m.outputs.add(name="labell"), "UNKNOWN_OUTPUT"),
        (lambda m: m.parameters["triton_x"].MergeFrom(inference.InferParameter(bool_param=True)), "BAD_PARAMETER"),
        (lambda m: m.parameters["sequence_id"].MergeFrom(inference.InferParameter(int64_param=7)), "BAD_PARAMETER"),
        (lambda m: m.parameters["x"].MergeFrom(inference.InferParameter(double_param=math.nan)), "BAD_PARAMETER"),
        (lambda m: [m.parameters[f"p{i}"] for i in range(65)], "TOO_MANY"),
        (lambda m: [m.inputs.add() for _ in range(5000)], "BAD_DATATYPE"),
        (lambda m: [m.inputs.add(datatype="FP64") for _ in range(5000)], "TOO_MANY"),
        (lambda m: [m.outputs.add() for _ in range(65)], "TOO_MANY"),
        (lambda m: m.raw_input_contents.append(b""), "BINARY_SIZE"),
        (lambda m: m.raw_input_contents.extend([b"", b"", b""]), "BINARY_SIZE"),
    ],
)
def test_what_does_not_fit_is_an_invalid_argument_with_its_code(door: Door, spoil: Any, code: str):
    status, told, text = refused(door, spoiled(spoil))
    assert (status, told) == (Code.INVALID_ARGUMENT, code), text
    assert not door.world.records()


@pytest.mark.parametrize(
    ("datatype", "field", "value"),
    [("INT8", "int_contents", 128), ("UINT8", "uint_contents", 256), ("UINT16", "uint_contents", 65536)],
)
def test_a_small_integer_that_outgrew_its_datatype_is_out_of_range(door: Door, datatype: str, field: str, value: int):
    message = request()
    message.inputs[2].datatype = datatype
    message.inputs[2].ClearField("contents")
    getattr(message.inputs[2].contents, field).append(value)
    assert refused(door, message)[1] == "OUT_OF_RANGE"
    getattr(message.inputs[2].contents, field)[0] = 100
    door.ask("ModelInfer", message)


def test_bytes_that_are_no_message_are_an_invalid_argument(door: Door):
    status, code, text = refused(door, b"\xff\xff\xff")
    assert (status, code) == (Code.INVALID_ARGUMENT, "WRONG_TYPE")
    assert "ModelInferRequest" in text


def test_unknown_models_and_versions_are_not_found_and_no_grant_reads_the_same(door: Door):
    assert refused(door, request(model="nobody"))[:2] == (Code.NOT_FOUND, "UNKNOWN_MODEL")
    assert refused(door, request(model="n" * 100_000))[:2] == (Code.NOT_FOUND, "UNKNOWN_MODEL")
    for version in ("9", "01", "latest", "-1", "1.0", "18446744073709551616"):
        assert refused(door, request(version=version))[:2] == (Code.NOT_FOUND, "UNKNOWN_VERSION"), version
    unknown = refused(door, request(model="nobody"))[2].replace("nobody", "churn")
    door.world.plane.follow(door.world.snapshot({1: 100}, verbs=set()))
    assert refused(door, request()) == (Code.NOT_FOUND, "UNKNOWN_MODEL", unknown)


@pytest.mark.parametrize(
    "metadata",
    [
        [],
        [("authorization", "Bearer nonsense")],
        [("authorization", "Basic eDp5")],
        [("x-api-key", mint_key()[1])],
        [("x-api-key", "one"), ("authorization", "Bearer two")],
    ],
)
def test_no_key_or_a_wrong_one_is_unauthenticated(door: Door, metadata: list):
    assert refused(door, request(), metadata=metadata)[:2] == (Code.UNAUTHENTICATED, "KEY_REQUIRED")
    assert refused(door, request(model="nobody"), metadata=metadata)[0] == Code.UNAUTHENTICATED


def test_a_key_may_stand_under_either_name_and_not_twice(door: Door):
    door.ask("ModelInfer", request(), metadata=[("x-api-key", door.world.key)])
    twice = refused(door, request(), metadata=[*door.metadata, *door.metadata])
    assert twice[:2] == (Code.INVALID_ARGUMENT, "BAD_HEADER")


def test_a_key_without_the_verb_is_denied(door: Door):
    door.world.plane.follow(door.world.snapshot({1: 100}, verbs={"view"}))
    assert refused(door, request())[:2] == (Code.PERMISSION_DENIED, "VERB_NOT_GRANTED")


def test_an_anonymous_model_answers_without_a_key(door: Door):
    assert refused(door, request(), metadata=[])[0] == Code.UNAUTHENTICATED
    door.world.route({1: 100}, anonymous=True)
    door.ask("ModelInfer", request(), metadata=[])


def test_a_model_that_fails_is_unavailable(door: Door):
    for version in door.world.engine.loaded:
        version.broken = True
    assert refused(door, request())[:2] == (Code.UNAVAILABLE, "MODEL_FAILED")


def test_a_defect_of_ours_is_internal_and_tells_nothing(door: Door, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(type(door.world.engine.loaded[0]), "run", lambda *_: 1 / 0)
    status, code, text = refused(door, request())
    assert (status, code) == (Code.INTERNAL, "INTERNAL")
    assert not re.search(r"Zero|Traceback|\.py|trivet\.", text)


def test_a_timeout_that_is_over_is_a_deadline(door: Door):
    message = request()
    message.parameters["timeout"].int64_param = 1
    assert refused(door, message)[:2] == (Code.DEADLINE_EXCEEDED, "DEADLINE")
    assert not door.world.records()


def test_an_answer_after_the_clients_deadline_is_not_recorded(door: Door, monkeypatch: pytest.MonkeyPatch):
    held = Held(door.world, monkeypatch)
    assert refused(door, request(), timeout=0.1)[0] == Code.DEADLINE_EXCEEDED
    held.may_go.set()
    door.ask("ModelInfer", request())
    assert len(door.world.records()) == 1


def test_41_messages_and_metadata_beyond_their_bounds_are_refused_and_at_them_read(tmp_path: Path):
    with Door(World(tmp_path, limits=Limits(max_body_bytes=1000))) as door:
        bound = 1000 + MESSAGE_OVERHEAD
        message = request(city=["x" * 60_000])
        message.inputs[1].contents.bytes_contents[0] += b"x" * (bound - message.ByteSize())
        assert message.ByteSize() == bound
        door.ask("ModelInfer", message)
        message.inputs[1].contents.bytes_contents[0] += b"x"
        assert refused(door, message)[0] == Code.RESOURCE_EXHAUSTED
        door.ask("ModelInfer", request(), metadata=[*door.metadata, ("more", "x" * (MAX_METADATA - 1500))])
        too_much = [*door.metadata, ("more", "x" * MAX_METADATA)]
        assert refused(door, request(), metadata=too_much)[0] == Code.RESOURCE_EXHAUSTED


def test_every_http_status_of_the_catalogue_has_a_grpc_status():
    assert set(HTTP_STATUS.values()) <= GRPC_STATUS.keys()
    assert set(GRPC_STATUS.values()) <= {code.value[0] for code in Code}


# --- streams --------------------------------------------------------------------------------------------------------


def test_57_a_stream_answers_in_order_and_goes_on_after_a_failure(door: Door):
    messages = []
    for number in range(100):
        message = request(age=[float(number)]) if number != 40 else request(model="nobody")
        message.id = f"n{number}"
        message.parameters["triton_enable_empty_final_response"].bool_param = True
        messages.append(message)
    responses = list(door.stream(iter(messages)))
    assert [response.infer_response.id for response in responses] == [f"n{number}" for number in range(100)]
    assert [n for n, response in enumerate(responses) if response.error_message] == [40]
    assert "nobody" in responses[40].error_message
    assert responses[40].infer_response.parameters["trivet_error"].string_param == "UNKNOWN_MODEL"
    assert all(r.infer_response.parameters["triton_final_response"].bool_param for r in responses)
    stays = [r.infer_response.outputs[1].contents.fp64_contents[1] for r in responses if not r.error_message]
    assert stays == [number / (number + 50.0) for number in range(100) if number != 40]


def test_bytes_that_are_no_message_fail_alone_on_a_stream(door: Door):
    bad, good = door.stream(iter([b"\xff\xff", request().SerializeToString()]))
    assert bad.error_message
    assert good.infer_response.model_name == "churn"


def test_a_revoked_key_ends_its_answers_on_an_open_stream(door: Door):
    asked: queue.SimpleQueue = queue.SimpleQueue()
    responses = door.stream(iter(asked.get, None))
    asked.put(request())
    assert not next(responses).error_message
    door.world.plane.follow(door.world.snapshot({1: 100}, verbs=set()))
    asked.put(request())
    assert next(responses).infer_response.parameters["trivet_error"].string_param == "UNKNOWN_MODEL"
    asked.put(None)
    assert list(responses) == []


def test_a_stream_without_a_key_is_refused_as_a_whole(door: Door):
    stub = door.channel.stream_stream("/inference.GRPCInferenceService/ModelStreamInfer")
    with pytest.raises(grpc.RpcError) as raised:
        next(stub(iter([request().SerializeToString()]), timeout=10))
    assert raised.value.code() == Code.UNAUTHENTICATED


def test_a_stream_ends_as_unavailable_when_its_worker_shuts_down(door: Door):
    asked: queue.SimpleQueue = queue.SimpleQueue()
    responses = door.stream(iter(asked.get, None))
    asked.put(request())
    assert not next(responses).error_message
    door.drain()
    with pytest.raises(grpc.RpcError) as raised:
        next(responses)
    assert raised.value.code() == Code.UNAVAILABLE
    assert dict(raised.value.trailing_metadata())["trivet-error"] == "DRAINING"
    asked.put(None)


class Held:
    """A slow model: it runs until it is let go."""

    def __init__(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        self.began, self.may_go = threading.Semaphore(0), threading.Event()
        version = world.engine.loaded[0]
        run = type(version).run

        def held(inner: Any, inputs: Any, outputs: Any, deadline: float = math.inf) -> Any:
            self.began.release()
            assert self.may_go.wait(20)
            return run(inner, inputs, outputs, deadline)

        monkeypatch.setattr(type(version), "run", held)
        monkeypatch.setattr(type(version), "cost_us_per_row", 1e6)
        world.plane.follow(world.snapshot({1: 100}))


def test_57_a_call_is_answered_while_a_large_message_is_read(world: World, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(servicer, "LARGE_BYTES", 4096)
    large = request(age=[50.0] * 1000, city=["Lyon"] * 1000, seats=[3] * 1000)
    reads = Pausing(call.read_request)
    monkeypatch.setattr(
        call, "read_request", lambda message, **how: (reads if message == large else reads.does)(message, **how)
    )
    with Door(world) as door, ThreadPoolExecutor(1) as pool:
        asked = pool.submit(door.ask, "ModelInfer", large)
        assert reads.have_begun.wait(10)
        assert door.ask("ModelInfer", request()).outputs
        reads.may_go.set()
        assert asked.result(10).outputs[0].shape == [1000]
    assert reads.waited, "the loop itself waited"
    large_one = next(record for record in world.records() if record.rows == 1000)
    assert large_one.door == "grpc"


def test_57_a_large_message_without_a_key_or_a_place_is_refused(world: World, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(servicer, "LARGE_BYTES", 10)
    with Door(world, slow_lane=SlowLane(threads=1, waiting=-1)) as door:
        with pytest.raises(grpc.RpcError) as refusal:
            door.ask("ModelInfer", request())
        assert "too many" in refusal.value.details()
        (refused,) = door.stream(iter([request()]))
        assert "too many" in refused.error_message
    assert not world.records()


def test_57_a_slow_model_holds_up_no_other_call_and_a_cancelled_one_gives_its_place_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    world = World(tmp_path)
    held = Held(world, monkeypatch)
    with Door(world, slow_lane=SlowLane(threads=1, waiting=1)) as door:
        running = door.stream(iter([request()]))
        assert held.began.acquire(timeout=10)
        waiting = door.stream(iter([request()]))
        until = time.monotonic() + 10
        while "QUEUE_FULL" not in (told := _told(door)):
            assert time.monotonic() < until, told
        assert door.ask("ServerLive").live
        waiting.cancel()
        third = door.stream(iter([request()]))
        until = time.monotonic() + 10
        while "QUEUE_FULL" not in _told(door):
            assert time.monotonic() < until
        held.may_go.set()
        assert not next(running).error_message
        assert not next(third).error_message


def _told(door: Door) -> str:
    """Return what is told to one more prediction, given little time: that it waits too long, or that too many do."""
    try:
        door.ask("ModelInfer", request(), timeout=0.2)
    except grpc.RpcError as error:
        return dict(error.trailing_metadata() or ()).get("trivet-error", "waited")
    return "answered"


# --- health and descriptions ------------------------------------------------------------------------------------------


def test_health_is_public_and_a_models_takes_the_verb_view(door: Door):
    assert door.ask("ServerLive", metadata=[]).live
    assert door.ask("ServerReady", metadata=[]).ready
    assert door.check() == "SERVING"
    assert door.check("churn", metadata=door.metadata) == "SERVING"
    for service, metadata, status in (
        ("churn", [], Code.UNAUTHENTICATED),
        ("nobody", [], Code.UNAUTHENTICATED),
        ("nobody", door.metadata, Code.NOT_FOUND),
    ):
        with pytest.raises(grpc.RpcError) as raised:
            door.check(service, metadata=metadata)
        assert raised.value.code() == status


def test_57_a_watch_tells_each_change_until_the_worker_ends(door: Door):
    watch, unknown = door.watch("churn", metadata=door.metadata), door.watch("nobody", metadata=door.metadata)
    assert state(next(watch)) == "SERVING"
    assert state(next(unknown)) == "SERVICE_UNKNOWN"
    door.world.route({1: 0})
    assert state(next(watch)) == "NOT_SERVING"
    door.world.route({1: 100})
    assert state(next(watch)) == "SERVING"
    door.drain()
    assert [state(response) for response in watch] == ["NOT_SERVING"]
    assert list(unknown) == []


def test_a_draining_worker_says_so_everywhere(door: Door):
    door.world.plane.is_draining = True
    assert door.check() == "NOT_SERVING"
    assert not door.ask("ServerReady").ready
    assert door.ask("ServerLive").live
    door.ask("ModelInfer", request())  # what still comes is answered, until the process ends
    door.world.plane.is_closed = True
    assert refused(door, request())[:2] == (Code.UNAVAILABLE, "DRAINING")


def test_model_ready_follows_the_model(door: Door):
    assert door.ask("ModelReady", inference.ModelReadyRequest(name="churn")).ready
    assert door.ask("ModelReady", inference.ModelReadyRequest(name="churn", version="2")).ready
    door.world.route({1: 0})
    assert not door.ask("ModelReady", inference.ModelReadyRequest(name="churn")).ready
    with pytest.raises(grpc.RpcError) as raised:
        door.ask("ModelReady", inference.ModelReadyRequest(name="nobody"))
    assert raised.value.code() == Code.NOT_FOUND


def test_no_model_is_ready_while_the_log_cannot_be_written(door: Door):
    door.world.plane.spool = Spool(door.world.spool_root, "full", limit_bytes=1)
    assert refused(door, request())[:2] == (Code.UNAVAILABLE, "LOG_UNAVAILABLE")
    assert not door.ask("ModelReady", inference.ModelReadyRequest(name="churn")).ready
    assert door.check("churn", metadata=door.metadata) == "NOT_SERVING"


def test_56_descriptions_say_what_rest_says(door: Door):
    server = door.ask("ServerMetadata")
    _, told, _ = door.world.ask("GET", "/v2")
    assert (server.name, server.version, list(server.extensions)) == tuple(told.values())
    model = door.ask("ModelMetadata", inference.ModelMetadataRequest(name="churn"))
    _, told, _ = door.world.ask("GET", "/v2/models/churn")
    assert (model.name, list(model.versions), model.platform) == ("churn", told["versions"], told["platform"])
    assert [(t.name, t.datatype, list(t.shape)) for t in model.inputs] == [
        (spec.name, spec.datatype, list(spec.shape)) for spec in SIGNATURE.inputs
    ]
    assert dict(model.properties) == told["properties"]
    config = door.ask("ModelConfig", inference.ModelConfigRequest(name="churn", version="2")).config
    assert list(config.version_policy.specific.versions) == [2]
    assert [tensor.data_type for tensor in config.input] == [12, 13, 9]  # FP64, STRING, INT64
    with pytest.raises(grpc.RpcError) as raised:
        door.ask("ServerMetadata", metadata=[])
    assert raised.value.code() == Code.UNAUTHENTICATED


def test_statistics_say_what_rest_says_and_stock_clients_read_them(door: Door):
    import tritonclient.grpc as stock

    door.ask("ModelInfer", request())
    _, told, _ = door.world.ask("GET", "/v2/models/stats")
    client = stock.InferenceServerClient(door.address)
    of_all = client.get_inference_statistics(headers=dict(door.metadata)).model_stats
    assert [(one.name, one.version) for one in of_all] == [(one["name"], one["version"]) for one in told["model_stats"]]
    [model] = client.get_inference_statistics("churn", "1", headers=dict(door.metadata)).model_stats
    want = told["model_stats"][0]
    assert (model.last_inference, model.inference_count, model.execution_count) == (want["last_inference"], 1, 1)
    for stage, duration in want["inference_stats"].items():
        read = getattr(model.inference_stats, stage)
        assert (read.count, read.ns) == (duration["count"], duration["ns"]), stage
    [batch] = model.batch_stats
    assert (batch.batch_size, batch.compute_infer.count) == (1, 1)
    with pytest.raises(grpc.RpcError) as raised:
        door.ask("ModelStatistics", inference.ModelStatisticsRequest(name="nobody"))
    assert raised.value.code() == Code.NOT_FOUND


def test_the_repository_is_listed_loaded_and_unloaded_as_by_rest(door: Door):
    door.world.route({1: 100}, verbs={"promote", "predict"})
    asked: list = []
    door.world.plane.change_loading = asked.append
    listed = door.ask("RepositoryIndex").models
    _, told, _ = door.world.ask(path="/v2/repository/index", body=b"")
    assert [(m.name, m.version, m.state, m.reason) for m in listed] == [tuple(entry.values()) for entry in told]
    unload = inference.RepositoryModelUnloadRequest(model_name="churn")
    unload.parameters["unload_dependents"].bool_param = False  # as tritonclient sends it
    door.ask("RepositoryModelUnload", unload)
    door.ask("RepositoryModelLoad", inference.RepositoryModelLoadRequest(model_name="churn"))
    assert [(change.model, change.is_load) for change in asked] == [("churn", False), ("churn", True)]
    load = inference.RepositoryModelLoadRequest(model_name="churn")
    load.parameters["file:1/model.onnx"].bytes_param = b"x"
    with pytest.raises(grpc.RpcError) as raised:
        door.ask("RepositoryModelLoad", load)
    assert raised.value.code() == Code.INVALID_ARGUMENT
    door.world.route({1: 100})
    with pytest.raises(grpc.RpcError) as raised:
        door.ask("RepositoryModelUnload", unload)
    assert raised.value.code() == Code.PERMISSION_DENIED


def test_what_is_not_offered_is_unimplemented(door: Door):
    for method in ("TraceSetting", "SystemSharedMemoryRegister", "Nothing"):
        with pytest.raises(grpc.RpcError) as raised:
            door.channel.unary_unary(f"/inference.GRPCInferenceService/{method}")(
                b"", timeout=10, metadata=door.metadata
            )
        assert raised.value.code() == Code.UNIMPLEMENTED


# --- beside a stock client --------------------------------------------------------------------------------------------


def test_58_a_process_may_import_tritonclient_as_well_and_both_mean_the_same_messages(door: Door):
    import tritonclient.grpc as stock
    from tritonclient.grpc import model_config_pb2, service_pb2

    assert stock.InferenceServerClient(door.address).is_server_ready()
    ours_only = {("ModelMetadataResponse", "properties")}
    for name, fields in INFERENCE.items():
        for field, (number, _) in fields.items():
            if (name, field) not in ours_only:
                theirs = _theirs((service_pb2, model_config_pb2), name).fields_by_name[field]
                ours = _theirs((inference,), name).fields_by_name[field]
                assert (ours.number, ours.type) == (theirs.number, theirs.type) == (number, theirs.type), (name, field)
                assert getattr(ours.message_type, "full_name", "") == getattr(theirs.message_type, "full_name", "")


def _theirs(places: tuple, name: str) -> Any:
    outer, _, inner = name.partition(".")
    [message] = [getattr(place, outer) for place in places if hasattr(place, outer)]
    return (getattr(message, inner) if inner else message).DESCRIPTOR
