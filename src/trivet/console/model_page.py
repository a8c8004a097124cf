"""A model's page: what it decides, its versions, what it takes and gives, what it answered, how to call and try it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from django.core.exceptions import ImproperlyConfigured
from django.db.models import F
from django.db.models.fields.json import KT
from django.utils.translation import gettext as _

from trivet import conf
from trivet.console import form, snippets
from trivet.console.alerts_page import AlertCard, cards_of
from trivet.console.charts.bars import Bars, bars
from trivet.console.figures import Moment, count, duration, moment
from trivet.console.prediction_rows import Actor, PredictionRow, actor_of, prediction_row, unit_of
from trivet.console.proposal_page import ProposalLine, waiting
from trivet.console.samples import recorded_rows
from trivet.console.signature_view import SignatureView, signature_view
from trivet.console.subject import Subject
from trivet.console.traffic import MINUTES, requests_a_minute
from trivet.console.try_it import TryIt
from trivet.console.words import (
    TASKS,
    decides,
    event,
    opened,
    parity,
    runs_with,
    threshold,
    trained_with,
)
from trivet.control.predictions.models import Prediction
from trivet.control.registry.golden import case_of
from trivet.control.registry.models import CHAMPION, Event, GoldenCaseRow, ModelVersion, RegisteredModel
from trivet.control.registry.signing import signatures_of
from trivet.core.errors import TrivetError
from trivet.core.examples import made_up_row
from trivet.core.signature import Signature
from trivet.model.bundle.libraries import has_requirements, libraries_of

VERSIONS_SHOWN = 50
PREDICTIONS_SHOWN = 20
EVENTS_SHOWN = 10
TRAFFIC_CHART = {"width": 600, "height": 96}


@dataclass(frozen=True)
class Viewer:
    """What the person looking at the page may do."""

    may_promote: bool
    sees_predictions: bool


@dataclass(frozen=True)
class VersionRow:
    """One version of the table."""

    number: int
    status: str
    status_words: str
    status_reason: str
    author: Actor
    created: Moment
    source: str
    note: str
    is_native: bool
    why_native: str
    parity: str
    cost: str
    weight: int
    share: str
    aliases: tuple[str, ...]
    digest: str
    is_shown: bool
    may_be_promoted: bool


@dataclass(frozen=True)
class EventRow:
    """One thing that somebody did."""

    at: Moment
    actor: Actor
    words: str
    reason: str
    generation: int


@dataclass(frozen=True)
class GoldenRow:
    """One golden case."""

    number: int
    words: str
    note: str
    author: Actor


@dataclass(frozen=True)
class ModelPage:
    """The page. What hangs on a version is absent while there is none."""

    name: str
    title: str
    description: str
    owner: str
    decides: str
    threshold: str
    task: str
    live: tuple[VersionRow, ...]
    shown_version: int | None
    query: str
    shown_is_live: bool
    roll_back_to: int | None
    versions: tuple[VersionRow, ...]
    versions_left_out: int
    traffic: Bars
    requests: str
    signature: SignatureView | None
    origin: tuple[str, ...]
    golden_cases: tuple[GoldenRow, ...]
    snippets: tuple[snippets.Snippet, ...]
    try_it: TryIt | None
    predictions: tuple[PredictionRow, ...]
    events: tuple[EventRow, ...]
    proposals: tuple[ProposalLine, ...]
    alerts: tuple[AlertCard, ...]
    viewer: Viewer


def model_page(shown: Subject, try_it: TryIt | None, *, now: datetime, base_url: str, viewer: Viewer) -> ModelPage:
    """Return the page of `shown` as it is at `now`, in a constant number of queries."""
    model, signature = shown.model, shown.signature
    versions = _versions(shown, now, viewer)
    live = tuple(sorted((row for row in versions if row.weight), key=lambda row: -row.weight))
    traffic = requests_a_minute([model.name], now).get(model.name, [0] * MINUTES)
    registered = versions[0].number if versions else 0  # numbers have no gaps
    return ModelPage(
        name=model.name,
        title=model.heading,
        description=model.description,
        owner=model.owner,
        decides=decides(signature) if signature else "",
        threshold=threshold(signature) if signature else "",
        task=str(TASKS.get(signature.task, signature.task)) if signature else "",
        live=live,
        shown_version=shown.version.number if shown.version else None,
        query=shown.query,
        shown_is_live=any(row.is_shown for row in live),
        roll_back_to=model.previous_champion if viewer.may_promote else None,
        versions=versions,
        versions_left_out=registered - len(versions),
        traffic=bars(traffic, **TRAFFIC_CHART),
        requests=count(sum(traffic)),
        signature=signature_view(signature) if signature else None,
        origin=_origin(shown.version),
        golden_cases=_golden_cases(model),
        snippets=_snippets(shown, base_url),
        try_it=try_it,
        predictions=_predictions(model.name, signature, now) if viewer.sees_predictions else (),
        events=_events(model.name, now),
        proposals=waiting(model.name, now),
        alerts=cards_of(model.name, now),
        viewer=viewer,
    )


def _versions(shown: Subject, now: datetime, viewer: Viewer) -> tuple[VersionRow, ...]:
    """Return the newest versions, and any older one that takes traffic."""
    found = (
        ModelVersion.objects.filter(model=shown.model)
        .defer("manifest", "signature")
        .annotate(why_native=KT("manifest__compile__why"))
        .prefetch_related("aliases", "routes", "shadows")
        .order_by(F("routes__weight").desc(nulls_last=True), "-number")[:VERSIONS_SHOWN]
    )
    newest_first = sorted(found, key=lambda version: -version.number)
    return tuple(_version(version, shown, now, viewer) for version in newest_first)


def _version(version: ModelVersion, shown: Subject, now: datetime, viewer: Viewer) -> VersionRow:
    aliases = tuple(sorted(alias.name for alias in version.aliases.all()))
    weight = sum(route.weight for route in version.routes.all())
    is_sole_champion = CHAMPION in aliases and weight == 100
    return VersionRow(
        number=version.number,
        status=version.status,
        status_words=str(version.get_status_display()),
        status_reason=version.status_reason,
        author=actor_of(version.author),
        created=moment(version.created_at, now),
        source=version.source,
        note=version.note,
        is_native=version.is_native,
        why_native=getattr(version, "why_native", None) or "",
        parity=parity(
            version.parity, has_decisions=shown.signature is not None and shown.signature.task != "regression"
        ),
        cost=duration(version.cost_us_per_row) if version.cost_us_per_row is not None else "",
        weight=weight,
        share=f"{weight} %" if weight else _shadow_share(version),
        aliases=aliases,
        digest=version.digest,
        is_shown=shown.version is not None and shown.version.pk == version.pk,
        may_be_promoted=viewer.may_promote and version.is_ready and not is_sole_champion,
    )


def _shadow_share(version: ModelVersion) -> str:
    shares = [shadow.weight for shadow in version.shadows.all()]
    return _("shadow %(weight)s %%") % {"weight": shares[0]} if shares else ""


def _origin(version: ModelVersion | None) -> tuple[str, ...]:
    """Return what the version was trained with and whether that matters, how its file was opened, and who signed it."""
    if version is None:
        return ()
    found = ModelVersion.objects.filter(pk=version.pk).values_list("manifest__source", "manifest__files").first()
    source, files = found or ({}, ())
    source = source or {}
    libraries = libraries_of(source)
    ran = runs_with(libraries) if has_requirements(files) else trained_with(libraries, is_compiled=version.is_compiled)
    sentences = (ran, opened(version.sandbox, source.get("globals", ())), _signed_by(version))
    return tuple(sentence for sentence in sentences if sentence)


def _signed_by(version: ModelVersion) -> str:
    """Return whose signature the version has; nothing where no key is trusted here."""
    if not conf.TRUSTED_KEYS():
        return ""
    try:
        good = [str(found) for found in signatures_of(version) if found.is_good]
    except (TrivetError, ImproperlyConfigured):
        return _("Who signed it cannot be told now.")
    return _("Signed by %(keys)s.") % {"keys": ", ".join(good)} if good else _("Signed by no trusted key.")


def _golden_cases(model: RegisteredModel) -> tuple[GoldenRow, ...]:
    rows = GoldenCaseRow.objects.in_force().filter(model=model)
    return tuple(GoldenRow(row.number, case_of(row).in_words(), row.note, actor_of(row.author)) for row in rows)


def _snippets(shown: Subject, base_url: str) -> tuple[snippets.Snippet, ...]:
    if shown.version is None or shown.signature is None or not form.can_be_filled_in(shown.signature):
        return ()
    row = next(iter(recorded_rows(shown.version.digest)), None) or made_up_row(shown.signature)
    return snippets.snippets(shown.model.name, shown.signature, row, base_url)


def _predictions(model: str, signature: Signature | None, now: datetime) -> tuple[PredictionRow, ...]:
    """Return the newest answers, without their inputs."""
    newest = (
        Prediction.objects.of_model(model).answers().defer("inputs").order_by("-made_at", "-pk")[:PREDICTIONS_SHOWN]
    )
    return tuple(prediction_row(prediction, unit_of(signature), now) for prediction in newest)


def _events(model: str, now: datetime) -> tuple[EventRow, ...]:
    return tuple(
        EventRow(
            at=moment(found.at, now),
            actor=actor_of(found.actor),
            words=event(found.action, found.version, found.after),
            reason=found.reason,
            generation=found.generation,
        )
        for found in Event.objects.filter(model=model)[:EVENTS_SHOWN]
    )
