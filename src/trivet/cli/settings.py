"""The project's settings, as a verb looks at them before it begins."""

from __future__ import annotations

from django.core.checks import CheckMessage

from trivet import conf
from trivet.checks import check_setting_names, check_spool_bound
from trivet.cli.verb import Out


def read_settings(out: Out) -> None:
    """Read every setting, and say of those that are none.

    A limit under a misspelt name limits nobody. Raises `ImproperlyConfigured` for a value that is not accepted: deep in a
    loop it would be told as a registry that is away, by a server that refuses every key.
    """
    conf.read_all()
    _note(check_setting_names(), out)


def note_spool_bound(processes: int, out: Out) -> None:
    """Say of a spool that is too small for so many `processes`."""
    _note(check_spool_bound(processes=processes), out)


def _note(messages: list[CheckMessage], out: Out) -> None:
    for message in messages:
        if not message.is_silenced():
            out.problem(f"note: {message.msg}")
