"""A model's labels in the console: coverage, delay, what waits and was refused; and a file that is applied as a whole."""

import csv
import html
import io
import re
from datetime import timedelta
from urllib.parse import urlencode

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.utils import timezone

from tests.django.console.test_pages import SCRIPTS, Markup, queries, text
from tests.django.people import browser, grant, person
from tests.django.watched import rows_of_churn, watched_version
from tests.django.worlds import ready, record
from trivet.console import labels_page
from trivet.control.monitoring.folding import Folding
from trivet.control.monitoring.label_folding import LabelFolding
from trivet.control.predictions.labelling import apply_labels, say
from trivet.control.predictions.models import Label
from trivet.control.predictions.shipping import ship
from trivet.control.registry.models import Event, RegisteredModel
from trivet.core.ids import new_prediction_id
from trivet.core.records import LabelRecord, SaidLabel

pytestmark = [pytest.mark.django_db, pytest.mark.urls("trivet.server.urls")]
SEE, READ, LABEL = "view_registeredmodel", "view_predictions", "label"
PAGE, REFUSED = "/models/churn/labels/", "/models/churn/labels/refused.csv"
ROWS = 400


def day(version, days_ago, labelled=lambda _decision: True, late=timedelta(hours=2)):
    """Have 400 rows answered some days ago, and say what turned out true of those whose decision is `labelled`."""
    inputs, outputs = rows_of_churn(ROWS)
    made = int((timezone.now() - timedelta(days=days_ago)).timestamp() * 1e9)
    given, said = [inputs["age"], inputs["plan"]], [outputs["label"], outputs["probabilities"]]
    answer = record(version, ROWS, made_at=made, inputs=given, outputs=said)
    ship([answer], beside=Folding("here"))
    observed = made + int(late.total_seconds() * 1e9)
    labels = [
        SaidLabel("stays", answer.id, row, observed_at=observed)
        for row in range(ROWS)
        if labelled(outputs["label"][row])
    ]
    say(labels, actor="cli:ana", beside=LabelFolding("here"))
    return answer


def sent(*labels, model="churn"):
    """Apply labels as they come over HTTP."""
    now = int(timezone.now().timestamp() * 1e9)
    apply_labels([LabelRecord(new_prediction_id(), now, model, "key:abcdefgh", list(labels))])


def upload(client, content, page=PAGE, name="labels.csv"):
    return client.post(
        page, {"file": SimpleUploadedFile(name, content.encode() if isinstance(content, str) else content)}
    )


def test_coverage_is_told_by_day_with_what_may_still_come_and_how_late_it_came(signed_in):
    version = watched_version()
    day(version, 12)
    day(version, 1, labelled=lambda decision: decision == "stays", late=timedelta(minutes=5))
    response = signed_in(SEE).get(PAGE)
    page = text(response)
    labelled = ROWS + sum(decision == "stays" for decision in rows_of_churn(ROWS)[1]["label"])
    assert f"Of 800 predictions of the last 30 days {labelled} have a label" in page
    assert "Half of them came within 6 hours of the prediction." in page
    assert "400 400 100.0 %" in page
    assert response.content.decode().count("labels may still come") == 1
    assert f"within 1 hour {labelled - ROWS}" in page
    assert "Where labels come only after some decisions" in page
    assert "Labels hardly come after" not in page


def test_labels_of_some_decisions_alone_are_said_in_words(signed_in):
    version = watched_version()
    day(version, 12, labelled=lambda decision: decision == "stays")
    day(version, 11, labelled=lambda decision: decision == "stays")
    page = text(signed_in(SEE).get(PAGE))
    churned = 2 * sum(decision == "churned" for decision in rows_of_churn(ROWS)[1]["label"])
    assert f"Labels hardly come after some decisions (“churned”: 0 of {churned})." in page
    assert "says nothing of these" in page


def test_without_a_reference_a_version_or_labels_it_says_so(signed_in):
    ready()
    RegisteredModel.objects.create(name="draft")
    client = signed_in(SEE, LABEL)
    for address in (PAGE, "/models/draft/labels/"):
        page = text(client.get(address))
        assert "Nothing is counted of the last 30 days." in page
        assert "No label came yet." in page
        assert "None was refused" in page


def test_what_waits_and_what_was_refused_is_told_with_its_reason_to_who_may_read_the_log(signed_in):
    ready()
    foreign = record(ready(model="fraud")[0])
    ship([foreign])
    sent(SaidLabel("stays", new_prediction_id()), SaidLabel("<i>gone", entity_key="shop.customer:18", source="crm"))
    sent(SaidLabel("stays", foreign.id), SaidLabel(True, foreign.id))
    page = signed_in(SEE, READ).get(PAGE)
    assert "Waiting for their prediction 2" in text(page)
    assert "the prediction is another model's. 2" in text(page).replace("&#x27;", "'")
    assert "shop.customer:18" in text(page)
    assert "&lt;i&gt;gone" in page.content.decode()
    page = text(signed_in(SEE, LABEL, username="eva").get(PAGE))
    assert "Waiting for their prediction 2" in page
    assert "another model" in page
    assert "shop.customer:18" not in page, "whom labels are about is of the log"


def test_a_file_is_applied_and_each_line_told_what_it_came_to(signed_in):
    (version,) = ready()
    one, other = (record(version, entity_key="shop.customer:17"), record(ready(model="fraud")[0]))
    ship([one, other])
    client = signed_in(SEE, LABEL)
    assert 'enctype="multipart/form-data"' in client.get(PAGE).content.decode()
    said = [(one.id, "stays"), (one.id, "stays"), (one.id, "churned"), (other.id, "stays"), (new_prediction_id(), "a")]
    lines = ["prediction_id,label", *(",".join(pair) for pair in said), "x,y"]
    page = text(upload(client, "\n".join(lines))).replace("&#x27;", "'")
    assert "applied 1 waiting 1 said before 1 corrected 1 refused 2 Receipt" in page
    assert "5 the prediction is another model's." in page
    assert "7 prediction_id 'x' is no id of a prediction." in page
    assert set(Label.objects.values_list("source", "caller")) == {("console:ben", "user:ben")}
    assert "said before 2" in text(upload(client, f"prediction_id,label\n{one.id},churned\n{one.id},churned\n"))


def test_a_line_that_means_none_of_the_classes_is_named_and_the_others_stand(signed_in):
    one = record(ready()[0])
    ship([one])
    file = f"prediction_id,label\n{one.id},chrned\n{one.id},churned\n"
    page = text(upload(signed_in(SEE, LABEL), file)).replace("&#x27;", "'")
    assert "2 'chrned' is none of the classes: stays, churned." in page
    assert Label.objects.get().value == "churned"


def test_a_file_that_is_too_large_for_memory_is_read_from_where_it_was_put(signed_in, settings):
    settings.FILE_UPLOAD_MAX_MEMORY_SIZE = 10
    ready()
    page = text(upload(signed_in(SEE, LABEL), "entity_key,label\n" + "shop.customer:18,stays\n" * 1200))
    assert "waiting 1,200" in page


@pytest.mark.parametrize("name", ["=cmd|' /C calc'!A0", "@SUM(A1)", "+1+1", "-1+1", "\tx"])
def test_D31_refused_lines_are_downloaded_and_no_cell_is_a_formula(signed_in, name):
    ready()
    client = signed_in(SEE, LABEL)
    page = upload(client, f'prediction_id,entity_key,label,source\n"{name}",,"a ""b"", c",{name}\n').content.decode()
    lines = lines_in(page)
    file = client.post(REFUSED, {"lines": lines})
    assert file["Content-Type"] == "text/csv; charset=utf-8"
    assert file["Content-Disposition"] == 'attachment; filename="refused-churn.csv"'
    assert file["X-Content-Type-Options"] == "nosniff"
    header, line = csv.reader(io.StringIO(file.content.decode()))
    assert header == ["line", "reason", "prediction_id", "entity_key", "label", "source"]
    assert line[0] == "2"
    assert "is no id of a prediction" in line[1]
    assert line[2:] == [f"'{name}", "", 'a "b", c', f"'{name}"]
    again = upload(client, file.content.decode())
    assert client.post(REFUSED, {"lines": lines_in(again.content.decode())}).content == file.content, "it says the same"
    assert client.post(REFUSED, {"lines": "=1+1,a\r\n@x"}).content == b"'=1+1,a\n'@x\n", "whatever is sent"


def lines_in(page):
    """Return what a browser would send back."""
    return html.unescape(re.search(r'name="lines" value="([^"]*)"', page)[1])


def test_more_refused_lines_than_a_page_takes_along_are_said_to_be_more(signed_in, monkeypatch):
    monkeypatch.setattr(labels_page, "MOST_REFUSED", 2000)
    ready()
    page = upload(signed_in(SEE, LABEL), "prediction_id,label\n" + "x,y\n" * 100)
    assert "50 lines more are in the download." in text(page)
    assert "The first ones: all of them are too many for one page." in text(page)
    assert len(lines_in(page.content.decode())) < 2000


def test_the_refused_lines_that_a_page_takes_along_are_so_few_that_django_reads_the_form(signed_in):
    ready()
    client = signed_in(SEE, LABEL)
    words = "\N{GRINNING FACE}" * 900
    page = upload(client, "prediction_id,label\n" + f"{words},y\n" * 1000)
    assert "The first ones: all of them are too many for one page." in text(page)
    form = urlencode({"lines": lines_in(page.content.decode())})
    assert 1_500_000 < len(form) < 2_300_000
    answer = client.post(REFUSED, form, content_type="application/x-www-form-urlencoded")
    assert answer.status_code == 200


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"id,label\n", "Column 'id' is none of"),
        (b"\xff\xfe", "not in UTF-8"),
        (b'entity_key,label\na,"b\n', "Line 2 is no CSV"),
        (b"entity_key,label\n" + b"a" * 10_001, "Line 2 has over 10,000 characters"),
        (b"entity_key,label\n" + b"a,b\n" * 10_001, "over 10,000 lines"),
        (b"x" * (4 * 1024**2 + 1), "at most 4,194,304 are taken"),
    ],
    ids=["columns", "encoding", "quotes", "line", "lines", "size"],
)
def test_a_file_that_is_none_is_told_why_and_nothing_of_it_is_applied(signed_in, content, told):
    ready()
    page = upload(signed_in(SEE, LABEL), content)
    assert page.status_code == 200
    assert told in text(page).replace("&#x27;", "'")
    assert "Nothing of the file was applied." in text(page)
    assert not Label.objects.exists()


def test_without_a_file_it_is_asked_for(signed_in):
    ready()
    client = signed_in(SEE, LABEL)
    for data in ({}, {"file": "a text"}):
        assert "Choose a file first." in text(client.post(PAGE, data))


def test_who_may_not_label_uploads_and_downloads_nothing_and_the_attempt_is_on_record(client):
    ready()
    ready(model="fraud")
    ben, eva = person(SEE, READ, name="ben"), person(name="eva")
    grant("user:eva", "churn", "label")
    of_ben, of_eva = browser(ben), browser(eva)
    assert "Add labels from a file" not in text(of_ben.get(PAGE))
    for answer in (upload(of_ben, "entity_key,label\na,b\n"), of_ben.post(PAGE), of_ben.post(REFUSED, {"lines": "a"})):
        assert answer.status_code == 403
    assert Event.objects.first().after["action"] == "label"
    assert not Label.objects.exists()
    assert "waiting 1" in text(upload(of_eva, "entity_key,label\na,b\n"))
    for address in ("/models/fraud/labels/", "/models/fraud/labels/refused.csv", "/models/nothing/labels/"):
        assert of_eva.post(address).status_code == 404
    assert of_eva.get("/models/fraud/labels/").status_code == 404
    assert of_eva.get(REFUSED).status_code == 405
    assert client.get(PAGE)["Location"] == f"/login/?next={PAGE}"


def test_many_labels_ask_as_much_of_the_database_as_few(signed_in):
    version = watched_version()
    client = signed_in(SEE, READ, LABEL)
    day(version, 9)
    sent(SaidLabel("stays", new_prediction_id()))
    few = queries(client, PAGE)
    day(version, 8)
    day(version, 7)
    sent(*[SaidLabel("stays", new_prediction_id()) for _ in range(70)])
    assert queries(client, PAGE) == few


@pytest.mark.parametrize("script", SCRIPTS)
def test_D25_scripts_are_texts_on_the_page_and_in_what_became_of_a_file(script, signed_in):
    ready()
    RegisteredModel.objects.update(title=script)
    sent(SaidLabel(script, entity_key=script, source=script[:64]))
    client = signed_in(SEE, READ, LABEL)
    out = io.StringIO()
    csv.writer(out).writerows([["prediction_id", "label"], [script, script]])
    for page in (client.get(PAGE), upload(client, out.getvalue(), name=script), upload(client, script)):
        assert Markup(page.content.decode()).live == []
    assert Markup(client.get(PAGE).content.decode()).shown.count(script) > 3
