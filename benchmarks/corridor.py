"""Microseconds per station of the corridor, for one row of `late` as OIP JSON, without HTTP: the best of many rounds."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from trivet.core.examples import fields_of, infer_body
from trivet.core.keys import derive_pepper, hash_secret, mint_key
from trivet.core.records import encode_record
from trivet.core.snapshot import KeyEntry, ModelEntry, Route, Snapshot, VersionEntry
from trivet.dataplane import infer as corridor
from trivet.dataplane.engines.inline import InlineEngine
from trivet.dataplane.frontends.rest import Exchange
from trivet.dataplane.plane import Plane
from trivet.dataplane.protocol.decode import decode_infer
from trivet.dataplane.protocol.encode import encode_infer
from trivet.dataplane.reconcile import Reconciler
from trivet.dataplane.spool import Spool
from trivet.dataplane.validation.tensors import validate
from trivet.model.bundle.bundle import Bundle

ROUNDS = 12
CALLS = 2000


def stations(bundle: Bundle, body: bytes) -> dict[str, float]:
    """Return station -> microseconds for `body` against `bundle`, each the fastest mean of several rounds."""
    with tempfile.TemporaryDirectory() as folder:
        key_id, key = mint_key()
        pepper = derive_pepper("benchmark")
        plane = Plane(
            Reconciler([InlineEngine()], lambda _digest: bundle, 1024), Spool(Path(folder), "bench"), (pepper,)
        )
        version = VersionEntry(1, bundle.digest, "onnx", bundle.signature)
        entry = ModelEntry("late", {1: version}, (Route(1, 100),), {"champion": 1})
        grants = {"late": frozenset({"predict", "view"})}
        plane.follow(Snapshot(1, {"late": entry}, {key_id: KeyEntry(key_id, hash_secret(pepper, key), grants)}))
        headers = {
            b"host": b"127.0.0.1:8000",
            b"authorization": f"Bearer {key}".encode(),
            b"content-type": b"application/json",
            b"content-length": str(len(body)).encode(),
        }
        path = "/v2/models/late/infer"

        entrance = corridor.enter(plane, key, "late", "predict")
        usual = entrance.model.usual
        request = decode_infer(body, "late", usual)
        live = entrance.model.live[1]
        valid = validate(live.plan, request.inputs, "late")
        answer = corridor.infer(plane, entrance, request, door="rest")
        record = corridor.record_of(plane, entrance, request, answer, valid, door="rest", request_id="", latency_us=1)
        payload = encode_record(record)

        def whole() -> None:
            exchange = Exchange(plane, "POST", path, dict(headers))
            exchange.begin()
            exchange.receive(body)
            exchange.run()

        return {
            "authenticate, authorise, admit": best(lambda: corridor.enter(plane, key, "late", "predict")),
            "decode": best(lambda: decode_infer(body, "late", usual)),
            "validate": best(lambda: validate(live.plan, request.inputs, "late")),
            "run (ONNX Runtime)": best(lambda: live.loaded.run(valid.feed, live.output_names)),
            "record: encode": best(lambda: encode_record(record)),
            "record: append": best(lambda: plane.spool.append(payload)),
            "encode the answer": best(lambda: encode_infer(answer)),
            "the whole exchange": best(whole),
        }


def best(call: Callable[[], object]) -> float:
    """Return the microseconds of one call: the smallest mean over rounds, which the machine's other work disturbs least."""
    fastest = float("inf")
    for _ in range(ROUNDS):
        started = time.perf_counter()
        for _ in range(CALLS // ROUNDS):
            call()
        fastest = min(fastest, (time.perf_counter() - started) / (CALLS // ROUNDS))
    return fastest * 1e6


def first_body(bundle: Bundle) -> bytes:
    """Return the OIP body of the bundle's first recorded row."""
    line = bundle.files["sample.jsonl"].partition(b"\n")[0]
    fields = fields_of(bundle.signature, json.loads(line)["inputs"])
    return json.dumps(infer_body(bundle.signature, fields)).encode()
