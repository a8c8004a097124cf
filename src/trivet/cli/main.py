"""Runs a verb: the one place where an error becomes a sentence and an exit code."""

from __future__ import annotations

import argparse
import errno
import sys
from collections.abc import Sequence

from django.apps import apps
from django.core.exceptions import ImproperlyConfigured
from django.db import Error as DatabaseFailure

from trivet.cli import verb
from trivet.cli.needed import needed
from trivet.cli.parser import build_parser
from trivet.cli.verb import Out, Verb
from trivet.core.descriptors import hold_standard_streams
from trivet.core.errors import (
    ApprovalNeeded,
    CompileError,
    Conflict,
    DeadlineExceeded,
    InvalidRequest,
    NotFound,
    ParityFailed,
    PermissionDenied,
    Refused,
    TrivetError,
    Unavailable,
)

EXIT_CODES: tuple[tuple[type[TrivetError], int], ...] = (  # the first that fits
    (ParityFailed, verb.WRONG),
    (CompileError, verb.REFUSED),
    (Refused, verb.REFUSED),
    (Conflict, verb.REFUSED),
    (PermissionDenied, verb.REFUSED),
    (ApprovalNeeded, verb.REFUSED),
    (NotFound, verb.NOT_FOUND),
    (Unavailable, verb.OUT_OF_REACH),
    (DeadlineExceeded, verb.OUT_OF_REACH),
    (InvalidRequest, verb.USAGE),
    (TrivetError, verb.REFUSED),
)

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
NOT_MIGRATED = "Trivet's tables are not in the database, or older than this release: run `python manage.py migrate`."


def console_script() -> None:
    """Run the command line of this process and exit with its code."""
    sys.exit(main(sys.argv[1:]))


def main(arguments: Sequence[str]) -> int:
    """Run one verb; return its exit code."""
    return run(build_parser("trivet").parse_args(arguments))


def run(options: argparse.Namespace) -> int:
    """Run the verb in `options`; errors become one sentence on stderr and their exit code."""
    hold_standard_streams()
    out = Out(as_json=options.as_json, quiet=options.quiet)
    one: Verb = options.chosen
    try:
        one.prepare(options)
        if apps.ready and getattr(options, "supervisor", None) is None:
            from trivet.cli.settings import read_settings  # it reads checks, so the project comes first

            read_settings(out)
        if options.as_user and (need := needed(options)) is not None:
            from trivet.cli.person import check_may, find_person  # it reads models, so the project comes first

            check_may(find_person(options.as_user), need)
        return one.load()(options, out)
    except TrivetError as error:
        out.problem(f"trivet {one.name}: {error.message}")
        return next(code for kind, code in EXIT_CODES if isinstance(error, kind))
    except (ImproperlyConfigured, DatabaseFailure) as error:
        out.problem(f"trivet {one.name}: {NOT_MIGRATED if _lacks_tables(error) else error}")
        return verb.OUT_OF_REACH
    except KeyboardInterrupt:
        return verb.INTERRUPTED
    except BrokenPipeError:
        return verb.DONE
    except OSError as error:
        if error.errno not in NO_ROOM:
            raise
        out.problem(
            f"trivet {one.name}: {error.strerror} ({error.filename or 'while writing'}); free some and try again."
        )
        return verb.OUT_OF_REACH


def _lacks_tables(error: Exception) -> bool:
    """True where a table or column of ours is missing, as each database says it."""
    text = str(error).lower()
    return "trivet_" in text and any(
        words in text for words in ("no such", "does not exist", "doesn't exist", "has no column")
    )
