"""Provenance: the commit that a notebook or script is at, for the row of the version it pushes."""

from __future__ import annotations

import subprocess
from pathlib import Path

SECONDS = 5
SHOWN = 12  # digits of a commit


def git_commit(folder: Path) -> str:
    """Return the commit of the repository around `folder`, with "+" where files differ from it; empty outside of one."""
    commit = _git(folder, "rev-parse", f"--short={SHOWN}", "HEAD")
    if not commit:
        return ""
    return f"{commit}+" if _git(folder, "status", "--porcelain", "--untracked-files=no") else commit


def _git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)  # noqa: S603
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
