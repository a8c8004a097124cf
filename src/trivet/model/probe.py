"""The probe: load a bundle in a fresh process, replay its recorded sample, measure. Only then is a version ready.

Golden cases are replayed there too, those in the bundle and those handed in: one that fails is told, and is for whoever
moves traffic to weigh.

`python -m trivet.model.probe FOLDER DIGEST [CASES]` prints the result as one line of JSON; `probe_in_fresh_process`
starts it. The process confines itself (`model.sandbox`) once it has read the bundle's bytes and before anything is loaded
from them.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import time
from collections.abc import Collection, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import msgspec
import numpy as np

from trivet.core.environment import code_places, lean_environment
from trivet.core.errors import BundleError, TrivetError
from trivet.model.bundle.bundle import Bundle, read_bundle, write_bundle
from trivet.model.bundle.golden import GOLDEN_NAME, GoldenCase, Run, decode_cases, encode_cases, failure_of
from trivet.model.bundle.sample import SAMPLE_NAME, decode_sample
from trivet.model.environments.environment import command_for
from trivet.model.runtimes.base import Runtime, runtime_class
from trivet.model.sandbox.confinement import confine

TIMEOUT_SECONDS = 60
WARM_UP_RUNS = 20
MEASURED_RUNS = 200
MEASURED_SECONDS = 5.0  # no longer than this, for a model that takes its time
MEMORY_BYTES = 4 * 1024**3
TOLERANCE = 1e-5  # of numbers recorded by the compiler on another machine, relative and absolute


class ProbeResult(msgspec.Struct, frozen=True, kw_only=True):
    """What a fresh process found: rows replayed, largest difference, cost of one row in microseconds, or what is wrong."""

    passed: bool
    reason: str = ""
    rows: int = 0
    max_difference: float = 0.0
    cost_us_per_row: float = 0.0
    sandbox_level: int = 0  # that the process had reached before it loaded the bundle
    golden: tuple[str, ...] = ()  # of each golden case what is wrong, with the case in it; "" where it holds

    @property
    def golden_failures(self) -> tuple[str, ...]:
        """A sentence for each golden case that failed."""
        return tuple(filter(None, self.golden))


def probe_in_fresh_process(bundle: Bundle, cases: Collection[GoldenCase], *, environments: Path) -> ProbeResult:
    """Return what a fresh process finds of `bundle` and says to `cases`. One that hangs, crashes or is silent fails.

    A bundle that needs an environment of its own is probed in that one, of those in the folder `environments`.
    """
    with TemporaryDirectory(prefix="trivet-probe-") as folder:
        place = Path(folder) / "bundle"
        write_bundle(bundle, place)
        asked = Path(folder) / GOLDEN_NAME
        asked.write_bytes(encode_cases(cases))
        try:
            arguments = (str(place), bundle.digest, str(asked))
            command = command_for(bundle, environments, "trivet.model.probe", arguments)
            done = subprocess.run(  # noqa: S603  (an interpreter of ours, and our own module)
                command, capture_output=True, timeout=TIMEOUT_SECONDS, check=False, env=lean_environment(), cwd="/"
            )
        except BundleError as error:
            return ProbeResult(passed=False, reason=error.message.rstrip("."))
        except subprocess.TimeoutExpired:
            return ProbeResult(passed=False, reason=f"no answer within {TIMEOUT_SECONDS} s")
    try:
        return msgspec.json.decode(done.stdout, type=ProbeResult)
    except msgspec.DecodeError:
        return ProbeResult(passed=False, reason=f"the probe's process ended with status {done.returncode}")


def probe(bundle: Bundle, cases: Collection[GoldenCase] = ()) -> ProbeResult:
    """Load `bundle` here, replay its sample and the golden cases, and measure it."""
    try:
        runtime = runtime_class(bundle.manifest.runtime).load(bundle)
        asked = _all_cases(bundle, cases)
        ask = _asker(runtime, bundle)
        told = ProbeResult(passed=True, golden=tuple(failure_of(case, bundle.signature, ask) for case in asked))
        found = replay(runtime, bundle)
        if found.rows == 0:
            return told
        cost = cost_of_row(runtime, found.first, [output.name for output in bundle.signature.outputs])
        return msgspec.structs.replace(told, rows=found.rows, max_difference=found.largest, cost_us_per_row=cost)
    except TrivetError as error:
        return ProbeResult(passed=False, reason=error.message)


def _all_cases(bundle: Bundle, cases: Collection[GoldenCase]) -> list[GoldenCase]:
    """Return the cases handed in, then those of the bundle that are not among them."""
    recorded = decode_cases(bundle.files.get(GOLDEN_NAME, b""))
    return [*cases, *(case for case in recorded if case not in cases)]


def _asker(runtime: Runtime, bundle: Bundle) -> Run:
    names = [output.name for output in bundle.signature.outputs]

    def ask(tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        return dict(zip(names, runtime.run(bundle.feed(tensors), names), strict=True))

    return ask


class Replayed(NamedTuple):
    """How many rows were asked again, the largest difference between answers and recorded ones, and the first row asked."""

    rows: int
    largest: float
    first: Mapping[str, np.ndarray]


def replay(runtime: Runtime, bundle: Bundle, *, tolerance: float = TOLERANCE) -> Replayed:
    """Ask `runtime` for the recorded sample of `bundle`; raises `BundleError` where it answers otherwise than recorded."""
    columns, expected = decode_sample(bundle.signature, bundle.files.get(SAMPLE_NAME, b""))
    rows = len(next(iter(columns.values()), ()))
    if rows == 0:
        return Replayed(0, 0.0, {})
    names = [output.name for output in bundle.signature.outputs]
    inputs = bundle.feed(columns)
    answers = dict(zip(names, runtime.run(inputs, names), strict=True))
    largest = max(_difference(name, expected[name], answers[name], tolerance) for name in names)
    return Replayed(rows, largest, {name: values[:1] for name, values in inputs.items()})


def _difference(name: str, expected: np.ndarray, answer: np.ndarray, tolerance: float) -> float:
    if expected.dtype.kind == "f":
        if expected.shape != answer.shape:
            raise BundleError(f"{name}: answers have shape {answer.shape}, recorded ones {expected.shape}")
        gaps = np.abs(expected - answer) / (1 + np.abs(expected))
        gaps[np.isnan(expected) & np.isnan(answer)] = 0.0
        worst = int(np.argmax(gaps.max(axis=tuple(range(1, gaps.ndim))))) if gaps.size else 0
        largest = float(gaps.max(initial=0.0))
        if not largest <= tolerance:
            raise BundleError(f"row {worst} differs by {largest:.2g} in {name}")
        return largest
    if not np.array_equal(expected, answer):
        raise BundleError(f"row {int(np.argmax(expected != answer))} has another {name}")
    return 0.0


def cost_of_row(runtime: Runtime, row: Mapping[str, np.ndarray], names: list[str]) -> float:
    """Return the median of 200 runs after 20, in microseconds; of fewer where they take seconds."""
    times: list[int] = []
    until = time.monotonic() + MEASURED_SECONDS
    while len(times) < WARM_UP_RUNS + MEASURED_RUNS and (time.monotonic() < until or not times):
        started = time.perf_counter_ns()
        runtime.run(row, names)
        times.append(time.perf_counter_ns() - started)
    return float(np.median(times[min(WARM_UP_RUNS, len(times) // 2) :])) / 1000


def _main(folder: str, digest: str, *asked: str) -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY_BYTES, MEMORY_BYTES))
    level = 0
    try:
        cases = [case for file in asked for case in decode_cases(Path(file).read_bytes())]
        bundle = read_bundle(Path(folder), digest)
        level = confine(readable=code_places()).level
        result = probe(bundle, cases)
    except TrivetError as error:
        result = ProbeResult(passed=False, reason=error.message)
    except Exception as error:  # noqa: BLE001  (whatever a model raises is a finding, not a crash)
        result = ProbeResult(passed=False, reason=f"{type(error).__name__} while replaying the sample")
    sys.stdout.buffer.write(msgspec.json.encode(msgspec.structs.replace(result, sandbox_level=level)))


if __name__ == "__main__":
    _main(*sys.argv[1:])
