"""`Client`: predictions over HTTP with the standard library, and errors of the same tree as in the server."""

from __future__ import annotations

import email.utils
import http.client
import math
import os
import re
import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote, urlsplit

import msgspec
import numpy as np

from trivet.core.errors import (
    Conflict,
    DeadlineExceeded,
    InternalError,
    InvalidRequest,
    NotFound,
    PermissionDenied,
    RateExceeded,
    TooLarge,
    TrivetError,
    Unauthenticated,
    Unavailable,
    UnsupportedMedia,
    quoted,
)
from trivet.core.ids import split_row_id

DEFAULT_TIMEOUT_SECONDS = 30.0
URL_VARIABLE = "TRIVET_URL"
KEY_VARIABLE = "TRIVET_API_KEY"
UNREACHABLE = "UNREACHABLE"  # no server says it, so it is not in the catalogue
RETRY_AFTER_SECONDS = 1  # where a 429 does not say; Trivet's always do

_ERRORS: dict[int, type[TrivetError]] = {
    400: InvalidRequest,
    401: Unauthenticated,
    403: PermissionDenied,
    404: NotFound,
    408: DeadlineExceeded,
    409: Conflict,
    413: TooLarge,
    415: UnsupportedMedia,
    503: Unavailable,
    504: DeadlineExceeded,
}
_DATATYPES = {
    "b": "BOOL",
    "i1": "INT8",
    "i2": "INT16",
    "i4": "INT32",
    "i8": "INT64",
    "u1": "UINT8",
    "u2": "UINT16",
    "u4": "UINT32",
    "u8": "UINT64",
    "f4": "FP32",
    "f8": "FP64",
}


class RowPrediction(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to one row: `value` is a number or class -> probability, `decision` the label in words."""

    id: str
    value: Any  # a number, or class -> probability
    decision: str = ""
    flags: dict[str, str] = {}
    outputs: dict[str, Any] = {}


class _RowsAnswer(msgspec.Struct):
    model_name: str
    model_version: str
    rows: list[RowPrediction]


class Client:
    """One connection to a server. Not thread-safe: give each thread its own. Usable as a context manager.

    `url` and `key` default to TRIVET_URL and TRIVET_API_KEY. Every call raises the error of the tree that the server
    meant: `InvalidRequest`, `Unauthenticated`, `PermissionDenied`, `NotFound`, `Unavailable`; `RateExceeded` where the key
    asks more often than it may, with `retry_after`, the seconds until there is room; and `Unavailable` with the code
    UNREACHABLE where the server cannot be reached. A request is sent once more only if the server had closed a kept
    connection; when to ask again after a refusal is for the caller to decide.
    """

    def __init__(
        self, url: str | None = None, key: str | None = None, *, timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS
    ) -> None:
        parts = urlsplit(url or os.environ.get(URL_VARIABLE, ""))
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise InvalidRequest(f"no address of a server: give Client('http://host:port', key) or set {URL_VARIABLE}.")
        connect = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        self._connection = connect(parts.hostname, parts.port, timeout=timeout_seconds)
        self._address = parts.netloc.rpartition("@")[2]
        self._prefix = parts.path.rstrip("/")
        key = (key or os.environ.get(KEY_VARIABLE, "")).strip()  # a key read from a file ends with its line
        if not (key.isascii() and key.isprintable()):
            raise InvalidRequest("the API key is not well-formed; copy it again.")
        self._headers = {"Content-Type": "application/json", **({"Authorization": f"Bearer {key}"} if key else {})}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection; a later call opens a new one."""
        self._connection.close()

    def predict(
        self, model: str, rows: Iterable[Mapping[str, Any]], *, outputs: Sequence[str] = ()
    ) -> list[RowPrediction]:
        """Return one prediction per row of named features, in order. `model` may be "late", "late@3" or "late@champion"."""
        body: dict[str, Any] = {"rows": _rows(rows)}
        if isinstance(outputs, str):
            raise InvalidRequest(f"outputs is one text; give a list: [{quoted(outputs)}].")
        if outputs:
            body["outputs"] = list(outputs)
        answer = self._call("POST", f"{_path(model)}/predict", msgspec.json.encode(body, enc_hook=_plain))
        return msgspec.json.decode(answer, type=_RowsAnswer).rows

    def infer(self, model: str, tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Return the output arrays for input arrays by name, in the shapes of the model's signature.

        Arrays of text, or of its UTF-8 bytes, become BYTES; masked or missing numbers are NaN, which is sent as null.
        """
        body = {"inputs": [_tensor(name, np.asarray(array)) for name, array in tensors.items()]}
        answer = msgspec.json.decode(self._call("POST", f"{_path(model)}/infer", msgspec.json.encode(body)))
        return {output["name"]: _array(output) for output in answer["outputs"]}

    def label(
        self,
        model: str,
        prediction: RowPrediction | str,
        value: Any,
        *,
        source: str = "",
        observed_at: datetime | None = None,
    ) -> str:
        """Say what turned out true for one prediction of `model`, and return the receipt. Needs the verb `label`.

        `prediction` is one of those that `predict` returned, its id, or an entity key: then the newest prediction with
        that key is meant which was made before `observed_at` (with an offset; now, where it is not given). `value` is a
        text, a number, a bool or a list of them. It is kept when this returns and applied soon after, also where its
        prediction is not in the log yet: what became of it is not known here.
        """
        return self.label_many(model, [(prediction, value)], source=source, observed_at=observed_at)

    def label_many(
        self,
        model: str,
        labels: Iterable[tuple[RowPrediction | str, Any]],
        *,
        source: str = "",
        observed_at: datetime | None = None,
    ) -> str:
        """Say what turned out true for up to 1,000 predictions, as pairs of what `label` takes; return the receipt."""
        shared = {"source": source} if source else {}
        if observed_at is not None:
            if observed_at.utcoffset() is None:
                raise InvalidRequest("observed_at has no time zone: give it one.", field="observed_at")
            shared["observed_at"] = observed_at.isoformat()
        told = [{**_named(prediction), "label": value, **shared} for prediction, value in labels]
        body = msgspec.json.encode({"labels": told}, enc_hook=_plain)
        return str(msgspec.json.decode(self._call("POST", f"{_path(model)}/feedback", body))["receipt"])

    def metadata(self, model: str) -> dict[str, Any]:
        """Return the model's versions, inputs and outputs."""
        return dict(msgspec.json.decode(self._call("GET", _path(model))))

    def is_ready(self, model: str) -> bool:
        """True when the model would answer now."""
        try:
            self._call("GET", f"{_path(model)}/ready")
        except Unavailable:
            return False
        return True

    def _call(self, method: str, path: str, body: bytes | None = None) -> bytes:
        for is_last in (False, True):
            is_fresh = self._connection.sock is None
            try:
                self._connection.request(method, self._prefix + path, body, self._headers)
                response = self._connection.getresponse()
                content = response.read()
            except (http.client.RemoteDisconnected, BrokenPipeError, ConnectionResetError) as error:
                self._connection.close()
                if is_fresh or is_last:
                    raise Unavailable(
                        f"the server at {self._address} closed the connection: {error}.", code=UNREACHABLE
                    ) from error
            except (OSError, http.client.HTTPException) as error:  # the latter: an answer cut short
                self._connection.close()
                what = str(error) or type(error).__name__
                raise Unavailable(
                    f"the server at {self._address} cannot be reached: {what}.", code=UNREACHABLE
                ) from error
            else:
                if response.status >= 300:
                    raise _error(response, content)
                return content
        raise AssertionError("unreachable")


def _error(response: http.client.HTTPResponse, content: bytes) -> TrivetError:
    try:
        message = str(msgspec.json.decode(content)["error"])
    except (msgspec.DecodeError, KeyError, TypeError):
        message = f"the server answered {response.status}."
    if response.status == http.client.TOO_MANY_REQUESTS:
        return RateExceeded(message, retry_after=_seconds(response.getheader("Retry-After", "")))
    return _ERRORS.get(response.status, InternalError)(message, code=response.getheader("Trivet-Error"))


def _seconds(retry_after: str) -> int:
    """Return a Retry-After in seconds: a proxy in front may give a date instead, or nothing."""
    if re.fullmatch("[0-9]{1,9}", retry_after):
        return int(retry_after)
    try:
        moment = email.utils.parsedate_to_datetime(retry_after).timestamp()
    except (ValueError, OverflowError):
        return RETRY_AFTER_SECONDS
    return max(math.ceil(moment - time.time()), 0)


def _path(model: str) -> str:
    if not isinstance(model, str) or not model:
        raise InvalidRequest(f"model is {quoted(model)}; give its name: 'late', 'late@3' or 'late@champion'.")
    name, _, version = model.partition("@")
    path = f"/v2/models/{quote(name, safe='')}"
    return f"{path}/versions/{quote(version, safe='')}" if version else path


def _named(prediction: Any) -> dict[str, str]:
    """Return how a label names its prediction."""
    name = prediction.id if isinstance(prediction, RowPrediction) else prediction
    if not isinstance(name, str):
        raise InvalidRequest(f"what is labelled is a prediction, its id or an entity key, not {quoted(name)}.")
    return {"prediction_id" if split_row_id(name) else "entity_key": name}


def _rows(rows: Any) -> list[dict[str, Any]]:  # Any: whatever a caller gives, each with its remedy
    if hasattr(rows, "to_dict"):
        raise InvalidRequest("rows is a DataFrame; give its rows as mappings: df.to_dict('records').")
    if isinstance(rows, Mapping):
        raise InvalidRequest("rows is one row; give a list of rows: [row].")
    if not isinstance(rows, Iterable) or isinstance(rows, str | bytes):
        raise InvalidRequest(f"rows is a {type(rows).__name__}; give a list of rows, each a mapping of features.")
    named = list(rows)
    for place, row in enumerate(named):
        if not isinstance(row, Mapping):
            raise InvalidRequest(
                f"row {place} is a {type(row).__name__}; a row is a mapping of features by name: {{'age': 50}}.",
                row=place,
            )
    return [dict(row) for row in named]


def _tensor(name: str, array: np.ndarray) -> dict[str, Any]:
    kind = array.dtype.str[1:]
    datatype = _DATATYPES.get(kind) or _DATATYPES.get(kind[0]) or "BYTES"
    data = array.ravel().tolist()
    if datatype == "BYTES":
        data = [_text(name, value) for value in data]
    return {"name": name, "shape": list(array.shape), "datatype": datatype, "data": data}


def _text(name: str, value: Any) -> str | None:
    if value is None or value != value:  # noqa: PLR0124  (NaN)
        return None
    if not isinstance(value, bytes):
        return str(value)
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise InvalidRequest(f"{quoted(name)} holds bytes that are no UTF-8 text.", field=name) from None


def _array(output: Mapping[str, Any]) -> np.ndarray:
    dtype = {datatype: kind for kind, datatype in _DATATYPES.items()}.get(output["datatype"], "O")
    return np.array(output["data"], dtype="?" if dtype == "b" else dtype).reshape(output["shape"])


def _plain(value: Any) -> Any:
    """Return a NumPy scalar as the Python number it is."""
    if hasattr(value, "item"):
        return value.item()
    raise InvalidRequest(
        f"a feature cannot be a {type(value).__name__}; it is a number, a text, a bool, or None if missing."
    )
