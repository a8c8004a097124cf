"""A project in which every text that somebody may leave behind is a script; made inside the project's own process."""

import json
import uuid
from datetime import timedelta
from pathlib import Path


def make_world(folder: str) -> None:
    """Fill the database with the texts in `texts.json`: each by the name of its column, or of its place in a signature."""
    from django.contrib.auth.models import User
    from django.core.management import call_command
    from django.utils import timezone

    from trivet.models import (
        Alert,
        ApiKey,
        Event,
        GoldenCaseRow,
        Label,
        ModelVersion,
        Prediction,
        Proposal,
        RegisteredModel,
        ScoringError,
        ScoringRun,
        Worker,
    )

    texts, columns, password = json.loads((Path(folder) / "texts.json").read_text())

    def of(table: str) -> dict[str, str]:
        return {name: texts[f"{table}.{name}"] for name in columns[table]}

    call_command("migrate", verbosity=0)
    User.objects.create_superuser(texts["username"], password=password, first_name=texts["username"][:100])
    register(texts)
    model, second = RegisteredModel.objects.get(), ModelVersion.objects.filter(number=2)
    RegisteredModel.objects.update(**of("RegisteredModel"))
    version = of("ModelVersion")
    second.update(**{name: version[name] for name in ("status_reason", "note", "author", "source", "sandbox")})
    manifest = {
        "compile": {"why": texts["why"]},
        "source": {"trained_with": {"scikit-learn": texts["library"]}, "globals": [texts["global"]]},
        "files": [],
    }
    version |= {"signature": second.get().signature, "manifest": manifest, "parity": {}}
    ModelVersion.objects.create(model=model, number=3, digest="c" * 64, status="rejected", **version)
    case = {
        "inputs": {texts["input"]: texts["GoldenCaseRow.inputs"]},
        "expect": {"class": texts["GoldenCaseRow.expect"]},
    }
    GoldenCaseRow.objects.create(model=model, number=1, **of("GoldenCaseRow") | case)
    ApiKey.objects.create(id="abcdefgh", hash=b"", **of("ApiKey") | {"grants": {texts["ApiKey.grants"]: ["predict"]}})
    change = {"before": {texts["Event.before"]: 1}, "after": {texts["Event.after"]: 1}}
    Event.objects.create(model="churn", generation=0, **of("Event") | change)
    answered = {
        "inputs": {texts["input"]: texts["Prediction.inputs"]},
        "output": {"label": texts["Prediction.output"]},
        "parameters": {"route_key": texts["Prediction.parameters"]},
        "flags": {texts["input"]: texts["Prediction.flags"]},
    }
    asked = {
        "prediction_id": uuid.UUID(int=7),
        "row": 0,
        "kind": "predict",
        "made_at": timezone.now(),
        "model": "churn",
    }
    served = {"version": 2, "digest": "c" * 64, "generation": 3, "latency_us": 5}
    Prediction.objects.create(**of("Prediction") | asked | served | answered)
    move = {"routes": {"1": 100}, "aliases": {}, "shadows": None, "sticky_by": None, "fallback": None}
    soon = timezone.now() + timedelta(days=1)
    wanted = {"move": move, "generation": RegisteredModel.objects.get().generation, "expires_at": soon}
    Proposal.objects.create(model=model, **of("Proposal") | wanted)
    Worker.objects.create(id="w-1", pid=1, generation=1, **of("Worker"))
    said = {"prediction_id": uuid.UUID(int=7), "row": 0, "model": "churn", "state": "applied", "observed_at": soon}
    Label.objects.create(**of("Label") | said)
    Label.objects.create(**of("Label") | {"model": "churn", "state": "refused", "observed_at": soon})
    found = {"cause": "drift", "severity": "warning", "state": "acknowledged", "evidence": {"mean": 3.0, "budget": 2.0}}
    alert = of("Alert") | {"features": [texts["Alert.features"]]}
    Alert.objects.create(model=model, version=second.get(), acknowledged_at=timezone.now(), **alert | found)
    walked = {"model": "churn", "version": 2, "table": "shop.customer", "field": "risk", "batch_size": 9, "total": 5}
    run = ScoringRun.objects.create(
        **of("ScoringRun") | walked | {"where": {texts["ScoringRun.where"]: "x"}, "state": "interrupted"}
    )
    ScoringError.objects.create(run=run, **of("ScoringError"))


def register(texts: dict[str, str]) -> None:
    """Make two versions live, one after the other; their signature is made of scripts."""
    from trivet.control.registry import actions
    from trivet.core.signature import Input, Output, Signature
    from trivet.model.bundle.bundle import make_bundle
    from trivet.model.bundle.manifest import Manifest

    name, about = texts["input"], {"unit": texts["unit"], "title": texts["title"]}
    signature = Signature(
        inputs=(
            Input(name=name, datatype="BYTES", shape=(-1, 1), categories=(texts["category"], "b"), **about),
            Input(name=f"number {name}", datatype="FP64", shape=(-1, 1), nullable=True, **about),
        ),
        outputs=(
            Output(name="label", datatype="BYTES", shape=(-1,)),
            Output(name="probabilities", datatype="FP32", shape=(-1, 2), classes=(texts["class"], "b")),
            Output(name=texts["output"], datatype="FP32", shape=(-1,), unit=texts["unit"]),
        ),
        task="classification",
    )
    manifest = Manifest(format=1, runtime="onnx", signature=signature, files=(), parity={"max": 1e-7})
    for number in (1, 2):
        bundle = make_bundle(manifest, {"model.onnx": b"%d" % number, "sample.jsonl": b"{}\n"})
        actions.register_version(name="churn", bundle=bundle, actor="cli:ana")
        actions.mark_ready(model="churn", version=number, actor="process:probe", cost_us_per_row=5)
        actor, reason = f"user:{texts['Event.actor']}", texts["Event.reason"]
        actions.promote(model="churn", version=number, actor=actor, reason=reason)
