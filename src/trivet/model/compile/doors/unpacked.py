"""Unpacked: a compressed file as a stream of bounded size, which ends exactly where the file does."""

from __future__ import annotations

import bz2
import io
import lzma
import zlib
from typing import IO, Any, Protocol, cast

from trivet.core.errors import CompileError

MOST_UNPACKED_BYTES = 1024**3  # as of a file that is not compressed
READ_BYTES = 256 * 1024
MOST_LZMA_MEMORY = 256 * 1024**2


class _Decompressor(Protocol):
    eof: bool
    unused_data: bytes

    def decompress(self, data: bytes, max_length: int = -1) -> bytes: ...


class Unpacked(io.RawIOBase):
    """What a compressed file holds. Reading raises `CompileError` past the bound, for damage, and for bytes after the end."""

    def __init__(self, file: IO[bytes], compression: str) -> None:
        self._file = file
        self._compression = compression
        self._decompressor = _decompressor(compression)
        self._most_bytes = MOST_UNPACKED_BYTES
        self._given = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:  # what may be written into
        view = memoryview(buffer).cast("B")
        piece = self._next(min(len(view), READ_BYTES)) if len(view) else b""
        view[: len(piece)] = piece
        self._given += len(piece)
        if self._given > self._most_bytes:
            raise CompileError(
                f"the file unpacks to more than {self._most_bytes} bytes: that is no model, or one to save without "
                f"{self._compression}."
            )
        return len(piece)

    def _next(self, size: int) -> bytes:
        while not self._decompressor.eof:
            piece = self._step(size)
            if piece:
                return piece
        if self._decompressor.unused_data or self._file.read(1):
            raise CompileError("the file goes on after its end: bytes behind a compressed object are not read.")
        return b""

    def _step(self, size: int) -> bytes:
        try:
            left = getattr(self._decompressor, "unconsumed_tail", b"")
            if left:
                return self._decompressor.decompress(left, size)
            wants = getattr(self._decompressor, "needs_input", True)
            data = self._file.read(READ_BYTES) if wants else b""
            if wants and not data:
                raise CompileError(f"the file is cut short: its {self._compression} stream has no end.")
            return self._decompressor.decompress(data, size)
        except (zlib.error, lzma.LZMAError, OSError, EOFError, RuntimeError) as error:
            raise CompileError(
                f"the file is damaged: its {self._compression} stream cannot be read ({error})."
            ) from None


def _decompressor(compression: str) -> _Decompressor:
    if compression == "lz4":
        try:
            import lz4.frame
        except ModuleNotFoundError:
            raise CompileError(
                "the file is compressed with lz4, which is not installed here: `pip install lz4`, "
                "or save it with compress=('zlib', 3)."
            ) from None
        return cast("_Decompressor", lz4.frame.LZ4FrameDecompressor())
    return cast("_Decompressor", _MAKERS[compression]())


_MAKERS: dict[str, Any] = {  # functions that give a _Decompressor
    "zlib": lambda: zlib.decompressobj(zlib.MAX_WBITS),
    "gzip": lambda: zlib.decompressobj(zlib.MAX_WBITS | 16),
    "bz2": bz2.BZ2Decompressor,
    "xz": lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=MOST_LZMA_MEMORY),
    "lzma": lambda: lzma.LZMADecompressor(lzma.FORMAT_ALONE, memlimit=MOST_LZMA_MEMORY),
}
