"""Scripts in every text that a person, a file or a caller can leave behind, read on every page in a real browser."""

import json
import shutil

import pytest

from tests.acceptance.console_server import Project, serving
from tests.acceptance.test_console_browser import ARGUMENTS, PASSWORD, SECONDS

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed: apt-get install chromium"),
]

CALL = "alert(25)"
PAYLOADS = (
    f"<script>{CALL}</script>",
    f"<ScRiPt>{CALL}</sCrIpT>",
    f"<script src=data:text/javascript,{CALL}></script>",
    "<script src=//127.0.0.1:9/x.js></script>",
    f"<script type=module>{CALL}</script>",
    f"<scr<script>ipt>{CALL}</script>",
    f"</title><script>{CALL}</script>",
    f"</textarea><script>{CALL}</script>",
    f"</style><script>{CALL}</script>",
    f"</script><script>{CALL}</script>",
    f"</option></select><script>{CALL}</script>",
    f"</svg><script>{CALL}</script>",
    f"]]><script>{CALL}</script>",
    f"<img src=x onerror={CALL}>",
    f"<img src=x:x onerror='{CALL}'>",
    f'"><img src=x onerror={CALL}>',
    f"'><img src=x onerror={CALL}>",
    f"`><img src=x onerror={CALL}>",
    f"<img/src=x/onerror={CALL}>",
    f"<image src=x onerror={CALL}>",
    f"<svg onload={CALL}>",
    f"<svg/onload={CALL}>",
    f"<svg><script>{CALL}</script></svg>",
    f"<svg><animate onbegin={CALL} attributeName=x dur=1s>",
    f"<svg><a xlink:href=javascript:{CALL}><text>x</text></a></svg>",
    "<svg><use href=data:image/svg+xml,x#x></use></svg>",
    f"<math><mtext><img src=x onerror={CALL}></mtext></math>",
    f"<body onload={CALL}>",
    f"<iframe src=javascript:{CALL}></iframe>",
    f"<iframe srcdoc='<script>{CALL}</script>'></iframe>",
    f"<object data=javascript:{CALL}></object>",
    f"<embed src=javascript:{CALL}>",
    f"<video><source onerror={CALL}></video>",
    f"<audio src=x onerror={CALL}></audio>",
    f"<details open ontoggle={CALL}>x</details>",
    f"<input autofocus onfocus={CALL}>",
    f"<select autofocus onfocus={CALL}></select>",
    f"<marquee onstart={CALL}>x</marquee>",
    f"<a href=javascript:{CALL}>x</a>",
    f"<a href=' java\tscript:{CALL}'>x</a>",
    f"<form action=javascript:{CALL}><button>x</button></form>",
    f"<button formaction=javascript:{CALL}>x</button>",
    "<base href=//127.0.0.1:9/>",
    "<meta http-equiv=refresh content=0;url=//127.0.0.1:9/>",
    "<link rel=stylesheet href=//127.0.0.1:9/x.css>",
    "<style>*{display:none}</style>",
    "<style>@import '//127.0.0.1:9/x.css';</style>",
    "<p style=background:url(//127.0.0.1:9/x)>x</p>",
    f'" onmouseover={CALL} x="',
    f"' onfocus={CALL} autofocus x='",
    f'" hx-on:load="{CALL}',
    f'<p hx-get="/logout/" hx-trigger=load hx-vals="js:{{x:{CALL}}}">x</p>',
    f"<template><script>{CALL}</script></template>",
    f"<noscript><p title='</noscript><img src=x onerror={CALL}>'></noscript>",
    f"javascript:{CALL}",
    "{{ 4|add:12 }}{% now 'Y' %}${7*7}#{7*7}",
    f"\\u003cscript>{CALL}\\u003c/script>",
    f"&lt;script&gt;{CALL}&lt;/script&gt;",
    f"&#60;script&#62;{CALL}&#60;/script&#62;",
    f"+ADw-script+AD4-{CALL}+ADw-/script+AD4-",
    "\u202etxet\u202c \u2066x\u2069",
    f"<plaintext><!-- --!><script>{CALL}</script>",
)


def typed(field: str) -> str:
    """Return all payloads as somebody would type them into `field`."""
    return f"«{field}» " + " ".join(PAYLOADS)


# Every column of text: with scripts, or with the reason why none fits in.
FILLED = {
    "RegisteredModel": ("title", "description", "owner"),
    "ModelVersion": (
        "status_reason",
        "note",
        "author",
        "source",
        "sandbox",
        "runtime",
        "signature",
        "manifest",
        "parity",
    ),
    "GoldenCaseRow": ("inputs", "expect", "note", "author"),
    "ApiKey": ("name", "created_by", "grants", "owner_name"),
    "Event": ("actor", "action", "before", "after", "reason"),
    "Prediction": (
        *("caller", "entity_key", "request_id", "caller_id", "decision", "door", "route"),
        *("inputs", "output", "parameters", "flags"),
    ),
    "Worker": ("host", "kind"),
    "Proposal": ("action", "proposer", "reason", "decided_by"),
    "Label": ("value", "source", "entity_key", "reason", "caller"),
    "Alert": ("features", "acknowledged_by"),
    "ScoringRun": ("where", "cursor", "actor", "holder", "problem"),
    "ScoringError": ("key", "message"),
}
UNFIT = {
    "a grammar": (
        *("RegisteredModel.name", "Alias.name", "ApiKey.id", "ApiKey.limits", "Event.model", "Prediction.model"),
        *("Worker.id", "Grant.verbs", "Worker.failing", "Label.model"),
        *("Worker.features", "ScoringRun.model", "ScoringRun.table", "ScoringRun.field"),
    ),
    "a name of ours": (
        *("ModelVersion.status", "Prediction.kind", "Proposal.state"),
        *("SpoolCursor.worker", "LogLink.worker"),
        *("Label.state", "Alert.cause", "Alert.severity", "Alert.state", "LossEvidence.loss", "Monitor.options"),
        *("JudgedWindow.grain", "ScoringRun.state"),
        *(f"{table}.{name}" for table in ("Profile", "LabelProfile") for name in ("arm", "grain", "shard")),
    ),
    "checked when it is written, names and numbers": ("RegisteredModel.fallback", "Proposal.move"),
    "a name of an input of the signature, below": (
        *("RegisteredModel.sticky_by", "RegisteredModel.sensitive"),
        *("MonitorSeries.name", "MonitorSeries.last", "Alert.evidence"),
        *("ReferenceProfile.segment", "Profile.segment", "LabelProfile.segment"),
    ),
    "hexadecimal": (
        *("ModelVersion.digest", "Prediction.digest", "Prediction.inputs_sha256", "Prediction.private_sha256"),
        *(
            "Prediction.salt",
            "Prediction.sha256",
            "Event.sha256",
            "RegistryState.head_sha256",
            "ForgottenEntity.digest",
        ),
        *("LogHead.sha256", "LogLink.digest", "LogLink.sha256"),
        *("BundleClaim.digest", "Prediction.inputs_digest", "Worker.boot", "ReferenceProfile.sha256"),
        *("ScoringRun.features_hash", "ScoringRun.question"),
    ),
}
COLUMNS = """
from django.apps import apps
from django.db.models import CharField, JSONField, TextField
for model in apps.get_app_config("trivet").get_models():
    for field in model._meta.get_fields():
        if isinstance(field, CharField | TextField | JSONField):
            print(f"{model.__name__}.{field.name}")
"""

NAMES = ("username", "input", "category", "unit", "title", "class", "output", "why", "library", "global")
SHOWN = {  # where a text is read whole
    "/": ("RegisteredModel.title",),
    "/models/churn/": (
        *("RegisteredModel.title", "RegisteredModel.description", "RegisteredModel.owner"),
        *("ModelVersion.note", "ModelVersion.author", "ModelVersion.source", "ModelVersion.status_reason", "why"),
        *("Event.actor", "Event.reason", "Event.action", "GoldenCaseRow.note", "GoldenCaseRow.author"),
        *(
            "Prediction.decision",
            "Prediction.caller",
            "Prediction.route",
            "input",
            "category",
            "unit",
            "title",
            "class",
        ),
        *("output", "username"),
    ),
    "/models/churn/proposals/1/": ("Proposal.action", "Proposal.proposer", "Proposal.reason", "username"),
    "/models/churn/labels/": (
        *("RegisteredModel.title", "username"),
        *("Label.entity_key", "Label.value", "Label.source", "Label.reason"),
    ),
    "/predictions/?model=churn": (
        *("RegisteredModel.title", "username", "Label.value"),
        *("Prediction.decision", "Prediction.caller", "Prediction.route"),
    ),
    "/predictions/00000000-0000-0000-0000-000000000007:0/": (
        *("RegisteredModel.title", "username", "input", "Label.value", "Label.source", "Label.caller"),
        *(f"Prediction.{name}" for name in FILLED["Prediction"]),
    ),
    "/models/churn/openapi/": ("RegisteredModel.title", "input", "category", "unit", "title", "username"),
    "/models/churn/?version=3": ("library", "global"),
    "/admin/trivet/event/": ("Event.actor", "Event.action", "Event.reason"),
    "/admin/trivet/prediction/": ("Prediction.decision", "Prediction.caller"),
    "/admin/trivet/apikey/abcdefgh/change/": ("ApiKey.name", "ApiKey.created_by", "ApiKey.grants"),
    "/admin/trivet/goldencaserow/1/change/": tuple(f"GoldenCaseRow.{name}" for name in FILLED["GoldenCaseRow"]),
    "/admin/trivet/registeredmodel/1/change/": tuple(f"RegisteredModel.{name}" for name in FILLED["RegisteredModel"]),
    "/admin/trivet/modelversion/2/change/": (
        "ModelVersion.note",
        "ModelVersion.source",
        "ModelVersion.author",
        "input",
    ),
    "/admin/trivet/modelversion/3/change/": ("ModelVersion.status_reason", "ModelVersion.runtime", "why", "library"),
    "/admin/trivet/prediction/1/change/": tuple(f"Prediction.{name}" for name in FILLED["Prediction"]),
    "/admin/trivet/label/1/change/": tuple(f"Label.{name}" for name in FILLED["Label"]),
    "/admin/trivet/scoringrun/": ("ScoringRun.actor",),
    "/admin/trivet/scoringrun/1/change/": tuple(f"ScoringRun.{name}" for name in FILLED["ScoringRun"]),
    "/admin/trivet/scoringerror/": ("ScoringError.key", "ScoringError.message"),
    "/jobs/": ("ScoringRun.actor",),
    "/jobs/1/": ("ScoringRun.problem", "ScoringError.key", "ScoringError.message"),
    "/alerts/": ("Alert.features", "Alert.acknowledged_by"),
    "/alerts/1/": ("Alert.features",),
}
CRAWLED = (
    *("/models/churn/try/", "/models/churn/?version=1", "/models/churn/promote/1/", "/models/churn/roll-back/"),
    *(
        "/models/none/",
        "/admin/",
        "/admin/trivet/registeredmodel/",
        "/admin/trivet/modelversion/",
        "/admin/trivet/apikey/",
    ),
    *(
        "/admin/trivet/goldencaserow/",
        "/admin/trivet/event/{event}/change/",
        "/admin/trivet/alias/",
        "/admin/trivet/route/",
    ),
    *("/admin/auth/user/1/change/", "/admin/auth/user/", "/admin/trivet/event/{event}/history/"),
)


@pytest.fixture(scope="module")
def texts():
    columns = [f"{table}.{name}" for table, names in FILLED.items() for name in names]
    return {name: typed(name) for name in (*columns, *NAMES)}


@pytest.fixture(scope="module")
def project(tmp_path_factory, texts):
    project = Project(tmp_path_factory.mktemp("project"))
    (project.folder / "texts.json").write_text(json.dumps([texts, FILLED, PASSWORD]))
    project.run(f"from tests.acceptance.scripted_world import make_world\nmake_world({str(project.folder)!r})")
    return project


def test_D25_scripts_are_in_every_column_of_text_or_fit_in_none(project):
    columns = set(project.run(COLUMNS).split())
    placed = {f"{table}.{name}" for table, names in FILLED.items() for name in names}.union(*UNFIT.values())
    assert len(PAYLOADS) >= 60
    assert columns == placed, "a column of text is new or gone: fill it, or say why no script fits in"


def test_D25_to_D30_no_script_runs_and_every_text_is_read_as_typed(project, texts):
    from playwright.sync_api import sync_playwright

    event = project.run("from trivet.models import Event\nprint(Event.objects.get(generation=0).pk)").strip()
    complaints, missing = [], []
    with serving(project) as server, sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        page = chromium.new_page()
        page.set_default_timeout(SECONDS)
        page.on("dialog", lambda dialog: (complaints.append(f"dialog on {page.url}"), dialog.dismiss()))
        page.on("pageerror", lambda error: complaints.append(f"{page.url}: {error}"))
        page.on("console", lambda m: m.type in ("error", "warning") and complaints.append(f"{page.url}: {m.text}"))
        page.on("request", lambda r: r.url.startswith(server) or complaints.append(f"{page.url} asked for {r.url}"))
        sign_in(page, server, texts["username"], complaints)
        for path in (*SHOWN, *(path.format(event=event) for path in CRAWLED)):
            response = page.goto(server + path)
            read = reading(page)
            policy = response.headers["content-security-policy"]
            assert "unsafe" not in policy
            assert "object-src 'none'" in policy
            assert "base-uri 'none'" in policy
            missing += [(path, name) for name in SHOWN.get(path, ()) if not is_read(texts[name], read)]
            if path == "/models/none/":
                complaints[:] = [one for one in complaints if "404" not in one]
        page.goto(server + "/models/churn/promote/1/")
        page.evaluate("document.querySelector('[name=generation]').value = 0")  # somebody was faster: the page says who
        page.get_by_label("Why?").fill(" ".join(PAYLOADS)[:400])
        with page.expect_response(lambda response: response.request.method == "POST") as posted:
            page.get_by_role("button", name="Promote").click()
        page.wait_for_load_state()
        assert page.get_by_role("alert").count(), (posted.value.status, page.url, reading(page)[:500])
        assert is_read(" ".join(PAYLOADS)[:400], reading(page))
        chromium.close()
    assert complaints == []
    assert missing == []


def sign_in(page, server: str, username: str, complaints: list[str]) -> None:
    """Sign in, at the second go: a wrong one repeats the name."""
    page.goto(server + "/login/?next=/%22%3E%3Cscript%3Ealert(25)%3C/script%3E")
    for password in ("wrong", PASSWORD):
        page.evaluate("document.querySelector('[name=username]').removeAttribute('maxlength')")
        page.get_by_label("Username").fill(username)
        page.get_by_label("Password").fill(password)
        page.get_by_role("button", name="Sign in").click()
        page.wait_for_load_state()
    assert "Not Found" in page.content()
    complaints[:] = [one for one in complaints if "404" not in one]


def reading(page) -> str:
    """Return all that a page says: its text, the texts of its fields, what it says on pointing, its title."""
    return page.evaluate(
        """() => [document.title, document.body.textContent,
            ...[...document.querySelectorAll('input, textarea')].map(e => e.value),
            ...[...document.querySelectorAll('[title]')].map(e => e.title)].join('\\n')"""
    )


def is_read(text: str, page: str) -> bool:
    """True where `text` stands on the page as it was typed, or as JSON writes it."""
    one, other = " ".join(text.split()), " ".join(json.dumps(text, ensure_ascii=False)[1:-1].split())
    read = " ".join(page.split())
    return one in read or other in read
