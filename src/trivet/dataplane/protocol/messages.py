"""The messages that walk the corridor, whatever transport brought them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar

import msgspec
import numpy as np

from trivet.core.errors import InvalidRequest
from trivet.core.rates import Limits
from trivet.core.signature import Signature

Dimension = Annotated[int, msgspec.Meta(ge=0)]
Scalar = str | int | float | bool | None


class Tensor(msgspec.Struct, forbid_unknown_fields=True):
    """One named array as a client sent it: `data` row-major, flat or nested exactly as `shape`."""

    name: str
    shape: list[Dimension]
    datatype: str
    data: list[Any] | None = None
    parameters: dict[str, Scalar] | None = None


class RawTensor(msgspec.Struct):
    """One named array as bytes, as binary REST and gRPC bring it: `data` little-endian, row-major, unpadded."""

    name: str
    shape: list[int]
    datatype: str
    data: bytes | memoryview
    parameters: dict[str, Scalar] | None = None


class RawBody(RawTensor):
    """The one tensor of a raw request: the whole body. Its name, datatype and shape, of one row, are the signature's."""


class RequestedOutput(msgspec.Struct, forbid_unknown_fields=True):
    """One output a client asks for by name."""

    name: str
    parameters: dict[str, Scalar] | None = None


class InferRequest(msgspec.Struct, forbid_unknown_fields=True):
    """What `/infer` asks: tensors in, and which outputs are wanted (none named: all)."""

    takes_json: ClassVar[bool] = False  # the answer goes back as JSON, but for outputs that are asked for as bytes

    inputs: Sequence[Tensor | RawTensor]
    id: str | None = None
    parameters: dict[str, Scalar] | None = None
    outputs: list[RequestedOutput] | None = None
    model_name: str | None = None


class InferBody(InferRequest, forbid_unknown_fields=True):
    """An InferRequest as JSON has it: every tensor's values stand in the body."""

    takes_json: ClassVar[bool] = True

    inputs: list[Tensor]


class MixedBody(InferRequest):
    """An InferRequest of REST some of whose tensors stand behind the JSON."""

    takes_json: ClassVar[bool] = True


class RowsRequest(msgspec.Struct, forbid_unknown_fields=True):
    """The body of `/predict`: rows of named features."""

    rows: list[dict[str, Any]]
    id: str | None = None
    outputs: list[str] | None = None
    parameters: dict[str, Scalar] | None = None
    entity_keys: list[str] | None = None


class InstancesRequest(RowsRequest, forbid_unknown_fields=True):
    """Rows without names, as KServe V1 may send them: each a list or a scalar, the row of a model's only tensor."""

    rows: list[Any]


class TextRowsRequest(RowsRequest, forbid_unknown_fields=True):
    """Rows as a table of texts has them: every value is a text, or None where a cell is empty."""


class FeaturesRequest(RowsRequest, forbid_unknown_fields=True):
    """Rows that a FeatureSet made: it may know more features than the version that answers reads, and these are left out."""


class Caller(msgspec.Struct, frozen=True):
    """Who asks: the name that is logged ("key:k3x9…", "user:ada", "anonymous") and what they may do."""

    name: str
    verbs: dict[str, frozenset[str]]  # model name or "*" -> verbs
    is_trusted: bool = False  # a process of ours: it may do everything, and was authenticated elsewhere
    is_anonymous: bool = False  # without a key
    limits: Limits = {}  # how often it may ask; empty: as often as it likes


ANONYMOUS = Caller("anonymous", {}, is_anonymous=True)


class OutputTensor(msgspec.Struct, omit_defaults=True):
    """One output of an answer; `data` is flat and row-major, NaN and infinities are None on the wire."""

    name: str
    shape: list[int]
    datatype: str
    data: list[Any]
    parameters: dict[str, Scalar] | None = None


class Answer(msgspec.Struct):
    """What the corridor gives back. `signature` is the answering version's."""

    model: str
    version: int
    digest: str
    prediction_id: str
    route: str
    outputs: list[OutputTensor]
    rows: int
    signature: Signature
    id: str | None = None
    flags: dict[int, dict[str, str]] | None = None
    cached: bool = False
    fallback_from: int | None = None  # the version that failed, where another answered for it
    arrays: Sequence[np.ndarray] = ()  # what `outputs` were made of, in the same order
    places: list[int] | None = None  # of the rows that were answered among those asked, where not all fitted
    problems: dict[int, InvalidRequest] | None = None  # of the others, by their places
    stations: tuple[int, int, int, int] = (
        0,
        0,
        0,
        0,
    )  # monotonic_ns when it had entered, was valid, had run, was recorded
    queued_ns: int = 0  # of the run, spent waiting for a model worker
    is_batched: bool = False  # it shared its call of the model, which the engine counts
