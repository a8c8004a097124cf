"""What is made once in a run."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from threading import Barrier, BrokenBarrierError
from types import SimpleNamespace

import pytest

from tests.once import WORKER, made_once

PROCESSES = ("gw0", "gw1", "gw2")
AT_ONCE_SECONDS = 0.3


def paths_in(base: Path) -> pytest.TempPathFactory:
    return SimpleNamespace(getbasetemp=lambda: base)  # type: ignore[return-value]


def test_of_those_who_want_a_thing_at_once_one_makes_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(WORKER, PROCESSES[0])
    together, all_make, makers = Barrier(len(PROCESSES)), Barrier(len(PROCESSES)), []

    def make(folder: Path) -> None:
        makers.append(folder)
        with suppress(BrokenBarrierError):
            all_make.wait(timeout=AT_ONCE_SECONDS)  # were they let in, too, they would come
        (folder / "it").touch()

    def take(name: str) -> Path:
        (tmp_path / name).mkdir()
        together.wait()
        return made_once(paths_in(tmp_path / name), "thing", make)

    with ThreadPoolExecutor(
        len(PROCESSES)
    ) as pool:  # a lock of a file keeps threads from each other as it does processes
        folders = set(pool.map(take, PROCESSES))
    assert list(folders) == makers == [tmp_path / "once" / "thing"]
    assert (makers[0] / "it").exists()


def test_what_could_not_be_made_is_made_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv(WORKER, raising=False)

    def fail(folder: Path) -> None:
        (folder / "half").touch()
        raise OSError("no room")

    with pytest.raises(OSError, match="no room"):
        made_once(paths_in(tmp_path), "thing", fail)
    folder = made_once(paths_in(tmp_path), "thing", lambda folder: (folder / "it").touch())
    assert [path.name for path in folder.iterdir()] == ["it"]
