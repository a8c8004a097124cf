"""How `Client` says what turned out true."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest

from trivet.client import Client
from trivet.client.client import RowPrediction
from trivet.core.errors import InvalidRequest
from trivet.core.ids import new_prediction_id

ROW = f"{new_prediction_id()}:3"


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Any]]:
    """What is sent, and where to."""
    requests: list[tuple[str, Any]] = []

    def call(_client: Client, _method: str, path: str, body: bytes) -> bytes:
        requests.append((path, json.loads(body)))
        return b'{"accepted":1,"receipt":"r"}'

    monkeypatch.setattr(Client, "_call", call)
    return requests


def test_a_label_names_its_prediction_by_id_or_by_the_entity(sent: list[tuple[str, Any]]):
    client = Client("http://127.0.0.1:9", "trivet_abc")
    at = datetime(2026, 1, 31, 12, tzinfo=UTC)
    assert client.label("churn", RowPrediction(id=ROW, value=0.5), np.bool_(True)) == "r"
    client.label("churn", "shop.customer:17", "stays", source="billing", observed_at=at)
    client.label_many("churn", [(ROW, 1), ("c-17", [1, "a"])])
    assert sent == [
        ("/v2/models/churn/feedback", {"labels": [{"prediction_id": ROW, "label": True}]}),
        (
            "/v2/models/churn/feedback",
            {
                "labels": [
                    {
                        "entity_key": "shop.customer:17",
                        "label": "stays",
                        "source": "billing",
                        "observed_at": "2026-01-31T12:00:00+00:00",
                    }
                ]
            },
        ),
        (
            "/v2/models/churn/feedback",
            {"labels": [{"prediction_id": ROW, "label": 1}, {"entity_key": "c-17", "label": [1, "a"]}]},
        ),
    ]


def test_what_is_no_label_is_refused_before_it_is_sent(sent: list[tuple[str, Any]]):
    client = Client("http://127.0.0.1:9", "trivet_abc")
    with pytest.raises(InvalidRequest, match="its id"):
        client.label("churn", 17, True)  # type: ignore[arg-type]  # a slip of the pen
    with pytest.raises(InvalidRequest, match="time zone"):
        client.label("churn", ROW, True, observed_at=datetime(2026, 1, 1))  # noqa: DTZ001
    assert sent == []
