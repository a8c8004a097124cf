"""The console's pages as people with and without permissions see them."""

import re
from datetime import timedelta
from html.parser import HTMLParser

import msgspec
import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from tests.django.worlds import bundle, ready, record, registered
from trivet.console import views
from trivet.console.assets import asset
from trivet.console.headers import CONTENT_SECURITY_POLICY
from trivet.console.move_page import Move, moved
from trivet.control.predictions.shipping import ship
from trivet.control.registry import actions
from trivet.control.registry.models import Event, ModelVersion, RegisteredModel, Route
from trivet.core.signature import Input, Output, Signature
from trivet.model.bundle.bundle import make_bundle
from trivet.model.bundle.native import Asked, Column, Native
from trivet.serving.acknowledgement import Acknowledgement

pytestmark = [pytest.mark.django_db, pytest.mark.urls("trivet.server.urls")]
SEE = "view_registeredmodel"
PAGES = (
    "/",
    "/alerts/",
    "/jobs/",
    "/models/churn/",
    "/models/churn/drift/",
    "/models/churn/performance/",
    "/models/churn/labels/",
    "/predictions/?model=churn",
    "/models/churn/try/",
    "/models/churn/promote/1/",
)


def live(model="churn", versions=1):
    """Make `model` live and let it answer once, a minute ago."""
    version = ready(versions, model=model)[-1]
    actions.promote(model=model, version=version.number, actor="user:ana")
    a_minute_ago = timezone.now() - timedelta(minutes=1)
    ship([record(version, made_at=int(a_minute_ago.timestamp() * 1e9))])


def text(response):
    """Return what a person reads, spaces made single."""
    return " ".join(re.sub(r"<[^>]*>", " ", response.content.decode()).split())


def queries(client, address):
    with CaptureQueriesContext(
        connection,
    ) as captured:
        assert client.get(address).status_code == 200
    return len(captured)


# Who may see what


@pytest.mark.parametrize("address", ["/", "/models/churn/", "/models/churn/try/", "/models/churn/roll-back/"])
def test_strangers_are_sent_to_the_login(client, address):
    response = client.get(address)
    assert response.status_code == 302
    assert response["Location"] == f"/login/?next={address}"


def test_a_site_with_its_own_login_keeps_it(client, settings):
    settings.LOGIN_URL = "/accounts/sso/"
    assert client.get("/")["Location"] == "/accounts/sso/?next=/"


def test_a_part_of_a_page_never_becomes_a_login(client):
    answer = client.post(
        "/models/churn/try/", headers={"HX-Request": "true", "HX-Current-URL": "http://testserver/models/churn/"}
    )
    assert answer["HX-Redirect"] == "/login/?next=/models/churn/"
    assert answer.content == b""


def test_who_signs_in_comes_to_the_page_they_asked_for(client, django_user_model):
    django_user_model.objects.create_user("ben", password="a long pass phrase")
    page = client.post("/login/?next=/models/churn/", {"username": "ben", "password": "a long pass phrase"})
    assert page["Location"] == "/models/churn/"
    assert client.get("/login/")["Location"] == "/"
    assert client.post("/logout/")["Location"] == "/login/"
    assert client.get("/").status_code == 302


def test_a_wrong_password_is_said_so_on_the_page(client):
    page = client.post("/login/", {"username": "ben", "password": "wrong"})
    assert "Please enter a correct username and password" in text(page)
    assert page["Content-Security-Policy"] == CONTENT_SECURITY_POLICY


def test_without_the_permission_there_are_no_models(signed_in):
    live()
    client = signed_in("predict", "promote")
    assert "churn" not in text(client.get("/"))
    known, unknown = client.get("/models/churn/"), client.get("/models/nothing/")
    assert (known.status_code, unknown.status_code) == (404, 404)
    assert text(known) == text(unknown)
    assert client.post("/models/churn/try/").status_code == 404
    assert client.post("/models/churn/promote/1/").status_code == 404


def test_who_may_only_look_is_offered_nothing_to_do(signed_in):
    live(versions=2)
    client = signed_in(SEE)
    page = text(client.get("/models/churn/"))
    assert "Try it" not in page
    assert "Recent predictions" not in page
    assert "Promote" not in page
    assert client.post("/models/churn/try/").status_code == 403
    assert client.post("/models/churn/promote/1/").status_code == 403
    assert Route.objects.get().version.number == 2


# The overview


def test_the_empty_overview_says_what_to_do_first(signed_in):
    page = text(signed_in(SEE).get("/"))
    assert "No model answers yet" in page
    assert "trivet push" in page


def test_the_overview_tells_what_each_model_decides_and_how_much_it_is_asked(signed_in):
    live(versions=2)
    registered(model="draft")
    page = text(signed_in(SEE).get("/"))
    assert "Decides between “stays” and “churned”, from 2 inputs: age, plan." in page
    assert "version 2" in page
    assert "1 min ago" in page
    assert "not live 1 version · 1 not probed yet" in page


def test_the_overview_asks_as_much_of_the_database_for_twenty_models_as_for_one(signed_in):
    client = signed_in(SEE)
    live("m0")
    few = queries(client, "/")
    for number in range(1, 20):
        live(f"m{number}", versions=2)
    assert queries(client, "/") == few


# A model's page


def test_the_page_of_a_model_tells_its_story(signed_in):
    live(versions=2)
    actions.promote(model="churn", version=1, actor="user:ana")
    actions.roll_back(model="churn", actor="user:ana", reason="too many mails")
    RegisteredModel.objects.update(title="Churn risk", description="Will they leave?", owner="retention")
    page = text(signed_in(SEE, "view_predictions").get("/models/churn/"))
    assert "Churn risk" in page
    assert "Will they leave?" in page
    assert "version 2 live" in page
    assert "ana rolled back to version 2 too many mails" in page
    assert "churned 75.0 %" in page
    assert "API key abcdefgh" in page
    assert "120 µs" in page
    assert "max difference 2e-7" in page


def test_the_page_asks_as_much_of_the_database_for_many_versions_as_for_one(signed_in):
    client = signed_in(SEE, "predict", "promote", "view_predictions")
    live("one")
    live("many", versions=12)
    for number in range(1, 12):
        actions.promote(model="many", version=number, actor="user:ana")
    assert queries(client, "/models/many/") == queries(client, "/models/one/")


def test_a_version_that_runs_unchanged_says_so_and_why(signed_in):
    native = msgspec.structs.replace(
        bundle().manifest,
        runtime="skops",
        compile={"state": "native", "why": "it needs <Scan>."},
        native=Native(
            answers=(Asked("label", "predict"), Asked("probabilities", "predict_proba")),
            columns=(Column("age", "FP64"), Column("plan", "BYTES")),
            accepted_types=("shop.steps.Clean",),
        ),
    )
    made = make_bundle(native, {"model.skops": b"PK", "sample.jsonl": b"{}\n"})
    actions.register_version(name="churn", bundle=made, actor="cli:ana")
    page = signed_in(SEE).get("/models/churn/").content.decode()
    assert "native: it runs unchanged in model workers, because: it needs &lt;Scan&gt;." in page
    assert Event.objects.get(action="register_version").after["accepted_types"] == ["shop.steps.Clean"]


def test_a_model_without_versions_has_a_page(signed_in):
    RegisteredModel.objects.create(name="empty")
    page = text(signed_in(SEE, "predict", "view_predictions").get("/models/empty/"))
    assert "No version was registered yet." in page
    assert "Nothing was asked yet." in page


def test_another_version_is_seen_by_its_address(signed_in):
    live(versions=2)
    client = signed_in(SEE)
    assert "through version 1, which takes no traffic" in text(client.get("/models/churn/?version=1"))
    for nonsense in ("9", "x", "-1", "²"):
        assert client.get("/models/churn/", {"version": nonsense}).status_code == 404


FOLLOWED = ("href", "src", "action", "formaction", "data", "hx-get", "hx-post")


class Markup(HTMLParser):
    """What a browser would run in a page, or follow to code; and what it shows."""

    def __init__(self, page):
        super().__init__()
        self.live = []
        self.shown = ""
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        named = dict(attributes)
        if tag in ("iframe", "object", "embed") or (tag == "script" and "src" not in named):
            self.live.append(tag)
        self.live += [name for name in named if name.startswith("on")]
        self.live += [
            named[name] for name in FOLLOWED if (named.get(name) or "").strip().lower().startswith("javascript:")
        ]

    def handle_data(self, data):
        self.shown += data


def test_A16_markup_that_is_code_is_seen():
    assert Markup("<script>alert(16)</script>").live == ["script"]
    assert Markup("<a href=' JavaScript:alert(16)'>").live == [" JavaScript:alert(16)"]
    assert Markup("<img src=x onerror=alert(16)>").live == ["onerror"]


SCRIPTS = (
    "<script>alert(16)</script>",
    '"><img src=x onerror=alert(16)>',
    "javascript:alert(16)",
    "{{ 4|add:12 }}{% now 'Y' %}",
    "!!python/object/apply:os.system [alert(16)]",
)


@pytest.mark.parametrize("script", SCRIPTS)
def test_A16_a_description_that_is_code_is_a_text_on_every_page(script, signed_in):
    label, field = f"a {script}", f"b {script}"
    signature = Signature(
        inputs=(
            Input(name=field, datatype="BYTES", shape=(-1, 1), categories=(script, "b"), unit=script, title=script),
        ),
        outputs=(
            Output(name="label", datatype="BYTES", shape=(-1,)),
            Output(name="probabilities", datatype="FP32", shape=(-1, 2), classes=(label, "b")),
        ),
        task="classification",
    )
    version = registered(signature=signature)
    actions.mark_ready(model="churn", version=1, actor="process:probe")
    actions.promote(model="churn", version=1, actor=f"user:{script}", reason=script)
    ModelVersion.objects.update(note=script, source=script, status_reason=script, author=script)
    RegisteredModel.objects.update(title=script, description=script)
    ship([record(version, inputs=[[script]], outputs=[[label], [0.5, 0.5]], caller=f"key:{script}")])
    client = signed_in(SEE, "predict", "promote", "view_predictions")
    pages = {address: client.get(address).content.decode() for address in (*PAGES, "/models/churn/openapi/")}
    for address, page in pages.items():
        assert Markup(page).live == [], address
    assert Markup(pages["/models/churn/"]).shown.count(script) > 3


@pytest.mark.parametrize("address", ["/models/churn/openapi.json", "asset"])
@pytest.mark.parametrize("ranges", ["bytes=0-0", "bytes=-1", "bytes=5-1", "bytes=" + ",".join(["0-"] * 500), "lines=1"])
def test_A42_a_range_of_a_file_is_the_whole_file_which_is_what_it_says_it_is(address, ranges, signed_in):
    live()
    client = signed_in(SEE)
    if address == "asset":
        address = f"/assets/{asset('console.css').fingerprint}/console.css"
    whole, part = client.get(address), client.get(address, headers={"range": ranges})
    assert (part.status_code, part.content) == (200, whole.content)
    assert part["X-Content-Type-Options"] == "nosniff"
    assert not {"Content-Range", "Accept-Ranges"} & set(part.headers)
    assert part["Content-Type"].partition(";")[0] in ("application/json", "text/css")


@pytest.mark.parametrize(
    "name", ["../console.css", "%2e%2e%2fconsole.css", "console.css%00", "views.py", "C:console.css"]
)
def test_A42_no_other_name_is_a_file(name, client):
    assert client.get(f"/assets/{asset('console.css').fingerprint}/{name}").status_code == 404


@pytest.mark.parametrize("name", ["console.css", "console.js", "trivet.svg", "htmx.js"])
def test_D34_a_file_opened_by_itself_runs_nothing(name, client):
    file = client.get(f"/assets/{asset(name).fingerprint}/{name}")
    assert file["Content-Security-Policy"] == CONTENT_SECURITY_POLICY
    assert file["X-Content-Type-Options"] == "nosniff"
    assert b"<script" not in file.content or name != "trivet.svg"


def test_D34_a_document_to_take_away_is_no_page(signed_in):
    live()
    document = signed_in(SEE).get("/models/churn/openapi.json")
    assert document["Content-Type"] == "application/json"
    assert document["Content-Security-Policy"] == CONTENT_SECURITY_POLICY
    assert document["X-Content-Type-Options"] == "nosniff"


def test_what_people_wrote_is_shown_as_text(signed_in):
    live()
    RegisteredModel.objects.update(title="<script>alert(1)</script>", description="<b>bold</b>")
    page = signed_in(SEE).get("/models/churn/").content.decode()
    assert "<script>alert" not in page
    assert "<b>bold" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page


# Moving traffic


def generation(page):
    return re.search(r'name="generation" value="(\d+)"', page.content.decode())[1]


def test_promoting_shows_before_and_after_and_then_does_it(signed_in):
    live(versions=2)
    client = signed_in(SEE, "promote")
    asked = client.get("/models/churn/promote/1/")
    assert "Now version 2 100 % → Then version 1 100 %" in text(asked)
    done = client.post("/models/churn/promote/1/", {"generation": generation(asked), "reason": "cheaper"}, follow=True)
    assert "churn 1 is live. No process answers at the moment." in text(done)
    event = Event.objects.first()
    assert (event.action, event.version, event.actor, event.reason) == ("promote", 1, "user:ben", "cheaper")


def test_who_was_overtaken_sees_what_changed_and_keeps_the_reason(signed_in):
    live(versions=3)
    client = signed_in(SEE, "promote")
    asked = client.get("/models/churn/promote/1/")
    actions.promote(model="churn", version=2, actor="user:eve")
    refused = client.post("/models/churn/promote/1/", {"generation": generation(asked), "reason": "cheaper"})
    assert "version 2 promoted by eve" in text(refused)
    assert 'value="cheaper"' in refused.content.decode()
    assert Route.objects.get().version.number == 2
    client.post("/models/churn/promote/1/", {"generation": generation(refused)})
    assert Route.objects.get().version.number == 1


def test_rolling_back_gives_the_traffic_to_the_champion_before(signed_in):
    live(versions=2)
    actions.promote(model="churn", version=1, actor="user:ana")
    client = signed_in(SEE, "promote")
    asked = client.get("/models/churn/roll-back/")
    assert "Roll churn back to version 2?" in text(asked)
    client.post("/models/churn/roll-back/", {"generation": generation(asked)})
    assert Route.objects.get().version.number == 2


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("address", ["/models/churn/promote/1/", "/models/churn/roll-back/"])
def test_a_move_has_committed_when_the_workers_are_waited_for(signed_in, monkeypatch, address):
    live(versions=2)
    actions.promote(model="churn", version=1, actor="user:ana")
    actions.promote(model="churn", version=2, actor="user:ana")
    client = signed_in(SEE, "promote")
    seen = generation(client.get(address))
    waited = []

    def wait(reached, _model):
        waited.append((connection.in_atomic_block, Event.objects.first().version))
        return Acknowledgement(reached, 0, (), 0.0)

    monkeypatch.setattr(views, "wait_for_workers", wait)
    monkeypatch.setitem(connection.settings_dict, "ATOMIC_REQUESTS", True)
    client.post(address, {"generation": seen, "reason": "a\0b"})
    assert waited == [(False, 1)]
    assert Event.objects.first().reason == "ab"


@pytest.mark.parametrize("version", ["9" * 5000, "9" * 30, "9" * 10, "0", "\u0661", "1.0", "", "\0"])
def test_a_version_that_is_no_number_of_one_is_not_found(signed_in, version):
    live()
    client = signed_in(SEE, "promote", "predict")
    assert client.get("/models/churn/", {"version": version}).status_code == 404
    assert client.get("/models/churn/", {"row": version}).status_code == 200
    assert client.get(f"/models/churn/promote/{version}/").status_code == 404
    assert client.get(f"/models/ch%00urn/{version}").status_code == 404
    refused = client.post("/models/churn/promote/1/", {"generation": version})
    assert refused.status_code in (200, 302)


def test_a_version_that_is_not_ready_is_not_promoted(signed_in):
    live()
    registered("another graph")
    client = signed_in(SEE, "promote")
    refused = client.post(
        "/models/churn/promote/2/", {"generation": generation(client.get("/models/churn/promote/2/"))}
    )
    assert "it has not been probed yet" in text(refused)


# What holds for every page


@pytest.mark.parametrize(
    "address",
    [
        *("/", "/login/", "/models/churn/", "/models/nothing/", "/models/churn/promote/1/", "/models/churn/try/"),
        *("/models/churn/labels/", "/predictions/"),
    ],
)
def test_every_page_has_the_headers_and_nothing_inline(signed_in, address):
    live(versions=2)
    client = signed_in(SEE, "promote", "predict", "label", "view_predictions")
    if address == "/login/":
        client.logout()
    page = client.get(address)
    assert page["Content-Security-Policy"] == CONTENT_SECURITY_POLICY
    assert page["X-Content-Type-Options"] == "nosniff"
    assert page["Referrer-Policy"] == "same-origin"
    assert page["Cross-Origin-Opener-Policy"] == "same-origin"
    assert "no-store" in page["Cache-Control"]
    markup = page.content.decode()
    assert not re.search(r"<style|\sstyle=|\son\w+=|<script(?![^>]*\ssrc=)", markup)


def test_htmx_comes_from_the_installed_package_and_may_be_cached_for_ever(client, signed_in):
    page = signed_in().get("/").content.decode()
    address = re.search(r'src="(/assets/[0-9a-f]+/htmx\.js)"', page)[1]
    client.logout()
    script = client.get(address)
    assert b"htmx" in script.content
    assert "immutable" in script["Cache-Control"]
    assert client.get("/assets/0000/htmx.js").status_code == 404


def test_a_page_brings_its_own_style_and_script_whatever_the_sites_static_files(client, signed_in, settings):
    settings.STATIC_URL = None
    page = signed_in().get("/").content.decode()
    linked = re.findall(r'(?:href|src)="(/assets/[^"]+)"', page)
    assert len(linked) == 4
    client.logout()
    types = {client.get(address)["Content-Type"].split(";")[0] for address in linked}
    assert types == {"text/css", "text/javascript", "image/svg+xml"}


@pytest.mark.urls("tests.django.console.mounted_urls")
def test_a_site_mounts_the_console_where_it_likes(client, signed_in):
    live(versions=2)
    assert client.get("/staff/models/")["Location"] == "/staff/models/login/?next=/staff/models/"
    client = signed_in(SEE, "predict", "promote")
    for address in ("/staff/models/", "/staff/models/models/churn/"):
        links = re.findall(r'(?:href|action|hx-post|hx-get)="(/[^"]*)"', client.get(address).content.decode())
        assert links
        assert all(link.startswith("/staff/models/") for link in links)


def test_the_sites_public_address_stands_in_the_commands(signed_in, settings):
    live()
    client = signed_in(SEE)
    page = text(client.get("/models/churn/"))
    assert "curl -s http://testserver/v2/models/churn/predict" in page
    assert "trivet keys create KEYNAME --model churn --verb predict" in page
    settings.TRIVET_PUBLIC_URL, settings.TRIVET_PREFIX = "https://models.example.com", "/ml/"
    assert "curl -s https://models.example.com/ml/v2/models/churn/infer" in text(client.get("/models/churn/"))


def test_who_promotes_is_told_which_processes_are_behind():
    move = Move("churn", 2, "", 7, "user:ben")
    behind = Acknowledgement(8, 4, ("web 71 on one",), 6.0)
    assert moved(move, behind) == "churn 2 is live in 3 of 4 processes. Not heard of: web 71 on one."
    assert moved(move, Acknowledgement(8, 4, (), 0.81)) == "churn 2 is live in 4 of 4 processes after 0.8 s."
