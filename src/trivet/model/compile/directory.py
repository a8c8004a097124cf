"""A model directory as one file: a zip with stored entries, made of the files that lie side by side in it."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
import zipfile
from pathlib import Path
from typing import IO

from trivet.core.errors import CompileError, quoted

MARK = "MLmodel"  # what tells a model directory of MLflow
MOST_FILES = 1_000
MOST_BYTES = 1024**3
_ALWAYS = (1980, 1, 1, 0, 0, 0)  # the same directory gives the same bytes


def packed(folder: Path) -> IO[bytes]:
    """Return the files of `folder` as a temporary zip, open at its beginning; nothing in them is looked at.

    Folders inside are left out. Raises `CompileError` for links and devices, and for more than 1 GiB.
    """
    if not (folder / MARK).is_file():
        raise CompileError(
            f"{quoted(folder.name)} is a folder without {MARK}: a file is pushed, or a model directory of MLflow."
        )
    file = tempfile.TemporaryFile()  # noqa: SIM115  (the caller closes it)
    try:
        with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
            left = MOST_BYTES
            for name in _names(folder):
                left -= _add(archive, folder, name, left)
    except BaseException:
        file.close()
        raise
    file.seek(0)
    return file


def _names(folder: Path) -> list[str]:
    with os.scandir(folder) as entries:
        found = sorted((entry for entry in entries), key=lambda entry: entry.name)
    if len(found) > MOST_FILES:
        raise CompileError(f"{quoted(folder.name)} holds {len(found)} files; at most {MOST_FILES} are read.")
    for entry in found:
        if entry.is_symlink():
            raise CompileError(f"{quoted(entry.name)} in {quoted(folder.name)} is a link, which is not followed.")
    return [entry.name for entry in found if not entry.is_dir()]


def _add(archive: zipfile.ZipFile, folder: Path, name: str, left: int) -> int:
    """Add the file `name`, of at most `left` bytes; return its size."""
    try:
        descriptor = os.open(folder / name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        raise CompileError(f"{quoted(name)} in {quoted(folder.name)} cannot be read: {error.strerror}.") from None
    with os.fdopen(descriptor, "rb") as source:
        found = os.fstat(source.fileno())
        if not stat.S_ISREG(found.st_mode):
            raise CompileError(f"{quoted(name)} in {quoted(folder.name)} is no file.")
        if found.st_size > left:
            raise CompileError(f"{quoted(folder.name)} holds more than {MOST_BYTES} bytes.")
        with archive.open(zipfile.ZipInfo(name, _ALWAYS), "w") as target:
            shutil.copyfileobj(source, target)
    return found.st_size
