"""A tiny data plane without Django and without ONNX: one model, whose answers can be worked out by hand."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from tests.unit.dataplane.mounts import Mount, exchange
from tests.unit.dataplane.refusals import check_refusal
from trivet.core.keys import derive_pepper, hash_secret, mint_key
from trivet.core.rates import Limits as Rates
from trivet.core.records import PredictionRecord, decode_record
from trivet.core.signature import Input, Output, Signature
from trivet.core.snapshot import ANY_MODEL, KeyEntry, ModelEntry, Route, Snapshot, VersionEntry, with_implied
from trivet.dataplane.cache.prediction_cache import PredictionCache
from trivet.dataplane.engines.base import Engine, LoadedVersion
from trivet.dataplane.frontends.rest import Response
from trivet.dataplane.plane import Limits, Plane
from trivet.dataplane.reconcile import Reconciler
from trivet.dataplane.spool import Spool, segments
from trivet.model.bundle.bundle import Bundle, make_bundle
from trivet.model.bundle.manifest import Manifest

PEPPER = derive_pepper("a pepper for tests")
HALF_LIFE = 50.0  # the model: P(stays) = age / (age + 50), 0 where the age is missing

SIGNATURE = Signature(
    inputs=(
        Input(name="age", datatype="FP64", shape=(-1, 1), nullable=True, low=0, high=100, unit="years"),
        Input(name="city", datatype="BYTES", shape=(-1, 1), categories=("Lyon", "Oslo")),
        Input(name="seats", datatype="INT64", shape=(-1, 1), low=1, high=500),
    ),
    outputs=(
        Output(name="label", datatype="BYTES", shape=(-1,), classes=("churned", "stays")),
        Output(name="probabilities", datatype="FP64", shape=(-1, 2), classes=("churned", "stays")),
    ),
    task="classification",
)
GOOD_ROW = {"age": 50.0, "city": "Lyon", "seats": 3}


class ByHand(LoadedVersion):
    """The model of this world; `broken` makes it raise."""

    takes_questions = True

    def __init__(self, *, shift: float = 0.0) -> None:
        self.shift = shift
        self.broken = False
        self.runs = 0
        self.is_unloaded = False

    def run(
        self, inputs: Mapping[str, np.ndarray], outputs: Sequence[str], deadline: float = math.inf
    ) -> list[np.ndarray]:
        self.runs += 1
        if self.broken:
            from trivet.core.errors import Unavailable

            raise Unavailable("the model failed on this request.", code="MODEL_FAILED")
        age = np.nan_to_num(inputs["age"][:, 0]) + self.shift
        stays = age / (age + HALF_LIFE)
        answers = {
            "label": np.where(stays >= 0.5, "stays", "churned").astype(object),
            "probabilities": np.stack([1 - stays, stays], axis=1),
        }
        return [answers[name] for name in outputs]

    def unload(self) -> None:
        self.is_unloaded = True


class ByHandEngine(Engine):
    """Loads each bundle as a `ByHand`, told apart by what its source says."""

    def __init__(self) -> None:
        self.loaded: list[ByHand] = []

    def accepts(self, bundle: Bundle) -> bool:
        return bundle.manifest.runtime == "onnx"

    def load(self, bundle: Bundle) -> ByHand:
        version = ByHand(shift=float(bundle.manifest.source.get("shift", 0)))
        self.loaded.append(version)
        return version


def bundle(shift: float = 0.0, signature: Signature = SIGNATURE) -> Bundle:
    """Return a bundle that is only told apart by `shift`."""
    manifest = Manifest(format=1, runtime="onnx", signature=signature, files=(), source={"shift": shift})
    return make_bundle(manifest, {"model.onnx": b"by hand"})


class World:
    """A plane with the model `churn`, versions 1 and 2, all traffic on 1, and a key that may predict."""

    mount: ClassVar[Mount] = staticmethod(exchange)  # how a request gets to the plane
    made: ClassVar[list[World]] = []  # since the test began

    def __init__(
        self,
        folder: Path,
        *,
        signature: Signature = SIGNATURE,
        engine: ByHandEngine | None = None,
        cache: PredictionCache | None = None,
        **plane_options: object,
    ) -> None:
        self.bundles = {b.digest: b for b in (bundle(signature=signature), bundle(10.0, signature))}
        self.first, self.second = self.bundles
        self.signature = signature
        self.spool_root = folder / "spool"
        self.engine = engine or ByHandEngine()
        self.key_id, self.key = mint_key()
        self.plane = Plane(
            Reconciler([self.engine], lambda digest: self.bundles[digest], 1024, cache),
            Spool(self.spool_root, "world", segment_bytes=4 * 1024 * 1024),
            (PEPPER,),
            **{"limits": Limits(max_body_bytes=100_000), **plane_options},
        )
        self.generation = 0
        self.sees_all = False
        self.limits: Rates = {}
        self.keyless_limits: Rates = {}
        self.route({1: 100})
        self.made.append(self)

    def snapshot(self, routes: dict[int, int], *, verbs: set[str] | None = None, **entry: object) -> Snapshot:
        """Return the next snapshot, with `routes` as shares of the traffic."""
        self.generation += 1
        versions = {
            number: VersionEntry(number, digest, "onnx", self.signature)
            for number, digest in ((1, self.first), (2, self.second))
        }
        champion = max(routes, key=lambda number: routes[number])
        model = ModelEntry(
            "churn", versions, tuple(Route(*route) for route in routes.items()), {"champion": champion}, **entry
        )
        grants = {"churn": with_implied(verbs if verbs is not None else {"predict"})}
        if self.sees_all:
            grants[ANY_MODEL] = frozenset({"view"})
        key = KeyEntry(self.key_id, hash_secret(PEPPER, self.key), grants, limits=self.limits)
        return Snapshot(self.generation, {"churn": model}, {self.key_id: key}, keyless_limits=self.keyless_limits)

    def route(self, routes: dict[int, int], **options: object) -> None:
        """Follow a snapshot with these routes."""
        self.plane.follow(self.snapshot(routes, **options))

    def ask(
        self,
        method: str = "POST",
        path: str = "/v2/models/churn/infer",
        body: bytes | dict | None = None,
        *,
        key: str | None = "",
        headers: dict[str, str] | None = None,
    ) -> tuple[int, Any, dict[str, str]]:
        """Send one request as a front end would; return status, JSON, headers."""
        response = self.send(method, path, body, key=key, headers=headers)
        return (
            response.status,
            _read(response),
            {name.decode(): value.decode() for name, value in response.headers},
        )

    def send(
        self,
        method: str = "POST",
        path: str = "/v2/models/churn/infer",
        body: bytes | dict | None = None,
        *,
        key: str | None = "",
        headers: dict[str, str] | None = None,
    ) -> Response:
        """Send one request as a front end would; return the response as its bytes."""
        data = body if isinstance(body, bytes) else json.dumps(body if body is not None else infer_body()).encode()
        sent = {b"host": b"localhost", b"content-length": str(len(data)).encode()}
        if key is not None:
            sent[b"authorization"] = f"Bearer {key or self.key}".encode()
        sent |= {name.lower().encode(): value.encode() for name, value in (headers or {}).items()}
        response = self.mount(self.plane, method, path, sent, data)
        check_refusal(response)
        return response

    def table(self, text: str | bytes, query: str = "") -> tuple[int, Any, dict[str, str]]:
        """Send a table to `/predict`; return status, the answer's text or JSON, headers."""
        body = text if isinstance(text, bytes) else text.encode()
        return self.ask(path=f"/v2/models/churn/predict{query}", body=body, headers={"content-type": "text/csv"})

    def records(self) -> list[PredictionRecord]:
        """Return what has been recorded so far."""
        return [decode_record(p) for segment in segments(self.spool_root) for p, _ in segment.payloads(0)]


def _read(response: Response) -> Any:
    if dict(response.headers)[b"content-type"].startswith(b"text/"):
        return response.body.decode()
    return json.loads(response.body) if response.body else {}


def infer_body(**changes: object) -> dict:
    """Return the OIP body of the good row; `changes` replace a tensor's data, or remove a tensor with None."""
    values = {name: [value] for name, value in GOOD_ROW.items()} | changes
    datatypes = {spec.name: spec.datatype for spec in SIGNATURE.inputs}
    return {
        "inputs": [
            {"name": name, "shape": [len(data), 1], "datatype": datatypes.get(name, "FP64"), "data": data}
            for name, data in values.items()
            if data is not None
        ]
    }
