"""Who runs this process, where the system has a name for them and where it has none."""

import getpass
import os

import pytest

from trivet.core.names import system_user


@pytest.mark.parametrize("error", [OSError, KeyError])
def test_a_user_without_a_name_goes_by_the_number(monkeypatch, error):
    def nobody():
        raise error("getpwuid(): uid not found: 12345")

    monkeypatch.setattr(getpass, "getuser", nobody)
    system_user.cache_clear()
    assert system_user() == f"uid:{os.getuid()}"
    system_user.cache_clear()
