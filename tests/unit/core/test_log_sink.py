"""A log's sink that takes nothing holds nobody up."""

from __future__ import annotations

import logging
import os
import stat
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from trivet.core.log_sink import LogSink

WORDS = "event=something model=churn"


def logger_of(sink: LogSink) -> logging.Logger:
    logger = logging.getLogger(f"{__name__}.{id(sink)}")
    logger.propagate = False
    logger.addHandler(sink)
    return logger


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    yield reading, writing
    os.close(reading)
    os.close(writing)


def read(descriptor: int) -> str:
    parts = []
    try:
        while part := os.read(descriptor, 1 << 20):
            parts.append(part)
    except BlockingIOError:
        pass
    return b"".join(parts).decode()


def test_F29_what_a_full_pipe_does_not_take_is_dropped_counted_and_told_later(pipe: tuple[int, int]):
    reading, writing = pipe
    sink = LogSink(writing)
    logger = logger_of(sink)
    began = time.monotonic()
    for number in range(5000):
        logger.warning("%s number=%d", WORDS, number)
    assert time.monotonic() - began < 5
    assert sink.dropped > 0
    kept = read(reading).splitlines()
    assert len(kept) + sink.dropped == 5000
    logger.warning("after")
    assert read(reading) == f"WARNING trivet.core.log_sink event=log_lines_dropped lines={sink.dropped}\nafter\n"
    logger.warning("and on")
    assert read(reading) == "and on\n"


def test_F29_a_line_longer_than_the_pipe_is_cut_and_the_next_begins_on_its_own(pipe: tuple[int, int]):
    reading, writing = pipe
    sink = LogSink(writing)
    logger = logger_of(sink)
    logger.warning("x" * (1 << 20))
    assert set(read(reading)) == {"x"}
    logger.warning("next")
    assert read(reading).splitlines()[1:] == ["WARNING trivet.core.log_sink event=log_lines_dropped lines=1", "next"]


def test_F29_others_who_share_the_pipe_still_wait_as_they_did(pipe: tuple[int, int]):
    _, writing = pipe
    LogSink(writing)
    assert os.get_blocking(writing)


@pytest.mark.parametrize("end", ["closed", "nobody reads", "full"])
def test_F29_a_sink_that_is_gone_drops_and_raises_nothing(end: str):
    reading, writing = os.pipe()
    if end == "full":
        os.dup2(os.open("/dev/full", os.O_WRONLY), writing)
    if end == "closed":
        os.close(writing)
    else:
        os.close(reading)
    sink = LogSink(writing)
    logger_of(sink).warning(WORDS)
    assert sink.dropped == 1


def test_lines_reach_a_file_whole_and_in_order(tmp_path: Path):
    with (tmp_path / "log").open("wb") as file:
        assert stat.S_ISREG(os.fstat(file.fileno()).st_mode)
        logger = logger_of(LogSink(file.fileno()))
        for number in range(3):
            logger.warning("%d %s", number, "y" * 5000)
        logger.warning("%d", "no number")
    lines = (tmp_path / "log").read_text().splitlines()
    assert [line[:3] for line in lines[:3]] == ["0 y", "1 y", "2 y"]
    assert [len(line) for line in lines[:3]] == [5002] * 3
    assert "'%d' ('no number',)" in lines[3]
