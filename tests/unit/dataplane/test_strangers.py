"""The places of callers without a key: who waits longest makes room, and who does something keeps its place."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

import pytest

from trivet.core.errors import Unavailable
from trivet.dataplane.frontends.grpc.strangers import Place, Strangers


def test_who_waits_longest_for_a_message_makes_room_and_is_told():
    assert in_places(2, waiting_calls=3) == ["had to go", "waits", "waits"]


def test_where_nobody_waits_the_next_one_is_refused():
    async def behave(strangers: Strangers) -> None:
        for _ in range(2):
            strangers.enter(task_of_its_own())
        with pytest.raises(Unavailable, match="over 2 calls without a key"):
            strangers.enter(task_of_its_own())

    run(behave)


def test_a_place_is_free_again_once_its_task_has_ended_or_it_was_left():
    async def behave(strangers: Strangers) -> None:
        for _ in range(5):
            task = asyncio.create_task(asyncio.sleep(0))
            strangers.enter(task)
            await task
            await asyncio.sleep(0)  # callbacks run
        first, _ = strangers.enter(task_of_its_own()), strangers.enter(task_of_its_own())
        strangers.leave(first)
        other = strangers.enter(task_of_its_own())
        with pytest.raises(Unavailable):
            strangers.enter_again(first)
        strangers.leave(other)
        strangers.enter_again(first)

    run(behave)


def test_who_has_waited_long_enough_to_go_by_itself_makes_room_in_the_same_moment():
    async def behave(strangers: Strangers) -> None:
        first, _ = strangers.enter(task_of_its_own()), strangers.enter(task_of_its_own())
        came: list[Place] = []
        with suppress(TimeoutError):
            async with asyncio.timeout(0) as timer:
                strangers.wait(first, timer)
                asyncio.get_running_loop().call_soon(lambda: came.append(strangers.enter(task_of_its_own())))
                await asyncio.Event().wait()
        assert len(came) == 1
        assert not first.is_gone

    run(behave)


def in_places(most: int, *, waiting_calls: int) -> list[str]:
    """Return what becomes of calls that wait for a message, one after the other, in that many places."""
    became = ["waits"] * waiting_calls

    async def wait(strangers: Strangers, number: int, place: Place) -> None:
        try:
            async with asyncio.timeout(60) as timer:
                strangers.wait(place, timer)
                await asyncio.Event().wait()
        except TimeoutError:
            assert place.is_gone
            became[number] = "had to go"

    async def behave(strangers: Strangers) -> None:
        tasks = []
        for number in range(waiting_calls):
            tasks.append(asyncio.create_task(wait(strangers, number, strangers.enter(task_of_its_own()))))
            for _ in range(5):
                await asyncio.sleep(0)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    run(behave, most)
    return became


def task_of_its_own() -> asyncio.Task[bool]:
    return asyncio.create_task(asyncio.Event().wait())


def run(behave: Callable[[Strangers], Awaitable[None]], most: int = 2) -> None:
    async def main() -> None:
        await behave(Strangers(most))
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()

    asyncio.run(main())
