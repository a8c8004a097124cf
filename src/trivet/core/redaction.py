"""Redaction: what stands in a record in place of a sensitive input's value. Both planes use it.

It is a digest keyed by the pepper: the same value of the same input always has the same, so that rows can be told apart and
counted; nobody without the pepper can try values. What is missing stays missing.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Collection, Sequence
from typing import Any

from trivet.core.errors import InvalidRequest
from trivet.core.signature import Signature, unknown_input

HIDDEN = "hidden:"  # begins every one of them
DIGEST_BYTES = 8
_IS_HIDDEN = re.compile(rf"{HIDDEN}[0-9a-f]{{{2 * DIGEST_BYTES}}}")
_PERSON = b"trivet hidden"
_KEY_OF_THIS_PROCESS = secrets.token_bytes(32)  # where there is no pepper


def check_sensitive(signature: Signature, names: Collection[str], model: str) -> None:
    """Raise `InvalidRequest` for a name that is no input of `signature`, nor a column of one."""
    known = [*dict.fromkeys((*(spec.name for spec in signature.inputs), *signature.field_names))]
    for name in names:
        if name not in known:
            raise InvalidRequest(f"{model}: {unknown_input(name, known)}", code="UNKNOWN_INPUT")


def hidden_fields(signature: Signature, names: Collection[str]) -> frozenset[str]:
    """Return the fields of `signature` that are sensitive where inputs called `names` are: with a matrix all its columns."""
    fields = {field for spec in signature.inputs if spec.name in names for field in spec.field_names}
    return frozenset({*names, *fields})


def redacted(
    inputs: list[list[Any]], signature: Signature, names: Collection[str], rows: int, peppers: Sequence[bytes]
) -> list[list[Any]] | None:
    """Return `inputs` (a flat list per tensor, in the signature's order) with those called `names` hidden.

    None where they are not those of the signature: then nobody knows which to hide.
    """
    if len(inputs) != len(signature.inputs):
        return None
    key = peppers[0] if peppers else _KEY_OF_THIS_PROCESS
    out = []
    for spec, values in zip(signature.inputs, inputs, strict=True):
        fields = spec.field_names
        marked = [spec.name in names or field in names for field in fields] or [spec.name in names]
        if not any(marked):
            out.append(values)
        elif all(marked) or len(values) != len(marked) * rows:
            out.append([hidden(value, spec.name, key) for value in values])
        else:
            width = len(marked)
            out.append(
                [
                    hidden(value, fields[place % width], key) if marked[place % width] else value
                    for place, value in enumerate(values)
                ]
            )
    return out


def is_hidden(value: Any) -> bool:
    """True for what stands in place of a value, and for a list with one."""
    if isinstance(value, list):
        return any(map(is_hidden, value))
    return isinstance(value, str) and _IS_HIDDEN.fullmatch(value) is not None


def hidden(value: Any, name: str, key: bytes) -> str | None:
    """Return what stands for `value` of the input `name`; None for None. Numbers that are equal have the same."""
    if value is None or (isinstance(value, str) and is_hidden(value)):
        return value
    if isinstance(value, bytes):
        text = value
    else:
        text = str(value if isinstance(value, str | bool) else float(value)).encode("utf-8", "surrogatepass")
    digest = hashlib.blake2b(name.encode() + b"\0" + text, digest_size=DIGEST_BYTES, key=key[:64], person=_PERSON)
    return HIDDEN + digest.hexdigest()
