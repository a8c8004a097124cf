"""A busy site's database: models with versions, keys and labels, a long log, and what a keeper would have counted of it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import numpy as np
from django.db import connection, transaction

from tests.django.busy.traffic import KINDS, Kind, Rows, days_of, lived, sampled, tensors
from tests.django.busy.writing import as_json, moments, uuids, write
from tests.django.watched import watched_version
from trivet.control.monitoring.compacting import KEPT, LABELS_KEPT, LENGTH
from trivet.control.monitoring.dimensions import begin_counting
from trivet.control.monitoring.label_folding import AGES
from trivet.control.monitoring.models import (
    Alert,
    AlertState,
    Arm,
    Cause,
    Grain,
    HeldAgainst,
    JudgedWindow,
    LabelProfile,
    LossEvidence,
    Monitor,
    MonitorSeries,
    Profile,
    Severity,
)
from trivet.control.monitoring.packing import pack, pack_labels
from trivet.control.monitoring.references import Watched, watched
from trivet.control.monitoring.series import Baseline
from trivet.control.predictions.models import Label, LabelState, Prediction
from trivet.control.registry import actions
from trivet.control.registry.declarations import Declaration, declare
from trivet.control.registry.models import Event, ModelVersion, Proposal, RegistryState
from trivet.core.profile.labels import LABEL_TABLE_FORMAT, LabelTable, fold_labels
from trivet.core.profile.layout import Answers
from trivet.core.profile.profile import PROFILE_FORMAT, Profile as Counts
from trivet.core.profile.segments import SegmentLayout

SHARD = "keeper-1"
ENTITIES, KEYS, EVENTS, ALERTS, LOST = 50_000, 8, 5_000, 200, 20_000
ROWS_AT_ONCE = 100_000  # of the log, in memory
SAMPLE, LEAST_SAMPLE = 20_000, 2_000  # rows that a version is pushed with
MICROSECONDS = 1_000_000
BUDGET = 2160.0
FLAGGED = '{"n0": "above"}'


@dataclass(frozen=True)
class Site:
    """What was made."""

    count: int
    now: datetime
    since: datetime
    kinds: tuple[Kind, ...]
    open_alert: int
    proposal: int
    last: Prediction


def make_site(count: int, now: datetime) -> Site:
    """Fill the database with `count` logged predictions of three models, and all that hangs on them."""
    days = days_of(count)
    with transaction.atomic():
        keys = [
            actions.issue_key(name=f"shop {number}", grants={"*": ["predict", "label"]}, actor="cli:ana")[0].pk
            for number in range(KEYS)
        ]
        left = count
        for place, kind in enumerate(KINDS, 1):
            rows = left if place == len(KINDS) else round(count * kind.share)
            left -= rows
            _make_model(kind, lived(kind, rows, now, days, place), keys, now, place)
        alert, proposal = _make_past(now, days, min(count // 20, EVENTS))
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute("ANALYZE")  # as its own process does after so many rows
    last = Prediction.objects.of_model(KINDS[0].model).order_by("-made_at")[0]
    return Site(count, now, now - timedelta(days=days), KINDS, alert, proposal, last)


def _make_model(kind: Kind, rows: Rows, keys: list[str], now: datetime, seed: int) -> None:
    """Register two versions, of which the second took over after a third of the time, and write what they answered."""
    declare(kind.model, Declaration(segments=kind.segments))
    sample = min(max(len(rows) // 20, LEAST_SAMPLE), SAMPLE)
    first, second = _version(kind, sample, seed), _version(kind, sample, seed + 100)
    actions.promote(model=kind.model, version=first.number, actor="cli:ana")
    actions.promote(model=kind.model, version=second.number, actor="user:ana", reason="it is newer")
    begin, end = int(rows.made[0]), int(now.timestamp() * MICROSECONDS)
    moved = int(np.searchsorted(rows.made, begin + (end - begin) // 3))
    for version, some in ((first, rows[:moved]), (second, rows[moved:])):
        for start in range(0, len(some), ROWS_AT_ONCE):
            _write_log(kind, version, some[start : start + ROWS_AT_ONCE], keys, until=end, seed=seed + start)
        _write_counts(kind, version, some, now)
    _write_lost(kind, min(len(rows) // 5, LOST), now, seed)


def _version(kind: Kind, rows: int, seed: int) -> ModelVersion:
    given = sampled(kind, rows, seed)
    return watched_version(
        kind.model, signature=kind.signature, rows=tensors(kind, given), labels=given.truths.tolist()
    )


def _write_log(kind: Kind, version: ModelVersion, rows: Rows, keys: list[str], *, until: int, seed: int) -> None:
    """Write predictions, and the labels that came of them before `until`."""
    rng = np.random.default_rng(seed)
    ids, made = uuids(rows.made, rng), moments(rows.made)
    entities = [f"shop.customer:{number}" for number in rng.integers(0, ENTITIES, len(rows)).tolist()]
    callers = [f"key:{keys[number]}" for number in rng.integers(0, KEYS, len(rows)).tolist()]
    columns = {
        "prediction_id": ids,
        "row": "0",
        "kind": "predict",
        "made_at": made,
        "model": kind.model,
        "version": str(version.number),
        "digest": version.digest,
        "generation": str(version.model.generation),
        "route": "only",
        "caller": callers,
        "door": "rest",
        "entity_key": entities,
        "request_id": ids,
        "caller_id": "",
        "inputs": list(as_json(_inputs_template(kind), rows.inputs.values())),
        "inputs_sha256": "",
        "output": list(_outputs(kind, rows)),
        "score": list(map(repr, (rows.chances[:, -1] if len(kind.classes) < 3 else rows.chances.max(1)).tolist())),
        "decision": rows.decisions.tolist(),
        "latency_us": list(map(str, latencies(rows).tolist())),
        "flags": [FLAGGED if one < 0.01 else "{}" for one in rng.random(len(rows)).tolist()],
        "cached": "0",
        "salt": "",
        "private_sha256": "",
        "inputs_digest": "",
        "sha256": "",
    }
    write(Prediction, len(rows), columns)
    observed = rows.made + (rows.delays * MICROSECONDS).astype(np.int64)
    said = np.flatnonzero(came(rows, until))
    told = moments(observed[said])
    labels = {
        "prediction_id": [ids[place] for place in said],
        "row": "0",
        "model": kind.model,
        "entity_key": "",
        "value": [json.dumps(truth) for truth in rows.truths[said]],
        "weight": "1",
        "source": "crm",
        "observed_at": told,
        "received_at": told,
        "revision": "1",
        "caller": [callers[place] for place in said],
        "state": str(LabelState.APPLIED),
        "reason": "",
    }
    write(Label, len(said), labels)


def came(rows: Rows, until: int) -> np.ndarray:
    """Return of which rows it was said what turned out true before `until`."""
    observed = rows.made + (rows.delays * MICROSECONDS).astype(np.int64)
    return np.array(np.not_equal(rows.truths, None), bool) & (observed < until)


def latencies(rows: Rows) -> np.ndarray:
    """Return how long each answer took, in microseconds."""
    return 200 + rows.made % 997


def _inputs_template(kind: Kind) -> str:
    numbers, words = ([f'"{name}": %s' for name in kind.numbers], [f'"{name}": "%s"' for name in kind.words])
    return "{" + ", ".join(numbers + words) + "}"


def _outputs(kind: Kind, rows: Rows) -> Iterator[str]:
    if not kind.classes:
        return as_json('{"variable": %s}', [rows.chances[:, 0]])
    shares = ", ".join(f'"{name}": %s' for name in kind.classes)
    return as_json(f'{{"label": "%s", "probabilities": {{{shares}}}}}', [rows.decisions, *rows.chances.T])


def _write_lost(kind: Kind, labels: int, now: datetime, seed: int) -> None:
    """Write labels that were refused, and a few that wait."""
    rng = np.random.default_rng(seed)
    received = int(now.timestamp() * MICROSECONDS) - rng.integers(0, 20 * 86400 * MICROSECONDS, labels)
    told = moments(received)
    reasons = ["no such prediction", "it means nothing", "said by somebody else", "overtaken"]
    waits = rng.random(labels) < 0.1
    columns = {
        "model": kind.model,
        "entity_key": [f"shop.customer:{number}" for number in range(labels)],
        "value": "true",
        "weight": "1",
        "source": "crm",
        "observed_at": told,
        "received_at": told,
        "revision": "1",
        "caller": "key:lost",
        "state": [str(LabelState.WAITING if wait else LabelState.REFUSED) for wait in waits],
        "reason": [reasons[place % len(reasons)] for place in range(labels)],
    }
    write(Label, labels, columns)


# What a keeper counts


def _write_counts(kind: Kind, version: ModelVersion, rows: Rows, now: datetime) -> None:
    """Write the profiles of some rows and of their labels: by the minute, hour or day that a keeper keeps at `now`."""
    found = watched(kind.model, version.digest)
    assert found is not None
    days, hours, minutes = _eras(rows, now)
    profiles = [
        *_profiles(found, kind, days, Grain.DAY),
        *_profiles(found, kind, hours, Grain.HOUR),
        *_profiles(found, kind, minutes, Grain.MINUTE, _without_moments),
        *_profiles(found, kind, minutes, Grain.HOUR, _moments_alone),
    ]
    until = int(now.timestamp() * MICROSECONDS)
    said = rows[came(rows, until)]
    young = int(np.searchsorted(said.made, _begin(now - LABELS_KEPT[Grain.HOUR], Grain.DAY)))
    labels = [
        *_label_profiles(found, kind, said[:young], Grain.DAY),
        *_label_profiles(found, kind, said[young:], Grain.HOUR),
    ]
    for dimension in begin_counting(found):
        layout = SegmentLayout(found.reference, dimension)
        for start, some in pieces(rows, Grain.DAY):
            counts = layout.fold(some.inputs[dimension.name].tolist(), answers_of(kind, some))
            profiles.append(_profile(found, dimension.name, Grain.DAY, start, counts))

        def segmented(some: Rows, layout: SegmentLayout = layout, dimension: Any = dimension) -> LabelTable:
            values = some.inputs[dimension.name].tolist()
            places = dimension.places(values, len(some)).tolist()
            return layout.fold_labels(places, answers_of(kind, some), some.truths.tolist())

        labels += _by_age(found, dimension.name, said, Grain.DAY, segmented)
    Profile.objects.bulk_create(profiles, batch_size=500)
    LabelProfile.objects.bulk_create(labels, batch_size=500)


def _eras(rows: Rows, now: datetime) -> tuple[Rows, Rows, Rows]:
    """Return what is counted by the day, by the hour and by the minute at `now`."""
    ends = [_begin(now - KEPT[Grain.HOUR], Grain.DAY), _begin(now - KEPT[Grain.MINUTE], Grain.HOUR)]
    first, second = np.searchsorted(rows.made, ends).tolist()
    return rows[:first], rows[first:second], rows[second:]


def _begin(moment: datetime, grain: Grain) -> int:
    length = int(LENGTH[grain].total_seconds() * MICROSECONDS)
    return int(moment.timestamp() * MICROSECONDS) // length * length


def pieces(rows: Rows, grain: Grain) -> Iterator[tuple[datetime, Rows]]:
    """Yield the rows of each minute, hour or day that had any."""
    length = int(LENGTH[grain].total_seconds() * MICROSECONDS)
    starts = rows.made // length
    ends = [0, *(np.flatnonzero(np.diff(starts)) + 1).tolist(), len(rows)]
    for first, end in pairwise(ends):
        if first < end:
            yield datetime.fromtimestamp(int(starts[first]) * length / MICROSECONDS, UTC), rows[first:end]


def answers_of(kind: Kind, rows: Rows) -> Answers:
    """Return what was answered, as it is counted."""
    chances = rows.chances.astype(np.float64)
    scores = [chances[:, -1]] if len(kind.classes) == 2 or not kind.classes else list(chances.T)
    return Answers(scores, rows.decisions.tolist())


def counts_of(found: Watched, kind: Kind, rows: Rows) -> Counts:
    """Return the profile of some rows."""
    columns = {name: values.tolist() if name in kind.words else values for name, values in rows.inputs.items()}
    return found.reference.fold(columns, answers_of(kind, rows), latency_us=latencies(rows).astype(float))


def _profiles(
    found: Watched, kind: Kind, rows: Rows, grain: Grain, part: Callable[[Counts], Counts] = lambda counts: counts
) -> Iterator[Profile]:
    for start, some in pieces(rows, grain):
        yield _profile(found, "", grain, start, part(counts_of(found, kind, some)))


def _without_moments(counts: Counts) -> Counts:
    return counts.parted()[0]


def _moments_alone(counts: Counts) -> Counts:
    return counts.parted()[1]


def _profile(found: Watched, segment: str, grain: Grain, start: datetime, counts: Counts) -> Profile:
    return Profile(
        version=found.version,
        arm=Arm.CHAMPION,
        segment=segment,
        grain=grain,
        start=start,
        shard=SHARD,
        rows=counts.rows,
        payload=pack(counts),
        format=PROFILE_FORMAT,
    )


def _label_profiles(found: Watched, kind: Kind, rows: Rows, grain: Grain) -> Iterator[LabelProfile]:
    def table(some: Rows) -> LabelTable:
        return fold_labels(found.reference, answers_of(kind, some), some.truths.tolist())

    yield from _by_age(found, "", rows, grain, table)


def _by_age(
    found: Watched, segment: str, rows: Rows, grain: Grain, table: Callable[[Rows], LabelTable]
) -> Iterator[LabelProfile]:
    """Yield the profiles of labels of each time, by how late they came."""
    ages = [age.total_seconds() for age in AGES]
    for start, some in pieces(rows, grain):
        classes = np.searchsorted(ages, some.delays, side="left")
        for age_class in np.unique(classes).tolist():
            told = table(some[classes == age_class])
            yield LabelProfile(
                version=found.version,
                arm=Arm.CHAMPION,
                segment=segment,
                grain=grain,
                start=start,
                shard=SHARD,
                age_class=age_class,
                labels=told.labels,
                payload=pack_labels(told),
                format=LABEL_TABLE_FORMAT,
            )


# What was judged, told and done


def _make_past(now: datetime, days: int, events: int) -> tuple[int, int]:
    """Write the evidence of so many days, alerts and Events; return an open alert and a proposal that waits."""
    opened = 0
    for kind in KINDS:
        version = ModelVersion.objects.resolve(kind.model, 2)
        found = watched(kind.model, version.digest)
        assert found is not None
        hour = now.replace(minute=0, second=0, microsecond=0)
        monitor = Monitor.objects.create(
            version=version, options={"hours": 1}, windows=2000, until=hour, mean_evidence=3.1
        )
        names = [one.name for one in Baseline(found.reference).found(found.reference.whole)]
        MonitorSeries.objects.bulk_create(MonitorSeries(monitor=monitor, name=name, log_m=0.4) for name in names)
        JudgedWindow.objects.bulk_create(
            JudgedWindow(
                monitor=monitor,
                grain=Grain.HOUR,
                start=hour - timedelta(hours=back),
                mean_evidence=1 + back % 7,
                budget=BUDGET,
            )
            for back in range(1, 24 * min(days, 90))
        )
        LossEvidence.objects.create(
            version=version, loss=HeldAgainst.ESTIMATE, tolerance=0.01, log_e=-3.0, count=900, labels=900
        )
        alerts = [_alert(version, now - timedelta(hours=8 * back), back) for back in range(ALERTS)]
        Alert.objects.bulk_create(alerts)
        opened = opened or Alert.objects.get(version=version, state=AlertState.OPEN).pk
    generation = RegistryState.objects.generation()
    Event.objects.bulk_create(
        Event(
            at=now - timedelta(minutes=5 * (events - place)),
            actor=f"user:{'ana' if place % 3 else 'ben'}",
            action=("export_predictions", "promote", "set_routes", "acknowledge_alert")[place % 4],
            model=KINDS[place % len(KINDS)].model,
            version=2,
            generation=generation + place + 1,
            reason="as every day",
        )
        for place in range(events)
    )
    RegistryState.objects.update(generation=generation + events)
    model = ModelVersion.objects.resolve(KINDS[0].model, 2).model
    proposal = Proposal.objects.create(
        model=model,
        action="promote",
        move={"routes": {"1": 100}, "aliases": {"champion": 1}, "fallback": None, "sticky_by": None, "shadows": {}},
        generation=model.generation,
        proposer="user:ana",
        expires_at=now + timedelta(days=3),
    )
    return opened, proposal.pk


def _alert(version: ModelVersion, at: datetime, back: int) -> Alert:
    is_open = back == 0
    return Alert(
        model=version.model,
        version=version,
        cause=Cause.DRIFT,
        severity=Severity.WARNING,
        state=AlertState.OPEN if is_open else AlertState.RESOLVED,
        opened_at=at,
        news_at=at,
        told_at=at,
        resolved_at=None if is_open else at + timedelta(hours=3),
        features=["n0"],
        evidence={"mean": 2200.0, "budget": BUDGET, "until": at.isoformat(), "rows": 900, "series": []},
    )
