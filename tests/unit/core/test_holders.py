"""Holders: a process that ended is gone at once, for whoever can tell."""

from __future__ import annotations

import os
import subprocess
import sys

from trivet.core.holders import is_gone, this_holder

NAME = "from trivet.core.holders import this_holder; print(this_holder(), flush=True); input()"


def test_this_process_is_not_gone_and_one_with_its_id_and_another_beginning_is():
    space, pid, began = this_holder().split(":")
    assert int(pid) == os.getpid()
    assert not is_gone(this_holder())
    assert is_gone(f"{space}:{pid}:{int(began) + 1}")


def test_another_process_is_gone_when_it_has_ended_also_before_its_parent_has_looked():
    other = subprocess.Popen([sys.executable, "-c", NAME], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert other.stdout is not None
    holder = other.stdout.readline().strip()
    assert not is_gone(holder)
    other.kill()
    os.waitid(os.P_PID, other.pid, os.WEXITED | os.WNOWAIT)  # it has ended, and nobody has taken note
    assert is_gone(holder)
    other.communicate()
    assert is_gone(holder)


def test_of_a_process_elsewhere_and_of_what_is_no_name_nothing_is_known():
    _, pid, began = this_holder().split(":")
    assert not is_gone(f"another-space:{pid}:{began}0")
    assert not is_gone("")
    assert not is_gone(":1:2")
