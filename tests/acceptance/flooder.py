"""A process that asks as fast as it is answered, until its standard input closes: without a key, with made-up ones, or with one.

`flooding` starts it; `python -m tests.acceptance.flooder PORT CONNECTIONS [KEY BODY]` is the process. It prints how often it
was told what.
"""

from __future__ import annotations

import json
import selectors
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import cycle
from pathlib import Path

from tests.acceptance.servers import DEADLINE_SECONDS, clean_environment

REPOSITORY = Path(__file__).parents[2]
MADE_UP = ("", "Authorization: Bearer trivet_made_up\r\n", "Authorization: Bearer trivet_k3x9q2ab_" + "x" * 49 + "\r\n")


@contextmanager
def flooding(port: int, connections: int, *good: str) -> Iterator[Counter[str]]:
    """Flood the server on `port` for as long as the block runs; then the counter says which status it was told how often.

    A `good` flood has a key, and a body that works.
    """
    told: Counter[str] = Counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.acceptance.flooder", str(port), str(connections), *good],
        cwd=REPOSITORY,
        env=clean_environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "flooding\n"
        yield told
        said, _ = process.communicate(timeout=DEADLINE_SECONDS)
        told.update(json.loads(said))
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate()


def main(port: int, connections: int, key: str = "", body: str = "{}") -> None:
    """Send on each connection, once the answer before is there."""
    requests = [
        (
            "POST /v2/models/churn/infer HTTP/1.1\r\nHost: x.localhost\r\nContent-Type: application/json\r\n"
            f"{presented}Content-Length: {len(body)}\r\n\r\n{body}"
        ).encode()
        for presented in ([f"Authorization: Bearer {key}\r\n"] if key else MADE_UP)
    ]
    selector = selectors.DefaultSelector()
    selector.register(sys.stdin, selectors.EVENT_READ)
    following = cycle(requests)
    for _ in range(connections):
        connection = socket.create_connection(("127.0.0.1", port))
        connection.sendall(next(following))
        selector.register(connection, selectors.EVENT_READ)
    sys.stdout.write("flooding\n")
    sys.stdout.flush()
    told: Counter[str] = Counter()
    while True:
        for ready, _ in selector.select():
            if ready.fileobj is sys.stdin:
                sys.stdout.write(json.dumps(told))
                return
            assert isinstance(ready.fileobj, socket.socket)
            told[ready.fileobj.recv(65536)[9:12].decode()] += 1
            ready.fileobj.sendall(next(following))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), *sys.argv[3:])
