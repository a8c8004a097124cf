"""What is in a trained file, read without loading it: its format by content, its libraries, what it would ask for.

A pickle is a program. Its opcodes are listed here with `pickletools`, which names each one and runs none; a small stack of
our own follows them as far as is needed to know which names are asked for and where raw arrays lie. What is found is for
people to read: it never decides whether a file is safe, the sandbox does.
"""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import os
import pickletools
import re
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import IO, Any

import msgspec

HEAD_BYTES = 1024
MOST_BYTES = 4 * 1024**3  # unpacked
MOST_OPCODES = 20_000_000
MOST_SCHEMA_BYTES = 64 * 1024**2
MOST_NAMES = 10_000
MOST_DEPTH = 20  # of pickles in pickles
TEXT_KEPT = 256  # characters: names are shorter
PIECE_BYTES = 1024**2

# fmt: off
KNOWN = frozenset({
        "_codecs", "array", "builtins", "catboost", "collections", "copyreg", "datetime", "decimal", "fractions",
        "joblib", "lightgbm", "numbers", "numpy", "pandas", "scipy", "sklearn", "skops", "uuid", "xgboost"
})
HARMLESS_BUILTINS = frozenset({
        "bool", "bytearray", "bytes", "complex", "dict", "float", "frozenset", "int", "list", "object", "range",
        "set", "slice", "str", "tuple", "type"
})
DANGEROUS = frozenset({
        "asyncio", "bdb", "code", "codeop", "commands", "concurrent", "ctypes", "distutils", "http", "imaplib",
        "importlib", "inspect", "io", "marshal", "multiprocessing", "nt", "ntpath", "os", "pathlib", "pdb",
        "pickle", "pip", "pkgutil", "platform", "posix", "posixpath", "pty", "pydoc", "requests", "runpy",
        "shelve", "shutil", "signal", "site", "smtplib", "socket", "ssl", "subprocess", "sys", "tempfile",
        "threading", "timeit", "trace", "types", "urllib", "venv", "webbrowser", "zipimport", "_io", "_pickle",
        "_posixsubprocess"
})
# fmt: on
DANGEROUS_NAMES = frozenset(
    {
        "joblib.numpy_pickle.load",
        "joblib.load",
        "numpy.load",
        "numpy.f2py.compile",
        "numpy.testing._private.utils.runstring",
        "operator.attrgetter",
        "operator.methodcaller",
        "pandas.eval",
        "pandas.read_pickle",
        "pandas.io.pickle.read_pickle",
    }
)
OLD_MODULES = {"__builtin__": "builtins", "copy_reg": "copyreg"}  # what protocols 0 to 2 call them
COMPRESSED: Mapping[bytes, str] = {
    b"\x78": "zlib",
    b"\x1f\x8b": "gzip",
    b"BZh": "bz2",
    b"\xfd7zXZ\x00": "xz",
    b"\x5d\x00\x00": "lzma",
    b"\x04\x22\x4d\x18": "lz4",
}
OTHERS: Mapping[bytes, str] = {
    b"\x89HDF": "HDF5 (Keras)",
    b"CBM1": "CatBoost",
    b"\x93NUMPY": "NumPy array",
    b"RDX": "R",
    b"RDA": "R",
    b"<?xml": "XML (PMML?)",
    b"\x08": "ONNX",
}
IN_ZIP: tuple[tuple[str, str], ...] = (
    ("schema.json", "skops"),
    ("MLmodel", "MLflow model"),
    ("data.pkl", "PyTorch"),
    ("model.weights.h5", "Keras"),
)


class Listing(msgspec.Struct, frozen=True, kw_only=True):
    """What a file says of itself. `names` are what it asks for by name when it is loaded, the first one first."""

    format: str
    bytes: int
    compression: str = ""
    libraries: dict[str, str] = {}  # version it was made with, where the file says
    names: tuple[str, ...] = ()
    problem: str = ""  # why there may be more than is listed

    @property
    def dangerous(self) -> tuple[str, ...]:
        """Names that reach beyond a model: programs, files, the network, code."""
        return tuple(name for name in self.names if _is_dangerous(name))

    @property
    def unknown(self) -> tuple[str, ...]:
        """Names of modules that no trained model of a known library needs: the author's own, or worse."""
        return tuple(name for name in self.names if name.partition(".")[0] not in KNOWN and not _is_dangerous(name))

    @property
    def kind(self) -> str:
        """The class of what is in the file, as far as its first name tells."""
        return next((name for name in self.names if not name.startswith("copyreg.")), "")


class _Unreadable(Exception):
    """The listing ends here."""


def list_trained(file: IO[bytes]) -> Listing:
    """Return what is in `file`, from its beginning. Runs nothing; takes memory as the largest text in the file does."""
    size = os.fstat(file.fileno()).st_size
    file.seek(0)
    head = file.read(HEAD_BYTES)
    file.seek(0)
    compression = next((name for magic, name in COMPRESSED.items() if head.startswith(magic)), "")
    if compression == "lz4":
        return Listing(format="pickle", bytes=size, compression="lz4", problem="lz4 is not unpacked to be listed")
    if compression:
        return _list_pickle(_unpacked(file, compression), size, compression)
    if head[:1] == b"\x80" or _is_protocol_0(head):
        return _list_pickle(file, size, "")
    if head.startswith(b"PK\x03\x04"):
        return _list_zip(file, size)
    if head.startswith(b"tree\n"):
        found = re.search(rb"version=v(\d+)", head)
        return Listing(format="LightGBM text", bytes=size, libraries={"lightgbm": found[1].decode()} if found else {})
    if head.startswith(b"{") and b"learner" in head:
        return _list_xgboost(file, head, size)
    named = next((name for magic, name in OTHERS.items() if head.startswith(magic)), "unknown")
    return Listing(format=named, bytes=size)


def _is_protocol_0(head: bytes) -> bool:
    return re.match(rb"c[\w.]+\n[\w.]+\n|\(i?[cldtSVIN]", head) is not None


def _is_dangerous(name: str) -> bool:
    module, _, attribute = name.rpartition(".")
    if module == "builtins":
        return attribute not in HARMLESS_BUILTINS
    return name in DANGEROUS_NAMES or name.partition(".")[0] in DANGEROUS


def _list_xgboost(file: IO[bytes], head: bytes, size: int) -> Listing:
    kind = "XGBoost JSON" if re.match(rb"\{\s*\"", head) else "XGBoost UBJSON"
    file.seek(max(0, size - HEAD_BYTES))
    found = re.search(rb'"version":\s*\[(\d+),\s*(\d+),\s*(\d+)\]', head + file.read(HEAD_BYTES))
    versions = {"xgboost": b".".join(found.groups()).decode()} if found else {}
    return Listing(format=kind, bytes=size, libraries=versions)


def _list_zip(file: IO[bytes], size: int) -> Listing:
    try:
        with zipfile.ZipFile(file) as archive:
            members = {name.rpartition("/")[2]: name for name in archive.namelist()[:MOST_NAMES]}
            kind = next((kind for member, kind in IN_ZIP if member in members), "zip archive")
            if kind != "skops":
                return Listing(format=kind, bytes=size)
            with archive.open(members["schema.json"]) as member:
                text = member.read(MOST_SCHEMA_BYTES + 1)
        if len(text) > MOST_SCHEMA_BYTES:
            return Listing(format=kind, bytes=size, problem="its schema is too large to list")
        return _list_skops(json.loads(text), size)
    except (zipfile.BadZipFile, ValueError, RecursionError, NotImplementedError, RuntimeError, OSError) as error:
        return Listing(format="zip archive", bytes=size, problem=f"it cannot be read: {error}")


def _list_skops(schema: Any, size: int) -> Listing:
    names: dict[str, None] = {}
    libraries: dict[str, str] = {}
    for node in _nodes(schema):
        if isinstance(module := node.get("__module__"), str) and isinstance(kind := node.get("__class__"), str):
            names.setdefault(f"{module}.{kind}"[:TEXT_KEPT])
        said = node.get("_sklearn_version")
        if isinstance(said, dict) and isinstance(content := said.get("content"), str):
            libraries.setdefault("scikit-learn", content.strip('"')[:TEXT_KEPT])
    if isinstance(schema, dict) and isinstance(said := schema.get("_skops_version"), str):
        libraries["skops"] = said[:TEXT_KEPT]
    return Listing(format="skops", bytes=size, libraries=libraries, names=tuple(names)[:MOST_NAMES])


def _nodes(value: Any) -> Iterator[dict[str, Any]]:
    left = [value]
    while left:
        one = left.pop()
        if isinstance(one, dict):
            yield one
            left += reversed(one.values())
        elif isinstance(one, list):
            left += reversed(one)


def _list_pickle(file: IO[bytes], size: int, compression: str) -> Listing:
    source = _Bounded(file)
    machine = _Machine(source)
    problem = ""
    try:
        machine.follow()
        if source.read(1):
            problem = "bytes follow what would be loaded"
    except _Unreadable as error:
        problem = str(error)
    except (ValueError, EOFError, OSError, zlib.error, lzma.LZMAError, IndexError, TypeError, KeyError) as error:
        problem = f"it is damaged: {str(error)[:TEXT_KEPT] or type(error).__name__}"
    return Listing(
        format="joblib" if "joblib.numpy_pickle.NumpyArrayWrapper" in machine.names else "pickle",
        bytes=size,
        compression=compression,
        libraries=dict(machine.libraries),
        names=tuple(machine.names),
        problem=problem,
    )


def _unpacked(file: IO[bytes], compression: str) -> IO[bytes]:
    readers: dict[str, Callable[[IO[bytes]], Any]] = {
        "zlib": lambda raw: io.BufferedReader(_Inflated(raw)),
        "gzip": lambda raw: gzip.GzipFile(fileobj=raw, mode="rb"),
        "bz2": bz2.BZ2File,
        "xz": lzma.LZMAFile,
        "lzma": lzma.LZMAFile,
    }
    opened: IO[bytes] = readers[compression](file)
    return opened


class _Inflated(io.RawIOBase):
    """A zlib stream, unpacked as it is read."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._inflater = zlib.decompressobj()

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill `buffer` as far as the next piece goes."""
        while not self._inflater.eof:
            packed = self._inflater.unconsumed_tail or self._file.read(PIECE_BYTES)
            piece = self._inflater.decompress(packed, len(buffer))
            if piece:
                buffer[: len(piece)] = piece
                return len(piece)
            if not packed:
                break
        return 0


class _Bounded:
    """A stream of which no more than so much is read, in whatever pieces."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._left = MOST_BYTES

    def read(self, size: int) -> bytes:
        """Return up to `size` bytes."""
        if size > self._left:
            raise _Unreadable(f"it unpacks to more than {MOST_BYTES} bytes")
        self._left -= size
        return self._file.read(size)

    def readline(self) -> bytes:
        """Return a line; those of a pickle's texts are short, and so is what is read of one."""
        line = self._file.readline(PIECE_BYTES)
        self._left -= len(line)
        return line

    def skip(self, size: int) -> None:
        """Read past `size` bytes."""
        while size > 0:
            piece = self.read(min(size, PIECE_BYTES))
            if not piece:
                raise EOFError("it ends within an array")
            size -= len(piece)


@dataclass(frozen=True)
class _Name:
    """A global that a pickle asks for."""

    path: str


@dataclass
class _Made:
    """What calling something would give, with the state it would be given."""

    by: Any
    arguments: Any
    state: Any = None


_MARK, _OPAQUE = object(), object()
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}


class _Machine:
    """Follows the opcodes of one pickle, making nothing: texts, numbers, tuples, dicts, and names for all else."""

    def __init__(self, source: _Bounded, depth: int = 0, outer: _Machine | None = None) -> None:
        self._source = source
        self._depth = depth
        self._stack: list[Any] = []
        self._memo: dict[int, Any] = {}
        self._opcodes = 0
        self.names: dict[str, None] = outer.names if outer else {}
        self.libraries: dict[str, str] = outer.libraries if outer else {}
        if depth > MOST_DEPTH:
            raise _Unreadable("it nests pickles too deeply")

    def follow(self) -> None:
        """Follow all opcodes to the end of the pickle."""
        for opcode, argument, _ in pickletools.genops(self._source):  # type: ignore[arg-type]  # it reads, no more
            self._opcodes += 1
            if self._opcodes > MOST_OPCODES:
                raise _Unreadable(f"it has more than {MOST_OPCODES} opcodes")
            step = getattr(self, f"_{opcode.name.lower()}", None)
            if step is not None:
                step(argument)
            else:
                self._whatever(opcode, argument)

    def _whatever(self, opcode: pickletools.OpcodeInfo, argument: Any) -> None:
        """Do to the stack what any other opcode does to it."""
        before, after = opcode.stack_before, opcode.stack_after
        if pickletools.stackslice in before:
            self._to_mark()
            before = before[: before.index(pickletools.markobject)]
        if before:
            del self._stack[-len(before) :]
        is_plain = not opcode.stack_before and len(after) == 1
        pushed = _CONSTANTS.get(opcode.name, _short(argument)) if is_plain else _OPAQUE
        self._stack += [pushed] * len(after)

    def _to_mark(self) -> list[Any]:
        place = len(self._stack) - 1 - self._stack[::-1].index(_MARK)
        taken = self._stack[place + 1 :]
        del self._stack[place:]
        return taken

    def _ask(self, module: Any, name: Any) -> None:
        path = "a name that is computed"
        if isinstance(module, str) and isinstance(name, str):
            path = f"{OLD_MODULES.get(module, module)}.{name}"
        if len(self.names) >= MOST_NAMES:
            raise _Unreadable(f"it asks for more than {MOST_NAMES} names")
        self.names.setdefault(path)
        self._stack.append(_Name(path))

    def _mark(self, _: Any) -> None:
        self._stack.append(_MARK)

    def _put(self, place: int) -> None:
        self._memo[place] = self._stack[-1]

    _binput = _long_binput = _put

    def _memoize(self, _: Any) -> None:
        self._memo[len(self._memo)] = self._stack[-1]

    def _get(self, place: int) -> None:
        self._stack.append(self._memo[place])

    _binget = _long_binget = _get

    def _dup(self, _: Any) -> None:
        self._stack.append(self._stack[-1])

    def _global(self, argument: str) -> None:
        self._ask(*argument.split(" ", 1))

    def _inst(self, argument: str) -> None:
        self._to_mark()
        self._global(argument)

    def _stack_global(self, _: Any) -> None:
        name, module = self._stack.pop(), self._stack.pop()
        self._ask(module, name)

    def _ext1(self, argument: Any) -> None:
        self._ask("copyreg", f"extension {argument}")

    _ext2 = _ext4 = _ext1

    def _tuple(self, _: Any) -> None:
        self._stack.append(tuple(self._to_mark()))

    def _empty_tuple(self, _: Any) -> None:
        self._stack.append(())

    def _tuple1(self, _: Any) -> None:
        self._last(1)

    def _tuple2(self, _: Any) -> None:
        self._last(2)

    def _tuple3(self, _: Any) -> None:
        self._last(3)

    def _last(self, count: int) -> None:
        taken = tuple(self._stack[-count:])
        del self._stack[-count:]
        self._stack.append(taken)

    def _empty_dict(self, _: Any) -> None:
        self._stack.append({})

    def _setitem(self, _: Any) -> None:
        value, key = self._stack.pop(), self._stack.pop()
        self._set(key, value)

    def _setitems(self, _: Any) -> None:
        items = self._to_mark()
        for key, value in zip(items[::2], items[1::2], strict=False):
            self._set(key, value)

    def _set(self, key: Any, value: Any) -> None:
        if key == "_sklearn_version" and isinstance(value, str):
            self.libraries.setdefault("scikit-learn", value)
        if isinstance(self._stack[-1], dict) and isinstance(key, str):
            self._stack[-1][key] = value

    def _reduce(self, _: Any) -> None:
        arguments, by = self._stack.pop(), self._stack.pop()
        self._stack.append(_Made(by, arguments))

    _newobj = _reduce

    def _newobj_ex(self, _: Any) -> None:
        self._stack.pop()
        self._reduce(None)

    def _build(self, _: Any) -> None:
        state = self._stack.pop()
        made = self._stack[-1]
        if not isinstance(made, _Made):
            return
        made.state = state
        if made.by == _Name("joblib.numpy_pickle.NumpyArrayWrapper") and isinstance(state, dict):
            self._pass_array(state)

    def _pass_array(self, state: dict[str, Any]) -> None:
        """Read past the array that joblib writes behind its wrapper; one of objects is a pickle of its own."""
        dtype, shape = state.get("dtype"), state.get("shape")
        spelled = dtype.arguments[0] if isinstance(dtype, _Made) and dtype.arguments else None
        if not isinstance(spelled, str) or not isinstance(shape, tuple) or not all(isinstance(n, int) for n in shape):
            raise _Unreadable("it has an array of a shape or datatype that cannot be read")
        if "O" in spelled or (isinstance(dtype, _Made) and _holds_objects(dtype)):
            _Machine(self._source, self._depth + 1, self).follow()
            return
        if state.get("numpy_array_alignment_bytes") is not None:
            self._source.skip(self._source.read(1)[0])
        count = 1
        for size in shape:
            count *= size
        self._source.skip(count * _item_bytes(spelled))


def _holds_objects(dtype: _Made) -> bool:
    """True for a structure with an object in it: its fields are datatypes that say so."""
    fields = dtype.state[4] if isinstance(dtype.state, tuple) and len(dtype.state) > 4 else None
    values = fields.values() if isinstance(fields, dict) else ()
    kinds = [value[0].arguments[0] for value in values if isinstance(value, tuple) and isinstance(value[0], _Made)]
    return any(isinstance(kind, str) and "O" in kind for kind in kinds)


def _item_bytes(spelled: str) -> int:
    found = re.fullmatch(r"[<>|=]?([a-zA-Z])(\d+)", spelled)
    if found is None:
        raise _Unreadable("it has an array of a datatype that cannot be read")
    return int(found[2]) * (4 if found[1] == "U" else 1)


def _short(argument: Any) -> Any:
    is_kept = isinstance(argument, bool | int) or (isinstance(argument, str) and len(argument) <= TEXT_KEPT)
    return argument if is_kept else _OPAQUE
