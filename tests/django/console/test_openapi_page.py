"""The page of a version's OpenAPI document: what it tells, to whom, and that the document is the one programs get."""

import json
import re

import pytest

from tests.django.console.test_pages import SEE, live, text
from tests.django.console.test_parts import HOUSE
from tests.django.worlds import bundle
from trivet.console.headers import CONTENT_SECURITY_POLICY
from trivet.console.openapi_page import FIELDS_SHOWN, document_of, openapi_page
from trivet.console.subject import subject
from trivet.control.registry import actions
from trivet.control.registry.models import RegisteredModel
from trivet.core.signature import Input, Signature

pytestmark = [pytest.mark.django_db, pytest.mark.urls("trivet.server.urls")]
PAGE, DOCUMENT = "/models/churn/openapi/", "/models/churn/openapi.json"


def page_of(signature):
    """Return the page of a live model with `signature`."""
    actions.register_version(name="house", bundle=bundle("house", signature), actor="cli:ana")
    return openapi_page(subject("house", None), "https://models.example.com")


def test_strangers_and_who_may_not_see_models_get_neither_page_nor_document(client, signed_in):
    live()
    assert client.get(PAGE)["Location"] == f"/login/?next={PAGE}"
    assert client.get(DOCUMENT)["Location"] == f"/login/?next={DOCUMENT}"
    client = signed_in("predict")
    assert (client.get(PAGE).status_code, client.get(DOCUMENT).status_code) == (404, 404)


def test_the_page_tells_paths_needs_fields_outputs_and_answers(signed_in):
    live()
    response = signed_in(SEE).get(PAGE)
    assert response["Content-Security-Policy"] == CONTENT_SECURITY_POLICY
    page = text(response)
    assert "POST /v2/models/churn/predict" in page
    assert "POST /v2/models/churn/infer" in page
    assert "Authorization Bearer … An API key with the verb of the path." in page
    assert "X-API-Key" in page
    assert "application/json or text/csv" in page
    assert "POST /v2/models/churn/feedback" in page
    assert "application/json or application/x-ndjson" in page
    assert "Input tensors" in page
    assert "Trivet-Prediction-Id , Trivet-Model-Version" in page
    assert re.search(
        r"429 Too many requests of this key; ask again after `Retry-After` seconds\. [A-Z_ ,]+ Trivet-Error", page
    )


def test_the_model_page_leads_to_it_and_keeps_the_chosen_version(signed_in):
    live(versions=2)
    client = signed_in(SEE)
    assert 'href="/models/churn/openapi/"' in client.get("/models/churn/").content.decode()
    assert 'href="/models/churn/openapi/?version=1"' in client.get("/models/churn/?version=1").content.decode()
    page = client.get(PAGE + "?version=1")
    assert "/v2/models/churn/versions/1/predict" in text(page)
    assert f'href="{DOCUMENT}?version=1"' in page.content.decode()
    assert client.get(PAGE + "?version=9").status_code == 404


def test_a_model_without_versions_has_no_such_page(signed_in):
    RegisteredModel.objects.create(name="empty")
    client = signed_in(SEE)
    assert client.get("/models/empty/openapi/").status_code == 404
    assert client.get("/models/empty/openapi.json").status_code == 404
    assert "/openapi/" not in client.get("/models/empty/").content.decode()


def test_what_a_signature_says_is_shown_as_text(signed_in):
    live()
    RegisteredModel.objects.update(title="<script>alert(1)</script>")
    page = signed_in(SEE).get(PAGE).content.decode()
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page


def test_each_field_tells_its_type_what_is_accepted_and_an_example():
    page = page_of(HOUSE)
    predict, infer, feedback = page.operations
    assert [(field.name, field.is_needed) for field in feedback.fields] == [
        ("prediction_id", False),
        ("entity_key", False),
        ("label", True),
        ("observed_at", False),
        ("source", False),
    ]
    assert feedback.answer.status == "202"
    area, rooms, garden, lift, zone = predict.fields
    assert (area.title, area.type, area.accepted, area.example) == ("Living area", "number", "", "210.0")
    assert "FP64, in m²." in area.words
    assert "Seen in training: 20 to 400" in area.words
    assert (rooms.type, rooms.accepted, rooms.is_needed, rooms.example) == ("integer", "1 to 9", True, "5")
    assert (garden.type, garden.example) == ("boolean", "false")
    assert (lift.type, lift.is_needed) == ("boolean or null", False)
    assert (zone.type, zone.accepted, zone.example) == ("string", "inner, it's", "inner")
    assert predict.optional == ("id", "outputs", "parameters", "entity_keys")
    assert [field.name for field in infer.fields] == ["area", "rooms", "garden", "lift", "zone"]
    assert "FP64" in infer.fields[0].type
    assert infer.fields[0].accepted == "[-1, 1]; -1: any number."
    (price,) = page.outputs
    assert (price.name, price.type, price.accepted) == ("prediction", "FP64", "[-1]; -1: any number.")


def test_an_optional_tensor_is_told_and_a_thousand_fields_are_counted():
    names = tuple(f"p{number}" for number in range(784))
    inputs = (
        Input(name="pixels", datatype="FP32", shape=(-1, 784), columns=names),
        Input(name="label", datatype="INT64", shape=(-1, 1), optional=True),
    )
    page = page_of(Signature(inputs=inputs, outputs=HOUSE.outputs))
    predict, infer, _ = page.operations
    assert len(predict.fields) == FIELDS_SHOWN
    assert predict.fields_left_out == 785 - FIELDS_SHOWN
    assert [field.is_needed for field in infer.fields] == [True, False]
    assert infer.fields[0].example.endswith(", …")


def test_tensors_that_have_no_json_are_told_without_a_call():
    half = Input(name="x", datatype="FP16", shape=(-1, 1))
    infer, _ = page_of(Signature(inputs=(half,), outputs=HOUSE.outputs)).operations
    assert [field.name for field in infer.fields] == ["x"]
    assert infer.curl == ""
    assert "octet-stream" in infer.headers[-1].value


@pytest.mark.django_db(transaction=True)
@pytest.mark.urls("trivet.serving.urls")
def test_the_document_is_the_one_programs_get_and_its_calls_answer(live_parcels, client):
    _row, plaintext = actions.issue_key(name="test", grants={"parcels": ["predict", "view", "label"]}, actor="user:ana")
    headers = {"authorization": f"Bearer {plaintext}", "host": "testserver"}
    by_key = client.get("/v2/models/parcels/openapi.json", headers=headers)
    assert by_key.status_code == 200, by_key.content
    shown, _signature = document_of(subject("parcels", None), "https://models.example.com")
    assert shown["servers"] == [{"url": "https://models.example.com"}]
    assert shown | {"servers": []} == by_key.json() | {"servers": []}
    for path, methods in shown["paths"].items():
        (example,) = methods["post"]["requestBody"]["content"]["application/json"]["examples"].values()
        answer = client.post(path, json.dumps(example["value"]), content_type="application/json", headers=headers)
        assert answer.status_code in (200, 202), answer.content


def test_whoever_is_signed_in_gets_the_document_itself(signed_in):
    live()
    response = signed_in(SEE).get(DOCUMENT)
    assert response["Content-Type"] == "application/json"
    assert response["Content-Security-Policy"] == CONTENT_SECURITY_POLICY
    assert set(response.json()["paths"]) == {f"/v2/models/churn/{verb}" for verb in ("predict", "infer", "feedback")}
