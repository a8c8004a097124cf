"""The overview: every model with what answers for it and how much it is asked, in a constant number of queries."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from django.db.models import Count, OuterRef, Prefetch, Q, QuerySet, Subquery
from django.utils.translation import gettext as _, ngettext

from trivet import conf
from trivet.console.alerts_page import open_alerts
from trivet.console.charts.bars import Bars, bars
from trivet.console.figures import Moment, count, moment
from trivet.console.traffic import requests_a_minute
from trivet.console.words import decides
from trivet.control.predictions.models import Prediction
from trivet.control.registry.models import ModelVersion, RegisteredModel, Route, VersionStatus, Worker

SPARKLINE = {"width": 180, "height": 32}


@dataclass(frozen=True)
class LiveVersion:
    """A version that takes traffic, and its share where it is not all of it."""

    number: int
    share: str


@dataclass(frozen=True)
class ModelRow:
    """One model of the list."""

    name: str
    title: str
    decides: str
    live: tuple[LiveVersion, ...]
    versions: str
    waiting: str
    alerts: int  # that nobody answered
    traffic: Bars
    requests: str
    last_prediction: Moment | None


@dataclass(frozen=True)
class Tile:
    """One figure at the top of the page."""

    label: str
    figure: str
    note: str
    is_urgent: bool = False


@dataclass(frozen=True)
class Overview:
    """The page."""

    tiles: tuple[Tile, ...]
    models: tuple[ModelRow, ...]
    may_see_models: bool = True


def overview(now: datetime, known: Collection[str] | None = None) -> Overview:
    """Return the page as it is at `now`, of the models whose names are `known`; None for all of them."""
    found = _models()
    models = list(found if known is None else found.filter(name__in=known))
    traffic = requests_a_minute([model.name for model in models], now)
    alerts = open_alerts([model.name for model in models])
    rows = tuple(_row(model, traffic.get(model.name, []), alerts.get(model.name, 0), now) for model in models)
    tiles = (*_model_tiles(models, rows), _alert_tile(alerts), _worker_tile()) if models else ()
    return Overview(tiles=tiles, models=rows)


def _models() -> QuerySet[RegisteredModel]:
    newest = Prediction.objects.answers().filter(model=OuterRef("name")).order_by("-made_at").values("made_at")[:1]
    versions = ModelVersion.objects.only("number", "signature", "model_id")
    routes = Route.objects.order_by("-weight").prefetch_related(Prefetch("version", versions))
    return (
        RegisteredModel.objects.annotate(
            version_count=Count("versions"),
            registered_count=Count("versions", filter=Q(versions__status=VersionStatus.REGISTERED)),
            last_prediction=Subquery(newest),
        )
        .prefetch_related(Prefetch("routes", routes))
        .order_by("name")
    )


def _row(model: RegisteredModel, requests: list[int], alerts: int, now: datetime) -> ModelRow:
    routes = list(model.routes.all())
    versions, waiting, last = (
        getattr(model, name) for name in ("version_count", "registered_count", "last_prediction")
    )  # annotations
    traffic = bars(requests, **SPARKLINE)
    return ModelRow(
        name=model.name,
        title=model.heading,
        decides=_decides(routes),
        live=tuple(LiveVersion(r.version.number, "" if len(routes) == 1 else f"{r.weight} %") for r in routes),
        versions=ngettext("%(count)s version", "%(count)s versions", versions) % {"count": count(versions)},
        waiting=_("%(count)s not probed yet") % {"count": count(waiting)} if waiting else "",
        alerts=alerts,
        traffic=traffic,
        requests=count(traffic.total),
        last_prediction=None if last is None else moment(last, now),
    )


def _decides(routes: Sequence[Route]) -> str:
    return decides(routes[0].version.read_signature()) if routes else ""


def _model_tiles(models: Sequence[RegisteredModel], rows: Sequence[ModelRow]) -> tuple[Tile, ...]:
    live = sum(1 for row in rows if row.live)
    busiest = max(rows, key=lambda row: row.traffic.total)
    requests = sum(row.traffic.total for row in rows)
    return (
        Tile(_("Models"), count(len(models)), _("%(count)s live") % {"count": count(live)}),
        Tile(
            _("Requests, last hour"),
            count(requests),
            _("most to %(model)s") % {"model": busiest.name} if requests else _("none yet"),
        ),
    )


def _alert_tile(alerts: Mapping[str, int]) -> Tile:
    found = sum(alerts.values())
    most = max(alerts, key=lambda name: alerts[name]) if alerts else ""
    note = (
        _("of %(model)s") % {"model": most} if len(alerts) == 1 else _("of %(count)s models") % {"count": len(alerts)}
    )
    return Tile(_("Open alerts"), count(found), note if found else _("none"), is_urgent=found > 0)


def _worker_tile() -> Tile:
    generations = list(Worker.objects.live(conf.LEASE_SECONDS()).order_by().values_list("generation", flat=True))
    note = _("no process answers now")
    if generations:
        low, high = min(generations), max(generations)
        note = (
            _("all at generation %(generation)s") % {"generation": count(high)}
            if low == high
            else _("moving from generation %(low)s to %(high)s") % {"low": count(low), "high": count(high)}
        )
    return Tile(_("Processes answering"), count(len(generations)), note)
