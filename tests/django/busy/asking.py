"""What is asked of a busy site: every page of the console, with the addresses that people use, and the admin's long lists."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from urllib.parse import urlencode

from django.urls import reverse

from tests.django.busy.site import Site
from trivet.console import urls
from trivet.console.assets import asset

Addresses = Callable[[Site], Iterator[str]]


def console_addresses(site: Site) -> dict[str, list[str]]:
    """Return the addresses that each page of the console is asked by, by the page's name in the URL conf."""
    return {pattern.name: list(ASKED[pattern.name](site)) for pattern in urls.urlpatterns}


def admin_addresses(site: Site) -> list[str]:
    """Return the addresses of the admin's lists of what grows."""
    model, last = site.kinds[0].model, site.last
    in_january = site.now.replace(month=1, day=1).isoformat()
    asked = {
        "prediction": (
            {"p": 99},
            {"model": model},
            {"door": "rest"},
            {"route": "split"},
            {"cached__exact": 1},
            {"model": model, "route": "split"},
            {"made_at__gte": in_january},
            {"q": last.prediction_id},
            {"q": last.public_id},
            {"q": last.entity_key},
            {"q": last.entity_key, "model": model},
            {"q": "nowhere"},
            {"o": -2},
        ),
        "label": (
            {"p": 99},
            {"model": model},
            {"state__exact": "refused"},
            {"received_at__gte": in_january},
            {"q": last.prediction_id},
            {"q": "crm"},
            {"q": "nowhere"},
        ),
        "event": ({"p": 1}, {"action": "promote"}, {"model": model}, {"q": "ana"}),
    }
    lists = {table: f"/admin/trivet/{table}/" for table in asked}
    return [*lists.values(), *(f"{lists[table]}?{urlencode(q)}" for table, some in asked.items() for q in some)]


def _once(name: str, **arguments: object) -> Addresses:
    return lambda _site: iter([_page(name, arguments)])


def _page(name: str, arguments: dict[str, object] | None = None, **query: object) -> str:
    address = reverse(f"trivet:{name}", kwargs=arguments or {})
    return f"{address}?{urlencode(query)}" if query else address


def _of_models(name: str, **query: tuple[object, ...]) -> Addresses:
    """Return the page of each model, of its champion and of the version before, and of the first with each query."""

    def addresses(site: Site) -> Iterator[str]:
        for kind in site.kinds:
            yield _page(name, {"name": kind.model})
            yield _page(name, {"name": kind.model}, version=1)
        for kind in site.kinds:
            for key, values in query.items():
                yield from (_page(name, {"name": kind.model}, **{key: value}) for value in values)

    return addresses


def _drift(site: Site) -> Iterator[str]:
    yield from _of_models("drift")(site)
    for kind in site.kinds:
        for window in (1, 7, 30):
            for against in ("training", "previous", "same-hour"):
                yield _page("drift", {"name": kind.model}, window=window, against=against)
    yield _page("drift", {"name": site.kinds[0].model}, window=30, charts="all")


def _alert(name: str) -> Addresses:
    return lambda site: iter([_page(name, {"number": site.open_alert})])


def _predictions(site: Site) -> Iterator[str]:
    model, last, now = site.kinds[0].model, site.last, site.now
    yield _page("predictions")
    for kind in site.kinds:
        yield _page("predictions", model=kind.model)
    month = (now - timedelta(days=30)).strftime("%Y-%m-%dT%H:%M")
    begin = (site.since + timedelta(days=1)).strftime("%Y-%m-%dT%H:%M")
    for query in (
        {"version": 1},
        {"version": 2},
        {"decision": last.decision},
        {"decision": "never"},
        {"entity": last.entity_key},
        {"entity": "shop.customer:none"},
        {"caller": last.caller},
        {"caller": "key:nobody00"},
        {"request": last.request_id},
        {"request": "none"},
        {"prediction": last.public_id},
        {"prediction": "none"},
        {"since": month},
        {"until": month},
        {"since": month, "until": month},
        {"until": begin},
        {"flags": "yes"},
        {"flags": "no"},
        {"label": "yes"},
        {"label": "no"},
        {"label": "no", "until": month},
        {"flags": "yes", "decision": last.decision, "caller": last.caller},
        {"entity": last.entity_key, "version": 1, "label": "yes"},
        {"after": f"{int(site.since.timestamp() * 1e6) + 3600 * 10**6}-{10**6}"},  # near the end
    ):
        yield _page("predictions", None, model=model, **query)


def _prediction(site: Site) -> Iterator[str]:
    yield _page("prediction", {"identity": site.last.public_id})
    yield _page("prediction", {"identity": str(site.last.prediction_id)})
    yield _page("prediction", {"identity": "00000000-0000-7000-8000-000000000000:0"})


def _asset(_site: Site) -> Iterator[str]:
    found = asset("console.css")
    assert found is not None
    yield _page("asset", {"fingerprint": found.fingerprint, "name": "console.css"})


ASKED: dict[str, Addresses] = {
    "overview": _once("overview"),
    "login": _once("login"),
    "logout": _once("logout"),
    "alerts": _once("alerts"),
    "alert": _alert("alert"),
    "accept": _alert("accept"),
    "jobs": _once("jobs"),
    "job": lambda _site: iter([_page("job", {"number": 1})]),
    "predictions": _predictions,
    "prediction": _prediction,
    "model": _of_models("model"),
    "try": _of_models("try"),
    "drift": _drift,
    "performance": _of_models("performance", period=(7, 30, 90), threshold=(0.3,)),
    "labels": _of_models("labels"),
    "refused_labels": _of_models("refused_labels"),
    "openapi": _of_models("openapi"),
    "openapi_json": _of_models("openapi_json"),
    "promote": lambda site: iter([_page("promote", {"name": site.kinds[0].model, "number": 1})]),
    "roll_back": lambda site: iter([_page("roll_back", {"name": site.kinds[0].model})]),
    "proposal": lambda site: iter([_page("proposal", {"name": site.kinds[0].model, "number": site.proposal})]),
    "asset": _asset,
}
"""What each page of the console is asked by. A page that is not here has no test of its speed: the test says so."""
