"""What tests of rooms without Django share: one zygote, so that opening a trained file takes no imports each time."""

import os
from contextlib import ExitStack

import pytest

from trivet.model.compile import disposable
from trivet.model.sandbox import leash
from trivet.model.sandbox.warm import WarmStart, own_zygote

HELLO_SECONDS = 20.0


class Zygotes:
    """The zygote of the run, and the next one: it ends by itself where tests of other rooms leave it idle for minutes."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self._last: WarmStart | None = None

    def living(self) -> WarmStart:
        """Return one that listens, begun now where none does."""
        if self._last is None or not self._listens(self._last):
            self._stack.close()
            self._last = self._stack.enter_context(
                own_zygote(disposable.MODULES, disposable.IMPORTS, disposable.ENVIRONMENT)
            )
        return self._last

    @staticmethod
    def _listens(started: WarmStart) -> bool:
        try:
            with leash.connect_to(started.path, HELLO_SECONDS):
                return True
        except OSError:
            return False


@pytest.fixture(scope="session")
def secret():
    """A secret in this process's environment, from before the zygote began."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DATABASE_PASSWORD", os.urandom(16).hex())
        yield os.environ["DATABASE_PASSWORD"]


@pytest.fixture(scope="session")
def zygotes(secret):
    """The zygotes of the run, one after the other; none is begun before a test asks."""
    assert secret
    with ExitStack() as stack:
        yield Zygotes(stack)


@pytest.fixture
def zygote(zygotes):
    """A zygote that listens, the same for as many tests as it lives."""
    return zygotes.living()


@pytest.fixture
def warmed(zygote):
    """Have the disposable processes of one test forked from the zygote."""
    with disposable.warm(zygote):
        yield zygote
