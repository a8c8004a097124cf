"""Trivet itself, as an operator starts it: key, validation and prediction log on, the keeper shipping meanwhile."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from datetime import datetime
from pathlib import Path
from typing import Any, ClassVar

import trivet
from benchmarks.opponents.opponent import WORKERS, Known, Moments, Opponent, Question, rows_of, tensors
from benchmarks.opponents.peers import MODELS
from trivet.model.bundle.bundle import read_bundle

READY = re.compile(r"^(\S+ \S+) INFO .* event=ready imports_seconds=(\S+) loading_seconds=(\S+)$", re.MULTILINE)


SPOOL_MB = "20480"  # each round begins with what the ones before left to be shipped, which no site would


class Trivet(Opponent):
    """`trivet serve` on a project with the four models."""

    name = "Trivet"
    project: ClassVar[str] = "trivet"  # its folder

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._key = ""

    def prepare(self) -> None:
        """Make the project, push the models, keep the ONNX files for the opponent that serves them by hand."""
        folder = self.folder
        project = folder / self.project
        if not project.exists():
            _trivet(folder, "init", self.project)
            for name in MODELS:
                sample = f"--sample={folder / name}.csv"
                _trivet(project, "push", str(folder / f"{name}.joblib"), f"--name={name}", sample)
                _keep_graph(project, folder, name)
        verbs = [f"--model={name}" for name in MODELS]
        made = _trivet(project, "keys", "create", "bench", *verbs, "--verb=predict", "--json")
        self._key = json.loads(made)["key"]

    def command(self, python: str, port: int) -> list[str]:
        return [python, "-m", "trivet", "serve", "--bind", f"127.0.0.1:{port}", "--workers", str(WORKERS)]

    @property
    def cwd(self) -> Path:
        return self.folder / self.project

    def environment(self, model: str) -> dict[str, str]:
        inherited = super().environment(model)
        ours = str(Path(trivet.__file__).parent.parent)  # what is measured is the code that measures
        measured = os.pathsep.join([ours, inherited["PYTHONPATH"]])
        return {**inherited, "PYTHONPATH": measured, "LOG_LEVEL": "INFO", "TRIVET_SPOOL_MB": SPOOL_MB}

    def moments(self, log: str, began: datetime) -> Moments | None:
        told = READY.search(log)
        if told is None:
            return None
        ready = (datetime.strptime(told[1], "%Y-%m-%d %H:%M:%S,%f") - began).total_seconds()  # noqa: DTZ007  (both local)
        imported = ready - float(told[3])
        return Moments(imported - float(told[2]), imported, ready)

    def question(self, known: Known, rows: int) -> Question:
        body: dict[str, Any] = {"inputs": tensors(known, rows), "outputs": [{"name": "probabilities"}]}
        key = ("Authorization", f"Bearer {self._key}")
        return Question(f"/v2/models/{known.name}/infer", json.dumps(body).encode(), (key,))

    def probabilities(self, answer: Any, rows: int) -> list[list[float]]:
        return rows_of(answer["outputs"][0]["data"], rows)


class TrivetDurable(Trivet):
    """The same, with every answer waiting until its record would survive a power cut."""

    name = "Trivet, TRIVET_DURABILITY=power"

    def environment(self, model: str) -> dict[str, str]:
        return {**super().environment(model), "TRIVET_DURABILITY": "power"}


class TrivetCrowded(Trivet):
    """The same, with 1,000 models, twenty of them live, and 10,000 keys."""

    name = "Trivet, 1,000 models and 10,000 keys"
    project = "crowded"

    def prepare(self) -> None:
        is_new = not (self.folder / self.project).exists()
        super().prepare()
        if is_new:
            subprocess.run([sys.executable, "-m", "benchmarks.crowd", str(self.cwd)], check=True)


def _keep_graph(project: Path, folder: Path, name: str) -> None:
    digest = json.loads(_trivet(project, "show", f"{name}@champion", "--json"))["digest"]
    bundle = read_bundle(project / ".trivet/bundles/sha256" / digest[:2] / digest[2:4] / digest, digest)
    (folder / f"{name}.onnx").write_bytes(bundle.files["model.onnx"])
    packs = {pack.name: list(pack.columns) for pack in bundle.manifest.packs}
    (folder / f"{name}.packs.json").write_text(json.dumps(packs))


def _trivet(cwd: Path, *arguments: str) -> str:
    command = [sys.executable, "-m", "trivet", *arguments]
    return subprocess.run(command, cwd=cwd, check=True, capture_output=True, text=True).stdout
