"""Archive: a zip read in place, member by member, after every rule that a hostile one would break. Nothing is extracted."""

from __future__ import annotations

import stat
import unicodedata
import zipfile
from typing import IO

from trivet.core.errors import CompileError, quoted

MOST_MEMBERS = 10_000
MOST_MEMBER_BYTES = 1024**3
END_RECORD_BYTES = 22  # of a zip without a comment
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_MADE_ON_UNIX = 3
_ENCRYPTED = 0x1


class Archive:
    """A zip whose list of members was checked. `read` gives one of them, within its announced size."""

    def __init__(self, file: IO[bytes]) -> None:
        """Raises `CompileError` naming the rule that the archive breaks."""
        self._file = file
        try:
            self._zip = zipfile.ZipFile(file)
        except (zipfile.BadZipFile, ValueError, OSError, NotImplementedError, UnicodeDecodeError) as error:
            raise _refused(f"it is no sound zip ({error})") from None
        _check_extent(file, self._zip)
        members = self._zip.infolist()
        if len(members) > MOST_MEMBERS:
            raise _refused(f"it lists {len(members)} members; at most {MOST_MEMBERS} are read")
        seen: set[str] = set()
        for member in members:
            _check_member(member)
            alike = unicodedata.normalize("NFC", member.filename).casefold()
            if alike in seen:
                raise _refused(f"it holds {quoted(member.filename)} twice")
            seen.add(alike)
        if sum(member.file_size for member in members) > MOST_MEMBER_BYTES:
            raise _refused(f"its members unpack to more than {MOST_MEMBER_BYTES} bytes")
        self.names = tuple(member.filename for member in members)

    def __contains__(self, name: str) -> bool:
        return name in self.names

    def whole(self) -> bytes:
        """Return the archive itself, for a library that reads it from memory."""
        self._file.seek(0)
        return self._file.read()

    def read(self, name: str, most_bytes: int = MOST_MEMBER_BYTES) -> bytes:
        """Return the bytes of the member `name`; raises `CompileError` when it is not there, damaged or too large."""
        if name not in self.names:
            raise _refused(f"it has no member {quoted(name)}")
        if self._zip.getinfo(name).file_size > most_bytes:
            raise _refused(f"{quoted(name)} is larger than {most_bytes} bytes")
        try:
            with self._zip.open(name) as member:
                data = member.read(most_bytes + 1)
        except (zipfile.BadZipFile, zipfile.LargeZipFile, ValueError, OSError, EOFError, RuntimeError) as error:
            raise _refused(f"{quoted(name)} cannot be read ({error})") from None
        except Exception as error:  # noqa: BLE001  (a damaged deflate stream raises zlib's own)
            raise _refused(f"{quoted(name)} is damaged ({error})") from None
        if len(data) > most_bytes:
            raise _refused(f"{quoted(name)} is larger than it says")
        return data


def _check_extent(file: IO[bytes], opened: zipfile.ZipFile) -> None:
    """Raise unless the archive is the whole file: nothing before its first member, nothing after its end."""
    size = file.seek(0, 2)
    file.seek(max(0, size - END_RECORD_BYTES))
    if opened.comment or not file.read(4).startswith(b"PK\x05\x06"):
        raise _refused("it has a comment, or bytes after its end")
    first = min((member.header_offset for member in opened.infolist()), default=0)
    if first != 0:
        raise _refused("it has bytes before its first member")


def _check_member(member: zipfile.ZipInfo) -> None:
    name = member.filename
    parts = name.split("/")
    if not name or name.startswith("/") or "\\" in name or "\0" in member.orig_filename or ":" in name:
        raise _refused(f"it holds the path {quoted(name)}")
    if ".." in parts or "." in parts:
        raise _refused(f"it holds the path {quoted(name)}")
    mode = member.external_attr >> 16
    if member.create_system == _MADE_ON_UNIX and stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise _refused(f"{quoted(name)} is a link or a device")
    if member.flag_bits & _ENCRYPTED:
        raise _refused(f"{quoted(name)} is encrypted")
    if member.compress_type not in _METHODS:
        raise _refused(f"{quoted(name)} is compressed in a way that is not read")


def _refused(why: str) -> CompileError:
    return CompileError(f"this archive is not opened: {why}.")
