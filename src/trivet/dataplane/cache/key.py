"""What a cached answer depends on, as bytes, and the short key made of them."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec
import numpy as np

KEY_BYTES = 16

Hash = Callable[[bytes], bytes]

_encode = msgspec.msgpack.Encoder().encode


def canonical(digest: str, outputs: Sequence[str], feed: Mapping[str, np.ndarray]) -> bytes | None:
    """Return the bytes that two requests share exactly if the model cannot tell them apart; None if there are none.

    They are the bundle's digest, the wanted outputs in order, and of each validated array its name, datatype, shape
    and values. All NaN are one value, as they are to a model; -0.0 is not 0.0, for a model can divide. Texts stay as
    they were sent: two Unicode forms of one word are two words. Nothing else changes an answer: not who asks, not the
    id, not a parameter, for no signature declares one that does.
    """
    arrays = [(name, array.dtype.str, array.shape, _values(array)) for name, array in feed.items()]
    try:
        return _encode((digest, outputs, arrays))
    except (UnicodeEncodeError, TypeError):  # a text that is no Unicode, or an object that is no text
        return None


def keyed_hash(secret: bytes) -> Hash:
    """Return a hash of 128 bits that nobody without `secret` (16 to 64 bytes) can make collide."""

    def hash_of(data: bytes) -> bytes:
        return hashlib.blake2b(data, digest_size=KEY_BYTES, key=secret).digest()

    return hash_of


def _values(array: np.ndarray) -> bytes | list[Any]:
    kind = array.dtype.kind
    if kind == "O":
        return array.ravel().tolist()
    if kind == "f" and _has_nan(array):
        array = np.where(np.isnan(array), array.dtype.type(math.nan), array)
    return array.tobytes()


def _has_nan(array: np.ndarray) -> bool:
    if array.size == 1:  # a column of one row: a tenth of the time
        value = array.item()
        return bool(value != value)  # noqa: PLR0124  (what NaN is)
    return bool(np.isnan(array).any())
