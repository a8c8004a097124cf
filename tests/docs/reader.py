"""Follows a page as a person would: types its commands, writes its files, and compares what comes back."""

from __future__ import annotations

import http.client
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Self

from tests.acceptance.servers import DEADLINE_SECONDS, START_SECONDS, Output, clean_environment, free_port, wait_for
from tests.docs.pages import REPOSITORY, WRITTEN, Block, Command, blocks, commands, matches

PORT, GRPC_PORT = ":8000", ":8001"  # what the pages say; each reader has free ones instead
EVENTUALLY_SECONDS = 20.0
COMMAND_SECONDS = 120
LEASE_SECONDS = "3"  # how long a command waits for a process that went away: not five seconds, on each page
PROMPT = f"PYTHONPATH={REPOSITORY} {sys.executable} -m tests.docs.prompt"
SERVERS = {  # what runs until it is stopped, and how it is told its address
    r"(python manage\.py )?trivet serve( --grpc \S+)?": " --bind 127.0.0.1{port} --workers 1",
    r"uvicorn .*": " --port {number}",
    r"gunicorn .*": " --bind 127.0.0.1{port}",
    r"python manage\.py runserver": " 127.0.0.1{port} --noreload",
}
BESIDE = r"(python manage\.py )?trivet keeper|celery .* worker .*"  # runs beside a server, without an address


class Reader:
    """One reader with a folder, a shell's memory, and what they left running. Use it as a context manager."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._place = folder  # where their shell is
        self._state = folder.with_name(f"{folder.name}.environment")
        self._state.touch()
        self._port, self._grpc_port = f":{free_port()}", f":{free_port()}"
        self._server: Running | None = None
        self._beside: list[Running] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """End what runs."""
        for running in [*self._beside, *([self._server] if self._server else [])]:
            running.stop()
        self._server, self._beside = None, []

    def follow(self, page: str) -> None:
        """Do all that `page` says; raises `AssertionError` with the place where it is wrong."""
        for block in blocks(page):
            if block.skipped is None:
                self._do(block)

    def _do(self, block: Block) -> None:
        if block.marker == "stopped":
            self.stop()
        if block.language in WRITTEN:
            self._write(block)
        elif block.language in ("console", "pycon"):
            self._try(block)

    def _write(self, block: Block) -> None:
        for option, mode in (("file", "w"), ("append", "a")):
            if name := block.option(option):
                with (self._place / name).open(mode, encoding="utf-8") as file:
                    text = self._with_ports(block.text)
                    file.write(text if mode == "w" else f"\n{text}")
                return
        raise AssertionError(f"{block}: which file is this? (or make it a pycon block)")

    def _try(self, block: Block) -> None:
        """Run a block; one marked `eventually` until it comes true."""
        run = self._console if block.language == "console" else self._prompt
        deadline = time.monotonic() + (EVENTUALLY_SECONDS if block.marker == "eventually" else 0)
        while (problem := run(block)) and time.monotonic() < deadline:
            pass
        served = self._server.output() if problem and self._server else ""
        assert not problem, f"{block}: {problem}\n{served}"

    def _console(self, block: Block) -> str:
        typed = commands(block)
        for command in typed:
            status = int(block.option("exit") or 0) if command is typed[-1] else 0
            if problem := self._type(command, status):
                return problem
        return ""

    def _type(self, command: Command, status: int) -> str:
        """Run one command; return what is wrong with how it went, or nothing."""
        if re.fullmatch(BESIDE, command.text):
            self._beside.append(Running(self._script(command.text), self._environment()))
            return ""
        for pattern, address in SERVERS.items():
            if re.fullmatch(pattern, command.text):
                return self._serve(command, address)
        done = subprocess.run(
            ["bash", "-c", self._script(command.text)],
            env=self._environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=COMMAND_SECONDS,
            check=False,
        )
        output, _, place = done.stdout.rpartition("\0")
        self._place = Path(place)
        return self._problem(command.text, command.expected, output, ended=(done.returncode, status))

    def _serve(self, command: Command, address: str) -> str:
        """Start a server in the place of the one before, and wait until it answers."""
        if self._server is not None:
            self._server.stop()
        self._port = f":{free_port()}"  # a client of the one before may hold the old one
        options = address.format(port=self._port, number=self._port[1:])
        self._server = Running(self._script(command.text + options), self._environment())
        self._server.wait_ready(int(self._port[1:]), says="ready in" if "trivet serve" in command.text else "")
        return self._problem(command.text, command.expected, self._server.output())

    def _prompt(self, block: Block) -> str:
        text = self.folder.with_name(f"{self.folder.name}.prompt")
        text.write_text(self._with_ports(block.text), encoding="utf-8")
        return self._type(Command(f"{PROMPT} {text}", ()), 0)

    def _problem(self, text: str, expected: tuple[str, ...], output: str, ended: tuple[int, int] = (0, 0)) -> str:
        shown = output.replace(self._port, PORT).replace(self._grpc_port, GRPC_PORT)
        if ended[0] != ended[1]:
            return f"`{text}` ended with {ended[0]}:\n{shown}"
        if not matches(expected, shown):
            return f"`{text}` shows\n{shown}\nand the page\n" + "\n".join(expected)
        return ""

    def _script(self, command: str) -> str:
        """Return a script that remembers, as a shell does, what was exported and where it stood."""
        remember = f"export -p > {self._state}; printf '\\0%s' \"$PWD\""
        typed = self._with_ports(command)
        return f". {self._state}; cd {self._place}; {typed}\nstatus=$?; {remember}; exit $status"

    def _with_ports(self, text: str) -> str:
        return text.replace(PORT, self._port).replace(GRPC_PORT, self._grpc_port)

    def _environment(self) -> dict[str, str]:
        programs = Path(sys.executable).parent
        path = f"{programs}{os.pathsep}{os.environ['PATH']}"
        return clean_environment(PATH=path, PYTHONUNBUFFERED="1", TRIVET_LEASE_SECONDS=LEASE_SECONDS)


class Running:
    """A process that runs until it is stopped."""

    def __init__(self, script: str, environment: dict[str, str]) -> None:
        self._process = subprocess.Popen(
            ["bash", "-c", script],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self._output = Output(self._process)

    def output(self) -> str:
        """Return what it has printed."""
        return str(self._output)

    def wait_ready(self, port: int, *, says: str) -> None:
        """Return once it says so, or else once it answers anything."""

        def is_ready() -> bool:
            ended = self._process.poll() is not None
            said = any(line.startswith(says) for line in self._output.lines) if says else _answers(port)
            return ended or said

        wait_for(is_ready, START_SECONDS)
        assert self._process.poll() is None, f"it ended:\n{self.output()}"

    def stop(self) -> None:
        """End it with all it started."""
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGTERM)
        try:
            self._process.wait(timeout=DEADLINE_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        self._output.close()


def _answers(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        connection.request("GET", "/v2/health/live")
        connection.getresponse().read()
    except OSError:
        return False
    finally:
        connection.close()
    return True


def copy_of(folder: Path, place: Path) -> Path:
    """Return a copy of what a reader has made."""
    shutil.copytree(folder, place)
    return place
