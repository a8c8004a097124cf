"""The probe: load a bundle in a fresh process, replay its recorded sample, measure. Only then is a version ready.

Golden cases are replayed there too, those in the bundle and those handed in: one that fails is told, and is for whoever
moves traffic to weigh.

`python -m trivet.model.probe FOLDER DIGEST [CASES]` prints the result as one line of JSON; `probe_in_fresh_process`
starts it.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Collection, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec
import numpy as np

from trivet.core.errors import BundleError, TrivetError
from trivet.model.bundle.bundle import Bundle, read_bundle, write_bundle
from trivet.model.bundle.golden import GOLDEN_NAME, GoldenCase, Run, decode_cases, encode_cases, failure_of
from trivet.model.bundle.sample import SAMPLE_NAME, decode_sample
from trivet.model.runtimes.base import Runtime, runtime_class

TIMEOUT_SECONDS = 60
WARM_UP_RUNS = 20
MEASURED_RUNS = 200
TOLERANCE = 1e-5  # of numbers recorded by the compiler on another machine, relative and absolute


class ProbeResult(msgspec.Struct, frozen=True, kw_only=True):
    """What a fresh process found: rows replayed, largest difference, cost of one row in microseconds, or what is wrong."""

    passed: bool
    reason: str = ""
    rows: int = 0
    max_difference: float = 0.0
    cost_us_per_row: float = 0.0
    golden: tuple[str, ...] = ()  # of each golden case what is wrong, with the case in it; "" where it holds

    @property
    def golden_failures(self) -> tuple[str, ...]:
        """A sentence for each golden case that failed."""
        return tuple(filter(None, self.golden))


def probe_in_fresh_process(bundle: Bundle, cases: Collection[GoldenCase] = ()) -> ProbeResult:
    """Return what a fresh process finds of `bundle` and says to `cases`. One that hangs, crashes or is silent fails."""
    with TemporaryDirectory(prefix="trivet-probe-") as folder:
        place = Path(folder) / "bundle"
        write_bundle(bundle, place)
        asked = Path(folder) / GOLDEN_NAME
        asked.write_bytes(encode_cases(cases))
        command = [sys.executable, "-m", "trivet.model.probe", str(place), bundle.digest, str(asked)]
        try:
            done = subprocess.run(command, capture_output=True, timeout=TIMEOUT_SECONDS, check=False)  # noqa: S603
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
        columns, expected = decode_sample(bundle.signature, bundle.files.get(SAMPLE_NAME, b""))
        names = [output.name for output in bundle.signature.outputs]
        rows = len(next(iter(columns.values()), ()))
        asked = _all_cases(bundle, cases)
        ask = _asker(runtime, bundle)
        told = ProbeResult(passed=True, golden=tuple(failure_of(case, bundle.signature, ask) for case in asked))
        if rows == 0:
            return told
        inputs = bundle.feed(columns)
        answers = dict(zip(names, runtime.run(inputs, names), strict=True))
        difference = max(_difference(name, expected[name], answers[name]) for name in names)
        first = {name: values[:1] for name, values in inputs.items()}
        cost = _cost(runtime, first, names)
        return msgspec.structs.replace(told, rows=rows, max_difference=difference, cost_us_per_row=cost)
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


def _difference(name: str, expected: np.ndarray, answer: np.ndarray) -> float:
    if expected.dtype.kind == "f":
        if expected.shape != answer.shape:
            raise BundleError(f"{name}: answers have shape {answer.shape}, recorded ones {expected.shape}")
        gaps = np.abs(expected - answer) / (1 + np.abs(expected))
        gaps[np.isnan(expected) & np.isnan(answer)] = 0.0
        worst = int(np.argmax(gaps.max(axis=tuple(range(1, gaps.ndim))))) if gaps.size else 0
        largest = float(gaps.max(initial=0.0))
        if not largest <= TOLERANCE:
            raise BundleError(f"row {worst} differs by {largest:.2g} in {name}")
        return largest
    if not np.array_equal(expected, answer):
        raise BundleError(f"row {int(np.argmax(expected != answer))} has another {name}")
    return 0.0


def _cost(runtime: Runtime, row: dict[str, np.ndarray], names: list[str]) -> float:
    for _ in range(WARM_UP_RUNS):
        runtime.run(row, names)
    times = []
    for _ in range(MEASURED_RUNS):
        started = time.perf_counter_ns()
        runtime.run(row, names)
        times.append(time.perf_counter_ns() - started)
    return float(np.median(times)) / 1000


def _main(folder: str, digest: str, *asked: str) -> None:
    try:
        cases = [case for file in asked for case in decode_cases(Path(file).read_bytes())]
        result = probe(read_bundle(Path(folder), digest), cases)
    except TrivetError as error:
        result = ProbeResult(passed=False, reason=error.message)
    except Exception as error:  # noqa: BLE001  (whatever a model raises is a finding, not a crash)
        result = ProbeResult(passed=False, reason=f"{type(error).__name__} while replaying the sample")
    sys.stdout.buffer.write(msgspec.json.encode(result))


if __name__ == "__main__":
    _main(*sys.argv[1:])
