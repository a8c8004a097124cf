"""The disposable process: what it does with honest files, and what hostile ones may not do to its parent."""

import bz2
import contextlib
import gzip
import hashlib
import os
import pickle
import resource
import subprocess
import sys
import time
from pathlib import Path

import joblib
import msgspec
import numpy as np
import onnx
import pandas as pd
import pytest
import sklearn.base
from onnx import TensorProto, helper, numpy_helper
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import SplineTransformer
from tests.rents import compiled_rents, rents, trained as trained_rents

from trivet.core.errors import CompileError, Refused
from trivet.core.profile.checking import MOST_BYTES
from trivet.core.profile.profile import encode_profile
from trivet.core.profile.reference import REFERENCE_NAME, decode_reference, encode_reference
from trivet.model.bundle.bundle import make_bundle
from trivet.model.bundle.loss import LOSS_NAME, MOST_LOSS_BYTES, MOST_LOSS_NODES
from trivet.model.bundle.manifest import encode_manifest
from trivet.model.compile import disposable, process
from trivet.model.compile.compiler import compile_model
from trivet.model.compile.native import native_bundle
from trivet.model.compile.process import compile_file
from trivet.model.compile.wire import Success, encode_framed

pytestmark = pytest.mark.usefixtures("warmed")


@pytest.fixture(scope="module")
def trained():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"age": rng.integers(18, 80, 100), "income": rng.normal(size=100)})
    churned = np.where(frame["age"] > 40, "yes", "no")
    return LogisticRegression().fit(frame, churned), frame.assign(churned=churned)


@pytest.fixture
def files(trained, tmp_path):
    model, sample = trained
    joblib.dump(model, tmp_path / "model.joblib")
    sample.to_csv(tmp_path / "sample.csv", index=False)
    return tmp_path / "model.joblib", tmp_path / "sample.csv"


class Runs:
    """A pickle that runs a statement on opening, as a hostile one would."""

    def __init__(self, statement):
        self.statement = statement

    def __reduce__(self):
        return exec, (self.statement,)


@pytest.fixture
def workplace(tmp_path, monkeypatch):
    """The folder in which disposable processes run: the only one they may write into."""
    folder = tmp_path / "workplace"
    folder.mkdir()
    monkeypatch.setattr(disposable.tempfile, "TemporaryDirectory", lambda **_: contextlib.nullcontext(str(folder)))
    return folder


def hostile(tmp_path, statement):
    path = tmp_path / "hostile.joblib"
    path.write_bytes(pickle.dumps(Runs(statement)))
    return path


def test_a_file_and_the_object_in_memory_become_the_same_graph(files, trained):
    path, sample = files
    compiled = compile_file(path, sample=sample, label_column="churned")
    model, rows = trained
    in_memory = compile_model(model, sample=rows.drop(columns="churned"), labels=rows["churned"])
    assert compiled.bundle.files == in_memory.bundle.files
    assert compiled.parity.line() == in_memory.parity.line()
    assert len(compiled.bundle.manifest.source["sha256"]) == 64
    assert compiled.speed.compiled > 0


def test_whoever_has_over_a_thousand_descriptors_open_compiles_as_well(files):
    """A server with many connections: `select` knows 1,024 descriptors."""
    path, sample = files
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    opened = [os.open(os.devnull, os.O_RDONLY) for _ in range(1100)]
    try:
        assert compile_file(path, sample=sample, label_column="churned").bundle.files
    finally:
        for descriptor in opened:
            os.close(descriptor)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize("compress", [gzip.compress, bz2.compress])
def test_compressed_files_are_recognised_by_content_whatever_their_name(compress, files, trained, tmp_path):
    path = tmp_path / "model.onnx"
    path.write_bytes(compress(pickle.dumps(trained[0])))
    assert compile_file(path, sample=files[1], label_column="churned").parity.labels_differ == 0


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"PK\x03\x04rest", "no sound zip"),
        (b"\x89HDF\r\n", "Keras"),
        (b"tree\nversion=v4", "LightGBM"),
        (b"hello", "no known format"),
        (b"", "no known format"),
        (b"\x80\x05broken", "cannot be opened"),
    ],
)
def test_other_formats_are_refused_with_a_reason(data, reason, tmp_path):
    path = tmp_path / "model.joblib"
    path.write_bytes(data)
    with pytest.raises(CompileError, match=reason):
        compile_file(path)


def test_a_label_column_that_is_not_there_is_named_with_the_closest(files):
    with pytest.raises(CompileError, match=r"'churn'\. Did you mean 'churned'"):
        compile_file(files[0], sample=files[1], label_column="churn")


def test_what_another_scikit_learn_trained_is_not_run_unchanged_by_this_one(tmp_path, monkeypatch):
    rows = np.linspace(0.0, 9.0, 60).reshape(-1, 1)
    model = make_pipeline(SplineTransformer(), Ridge()).fit(rows, np.sin(rows[:, 0]))  # nobody converts splines
    monkeypatch.setattr(sklearn.base, "__version__", "1.2.7")
    joblib.dump(model, tmp_path / "model.joblib")
    with pytest.raises(
        CompileError, match=r"trained with scikit-learn 1\.2\.7, and here is .* --requirements that name"
    ):
        compile_file(tmp_path / "model.joblib")


def test_A11_a_missing_module_is_named(tmp_path):
    path = tmp_path / "model.joblib"
    path.write_bytes(b"\x80\x04c" + b"nowhere.to_be_found\nModel\n.")
    with pytest.raises(CompileError, match=r"module 'nowhere'"):
        compile_file(path)


def test_A09_A10_an_endless_file_is_stopped_at_the_deadline_and_could_start_nothing(tmp_path, workplace):
    statement = (
        "import os, subprocess, threading, time\n"
        "threading.Thread(target=time.sleep, args=(60,)).start()\n"
        "try: subprocess.Popen(['sleep', '60'])\n"
        "except OSError as error: open('told', 'w').write(f'{os.getpid()} {error.strerror}')\n"
        "time.sleep(60)"
    )
    started = time.monotonic()
    with pytest.raises(CompileError, match="longer than 4 s"):
        compile_file(hostile(tmp_path, statement), timeout=4)
    assert time.monotonic() - started < 5
    pid, _, reason = (workplace / "told").read_text().partition(" ")
    assert reason == "Operation not permitted"
    assert not Path(f"/proc/{pid}").exists()


@pytest.mark.parametrize(
    ("statement", "reason"),
    [
        ("import os; os._exit(0)", "without an answer"),
        ("import os; os.kill(os.getpid(), 11)", r"without an answer \(signal 11\)"),
        ("x = bytearray(10 * 1024**3)", "cannot be opened|memory"),
    ],
    ids=["says nothing", "crashes", "takes memory"],
)
def test_S14_a_child_that_ends_badly_is_an_error_not_a_crash(statement, reason, tmp_path):
    with pytest.raises(CompileError, match=reason):
        compile_file(hostile(tmp_path, statement))


WRITE_TO_EVERY_PIPE = """
import os, stat
for d in range(3, 4096):  # a long test run has many descriptors open, and the pipe keeps its number
    try:
        if stat.S_ISFIFO(os.fstat(d).st_mode):
            {write}
    except OSError:
        pass
os._exit(0)
"""


@pytest.mark.parametrize(
    ("write", "reason"),
    [
        ("os.write(d, b'OK')", "without an answer"),
        ("os.write(d, (2).to_bytes(8, 'big') + b'OK')", "no answer"),
        ("os.write(d, (2).to_bytes(8, 'big') + b'OK and more')", "more than it announced"),
        ("os.write(d, (4 * 1024**3).to_bytes(8, 'big'))", "announced 4294967296 bytes"),
    ],
    ids=["OK", "framed", "overlong", "4 GB"],
)
def test_S16_S18_what_a_hostile_child_writes_is_judged(write, reason, tmp_path):
    with pytest.raises(CompileError, match=reason):
        compile_file(hostile(tmp_path, WRITE_TO_EVERY_PIPE.format(write=write)))


@pytest.fixture(scope="module")
def honest(trained):
    model, sample = trained
    return compile_model(model, sample=sample.drop(columns="churned")).bundle


@pytest.fixture
def forge(tmp_path, workplace):
    """Compile a file whose author answers in the child's place, with this manifest (of that very file) and these files."""
    path = hostile(tmp_path, WRITE_TO_EVERY_PIPE.format(write="os.write(d, open('forged', 'rb').read())"))
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()

    def compiled(manifest, contents, *, hashed=None, source=None):
        claimed = msgspec.structs.replace(manifest, source=source or {"sha256": sha256})
        manifest = make_bundle(claimed, contents if hashed is None else hashed).manifest
        answer = Success(encode_manifest(manifest), dict(contents), 1.0, 1.0)
        (workplace / "forged").write_bytes(encode_framed(answer))
        return compile_file(path)

    return compiled


@pytest.fixture(scope="module")
def native(trained):
    model, sample = trained
    return native_bundle(model, why="a reason", sample=sample.drop(columns="churned")).bundle


def test_a_bundle_for_another_environment_than_it_was_opened_in_is_refused(native, forge):
    contents = {**native.files, "requirements.txt": b"scikit-learn==1.5.2\n"}
    with pytest.raises(CompileError, match="for another environment than the one it ran in"):
        forge(native.manifest, contents)


def test_an_honest_native_bundle_is_replayed_elsewhere_and_a_forged_one_is_refused(native, forge):
    manifest, contents = native.manifest, native.files
    made = forge(manifest, contents)
    assert (made.is_native, made.why, made.bundle.files) == (True, "a reason", contents)
    other_answers = {**contents, "sample.jsonl": contents["sample.jsonl"].replace(b'"yes"', b'"no"')}
    with pytest.raises(CompileError, match="has another label"):
        forge(manifest, other_answers)
    with pytest.raises(CompileError, match="does not say that, and why, it runs unchanged"):
        forge(says(manifest, may_run_inline=True), contents)
    accepting = msgspec.structs.replace(manifest.native, accepted_types=("os.system",))
    with pytest.raises(CompileError, match="accepts types that nobody accepted"):
        forge(msgspec.structs.replace(manifest, native=accepting), contents)
    with pytest.raises(CompileError, match="a bundle for 'onnx'"):
        forge(msgspec.structs.replace(manifest, runtime="onnx"), contents)
    with pytest.raises(CompileError, match="other files"):
        forge(msgspec.structs.replace(manifest, runtime="xgboost"), contents)


def without_reference(contents):
    """Return the files of a bundle as one was made before there were references."""
    return {name: data for name, data in contents.items() if name != REFERENCE_NAME}


@pytest.mark.parametrize(
    ("forged", "reason"),
    [
        (lambda reference: b"\x80", "cannot be read"),
        (lambda reference: encode_reference(reference)[:-9], "cannot be read"),
        (lambda reference: b"\0" * (MOST_BYTES + 1), "at most 16777216 are taken"),
        (lambda reference: replaced(reference, features=reference.features[::-1]), "other features"),
        (lambda reference: replaced(reference, classes=("yes", "no")), "other classes"),
        (lambda reference: replaced(reference, whole_bytes=encode_profile(reference.empty)), "rows that there are not"),
    ],
    ids=["nothing", "half", "too large", "other features", "other classes", "no rows"],
)
def test_a_forged_reference_is_refused_with_its_bundle(forged, reason, honest, native, forge):
    for bundle in (honest, native):
        reference = decode_reference(bundle.files[REFERENCE_NAME])
        with pytest.raises(CompileError, match=f"no sound bundle: .*{reason}"):
            forge(bundle.manifest, {**bundle.files, REFERENCE_NAME: forged(reference)})


def with_nodes(graph, operator, number):
    """Return a graph with so many nodes more, of which nothing comes."""
    made = onnx.load_from_string(graph)
    made.graph.node.extend(helper.make_node(operator, ["X"], [f"more_{place}"]) for place in range(number))
    return made.SerializeToString()


def test_errors_are_learned_of_in_the_disposable_process(tmp_path):
    flats, costs = rents(2_500, 2)
    joblib.dump(trained_rents(), tmp_path / "rents.joblib")
    flats.assign(cost=costs).to_csv(tmp_path / "flats.csv", index=False)
    made = compile_file(tmp_path / "rents.joblib", sample=tmp_path / "flats.csv", label_column="cost")
    assert made.reference.loss.rows == 2_500
    assert LOSS_NAME in made.bundle.files


def test_an_honest_loss_model_is_judged_elsewhere_and_a_forged_one_is_refused(forge, honest):
    bundle = compiled_rents().bundle
    graph = bundle.files[LOSS_NAME]
    assert forge(bundle.manifest, bundle.files).bundle.files[LOSS_NAME] == graph
    for forged, reason in (
        (b"no graph", "not a valid graph"),
        (b"\0" * (MOST_LOSS_BYTES + 1), "at most 1048576 are taken"),
        (honest.files["model.onnx"], "graph and signature disagree"),
        (with_nodes(graph, "Identity", MOST_LOSS_NODES), "not a graph of boosted trees"),
        (with_nodes(graph, "Shape", 1), "not a graph of boosted trees"),
    ):
        with pytest.raises(CompileError, match=f"no sound bundle: .*{reason}"):
            forge(bundle.manifest, {**bundle.files, LOSS_NAME: forged})
    without = {name: data for name, data in bundle.files.items() if name != LOSS_NAME}
    with pytest.raises(CompileError, match="disagree on whether errors are expected"):
        forge(bundle.manifest, without)
    with pytest.raises(CompileError, match="disagree on whether errors are expected"):
        forge(honest.manifest, {**honest.files, LOSS_NAME: graph})
    assert forge(bundle.manifest, without_reference(without)).reference is None, "as bundles were"


def replaced(reference, **changes):
    return encode_reference(msgspec.structs.replace(reference, **changes))


def says(manifest, **stated):
    return msgspec.structs.replace(manifest, compile=manifest.compile | stated)


def test_A08_S19_a_forged_bundle_is_refused(honest, forge):
    manifest, contents = honest.manifest, honest.files
    flipped = {**contents, "model.onnx": contents["model.onnx"][:-1] + b"\0"}
    other_answers = {**contents, "sample.jsonl": contents["sample.jsonl"].replace(b'"yes"', b'"no"')}
    assert forge(manifest, contents).bundle.files == contents
    assert forge(manifest, without_reference(contents)).reference is None
    with pytest.raises(CompileError, match="a bundle of another file"):
        forge(manifest, contents, source=manifest.source)
    with pytest.raises(CompileError, match=r"model\.onnx was changed"):
        forge(manifest, flipped, hashed=contents)
    with pytest.raises(CompileError, match=r"otherwise than recorded \(label\)"):
        forge(manifest, other_answers)
    with pytest.raises(CompileError, match="other files"):
        forge(manifest, {})


@pytest.mark.parametrize(
    "stated",
    [
        {"operators": ["Identity"]},
        {"operators": []},
        {"operators": None},
        {"may_run_inline": False},
        {"may_run_inline": 1},
    ],
    ids=str,
)
def test_a_manifest_that_lies_about_its_graph_is_refused(stated, honest, forge):
    with pytest.raises(CompileError, match="names other operators" if "operators" in stated else "may_run_inline"):
        forge(says(honest.manifest, **stated), honest.files)


def with_control_flow(data, operator):
    """Return a graph that answers as `data` does, and goes round once for nothing."""
    model = onnx.load_from_string(data)
    numbers = [helper.make_tensor_value_info(name, TensorProto.DOUBLE, [1]) for name in ("seen", "next")]
    step = [helper.make_node("Identity", ["seen"], ["next"])]
    if operator == "Scan":
        body = helper.make_graph(step, "body", numbers[:1], numbers[1:])
        model.graph.initializer.append(numpy_helper.from_array(np.ones((2, 1)), "all_numbers"))
        model.graph.node.append(
            helper.make_node("Scan", ["all_numbers"], ["for_nothing"], body=body, num_scan_inputs=1)
        )
    else:
        count = helper.make_tensor_value_info("count", TensorProto.INT64, [])
        go, on = (helper.make_tensor_value_info(name, TensorProto.BOOL, []) for name in ("go", "on"))
        step.append(helper.make_node("Identity", ["go"], ["on"]))
        body = helper.make_graph(step, "body", [count, go, numbers[0]], [on, numbers[1]])
        model.graph.initializer.append(numpy_helper.from_array(np.array(10**6), "times"))
        model.graph.initializer.append(numpy_helper.from_array(np.ones(1), "first_number"))
        model.graph.node.append(helper.make_node("Loop", ["times", "", "first_number"], ["for_nothing"], body=body))
    return model.SerializeToString()


@pytest.mark.parametrize("operator", ["Loop", "Scan"])
def test_control_flow_that_claims_to_run_inline_is_refused(operator, honest, forge):
    contents = {**honest.files, "model.onnx": with_control_flow(honest.files["model.onnx"], operator)}
    operators = sorted({*honest.manifest.compile["operators"], operator})
    assert forge(says(honest.manifest, operators=operators, may_run_inline=False), contents)
    with pytest.raises(CompileError, match="may_run_inline=True, which its graph belies"):
        forge(says(honest.manifest, operators=operators), contents)
    with pytest.raises(CompileError, match="names other operators"):
        forge(says(honest.manifest, may_run_inline=False), contents)


def test_a_graph_that_is_not_served_is_refused_before_it_is_opened_here(honest, forge, monkeypatch):
    def load(bundle):
        raise AssertionError("the graph was opened before it was judged")

    monkeypatch.setattr(process.OnnxRuntime, "load", load)
    newer = onnx.load_from_string(honest.files["model.onnx"])
    newer.ir_version += 1
    with pytest.raises(CompileError, match="IR version"):
        forge(honest.manifest, {**honest.files, "model.onnx": newer.SerializeToString()})
    with pytest.raises(CompileError, match="not a valid graph"):
        forge(honest.manifest, {**honest.files, "model.onnx": b"none"})
    strange = msgspec.structs.replace(honest.signature.outputs[0], datatype="BF16")
    signature = msgspec.structs.replace(honest.signature, outputs=(strange, *honest.signature.outputs[1:]))
    with pytest.raises(CompileError, match="disagree on the output"):
        forge(msgspec.structs.replace(honest.manifest, signature=signature), honest.files)


@pytest.mark.parametrize("module", ["nowhere.to_be_found", "trivet.model.bundle.bundle"], ids=["crashes", "is silent"])
def test_without_a_verdict_nothing_is_accepted(module, files, monkeypatch):
    monkeypatch.setattr(process, "JUDGE", module)
    with pytest.raises(CompileError, match="the process that judges the model ended without an answer"):
        compile_file(files[0], sample=files[1], label_column="churned")


TOUCHES = {
    "open('/etc/passwd').read()": "Permission denied",
    "open(SECRET).read()": "Permission denied",
    "open(SECRET, 'w')": "Permission denied",
    "os.chmod(SECRET, 0o777)": "Operation not permitted",
    "socket.socket()": "Operation not permitted",
    "os.execv('/bin/true', ['true'])": "Operation not permitted",
}
TOUCH_ALL = """
import os, socket
SECRET = {secret!r}
with open("told", "w") as told:
    for attempt in {attempts!r}:
        try:
            eval(attempt)
        except OSError as error:
            print(error.strerror, file=told)
        else:
            print("done", file=told)
"""


def test_A05_what_a_file_does_when_it_is_opened_touches_nothing(tmp_path, workplace):
    secret = tmp_path / "secret"
    secret.write_text("secret")
    with pytest.raises(CompileError):
        compile_file(hostile(tmp_path, TOUCH_ALL.format(secret=str(secret), attempts=list(TOUCHES))))
    told = (workplace / "told").read_text().splitlines()
    assert dict(zip(TOUCHES, told, strict=True)) == TOUCHES
    assert secret.read_text() == "secret"


def test_the_level_reached_is_told_with_what_was_compiled(files):
    compiled = compile_file(files[0], sample=files[1], label_column="churned")
    assert compiled.confinement.level >= process.LEVEL_OF_STRANGERS, compiled.confinement.missing


def test_S21_where_the_sandbox_is_too_weak_nothing_is_opened_unless_somebody_vouches(files, monkeypatch):
    monkeypatch.setattr(process, "LEVEL_OF_STRANGERS", 4)  # as if the kernel offered too little
    with pytest.raises(Refused, match=r"reaches level L\d .* opened at L4 or above.*--vouch"):
        compile_file(files[0], sample=files[1], label_column="churned")
    assert compile_file(files[0], sample=files[1], label_column="churned", is_vouched_for=True).parity.rows


def test_the_judge_can_open_no_trained_file():
    code = (
        "import sys, trivet.model.compile.judge, trivet.model.compile.checks\n"
        "print(sorted(set(sys.modules) & {'sklearn', 'pandas', 'joblib', 'skl2onnx', 'onnxruntime', 'django', "
        "'trivet.model.compile.opening'}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_S15_a_child_sees_nothing_of_its_parents_environment_or_descriptors(tmp_path, workplace, monkeypatch):
    monkeypatch.setenv("DATABASE_PASSWORD", "secret")
    with (tmp_path / "open").open("w") as held:
        os.set_inheritable(held.fileno(), True)
        inode = os.fstat(held.fileno()).st_ino
        statement = (
            "import os\n"
            "def inode(d):\n"
            "    try: return os.fstat(d).st_ino\n"
            "    except OSError: return 0\n"
            "open('seen', 'w').write(repr(dict(os.environ)) + repr([inode(d) for d in range(4096)]))"
        )
        with pytest.raises(CompileError):
            compile_file(hostile(tmp_path, statement))
    text = (workplace / "seen").read_text()
    assert "secret" not in text
    assert f" {inode}," not in text


def test_the_parent_imports_no_training_library_and_no_django():
    code = (
        "import sys, trivet.model.compile.process\n"
        "print(sorted({m.split('.')[0] for m in sys.modules} & "
        "{'sklearn', 'pandas', 'joblib', 'onnx', 'skl2onnx', 'onnxmltools', 'django'}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
