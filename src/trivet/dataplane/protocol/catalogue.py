"""The closed catalogue of errors: the HTTP and gRPC status of each code (protocol, section 8). Nothing else decides one."""

from __future__ import annotations

from trivet.core.errors import RateExceeded, TrivetError

_CODES_BY_STATUS: dict[int, str] = {
    400: (
        "BAD_HOST BAD_PATH BAD_HEADER BAD_ENCODING NOT_JSON DUPLICATE_KEY UNKNOWN_FIELD MISSING_FIELD WRONG_TYPE BAD_ID"
        " NAME_MISMATCH UNKNOWN_INPUT MISSING_INPUT DUPLICATE_INPUT UNKNOWN_OUTPUT DUPLICATE_OUTPUT BAD_DATATYPE"
        " BAD_SHAPE ROWS_DIFFER COUNT_MISMATCH BAD_NESTING BAD_ELEMENT OUT_OF_RANGE UNKNOWN_CATEGORY NULL_NOT_ALLOWED"
        " NOT_FINITE BINARY_REQUIRED BINARY_SIZE TRAILING_BYTES BAD_PARAMETER TOO_MANY ANSWER_TOO_LARGE INVALID_ROWS"
        " NOT_EXPLAINABLE"
    ),
    401: "KEY_REQUIRED",
    403: "VERB_NOT_GRANTED",
    404: "NOT_FOUND UNKNOWN_MODEL UNKNOWN_VERSION",
    405: "METHOD",
    408: "BODY_TIMEOUT",
    409: "CONFLICT",
    413: "BODY_TOO_LARGE",
    414: "LINE_TOO_LONG",
    415: "CONTENT_TYPE CONTENT_ENCODING",
    429: "RATE",
    431: "HEADERS_TOO_LARGE",
    500: "INTERNAL",
    503: "QUEUE_FULL DRAINING VERSION_NOT_LOADED MODEL_FAILED EXPLANATION_FAILED LOG_UNAVAILABLE MANAGEMENT_AWAY",
    504: "DEADLINE",
}
HTTP_STATUS: dict[str, int] = {code: status for status, codes in _CODES_BY_STATUS.items() for code in codes.split()}
GRPC_STATUS: dict[int, int] = {
    400: 3,  # INVALID_ARGUMENT
    401: 16,  # UNAUTHENTICATED
    403: 7,  # PERMISSION_DENIED
    404: 5,  # NOT_FOUND
    405: 12,  # UNIMPLEMENTED
    408: 4,  # DEADLINE_EXCEEDED
    409: 10,  # ABORTED
    413: 8,  # RESOURCE_EXHAUSTED
    414: 8,
    415: 3,
    429: 8,
    431: 8,
    500: 13,  # INTERNAL
    503: 14,  # UNAVAILABLE
    504: 4,
}
"""For each HTTP status, the number of the gRPC status that says the same."""

RETRY_AFTER_SECONDS = 1  # on 503: by then a worker has reloaded or a queue has moved


def http_status(error: TrivetError) -> int:
    """Return the status of `error`; one whose code is not in the catalogue is a defect of ours, hence 500."""
    return HTTP_STATUS.get(error.code, 500)


def retry_after(error: TrivetError) -> int:
    """Return after how many seconds the same request may succeed, for the errors that say so."""
    return error.retry_after if isinstance(error, RateExceeded) else RETRY_AFTER_SECONDS


def grpc_status(error: TrivetError) -> int:
    """Return the number of the gRPC status of `error`."""
    return GRPC_STATUS[http_status(error)]
