"""Limits of callers: what is let in, what is not, and when again. Several limiters on one folder are several processes."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings, strategies as st

from tests.scale import scaled
from trivet.core.errors import RateExceeded
from trivet.core.rates import read_rates
from trivet.dataplane.protocol.messages import Caller
from trivet.dataplane.rates import counters
from trivet.dataplane.rates.counters import (
    BATCHES,
    BOOT_ID,
    COLUMNS_OF_DIRECTORY,
    HEADER_WORDS,
    KEPT_NS,
    LEFT_NS,
    SECOND_NS,
    SLOT_WORDS,
    WORD,
)
from trivet.dataplane.rates.limiter import AGAIN_NS, Limiter
from trivet.dataplane.rates.window import Window

T0 = 10**15  # eleven days after the machine was started
DAY_NS = 86_400 * SECOND_NS
needs_boot_id = pytest.mark.skipif(not BOOT_ID.exists(), reason="this system does not say which boot it is")


def limited(text: str, name: str = "key:k3x9q2ab", **of_models: str) -> Caller:
    """Return a caller that may ask as often as `text` says, and less often of some models."""
    limits = {"*": read_rates(text)} if text else {}
    return Caller(name, {}, limits=limits | {model: read_rates(rates) for model, rates in of_models.items()})


def asks(limiter: Limiter, caller: Caller, at_ns: int, model: str = "churn") -> int:
    """Ask once; return 0 where that was let in, else after how many seconds to ask again."""
    try:
        limiter.admit(caller, model, at_ns)
    except RateExceeded as error:
        return error.retry_after
    return 0


def have_slots(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the table have so many slots."""
    start = HEADER_WORDS + count * COLUMNS_OF_DIRECTORY
    monkeypatch.setattr(counters, "SLOTS", count)
    monkeypatch.setattr(counters, "SLOTS_AT", start)
    monkeypatch.setattr(counters, "TABLE_BYTES", (start + count * SLOT_WORDS) * WORD)


@contextmanager
def processes(count: int) -> Iterator[list[Limiter]]:
    """Make limiters that count together, in a folder of their own."""
    with TemporaryDirectory() as folder:
        made = [Limiter(Path(folder) / "limits", count) for _ in range(count)]
        try:
            yield made
        finally:
            for limiter in made:
                limiter.close()


# --- laws ---------------------------------------------------------------------------------------------------------------


KEYS = scaled(test=40, ci=200, full=2_000)
BATCH_NS = SECOND_NS // BATCHES
AT_EDGES = [edge + more for edge in (BATCH_NS, SECOND_NS - BATCH_NS, SECOND_NS) for more in (-1_000, -1, 0, 1, 1_000)]
PAUSES = st.integers(0, 3 * SECOND_NS // 10) | st.sampled_from(AT_EDGES)
STEPS = st.lists(st.tuples(PAUSES, st.integers(0, 3), st.integers(1, 40)), max_size=40)


@needs_boot_id
@given(st.integers(1, 100), STEPS)
@settings(max_examples=scaled(test=50, ci=200, full=2_000), deadline=None)
def test_D19_no_stretch_of_the_window_holds_more_than_the_limit_and_hardly_less(limit: int, steps: list):
    """Bursts of any size, at any moment, of any process: as a log of every request would judge, to a 32nd of the window."""
    caller, at_ns, let_in = limited(f"{limit}/s"), T0, []
    held_back_ns = SECOND_NS // BATCHES if limit > BATCHES else 0
    with processes(4) as limiters:
        for step_ns, process, burst in steps:
            at_ns += step_ns
            for _ in range(burst):
                if asks(limiters[process], caller, at_ns):
                    recent = [one for one in let_in if one > at_ns - SECOND_NS - held_back_ns]
                    assert len(recent) >= limit, "refused with room to spare"
                else:
                    let_in.append(at_ns)
                    assert sum(one > at_ns - SECOND_NS for one in let_in) <= limit


@needs_boot_id
@given(st.sampled_from(["1/s", "7/s", "90/s", "5/m", "300/m", "40/h", "3/d", "100/d"]), STEPS, st.integers(0, 3))
@settings(max_examples=scaled(test=50, ci=200, full=2_000), deadline=None)
def test_D19_who_waits_as_told_succeeds_and_nobody_is_told_to_wait_longer_than_the_window(text, steps, last):
    rate = read_rates(text)[0]
    caller, at_ns = limited(text), T0
    with processes(4) as limiters:
        for step_ns, process, burst in steps:
            at_ns += step_ns * rate.seconds
            for _ in range(burst):
                told = asks(limiters[process], caller, at_ns)
                assert told <= rate.seconds
        for _ in range(rate.count + 1):
            if told := asks(limiters[last], caller, at_ns):
                break
        assert told
        if told > 1:
            assert asks(limiters[last], caller, at_ns + (told - 1) * SECOND_NS - 1), "told to wait too long"
        waited = at_ns + told * SECOND_NS
        assert not asks(limiters[(last + 1) % 4], caller, waited), "told to wait too short"


@needs_boot_id
def test_D19_a_burst_at_the_boundary_of_a_window_is_one_burst():
    caller = limited("50/s")
    with processes(3) as limiters:
        end_ns = (T0 // SECOND_NS + 1) * SECOND_NS
        times = [end_ns - 1_000_000] * 100 + [end_ns + 1_000_000] * 100
        let_in = sum(not asks(limiters[number % 3], caller, at_ns) for number, at_ns in enumerate(times))
    assert let_in == 50


@needs_boot_id
def test_a_steady_caller_gets_what_the_limit_says():
    caller = limited("100/s")
    with processes(2) as limiters:
        let_in = sum(
            not asks(limiters[number % 2], caller, T0 + number * SECOND_NS // 150) for number in range(150 * 10)
        )
    assert 960 <= let_in <= 1_100


@pytest.fixture
def often_switched() -> Iterator[None]:
    """Let threads take turns between any two steps, nearly."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@needs_boot_id
def test_D19_threads_of_several_processes_at_once_never_get_more_than_the_limit_and_one_a_process(often_switched: None):
    limit, threads, callers = 20, 4, [limited("20/d", f"key:{number}") for number in range(KEYS)]
    let_in: list[tuple[str, int]] = []
    with processes(3) as limiters:

        def ask(limiter: Limiter) -> None:
            let_in.extend((caller.name, sum(not asks(limiter, caller, T0) for _ in range(5))) for caller in callers)

        running = [threading.Thread(target=ask, args=(limiter,)) for limiter in limiters for _ in range(threads)]
        for thread in running:
            thread.start()
        for thread in running:
            thread.join()
    sums = [sum(count for name, count in let_in if name == caller.name) for caller in callers]
    assert all(limit <= total <= limit + len(limiters) - 1 for total in sums), sums


# --- whose limit it is --------------------------------------------------------------------------------------------------


def test_each_key_has_its_own():
    limiter = Limiter()
    assert not asks(limiter, limited("1/m", "key:a"), T0)
    assert asks(limiter, limited("1/m", "key:a"), T0)
    assert not asks(limiter, limited("1/m", "key:b"), T0)


def test_a_models_limit_holds_within_that_of_all_and_what_is_refused_counts_nowhere():
    limiter, caller = Limiter(), limited("3/m", churn="1/m")
    assert not asks(limiter, caller, T0)
    assert asks(limiter, caller, T0 + SECOND_NS) == 59
    assert not asks(limiter, caller, T0 + 2 * SECOND_NS, "late")
    assert not asks(limiter, caller, T0 + 3 * SECOND_NS, "late")
    assert asks(limiter, caller, T0 + 4 * SECOND_NS, "late") == 56


def test_the_refusal_names_the_limit_that_takes_longest_and_no_key():
    limiter, caller = Limiter(), limited("1/s, 2/h", churn="1/m")
    limiter.admit(caller, "churn", T0)
    with pytest.raises(RateExceeded, match=r"^over what this key may ask of 'churn': 1/m\. Ask again in 60 s\.$"):
        limiter.admit(caller, "churn", T0)
    limiter.admit(caller, "churn", T0 + 61 * SECOND_NS)
    with pytest.raises(RateExceeded, match=r"^over what this key may ask: 2/h\. Ask again in 3539 s\.$"):
        limiter.admit(caller, "churn", T0 + 61 * SECOND_NS)


@needs_boot_id
def test_D19_a_limit_that_has_room_again_when_the_refusal_is_worded_is_a_refusal_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
):
    looks = iter([False, True])  # another process was writing when it looked first
    monkeypatch.setattr(Window, "has_room", lambda _window, _at_ns: next(looks))
    with pytest.raises(RateExceeded, match=r"3/m\. Ask again in 1 s"):
        Limiter().admit(limited("3/m"), "churn", T0)


def test_another_limit_of_the_same_key_goes_on_with_what_was_counted():
    with processes(2) as (one, other):
        assert [asks(one, limited("5/h"), T0) for _ in range(5)] == [0] * 5
        assert asks(one, limited("5/h"), T0)
        assert [asks(other, limited("7/h"), T0 + 1) for _ in range(3)] == [0, 0, 3600]
        assert [asks(one, limited("8/h"), T0 + 2) for _ in range(2)] == [0, 3600]
        assert asks(one, limited("2/h"), T0 + 3) == 3600


@needs_boot_id
@pytest.mark.parametrize("shared", [True, False])
def test_a_limit_that_changes_while_requests_are_under_way_is_counted_in_one_place(shared: bool):
    """Those that came before the change still have the caller as it was, and ask of other models."""
    with processes(1) as (together,):
        limiter = together if shared else Limiter()
        before, after = limited("20/h"), limited("25/h")
        let_in = 0
        for place in range(60):
            let_in += not asks(limiter, (before, after)[place % 2], T0 + place, ("churn", "fraud")[place % 2])
        assert let_in == 25


# --- processes that come and go -----------------------------------------------------------------------------------------


@needs_boot_id
def test_a_process_that_ends_leaves_what_it_counted_to_the_next():
    with TemporaryDirectory() as folder:
        let_in = 0
        for at_ns in range(T0, T0 + 10):
            limiter = Limiter(Path(folder))
            let_in += sum(not asks(limiter, limited("25/h"), at_ns) for _ in range(4))
            limiter.close()
        assert let_in == 25
        assert len(list(Path(folder).glob("*.column"))) == 1


@needs_boot_id
def test_one_that_comes_late_is_seen_by_those_that_are_there(tmp_path: Path):
    caller = limited("10/h")
    first = Limiter(tmp_path)
    assert not asks(first, caller, T0)
    later = Limiter(tmp_path)
    assert [asks(later, caller, T0) for _ in range(9)] == [0] * 9
    assert asks(first, caller, T0) == 3600


@needs_boot_id
def test_a_forked_child_counts_in_a_column_of_its_own(tmp_path: Path):
    caller, parent = limited("10/h"), Limiter(tmp_path)
    assert not asks(parent, caller, T0)
    child = os.fork()
    if not child:
        with suppress(BaseException):
            parent.abandon_after_fork()
            os._exit(sum(not asks(Limiter(tmp_path), caller, T0) for _ in range(4)))
        os._exit(99)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 4
    assert [asks(parent, caller, T0) for _ in range(6)] == [0] * 5 + [3600]


@needs_boot_id
def test_a_table_of_another_boot_is_not_read(tmp_path: Path):
    caller, limiter = limited("1/d"), Limiter(tmp_path)
    assert not asks(limiter, caller, T0)
    limiter.close()
    with (tmp_path / "table").open("r+b") as table:
        table.seek(8)
        table.write(b"otherone")
    assert not asks(Limiter(tmp_path), caller, T0)


# --- bounds -------------------------------------------------------------------------------------------------------------


@needs_boot_id
def test_a_slot_that_nobody_uses_is_given_to_another_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    have_slots(3, monkeypatch)
    limiter = Limiter(tmp_path)
    names = [f"key:{number}" for number in range(5)]
    for name in names[:3]:
        assert not asks(limiter, limited("1/m", name), T0)
    size = (tmp_path / "table").stat().st_blocks
    later = T0 + 60 * SECOND_NS + LEFT_NS
    assert not asks(limiter, limited("1/m", names[0]), later - 30 * SECOND_NS)
    for name in names[3:]:
        assert not asks(limiter, limited("1/m", name), later + 1_000_000)
    assert asks(limiter, limited("1/m", names[0]), later + 1_000_001)
    assert (tmp_path / "table").stat().st_blocks == size
    assert all(window.slot.is_shared for window in limiter._windows.values())


@needs_boot_id
def test_D22_one_limit_too_many_is_counted_by_each_process_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog
):
    have_slots(1, monkeypatch)
    limiter = Limiter(tmp_path, shares=2)
    assert [asks(limiter, limited("4/h", "key:a"), T0) for _ in range(5)] == [0, 0, 0, 0, 3600]
    assert [asks(limiter, limited("4/h", "key:b"), T0) for _ in range(3)] == [0, 0, 3600]
    assert [asks(limiter, limited("4/h", "key:c"), T0) for _ in range(3)] == [0, 0, 3600]
    assert caplog.text.count("event=rate_counters_away") == 1
    assert asks(limiter, limited("4/h", "key:a"), T0 + AGAIN_NS) == 3595


@needs_boot_id
def test_a_handle_not_used_for_long_asks_for_its_slot_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Whoever had a slot that was given away meanwhile does not count in it."""
    have_slots(1, monkeypatch)
    one, other = Limiter(tmp_path), Limiter(tmp_path)
    assert not asks(one, limited("2/s", "key:a"), T0)
    gone = T0 + SECOND_NS + LEFT_NS + 1_000_000
    assert KEPT_NS < LEFT_NS
    assert [asks(other, limited("2/s", "key:b"), gone) for _ in range(2)] == [0, 0]
    assert not asks(one, limited("2/s", "key:a"), gone)
    assert not next(iter(one._windows.values())).slot.is_shared
    assert asks(other, limited("2/s", "key:b"), gone) == 1


# --- the counters away --------------------------------------------------------------------------------------------------


def test_D22_without_the_counters_each_process_allows_a_share_and_says_so_once(tmp_path: Path, caplog):
    (tmp_path / "limits").write_text("no folder")
    limiters = [Limiter(tmp_path / "limits", shares=3) for _ in range(3)]
    caller = limited("9/h")
    for limiter in limiters:
        assert [asks(limiter, caller, T0 + number) for number in range(4)] == [0, 0, 0, 3600]
        assert asks(limiter, caller, T0 + AGAIN_NS + 1) == 3595
    assert caplog.text.count("event=rate_counters_away") == 3
    assert [asks(limiters[0], limited("2/h", "key:b"), T0) for _ in range(2)] == [0, 3600], "one at least"


@needs_boot_id
def test_D22_once_the_counters_can_be_had_they_are_used(tmp_path: Path, caplog):
    (tmp_path / "limits").write_text("no folder")
    limiters = [Limiter(tmp_path / "limits", shares=2) for _ in range(2)]
    caller = limited("4/m")
    assert [asks(limiter, caller, T0) for limiter in limiters for _ in range(3)] == [0, 0, 60] * 2
    (tmp_path / "limits").unlink()
    later = T0 + 61 * SECOND_NS
    assert [asks(limiters[number % 2], caller, later) for number in range(5)] == [0, 0, 0, 0, 60]
    assert caplog.text.count("event=rate_counters_back") == 2


@needs_boot_id
def test_D22_counters_taken_away_are_made_anew(tmp_path: Path, caplog):
    limiters = [Limiter(tmp_path) for _ in range(2)]
    caller = limited("4/h")
    assert not any(asks(limiter, caller, T0) for limiter in limiters)
    (tmp_path / "table").unlink()
    for limiter in limiters:
        limiter.look_after()
    assert [asks(limiters[number % 2], caller, T0) for number in range(5)] == [0, 0, 0, 0, 3600]
    assert caplog.text.count("event=rate_counters_gone") == 2


@needs_boot_id
def test_D22_a_lock_that_is_not_given_back_holds_nobody_up_for_long(tmp_path: Path):
    import fcntl

    with (tmp_path / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        limiter = Limiter(tmp_path, shares=2)
        assert [asks(limiter, limited("2/h"), T0) for _ in range(2)] == [0, 3600]
    assert not asks(limiter, limited("2/h"), T0 + AGAIN_NS + 1)


def test_the_windows_of_a_day_and_of_a_second_keep_their_bounds_over_a_month():
    limiter, caller = Limiter(), limited("5/s, 20/d")
    let_in = [at for at in range(T0, T0 + 30 * DAY_NS, DAY_NS // 50) if not asks(limiter, caller, at)]
    assert all(later - first >= DAY_NS for first, later in zip(let_in, let_in[20:], strict=False))
    assert len(let_in) >= 20 * 30
    assert all(first < later for first, later in pairwise(let_in))
