"""A ready-made server in a process of its own, for tests that look at it through a browser.

`python -m tests.acceptance.console_server HOST:PORT` serves the project in `TRIVET_PROJECT`, with a keeper beside it.
"""

import contextlib
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
START_SECONDS = 60
SECRET = "a key for tests only, long enough for every check"


@dataclass(frozen=True)
class Project:
    """A project's folder and its environment."""

    folder: Path

    @property
    def environment(self) -> dict[str, str]:
        own = {
            "TRIVET_PROJECT": str(self.folder),
            "SECRET_KEY": SECRET,
            "DJANGO_SETTINGS_MODULE": "trivet.server.settings",
            "TRIVET_LEASE_SECONDS": "30",
        }
        return {**os.environ, **own}

    def run(self, script: str) -> str:
        """Run Python in the project, Django set up; return what it prints."""
        code = f"import django; django.setup()\n{script}"
        done = subprocess.run(
            [sys.executable, "-c", code], env=self.environment, cwd=ROOT, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout


@contextlib.contextmanager
def serving(project: Project) -> Iterator[str]:
    """Serve `project` and yield its address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        bind = f"127.0.0.1:{probe.getsockname()[1]}"
    log = project.folder / "server.log"
    with log.open("wb") as output:
        server = subprocess.Popen(
            [sys.executable, "-m", "tests.acceptance.console_server", bind],
            env=project.environment,
            cwd=ROOT,
            stdout=output,
            stderr=output,
        )
        try:
            _wait_until_it_answers(server, f"http://{bind}/v2/health/live", log)
            yield f"http://{bind}"
        finally:
            server.terminate()
            server.wait(timeout=30)


def _wait_until_it_answers(server: subprocess.Popen, url: str, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        assert server.poll() is None, log.read_text()
        with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=1):
            return
    raise AssertionError(f"the server did not answer within {START_SECONDS} s: {log.read_text()}")


def _main(bind: str) -> int:
    import django

    django.setup()
    from trivet.serving.keeper import Keeper, spool_root
    from trivet.serving.listening import open_listening_socket
    from trivet.serving.web import run_web_worker

    Keeper(spool_root()).start()
    return run_web_worker(open_listening_socket(bind))


if __name__ == "__main__":
    sys.exit(_main(sys.argv[1]))
