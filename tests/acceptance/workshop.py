"""Real model workers for tests: an owner in a process of its own, and a runtime installed for it by a folder of metadata."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from tests.acceptance import by_wish
from tests.acceptance.servers import clean_environment
from trivet.core.signature import Input, Output, Signature
from trivet.dataplane.engines.worker.control import Options
from trivet.dataplane.engines.worker.engine import CONTROL_NAME, WorkerEngine
from trivet.dataplane.engines.worker.sockets import listen_on
from trivet.model.bundle.bundle import Bundle, make_bundle
from trivet.model.bundle.manifest import Manifest

OWNER = "trivet.dataplane.engines.worker.owner"
SIGNATURE = Signature(
    inputs=(Input(name="x", datatype="FP64", shape=(-1, 1)),),
    outputs=(
        Output(name="doubled", datatype="FP64", shape=(-1, 1)),
        Output(name="text", datatype="BYTES", shape=(-1,)),
        Output(name="run", datatype="INT64", shape=(-1, 3)),  # calls so far, rows of this one, process
    ),
)

_REGISTER = """
import msgspec
from tests.acceptance.workshop import by_wish_bundle
from trivet.control.registry import actions, pushing
from trivet.control.registry.models import ModelVersion
from trivet.control.registry.storage import fetch_bundle
from trivet.model.bundle.bundle import make_bundle

def register(name, bundle):
    version = pushing.register_and_probe(bundle, name=name, actor="test").version
    actions.promote(model=name, version=version.number, actor="test", reason="a test")

def elsewhere(name, number):
    bundle = fetch_bundle(ModelVersion.objects.get(model__name=name, number=number).digest)
    manifest = msgspec.structs.replace(bundle.manifest, compile={**bundle.manifest.compile, "may_run_inline": False})
    return make_bundle(manifest, bundle.files)

"""
_ENTRY_POINTS = "[trivet.runtimes]\nby-wish = trivet_by_wish:ByWish\nparrot = trivet_by_wish:Parrot\n"


def by_wish_bundle(**source: Any) -> Bundle:
    """Return a bundle of the runtime that does as it is told."""
    manifest = Manifest(format=1, runtime="by-wish", signature=SIGNATURE, files=(), source=source)
    return make_bundle(manifest, {"model.json": b"{}"})


def register(project: Path, code: str, **environment: str) -> None:
    """Run a line in a project that may `register(name, bundle)` a champion.

    A bundle is a `by_wish_bundle(...)`, or a version of the project's that is to run `elsewhere(name, number)`, in model
    workers.
    """
    path = os.pathsep.join([str(Path(__file__).parents[2]), environment.pop("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "manage.py", "shell", "-c", _REGISTER + code],
        cwd=project,
        env=clean_environment(**environment, PYTHONPATH=path),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def install_by_wish(folder: Path) -> str:
    """Install the runtimes into `folder` as a distribution with entry points; return the folder for PYTHONPATH."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "trivet_by_wish.py").write_text(Path(by_wish.__file__).read_text())
    metadata = folder / "trivet_by_wish-1.dist-info"
    metadata.mkdir(exist_ok=True)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: trivet-by-wish\nVersion: 1\n")
    (metadata / "entry_points.txt").write_text(_ENTRY_POINTS)
    return str(folder)


def parrot_bundle(signature: Signature) -> Bundle:
    """Return a bundle of the runtime that tells what it was asked, in an output of one text a row."""
    manifest = Manifest(format=1, runtime="parrot", signature=signature, files=())
    return make_bundle(manifest, {"model.json": b"{}"})


class Workshop:
    """An owner with the runtime installed, and an engine that asks it."""

    def __init__(self, folder: Path, **options: Any) -> None:
        self.folder = folder / "run"
        self.folder.mkdir(mode=0o700, parents=True)
        self.environments = folder / "environments"
        self.options = Options(**options)
        self.bundles: dict[str, Bundle] = {}
        self._path = install_by_wish(folder / "installed")
        self.process: subprocess.Popen[bytes] | None = None
        self._listening = listen_on(self.folder / CONTROL_NAME)
        self.start_owner()
        self.engine = self.another_engine()

    def start_owner(self) -> None:
        """Start the owner, again where it ended."""
        descriptor = self._listening.fileno()
        self.process = subprocess.Popen(
            [sys.executable, "-m", OWNER, str(self.folder), str(self.environments), str(descriptor)],
            pass_fds=(descriptor,),
            env={**os.environ, "PYTHONPATH": self._path, "SECRET": "of the owner"},
        )

    def another_engine(self) -> WorkerEngine:
        """Return an engine as another process of this machine would have."""
        return WorkerEngine(self.folder, lambda digest: self.bundles[digest], self.options)

    def load(self, **source: Any) -> Any:
        """Return the loaded version of a bundle that wishes `source`."""
        bundle = by_wish_bundle(**source)
        self.bundles[bundle.digest] = bundle
        return self.engine.load(bundle)

    def close(self) -> None:
        """End the owner, and with it the model workers."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()
        self._listening.close()


@contextmanager
def workshop(folder: Path, **options: Any) -> Iterator[Workshop]:
    """Keep a workshop open for as long as the block runs."""
    place = Workshop(folder, **options)
    try:
        yield place
    finally:
        place.close()


def rows(*values: float) -> dict[str, np.ndarray]:
    """Return the inputs of one request."""
    return {"x": np.array(values, dtype=np.float64).reshape(-1, 1)}


def ask(
    version: Any, *values: float, outputs: tuple[str, ...] = ("doubled",), seconds: float = 10.0
) -> list[np.ndarray]:
    """Ask `version` for `outputs` of some rows, within `seconds`."""
    return version.run(rows(*values), list(outputs), time.monotonic() + seconds)


def process_of(version: Any) -> int:
    """Return the process id of an instance that answers."""
    return int(ask(version, 1.0, outputs=("run",))[0][0, 2])


def wait_until(condition: Callable[[], Any], seconds: float = 20.0) -> Any:
    """Return what `condition` returns once that is true; fail after `seconds`."""
    deadline = time.monotonic() + seconds
    while not (result := condition()):
        assert time.monotonic() < deadline, f"not within {seconds} s"
        time.sleep(0.005)
    return result
