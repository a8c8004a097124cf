"""The console in a real browser: a real server, a real model, somebody who signs in and asks it.

Pictures of its pages are taken where `TRIVET_SCREENSHOTS` names a folder for them.
"""

import html
import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.acceptance.console_server import Project, serving
from tests.acceptance.servers import wait_for

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
ARGUMENTS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
PASSWORD = "a long pass phrase"
WIDTHS = (390, 1280, 1920)
SHOT_WIDTHS = (390, 1280)
SCHEMES = ("light", "dark")
SECONDS = 20_000  # milliseconds a page may take; playwright's unit

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed: apt-get install chromium"),
]

SET_UP = f"""
from django.core.management import call_command
call_command("migrate", verbosity=0)
from django.contrib.auth.models import User
User.objects.create_superuser("ana", password={PASSWORD!r})
"""
REGISTER = """
import numpy as np, pandas as pd
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder
from trivet.control.registry import actions
from trivet.control.registry.models import RegisteredModel
from trivet.model.compile.compiler import compile_model
from trivet.model.probe import probe

random = np.random.default_rng(7)
table = pd.DataFrame({
    "kilometres": random.uniform(1, 900, 400),
    "weight": np.where(random.random(400) < 0.2, np.nan, random.uniform(0.1, 30, 400)),
    "hour": random.integers(0, 24, 400),
    "carrier": random.choice(["bike", "truck", "it's a <van>"], 400),
})
late = np.where(table["kilometres"] + random.normal(0, 150, 400) > 450, "late", "on time")
for number, strength in enumerate((0.1, 1.0), 1):
    prepare = ColumnTransformer([
        ("numbers", SimpleImputer(), ["kilometres", "weight", "hour"]),
        ("words", OneHotEncoder(handle_unknown="ignore"), ["carrier"]),
    ])
    model = make_pipeline(prepare, LogisticRegression(C=strength, max_iter=500)).fit(table, late)
    compiled = compile_model(model, sample=table)
    actions.register_version(name="parcels", bundle=compiled.bundle, actor="cli:ana", source=f"parcels{number}.joblib")
    cost = probe(compiled.bundle).cost_us_per_row
    actions.mark_ready(model="parcels", version=number, actor="process:probe", cost_us_per_row=cost)
    actions.promote(model="parcels", version=number, actor="user:ana", reason="it is better")
RegisteredModel.objects.update(title="Late parcels", description="Will this parcel arrive after the promised day?")
"""
WATCH = """
from datetime import timedelta
import numpy as np
from django.utils import timezone
from trivet.control.monitoring.alerts import raise_alert
from trivet.control.monitoring.compacting import begin_of
from trivet.control.monitoring.models import Arm, Grain, LabelProfile, Monitor, Profile
from trivet.control.monitoring.packing import pack, pack_labels
from trivet.control.monitoring.references import watched
from trivet.control.registry.models import ModelVersion
from trivet.core.profile.labels import LABEL_TABLE_FORMAT, fold_labels
from trivet.core.profile.layout import Answers
from trivet.core.profile.profile import PROFILE_FORMAT

version = ModelVersion.objects.get(model__name="parcels", number=2)
reference = watched("parcels", version.digest).reference
random = np.random.default_rng(3)
for days in range(12):
    kilometres = random.uniform(1, 900, 600) + (250 if days < 3 else 0)
    carriers = random.choice(["bike", "truck", "it's a <van>", "rocket"], 600, p=[0.5, 0.3, 0.1, 0.1]).tolist()
    chances = 1 / (1 + np.exp((kilometres - 450) / 100))
    columns = {
        "kilometres": kilometres,
        "weight": np.where(random.random(600) < 0.3, np.nan, random.uniform(0.1, 40, 600)),
        "hour": random.integers(0, 24, 600).astype(float),
        "carrier": carriers,
    }
    decisions = ["on time" if chance >= 0.5 else "late" for chance in chances]
    counts = reference.fold(columns, Answers([chances], decisions), latency_us=np.full(600, 900.0))
    Profile.objects.create(version=version, arm=Arm.CHAMPION, grain=Grain.HOUR, rows=counts.rows, payload=pack(counts),
        start=begin_of(timezone.now(), Grain.HOUR) - timedelta(days=days), shard="test", format=PROFILE_FORMAT)
    truths = ["on time" if turned else "late" for turned in random.random(400) < chances[:400]]
    labels = fold_labels(reference, Answers([chances[:400]], decisions[:400]), truths)
    LabelProfile.objects.create(version=version, arm=Arm.CHAMPION, grain=Grain.HOUR, labels=labels.labels, age_class=0,
        payload=pack_labels(labels), start=begin_of(timezone.now(), Grain.HOUR) - timedelta(days=days), shard="test",
        format=LABEL_TABLE_FORMAT)
Monitor.objects.filter(version=version).delete()  # the keeper has begun to watch, where the tests before took long
monitor = Monitor.objects.create(version=version, options={"hours": 24}, windows=12, mean_evidence=400.0,
    until=begin_of(timezone.now(), Grain.DAY))
for name, log_m in (("drift:kilometres", 9.0), ("drift:carrier", 2.0), ("drift:hour", 0.0), ("drift:weight", 0.4)):
    monitor.series.create(name=name, log_m=log_m)
raise_alert(version, "drift", "warning", features=["kilometres", "carrier"], evidence={"mean": 400.0, "budget": 90.0})
"""
ISSUE_KEY = """
from trivet.control.registry import actions
print(actions.issue_key(name="test", grants={"parcels": ["predict"]}, actor="user:ana")[1])
"""


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    project = Project(tmp_path_factory.mktemp("project"))
    project.run(SET_UP)
    return project


@pytest.fixture(scope="module")
def server(project):
    with serving(project) as address:
        yield address


@pytest.fixture(scope="module")
def screenshots():
    folder = os.environ.get("TRIVET_SCREENSHOTS")
    if not folder:
        return None
    place = Path(folder)
    place.mkdir(parents=True, exist_ok=True)
    return place


class Visitor:
    """Somebody at a browser, and everything it complained of."""

    def __init__(self, browser, server, *, width=1280, scheme="light", scripts=True):
        self.server = server
        self.complaints = []
        self.context = browser.new_context(
            viewport={"width": width, "height": 900}, color_scheme=scheme, java_script_enabled=scripts
        )
        if scripts:
            self.context.expose_function("complain", self.complain)
            self.context.add_init_script(
                "document.addEventListener('securitypolicyviolation', e =>"
                " complain(`CSP: ${e.violatedDirective} ${e.blockedURI}`))"
            )
        self.page = self.context.new_page()
        self.page.set_default_timeout(SECONDS)
        self.page.on("console", lambda m: m.type in ("error", "warning") and self.complaints.append(m.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("response", lambda r: r.status >= 400 and self.complaints.append(f"{r.status} {r.url}"))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.context.close()

    def complain(self, text):
        self.complaints.append(text)

    def sign_in(self):
        self.page.goto(self.server + "/")
        self.page.get_by_label("Username").fill("ana")
        self.page.get_by_label("Password").fill(PASSWORD)
        self.page.get_by_role("button", name="Sign in").click()
        self.page.wait_for_url(self.server + "/")

    def fits(self):
        self.page.wait_for_load_state()  # before, there may be no document to measure
        return self.page.evaluate("document.documentElement.scrollWidth <= innerWidth")

    def shoot(self, folder, name):
        if folder is None:
            return
        self.page.evaluate("scrollTo({top: 0, behavior: 'instant'})")
        self.page.screenshot(path=folder / f"{name}.png", full_page=True)


@pytest.fixture(scope="module")
def empty_overview(browser, server, screenshots):
    """Look at the console before there is a model; what it showed."""
    with Visitor(browser, server) as ana:
        ana.page.goto(server + "/")
        ana.shoot(screenshots, "login")
        assert ana.fits()
        ana.sign_in()
        ana.shoot(screenshots, "overview-empty")
        shown = ana.page.locator("main").inner_text()
        assert ana.fits()
        assert ana.complaints == []
    return shown


@pytest.fixture(scope="module")
def model(empty_overview, project):
    """Register and promote a real model while the server runs."""
    project.run(REGISTER)
    return "parcels"


def test_a_new_console_says_what_to_do_first(empty_overview):
    assert "No model answers yet" in empty_overview
    assert "trivet push" in empty_overview


@pytest.mark.parametrize("look", [(width, scheme) for width in WIDTHS for scheme in SCHEMES])
def test_somebody_signs_in_finds_a_model_and_asks_it(browser, server, model, screenshots, look):
    width, scheme = look
    with Visitor(browser, server, width=width, scheme=scheme) as ana:
        page = ana.page
        ana.sign_in()
        assert ana.fits()
        page.get_by_role("link", name="Late parcels").click()
        page.wait_for_url(f"{server}/models/parcels/")
        page.get_by_label("kilometres").fill("850")
        page.get_by_label("weight").fill("")
        page.get_by_role("button", name="Predict").click()
        page.locator(".verdict", has_text="late").wait_for()
        assert page.url == f"{server}/models/parcels/"  # htmx: the page stayed
        assert page.locator(".shares tr").count() == 2
        assert ana.fits()
        if width in SHOT_WIDTHS:
            ana.shoot(screenshots, f"model-{width}-{scheme}")
        wait_for(lambda: page.goto(server + "/") and page.locator("time").count(), every=0.2)  # it is logged
        if width in SHOT_WIDTHS:
            ana.shoot(screenshots, f"overview-{width}-{scheme}")
        assert ana.fits()
        assert ana.complaints == []


@pytest.mark.parametrize("look", [(width, scheme) for width in WIDTHS for scheme in SCHEMES])
def test_somebody_reads_what_the_model_takes_without_scripts(browser, server, model, screenshots, look):
    width, scheme = look
    with Visitor(browser, server, width=width, scheme=scheme, scripts=False) as ana:
        page = ana.page
        ana.sign_in()
        page.goto(f"{server}/models/parcels/")
        page.get_by_role("link", name="All of it: OpenAPI").click()
        page.wait_for_url("**/models/parcels/openapi/")
        assert "kilometres" in page.locator("#predict").inner_text()
        assert ana.fits()
        if screenshots and width in SHOT_WIDTHS:
            page.screenshot(path=screenshots / f"openapi-{width}-{scheme}.png", full_page=True)
        link = page.get_by_role("link", name="openapi.json").get_attribute("href")
        assert ana.context.request.get(server + link).json()["openapi"] == "3.1.0"
        assert ana.complaints == []


def test_values_unlike_training_and_values_that_do_not_fit_are_told(browser, server, model):
    with Visitor(browser, server) as ana:
        page = ana.page
        ana.sign_in()
        page.goto(f"{server}/models/parcels/")
        page.get_by_label("carrier").fill("rocket")
        page.get_by_role("button", name="Predict").click()
        page.get_by_text("a value not seen in training").wait_for()
        page.get_by_label("carrier").fill("\ue000")
        page.get_by_role("button", name="Predict").click()
        page.locator(".field-error", has_text="cannot be sent").wait_for()
        assert "One field needs another value" in page.locator("#answer").inner_text()
        page.get_by_role("link", name="Another recorded row").click()
        page.get_by_text("Filled with recorded row").wait_for()
        assert page.locator(".field-error").count() == 0
        assert ana.complaints == []


def test_everything_works_without_javascript(browser, server, model):
    with Visitor(browser, server, scripts=False) as ana:
        page = ana.page
        ana.sign_in()
        page.goto(f"{server}/models/parcels/")
        page.get_by_label("kilometres").fill("850")
        page.get_by_role("button", name="Predict").click()
        page.wait_for_url("**/try/#try")
        assert page.locator(".verdict").inner_text() == "late"
        page.get_by_role("link", name="Another recorded row").click()
        page.wait_for_url("**/models/parcels/?row=0#try")
        page.get_by_role("button", name="Sign out").click()
        page.wait_for_url("**/login/")
        assert ana.complaints == []


def test_a_promotion_is_asked_about_done_and_told(browser, server, model):
    with Visitor(browser, server) as ana:
        page = ana.page
        ana.sign_in()
        page.goto(f"{server}/models/parcels/")
        page.get_by_role("link", name="Roll back to version 1").click()
        page.get_by_label("Why?").fill("too many false alarms")
        page.get_by_role("button", name="Roll back").click()
        page.get_by_text("parcels 1 is live in 1 of 1 processes").wait_for()
        assert "rolled back to version 1" in page.locator("#events li").first.inner_text()
        page.get_by_role("link", name="Promote version 2").click()
        page.get_by_role("button", name="Promote").click()
        page.get_by_text("parcels 2 is live in 1 of 1 processes").wait_for()
        assert ana.complaints == []


@pytest.fixture(scope="module")
def watched(model, project):
    """Let the model be asked for twelve days, otherwise in the last three than before, and labels come for two thirds."""
    project.run(WATCH)


@pytest.mark.parametrize("look", [(width, scheme) for width in WIDTHS for scheme in SCHEMES])
def test_somebody_reads_what_has_changed_and_how_right_it_is(browser, server, watched, screenshots, look):
    width, scheme = look
    with Visitor(browser, server, width=width, scheme=scheme) as ana:
        page = ana.page
        ana.sign_in()
        for place in ("drift/?version=2", "performance/?version=2", "labels/", "", "alerts"):
            page.goto(f"{server}/alerts/" if place == "alerts" else f"{server}/models/parcels/{place}")
            page.evaluate("document.querySelectorAll('.figures').forEach(part => { part.open = true; })")
            assert ana.fits(), place
            if width in SHOT_WIDTHS and place:
                ana.shoot(screenshots, f"{place.partition('/')[0]}-{width}-{scheme}")
        page.goto(f"{server}/models/parcels/drift/?version=2")
        assert page.locator(".chart-card").count() == 4
        assert "“it's a <van>” went from" in page.locator(".chart-card").first.inner_text()
        page.goto(f"{server}/models/parcels/performance/?version=2")
        page.get_by_label("Threshold").fill("0.25")
        page.locator("#confusion").get_by_role("button", name="Show").click()
        page.get_by_role("heading", name="What would have been decided at 0.25").wait_for()
        assert "threshold" not in page.url, "htmx: the page stayed"
        assert ana.fits()
        assert ana.complaints == []


def test_an_alert_is_acknowledged_with_a_reason(browser, server, watched):
    with Visitor(browser, server) as ana:
        page = ana.page
        ana.sign_in()
        page.get_by_role("link", name="Alerts").click()
        page.get_by_label("Why?").fill("a new region")
        page.get_by_role("button", name="Acknowledge").click()
        page.get_by_text("You look after the alert of parcels.").wait_for()
        page.goto(f"{server}/models/parcels/")
        assert "a new region" in page.locator("#events li").first.inner_text()
        assert ana.complaints == []


@pytest.mark.parametrize("look", [(width, scheme) for width in WIDTHS for scheme in SCHEMES])
def test_somebody_finds_a_prediction_and_says_what_turned_out(browser, server, model, screenshots, look):
    width, scheme = look
    with Visitor(browser, server, width=width, scheme=scheme) as ana:
        page = ana.page
        ana.sign_in()
        page.goto(f"{server}/models/parcels/")
        page.get_by_label("kilometres").fill("850")
        page.get_by_role("button", name="Predict").click()
        asked = page.locator("#answer .id").inner_text()
        wait_for(lambda: ana.context.request.get(f"{server}/predictions/{asked}/").ok, every=0.2)  # it is logged
        page.goto(f"{server}/models/parcels/")
        page.get_by_role("link", name="Search them all").click()
        page.get_by_label("Version", exact=True).fill("2")
        page.get_by_role("button", name="Search").click()
        page.wait_for_url(lambda url: "version=2" in url)
        assert ana.fits()
        if width in SHOT_WIDTHS:
            ana.shoot(screenshots, f"predictions-{width}-{scheme}")
        page.locator("#found tbody a").first.click()
        page.get_by_label("It turned out …").select_option("late")
        page.get_by_role("button", name="Keep it").click()
        page.get_by_text("It turned out “late”.").wait_for()
        assert ana.fits()
        if width in SHOT_WIDTHS:
            ana.shoot(screenshots, f"prediction-{width}-{scheme}")
        labels = f"prediction_id,label\n{asked},on time\n=1+1,late\n".encode()
        page.goto(f"{server}/models/parcels/labels/")
        page.get_by_label("CSV in UTF-8").set_input_files({"name": "a.csv", "mimeType": "text/csv", "buffer": labels})
        page.get_by_role("button", name="Apply").click()
        page.get_by_role("heading", name="What became of the file").wait_for()
        assert ana.fits()
        if width in SHOT_WIDTHS:
            ana.shoot(screenshots, f"upload-{width}-{scheme}")
        with page.expect_download() as download:
            page.get_by_role("button", name="Download the refused lines").click()
        assert "'=1+1,late" in Path(download.value.path()).read_text()
        assert ana.complaints == []


def test_the_longest_names_fit_on_a_phone(browser, server, project, model):
    name = "m" * 63
    project.run(
        "from trivet.control.registry.models import RegisteredModel\n"
        f"RegisteredModel.objects.create(name={name!r}, title='T' * 200, owner='O' * 200, description='D' * 500)"
    )
    with Visitor(browser, server, width=390) as ana:
        ana.sign_in()
        assert ana.fits()
        ana.page.goto(f"{server}/models/{name}/")
        assert ana.fits()
    project.run(
        f"from trivet.control.registry.models import RegisteredModel as M\nM.objects.get(name={name!r}).delete()"
    )


def test_the_keyboard_reaches_the_content_first(browser, server, model):
    with Visitor(browser, server) as ana:
        ana.sign_in()
        ana.page.keyboard.press("Tab")
        assert ana.page.evaluate("document.activeElement.textContent") == "Skip to the content"
        outline = ana.page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        assert outline == "solid"


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_the_commands_on_the_page_work_as_printed(browser, server, project, model):
    key = project.run(ISSUE_KEY).strip()
    with Visitor(browser, server) as ana:
        ana.sign_in()
        ana.page.goto(f"{server}/models/parcels/")
        commands = _texts(ana, "#snippet-rows", "#snippet-infer")
        ana.page.goto(f"{server}/models/parcels/openapi/")
        commands |= _texts(ana, "#call-predict", "#call-infer")
    answers = {place: _run(command, key) for place, command in commands.items()}
    (row,) = answers["#snippet-rows"]["rows"]
    (same_row,) = answers["#call-predict"]["rows"]
    assert (same_row["decision"], same_row["value"]) == (row["decision"], row["value"])
    for place in ("#snippet-infer", "#call-infer"):
        label = next(output for output in answers[place]["outputs"] if output["name"] == "label")
        assert label["data"] == [row["decision"]]


def _texts(visitor, *places):
    return {place: html.unescape(visitor.page.locator(place).text_content()) for place in places}


def _run(command, key):
    environment = {**os.environ, "TRIVET_API_KEY": key}
    done = subprocess.run(["/bin/sh", "-c", command], env=environment, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)
