"""Makes the folder of a project for the ready-made server: what `trivet init` and `trivet demo` begin with."""

from __future__ import annotations

import os
from pathlib import Path

from django.core.management.utils import get_random_secret_key

SETTINGS = "trivet.server.settings"
MANAGE = '''#!/usr/bin/env python
"""Runs Django's and Trivet's commands in this project: `python manage.py trivet list`."""

import os
import sys
from pathlib import Path

os.environ.setdefault("TRIVET_PROJECT", str(Path(__file__).resolve().parent))
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "trivet.server.settings")

from django.core.management import execute_from_command_line

execute_from_command_line(sys.argv)
'''
ML = '''"""What this project's models need and mean. A pushed model answers without a line here."""
'''


def make_project(folder: Path) -> list[str]:
    """Write `manage.py`, `.env` (mode 600) and `ml.py` into `folder` where they are missing; return what was written."""
    folder.mkdir(parents=True, exist_ok=True)
    secrets = "".join(f"{name}='{_secret()}'\n" for name in ("SECRET_KEY", "TRIVET_KEY_PEPPER"))
    files = {
        ".env": (secrets, 0o600),
        "manage.py": (MANAGE, 0o755),
        "ml.py": (ML, 0o644),
    }
    return [name for name, (text, mode) in files.items() if _write_new(folder / name, text, mode)]


def _secret() -> str:
    return get_random_secret_key().replace("'", "-")  # the file's values stand in single quotes


def _write_new(path: Path, text: str, mode: int) -> bool:
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    except FileExistsError:
        return False
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
    return True
