"""How many descriptors a process may have."""

from __future__ import annotations

import subprocess
import sys

ASK = """
import resource
from trivet.core.descriptors import allow_descriptors
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 128))
allow_descriptors()
print(*resource.getrlimit(resource.RLIMIT_NOFILE))
"""


def test_a_process_of_ours_may_have_as_many_descriptors_as_it_can_ask_for():
    done = subprocess.run([sys.executable, "-c", ASK], capture_output=True, text=True, check=True, timeout=30)
    assert done.stdout.split() == ["128", "128"]
