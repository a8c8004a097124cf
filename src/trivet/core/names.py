"""Names: the grammar of those that people choose, the words they cannot choose, and the name of whoever runs this process.

The patterns stand without anchors: match a whole text with `re.fullmatch`.
"""

from __future__ import annotations

import getpass
import os
from functools import cache

MODEL_NAME = r"[a-z0-9][a-z0-9._-]{0,62}"
ALIAS_NAME = r"[a-z][a-z0-9_-]{0,31}"
VERSION_NUMBER = r"[1-9][0-9]{0,8}"
RESERVED_MODEL_NAMES = ("stats",)  # would collide with /v2/models/stats
RESERVED_ALIASES = ("latest",)


@cache
def system_user() -> str:
    """Return the name of the system's user, or `uid:<n>` where it has none, as in a container run under a bare number."""
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):  # which of them depends on the release of Python
        return f"uid:{os.getuid()}"
