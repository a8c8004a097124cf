"""What tests of rooms without Django share: one zygote, so that opening a trained file takes no imports each time."""

import os

import pytest

from trivet.model.compile import disposable
from trivet.model.sandbox.warm import own_zygote


@pytest.fixture(scope="session")
def secret():
    """A secret in this process's environment, from before the zygote began."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DATABASE_PASSWORD", os.urandom(16).hex())
        yield os.environ["DATABASE_PASSWORD"]


@pytest.fixture(scope="session")
def zygote(secret):
    """A zygote for all tests of the run."""
    assert secret
    with own_zygote(disposable.MODULES, disposable.IMPORTS, disposable.ENVIRONMENT) as started:
        yield started


@pytest.fixture
def warmed(zygote):
    """Have the disposable processes of one test forked from the zygote."""
    with disposable.warm(zygote):
        yield zygote
