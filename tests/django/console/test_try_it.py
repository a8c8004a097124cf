"""Asking a real model through the page, with and without JavaScript."""

import html
import re

import pytest

from trivet.control.registry.models import ModelVersion

pytestmark = [pytest.mark.urls("trivet.server.urls")]
ROW = {"x-kilometres": "800", "x-weight": "2.5", "x-carrier": "truck"}
HTMX = {"HX-Request": "true"}


@pytest.fixture
def client(live_parcels, signed_in):
    return signed_in("view_registeredmodel", "predict")


def text(response):
    return html.unescape(" ".join(re.sub(r"<[^>]*>", " ", response.content.decode()).split()))


def value(response, label):
    """Return what stands in the field called `label`."""
    markup = response.content.decode()
    identity = re.search(rf'<label for="([\w-]+)">{label}', markup)[1]
    return html.unescape(re.search(rf'<input[^>]*id="{identity}"[^>]*value="([^"]*)"', markup)[1])


def test_the_form_is_filled_with_a_recorded_row(client):
    first, second = client.get("/models/parcels/"), client.get("/models/parcels/?row=1")
    assert "Filled with recorded row 1 of 20." in text(first)
    assert float(value(first, "kilometres")) != float(value(second, "kilometres"))
    assert value(first, "carrier") in {"bike", "truck", "O'Hare & <Sons>"}


def test_a_plain_post_answers_with_the_whole_page(client):
    page = client.post("/models/parcels/try/", ROW)
    assert page.status_code == 200
    assert re.search(r"Answer late Probability of each class late [> ]*\d\d\.\d % on time [< ]*\d\.\d %", text(page))
    assert "Version 1 (all traffic)" in text(page)
    assert value(page, "kilometres") == "800"


def test_htmx_gets_the_form_and_the_answer_alone(client):
    part = client.post("/models/parcels/try/", ROW, headers=HTMX)
    assert "<html" not in part.content.decode()
    assert 'hx-swap-oob="innerHTML:#answer"' in part.content.decode()
    assert "Answer late" in text(part)


def test_a_missing_value_may_be_left_empty_where_the_signature_says_so(client):
    assert "Answer late" in text(client.post("/models/parcels/try/", {**ROW, "x-weight": ""}))


def test_a_value_unlike_training_is_answered_and_flagged(client):
    page = text(client.post("/models/parcels/try/", {**ROW, "x-kilometres": "5000", "x-carrier": "rocket"}))
    assert "kilometres : above every value seen in training" in page
    assert "carrier : a value not seen in training" in page


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ("far", "Not a number."),
        ("nan", "Not a finite number."),
        ("1e999", "Not a finite number."),
    ],
)
def test_what_is_no_number_is_said_beside_its_field(client, wrong, sentence):
    page = client.post("/models/parcels/try/", {**ROW, "x-kilometres": wrong}, headers=HTMX)
    assert page.status_code == 200
    assert re.search(rf'id="try-0-error">{sentence}', page.content.decode())
    assert "One field needs another value. Nothing was predicted or recorded." in text(page)
    assert value(page, "kilometres") == wrong


def test_what_the_model_refuses_is_said_beside_its_field(client):
    page = client.post("/models/parcels/try/", {**ROW, "x-carrier": "\ue000"}, headers=HTMX)
    assert (
        "U+E000 stands for a missing text"
        in re.search(r'<p class="field-error" id="try-2-error">([^<]*)', page.content.decode())[1]
    )


def test_a_model_that_is_not_live_says_so(client, live_parcels):
    from trivet.control.registry import actions

    actions.register_version(name="draft", bundle=live_parcels, actor="cli:ana")
    part = client.post("/models/draft/try/", ROW, headers=HTMX)
    assert "No version is" in text(part)


def test_a_version_chosen_by_address_is_the_one_that_answers(client):
    page = text(client.post("/models/parcels/try/?version=1", ROW))
    assert "Version 1 (by number)" in page


def test_a_bundle_that_cannot_be_read_leaves_a_form_made_from_the_signature(client, monkeypatch):
    from trivet.console import samples
    from trivet.core.errors import BundleError

    def damaged(digest):
        raise BundleError("changed")

    samples._read.cache_clear()
    monkeypatch.setattr(samples, "fetch_bundle", damaged)
    page = client.get("/models/parcels/")
    assert "this version recorded no rows" in text(page)
    assert 1 < float(value(page, "kilometres")) < 900


def test_a_model_of_tensors_has_no_form(client):
    version = ModelVersion.objects.get()
    signature = {
        "inputs": [{"name": "image", "datatype": "FP32", "shape": [-1, 3, 8, 8]}],
        "outputs": [{"name": "scores", "datatype": "FP32", "shape": [-1, 4]}],
    }
    ModelVersion.objects.bulk_create(
        [ModelVersion(model=version.model, number=2, digest="0" * 64, runtime="onnx", signature=signature, manifest={})]
    )
    page = client.get("/models/parcels/?version=2")
    assert "Computes scores, from 1 input: image." in text(page)
    assert "Try it" not in text(page)
    assert client.post("/models/parcels/try/?version=2").status_code == 404
