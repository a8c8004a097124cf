"""One prediction in the console: what was asked and answered for whom, and what somebody says turned out true."""

import html
from datetime import timedelta

import pytest
from django.utils import timezone

from tests.django.console.test_pages import SCRIPTS, Markup, queries, text
from tests.django.people import browser, grant, person
from tests.django.worlds import ready, ready_of, record, registered, turned_out
from trivet.control.predictions.labelling import say
from trivet.control.predictions.models import Label, Prediction
from trivet.control.predictions.shipping import ship
from trivet.control.registry import actions
from trivet.control.registry.models import Event, RegisteredModel
from trivet.core.records import SHADOW, SaidLabel
from trivet.core.signature import Input, Output, Signature

pytestmark = [pytest.mark.django_db, pytest.mark.urls("trivet.server.urls")]
SEE, READ, INPUTS, LABEL = "view_registeredmodel", "view_predictions", "view_inputs", "label"
AGE = 41.5


def answered(version=None, **changes):
    """Have one request answered a minute ago; return the address of its page, and its record."""
    made = int((timezone.now() - timedelta(minutes=1)).timestamp() * 1e9)
    values = {"made_at": made, "inputs": [[AGE], ["premium"]], "request_id": "r-7", "entity_key": "shop.customer:17"}
    one = record(version or ready()[0], **values | changes)
    ship([one])
    return f"/predictions/{one.id}:0/", one


def test_it_tells_what_was_answered_by_which_version_why_and_for_whom(signed_in):
    address, one = answered(flags={0: {"age": "above_high"}})
    response = signed_in(SEE, READ).get(address)
    page = text(response)
    for told in (
        "What churn answered",
        "churned 75.0 %",
        "stays 25.0 %",
        "above every value seen in training",
        "all traffic",
        "API key abcdefgh",
        "120 µs",
        one.digest,
        "Nobody said yet what became of it.",
    ):
        assert told in page, told
    assert "?model=churn&amp;entity=shop.customer%3A17" in response.content.decode()
    assert "?model=churn&amp;request=r-7" in response.content.decode()


def test_inputs_are_for_who_may_see_them(signed_in):
    address, _ = answered()
    page = text(signed_in(SEE, READ, LABEL).get(address))
    assert "41.5" not in page
    assert "premium" not in page
    assert "trivet.view_inputs" in page
    page = text(signed_in(SEE, READ, INPUTS, username="eva").get(address))
    assert "age 41.5" in page
    assert "plan premium" in page


def test_a_sensitive_input_is_not_shown_also_where_it_was_recorded_before_it_was_marked(signed_in):
    address, _ = answered()
    actions.set_sensitive(model="churn", add=["plan"], actor="cli:ana")
    page = text(signed_in(SEE, READ, INPUTS).get(address))
    assert "age 41.5" in page
    assert "plan sensitive: not shown" in page
    assert "premium" not in page


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"erased_by": 5}, "whom it is about was forgotten"),
        ({"inputs_digest": "d" * 64}, "Erased for their age"),
        ({"inputs_sha256": "e" * 64}, "e" * 64),
        ({}, "They were not kept."),
    ],
)
def test_why_there_are_no_inputs_is_said(signed_in, changes, told):
    address, _ = answered()
    Prediction.objects.update(inputs=None, **changes)
    assert told in text(signed_in(SEE, READ, INPUTS).get(address))


def test_who_may_label_says_what_turned_out_and_corrects_it(signed_in):
    address, one = answered()
    client = signed_in(SEE, READ, LABEL)
    assert "It turned out …" in text(client.get(address))
    answer = client.post(address, {"truth": "stays"})
    assert answer["Location"] == address
    page = text(client.get(address))
    assert "It turned out “stays”." in page
    assert "stays revision 1 · it stands console:ben ben" in page
    page = text(client.post(address, {"truth": "churned"}, follow=True))
    assert "That is revision 2; the earlier ones are kept." in page
    assert "churned revision 2 · it stands" in page
    assert "stays revision 1 console:ben" in page
    assert "was said before: nothing has changed" in text(client.post(address, {"truth": "churned"}, follow=True))
    kept = Label.objects.order_by("revision").values_list("value", "source", "caller", "revision")
    assert list(kept) == [("stays", "console:ben", "user:ben", 1), ("churned", "console:ben", "user:ben", 2)]
    say([SaidLabel("stays", one.id, source="billing")], actor="key:abcdefgh")
    assert "stays revision 3 · it stands billing API key abcdefgh" in text(client.get(address))


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("", "Say what turned out."),
        ("junk", "'junk' is none of the classes: choose stays, churned."),
        ("<b>", "'<b>' is none of the classes"),
        ("stays\0", "is none of the classes"),
    ],
)
def test_what_is_no_class_is_told_with_the_value_and_the_remedy_and_nothing_is_kept(signed_in, said, told):
    address, _ = answered()
    page = signed_in(SEE, READ, LABEL).post(address, {"truth": said})
    assert page.status_code == 200
    assert told in html.unescape(text(page))
    assert "<b>" not in page.content.decode()
    assert not Label.objects.exists()


def estimating():
    signature = Signature(
        inputs=(Input(name="age", datatype="FP64", shape=(-1, 1)),),
        outputs=(Output(name="prediction", datatype="FP64", shape=(-1,), unit="minutes"),),
        task="regression",
    )
    version = registered(model="delay", signature=signature)
    return answered(version, inputs=[[AGE]], outputs=[[23.5]], output_names=["prediction"])


def test_of_a_number_a_number_turns_out(signed_in):
    address, _ = estimating()
    client = signed_in(SEE, READ, LABEL)
    page = client.get(address)
    assert "23.5 minutes" in text(page)
    assert 'inputmode="decimal"' in page.content.decode()
    for junk in ("late", "nan", "1e999", "12,5", "--"):
        page = client.post(address, {"truth": junk})
        assert f"'{junk}' is no number: write it as 12.5." in html.unescape(text(page))
        assert f'value="{junk}"' in page.content.decode(), "what was typed is still there"
    assert "a whole number has at most 64 bits" not in text(client.post(address, {"truth": "1e300"}))
    for said, kept in (("1e3", 1000), (" 12.5 ", 12.5)):
        assert client.post(address, {"truth": said}).status_code == 302
        assert Label.objects.order_by("-revision").first().value == kept


def test_who_may_only_look_labels_nothing_and_the_attempt_is_on_record(signed_in):
    address, _ = answered()
    client = signed_in(SEE, READ)
    assert "It turned out …" not in text(client.get(address))
    for said in ("stays", "junk"):
        answer = client.post(address, {"truth": said})
        assert answer.status_code == 403
        assert "not say what turned out true" in text(answer)
    assert not Label.objects.exists()
    assert (Event.objects.first().action, Event.objects.first().after["action"]) == ("refuse", "label")


def test_a_prediction_of_a_hidden_model_is_like_one_that_is_not_there(client):
    seen, _ = answered()
    hidden, _ = answered(ready(model="fraud")[0])
    shadow, _ = answered(ready(model="other")[0], kind=SHADOW, model="churn")
    ben, eva = person(name="ben"), person(SEE, LABEL, name="eva")
    grant("user:ben", "churn", "view_predictions", "label")
    of_ben = browser(ben)
    missing = "/predictions/019a0000-0000-7000-8000-000000000000:0/"
    for method in (of_ben.get, of_ben.post):
        pages = [method(address) for address in (hidden, missing, shadow, "/predictions/junk/", seen[:-2] + "99/")]
        assert {page.status_code for page in pages} == {404}
        assert len({text(page) for page in pages}) == 1
        assert method(seen).status_code == 200
    assert [browser(eva).get(address).status_code for address in (seen, missing)] == [403, 404]
    assert browser(eva).post(seen, {"truth": "stays"}).status_code == 403
    assert client.get(seen)["Location"] == f"/login/?next={seen.replace(':', '%3A')}"


def test_many_labels_ask_as_much_of_the_database_as_one_and_the_newest_are_shown(signed_in):
    address, one = answered()
    client = signed_in(SEE, READ, INPUTS, LABEL)
    few = queries(client, address)
    for number in range(60):
        say([SaidLabel(turned_out(number % 2 == 1), one.id)], actor="cli:ana")
    assert queries(client, address) == few
    page = text(client.get(address))
    assert "revision 60 · it stands" in page
    assert "revision 10 " not in page


@pytest.mark.parametrize("script", SCRIPTS)
def test_D25_scripts_are_texts_on_the_page_and_in_its_form(script, signed_in):
    address, one = answered(
        ready_of("stays", script),
        inputs=[[AGE], [script]],
        outputs=[[script], [0.5, 0.5]],
        caller=f"key:{script}",
        entity_key=script,
        request_id=script,
        caller_id=script,
        parameters={script: script},
    )
    say([SaidLabel(script, one.id, source=script[:64])], actor=f"cli:{script}")
    RegisteredModel.objects.update(title=script)
    client = signed_in(SEE, READ, INPUTS, LABEL)
    for page in (client.get(address), client.post(address, {"truth": script})):
        assert Markup(page.content.decode()).live == []
    assert Markup(client.get(address).content.decode()).shown.count(script) > 8
