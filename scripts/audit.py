"""Judges what is installed against the lock file, and the lock file against what is known of its releases.

`python scripts/audit.py` exits 1 for a finding and 75 where nobody could be asked: then the rest was done, and the last
line says what was not. A finding that does not concern us has a line in requirements/waivers.txt, with a reason and an end.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from datetime import UTC, date, datetime
from importlib.metadata import distributions
from pathlib import Path
from typing import NamedTuple

REPOSITORY = Path(__file__).resolve().parents[1]
LOCK = REPOSITORY / "requirements" / "dev.txt"
WAIVERS = REPOSITORY / "requirements" / "waivers.txt"
PROBE = "django"  # asked for first: where nobody knows it, nobody is asked for the rest
NOT_RUN = 75
OWN = {"trivet"}
OF_THE_ENVIRONMENT = {"pip", "setuptools", "uv", "wheel"}  # what installs; uv has a lock file of its own
_REQUIREMENT = re.compile(r"^([A-Za-z0-9._-]+)(?:\[[^\]]*\])?==([^ ;\\]+)(?:\s*;\s*(.*?))?\s*\\$", re.MULTILINE)
_WAIVER = re.compile(r"(\S+)\s+(\d{4}-\d\d-\d\d)\s+(\S.*)")


class Waiver(NamedTuple):
    """One finding that is let pass, until when, and why."""

    finding: str
    until: date
    why: str


def locked(text: str) -> dict[str, set[str]]:
    """Return the releases that a lock file has of each package: several where markers choose."""
    found: dict[str, set[str]] = {}
    for name, release, _marker in _REQUIREMENT.findall(text):
        found.setdefault(plain(name), set()).add(release)
    return found


def plain(name: str) -> str:
    """Return a package's name as indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def unlocked(lock: dict[str, set[str]], installed: dict[str, str]) -> Iterator[str]:
    """Yield what is installed and is not in the lock file, or in another release."""
    for name, release in sorted(installed.items()):
        if name not in OWN | OF_THE_ENVIRONMENT and release not in lock.get(name, ()):
            yield f"{name} {release} is installed; the lock file has {', '.join(sorted(lock.get(name, ()))) or 'none'}"


def waivers(text: str) -> list[Waiver]:
    """Return the waivers; raises `ValueError` for a line that is none."""
    found = []
    for line in filter(None, (line.partition("#")[0].strip() for line in text.splitlines())):
        match = _WAIVER.fullmatch(line)
        if match is None:
            raise ValueError(f"{WAIVERS.name}: {line!r} is not FINDING YYYY-MM-DD REASON")
        found.append(Waiver(match[1], date.fromisoformat(match[2]), match[3]))
    return found


def main() -> int:
    """Say what is wrong, and what could not be found out."""
    known = waivers(WAIVERS.read_text(encoding="utf-8"))
    today = datetime.now(UTC).date()
    problems = [f"the waiver of {one.finding} ended on {one.until}" for one in known if one.until < today]
    installed = {plain(one.metadata["Name"]): one.version for one in distributions()}
    problems += unlocked(locked(LOCK.read_text(encoding="utf-8")), installed)
    for problem in problems:
        print(problem)
    with tempfile.TemporaryDirectory() as folder:
        one = Path(folder) / "one.txt"
        one.write_text(f"{PROBE}=={installed[PROBE]}\n", encoding="utf-8")
        first = _asked("--no-deps", "-r", str(one))
    if first is None or judged(first)[1]:
        print("not run: pip-audit, for no vulnerability service answers here")
        return 1 if problems else NOT_RUN
    ignored = [word for one in known for word in ("--ignore-vuln", one.finding)]
    report = _asked("--require-hashes", "-r", str(LOCK), *ignored)
    if report is None:
        print("not run: pip-audit came to no end")
        return 1 if problems else NOT_RUN
    weak, skipped = judged(report)
    for line in weak:
        print(line)
    if skipped:
        print(
            f"not run: pip-audit for {len(skipped)} of the releases, of which the service knows nothing: {skipped[0]}, ..."
        )
    return 1 if problems or weak else NOT_RUN if skipped else 0


def judged(report: dict) -> tuple[list[str], list[str]]:
    """Return what is weak, and what was skipped: pip-audit counts that as no finding, and ends well."""
    weak = [
        f"{one['name']} {one['version']}: {found['id']}, mended in {', '.join(found['fix_versions']) or 'no release'}"
        for one in report["dependencies"]
        for found in one.get("vulns", ())
    ]
    return weak, [one["name"] for one in report["dependencies"] if "skip_reason" in one]


def _asked(*arguments: str) -> dict | None:
    """Return what pip-audit reports; None where it came to no end."""
    command = [sys.executable, "-m", "pip_audit", "--disable-pip", "--format", "json", "--progress-spinner", "off"]
    done = subprocess.run([*command, *arguments], check=False, capture_output=True, text=True)
    try:
        report = json.loads(done.stdout)
    except ValueError:
        return None
    return report if isinstance(report, dict) and "dependencies" in report else None


if __name__ == "__main__":
    sys.exit(main())
