"""The verb `demo`: the whole story on real data, from training to an answer over HTTP."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
from django.utils import timezone

from trivet import conf
from trivet.cli.verb import DONE, OUT_OF_REACH, WRONG, Out
from trivet.cli.verbs.initialise import ADMIN, migrate_and_admit
from trivet.cli.verbs.processes import listen, serving_children
from trivet.client import Client
from trivet.control.monitoring.trust import Side
from trivet.control.registry import actions
from trivet.control.registry.models import ApiKey, ModelVersion
from trivet.control.registry.pushing import push_file
from trivet.control.registry.storage import fetch_bundle
from trivet.core.errors import Refused, TrivetError, Unavailable
from trivet.core.examples import curl, fields_of, infer_body
from trivet.demo.replay import Distrusted, Month, Replay, read_flights
from trivet.model.bundle.sample import SAMPLE_NAME
from trivet.serving.process import this_process
from trivet.serving.supervisor import Supervisor

MODEL = "late"
FILE = "demo.json"
VERSIONS = ("logistic regression", "boosted trees")
DATA = ("late1.joblib", "late2.joblib", "sample.csv", "replay.csv")
SAMPLES_SHOWN = 5
WIDTHS = (10, 9, 9, 8, 8, 7, 10, 14, 13)  # of the replay's table


def demo(options: argparse.Namespace, out: Out) -> int:
    """Tell the whole story, or replay the second half-year."""
    folder: Path = options.dir.absolute()
    if options.replay:
        return _replay(folder, options, out)
    if conf.REQUIRE_SIGNATURE():
        raise Refused("the demonstration signs nothing: start it where TRIVET_REQUIRE_SIGNATURE is not set.")
    started = time.monotonic()
    _train(folder, out)
    known = _read(folder)
    password = migrate_and_admit() or known.get("admin_password", "")
    out.say(f"project   {options.dir}   SQLite, console login {ADMIN} / {password}")
    _push(folder, out)
    demo = _describe(options.bind, known, password)
    _write_private(folder / FILE, demo)
    out.say(f"written   {options.dir / FILE}   {time.monotonic() - started:.0f} s so far")
    return _serve(options, demo, out)


def _train(folder: Path, out: Out) -> None:
    """Train in a process of its own; a second run finds the files."""
    if all((folder / name).exists() for name in DATA):
        out.say("flights   trained models and data are there already")
        return
    out.say("flights   reading 2013, training `late` on January to June: linear, then boosted trees")
    started = time.monotonic()
    done = subprocess.run([sys.executable, "-W", "ignore", "-m", "trivet.demo", str(folder)], check=False)  # noqa: S603
    if done.returncode:
        raise Unavailable(
            'the flights could not be trained on; `pip install "trivet[demo]"` brings the data and the libraries.',
            code="DEMO",
        )
    out.say(f"          done in {time.monotonic() - started:.0f} s")


def _push(folder: Path, out: Out) -> None:
    """Push what is not there yet; the second version takes over from the first."""
    if ModelVersion.objects.of_model(MODEL).ready().count() >= len(VERSIONS):
        out.say(f"pushed    {MODEL} has its versions already")
        return
    for number, message in enumerate(VERSIONS, 1):
        pushed = push_file(
            folder / f"late{number}.joblib",
            name=MODEL,
            actor="process:demo",
            sample=folder / "sample.csv",
            label_column="late",
            message=message,
            promote=True,
            is_vouched_for=True,  # trained a moment ago, here
        )
        out.say(
            f"pushed    {MODEL} {pushed.version.number}   {message} · digest {pushed.version.digest[:12]}"
            f" · {pushed.compiled.parity.line()} · {pushed.probe.cost_us_per_row:.0f} µs a row · {pushed.alias}"
        )


def _describe(bind: str, known: dict[str, Any], password: str) -> dict[str, Any]:
    """Return what `demo.json` says, with a key that is still valid or a new one."""

    key = known.get("api_key", "")
    if not key or not ApiKey.objects.usable().filter(pk=key.split("_")[1]).exists():
        _, key = actions.issue_key(name="demo", grants={MODEL: ["predict", "view"]}, actor="process:demo")
    version = ModelVersion.objects.resolve(MODEL, "champion")
    signature = version.read_signature()
    lines = fetch_bundle(version.digest).files[SAMPLE_NAME].splitlines()[:SAMPLES_SHOWN]
    rows = [fields_of(signature, msgspec.json.decode(line)["inputs"]) for line in lines]
    return {
        "url": f"http://{bind}",
        "api_key": key,
        "model": MODEL,
        "admin_user": ADMIN,
        "admin_password": password,
        "sample": infer_body(signature, rows[0]),
        "rows": rows,
        "replay": "replay.csv",
    }


def _serve(options: argparse.Namespace, demo: dict[str, Any], out: Out) -> int:

    listening = listen(options.bind, out)
    if listening is None:
        return OUT_OF_REACH
    checked: list[int] = []

    def ready() -> None:
        if options.check:
            threading.Thread(target=lambda: checked.append(_check(demo, supervisor, out))).start()
        else:
            _invite(demo, out)

    supervisor = Supervisor(serving_children(listening, conf.WORKERS()), on_ready=ready, on_end=listening.close)
    code = supervisor.run()
    return checked[0] if checked else WRONG if options.check else code


def _check(demo: dict[str, Any], supervisor: Supervisor, out: Out) -> int:
    """Predict once over HTTP with the new key, print the answer, end everything."""
    try:
        with Client(demo["url"], demo["api_key"]) as client:
            answer = client.predict(MODEL, demo["rows"][:1])[0]
    except TrivetError as error:
        out.problem(f"trivet demo: no answer over HTTP: {error}")
        return OUT_OF_REACH
    finally:
        supervisor.end()
    out.say(f"asked     POST {demo['url']}/v2/models/{MODEL}/predict")
    out.document(answer, "answer    " + msgspec.json.encode(answer).decode())
    return DONE


def _invite(demo: dict[str, Any], out: Out) -> None:
    url, key = demo["url"], demo["api_key"]
    out.say(f"\nconsole   {url}/   {demo['admin_user']} / {demo['admin_password']}")
    out.say(f"API key   {key}")
    out.say("try       " + curl(f"{url}/v2/models/{MODEL}/predict", {"rows": demo["rows"][:1]}, key))
    out.say("\nCtrl-C ends it; `trivet demo --replay`, in another terminal, lives July to December again.")


def _replay(folder: Path, options: argparse.Namespace, out: Out) -> int:
    """Live July to December again, day by day, and tell of each month."""
    demo = _read(folder)
    if not demo:
        out.problem(f"trivet demo: no {FILE} in {options.dir}; start `trivet demo` first.")
        return WRONG
    started, now = time.monotonic(), timezone.now()
    datatypes = {tensor["name"]: tensor["datatype"] for tensor in demo["sample"]["inputs"]}
    flights, by = read_flights(folder / demo["replay"], datatypes, now, options.rows)
    replay = Replay(MODEL, flights, by, now)
    replay.check()
    out.say(
        f"flights   {len(flights):,} of July to December 2013, moved by {by.days:,} days: the year ended just now\n"
        "          asked by the hour of departure, labelled after landing, watched and judged day by day\n"
    )
    out.say(_line("month", "rows", "labels", "late", "said", "AUC", "expected", "a day's", "distrusted"))
    months = []
    try:
        for month in replay.run():
            months.append(month)
            _tell_month(month, by, out)
    finally:
        this_process().stop()
    seconds = time.monotonic() - started
    _tell_distrusted(replay.distrusted, by, out)
    out.say(
        f"sent      {sum(month.rows for month in months):,} flights in {seconds:.0f} s\n"
        f"look at   {demo['url']}/models/{MODEL}/drift/ and …/performance/   {demo['admin_user']} / {demo['admin_password']}\n"
        f"and try   in {options.dir}: trivet drift {MODEL}; trivet alerts"
    )
    out.document(
        {
            "rows": len(flights),
            "seconds": round(seconds, 1),
            "moved_days": by.days,
            "months": months,
            "distrusted": [
                {"from": span.first - by, "to": span.last - by, "errors": span.side} for span in replay.distrusted
            ],
        }
    )
    return DONE


def _tell_month(month: Month, by: timedelta, out: Out) -> None:
    band = month.band
    out.say(
        _line(
            month.name,
            f"{month.rows:,}",
            f"{month.labels:,}",
            _percent(month.late),
            _percent(month.predicted),
            _three(month.realised),
            _three(month.estimated),
            f"{band[0]:.3f}-{band[1]:.3f}" if band is not None else "-",
            f"{month.distrusted} {'day' if month.distrusted == 1 else 'days'}",
        )
    )
    for alert in month.alerts:
        about = f": {', '.join(alert.features)}" if alert.features else ""
        out.say(f"          {_day(alert.on - by)}: alert ({alert.severity}), {alert.cause}{about}")
    if month.drifted:
        out.say(f"          drifted: {', '.join(f'{name} ({days} d)' for name, days in month.drifted.items())}")
    if month.unseen:
        out.say(f"          unseen destinations: {', '.join(f'{k} ({n})' for k, n in sorted(month.unseen.items()))}")


def _tell_distrusted(spans: Sequence[Distrusted], by: timedelta, out: Out) -> None:
    """Say when the estimate was not trusted, because more or fewer answers were wrong than it said."""
    out.say("\nestimate  not trusted" if spans else "\nestimate  trusted throughout")
    for side in Side:
        days = ", ".join(_days(span.first - by, span.last - by) for span in spans if span.side == side)
        if days:
            out.say(f"          {side} wrong than estimated: {days}")


def _days(first: datetime, last: datetime) -> str:
    return _day(first) if first == last else f"{_day(first)} to {_day(last)}"


def _line(*cells: str) -> str:
    return "".join(str(cell).ljust(width) for cell, width in zip(cells, WIDTHS, strict=True)).rstrip()


def _day(moment: datetime) -> str:
    return f"{moment.day} {moment:%B}"


def _three(figure: float | None) -> str:
    return "-" if figure is None else f"{figure:.3f}"


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.2%}"


def _read(folder: Path) -> dict[str, Any]:
    try:
        return dict(msgspec.json.decode((folder / FILE).read_bytes()))
    except OSError:
        return {}


def _write_private(path: Path, value: dict[str, Any]) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        os.fchmod(file.fileno(), 0o600)
        file.write(msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n")
