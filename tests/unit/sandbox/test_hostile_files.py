"""Hostile trained files (S01 to S22, A05 to A17), each opened for real; what they must not reach is a canary, and untouched.

No scanner looks at them first: none is on the boundary.
"""

import bz2
import io
import json
import lzma
import os
import pickle
import socket
import time
import zipfile
import zlib
from pathlib import Path

import joblib
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from skops.io._protocol import PROTOCOL

from tests.unit.sandbox.hostile import SECRET, Calls, canary_in, write
from trivet.core.errors import CompileError
from trivet.model.compile.process import compile_file

pytestmark = pytest.mark.usefixtures("warmed", "canary")

MEMORY_OF_THE_PARENT = 100 * 1024**2
ANSWERED_SECONDS = 5.0  # an answer comes within; on a busy machine, too


def refusal(path, **options):
    """Return why a file is refused, within the time that a refusal may take and without much memory of this process."""
    started, before = time.monotonic(), memory_high_water(reset=True)
    with pytest.raises(CompileError) as caught:
        compile_file(path, **options)
    assert time.monotonic() - started < options.get("timeout", ANSWERED_SECONDS) + 1
    assert memory_high_water() - before < MEMORY_OF_THE_PARENT
    return caught.value.message


def memory_high_water(*, reset=False):
    """Return how much memory this process had at most, in bytes, since it was reset (proc(5), clear_refs)."""
    if reset:
        Path("/proc/self/clear_refs").write_text("5")
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) * 1024


def outcome(tmp_path, workplace, statement):
    """Return what a file's statement told: the name of an errno or exception, or what it put into `done`."""
    code = (
        "import errno\n"
        "done = 'done'\n"
        "try:\n" + "".join(f"    {line}\n" for line in statement.splitlines()) + "except BaseException as error:\n"
        "    done = errno.errorcode.get(getattr(error, 'errno', None), type(error).__name__)\n"
        "open('told', 'w').write(str(done))\n"
        "raise ValueError('opened')\n"
    )
    refusal(write(tmp_path, code))
    return (workplace / "told").read_text()


def test_an_honest_file_compiles(tmp_path):
    rows = np.random.default_rng(0).normal(size=(50, 2))
    joblib.dump(LogisticRegression().fit(rows, rows[:, 0] > 0), tmp_path / "model.joblib")
    done = compile_file(tmp_path / "model.joblib")
    assert done.bundle.files
    assert done.confinement.level >= 2


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        pytest.param("import subprocess\nsubprocess.Popen(['/bin/true'])", "EPERM", id="S01-subprocess"),
        pytest.param("import os\ndone = os.system('true')", "-1|32512", id="S01-system"),
        pytest.param("import os\nos.execv('/bin/true', ['true'])", "EPERM", id="S01-exec"),
        pytest.param("open('/etc/passwd')", "EACCES", id="S02-system-file"),
        pytest.param("open({canary!r})", "EACCES", id="S03-project-file"),
        pytest.param("open({canary!r}, 'w')", "EACCES", id="S04-write"),
        pytest.param("open({beside!r}, 'w')", "EACCES", id="S04-write-beside"),
        pytest.param("import os\nos.unlink({canary!r})", "EACCES", id="S04-delete"),
        pytest.param("import os\nos.rename('told', {beside!r})", "EACCES|ENOENT|EXDEV", id="S04-move-out"),
        pytest.param("import os\nos.symlink({canary!r}, 'link')\nopen('link')", "EACCES", id="S05-symlink"),
        pytest.param("import os\nos.link({canary!r}, 'link')", "EACCES|EXDEV|EPERM", id="S05-link"),
        pytest.param(
            "import os\nopen(f'/proc/{{os.getppid()}}/environ')", "EACCES", id="S06-environment-of-the-parent"
        ),
        pytest.param("open('/proc/1/environ')", "EACCES", id="S06-environment-of-others"),
        pytest.param("import socket\nsocket.create_connection(('127.0.0.1', {port}), 1)", "EPERM", id="S07-tcp"),
        pytest.param("import socket\nsocket.getaddrinfo('localhost', 80)", "gaierror|EAI.*|done|E.*", id="S07-names"),
        pytest.param("import os\nos.fork()", "EPERM", id="S08-fork"),
        pytest.param("import os\nos.kill(os.getppid(), 9)", "EPERM", id="S09-kill"),
        pytest.param("import os\nos.kill(-1, 9)", "EPERM", id="S09-kill-all"),
        pytest.param("import os\nos.setsid()", "EPERM", id="S10-session"),
        pytest.param("data = bytearray(8 * 1024**3)", "MemoryError", id="S11-8-GiB"),
        pytest.param(
            "file = open('big', 'wb')\nfor _ in range(9): file.write(bytes(2**20)); file.flush()", "EFBIG", id="S12"
        ),
        pytest.param("import socket\nsocket.socket(socket.AF_UNIX)", "EPERM", id="S22-unix"),
        pytest.param("import socket\nsocket.socket(socket.AF_INET, socket.SOCK_RAW, 1)", "EPERM", id="S22-icmp"),
        pytest.param("import socket\nsocket.socket(40, socket.SOCK_STREAM)", "EPERM", id="S22-vsock"),
        pytest.param("import os\nos.memfd_create('x')", "EPERM", id="S22-memfd"),
        pytest.param("import os, pty\npty.fork()", "EPERM|EACCES|OSError|ENOENT", id="S22-pty"),
        pytest.param(
            "import resource\nresource.setrlimit(resource.RLIMIT_AS, (-1, -1))", "ValueError|EPERM", id="limits"
        ),
        pytest.param("files = [open('/dev/null') for _ in range(1000)]", "EMFILE", id="S12-descriptors"),
    ],
)
def test_S01_to_S12_and_S22_what_a_file_tries_is_refused(statement, expected, tmp_path, workplace, canary):
    names = {"canary": str(canary.file), "beside": str(canary.file.parent / "new"), "port": canary.port}
    got = outcome(tmp_path, workplace, statement.format(**names))
    assert got in expected.split("|") or (".*" in expected and got), got


def test_S10_threads_are_allowed_but_bounded(tmp_path, workplace):
    statement = (
        "import threading, time\n"
        "for done in range(100_000): threading.Thread(target=time.sleep, args=(30,), daemon=True).start()"
    )
    assert outcome(tmp_path, workplace, statement) in ("RuntimeError", "EAGAIN", "MemoryError")


def test_S13_a_file_that_spins_is_killed_at_the_limit(tmp_path):
    message = refusal(write(tmp_path, "while True: pass"), timeout=2.0)
    assert "longer than 2 s" in message or "signal" in message


def test_S15_a_file_sees_no_secret_and_no_descriptor_of_whoever_sent_it(tmp_path, workplace):
    assert SECRET not in outcome(tmp_path, workplace, "import os\ndone = dict(os.environ)")
    code = (
        "import os\n"
        "done = 0\n"
        "for descriptor in range(65536):\n"
        "    try: os.fstat(descriptor); done += 1\n"
        "    except OSError: pass"
    )
    assert int(outcome(tmp_path, workplace, code)) <= 6  # three standard ones, the answer, the file, what Python opens


# --- A05 to A17 ---------------------------------------------------------------------------------------------------------


def test_A05_a_joblib_file_that_calls_the_system_is_refused(tmp_path, canary):
    path = tmp_path / "model.joblib"
    joblib.dump(Calls(os.system, f"echo owned > {canary.file}"), path)
    refusal(path)
    joblib.dump({"steps": [Calls(os.system, f"touch {canary.file.parent}/new"), np.zeros(10)]}, path, compress=3)
    refusal(path)


@pytest.mark.parametrize("protocol", range(6))
def test_A06_every_pickle_protocol_is_opened_in_the_sandbox_or_not_at_all(protocol, tmp_path, canary):
    data = pickle.dumps(Calls(os.system, f"echo owned > {canary.file}"), protocol)
    refusal(write(tmp_path, data))


def test_A06_arrays_of_objects_and_files_of_other_tools_are_refused(tmp_path, canary):
    gadget = Calls(os.system, f"echo owned > {canary.file}")
    array = io.BytesIO()
    np.save(array, np.array([gadget], dtype=object), allow_pickle=True)
    arrays = io.BytesIO()
    np.savez(arrays, data=np.array([gadget], dtype=object))
    torch = io.BytesIO()
    with zipfile.ZipFile(torch, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(gadget))
        archive.writestr("archive/version", "3")
    dill = b"\x80\x04cdill._dill\n_load_type\n(X\x04\x00\x00\x00typetR."
    cloud = b"\x80\x04ccloudpickle.cloudpickle\n_make_function\n(tR."
    for data in (array.getvalue(), arrays.getvalue(), torch.getvalue(), dill, cloud):
        refusal(write(tmp_path, data))


ZEROS = bytes(64 * 1024**2)
HUGE = b"\x80\x04\x8e" + (10 * 1024**3).to_bytes(8, "little")  # a pickle of ten gigabytes of zeros
PIECES = 160


def deflated(window):
    """Return a stream whose piece of zeros is there 160 times, each on a boundary of bytes."""
    packer = zlib.compressobj(wbits=window)
    head = packer.compress(HUGE) + packer.flush(zlib.Z_FULL_FLUSH)
    piece = packer.compress(ZEROS) + packer.flush(zlib.Z_FULL_FLUSH)
    return head + piece * PIECES


def xz_block(data):
    """Return the one block of `data` as xz (the file format's sections 2 and 3): what stands between header and index."""
    packed = lzma.compress(data, preset=0)
    index_bytes = (int.from_bytes(packed[-8:-4], "little") + 1) * 4
    return packed[12 : -12 - index_bytes]


def lz4_frame(data):
    """Return `data` as an lz4 frame of blocks that need no others; without one, a frame that is never read that far."""
    try:
        import lz4.frame
    except ModuleNotFoundError:
        return b"\x04\x22\x4d\x18" + bytes(100)
    largest, packer = lz4.frame.BLOCKSIZE_MAX4MB, lz4.frame.LZ4FrameCompressor
    with packer(block_linked=False, block_size=largest, auto_flush=True) as making:
        head = making.begin() + making.compress(data)
        return head + making.compress(ZEROS) * PIECES


def streamed(packer):
    """Return what a format without such boundaries makes of the same pickle, as far as it takes no seconds here."""
    return packer.compress(HUGE) + packer.compress(ZEROS) + packer.flush()


BOMBS = {
    "zlib": lambda: deflated(zlib.MAX_WBITS),
    "gzip": lambda: deflated(zlib.MAX_WBITS | 16),
    "xz": lambda: lzma.compress(b"", preset=0)[:12] + xz_block(HUGE) + xz_block(ZEROS) * PIECES,
    "lzma": lambda: streamed(lzma.LZMACompressor(lzma.FORMAT_ALONE, preset=0)),
    "bz2": lambda: streamed(bz2.BZ2Compressor(1)),
    "lz4": lambda: lz4_frame(HUGE),
}


@pytest.mark.parametrize("name", BOMBS)
def test_A07_a_compressed_bomb_is_refused_and_the_parent_does_not_grow(name, tmp_path):
    """What a pickle of ten gigabytes asks for at once is more than the child has; a stream is bounded as it is read."""
    data = BOMBS[name]()
    assert len(data) < 48 * 1024**2
    message = refusal(write(tmp_path, data), timeout=20.0)
    assert "cannot be opened" in message or "unpacks to more than" in message or "is not installed" in message, message


def test_A07_a_bomb_of_many_pieces_is_refused_when_its_bound_or_the_memory_is_used_up(tmp_path):
    item = b"\x8e" + len(ZEROS).to_bytes(8, "little")
    packer = zlib.compressobj(1)
    head = packer.compress(b"\x80\x04(") + packer.flush(zlib.Z_FULL_FLUSH)
    piece = packer.compress(item + ZEROS) + packer.flush(zlib.Z_FULL_FLUSH)
    message = refusal(write(tmp_path, head + piece * 100), timeout=40.0)
    assert "memory" in message.lower() or "unpacks to more than" in message or "cannot be opened" in message


ANSWERS = """
import os, stat
from trivet.model.compile.wire import Success, encode_framed
answer = memoryview({answer})
for descriptor in range(3, 4096):
    try:
        is_pipe = stat.S_ISFIFO(os.fstat(descriptor).st_mode)
    except OSError:
        continue
    try:
        while is_pipe and answer: answer = answer[os.write(descriptor, answer):]
    except OSError:
        pass
os._exit(0)
"""


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        ("(512 * 2**20).to_bytes(8, 'big') + bytes(2**26)", "are read"),
        ("(2**25).to_bytes(8, 'big') + bytes(2**25)", "no answer"),
        ("encode_framed(Success(b'{}', {'model.onnx': bytes(2**25 - 99)}, 1.0, 1.0))", "no sound bundle"),
    ],
    ids=["512 MiB", "all that is read", "a bundle of that size"],
)
def test_A08_C6_what_a_small_file_answers_costs_its_reader_little(answer, says, tmp_path):
    assert says in refusal(write(tmp_path, ANSWERS.format(answer=answer)))


def test_A10_nothing_that_a_file_left_running_survives(tmp_path, workplace):
    statement = (
        "import os, threading, time\n"
        "threading.Thread(target=time.sleep, args=(60,)).start()\n"
        "open('pid', 'w').write(str(os.getpid()))\n"
        "raise SystemExit"
    )
    for limit in (3.0, 12.0, 48.0):  # seconds; a busy machine may not come as far as the file within the first
        refusal(write(tmp_path, statement), timeout=limit)
        if (workplace / "pid").exists():
            break
    assert not Path(f"/proc/{(workplace / 'pid').read_text()}").exists()


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("model.keras", "zip"),
        ("model.h5", b"\x89HDF\r\n\x1a\n" + bytes(100)),
        ("saved_model.pb", b"\x08\x01\x12\x0ePyFunc" + bytes(20)),
        ("model.json", b'{"class_name": "Lambda", "config": {"function": "builtins.eval"}}'),
    ],
    ids=str,
)
def test_A13_files_that_name_code_are_refused_by_their_format(name, data, tmp_path, canary):
    if data == "zip":
        content = io.BytesIO()
        with zipfile.ZipFile(content, "w") as archive:
            archive.writestr("config.json", '{"class_name": "Lambda", "config": {"function": "builtins.eval"}}')
            archive.writestr("metadata.json", '{"keras_version": "3.0.0"}')
        data = content.getvalue()
    refusal(write(tmp_path, data, name))


def node(loader, name, **more):
    """Return what skops writes of one object: who loads it, its type's name, and what it consists of."""
    module, _, kind = name.rpartition(".")
    return {"__class__": kind, "__module__": module, "__loader__": loader, **more}


def skops_file(schema):
    """Return a skops file of a schema, in the protocol of the skops that is installed."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("schema.json", json.dumps({"protocol": PROTOCOL, "_skops_version": "0.13.0", **schema}))
    return content.getvalue()


def items(*nodes):
    return node("TupleNode", "builtins.tuple", content=list(nodes))


def text(value):
    return node("JsonNode", "builtins.str", content=json.dumps(value), is_json=True)


QUADRATIC = "sklearn.discriminant_analysis.QuadraticDiscriminantAnalysis"
NONE = {
    "content": node("DictNode", "builtins.dict", content={}, key_types=node("ListNode", "builtins.list", content=[]))
}


def bypasses(statement):
    """Return skops files that run `statement`, as published against skops, and what the refusal of each has to say."""
    code = text(statement)
    call, run = "operator.call", node("FunctionNode", "builtins.exec")
    method = node(
        "MethodNode", QUADRATIC, content={"func": "decision_function", "obj": node("ObjectNode", QUADRATIC, **NONE)}
    )
    names = node("MethodNode", QUADRATIC, content={"func": "__builtins__", "obj": method})  # a way to every builtin
    found = node("OperatorFuncNode", "operator.getitem", attrs=items(names, text("exec")))
    partial = {"func": run, "args": items(code), "kwds": NONE["content"], "namespace": text(None)}
    return {
        "CVE-2024-37065": (node("OperatorFuncNode", call, attrs=items(run, code)), "builtins.exec"),
        "CVE-2025-54412": (
            node("OperatorFuncNode", "sklearn.linear_model.call", attrs=items(run, code)),
            "Expected module 'operator'",
        ),
        "CVE-2025-54413": (node("OperatorFuncNode", call, attrs=items(found, code)), "operator.call"),
        "constructor": (node("ConstructorFromReduceNode", "builtins.exec", content=items(code)), "builtins.exec"),
        "partial": (
            node("OperatorFuncNode", call, attrs=items(node("PartialNode", "functools.partial", content=partial))),
            "builtins.exec",
        ),
    }  # fmt: skip


PUBLISHED = tuple(bypasses(""))


@pytest.mark.parametrize("name", PUBLISHED)
def test_A14_a_skops_file_that_passes_for_trusted_is_refused_for_what_it_calls(name, tmp_path, canary):
    schema, says = bypasses(f"open({str(canary.file)!r}, 'w')")[name]
    assert says in refusal(write(tmp_path, skops_file(schema), "model.skops"))


@pytest.mark.parametrize("name", PUBLISHED)
def test_A14_and_is_contained_where_everything_that_it_names_is_trusted(name, tmp_path, workplace, canary):
    """As if the list were passed once more: skops itself loads the file, and its code runs, in the sandbox."""
    schema, _ = bypasses(f"open({str(canary.file)!r}, 'w')")[name]
    loads = f"import skops.io\ndata = {skops_file(schema)!r}\n"
    told = outcome(tmp_path, workplace, f"{loads}skops.io.loads(data, trusted=skops.io.get_untrusted_types(data=data))")
    assert told == ("ValueError" if name == "CVE-2025-54412" else "EACCES")  # no skops of today reads that one


def test_A14_a_pickle_with_the_name_of_a_skops_file_is_opened_as_what_it_is(tmp_path, canary):
    """CVE-2025-54886: a loader that falls back to joblib where a file is no archive."""
    message = refusal(write(tmp_path, f"open({str(canary.file)!r}, 'w')", "model.skops"))
    assert "Permission denied" in message


def gadget(module, name, *arguments):
    """Return a pickle that calls `module.name` on opening, without importing it here. Arguments: texts, numbers, lists."""
    built = pickle.dumps(tuple(arguments), 2)[2:-1]
    return b"\x80\x02c" + f"{module}\n{name}\n".encode() + built + b"R."


def gadgets(canary):
    """Return functions that scanners were shown to pass, or passed once, each aimed at the canary."""
    file, new, port = str(canary.file), str(canary.file.parent / "new"), canary.port
    shell = f"echo owned > {file}"
    python = f"open({new!r}, 'w').write('owned')"
    return {
        "posix.system": gadget("posix", "system", shell),
        "os.popen": gadget("os", "popen", shell),
        "subprocess.check_output": gadget("subprocess", "check_output", ["/bin/sh", "-c", shell]),
        "commands by pty": gadget("pty", "spawn", ["/bin/sh", "-c", shell]),
        "builtins.exec": gadget("builtins", "exec", python),
        "timeit.timeit": gadget("timeit", "timeit", "pass", python),
        "runpy": gadget("runpy", "run_path", file),
        "code.interact": gadget("code", "InteractiveInterpreter"),
        "cProfile.run": gadget("cProfile", "run", python),
        "profile.run": gadget("profile", "run", python),
        "pdb.run": gadget("pdb", "run", python),
        "bdb": gadget("bdb", "Bdb"),
        "doctest.debug_script": gadget("doctest", "debug_script", python),
        "trace": gadget("trace", "Trace"),
        "numpy runstring": gadget("numpy.testing._private.utils", "runstring", python, {}),
        "ctypes.CDLL": gadget("ctypes", "CDLL", file),
        "importlib": gadget("importlib", "import_module", "antigravity"),
        "pip": gadget("pip._internal.cli.main", "main", ["install", f"http://127.0.0.1:{port}/x"]),
        "shutil.rmtree": gadget("shutil", "rmtree", str(canary.file.parent)),
        "shutil.move": gadget("shutil", "move", file, new),
        "os.unlink": gadget("os", "unlink", file),
        "urlopen": gadget("urllib.request", "urlopen", f"http://127.0.0.1:{port}/"),
        "smtplib": gadget("smtplib", "SMTP", "127.0.0.1", port),
        "ftplib": gadget("ftplib", "FTP", "127.0.0.1"),
        "http": gadget("socket", "create_connection", ("127.0.0.1", port)),
        "webbrowser": gadget("webbrowser", "open", f"http://127.0.0.1:{port}/"),
        "joblib again": gadget("joblib", "load", file),
        "logging file": gadget("logging", "FileHandler", new),
        "sqlite": gadget("sqlite3", "connect", new),
        "multiprocessing": gadget("multiprocessing.util", "spawnv_passfds", b"/bin/true", ["true"], []),
    }


def test_A17_thirty_gadgets_that_scanners_pass_are_contained(tmp_path, canary):
    for name, data in gadgets(canary).items():
        path = write(tmp_path, data)
        with pytest.raises(CompileError):
            compile_file(path, timeout=ANSWERED_SECONDS)
        assert canary.is_untouched(), name


def test_the_canary_would_tell(tmp_path):
    for touch in ("file", "listener"):
        folder = tmp_path / touch
        folder.mkdir()
        placed = canary_in(folder)
        touched = placed.__enter__()
        if touch == "file":
            (touched.file.parent / "new").write_text("owned")
        else:
            socket.create_connection(("127.0.0.1", touched.port), 5).close()
        with pytest.raises(AssertionError):
            placed.__exit__(None, None, None)
