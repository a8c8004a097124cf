"""I4 of a model: its readiness, over REST and gRPC, follows its model worker whatever becomes of that. Real servers."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import grpc
import pytest

from tests.acceptance.by_wish import HANG
from tests.acceptance.faults.bounds import slowness
from tests.acceptance.faults.readiness import Recorder, Told, longest_lie
from tests.acceptance.servers import Server, clean_environment, free_port, serving, trivet, wait_for
from tests.acceptance.workshop import install_by_wish
from trivet.dataplane.frontends.grpc.descriptor import inference

pytestmark = pytest.mark.slow

MODELS = ("idle", "stopped", "hanging", "killed")  # one for each test: what died too often rests
REGISTER = f"""
from trivet.control.registry import actions, pushing
from tests.acceptance.workshop import by_wish_bundle

for name in {MODELS}:
    version = pushing.register_and_probe(by_wish_bundle(name=name), name=name, actor="test").version
    actions.promote(model=name, version=version.number, actor="test", reason="a test")
"""
FOLLOWS_SECONDS = 1.0  # readiness may lag behind by this much
DEADLINE = "4.0"
PROBE_US = 500_000  # the time a probe gives the model
READY = "/inference.GRPCInferenceService/ModelReady"


class Site(NamedTuple):
    """A server, and how it is asked."""

    server: Server
    key: str
    grpc: grpc.Channel

    def get(self, path: str) -> tuple[int, Any]:
        return self._ask("GET", path, None)

    def infer(self, model: str, value: float, timeout_us: int) -> int:
        tensor = {"name": "x", "shape": [1, 1], "datatype": "FP64", "data": [value]}
        parameters = {"timeout": timeout_us, "cache": False}
        asked = {"inputs": [tensor], "outputs": [{"name": "run"}], "parameters": parameters}
        return self._ask("POST", f"/v2/models/{model}/infer", json.dumps(asked))[0]

    def process_of(self, model: str) -> int:
        """Return the process id of the model worker of `model`."""
        tensor = {"name": "x", "shape": [1, 1], "datatype": "FP64", "data": [1.0]}
        asked = json.dumps({"inputs": [tensor], "outputs": [{"name": "run"}], "parameters": {"cache": False}})
        answer = wait_for(lambda: dict([self._ask("POST", f"/v2/models/{model}/infer", asked)]).get(200))
        return int(answer["outputs"][0]["data"][2])

    def owner(self) -> int:
        """Return the process id of the owner of the model workers."""
        children = self.server.children()
        return next(p for p in children if b"worker.owner" in Path(f"/proc/{p}/cmdline").read_bytes())

    def is_ready(self, model: str) -> tuple[bool, str]:
        status, told = self.get(f"/v2/models/{model}/ready")
        assert (status, told["ready"]) in ((200, True), (503, False)), told
        return status == 200, told.get("error", "")

    def is_ready_by_grpc(self, model: str) -> tuple[bool, str]:
        ask = self.grpc.unary_unary(
            READY,
            request_serializer=inference.ModelReadyRequest.SerializeToString,
            response_deserializer=inference.ModelReadyResponse.FromString,
        )
        told = ask(inference.ModelReadyRequest(name=model), timeout=20, metadata=[("x-api-key", self.key)])
        return told.ready, ""

    def answers(self, model: str) -> tuple[bool, str]:
        status = self.infer(model, 1.0, PROBE_US)
        return status == 200, str(status)

    def _ask(self, method: str, path: str, body: str | None) -> tuple[int, Any]:
        connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=20)
        connection.request(method, path, body, {"Authorization": f"Bearer {self.key}"})
        response = connection.getresponse()
        told = json.loads(response.read())
        connection.close()
        return response.status, told


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("readiness")
    trivet("init", "project", project=folder)
    installed = install_by_wish(folder / "installed")
    here = str(Path(__file__).parents[3])
    subprocess.run(
        [sys.executable, "manage.py", "shell", "-c", REGISTER],
        cwd=folder / "project",
        env=clean_environment(PYTHONPATH=f"{installed}:{here}"),
        check=True,
        timeout=120,
    )
    made = trivet("keys", "create", "all", "--model=*", "--verb=predict", "--json", project=folder / "project").stdout
    address = f"127.0.0.1:{free_port()}"
    options = {"PYTHONPATH": installed, "TRIVET_DEADLINE_SECONDS": DEADLINE}
    with (
        serving(folder / "project", workers=1, grpc=address, **options) as server,
        grpc.insecure_channel(address) as channel,
    ):
        yield Site(server, json.loads(made)["key"], channel)


@contextmanager
def recorded(site: Site, model: str, *, probes: bool) -> Iterator[Recorder]:
    """Ask for the readiness of `model` by both doors while the block runs, and ask the model itself where it `probes`."""
    ready = {"rest": lambda: site.is_ready(model), "grpc": lambda: site.is_ready_by_grpc(model)}
    wait_for(lambda: all(ask()[0] for ask in ready.values()))
    with Recorder({**ready, "probe": lambda: site.answers(model)} if probes else ready) as recorder:
        yield recorder


@contextmanager
def held(pid: int) -> Iterator[float]:
    """Stop a process for as long as the block runs; yield when."""
    began = time.monotonic()
    os.kill(pid, signal.SIGSTOP)
    try:
        yield began
    finally:
        os.kill(pid, signal.SIGCONT)


def seen(recorder: Recorder, name: str, since: float, *, is_good: bool) -> Told:
    """Return the first that the asker `name` was told of that kind to a question after `since`."""
    found = wait_for(lambda: [told for told in recorder.told(name) if told.is_good is is_good and told.began > since])
    first: Told = found[0]
    return first


@pytest.mark.parametrize("door", ["rest", "grpc"])
def test_F09_a_model_whose_idle_worker_is_stopped_is_not_ready_until_it_goes_on(site: Site, door: str):
    worker = site.process_of("idle")
    with recorded(site, "idle", probes=False) as recorder:
        with held(site.owner()), held(worker) as stopped:
            told = seen(recorder, door, stopped, is_good=False)
            assert told.began - stopped < FOLLOWS_SECONDS * slowness()
            assert "stopped" in seen(recorder, "rest", stopped, is_good=False).said
            assert site.get("/v2/health/ready") == (200, {"live": True, "ready": True})
            assert site.is_ready("killed")[0], "no other model is touched"
        goes_on = time.monotonic()
        assert seen(recorder, door, goes_on, is_good=True).began - goes_on < FOLLOWS_SECONDS * slowness()
    assert site.process_of("idle") == worker


def stop(site: Site) -> None:
    """Stop it: its owner ends it after a second and starts another."""
    os.kill(site.process_of("stopped"), signal.SIGSTOP)


def hang(site: Site) -> None:
    """Have it run what never ends: the kernel ends it at the deadline."""
    threading.Thread(target=site.infer, args=("hanging", HANG, int(float(DEADLINE) * 1e6))).start()


def kill(site: Site) -> None:
    """Kill it, and hold for a while who would start another."""
    worker = site.process_of("killed")
    with held(site.owner()):
        os.kill(worker, signal.SIGKILL)
        for _ in range(2):
            assert not site.answers("killed")[0]


@pytest.mark.parametrize(("model", "harm"), [("stopped", stop), ("hanging", hang), ("killed", kill)])
def test_F09_I4_no_model_is_ready_for_over_a_second_while_requests_to_it_fail(
    site: Site, model: str, harm: Callable[[Site], None]
):
    with recorded(site, model, probes=True) as recorder:
        wait_for(lambda: len([told for told in recorder.told("probe") if told.is_good]) > 5)
        harmed = time.monotonic()
        harm(site)
        failed = seen(recorder, "probe", harmed, is_good=False)
        back = seen(recorder, "probe", failed.ended, is_good=True)
        ready = {door: seen(recorder, door, back.ended, is_good=True) for door in ("rest", "grpc")}
    probes = recorder.told("probe")
    for door, first in ready.items():
        assert [told for told in recorder.told(door) if not told.is_good], f"{door} noticed nothing"
        lie = longest_lie(recorder.told(door), probes)
        assert lie < FOLLOWS_SECONDS * slowness(), f"{door} said to be ready for {lie:.2f} s: {recorder.told(door)}"
        assert first.began - back.ended < FOLLOWS_SECONDS * slowness()
