"""What a confined process cannot do any more, tried in real ones (S01 to S16, S21, S22)."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import trivet
from trivet.model.sandbox import landlock
from trivet.model.sandbox.confinement import Confinement
from trivet.model.sandbox.seccomp import ARCHITECTURES

pytestmark = pytest.mark.skipif(
    not os.environ.get("CI") and (not landlock.version() or platform.machine() not in ARCHITECTURES),
    reason="no Landlock or no filter here",
)

SOURCE = str(Path(trivet.__file__).parents[1])  # an isolated interpreter knows no PYTHONPATH
FIND = f"import sys; sys.path.insert(0, {SOURCE!r})\n"
PRELUDE = """
import ctypes, fcntl, json, os, resource, signal, socket, sys, threading
from pathlib import Path
from trivet.model.sandbox.confinement import confine
reached = confine([Path.cwd()])
libc = ctypes.CDLL(None, use_errno=True)
def raw(number, *arguments):
    result = libc.syscall(ctypes.c_long(number), *map(ctypes.c_long, arguments))
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result
"""


def confined(code: str, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `code` in a process that has confined itself to `folder`."""
    return subprocess.run(
        [sys.executable, "-I", "-c", FIND + PRELUDE + textwrap.dedent(code), *arguments],
        cwd=folder,
        env={"PATH": "/usr/bin:/bin"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def tried(expression: str, folder: Path, *arguments: str) -> str:
    """Return what a confined process gets from `expression`: the name of an errno, or "done"."""
    ran = confined(
        f"""
        import errno
        try:
            {expression}
        except OSError as error:
            print(errno.errorcode[error.errno])
        else:
            print("done")
        """,
        folder,
        *arguments,
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.strip()


def test_all_layers_are_reached_here_and_named(tmp_path):
    told = json.loads(confined("print(json.dumps([reached.level, reached.layers, reached.missing]))", tmp_path).stdout)
    level, layers, missing = told
    assert level >= 2, missing
    assert {"no new privileges", "landlock", "seccomp"} <= set(layers)
    assert set(layers) | set(missing) == {"no new privileges", "landlock", "seccomp", "network namespace"}


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        pytest.param("open('/etc/passwd').read()", "EACCES", id="S02-system-file"),
        pytest.param("open(sys.argv[1]).read()", "EACCES", id="S03-project-file"),
        pytest.param("open(sys.argv[1], 'w')", "EACCES", id="S04-write-outside"),
        pytest.param("os.listdir('/')", "EACCES", id="S04-list"),
        pytest.param("os.symlink(sys.argv[1], 'link') or open('link')", "EACCES", id="S05-symlink"),
        pytest.param("open(f'/proc/{os.getppid()}/environ').read()", "EACCES", id="S06-parents-environment"),
        pytest.param("socket.socket()", "EPERM", id="S07-tcp"),
        pytest.param("socket.socket(socket.AF_INET, socket.SOCK_DGRAM)", "EPERM", id="S22-udp"),
        pytest.param("socket.socket(socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_ICMP)", "EPERM", id="S22-icmp"),
        pytest.param("socket.socket(socket.AF_INET6, socket.SOCK_RAW, 58)", "EPERM", id="S22-icmpv6"),
        pytest.param("socket.socket(socket.AF_UNIX)", "EPERM", id="S22-unix"),
        pytest.param("socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM)", "EPERM", id="S22-vsock"),
        pytest.param("socket.socketpair()", "EPERM", id="S22-pair"),
        pytest.param("os.fork()", "EPERM", id="S08-fork"),
        pytest.param("os.execv('/bin/true', ['true'])", "EPERM", id="S01-exec"),
        pytest.param("os.posix_spawn('/bin/true', ['true'], {})", "EPERM", id="S01-spawn"),
        pytest.param("os.kill(os.getppid(), 0)", "EPERM", id="S09-signal"),
        pytest.param("os.setsid()", "EPERM", id="A10-setsid"),
        pytest.param("os.memfd_create('x')", "EPERM", id="S22-memfd"),
        pytest.param("os.chmod(sys.argv[1], 0o777)", "EPERM", id="chmod"),
        pytest.param("os.chown(sys.argv[1], -1, -1)", "EPERM", id="chown"),
        pytest.param("os.utime(sys.argv[1])", "EPERM", id="utime"),
        pytest.param("os.setxattr(sys.argv[1], 'user.x', b'x')", "EPERM", id="xattr"),
        pytest.param("os.truncate(sys.argv[1], 0)", "EPERM", id="truncate"),
        pytest.param("resource.prlimit(os.getppid(), resource.RLIMIT_CPU, (1, 1))", "EPERM", id="prlimit"),
        pytest.param("os.setpriority(os.PRIO_PROCESS, os.getppid(), 19)", "EPERM", id="priority"),
        pytest.param("fcntl.fcntl(1, fcntl.F_SETOWN, os.getppid())", "EPERM", id="signal-by-descriptor"),
        pytest.param("raw(425, 8, 0)", "EPERM", id="S22-io_uring"),
        pytest.param("raw(434, os.getppid(), 0)", "EPERM", id="S22-pidfd"),
    ],
)
def test_it_is_refused(expression, expected, tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("secret")
    inside = tmp_path / "inside"
    inside.mkdir()
    assert tried(expression, inside, str(secret)) == expected


def test_S22_every_call_of_the_list_is_refused_by_its_number(tmp_path):
    ran = confined(
        """
        import errno, platform
        from trivet.model.sandbox.seccomp import ANY_ARCHITECTURE, ARCHITECTURES
        here = ARCHITECTURES[platform.machine()]
        told = {}
        for name, number in {**here.refused, **ANY_ARCHITECTURE, "clone3": here.clone3, "clone": here.clone}.items():
            try:
                told[name] = raw(number, 0, 0, 0, 0, 0, 0)
            except OSError as error:
                told[name] = errno.errorcode[error.errno]
        print(json.dumps(told))
        """,
        tmp_path,
    )
    told = json.loads(ran.stdout)
    assert told.pop("clone3") == "ENOSYS"  # so that the C library takes `clone`, whose flags a filter can see
    assert {name: answer for name, answer in told.items() if answer != "EPERM"} == {}
    assert told.keys() >= {*S22_CALLS.split()}


S22_CALLS = """
socket socketpair io_uring_setup io_uring_enter io_uring_register memfd_create execve execveat personality ptrace
process_vm_readv process_vm_writev perf_event_open bpf userfaultfd keyctl add_key request_key open_by_handle_at
name_to_handle_at pidfd_open pidfd_getfd pidfd_send_signal mount unshare setns clone
"""


def test_S22_a_program_of_its_own_making_cannot_be_run_by_its_descriptor(tmp_path):
    write = "Path('made').write_bytes(b'#!/bin/sh'); os.execve(os.open('made', os.O_RDONLY), ['made'], {})"
    assert tried(write, tmp_path) == "EPERM"


@pytest.mark.skipif(platform.machine() != "x86_64", reason="x32 belongs to x86_64")
def test_S22_the_same_calls_under_their_x32_numbers_are_refused(tmp_path):
    assert tried(f"raw({0x40000000 | 39})", tmp_path) == "EPERM"


def test_what_computing_needs_still_works(tmp_path):
    ran = confined(
        """
        import decimal, random, zoneinfo
        Path("out").write_text("kept")
        done = []
        thread = threading.Thread(target=lambda: done.append(os.urandom(1) and random.random()))
        thread.start(); thread.join()
        os.kill(os.getpid(), 0)
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
        fcntl.fcntl(1, fcntl.F_GETFL)
        print(len(done), Path("out").read_text())
        """,
        tmp_path,
    )
    assert ran.stdout.split() == ["1", "kept"], ran.stderr


def test_a_process_may_still_abort_itself(tmp_path):
    assert confined("os.abort()", tmp_path).returncode == -6


def test_S21_with_several_threads_the_layers_that_bind_one_are_left_out_and_named(tmp_path):
    code = """
import json, threading
from trivet.model.sandbox.confinement import confine
gate = threading.Event()
threading.Thread(target=gate.wait, daemon=True).start()
reached = confine()
print(json.dumps([reached.level, sorted(reached.missing)]))
"""
    ran = subprocess.run(
        [sys.executable, "-I", "-c", FIND + code], capture_output=True, text=True, timeout=60, check=False, cwd=tmp_path
    )
    assert json.loads(ran.stdout) == [1, ["landlock", "network namespace"]], ran.stderr


@pytest.mark.parametrize(
    ("layers", "version", "level"),
    [
        (("no new privileges", "landlock", "seccomp", "network namespace"), 7, 3),
        (("no new privileges", "landlock", "seccomp", "network namespace"), 3, 2),
        (("no new privileges", "landlock", "seccomp"), 7, 2),
        (("no new privileges", "seccomp", "network namespace"), 0, 1),
        (("no new privileges", "landlock", "network namespace"), 7, 1),
        ((), 0, 1),
    ],
)
def test_S21_the_level_is_what_was_reached(layers, version, level):
    assert Confinement(layers, version).level == level


def test_the_numbers_of_this_architecture_are_the_kernels():
    """`getpid` through the number next to ours would tell nothing; the C library's own table does."""
    header = Path("/usr/include") / f"{platform.machine()}-linux-gnu" / "asm" / "unistd_64.h"
    if platform.machine() != "x86_64" or not header.exists():
        pytest.skip("the kernel's headers are not installed")
    words = (line.split() for line in header.read_text().splitlines() if line.startswith("#define __NR_"))
    kernels = {parts[1].removeprefix("__NR_"): int(parts[2]) for parts in words}
    known = ARCHITECTURES["x86_64"]
    ours = {**known.refused, "clone": known.clone, "kill": known.kill, "tgkill": known.tgkill}
    ours |= {"prlimit64": known.prlimit, "fcntl": known.fcntl}
    assert {name: kernels.get(name) for name in ours} == ours
