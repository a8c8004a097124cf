"""F08 to F12 for a model that runs unchanged: a pipeline with a step of somebody's own, in real model workers."""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from sklearn.neighbors import KNeighborsRegressor
from sklearn.pipeline import FeatureUnion, make_pipeline

from tests.acceptance import wishing_step
from tests.acceptance.workshop import Workshop, wait_until, workshop
from trivet.core.errors import BundleError, TrivetError
from trivet.model.bundle.bundle import Bundle, make_bundle
from trivet.model.compile import speed
from trivet.model.compile.native import native_bundle

BACK_SECONDS = 2.0  # of a process that stood by with its libraries imported
FRESH_SECONDS = 8.0  # where none does: scikit-learn takes 2 to 4 seconds to import, on a busy machine more
ROWS = np.linspace(0.0, 9.0, 40).reshape(-1, 1)


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    twice = FeatureUnion([("as", "passthrough"), ("is", "passthrough")], n_jobs=2)  # elsewhere in two processes
    model = make_pipeline(wishing_step.WishingStep(), twice, KNeighborsRegressor(2)).fit(ROWS, ROWS[:, 0] * 3)
    step = f"{wishing_step.__name__}.WishingStep"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(speed, "MOST_SECONDS", 0.0)
        return native_bundle(model, why="a step of its own", sample=ROWS, accepted_types=[step]).bundle


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workshop]:
    with native_workshop(tmp_path_factory.mktemp("native"), deadline_seconds=20.0) as opened:
        yield opened


def native_workshop(folder: Path, **options: Any) -> Any:
    """Return a workshop whose model workers find the step."""
    package = folder / "installed" / "tests" / "acceptance"
    package.mkdir(parents=True)
    for init in (package.parent / "__init__.py", package / "__init__.py"):
        init.touch()
    shutil.copy(wishing_step.__file__, package)
    return workshop(folder, **options)


def load(place: Workshop, bundle: Bundle, name: str) -> Any:
    """Load a version of its own: one that has died five times within a minute rests."""
    manifest = msgspec.structs.replace(bundle.manifest, source={**bundle.manifest.source, "name": name})
    made = make_bundle(manifest, bundle.files)
    place.bundles[made.digest] = made
    return place.engine.load(made)


def ask(version: Any, *values: float, seconds: float = 20.0) -> list[float]:
    inputs = {"X": np.array(values).reshape(-1, 1)}
    [predictions] = version.run(inputs, ["prediction"], time.monotonic() + seconds)
    return predictions.tolist()


def outcome(call: Callable[[], Any]) -> Any:
    try:
        return call()
    except TrivetError as error:
        return error.code


def process_of(version: Any) -> int:
    """Return the process id of the one instance that answers for `version`."""
    [peer] = version.peers
    return int(peer.pid)


def back_after(version: Any, started: float) -> float:
    """Return the seconds since `started` once it answers again."""
    wait_until(lambda: not isinstance(outcome(lambda: ask(version, 3.0)), str))
    return time.monotonic() - started


def test_it_answers_as_the_estimator_and_is_confined_as_far_as_it_says(place: Workshop, bundle: Bundle):
    version = load(place, bundle, "answers")
    model = make_pipeline(KNeighborsRegressor(2)).fit(ROWS, ROWS[:, 0] * 3)
    assert ask(version, 1.0, 4.2, 7.7) == model.predict([[1.0], [4.2], [7.7]]).tolist()
    assert version.peers[0].sandbox_level >= 2
    assert outcome(lambda: ask(version, wishing_step.ESCAPE)) != "MODEL_FAILED"
    assert outcome(lambda: ask(version, wishing_step.RAISE)) == "MODEL_FAILED"
    version.unload()


def test_F08_a_crash_harms_the_request_that_causes_it_alone(place: Workshop, bundle: Bundle):
    version = load(place, bundle, "crash")
    started = time.monotonic()
    with ThreadPoolExecutor(6) as pool:
        wishes = [1.0, 2.0, wishing_step.CRASH, 3.0, 4.0]
        answers = list(pool.map(lambda wish: outcome(lambda: ask(version, wish)), wishes))
    assert answers[2] == "MODEL_FAILED"
    assert not [answer for place_, answer in enumerate(answers) if place_ != 2 and isinstance(answer, str)]
    assert back_after(version, started) < 2 * FRESH_SECONDS  # its retry alone ends a second process
    assert version.restarts == {"crash": 2}
    version.unload()


def test_F09_a_hang_is_over_at_the_deadline_and_a_stopped_one_is_replaced(place: Workshop, bundle: Bundle):
    version = load(place, bundle, "hang")
    started = time.monotonic()
    assert outcome(lambda: ask(version, wishing_step.HANG, seconds=0.5)) == "DEADLINE"
    assert time.monotonic() - started < 0.7
    assert back_after(version, started) < FRESH_SECONDS
    assert version.restarts == {"hang": 1}
    os.kill(process_of(version), signal.SIGSTOP)
    started = time.monotonic()
    assert outcome(lambda: ask(version, 1.0, seconds=0.3)) == "DEADLINE"
    assert back_after(version, started) < FRESH_SECONDS
    assert version.restarts == {"hang": 2}
    version.unload()


def test_F08_it_is_back_within_two_seconds_for_a_process_stands_by_with_its_libraries(place: Workshop, bundle: Bundle):
    version = load(place, bundle, "stands by")
    [spare] = wait_until(lambda: standing_by(place))
    answered = ask(version, 1.0, 4.2, 7.7)
    started = time.monotonic()
    os.kill(process_of(version), signal.SIGKILL)
    assert ask(version, 3.0)
    assert time.monotonic() - started < BACK_SECONDS
    assert process_of(version) == spare
    assert ask(version, 1.0, 4.2, 7.7) == answered
    assert version.peers[0].sandbox_level >= 2
    wait_until(lambda: standing_by(place) not in ([], [spare]))  # and another one does
    version.unload()


def standing_by(place: Workshop) -> list[int]:
    """Return who has imported the libraries and waits for an order."""
    assert place.process is not None
    owner = Path(f"/proc/{place.process.pid}/task/{place.process.pid}/children").read_text()
    return [int(pid) for pid in owner.split() if is_waiting_with_libraries(int(pid))]


def is_waiting_with_libraries(pid: int) -> bool:
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        return b"skops" in command and "pipe" in Path(f"/proc/{pid}/wchan").read_text()
    except OSError:
        return False  # it has just ended


def test_F10_one_that_grows_is_replaced_without_a_failed_request(tmp_path: Path, bundle: Bundle):
    with native_workshop(tmp_path, memory_bytes=640 * 1024 * 1024) as place:
        version = load(place, bundle, "leak")
        first = process_of(version)
        for _ in range(22):
            ask(version, wishing_step.LEAK)
        wait_until(lambda: version.restarts.get("memory") == 1)
        assert ask(version, 3.0)
        assert process_of(version) != first


def test_F11_an_allocation_beyond_the_limit_fails_alone(place: Workshop, bundle: Bundle):
    version = load(place, bundle, "allocate")
    assert outcome(lambda: ask(version, wishing_step.ALLOCATE)) == "MODEL_FAILED"
    assert ask(version, 3.0)
    assert version.restarts == {}
    version.unload()


def test_F12_one_that_cannot_be_loaded_says_why(place: Workshop, bundle: Bundle):
    needs = msgspec.structs.replace(bundle.manifest, requires={"scikit-learn": "0.24"})
    other = make_bundle(needs, bundle.files)
    place.bundles[other.digest] = other
    with pytest.raises(BundleError, match=r"needs scikit-learn 0\.24; here is"):
        place.engine.load(other)


@pytest.mark.parametrize("wish", [wishing_step.UNPICKLE, wishing_step.START], ids=["unpickles", "starts a program"])
def test_S20_one_that_unpickles_or_starts_a_program_ends_at_once(place: Workshop, bundle: Bundle, wish: float):
    version = load(place, bundle, f"tripwire {wish}")
    assert outcome(lambda: ask(version, wish)) == "MODEL_FAILED"
    wait_until(lambda: set(version.restarts) == {"tripwire"})
    version.unload()
