"""What a pickle asks for by name, read from its opcodes with `pickletools`, which names each one and runs none.

A small stack of our own follows the opcodes as far as is needed to know which names are asked for, and where the arrays lie
that joblib writes between them.
"""

from __future__ import annotations

import pickletools
import re
from dataclasses import dataclass
from typing import IO, Any

from trivet.core.errors import CompileError

MOST_BYTES = 4 * 1024**3
MOST_OPCODES = 20_000_000
MOST_NAMES = 10_000
MOST_DEPTH = 20  # of pickles in pickles
TEXT_KEPT = 256  # characters: names are shorter
PIECE_BYTES = 1024**2
OLD_MODULES = {"__builtin__": "builtins", "copy_reg": "copyreg"}  # what protocols 0 to 2 call them


class UnreadablePickle(Exception):
    """The reading ends here: what cannot be told, or is too much."""


class BoundedStream:
    """A stream of which no more than so much is read, in whatever pieces."""

    def __init__(self, file: IO[bytes], most_bytes: int) -> None:
        self._file = file
        self._most = self._left = most_bytes

    def read(self, size: int) -> bytes:
        """Return up to `size` bytes."""
        if size > self._left:
            raise UnreadablePickle(f"it unpacks to more than {self._most} bytes")
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
class Asked:
    """What a pickle asks for by name, the versions it says of libraries, and why there may be more."""

    names: tuple[str, ...]
    libraries: dict[str, str]
    problem: str = ""


def asked_by(file: IO[bytes], most_bytes: int | None = None) -> Asked:
    """Return what the pickle in `file` asks for, the first one first; runs nothing, and reads `most_bytes` or 4 GiB."""
    source = BoundedStream(file, MOST_BYTES if most_bytes is None else most_bytes)
    pickled = PickleNames(source)
    problem = ""
    try:
        pickled.follow()
        if source.read(1):
            problem = "bytes follow what would be loaded"
    except CompileError as error:  # of what is compressed
        problem = error.message
    except UnreadablePickle as error:
        problem = str(error)
    except (ValueError, EOFError, OSError, IndexError, TypeError, KeyError) as error:
        problem = f"it is damaged: {str(error)[:TEXT_KEPT] or type(error).__name__}"
    return Asked(tuple(pickled.names), dict(pickled.libraries), problem)


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


class PickleNames:
    """Follows the opcodes of one pickle, making nothing: texts, numbers, tuples, dicts, and names for all else."""

    def __init__(self, source: BoundedStream, depth: int = 0, outer: PickleNames | None = None) -> None:
        self._source = source
        self._depth = depth
        self._stack: list[Any] = []
        self._memo: dict[int, Any] = {}
        self._opcodes = 0
        self.names: dict[str, None] = outer.names if outer else {}
        self.libraries: dict[str, str] = outer.libraries if outer else {}
        if depth > MOST_DEPTH:
            raise UnreadablePickle("it nests pickles too deeply")

    def follow(self) -> None:
        """Follow all opcodes to the end of the pickle."""
        for opcode, argument, _ in pickletools.genops(self._source):  # type: ignore[arg-type]  # it reads, no more
            self._opcodes += 1
            if self._opcodes > MOST_OPCODES:
                raise UnreadablePickle(f"it has more than {MOST_OPCODES} opcodes")
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
            raise UnreadablePickle(f"it asks for more than {MOST_NAMES} names")
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
            raise UnreadablePickle("it has an array of a shape or datatype that cannot be read")
        if "O" in spelled or (isinstance(dtype, _Made) and _holds_objects(dtype)):
            PickleNames(self._source, self._depth + 1, self).follow()
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
        raise UnreadablePickle("it has an array of a datatype that cannot be read")
    return int(found[2]) * (4 if found[1] == "U" else 1)


def _short(argument: Any) -> Any:
    is_kept = isinstance(argument, bool | int) or (isinstance(argument, str) and len(argument) <= TEXT_KEPT)
    return argument if is_kept else _OPAQUE
