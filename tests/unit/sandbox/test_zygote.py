"""The zygote: what its processes do cannot reach it, and nothing of them stays."""

import contextlib
import hashlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.unit.sandbox.hostile import SECRET, write
from trivet.core.errors import CompileError
from trivet.model.compile import disposable
from trivet.model.compile.process import compile_file
from trivet.model.sandbox import leash, warm, zygote
from trivet.model.sandbox.confinement import Confinement
from trivet.model.sandbox.warm import NotWarm, WarmStart

DEADLINE_SECONDS = 20.0


def pid_of(started: WarmStart) -> int:
    """Return the process id of a zygote of this process that has begun to serve."""
    with leash.connect_to(started.path, DEADLINE_SECONDS) as connection:
        leash.receive(connection)
    pids = children_of(os.getpid())
    return next(int(pid) for pid in pids if b"sandbox.zygote" in Path(f"/proc/{pid}/cmdline").read_bytes())


def until(condition):
    """Wait for `condition`, and say whether it came true."""
    end = time.monotonic() + DEADLINE_SECONDS
    while not condition() and time.monotonic() < end:
        time.sleep(0.01)
    return condition()


def children_of(pid):
    return [pid for task in Path(f"/proc/{pid}/task").iterdir() for pid in (task / "children").read_text().split()]


def mounts_of(pid):
    lines = Path(f"/proc/{pid}/mounts").read_text().splitlines()
    return [line for line in lines if not line.startswith("trivet-test ")]  # disks of other tests come and go


def status(pid, field):
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(field)).split()[1])


def private_bytes(pid):
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith(("Private_Dirty", "Pss_Anon")))


def count(folder):
    return sum(1 for _ in Path(folder).iterdir())


def refused(path, **options):
    with pytest.raises(CompileError) as caught:
        compile_file(path, **options)
    return caught.value.message


@pytest.mark.usefixtures("warmed")
def test_a_file_is_opened_in_a_process_that_the_zygote_forked(tmp_path, workplace, zygote):
    refused(write(tmp_path, "import os; open('told', 'w').write(f'{os.getppid()} {os.getpid()} {os.getsid(0)}')"))
    parent, pid, session = map(int, (workplace / "told").read_text().split())
    assert parent == pid_of(zygote)
    assert session == pid
    assert not Path(f"/proc/{pid}").exists()


@pytest.mark.usefixtures("warmed")
def test_S23_of_200_files_in_a_row_nothing_is_left_and_the_zygote_stays_as_it_was(tmp_path, zygote):
    hostile = write(tmp_path, "open('left', 'w').write('x' * 1000)\nkept = bytearray(10 ** 7)\nraise ValueError('no')")
    pid = pid_of(zygote)
    refused(hostile)
    tmp = Path(disposable.tempfile.gettempdir())

    def seen():
        return (
            count("/proc/self/fd"),
            count(f"/proc/{pid}/fd"),
            mounts_of(pid),
            children_of(pid),
            {path for path in tmp.iterdir() if path.name.startswith("tmp")},
        )

    assert until(lambda: not children_of(pid))
    before, memory = seen(), private_bytes(pid)
    for _ in range(200):
        assert "no" in refused(hostile)
    assert until(lambda: not children_of(pid))
    assert seen()[:4] == before[:4]
    assert not [path for path in seen()[4] - before[4] if (path / "left").exists()]  # other tests have folders, too
    assert private_bytes(pid) - memory < 1024**2


REACH = """
import ctypes, os, signal
libc = ctypes.CDLL(None, use_errno=True)
def raw(number, *arguments):
    if libc.syscall(ctypes.c_long(number), *map(ctypes.c_long, arguments)) < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
target = {target}
tries = dict(
    signal=lambda: os.kill(target, signal.SIGKILL), ask=lambda: os.kill(target, 0),
    session=lambda: os.killpg(target, signal.SIGKILL), trace=lambda: raw(101, 16, target, 0, 0),
    memory=lambda: open(f'/proc/{{target}}/mem', 'r+b'), environment=lambda: open(f'/proc/{{target}}/environ').read(),
    maps=lambda: open(f'/proc/{{target}}/maps').read(), descriptors=lambda: os.listdir(f'/proc/{{target}}/fd'),
    write=lambda: raw(311, target, 0, 0, 0, 0), pidfd=lambda: raw(434, target, 0),
    limits=lambda: raw(302, target, 0, 0, 0),
)
with open('told', 'w') as told:
    for name, attempt in tries.items():
        try:
            attempt()
        except OSError:
            continue
        print(name, file=told)
"""


@pytest.mark.usefixtures("warmed")
def test_S24_a_child_reaches_neither_the_zygote_nor_whoever_sent_the_file_nor_a_web_worker(tmp_path, workplace, zygote):
    with subprocess.Popen(["sleep", "60"]) as other:  # as a web worker is: another process of the same user
        for target in (pid_of(zygote), os.getpid(), other.pid):
            refused(write(tmp_path, REACH.format(target=target)))
            assert (workplace / "told").read_text() == ""
        assert other.poll() is None
        other.kill()


SEARCH = """
import ctypes, hashlib
{planted}
found = 0
for line in open('/proc/self/maps').read().splitlines():
    place, rights = line.split()[:2]
    if rights.startswith('r') and not line.endswith(('[vvar]', '[vsyscall]', '[vvar_vclock]')):
        low, high = (int(part, 16) for part in place.split('-'))
        piece = ctypes.string_at(low, high - low)
        start = piece.find(b'{head}')
        while start >= 0:
            found += hashlib.sha256(piece[start:start + {length}]).hexdigest() == '{digest}'
            start = piece.find(b'{head}', start + 1)
open('told', 'w').write(str(found))
"""


@pytest.mark.usefixtures("warmed", "canary")  # the canary's secret is in the environment of who sends the file
@pytest.mark.parametrize("is_planted", [False, True], ids=["as it is", "with the secret in the file"])
def test_S24_a_child_that_searches_its_own_memory_finds_no_secret(is_planted, tmp_path, workplace):
    digest, head = hashlib.sha256(SECRET.encode()).hexdigest(), SECRET[:8]
    planted = f"planted = {SECRET!r}" if is_planted else ""
    code = SEARCH.format(planted=planted, head=head, length=len(SECRET), digest=digest)
    refused(write(tmp_path, code))
    assert (int((workplace / "told").read_text()) > 0) is is_planted


def memory_of(pid):
    """Yield what a process has in memory, piece by piece; for who may look."""
    with Path(f"/proc/{pid}/maps").open() as maps, Path(f"/proc/{pid}/mem").open("rb") as memory:
        for line in maps:
            place, rights = line.split()[:2]
            if rights.startswith("rw"):
                low, high = (int(part, 16) for part in place.split("-"))
                memory.seek(low)
                with contextlib.suppress(OSError):
                    yield memory.read(high - low)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may read the zygote's memory")
def test_S24_what_children_inherit_holds_no_secret_of_the_environment(zygote, secret):
    pid = pid_of(zygote)
    begun = {entry.partition(b"=")[0].decode() for entry in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")}
    assert begun - {""} == {*disposable.ENVIRONMENT}
    assert not any(secret.encode() in piece for piece in memory_of(pid))
    assert any(secret.encode() in piece for piece in memory_of(os.getpid()))  # it would have been found


@pytest.mark.usefixtures("warmed")
def test_what_a_child_changes_in_the_libraries_the_next_one_does_not_see(tmp_path):
    refused(write(tmp_path, "import joblib, os; joblib.load = None; os.environ['LEFT'] = '1'; raise ValueError"))
    message = refused(
        write(tmp_path, "import joblib, os; raise ValueError(f'{joblib.load} {os.environ.get(\"LEFT\")}')")
    )
    assert "<function load" in message
    assert message.endswith("None.")


@pytest.mark.usefixtures("warmed")
def test_the_zygote_shares_no_memory_that_may_be_written_and_has_one_thread(zygote):
    pid = pid_of(zygote)
    shared = [line for line in Path(f"/proc/{pid}/maps").read_text().splitlines() if line.split()[1] == "rw-s"]
    assert shared == []
    assert status(pid, "Threads") == 1


def test_S17_who_sent_a_file_is_killed_and_its_process_goes_too(tmp_path, zygote):
    path = write(tmp_path, "import os, time; open('pid', 'w').write(str(os.getpid())); time.sleep(60)")
    pid = pid_of(zygote)
    code = (
        "import sys; from pathlib import Path\n"
        "from trivet.model.compile import disposable\n"
        "from trivet.model.compile.process import compile_file\n"
        "from trivet.model.sandbox.warm import WarmStart\n"
        "with disposable.warm(WarmStart(Path(sys.argv[2]))): compile_file(Path(sys.argv[1]))"
    )
    sender = subprocess.Popen([sys.executable, "-c", code, str(path), str(zygote.path)])
    assert until(lambda: children_of(pid))
    (child,) = children_of(pid)
    sender.kill()
    sender.wait()
    assert until(lambda: not Path(f"/proc/{child}").exists())
    assert Path(f"/proc/{pid}").exists()


@pytest.mark.parametrize("is_warm", [True, False], ids=["zygote", "interpreter"])
def test_S17_what_started_a_process_is_killed_and_the_process_goes_too(is_warm, tmp_path, workplace):
    path = write(tmp_path, "import os, time; open('pid', 'w').write(str(os.getpid())); time.sleep(60)")
    code = (
        "import contextlib, sys; from pathlib import Path\n"
        "from trivet.model.compile import disposable\n"
        "from trivet.model.compile.process import compile_file\n"
        "disposable.tempfile.TemporaryDirectory = lambda **_: contextlib.nullcontext(sys.argv[2])\n"
        f"with disposable.several_files() if {is_warm} else contextlib.nullcontext(): compile_file(Path(sys.argv[1]))"
    )
    sender = subprocess.Popen([sys.executable, "-c", code, str(path), str(workplace)])
    told = workplace / "pid"
    assert until(lambda: told.exists() and told.read_text())
    sender.send_signal(signal.SIGKILL)
    sender.wait()
    assert until(lambda: not Path(f"/proc/{told.read_text()}").exists())


def test_a_zygote_that_opens_a_file_ends():
    code = "from trivet.model.sandbox.zygote import Guard\nGuard.arm()\nopen('/dev/null')\n"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == zygote.TRIPPED


def test_a_module_that_the_zygote_does_not_know_is_not_run(zygote, tmp_path):
    begun = zygote.begin("this", [], os.open(tmp_path, os.O_PATH), {}, DEADLINE_SECONDS)
    assert begun.ended(DEADLINE_SECONDS) is None
    begun.end()


@pytest.mark.parametrize(
    ("hello", "reason"),
    [
        (leash.Hello("another release", Confinement(())), "other code"),
        (leash.Hello(leash.code_in_use(), Confinement(("seccomp",))), "confined at L1"),
    ],
    ids=["other code", "weak"],
)
def test_a_zygote_of_other_code_or_with_a_weak_sandbox_is_not_used(hello, reason, tmp_path, monkeypatch):
    monkeypatch.setattr(warm.leash, "receive", lambda _: (warm.msgspec.msgpack.encode(hello), []))
    with leash.listen_on(tmp_path / "socket"), pytest.raises(NotWarm, match=reason):
        WarmStart(tmp_path / "socket").begin("this", [], 0, {}, 1.0)


def test_without_a_zygote_that_answers_a_file_is_opened_in_an_interpreter(tmp_path, workplace):
    with disposable.warm(WarmStart(tmp_path / "nobody.sock")):
        refused(write(tmp_path, "import os; open('told', 'w').write(str(os.getppid()))"))
    assert int((workplace / "told").read_text()) == os.getpid()


def test_one_that_is_asked_when_no_time_is_left_is_not_warm(tmp_path):
    with leash.listen_on(tmp_path / "zygote.sock"), pytest.raises(NotWarm, match="no time is left"):
        WarmStart(tmp_path / "zygote.sock").begin("module", [], 0, {}, -0.5)
