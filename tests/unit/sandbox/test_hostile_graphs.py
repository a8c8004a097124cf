"""Hostile graphs (A15, A35 to A40): refused by the judge, in its own confined process; none reaches a runtime here."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import msgspec
import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper
from sklearn.ensemble import GradientBoostingRegressor, RandomForestClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import trivet
from tests.scale import scaled
from trivet.core.errors import CompileError
from trivet.core.signature import Input, Output, Signature
from trivet.model.bundle.sample import SAMPLE_NAME
from trivet.model.compile import process, trial
from trivet.model.compile.compiler import compile_model
from trivet.model.compile.disposable import Deadline, answer_of
from trivet.model.compile.wire import Failure, GraphFacts, Question, decode_verdict
from trivet.model.runtimes.onnx import MODEL_FILE

pytestmark = pytest.mark.usefixtures("warmed", "canary")

MUTATIONS = int(os.environ.get("TRIVET_TEST_MUTATIONS", scaled(test=100, ci=500, full=500)))
JUDGED_SECONDS = 20.0
SIGNATURE = Signature(
    inputs=(Input(name="x", datatype="FP64", shape=(-1, 1)),),
    outputs=(Output(name="y", datatype="FP64", shape=(-1, 1)),),
)
SAMPLE = b'{"inputs":{"x":1.0},"outputs":{"y":1.0}}\n'


def graph(nodes, initializers=(), *, domains=(), functions=()):
    made = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.DOUBLE, [None, 1])],
        [helper.make_tensor_value_info("y", TensorProto.DOUBLE, [None, 1])],
        list(initializers),
    )
    opsets = [helper.make_opsetid("", 21), *(helper.make_opsetid(domain, 1) for domain in domains)]
    return helper.make_model(made, opset_imports=opsets, ir_version=10, functions=list(functions))


def node(operator, *inputs, to="y", **attributes):
    return helper.make_node(operator, list(inputs), [to], **attributes)


def cast(source, result, datatype):
    return helper.make_node("Cast", [source], [result], to=datatype)


def constant(name, values, dtype=np.int64):
    return numpy_helper.from_array(np.array(values, dtype=dtype), name)


def judged(made, *, seconds=JUDGED_SECONDS):
    """Return the judge's verdict on a graph, or what ended it."""
    data = made if isinstance(made, bytes) else made.SerializeToString()
    question = Question(data, SIGNATURE, (), int(seconds), SAMPLE)
    deadline = Deadline.after(seconds)
    return decode_verdict(answer_of(process.JUDGE, msgspec.msgpack.encode(question), deadline, called="the judge").body)


def refusal(made, **options):
    verdict = judged(made, **options)
    assert isinstance(verdict, Failure), verdict
    return verdict.message


PLAIN = graph([node("Abs", "x")])


def test_a_plain_graph_passes():
    assert isinstance(judged(PLAIN), GraphFacts)


@pytest.mark.parametrize("part", [0.1, 0.5, 0.9, 0.99])
def test_A35_a_truncated_graph_is_refused(part):
    data = PLAIN.SerializeToString()
    assert "not a valid graph" in refusal(data[: int(len(data) * part)])


@pytest.mark.parametrize(
    "data",
    [
        b"\x80\x04cos\nsystem\n.",
        b"PK\x03\x04" + bytes(60),
        b"<!doctype html><script>alert(1)</script>",
        b"\x7fELF\x02\x01\x01" + bytes(60),
        b"",
        PLAIN.SerializeToString() + b"PK\x05\x06" + bytes(18),
        PLAIN.SerializeToString() + b"\x80\x04cos\nsystem\n.",
    ],
    ids=["pickle", "zip", "html", "elf", "empty", "graph and zip", "graph and pickle"],
)
def test_A15_a_file_that_is_no_graph_or_more_than_one_is_refused(data):
    assert "not a valid graph" in refusal(data)


def with_shape(dims):
    made = graph([node("Add", "x", "w")], [helper.make_tensor("w", TensorProto.DOUBLE, [1], [1.0])])
    del made.graph.initializer[0].dims[:]
    made.graph.initializer[0].dims.extend(dims)
    return made


@pytest.mark.parametrize("dims", [[2**40], [2**31, 2**31], [2**62, 4], [-1], [2**63 - 1]], ids=str)
def test_A35_a_tensor_of_huge_dimensions_is_refused(dims):
    assert refusal(with_shape(dims))


def test_A35_custom_domains_and_functions_are_refused():
    strange = graph([node("Abs", "x", domain="evil.example")], domains=["evil.example"])
    assert "domain" in refusal(strange) or "not a valid graph" in refusal(strange)
    opset = [helper.make_opsetid("", 21), helper.make_opsetid("local", 1)]
    calls_itself = helper.make_function("local", "f", ["a"], ["b"], [node("f", "a", to="b", domain="local")], opset)
    assert refusal(graph([node("f", "x", domain="local")], domains=["local"], functions=[calls_itself]))
    harmless = helper.make_function("local", "f", ["a"], ["b"], [node("Abs", "a", to="b")], opset)
    assert refusal(graph([node("f", "x", domain="local")], domains=["local"], functions=[harmless]))


def nested_if(depth):
    inner = [node("Identity", "x", to="r0")]
    for level in range(depth):
        out = helper.make_tensor_value_info(f"r{level}", TensorProto.DOUBLE, [None, 1])
        then = helper.make_graph(inner, f"then{level}", [], [out])
        other = helper.make_graph([node("Identity", "x", to=f"e{level}")], f"else{level}", [], [
            helper.make_tensor_value_info(f"e{level}", TensorProto.DOUBLE, [None, 1])
        ])  # fmt: skip
        inner = [node("If", "go", to=f"r{level + 1}", then_branch=then, else_branch=other)]
    return graph([*inner, node("Identity", f"r{depth}")], [constant("go", True, bool)])


def test_A35_graphs_within_graphs_are_bounded_and_never_run_inline():
    few = judged(nested_if(2))
    assert isinstance(few, GraphFacts)
    assert not few.may_run_inline
    assert "nests graphs deeper" in refusal(nested_if(6))
    assert refusal(nested_if(25))  # nearly as deep as protobuf reads


@pytest.mark.parametrize("place", ["secret", "/etc/passwd", "../canary/secret", "/dev/zero", "file:///etc/passwd", ""])
@pytest.mark.parametrize("where", ["initializer", "attribute", "in a branch"])
def test_A35_external_data_is_refused_in_every_form(place, where):
    tensor = TensorProto(name="w", data_type=TensorProto.DOUBLE, dims=[1], data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value=place)
    if where == "initializer":
        made = graph([node("Add", "x", "w")], [tensor])
    elif where == "attribute":
        made = graph([node("Constant", to="w", value=tensor), node("Add", "x", "w")])
    else:
        made = nested_if(1)
        branch = made.graph.node[0].attribute[0].g
        branch.initializer.append(tensor)
    assert refusal(made)


def bomb(operator, elements):
    """Return a graph whose sample row makes it allocate `elements` doubles, and then answer as if nothing were."""
    size = [constant("size", [elements]), constant("first", [0]), constant("axis0", [0]), constant("flat", [-1])]
    if operator == "ConstantOfShape":
        nodes = [
            node("ConstantOfShape", "wanted", to="big", value=helper.make_tensor("v", TensorProto.DOUBLE, [1], [1]))
        ]
    elif operator == "Expand":
        nodes = [node("Reshape", "x", "flat", to="row"), node("Expand", "row", "wanted", to="big")]
    elif operator == "Tile":
        nodes = [node("Reshape", "x", "flat", to="row"), node("Tile", "row", "wanted", to="big")]
    elif operator == "Range":
        nodes = [
            node("Squeeze", "wanted", to="end"),
            cast("end", "limit", TensorProto.DOUBLE),
            node("Range", "zero", "limit", "one", to="big"),
        ]
        size += [constant("zero", 0.0, np.float64), constant("one", 1.0, np.float64)]
    elif operator == "Pad":
        nodes = [
            node("Reshape", "x", "flat", to="row"),
            node("Concat", "first", "wanted", to="pads", axis=0),
            node("Pad", "row", "pads", to="big"),
        ]
    elif operator == "Resize":
        nodes = [
            cast("x", "small", TensorProto.FLOAT),
            node("Reshape", "small", "flat", to="row"),
            cast("wanted", "scales", TensorProto.FLOAT),
            node("Resize", "row", "", "scales", to="resized", mode="nearest"),
            cast("resized", "big", TensorProto.DOUBLE),
        ]
    else:
        nodes = [
            node("Squeeze", "wanted", to="depth"),
            node("OneHot", "first", "depth", "off_on", to="hot", axis=-1),
            cast("hot", "wide", TensorProto.DOUBLE),
            node("Reshape", "wide", "flat", to="big"),
        ]
        size.append(constant("off_on", [0.0, 1.0], np.float32))
    # the size depends on the row, so that nothing of it is known, or folded, before it runs
    asked = [
        cast("x", "whole", TensorProto.INT64),
        node("Reshape", "whole", "flat", to="ones"),
        node("Mul", "ones", "size", to="wanted"),
        *nodes,
        node("ReduceMax", "big", "axis0", to="most", keepdims=1),
        node("Mul", "most", "none", to="zeroed"),
        node("Add", "x", "zeroed"),
    ]
    return graph(asked, [*size, constant("none", [0.0], np.float64)])


BOMBS = ["ConstantOfShape", "Expand", "Tile", "Range", "Pad", "Resize", "OneHot"]


@pytest.mark.parametrize("operator", BOMBS)
def test_A36_a_memory_bomb_is_refused_before_anybody_else_runs_the_graph(operator):
    whole = trial.ROOM_BYTES // 8
    harmless = judged(bomb(operator, 1000))
    assert isinstance(harmless, GraphFacts)
    assert not harmless.may_run_inline, "another row may ask for more, of a web worker that has no bound"
    for times in (1, 2, 1000):
        message = refusal(bomb(operator, whole * times))
        assert "needs more than" in message or "would require more than" in message, message


def sized_by(operator, size):
    """Return a graph that makes as much as the shape of its input says, or a number that is in it."""
    if size == "shape":
        wanted = [node("Shape", "x", to="both"), node("Gather", "both", "axis0", to="wanted", axis=0)]
    else:
        wanted = [cast("x", "whole", TensorProto.INT64), node("Reshape", "whole", "flat", to="wanted")]
    makes = {
        "Expand": [node("Expand", "one", "wanted", to="big")],
        "Tile": [node("Tile", "one", "wanted", to="big")],
        "ConstantOfShape": [node("ConstantOfShape", "wanted", to="some"), cast("some", "big", TensorProto.DOUBLE)],
    }
    end = [node("ReduceMax", "big", "axis0", to="most", keepdims=1), node("Add", "x", "most")]
    constants = [constant("axis0", [0]), constant("flat", [-1]), constant("one", [1.0], np.float64)]
    return graph([*wanted, *makes[operator], *end], constants)


@pytest.mark.parametrize("operator", ["Expand", "Tile", "ConstantOfShape"])
def test_A36_what_is_sized_by_how_many_rows_there_are_runs_inline_and_by_what_they_say_does_not(operator):
    by_shape, by_value = judged(sized_by(operator, "shape")), judged(sized_by(operator, "value"))
    assert isinstance(by_shape, GraphFacts)
    assert isinstance(by_value, GraphFacts)
    assert (by_shape.may_run_inline, by_value.may_run_inline) == (True, False)


def test_A37_an_endless_loop_never_runs_inline_and_is_ended_at_the_deadline():
    number = [helper.make_tensor_value_info(name, TensorProto.DOUBLE, [None, 1]) for name in ("seen", "next")]
    count = helper.make_tensor_value_info("count", TensorProto.INT64, [])
    go, on = (helper.make_tensor_value_info(name, TensorProto.BOOL, []) for name in ("go", "on"))
    body = helper.make_graph(
        [node("Identity", "seen", to="next"), node("Identity", "go", to="on")],
        "body",
        [count, go, number[0]],
        [on, number[1]],
    )

    def loop(times):
        return graph([node("Loop", "times", "", "x", body=body)], [constant("times", times)])

    few = judged(loop(3))
    assert isinstance(few, GraphFacts)
    assert not few.may_run_inline
    with pytest.raises(CompileError, match=r"longer than 2 s|without an answer"):
        judged(loop(2**62), seconds=2.0)


def test_A39_a_million_nodes_and_a_name_of_100_megabytes_are_refused_in_seconds():
    one = node("Abs", "x").SerializeToString()
    field = b"\x0a" + len(one).to_bytes(1, "little") + one
    body = field * 1_000_000 + PLAIN.graph.SerializeToString()
    data = b"\x08\x0a\x3a" + _varint(len(body)) + body
    assert "more than 100000 nodes" in refusal(data)
    assert "a name of more than" in refusal(graph([node("Abs", "x", to="n" * 100_000_000), node("Abs", "x")]))


def _varint(value):
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


@pytest.fixture(scope="module")
def good_files(tmp_path_factory):
    """Five compiled models, with their samples."""
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(60, 3))
    label, target = (rows[:, 0] > 0).astype(int), rows @ [1.0, 2.0, 3.0]
    models = [
        make_pipeline(StandardScaler(), LogisticRegression()).fit(rows, label),
        LinearRegression().fit(rows, target),
        RandomForestClassifier(5, max_depth=3, random_state=0).fit(rows, label),
        GradientBoostingRegressor(n_estimators=5, random_state=0).fit(rows, target),
        LogisticRegression().fit(rows, np.where(label, "yes", "no")),
    ]
    folder = tmp_path_factory.mktemp("good")
    for number, model in enumerate(models):
        bundle = compile_model(model, sample=rows).bundle
        facts = (bundle.files[MODEL_FILE], bundle.signature, bundle.manifest.packs, bundle.files[SAMPLE_NAME])
        (folder / str(number)).write_bytes(msgspec.msgpack.encode(Question(*facts[:3], 60, facts[3])))
    return folder


MUTATE = """
import random, sys
from pathlib import Path
source, folder, first, last = sys.argv[1:]
sys.path.insert(0, source)
import msgspec, onnxruntime
from trivet.core.errors import TrivetError
from trivet.model.bundle.packing import pack_columns
from trivet.model.bundle.sample import decode_sample
from trivet.model.compile.checks import check_graph
from trivet.model.compile.trial import ROOM_BYTES
from trivet.model.compile.wire import Question
from trivet.model.runtimes.onnx import open_session
from trivet.model.sandbox.confinement import confine
import resource
questions = [msgspec.msgpack.decode(path.read_bytes(), type=Question) for path in sorted(Path(folder).iterdir())]
assert confine().level >= 2
resource.setrlimit(resource.RLIMIT_AS, (4 * 1024**3, 4 * 1024**3))
for seed in range(int(first), int(last)):
    print(seed, end=" ", flush=True)
    rng = random.Random(seed)
    question = questions[seed % len(questions)]
    data = bytearray(question.graph)
    for _ in range(rng.choice([1, 1, 2, 4, 16])):
        at = rng.randrange(len(data))
        how = rng.randrange(5)
        if how == 0: data[at] ^= 1 << rng.randrange(8)
        elif how == 1: data[at] = rng.randrange(256)
        elif how == 2: del data[at : at + rng.randrange(1, 16)]
        elif how == 3: data[at:at] = rng.randbytes(rng.randrange(1, 16))
        else: data[at:at] = data[at : at + rng.randrange(1, 64)]
    try:
        check_graph(bytes(data), question.signature, question.packs)
    except TrivetError:
        print("refused", flush=True)
        continue
    inputs, _ = decode_sample(question.signature, question.sample)
    try:
        open_session(bytes(data)).run([o.name for o in question.signature.outputs], pack_columns(question.packs, inputs))
    except Exception:
        print("failed", flush=True)
    else:
        print("ran", flush=True)
"""


@pytest.mark.timeout(900)
def test_A40_of_seeded_mutations_of_five_good_files_none_does_anything_but_answer_or_fail(good_files, tmp_path, canary):
    """`TRIVET_TEST_MUTATIONS` says how many. A crash counts as a refusal: it happens where it harms nobody."""
    found, crashes, seed = {"refused": 0, "failed": 0, "ran": 0}, 0, 0
    source = str(Path(trivet.__file__).parents[1])
    while seed < MUTATIONS:
        ran = subprocess.run(
            [sys.executable, "-I", "-c", textwrap.dedent(MUTATE), source, str(good_files), str(seed), str(MUTATIONS)],
            env={"ORT_DISABLE_TELEMETRY": "1", "OPENBLAS_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            check=False,
            cwd=tmp_path,
            timeout=600,
        )
        lines = [line.split() for line in ran.stdout.splitlines()]
        for _, verdict in (line for line in lines if len(line) == 2):
            found[verdict] += 1
        if ran.returncode == 0:
            break
        assert ran.returncode < 0, ran.stderr
        crashes += 1
        seed = int(lines[-1][0]) + 1
    assert sum(found.values()) + crashes == MUTATIONS
    assert found["refused"] + found["failed"] > 0
    assert [*tmp_path.iterdir()] == [canary.file.parent]
