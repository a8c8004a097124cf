"""The project's settings, as a verb that begins to serve looks at them."""

from __future__ import annotations

from trivet import conf
from trivet.checks import check_setting_names
from trivet.cli.verb import Out


def read_settings(out: Out) -> None:
    """Read every setting before anybody is answered, and say of those that are none.

    A limit under a misspelt name limits nobody. Raises `ImproperlyConfigured` for a value that is not accepted: deep in a
    loop it would be told as a registry that is away, by a server that refuses every key.
    """
    conf.read_all()
    for unknown in check_setting_names():
        if not unknown.is_silenced():
            out.problem(f"note: {unknown.msg}")
