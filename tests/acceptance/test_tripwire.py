"""S20 where it happens: a server whose code has begun to unpickle on request, as a regression of ours would."""

from __future__ import annotations

import http.client
import json
from collections.abc import Callable

import grpc
import pytest

from tests.acceptance.conftest import Churn
from tests.acceptance.servers import Server, copy_project, free_port, serving, trivet, wait_for
from tests.acceptance.test_grpc_draining import channel_to, metadata, prediction_id, request
from trivet.dataplane.frontends.grpc.descriptor import inference
from trivet.dataplane.frontends.grpc.servicer import INFERENCE_SERVICE
from trivet.model.sandbox import tripwire

pytestmark = pytest.mark.slow

SETTINGS = """
import pickle
from trivet.server.settings import *
from trivet.dataplane import infer

ROOT_URLCONF = "site_urls"
choose = infer.choose

def choose_and_unpickle(model, selector, request):
    if request.id == "unpickle":
        pickle.loads(b"cos\\ngetpid\\n(tR.")
    return choose(model, selector, request)

infer.choose = choose_and_unpickle
"""
URLS = """
import os, pickle, subprocess
from django.http import HttpResponse
from django.urls import path

def page(request):
    subprocess.run(["true"], check=True)
    return HttpResponse(str(pickle.loads(b"cos\\ngetpid\\n(tR.")))

urlpatterns = [path("page", page)]
"""


@pytest.fixture(scope="module")
def churn_that_unpickles(churn_template: Churn, tmp_path_factory: pytest.TempPathFactory) -> Churn:
    project = copy_project(churn_template.project, tmp_path_factory.mktemp("tripwire") / "project")
    (project / "site_settings.py").write_text(SETTINGS)
    (project / "site_urls.py").write_text(URLS)
    made = trivet("keys", "create", "all", "--model=*", "--verb=predict", "--verb=view", "--json", project=project)
    return Churn(project, json.loads(made.stdout)["key"], churn_template.body, churn_template.rows)


def test_S20_a_worker_whose_code_unpickles_ends_is_counted_and_replaced_while_the_site_may(
    churn_that_unpickles: Churn,
):
    churn, address = churn_that_unpickles, f"127.0.0.1:{free_port()}"
    settings = {"DJANGO_SETTINGS_MODULE": "site_settings", "PYTHONPATH": str(churn.project)}
    with serving(churn.project, workers=1, grpc=address, **settings) as server:
        web = server.web_workers()
        others = set(server.children()) - set(web)
        assert ask(server, churn, "GET", "/page").isdigit()
        assert predict_by_rest(server, churn, "fine")
        assert server.web_workers() == web

        with pytest.raises((http.client.HTTPException, OSError)):
            predict_by_rest(server, churn, "unpickle")
        wait_for(lambda: unless_it_fails(lambda: predict_by_rest(server, churn, "fine")))
        assert server.web_workers() != web
        assert others < set(server.children())

        assert predict_by_grpc(address, churn, "fine")
        with pytest.raises(grpc.RpcError):
            predict_by_grpc(address, churn, "unpickle")
        wait_for(lambda: unless_it_fails(lambda: predict_by_grpc(address, churn, "fine")))
        metrics = ask(server, churn, "GET", "/metrics").splitlines()
        assert server.stop() == 0
    assert {'trivet_tripwire_total{process="web"} 1', 'trivet_tripwire_total{process="grpc"} 1'} <= set(metrics)
    alarms = [line for line in server.lines if "event=tripwire" in line]
    assert ["CRITICAL" in line and "audit=pickle.find_class" in line for line in alarms] == [True, True]
    assert "at=trivet.dataplane.infer:" in alarms[0]
    died = [line for line in server.lines if "event=process_died" in line]
    assert [f"status={tripwire.STATUS}" in line for line in died] == [True, True], died


def ask(server: Server, churn: Churn, method: str, path: str, body: bytes | None = None) -> str:
    """Return the body of a good answer, on a connection of its own."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
    headers = {"Authorization": f"Bearer {churn.key}", "Content-Type": "application/json"}
    try:
        connection.request(method, path, body if method == "POST" else None, headers)
        response = connection.getresponse()
        told = response.read().decode()
    finally:
        connection.close()
    assert response.status == 200, told
    return told


def predict_by_rest(server: Server, churn: Churn, request_id: str) -> str:
    body = json.dumps({"id": request_id, **json.loads(churn.body)}).encode()
    return str(json.loads(ask(server, churn, "POST", "/v2/models/churn/infer", body))["parameters"]["prediction_id"])


def predict_by_grpc(address: str, churn: Churn, request_id: str) -> str:
    message = request(churn)
    message.id = request_id
    with channel_to(address) as channel:
        stub = channel.unary_unary(
            f"/{INFERENCE_SERVICE}/ModelInfer",
            inference.ModelInferRequest.SerializeToString,
            inference.ModelInferResponse.FromString,
        )
        return prediction_id(stub(message, metadata=metadata(churn), timeout=20))


def unless_it_fails(call: Callable[[], str]) -> str | None:
    """Return what `call` does; None where nobody answers now."""
    try:
        return call()
    except (http.client.HTTPException, OSError, grpc.RpcError):
        return None
