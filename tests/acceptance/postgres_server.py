"""A PostgreSQL of a test's own: made anew in a folder, on a free port, to be stopped and started."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import psycopg

from tests.acceptance.servers import DEADLINE_SECONDS, free_port, wait_for

ACCOUNT = "postgres"  # the server refuses to run as root
USER = "trivet"


def programs() -> Path | None:
    """Return the folder with PostgreSQL's programs, None where there is none."""
    candidates = [*sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)]
    candidates += [Path(found).parent for found in [shutil.which("initdb")] if found]
    return next(
        (folder for folder in candidates if (folder / "initdb").exists() and (folder / "postgres").exists()), None
    )


class PostgresServer:
    """One server, not started yet, with an empty database; or with a `database` that the files of another one have."""

    def __init__(self, folder: Path, binaries: Path, files: Path | None = None, database: str = "postgres") -> None:
        self.port = free_port()
        self.url = f"postgres://{USER}@127.0.0.1:{self.port}/{database}"
        self._folder, self._binaries = folder, binaries
        self._account = ACCOUNT if os.geteuid() == 0 else None
        self._process: subprocess.Popen[bytes] | None = None
        if self._account is not None:
            shutil.chown(folder, self._account)
        if files is None:
            self._make()
        else:
            copy_files(files, self.files)

    @property
    def files(self) -> Path:
        """Where its files are; whole while it does not run."""
        return self._folder / "data"

    def _make(self) -> None:
        options = ["--auth=trust", f"--username={USER}", "--encoding=UTF8", "--no-locale", "--no-sync"]
        subprocess.run(
            [self._binaries / "initdb", "-D", self.files, *options],
            cwd=self._folder,
            user=self._account,
            check=True,
            capture_output=True,
            timeout=DEADLINE_SECONDS,
        )

    def start(self) -> None:
        """Start it, and return when it answers."""
        options = ["-p", str(self.port), "-k", str(self._folder), "-h", "127.0.0.1", "-c", "fsync=off"]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [self._binaries / "postgres", "-D", self.files, *options],
                cwd=self._folder,
                user=self._account,
                stdout=log,
                stderr=log,
            )
        wait_for(self._answers)

    def stop(self) -> None:
        """Stop it at once, as `pg_ctl stop -m immediate` does: it cuts every connection and writes nothing more."""
        if self._process is not None:
            self._process.send_signal(signal.SIGQUIT)
            self._process.wait(timeout=DEADLINE_SECONDS)
            self._process = None

    def read(self, query: str) -> list[tuple]:
        """Return the rows of a query, read without our own code."""
        with closing(psycopg.connect(self.url, connect_timeout=5)) as connection:
            return connection.execute(query).fetchall()

    def _answers(self) -> bool:
        try:
            return bool(self.read("select 1"))
        except psycopg.OperationalError:
            return False


def copy_files(source: Path, target: Path) -> None:
    """Copy the files of a server that does not run, as they are and whosever they are."""
    subprocess.run(["cp", "-a", "-T", source, target], check=True)


@contextmanager
def postgres_server(
    binaries: Path, *, files: Path | None = None, database: str = "postgres"
) -> Iterator[PostgresServer]:
    """Run one for as long as the block runs. Its folder is one that its account may enter, as a test's own is not."""
    with tempfile.TemporaryDirectory(prefix="trivet-postgres-", ignore_cleanup_errors=True) as folder:
        server = PostgresServer(Path(folder), binaries, files, database)
        server.start()
        try:
            yield server
        finally:
            server.stop()
