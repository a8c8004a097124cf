"""Types a block of `>>>` lines into the project at hand, as `manage.py shell` would, and compares what it answers."""

import argparse
import doctest
import sys
from pathlib import Path

from tests.docs.pages import matches
from trivet.cli.project import find_project


class Checker(doctest.OutputChecker):
    """Compares as every other block is compared."""

    def check_output(self, want: str, got: str, optionflags: int) -> bool:
        """True when `got` is what the page shows; an empty page shows nothing."""
        return matches(tuple(want.splitlines()), got) if want else not got


def main(block: str) -> int:
    """Run the lines in the file `block`; return 1 when one answered otherwise."""
    if Path("manage.py").exists():
        find_project(argparse.Namespace(settings=None))
    text = Path(block).read_text(encoding="utf-8")
    test = doctest.DocTestParser().get_doctest(text, {}, "page", None, 0)
    return 1 if doctest.DocTestRunner(Checker()).run(test).failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
