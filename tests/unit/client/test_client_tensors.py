"""What `Client` sends for arrays, what it says of rows that are none, and of a server that is not there."""

import email.utils
import http.client
import socket
import threading
import time
from contextlib import contextmanager

import numpy as np
import pandas as pd
import pytest

from trivet.client import Client
from trivet.client.client import _tensor
from trivet.core.errors import InvalidRequest, RateExceeded, Unavailable


@pytest.mark.parametrize(
    "array",
    [np.array([b"UA", "Île".encode()]), np.array([b"UA", "Île".encode()], dtype=object), np.array(["UA", "Île"])],
)
def test_bytes_are_sent_as_the_text_they_hold(array):
    assert _tensor("carrier", array) == {"name": "carrier", "shape": [2], "datatype": "BYTES", "data": ["UA", "Île"]}


def test_bytes_that_are_no_text_are_refused():
    with pytest.raises(InvalidRequest, match="carrier"):
        _tensor("carrier", np.array([b"\xff\xfe"]))


@contextmanager
def answering(content):
    """Yield a client of a server that answers one request with these bytes."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def answer():
            connection, _ = listening.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(content)

        thread = threading.Thread(target=answer)
        thread.start()
        with Client(f"http://127.0.0.1:{listening.getsockname()[1]}") as client:
            yield client
        thread.join()


def test_an_answer_that_is_cut_short_is_unavailable():
    short = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{}"
    with answering(short) as client, pytest.raises(Unavailable) as found:
        client.metadata("churn")
    assert isinstance(found.value.__cause__, http.client.IncompleteRead)


IN_AN_HOUR = "a date in an hour"


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("17", 17),
        ("0", 0),
        ("", 1),  # as a proxy in front may answer: without one, with a date, with what is neither
        (IN_AN_HOUR, 3600),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 0),
        ("soon", 1),
        ("Sat, 99 Foo 99999 99:99:99 GMT", 1),
        ("9" * 40, 1),
        ("-5", 1),
    ],
)
def test_who_asks_too_often_is_told_so_by_an_error_of_its_own_and_when_to_ask_again(header, seconds):
    if header == IN_AN_HOUR:
        header = email.utils.formatdate(time.time() + 3600, usegmt=True)
    told = f"Retry-After: {header}\r\n" if header else ""
    body = '{"error":"over what this key may ask: 1/h. Ask again in 17 s."}'
    head = f"HTTP/1.1 429 Too Many Requests\r\nTrivet-Error: RATE\r\n{told}Content-Length: {len(body)}\r\n\r\n"
    with (
        answering(f"{head}{body}".encode()) as client,
        pytest.raises(RateExceeded, match="over what this key") as found,
    ):
        client.predict("churn", [{"age": 50}])
    assert found.value.code == "RATE"
    assert 0 <= seconds - found.value.retry_after < 600, "a date is looked at some time after it was written"
    assert not isinstance(found.value, Unavailable)


def test_a_429_of_a_proxy_that_says_nothing_is_the_same_error():
    answer = b"HTTP/1.1 429 Busy\r\nContent-Length: 4\r\n\r\nno!\n"
    with answering(answer) as client, pytest.raises(RateExceeded, match="the server answered 429") as found:
        client.is_ready("churn")
    assert found.value.retry_after == 1


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        ({"age": 50}, r"give a list of rows: \[row\]"),
        (pd.DataFrame({"age": [50]}), r"df\.to_dict\('records'\)"),
        (None, "rows is a NoneType; give a list of rows"),
        ("age", "rows is a str"),
        ([{"age": 50}, [50]], "row 1 is a list; a row is a mapping"),
    ],
)
def test_rows_that_are_none_are_refused_with_the_way_to_give_them(rows, sentence):
    with Client("http://127.0.0.1:9") as client, pytest.raises(InvalidRequest, match=sentence):
        client.predict("churn", rows)


@pytest.mark.parametrize("model", [None, ""])
def test_a_model_without_a_name_is_refused(model):
    with Client("http://127.0.0.1:9") as client, pytest.raises(InvalidRequest, match="give its name"):
        client.predict(model, [{"age": 50}])


def test_a_server_that_is_not_there_is_unreachable_and_its_port_is_named():
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))  # and does not listen
        address = f"127.0.0.1:{bound.getsockname()[1]}"
        with Client(f"http://{address}") as client, pytest.raises(Unavailable, match=address) as found:
            client.predict("churn", [{"age": 50}])
    assert found.value.code == "UNREACHABLE"


def test_a_key_read_from_a_file_works_and_one_of_two_lines_is_refused_without_being_said(monkeypatch):
    monkeypatch.delenv("TRIVET_API_KEY", raising=False)
    with Client("http://127.0.0.1:1", "trivet_abc\n") as client:
        assert client._headers["Authorization"] == "Bearer trivet_abc"
    with pytest.raises(InvalidRequest, match="not well-formed") as refused:
        Client("http://127.0.0.1:1", "trivet_abc\nX-Other: 1")
    assert "abc" not in str(refused.value)


def test_one_output_as_a_text_and_a_missing_value_of_pandas_are_told_the_way():
    with Client("http://127.0.0.1:1") as client:
        with pytest.raises(InvalidRequest, match=r"give a list: \['probabilities'\]"):
            client.predict("late", [{"age": 1}], outputs="probabilities")
        with pytest.raises(InvalidRequest, match=r"NAType; .* or None if missing"):
            client.predict("late", [{"age": pd.NA}])
