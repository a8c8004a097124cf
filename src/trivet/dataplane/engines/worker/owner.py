"""The owner of this machine's model workers: starts them for whoever wants a version, watches them, replaces them.

`python -m trivet.dataplane.engines.worker.owner FOLDER ENVIRONMENTS DESCRIPTOR [PID]`. It has no Django, no database and
runs no model: a web worker names a digest and leaves the bundle in a private folder, and the model worker checks it when it
reads it. A version that needs an environment of its own runs in that one, by its key: nobody names a path to a program. A
version runs for as long as a connection that wants it is open, and a few seconds longer.
"""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import selectors
import shutil
import signal
import socket
import sys
import time
from collections import deque
from collections.abc import Collection
from importlib.metadata import entry_points
from pathlib import Path

import msgspec

from trivet.core.descriptors import allow_descriptors
from trivet.core.errors import BundleError, TrivetError
from trivet.core.log_sink import LogSink
from trivet.core.parent import end_with
from trivet.dataplane.engines.worker.control import (
    Message,
    Missing,
    Peer,
    Release,
    Want,
    encode_message,
)
from trivet.dataplane.engines.worker.group import MOST_RESTARTS, RESTART_WINDOW, Caller, Group, Instance
from trivet.dataplane.engines.worker.instance import MODULE, Order, Report
from trivet.dataplane.engines.worker.runs import RunsRead
from trivet.dataplane.engines.worker.spawning import Spawned, spawn
from trivet.model.bundle.manifest import MANIFEST_NAME
from trivet.model.environments.environment import KEY, find_environment
from trivet.model.runtimes.base import ENTRY_POINTS
from trivet.model.sandbox import tripwire

logger = logging.getLogger(__name__)

COMMAND = (sys.executable, "-m", MODULE)
WATCH_SECONDS = 0.25  # between looks at memory and at what is due
ACCEPT_AGAIN_SECONDS = 0.5  # where there was no descriptor for a connection
LOAD_SECONDS = 60.0  # a bundle that is not loaded by then has failed
LINGER_SECONDS = 5.0  # a version nobody wants any more is kept this long: web workers restart
LEAVE_SECONDS = 12.0  # from SIGTERM to SIGKILL of one model worker; its own bound is 10
DRAIN_SECONDS = 20.0  # from our own SIGTERM, while web workers still finish
LOOK_AGAIN_SECONDS = 1.0  # for an environment that is missing, while somebody wants it: it may be made at any time
SPARE_PAYS_SECONDS = 0.5  # a runtime whose libraries take longer to import has a process that stands by
TOLD_SHARE = 0.05  # memory that has changed by more is told to the callers, for metrics
WORN = 0.75  # share of its memory beyond which an instance is replaced before it fails
STOPPED_SECONDS = 1.0  # a process that somebody stopped is no help
ENDINGS = {-signal.SIGALRM: "hang", tripwire.STATUS: "tripwire"}  # what a status tells; any other is a crash
PAGE = os.sysconf("SC_PAGE_SIZE")
HEX = frozenset("0123456789abcdef")


class Owner:
    """Everything the process holds. One thread; `run` returns when told to end."""

    def __init__(self, folder: Path, environments: Path, listening: socket.socket) -> None:
        """Work in `folder`, which is private, and serve callers on `listening`; versions may have their `environments`."""
        self._environments = environments
        self._folder = folder / f"{os.getpid()}-{secrets.token_hex(4)}"
        self._folder.mkdir(mode=0o700)
        self._listening = listening
        self._selector = selectors.DefaultSelector()
        self._selector.register(listening, selectors.EVENT_READ, self._accept)
        self._groups: dict[str, Group] = {}
        self._callers: set[Caller] = set()
        self._spares: dict[str, Spawned] = {}  # by runtime: one stands by where importing takes long
        self._serial = 0
        self._ending_since: float | None = None
        self._must_end = False
        self._accept_at = 0.0  # when connections are taken again, after there was no descriptor for one

    def end(self) -> None:
        """End once the callers are gone; at the second time, now."""
        self._must_end = self._ending_since is not None
        self._ending_since = self._ending_since or time.monotonic()

    def renew(self) -> None:
        """Replace every instance, each once another stands ready."""
        self._keep_spares(())  # they have imported what was installed before
        for group in self._groups.values():
            group.wear_out()

    def run(self) -> None:
        """Start, watch and replace until told to end; then end every instance."""
        watched = 0.0
        try:
            while not self._is_over():
                for key, _ in self._selector.select(WATCH_SECONDS):
                    key.data()
                now = time.monotonic()
                if now - watched >= WATCH_SECONDS:
                    self._watch(now)
                    watched = now
                self._replace(now)
        finally:
            self._keep_spares(())
            for group in self._groups.values():
                for one in group.instances:
                    one.process.kill()
                    one.process.wait()
            shutil.rmtree(self._folder, ignore_errors=True)

    def _is_over(self) -> bool:
        if self._ending_since is None:
            return False
        return self._must_end or not self._callers or time.monotonic() - self._ending_since > DRAIN_SECONDS

    # --- callers --------------------------------------------------------------------------------------------------

    def _accept(self) -> None:
        try:
            connected, _ = self._listening.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return  # the caller left
        except OSError as error:  # out of descriptors: the connection waits until one is free
            logger.error("event=not_accepted error=%s", error.strerror)  # noqa: TRY400
            self._selector.unregister(self._listening)
            self._accept_at = time.monotonic() + ACCEPT_AGAIN_SECONDS
            return
        connected.settimeout(1.0)  # for sending: a caller that takes no message of a few bytes is gone
        caller = Caller(connected)
        self._callers.add(caller)
        self._selector.register(connected, selectors.EVENT_READ, lambda: self._hear(caller))

    def _hear(self, caller: Caller) -> None:
        try:
            data = caller.socket.recv(65536)
            messages = list(caller.reader.feed(data)) if data else None
        except (OSError, TrivetError):
            messages = None
        if messages is None:
            self._forget(caller)
            return
        for message in messages:
            if isinstance(message, Want):
                self._want(caller, message)
            elif isinstance(message, Release) and (group := self._groups.get(message.digest)):
                group.wanted_by.discard(caller)

    def _forget(self, caller: Caller) -> None:
        if caller in self._callers:
            self._callers.discard(caller)
            self._selector.unregister(caller.socket)
            caller.socket.close()
        for group in self._groups.values():
            group.wanted_by.discard(caller)

    def _tell(self, caller: Caller, message: Message) -> None:
        try:
            caller.socket.sendall(encode_message(message))
        except OSError:
            self._forget(caller)

    def _want(self, caller: Caller, want: Want) -> None:
        is_key = not want.environment or KEY.fullmatch(want.environment)
        if len(want.digest) != 64 or not HEX.issuperset(want.digest) or not is_key:
            self._forget(caller)
            return
        folder = self._folder / want.digest
        group = self._groups.get(want.digest)
        if group is None:
            group = self._groups[want.digest] = Group(want.digest, folder, want.options, want.environment)
        elif group.options != want.options:  # of a web worker that was started after the settings had changed
            group.options = want.options
            group.wear_out()
        if not group.wanted_by and group.is_tried_soon(time.monotonic()):
            group.failure = ""  # of an earlier try, which says nothing of the one that this caller waits for
        group.wanted_by.add(caller)
        group.unwanted_since = None
        if not (folder / MANIFEST_NAME).exists():
            self._tell(caller, Missing(want.digest, str(folder)))
        else:
            self._tell(caller, group.state())

    def _announce(self, group: Group) -> None:
        state = group.state()
        group.told_bytes = state.rss_bytes
        for caller in list(group.wanted_by):
            self._tell(caller, state)

    # --- instances ------------------------------------------------------------------------------------------------

    def _replace(self, now: float) -> None:
        """Start what is missing, let go of what nobody wants."""
        for group in list(self._groups.values()):
            if group.wanted_by:
                if (group.folder / MANIFEST_NAME).exists():
                    self._fill(group, now)
            elif group.unwanted_since is None:
                group.unwanted_since = now
            elif now - group.unwanted_since > LINGER_SECONDS:
                self._let_go(group, now)

    def _fill(self, group: Group, now: float) -> None:
        serving = {one.place for one in group.instances if not one.is_worn and one.leaves_at is None}
        for place in range(group.options.instances):
            if place not in serving and now >= group.due(place, now):
                try:
                    self._start(group, place, now)
                except BundleError as error:  # its environment is missing, which is no fault of the model
                    group.look_again_at = now + LOOK_AGAIN_SECONDS
                    group.failure = error.message.rstrip(".")
                    self._announce(group)
                except OSError as error:  # no process, no memory or no descriptor left: that may pass
                    self._note_not_started(group, place, now, error)

    def _note_not_started(self, group: Group, place: int, now: float, error: OSError) -> None:
        deaths = group.deaths.setdefault(place, deque())
        deaths.append(now)
        logger.error("event=model_worker_not_started digest=%s place=%d error=%s", group.digest[:12], place, error)
        if len(deaths) >= MOST_RESTARTS:
            group.failure = f"its model worker could not be started: {error.strerror}"
            self._announce(group)

    def _let_go(self, group: Group, now: float) -> None:
        for one in group.instances:
            self._ask_to_leave(one, now)
        if not group.instances:
            del self._groups[group.digest]
            shutil.rmtree(group.folder, ignore_errors=True)
            self._keep_spares({other.runtime for other in self._groups.values()})

    def _ask_to_leave(self, one: Instance, now: float) -> None:
        if one.leaves_at is None:
            one.leaves_at = now + LEAVE_SECONDS
            if one.peer is None:
                one.process.kill()
            else:
                one.process.terminate()

    def _start(self, group: Group, place: int, now: float) -> None:
        """Start another instance; raises `OSError`, with nothing left behind, where there can be none now.

        Raises `BundleError` where the environment it needs is missing.
        """
        self._serial += 1
        spawned = self._waiting(group)
        order = Order(
            folder=str(group.folder),
            digest=group.digest,
            socket=str(self._folder / f"{self._serial}.sock"),
            runs=str(self._folder / f"{self._serial}.runs"),
            report=spawned.told,
            owner=os.getpid(),
            options=group.options,
        )
        try:
            assert spawned.process.stdin is not None  # noqa: S101  (it has a pipe)
            with spawned.process.stdin as stdin:
                stdin.write(msgspec.json.encode(order))
        except OSError:
            spawned.give_up()
            raise
        one = Instance(place, spawned.process, now, spawned.report, spawned.died, order.socket, order.runs)
        group.instances.append(one)
        self._selector.register(one.report, selectors.EVENT_READ, lambda: self._listen(group, one))
        self._selector.register(one.died, selectors.EVENT_READ, lambda: self._bury(group, one))

    def _waiting(self, group: Group) -> Spawned:
        """Return a process that waits for its order: in the group's own environment, the one that stands by, or a new one."""
        if group.environment:
            return spawn(find_environment(self._environments, group.environment).command(MODULE))
        spare = self._spares.pop(group.runtime, None)
        if spare is None:
            return spawn(COMMAND)
        if spare.process.poll() is None:
            return spare
        spare.give_up()
        return spawn(COMMAND)

    def _stand_by(self, group: Group, report: Report) -> None:
        """Keep one process that has imported what `group` needs, where that takes long: a crash is over the sooner."""
        if group.environment or report.runtime not in entry_points(group=ENTRY_POINTS).names:
            return  # it would have other libraries; and what a model worker tells is not taken on trust
        group.runtime = report.runtime
        group.import_seconds = max(group.import_seconds, min(report.import_seconds, LOAD_SECONDS))
        if group.import_seconds > SPARE_PAYS_SECONDS and group.runtime not in self._spares:
            with contextlib.suppress(OSError):  # no process or descriptor left: it does without
                self._spares[group.runtime] = spawn([*COMMAND, group.runtime])

    def _keep_spares(self, runtimes: Collection[str]) -> None:
        for runtime in self._spares.keys() - set(runtimes):
            self._spares.pop(runtime).give_up()

    def _listen(self, group: Group, one: Instance) -> None:
        """Read what an instance reports once: that it answers, or why it does not."""
        if one.report < 0:
            return
        data = os.read(one.report, 65536)
        one.heard += data
        if data:
            return
        self._selector.unregister(one.report)
        os.close(one.report)
        one.report = -1
        try:
            report = msgspec.msgpack.decode(one.heard, type=Report)
        except msgspec.DecodeError:
            return  # it died before it could say anything: `_bury` finds the words
        if report.reason:
            group.failure = report.reason
            return
        group.failure = ""
        group.cost_us_per_row = report.cost_us_per_row
        self._stand_by(group, report)
        one.peer = Peer(
            place=one.place,
            socket=one.socket,
            runs=one.runs,
            pid=one.process.pid,
            sandbox_level=report.sandbox_level,
            load_seconds=max(time.monotonic() - one.started, group.import_seconds),
        )
        logger.info(
            "event=model_worker_ready digest=%s place=%d pid=%d sandbox=L%d",
            group.digest[:12],
            one.place,
            one.process.pid,
            report.sandbox_level,
        )
        for other in group.instances:
            if other.is_worn and other.place == one.place:
                self._ask_to_leave(other, time.monotonic())
        self._announce(group)

    def _bury(self, group: Group, one: Instance) -> None:
        """Take note of an instance's end."""
        if one not in group.instances:
            return
        status = one.process.wait()
        self._listen(group, one)
        if one.report >= 0:
            self._selector.unregister(one.report)
            os.close(one.report)
        self._selector.unregister(one.died)
        os.close(one.died)
        group.instances.remove(one)
        is_callers_doing = status == -signal.SIGALRM and _was_cut_short(Path(one.runs))
        for path in (one.socket, one.runs):
            Path(path).unlink(missing_ok=True)
        if one.leaves_at is None:
            now = time.monotonic()
            reason = one.killed_for or ENDINGS.get(status, "crash")
            group.restarts[reason] += 1
            deaths = group.deaths.setdefault(one.place, deque())
            if not is_callers_doing:
                deaths.append(now)
            if one.peer is None and not group.failure:
                group.failure = _last_words(status, reason)
            if one.peer is not None and len(deaths) >= MOST_RESTARTS:
                group.failure = f"its model worker ended {MOST_RESTARTS} times within {RESTART_WINDOW:.0f} s; it rests"
            logger.warning(
                "event=model_worker_died digest=%s place=%d reason=%s status=%d",
                group.digest[:12],
                one.place,
                reason,
                status,
            )
        elif one.is_worn:
            group.restarts[one.killed_for or "drain"] += 1
        self._announce(group)

    # --- watching -------------------------------------------------------------------------------------------------

    def _watch(self, now: float) -> None:
        if self._accept_at and now >= self._accept_at:
            self._accept_at = 0.0
            self._selector.register(self._listening, selectors.EVENT_READ, self._accept)
        for group in self._groups.values():
            for one in group.instances:
                if one.leaves_at is not None and now > one.leaves_at:
                    one.process.kill()
                elif one.peer is None and now - one.started > LOAD_SECONDS:
                    self._kill(one, "hang")
                else:
                    self._look_at(group, one, now)

            if abs(group.rss_bytes - group.told_bytes) > TOLD_SHARE * group.told_bytes:
                self._announce(group)

    def _look_at(self, group: Group, one: Instance, now: float) -> None:
        with contextlib.suppress(OSError, ValueError, IndexError):
            one.rss_bytes = int(Path(f"/proc/{one.process.pid}/statm").read_text().split()[1]) * PAGE
            state = Path(f"/proc/{one.process.pid}/stat").read_text().rpartition(")")[2].split()[0]
            one.stopped_since = (one.stopped_since or now) if state in "Tt" else None
        if one.stopped_since is not None and now - one.stopped_since > STOPPED_SECONDS:
            self._kill(one, "hang")
        elif one.rss_bytes > group.options.memory_bytes:
            self._kill(one, "memory")
        elif one.rss_bytes > WORN * group.options.memory_bytes and one.peer is not None and not one.is_worn:
            one.is_worn, one.killed_for = True, "memory"
            logger.warning("event=model_worker_worn digest=%s rss_mib=%d", group.digest[:12], one.rss_bytes >> 20)

    def _kill(self, one: Instance, reason: str) -> None:
        one.killed_for = reason
        one.process.kill()


def _was_cut_short(runs: Path) -> bool:
    """True when its callers gave a run less time than a run may have: that it was ended tells nothing of the model."""
    try:
        read = RunsRead(runs)
    except OSError:
        return False
    try:
        return read.was_cut_short()
    finally:
        read.close()


def _last_words(status: int, reason: str) -> str:
    if reason == "hang":
        return f"it was not loaded within {LOAD_SECONDS:.0f} s"
    ended = f"signal {signal.Signals(-status).name}" if status < 0 else f"status {status}"
    return f"its model worker ended with {ended} while loading it"


def clean(folder: Path) -> None:
    """Remove what owners left behind that are no more."""
    for entry in folder.iterdir():
        pid = entry.name.partition("-")[0]
        if entry.is_dir() and pid.isdigit() and not Path(f"/proc/{pid}").exists():
            shutil.rmtree(entry, ignore_errors=True)


def main(folder: str, environments: str, descriptor: str, supervisor: str = "") -> int:
    """Own the model workers of one folder until SIGTERM, or until the process `supervisor` ends; return the exit code."""
    allow_descriptors()
    listening = socket.socket(fileno=int(descriptor))
    listening.setblocking(False)
    clean(Path(folder))
    owner = Owner(Path(folder), Path(environments), listening)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: owner.end())
    signal.signal(signal.SIGHUP, lambda *_: owner.renew())
    if supervisor:
        end_with(int(supervisor), signal.SIGTERM)
    owner.run()
    return 0


if __name__ == "__main__":
    logging.basicConfig(format="%(levelname)s %(name)s %(message)s", level=logging.INFO, handlers=[LogSink()])
    sys.exit(main(*sys.argv[1:]))
