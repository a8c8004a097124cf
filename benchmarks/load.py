"""The load generator, wrk: a closed loop of connections that post one body."""

from __future__ import annotations

import json
import re
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Run:
    """What one run found: requests, requests a second, latencies in milliseconds."""

    requests: int
    rate: float
    p50_ms: float
    p99_ms: float


def wrk(url: str, body: bytes, headers: Mapping[str, str], *, connections: int, seconds: int) -> Run:
    """Load `url` for some seconds; raises when any answer was not a 2xx."""
    with tempfile.TemporaryDirectory() as folder:
        script, content = Path(folder, "post.lua"), Path(folder, "body")
        content.write_bytes(body)
        sent = {"Content-Type": "application/json", **headers}
        lines = [f"wrk.headers[{json.dumps(name)}] = {json.dumps(value)}" for name, value in sent.items()]
        read = f'local file = io.open({json.dumps(str(content))}, "rb")\nwrk.body = file:read("*a")'
        script.write_text("\n".join(['wrk.method = "POST"', *lines, read]))
        command = [
            "wrk",
            "-t1",
            f"-c{connections}",
            f"-d{seconds}s",
            "--latency",
            "--timeout=30s",
            "-s",
            str(script),
            url,
        ]
        output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    if "Non-2xx" in output or "Socket errors" in output:
        raise RuntimeError(f"not every request was answered:\n{output}")
    return Run(
        int(_match(r"(\d+) requests in", output)),
        float(_match(r"Requests/sec:\s+([\d.]+)", output)),
        _milliseconds(_match(r"(?m)^\s+50%\s+(\S+)", output)),
        _milliseconds(_match(r"(?m)^\s+99%\s+(\S+)", output)),
    )


def _match(pattern: str, text: str) -> str:
    found = re.search(pattern, text)
    if found is None:
        raise RuntimeError(f"wrk printed no {pattern}:\n{text}")
    return found[1]


def _milliseconds(text: str) -> float:
    value, unit = re.fullmatch(r"([\d.]+)(us|ms|s)", text).groups()  # type: ignore[union-attr]
    return float(value) * {"us": 0.001, "ms": 1.0, "s": 1000.0}[unit]
