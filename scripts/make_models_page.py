#!/usr/bin/env python
"""Writes docs/reference/models.md from a run of the zoo (tests/parity/zoo). Takes some minutes on a quiet machine."""

from __future__ import annotations

import sys
import tempfile
import warnings
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.parity.zoo.cases import cases
from tests.parity.zoo.page import PAGE, page
from tests.parity.zoo.running import run_zoo


def main() -> int:
    """Run the zoo and write the page; 1 when a case was silently wrong or ended in another state than it should."""
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as folder:
        outcomes = run_zoo(cases(), Path(folder))
    bad = [o for o in outcomes if o.wrong or o.state != o.case.state]
    for outcome in bad:
        sys.stdout.write(
            f"{outcome.case.name}: {outcome.state}, not {outcome.case.state}. {outcome.reason} {outcome.wrong}\n"
        )
    if bad:
        return 1
    PAGE.write_text(page(outcomes), encoding="utf-8")
    sys.stdout.write(f"{PAGE.name}: {len(outcomes)} models\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
