"""The limit: uvicorn reading a body and answering an empty object, two processes on one socket, nothing else."""

from __future__ import annotations

import os
import socket
import sys
from typing import Any

import uvicorn


async def application(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Read the body, say {}."""
    if scope["type"] != "http":
        return
    while (await receive()).get("more_body"):
        pass
    headers = [(b"content-type", b"application/json"), (b"content-length", b"2")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"{}"})


def main(port: int, processes: int) -> None:
    """Serve until killed."""
    listening = socket.socket()
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listening.bind(("127.0.0.1", port))
    listening.listen(2048)
    for _ in range(processes - 1):
        if os.fork() == 0:
            break
    config = uvicorn.Config(
        application, loop="uvloop", http="httptools", ws="none", lifespan="off", access_log=False, log_config=None
    )
    uvicorn.Server(config).run(sockets=[listening])


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
