"""Prediction ids are version 7 UUIDs that sort by the time they were made, and never repeat, not even after a fork."""

from __future__ import annotations

import os
import time
import uuid

from trivet.core.ids import new_prediction_id


def test_ids_are_uuids_of_version_7_with_the_time_in_front():
    before = time.time_ns() // 1_000_000
    made = uuid.UUID(new_prediction_id())
    after = time.time_ns() // 1_000_000
    assert (made.version, made.variant) == (7, uuid.RFC_4122)
    assert before <= made.int >> 80 <= after
    assert str(made) == str(made).lower()


def test_ids_sort_as_they_were_made():
    ids = []
    for _ in range(1000):
        ids.append(new_prediction_id())
        now = time.time_ns()
        while time.time_ns() - now < 1000:  # further apart than the id's resolution
            pass
    assert ids == sorted(ids)


def test_ids_do_not_repeat():
    assert len({new_prediction_id() for _ in range(100_000)}) == 100_000


def test_a_forked_child_draws_other_random_bits():
    new_prediction_id()
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writing, "\n".join(new_prediction_id() for _ in range(50)).encode())
        os._exit(0)
    mine = {new_prediction_id()[-12:] for _ in range(50)}
    os.waitpid(child, 0)
    theirs = {line[-12:] for line in os.read(reading, 65536).decode().splitlines()}
    os.close(reading)
    os.close(writing)
    assert len(theirs) == 50
    assert not mine & theirs
