"""What passes between a web worker and a model worker: it comes back as it was, and nothing that lies is believed."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, strategies as st

from trivet.core.signature import Input, Output, Signature
from trivet.dataplane.engines.worker.frames import (
    PREFIX,
    Ask,
    BadFrame,
    Contract,
    Inbox,
    Part,
    Told,
    encode_frame,
)

SIGNATURE = Signature(
    inputs=(
        Input(name="age", datatype="FP64", shape=(-1, 1)),
        Input(name="city", datatype="BYTES", shape=(-1, 1)),
        Input(name="pixels", datatype="UINT8", shape=(-1, 3)),
    ),
    outputs=(
        Output(name="label", datatype="BYTES", shape=(-1,)),
        Output(name="scores", datatype="FP32", shape=(-1, 2)),
    ),
)
CONTRACT = Contract(SIGNATURE, ())
MIB = 1024 * 1024


def sent(cities: list[str]) -> dict[str, np.ndarray]:
    rows = len(cities)
    return {
        "age": np.arange(rows, dtype=np.float64).reshape(-1, 1),
        "city": np.array(cities, dtype=object).reshape(-1, 1),
        "pixels": np.arange(3 * rows, dtype=np.uint8).reshape(-1, 3),
    }


def received(frame: bytes, head: type, chunk: int) -> tuple:
    inbox = Inbox(head)
    found = None
    for begin in range(0, len(frame), chunk):
        assert found is None
        found = inbox.feed(frame[begin : begin + chunk])
    assert found is not None
    return found


@given(
    cities=st.lists(st.text(st.characters(exclude_categories=())), min_size=1, max_size=5),
    chunk=st.integers(1, 400),
)
def test_inputs_come_back_as_they_were_however_they_are_cut(cities: list[str], chunk: int):
    feed = sent(cities)
    parts, encoded = CONTRACT.encode_inputs(feed)
    ask, data = received(encode_frame(Ask(1.5, ["label"], parts), encoded), Ask, chunk)
    arrays, rows = CONTRACT.decode_inputs(ask.parts, data)
    assert rows == len(cities)
    assert {name: array.tolist() for name, array in arrays.items()} == {n: a.tolist() for n, a in feed.items()}
    assert all(array.flags.writeable and array.flags.aligned for array in arrays.values())


def answer(rows: int = 2) -> tuple[list[Part], bytearray]:
    arrays = [np.array(["stays"] * rows, dtype=object), np.ones((rows, 2), dtype=np.float32)]
    parts, encoded = CONTRACT.encode_outputs(["label", "scores"], arrays)
    return parts, bytearray(b"".join(encoded))


def test_an_answer_comes_back_in_the_order_asked_for():
    parts, data = answer()
    label, scores = CONTRACT.decode_outputs(["label", "scores"], parts, data, 2, MIB)
    assert label.tolist() == ["stays", "stays"]
    assert (scores.dtype, scores.shape) == (np.float32, (2, 2))


@pytest.mark.parametrize(
    ("place", "changed"),
    [
        (0, {"name": "scores"}),
        (1, {"datatype": "FP64"}),
        (1, {"datatype": "INT32"}),
        (1, {"shape": (2, 3)}),
        (1, {"shape": (4,)}),
        (1, {"shape": (1, 2)}),
        (1, {"shape": (-1, 2)}),
        (1, {"shape": (2**40, 2)}),
        (1, {"size": 15}),
        (1, {"size": -1}),
        (1, {"size": 2**60}),
        (0, {"size": 1}),
        (0, {"shape": (2**60,)}),
    ],
)
def test_an_answer_that_is_not_the_one_promised_is_not_read(place: int, changed: dict):
    parts, data = answer()
    fields = {name: getattr(parts[place], name) for name in ("name", "datatype", "shape", "size")}
    parts[place] = Part(**fields | changed)
    with pytest.raises(BadFrame):
        CONTRACT.decode_outputs(["label", "scores"], parts, data, 2, MIB)


def test_rows_bytes_and_outputs_are_those_of_the_request():
    parts, data = answer()
    for wanted, rows, limit in ((["label", "scores"], 3, MIB), (["label"], 2, MIB), (["label", "scores"], 2, 10)):
        with pytest.raises(BadFrame):
            CONTRACT.decode_outputs(wanted, parts, data, rows, limit)
    with pytest.raises(BadFrame):
        CONTRACT.decode_outputs(["label", "scores"], parts, data + b"x", 2, MIB)


def test_texts_that_lie_about_their_lengths_are_not_read():
    parts, data = answer(1)
    for damage in (b"\xff\xff\xff\xff", b"\x04\x00\x00\x00"):
        data[:4] = damage
        with pytest.raises(BadFrame):
            CONTRACT.decode_outputs(["label", "scores"], parts, data, 1, MIB)


@pytest.mark.parametrize(
    "frame",
    [
        b"x" * 100,
        PREFIX.pack(b"TVM1", 2**31, 0),
        PREFIX.pack(b"TVM1", 1, 2**60),
        PREFIX.pack(b"TVM1", 1, 0) + b"\xc1",
        PREFIX.pack(b"TVM1", 1, 0) + b"\x80",
        encode_frame(Told("", [])) + b"x",
    ],
)
def test_bytes_that_are_no_frame_end_the_conversation(frame: bytes):
    with pytest.raises(BadFrame):
        Inbox(Told).feed(frame)


@given(st.binary(max_size=300))
def test_no_bytes_raise_anything_else(data: bytes):
    parts, good = answer()
    frame = bytearray(encode_frame(Told("", parts), [bytes(good)]))
    frame[PREFIX.size : PREFIX.size + len(data)] = data
    try:
        found = Inbox(Told).feed(bytes(frame))
        if found is not None:
            CONTRACT.decode_outputs(["label", "scores"], found[0].parts, found[1], 2, MIB)
    except BadFrame:
        pass
