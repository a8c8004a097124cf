"""Which requests share a run, when that pays, and when one waits for another."""

from __future__ import annotations

import numpy as np
import pytest

from trivet.dataplane.engines.worker.batching import Batcher, Costs, Waiting, joined, parted
from trivet.dataplane.engines.worker.frames import Ask


def one(
    *, rows: int = 1, outputs: tuple[str, ...] = ("y",), width: int = 1, at: float = 0.0, is_alone: bool = False
) -> Waiting:
    return Waiting(Ask(1e9, list(outputs), [], is_alone), {"x": np.full((rows, width), at)}, rows, object(), at)


def batcher(max_rows: int = 32, *, delay: float = 0.0, splits: bool = True) -> Batcher:
    return Batcher(max_rows=max_rows, max_delay_seconds=delay, splits=splits)


def sizes(queue: Batcher, *waiting: Waiting) -> list[int]:
    """Return how many requests each run takes until the queue is empty."""
    for request in waiting:
        queue.add(request)
    taken = []
    while batch := queue.take():
        taken.append(len(batch))
    return taken


def test_what_has_queued_runs_together_up_to_the_most_rows():
    assert sizes(batcher(4), *[one() for _ in range(10)]) == [4, 4, 2]
    assert sizes(batcher(4), one(rows=3), one(rows=3), one()) == [2, 1]  # 3 and 1, then 3


def test_a_request_larger_than_a_batch_runs_alone():
    assert sizes(batcher(4), one(rows=100), one(), one()) == [1, 2]


def test_only_requests_of_one_kind_share_a_run():
    queue = batcher()
    a, b = one(outputs=("y",)), one(outputs=("z",))
    c, d = one(outputs=("y",)), one(outputs=("z", "y"))
    for request in (a, b, c, d, one(width=2)):
        queue.add(request)
    assert queue.take() == [a, c]
    assert queue.take() == [b]
    assert queue.take() == [d]
    assert len(queue) == 1


def test_who_is_to_run_alone_does():
    assert sizes(batcher(), one(), one(is_alone=True), one()) == [2, 1]


def test_without_rows_nothing_is_shared():
    assert sizes(batcher(splits=False), one(), one()) == [1, 1]
    assert sizes(batcher(1), one(), one()) == [1, 1]


def test_a_caller_that_left_is_not_run():
    queue = batcher()
    gone, stays = one(), one()
    queue.add(gone)
    queue.add(stays)
    queue.drop(gone.sender)
    assert queue.take() == [stays]


def test_each_request_gets_its_own_rows():
    batch = [one(rows=1, at=1.0), one(rows=3, at=2.0), one(rows=2, at=3.0)]
    x = joined(batch)["x"]
    assert x[:, 0].tolist() == [1, 2, 2, 2, 3, 3]
    parts = parted(batch, [x * 10, np.array(list("abcdef"), dtype=object)])
    assert [[array.tolist() for array in part] for part in parts] == [
        [[[10]], ["a"]],
        [[[20]] * 3, ["b", "c", "d"]],
        [[[30]] * 2, ["e", "f"]],
    ]


def cost(costs: Costs, seconds_a_run: float, seconds_a_row: float) -> None:
    for rows in (1, 2, 4, 8, 16, 32):
        for _ in range(20):
            costs.note(rows, seconds_a_run + seconds_a_row * rows)


@pytest.mark.parametrize(
    ("a_run", "a_row", "limit"),
    [
        (0.005, 0.0, 32),  # a native forest: reaching it is all it costs
        (0.0, 0.001, 1),  # rows cost what they cost: off
        (0.001, 0.001, 4),  # a row of 8 is within a tenth of one of 4 ... and so on
    ],
)
def test_the_limit_is_where_a_larger_run_is_no_longer_cheaper_a_row(a_run: float, a_row: float, limit: int):
    costs = Costs(32)
    assert costs.limit() == 32  # nothing is known: try
    cost(costs, a_run, a_row)
    assert limit <= costs.limit() <= 4 * limit


def test_what_did_not_pay_is_tried_again():
    costs = Costs(32)
    cost(costs, 0.0, 0.001)
    assert costs.limit() == 1
    for _ in range(500):
        costs.note(1, 0.001)
    assert costs.limit() == 32


def test_a_request_that_is_alone_never_waits():
    queue = batcher(delay=1.0)
    cost(queue.costs, 0.1, 0.0)
    for at in range(10):
        queue.add(one(at=at * 0.001))
        assert queue.patience() == 0.0
        queue.take()
    assert queue.patience() == 0.0


def test_company_is_waited_for_where_it_saves_more_than_it_costs():
    queue = batcher(delay=0.01)
    cost(queue.costs, 0.1, 0.0)
    for at in range(8):
        queue.add(one(at=at * 0.0001))
    assert len(queue.take()) == 8
    for at in range(100):
        queue.add(one(at=0.001 + at * 0.0001))
        if at == 0:
            queue._gap = 0.0001
            assert 0 < queue.patience() <= 0.01
    queue.take()
    slow = batcher(delay=0.01)
    cost(slow.costs, 0.0, 0.001)
    for at in range(8):
        slow.add(one(at=at * 0.0001))
    slow._last_size = 16
    assert slow.patience() == 0.0


def test_what_a_run_will_take_is_told_from_runs_of_its_size_else_from_the_row_that_was_measured():
    costs = Costs(64)
    assert costs.expected(1000, 0.002) == pytest.approx(2.0)
    costs.note(1000, 0.5)
    assert costs.expected(1000, 0.002) == pytest.approx(0.5)
    assert costs.expected(800, 0.002) == pytest.approx(0.4)
    assert costs.expected(1, 0.002) == pytest.approx(0.002)
