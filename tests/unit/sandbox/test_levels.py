"""S21: each layer taken away by a filter from outside, as a container does it: the level drops, and nothing is opened."""

import contextlib
import json
import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

import trivet
from tests.unit.sandbox.hostile import write
from trivet.model.sandbox import landlock
from trivet.model.sandbox.seccomp import ARCHITECTURES

pytestmark = [
    pytest.mark.skipif(
        platform.machine() != "x86_64" or not landlock.version(), reason="numbers of x86_64; no Landlock"
    ),
]

SOURCE = str(Path(trivet.__file__).parents[1])
LANDLOCK, SECCOMP, UNSHARE, PRCTL = 444, 317, 272, 157
NO_NEW_PRIVS = 38
WITHOUT = """
import ctypes, errno, sys
sys.path.insert(0, sys.argv[1])
from trivet.model.sandbox import seccomp
from trivet.model.sandbox.kernel import PR_SET_NO_NEW_PRIVS, call, prctl
number, answer, first = int(sys.argv[2]), getattr(errno, sys.argv[3]), sys.argv[4]
refuse = seccomp._step(seccomp.RETURN, seccomp.REFUSE | answer)
steps = [seccomp._step(seccomp.LOAD, seccomp.NUMBER)]
if first:
    steps += [seccomp._step(seccomp.EQUAL, number, skip_unless=3), seccomp._step(seccomp.LOAD, seccomp.FIRST_ARGUMENT),
              seccomp._step(seccomp.EQUAL, int(first), skip_unless=1), refuse]
else:
    steps += [seccomp._step(seccomp.EQUAL, number, skip_unless=1), refuse]
code = b"".join([*steps, seccomp._step(seccomp.RETURN, seccomp.ALLOW)])
if not first:
    prctl(PR_SET_NO_NEW_PRIVS, 1)
filter_ = seccomp._Program(len(code) // 8, code)
call(317, 1, 1, ctypes.byref(filter_))
"""
MEASURE = """
import json
from trivet.model.sandbox.measuring import measured
print(json.dumps([measured().level, measured().missing]))
"""
OPEN = """
from pathlib import Path
from trivet.core.errors import TrivetError
from trivet.model.compile.process import compile_file
for vouched in (False, True):
    try:
        compile_file(Path(sys.argv[5]), is_vouched_for=vouched)
    except TrivetError as error:
        print(type(error).__name__, error.message)
"""


def without(number, answer, code, *arguments, first=""):
    """Run `code` in a process, and its children, for which one system call fails."""
    ran = subprocess.run(
        [sys.executable, "-c", WITHOUT + code, SOURCE, str(number), answer, str(first), *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


@pytest.mark.parametrize("answer", ["ENOSYS", "EPERM"])
@pytest.mark.parametrize(
    ("number", "missing", "level"),
    [(LANDLOCK, "landlock", 1), (SECCOMP, "seccomp", 1), (UNSHARE, "network namespace", 2)],
    ids=["landlock", "seccomp", "unshare"],
)
def test_S21_without_a_layer_the_level_drops_and_the_layer_is_named(number, missing, level, answer):
    found, lacking = json.loads(without(number, answer, MEASURE))
    assert found == level
    assert list(lacking) == [missing]
    assert lacking[missing]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may have a filter without no_new_privs")
def test_S21_without_no_new_privs_nothing_else_holds():
    found, lacking = json.loads(without(PRCTL, "EPERM", MEASURE, first=NO_NEW_PRIVS))
    assert found == 1
    assert "no new privileges" in lacking


@pytest.mark.parametrize(
    ("number", "answer", "first"),
    [
        pytest.param(LANDLOCK, "ENOSYS", "", id="landlock"),
        pytest.param(SECCOMP, "ENOSYS", "", id="seccomp"),
        pytest.param(
            PRCTL,
            "EPERM",
            NO_NEW_PRIVS,
            id="no new privileges",
            marks=pytest.mark.skipif(os.geteuid() != 0, reason="only root may have a filter without no_new_privs"),
        ),
    ],
)
def test_S21_without_a_layer_a_file_is_not_opened_unless_somebody_vouches(number, answer, first, tmp_path):
    path = write(tmp_path, f"open({str(tmp_path / 'opened')!r}, 'a').write('1')\nraise ValueError('it was opened')")
    first, second = without(number, answer, OPEN, str(path), first=first).splitlines()
    assert first.startswith("Refused the sandbox of this machine reaches level L1")
    assert "--vouch" in first
    assert second.startswith("CompileError")
    assert "it was opened" in second or "Permission denied" in second


def test_the_level_of_this_machine_is_measured_by_trying():
    code = "import json\nfrom trivet.model.sandbox.measuring import measured\nprint(json.dumps(measured().level))"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert json.loads(ran.stdout) in (2, 3)


def test_the_32_bit_calls_of_a_64_bit_process_end_it(tmp_path):
    """`int 0x80` carries another architecture word, and other numbers: what is refused here would pass there."""
    assert ARCHITECTURES["x86_64"].audit == 0xC000003E
    code = """
import ctypes, mmap, sys
sys.path.insert(0, sys.argv[1])
from trivet.model.sandbox.confinement import confine
assert confine().level >= 2
page = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
page.write(bytes.fromhex("53b814000000cd805bc3"))  # push rbx; mov eax, 20 (getpid); int 0x80; pop rbx; ret
place = ctypes.addressof(ctypes.c_char.from_buffer(page))
ctypes.CFUNCTYPE(ctypes.c_int)(place)()
"""
    ran = subprocess.run(
        [sys.executable, "-c", code, SOURCE], timeout=60, check=False, capture_output=True, cwd=tmp_path
    )
    assert ran.returncode == -31, ran.stderr  # SIGSYS


CAPABILITIES = """
import sys
sys.path.insert(0, sys.argv[1])
status = open("/proc/self/status")
from trivet.model.sandbox.confinement import MOST_TASKS, confine
import resource
assert confine().level >= 2
status.seek(0)
print([line.split()[1].strip("0") for line in status if line.startswith(("CapEff", "CapPrm", "CapInh"))])
print(resource.getrlimit(resource.RLIMIT_NPROC)[0] <= MOST_TASKS)
"""


def test_no_capability_is_left_not_even_within_its_own_namespace():
    ran = subprocess.run(
        [sys.executable, "-c", CAPABILITIES, SOURCE], timeout=60, check=False, capture_output=True, text=True
    )
    assert ran.stdout.splitlines() == ["['', '', '']", "True"], ran.stderr


THREADS = """
import sys, threading
sys.path.insert(0, sys.argv[1])
from trivet.model.sandbox.confinement import confine
print(confine().level)
gate = threading.Event()
try:
    for count in range(1000):
        threading.Thread(target=gate.wait, daemon=True).start()
except RuntimeError:
    pass
print(count)
gate.set()
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="started as another user, which only root may")
def test_S10_the_kernel_counts_the_threads_of_a_user_without_privileges():
    nobody = {"user": 65534, "group": 65534, "extra_groups": [], "cwd": "/", "env": {"PATH": "/usr/bin"}}
    for interpreter in (sys.executable, "/usr/bin/python3"):
        with contextlib.suppress(OSError):
            command = [interpreter, "-c", THREADS, SOURCE]
            ran = subprocess.run(command, timeout=60, check=False, capture_output=True, text=True, **nobody)
            if ran.stdout:
                break
    else:
        pytest.skip("no interpreter here that another user may run")
    level, count = map(int, ran.stdout.split())
    assert level >= 2
    assert count < 300
