"""What `Client` sends for arrays, and what it says of an answer that was cut short."""

import http.client
import socket
import threading

import numpy as np
import pytest

from trivet.client import Client
from trivet.client.client import _tensor
from trivet.core.errors import InvalidRequest, Unavailable


@pytest.mark.parametrize(
    "array",
    [np.array([b"UA", "Île".encode()]), np.array([b"UA", "Île".encode()], dtype=object), np.array(["UA", "Île"])],
)
def test_bytes_are_sent_as_the_text_they_hold(array):
    assert _tensor("carrier", array) == {"name": "carrier", "shape": [2], "datatype": "BYTES", "data": ["UA", "Île"]}


def test_bytes_that_are_no_text_are_refused():
    with pytest.raises(InvalidRequest, match="carrier"):
        _tensor("carrier", np.array([b"\xff\xfe"]))


def test_an_answer_that_is_cut_short_is_unavailable():
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def answer():
            connection, _ = listening.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{}")

        thread = threading.Thread(target=answer)
        thread.start()
        with Client(f"http://127.0.0.1:{listening.getsockname()[1]}") as client, pytest.raises(Unavailable) as found:
            client.metadata("churn")
        thread.join()
    assert isinstance(found.value.__cause__, http.client.IncompleteRead)
