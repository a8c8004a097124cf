"""Runs the zoo: fit, compile as a push does, answer rows that no gate saw, and have the oracle judge the answers."""

import copy
import pickle
import subprocess
import sys
import time
import warnings
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from tests.parity.zoo.cases import COMPILED, NATIVE, REFUSED, Case
from tests.parity.zoo.data import data
from tests.parity.zoo.hard import Rows, hard_rows
from tests.parity.zoo.judge import Verdict, judged
from threadpoolctl import threadpool_limits

from trivet.core.datatypes import MISSING_TEXT
from trivet.core.errors import SlowerCompiled, TrivetError
from trivet.core.signature import Input, Signature
from trivet.model.bundle.packing import pack_columns
from trivet.model.compile.compiler import Compiled, compile_model
from trivet.model.compile.native import native_bundle
from trivet.model.runtimes.base import runtime_class

REPOSITORY = Path(__file__).resolve().parents[3]
ORACLE_SECONDS = 300
ACCEPTED_TYPES = ("tests.parity.zoo.custom.RootOfSize",)  # the class of a team's own, which a person let in


@dataclass
class Outcome:
    """What became of one case. `ratio` is the original's time for a row over ours; `wrong` lists what the oracle objects to."""

    case: Case
    state: str
    reason: str = ""
    ratio: float | None = None
    verdict: Verdict = field(default_factory=Verdict)
    seconds: float = 0.0

    @property
    def wrong(self) -> list[str]:
        """The oracle's objections, as sentences."""
        return self.verdict.wrong


def run_zoo(cases: Iterable[Case], folder: Path) -> list[Outcome]:
    """Return what becomes of each of `cases`; `folder` takes the questions to the oracle."""
    outcomes, answered = [], {}
    for number, case in enumerate(cases):
        began = time.perf_counter()
        with threadpool_limits(1):  # small models: threads that wait for each other cost more than they bring
            outcome, answers = _pushed(case, folder / f"{number:03d}.pickle")
        outcome.seconds = time.perf_counter() - began
        outcomes.append(outcome)
        if answers is not None:
            answered[number] = answers
    subprocess.run(
        [sys.executable, "-m", "tests.parity.zoo.oracle", str(folder)],
        check=True,
        cwd=REPOSITORY,
        timeout=ORACLE_SECONDS,
    )
    for number, (signature, groups) in answered.items():
        said = pickle.loads((folder / f"{number:03d}.answers").read_bytes())
        outcomes[number].verdict = judged(signature, groups, said)
    return outcomes


def _pushed(case: Case, question: Path) -> tuple[Outcome, Any]:
    rows = data(case.data)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # not converged, unseen categories: the zoo is small on purpose
        model = copy.deepcopy(case.model).fit(rows.x, rows.y)  # scikit-learn's clone refuses CatBoost's categories
        written = _pickled(model)
        try:
            made, state, reason = compile_model(model, sample=rows.sample), COMPILED, ""
        except TrivetError as error:
            made, state, reason = _fallen_back(model, rows.sample, error)
        if made is None:
            return Outcome(case, state, reason), None
        runtime = runtime_class(made.bundle.manifest.runtime).load(made.bundle)
        names = [output.name for output in made.signature.outputs]
        groups = []
        for group in hard_rows(model, rows.held):
            taken = _accepted(made.signature, group.rows)
            kept = Rows(group.kind, group.rows[taken], group.column)
            if not taken.any():
                groups.append((kept, None))
                continue
            tensors = pack_columns(made.bundle.manifest.packs, _tensors(made.signature, kept.rows))
            groups.append((kept, _answers(runtime, tensors, names)))
    asked = [kept.rows if answers is not None else None for kept, answers in groups]
    question.write_bytes(pickle.dumps({"model": written, "rows": asked}))
    return Outcome(case, state, reason, made.speed.native / made.speed.compiled), (made.signature, groups)


def _answers(runtime: Any, tensors: dict[str, np.ndarray], names: list[str]) -> dict[str, np.ndarray] | str:
    """Return what the bundle answers, by output, or the text of its refusal."""
    try:
        return dict(zip(names, runtime.run(tensors, names), strict=True))
    except Exception as error:  # noqa: BLE001  (whatever it raises, it is a refusal)
        return str(error)


def _fallen_back(model: Any, sample: Any, error: TrivetError) -> tuple[Compiled | None, str, str]:
    """Return the object as it is in its native bundle, or none where no native runtime takes it."""
    if isinstance(error, SlowerCompiled):
        reason = "compiled, it answers a row later than the original does in a model worker."
    else:
        reason = error.message
    try:
        return native_bundle(model, why=reason, sample=sample, accepted_types=ACCEPTED_TYPES), NATIVE, reason
    except TrivetError as refused:
        return None, REFUSED, refused.message


def _pickled(model: Any) -> bytes | None:
    try:
        return pickle.dumps(model)
    except (pickle.PicklingError, AttributeError):
        return None  # a lambda: nothing could be pushed from another process


def _accepted(signature: Signature, rows: Any) -> np.ndarray:
    """Return which rows a server would take: it refuses a gap, or a new word, where the signature says so."""
    if isinstance(rows, np.ndarray):
        if signature.inputs[0].nullable or rows.ndim == 1:
            return np.full(len(rows), True)
        return ~np.isnan(rows).any(axis=1)
    taken = np.full(len(rows), True)
    for one in signature.inputs:
        gaps = rows[one.name].isna().to_numpy()
        if not one.nullable:
            taken &= ~gaps
        if one.unknown == "reject":
            taken &= gaps | rows[one.name].isin(list(one.categories or ())).to_numpy()
    return taken


def _tensors(signature: Signature, rows: Any) -> dict[str, np.ndarray]:
    if isinstance(rows, np.ndarray):
        return {signature.inputs[0].name: rows}
    return {one.name: _column(one, rows[one.name]) for one in signature.inputs}


def _column(one: Input, values: pd.Series) -> np.ndarray:
    if one.datatype == "BYTES":
        words = [MISSING_TEXT if pd.isna(value) else str(value) for value in values.tolist()]
        return np.array([*words, None], dtype=object)[:-1].reshape(-1, 1)
    return values.to_numpy({"FP64": np.float64, "INT64": np.int64, "BOOL": np.bool_}[one.datatype]).reshape(-1, 1)
