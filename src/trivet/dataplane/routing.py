"""Route: which version answers this request, and why."""

from __future__ import annotations

import math
import random
import re
from collections.abc import Iterable, Sequence
from hashlib import blake2b
from typing import Any

import numpy as np

from trivet.core.errors import NotFound, TrivetError
from trivet.core.names import VERSION_NUMBER
from trivet.dataplane.protocol.messages import (
    InferRequest,
    InstancesRequest,
    RawTensor,
    RowsRequest,
    TextRowsRequest,
)
from trivet.dataplane.protocol.raw import values_told
from trivet.dataplane.table import LiveModel, LiveVersion
from trivet.dataplane.validation.notations import read_text

FALLS_BACK = frozenset({"MODEL_FAILED", "VERSION_NOT_LOADED", "QUEUE_FULL", "DEADLINE"})  # the version's doing
PATIENCE = 0.75  # of the time to the deadline, the routed version's where others may answer for it

DRAW_BITS = 64  # of a version's draw for a key: two draws agree once in 2 ** 64
CLOSE = 1e-9  # of two logarithms, whose rounding is below 1e-13

_LOG_OF_ONE = DRAW_BITS * math.log(2)  # a draw of 2 ** 64 stands for 1
_VERSION = re.compile(VERSION_NUMBER)


def choose(
    model: LiveModel, selector: str | None, request: InferRequest | RowsRequest | None = None
) -> tuple[LiveVersion, str]:
    """Return the version for `selector` (None: the routes decide; a number; an alias), and the reason for the record.

    Where several versions have traffic, the caller's key in `request` decides between them, else chance. Raises
    `NotFound` for a version or alias outside the snapshot, `Unavailable` for one that is not loaded.
    """
    if selector is not None:
        return _selected(model, selector)
    routed = model.routed
    if len(routed) == 1:
        return routed[0][1], "only"
    if not routed:
        raise model.not_loaded()
    if key := route_key(model, request):
        return _drawn(model, key), "sticky"
    point = random.random() * routed[-1][0]
    for share, version in routed:
        if point < share:
            return version, "split"
    return routed[-1][1], "split"


def run_until(model: LiveModel, selector: str | None, started: float, deadline: float) -> float:
    """Return when the routed version has to be done: before the deadline, where others may answer for it."""
    return started + PATIENCE * (deadline - started) if model.fallback and selector is None else deadline


def standing_in(model: LiveModel, selector: str | None, failed: int, error: TrivetError) -> Sequence[LiveVersion]:
    """Return who may answer for version `failed`, in the order of the chain.

    Nobody may for a fault that is not the version's, nor where the caller named a version or an alias: they get that one
    or its error.
    """
    if selector is not None or error.code not in FALLS_BACK:
        return ()
    return [version for version in model.fallback if version.entry.number != failed]


def at_once(
    chain: Sequence[LiveVersion], request: InferRequest | RowsRequest, limit_us: float
) -> Sequence[LiveVersion]:
    """Return who of `chain` answers `request` in at most `limit_us`, and waits for nobody."""
    rows = rows_of(request)
    return [v for v in chain if v.loaded.runs_inline and v.loaded.cost_us_per_row * rows <= limit_us]


def rows_of(request: InferRequest | RowsRequest) -> int:
    """Return how many rows `request` says it has, before anything of it was judged."""
    if isinstance(request, RowsRequest):
        return len(request.rows)
    shape = request.inputs[0].shape if request.inputs else None
    return shape[0] if shape else 1


def heaviest(model: LiveModel) -> int:
    """Return the version that most of the traffic is meant for; 0 where none has any."""
    return max(model.entry.routes, key=lambda route: route.weight).version if model.entry.routes else 0


def rendezvous(model: str, key: str, weights: Iterable[tuple[int, int]]) -> int:
    """Return the version that `key` goes to, of `weights`: (version, weight) pairs, weights being whole and positive.

    Weighted rendezvous hashing (Thaler and Ravishankar 1998; the weights as in Efraimidis and Spirakis 2006). Each
    version v draws u_v in (0, 1], a hash of the model's name, of v and of the key; the largest u_v ** (1 / w_v) wins.
    As P(u ** (1 / w) <= x) = x ** w, version v wins with the chance ∫ w_v x ** (w_v - 1) x ** (W - w_v) dx = w_v / W,
    W being the sum of the weights.

    Nothing else enters: no secret, no process, no earlier answer. A draw depends on its own version alone, so a key moves
    from a to b only where w_b / w_a has grown: a raised weight takes callers from others and gives none away, a ramp
    between two versions never sends anybody back. Logarithms decide; where they are too close to be sure on every
    machine, whole numbers do: u_a ** w_b against u_b ** w_a.
    """
    encoded, name = key.encode("utf-8", "surrogatepass"), model.encode()
    best, best_draw, best_weight, best_score = 0, 0, 0, -math.inf
    for version, weight in weights:
        hashed = blake2b(encoded, digest_size=DRAW_BITS // 8, key=name, person=b"%d" % version)
        draw = int.from_bytes(hashed.digest()) + 1
        score = (math.log(draw) - _LOG_OF_ONE) / weight
        if abs(score - best_score) < CLOSE:
            is_best = draw**best_weight << DRAW_BITS * weight > best_draw**weight << DRAW_BITS * best_weight
        else:
            is_best = score > best_score
        if is_best:
            best, best_draw, best_weight, best_score = version, draw, weight, score
    return best


def route_key(model: LiveModel, request: InferRequest | RowsRequest | None) -> str:
    """Return what the caller is known by: the parameter `route_key`, else the value of the field `sticky_by`, else "".

    A batch has a key where all its rows agree on one: it is answered by one version.
    """
    if request is None:
        return ""
    if request.parameters and (key := request.parameters.get("route_key")):
        return str(key)
    if not model.entry.sticky_by:
        return ""
    values = _values_of(model.entry.sticky_by, model, request)
    key = _as_key(values[0]) if values else ""
    return key if len(values) <= 1 or all(_as_key(value) == key for value in values) else ""


def _drawn(model: LiveModel, key: str) -> LiveVersion:
    versions: dict[int, LiveVersion] = {}
    weights: list[tuple[int, int]] = []
    below = 0
    for share, version in model.routed:
        versions[version.entry.number] = version
        weights.append((version.entry.number, share - below))
        below = share
    return versions[rendezvous(model.name, key, weights)]


def _datatype_of(field: str, model: LiveModel) -> str:
    inputs = (spec for _, version in model.routed for spec in version.plan.signature.inputs)
    return next((spec.datatype for spec in inputs if field in spec.field_names), "BYTES")


def _values_of(field: str, model: LiveModel, request: InferRequest | RowsRequest) -> list[Any]:
    """Return the field's values as they came, one per row; none where it is not there. They are judged later."""
    if isinstance(request, InstancesRequest):
        return []
    if isinstance(request, TextRowsRequest):
        datatype = _datatype_of(field, model)
        return [read_text(datatype, row.get(field)) for row in request.rows]
    if isinstance(request, RowsRequest):
        return [row.get(field) for row in request.rows]
    for tensor in request.inputs:
        if tensor.name == field:
            if isinstance(tensor, RawTensor):
                return values_told(tensor)
            return [value[0] if type(value) is list and len(value) == 1 else value for value in tensor.data or ()]
    return []


def _as_key(value: Any) -> str:
    """Return a value as text, the same for `7` and `7.0`; a fraction counts as FP32, as which it may have been sent."""
    if isinstance(value, str):
        return value
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() else repr(float(np.float32(value)))
    return str(value) if isinstance(value, int) else ""


def _selected(model: LiveModel, selector: str) -> tuple[LiveVersion, str]:
    number = model.entry.aliases.get(selector)
    reason = "alias"
    if number is None:
        number = int(selector) if _VERSION.fullmatch(selector) else 0
        reason = "pinned"
    if number not in model.entry.versions:
        raise NotFound(f"{model.name} has no version or alias {selector[:40]!r}.", code="UNKNOWN_VERSION")
    live = model.live.get(number)
    if live is None:
        raise model.not_loaded(number)
    return live, reason
