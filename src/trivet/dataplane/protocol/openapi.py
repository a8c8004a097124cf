"""One version's HTTP interface as OpenAPI 3.1, with its real fields (protocol, section 11).

JSON Schema cannot say that a tensor has as many values as its shape, nor that there is one entity key per row: the
schema of `/predict` is exact but for that, the schema of `/infer` says what a tensor looks like.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trivet.core.datatypes import ACCEPTED, NO_JSON
from trivet.core.examples import infer_body
from trivet.core.field_schema import field_schema, json_type, words_about
from trivet.core.signature import Input, Output, Signature
from trivet.dataplane.protocol.catalogue import HTTP_STATUS
from trivet.dataplane.protocol.labels import MAX_ELEMENTS, MAX_LABELS, MAX_SOURCE
from trivet.dataplane.protocol.parameters import (
    LARGEST_INTEGER,
    LEAST_INTEGER,
    MAX_CALLERS_KEY,
    MAX_KEY,
    MAX_PARAMETERS,
    MAX_TEXT,
)

VERSION = "3.1.0"
JSON = "application/json"
CSV = "text/csv"
NDJSON = "application/x-ndjson"
ID = "^[A-Za-z0-9._:-]{1,128}$"
ROW_ID = "^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}(:[0-9]{1,9})?$"
MEANINGS = {
    400: "The request does not fit; the sentence names the value, the place and the remedy.",
    401: "No key, or one that is not valid here.",
    403: "The key may not use this verb on this model.",
    404: "No such model or version, or none that the key may know of.",
    408: "The body came too slowly.",
    413: "The body is over its bound.",
    415: "A media type or encoding that is not read here.",
    429: "Too many requests of this key; ask again after `Retry-After` seconds.",
    503: "Not now; ask again after `Retry-After` seconds.",
    504: "The answer would have come after the deadline.",
}
Schema = dict[str, Any]
REQUEST_ID: Schema = {"type": ["string", "null"], "pattern": ID}
ANSWER_PARAMETERS: Schema = {
    "type": "object",
    "properties": {
        "prediction_id": {"type": "string"},
        "route": {"enum": ["only", "split", "sticky", "audience", "alias", "pinned", "fallback"]},
        "cached": {"type": "boolean"},
        "flagged_rows": {"type": "integer"},
        "fallback_from": {"type": "string"},
    },
    "required": ["prediction_id", "route", "cached"],
}
ERROR: Schema = {
    "type": "object",
    "properties": {
        "error": {"type": "string"},
        "errors": {"type": "array", "items": {"$ref": "#/components/schemas/RowError"}},
    },
    "required": ["error"],
    "additionalProperties": False,
}
ROW_ERROR: Schema = {
    "type": "object",
    "properties": {
        "row": {"type": ["integer", "null"]},
        "field": {"type": ["string", "null"]},
        "code": {"type": "string"},
        "error": {"type": "string"},
    },
    "required": ["code", "error"],
}


def document(
    model: str, number: int, signature: Signature, fields: Mapping[str, Any], *, max_rows: int, at: str | None = None
) -> dict[str, Any]:
    """Return the document of version `number` of `model`. `fields` is a row that works, `at` a version in the paths.

    A model whose inputs have no names a row could use has no `/predict`.
    """
    base = f"/v2/models/{model}" + (f"/versions/{at}" if at else "")
    in_json = not any(spec.datatype in NO_JSON for spec in signature.inputs)
    paths = {}
    if in_json and signature.has_rows and all(spec.field_names for spec in signature.inputs):
        paths[f"{base}/predict"] = {"post": _predict(signature, fields)}
    paths[f"{base}/infer"] = {"post": _infer(signature, fields, in_json=in_json)}
    paths[f"/v2/models/{model}/feedback"] = {"post": _feedback()}
    return {
        "openapi": VERSION,
        "info": {
            "title": model,
            "version": str(number),
            "description": f"The model {model}, version {number}. Ask it with named rows or with tensors; every answer"
            " names the version that gave it, and is recorded.",
        },
        "servers": [{"url": "/"}],
        "security": [{"bearer": []}, {"api_key": []}],
        "paths": paths,
        "components": {
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer", "description": "An API key with the verb of the path."},
                "api_key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
            },
            "schemas": _schemas(signature, max_rows),
            "headers": {
                "Trivet-Error": {"description": "The error's code, for programs.", "schema": {"type": "string"}},
                "Retry-After": {"description": "Seconds to wait.", "schema": {"type": "integer"}},
                "Trivet-Prediction-Id": {"description": "Names the answer in the log.", "schema": {"type": "string"}},
                "Trivet-Model-Version": {"description": "The version that answered.", "schema": {"type": "string"}},
            },
            "responses": {f"Error{status}": _error(status) for status in MEANINGS},
        },
    }


def _schemas(signature: Signature, max_rows: int) -> dict[str, Schema]:
    return {
        "Row": _row(signature.lenient),
        "RowsRequest": _rows_request(signature, max_rows),
        "RowsParameters": _parameters(
            {"partial": {"type": ["boolean", "null"], "description": "Answer the rows that fit."}}, "interval"
        ),
        "RowsAnswer": _answer("rows", [_answer_row(signature), _ref("RowError")]),
        "InferRequest": _infer_request(signature),
        "Parameters": _parameters({}),
        "InferAnswer": _answer("outputs", [_output(output) for output in signature.outputs]),
        "AnswerParameters": ANSWER_PARAMETERS,
        "Label": _label(),
        "Labels": _labels(),
        "Error": ERROR,
        "RowError": ROW_ERROR,
    }


def _row(signature: Signature) -> Schema:
    return {
        "type": "object",
        "properties": {name: field_schema(spec) for spec in signature.inputs for name in spec.field_names},
        "required": [name for spec in signature.inputs if not spec.nullable for name in spec.field_names],
        "additionalProperties": False,
    }


def _rows_request(signature: Signature, max_rows: int) -> Schema:
    key = {"type": "string", "maxLength": MAX_CALLERS_KEY}
    return {
        "type": "object",
        "properties": {
            "rows": {"type": "array", "items": _ref("Row"), "maxItems": max_rows},
            "id": REQUEST_ID,
            "outputs": {
                "type": ["array", "null"],
                "items": {"enum": _output_names(signature)},
                "uniqueItems": True,
                "description": "Raw outputs to add to each row.",
            },
            "parameters": _ref("RowsParameters"),
            "entity_keys": {"type": ["array", "null"], "items": key, "description": "One per row."},
        },
        "required": ["rows"],
        "additionalProperties": False,
    }


def _infer_request(signature: Signature) -> Schema:
    return {
        "type": "object",
        "properties": {
            "inputs": {
                "type": "array",
                "items": {"anyOf": [_input(spec) for spec in signature.inputs]},
                "minItems": sum(not spec.may_be_left_out for spec in signature.inputs),
                "maxItems": len(signature.inputs),
                "description": "Each input once, in any order.",
            },
            "outputs": {"type": ["array", "null"], "items": _requested_output(signature)},
            "id": REQUEST_ID,
            "parameters": _ref("Parameters"),
            "model_name": {"type": ["string", "null"]},
        },
        "required": ["inputs"],
        "additionalProperties": False,
    }


def _requested_output(signature: Signature) -> Schema:
    return {
        "type": "object",
        "properties": {"name": {"enum": _output_names(signature)}, "parameters": _ref("Parameters")},
        "required": ["name"],
        "additionalProperties": False,
    }


def _output_names(signature: Signature) -> list[str]:
    return [output.name for output in signature.outputs]


def _answer(content: str, items: list[Schema]) -> Schema:
    """Return what every answer holds: who gave it, and under `content` an array of any of `items`."""
    return {
        "type": "object",
        "properties": {
            "model_name": {"type": "string"},
            "model_version": {"type": "string"},
            "id": {"type": "string"},
            "parameters": _ref("AnswerParameters"),
            content: {"type": "array", "items": {"anyOf": items}},
        },
        "required": ["model_name", "model_version", "parameters", content],
    }


def _parameters(extra: Mapping[str, Schema], *never: str) -> Schema:
    text = {"type": ["string", "null"], "maxLength": MAX_CALLERS_KEY}
    within_64_bits = {"minimum": LEAST_INTEGER, "maximum": LARGEST_INTEGER}
    flag, integer = {"type": ["boolean", "null"]}, {"type": ["integer", "null"], **within_64_bits}
    refused = "|".join(["headers$", "sequence_", "triton_", "shared_memory_", *(f"{name}$" for name in never)])
    return {
        "type": ["object", "null"],
        "properties": {
            "timeout": integer | {"description": "Microseconds until the answer is of no use."},
            "route_key": text | {"description": "Callers with one key get one version."},
            "entity_key": text | {"description": "The business key of a one-row request."},
            "cache": flag | {"description": "false: neither read nor fill the cache."},
            "priority": integer,
            "classification": integer,
            "binary_data": flag,
            "binary_data_output": flag,
            "content_type": {"enum": ["np", "pd", "str", None]},
            **extra,
        },
        "propertyNames": {"pattern": f"^(?!{refused})", "maxLength": MAX_KEY},
        "maxProperties": MAX_PARAMETERS,
        "additionalProperties": {
            "type": ["string", "number", "boolean", "null"],
            "maxLength": MAX_TEXT,
            **within_64_bits,
        },
    }


def _predict(signature: Signature, fields: Mapping[str, Any]) -> dict[str, Any]:
    example = (
        {"rows": [dict(fields)], "outputs": [signature.outputs[0].name]}
        if signature.outputs
        else {"rows": [dict(fields)]}
    )
    return {
        "operationId": "predict",
        "summary": "Ask with named rows.",
        "description": "As CSV, the first line names the columns, an empty cell is missing, and parameters travel in the"
        " query; the answer is CSV too.",
        "requestBody": {
            "required": True,
            "content": {
                JSON: {"schema": _ref("RowsRequest"), "examples": {"recorded": {"value": example}}},
                CSV: {"schema": {"type": "string"}},
            },
        },
        "responses": _responses(
            "The answers, in the order of the rows.", {JSON: {"schema": _ref("RowsAnswer")}, CSV: {}}
        ),
    }


def _infer(signature: Signature, fields: Mapping[str, Any], *, in_json: bool) -> dict[str, Any]:
    content: dict[str, Any] = {"application/octet-stream": {}}
    if in_json:
        content[JSON] = {"schema": _ref("InferRequest")}
        if all(spec.field_names for spec in signature.inputs):
            content[JSON]["examples"] = {"recorded": {"value": infer_body(signature, fields)}}
    answers: dict[str, Any] = {JSON: {"schema": _ref("InferAnswer")}, "application/octet-stream": {}}
    return {
        "operationId": "infer",
        "summary": "Ask with tensors, as the Open Inference Protocol has them.",
        "description": "Binary tensors follow the JSON, whose length is in the header Inference-Header-Content-Length.",
        "requestBody": {"required": True, "content": content},
        "responses": _responses("The outputs.", answers),
    }


def _feedback() -> dict[str, Any]:
    example = {"prediction_id": "01947f2e-8a10-7c3b-9d2e-0a1b2c3d4e5f:0", "label": True, "source": "support"}
    answer: Schema = {
        "type": "object",
        "properties": {"accepted": {"type": "integer"}, "receipt": {"type": "string"}},
        "required": ["accepted", "receipt"],
    }
    content = {
        JSON: {
            "schema": {"anyOf": [_ref("Label"), _ref("Labels")]},
            "examples": {"one": {"value": example}},
        },
        NDJSON: {"schema": {"type": "string"}},
    }
    return {
        "operationId": "feedback",
        "summary": "Say what turned out true.",
        "description": "Takes a key with the verb label. Labels are kept when this answers, and applied soon after, in the"
        " order they came in: the same again changes nothing, another label is a correction.",
        "requestBody": {"required": True, "content": content},
        "responses": {"202": {"description": "They are kept.", "headers": {}, "content": {JSON: {"schema": answer}}}}
        | _refusals(),
    }


def _label() -> Schema:
    """Return what one label is, of which at most one name of its prediction may stand there, as null or not at all."""
    kinds = ["string", "boolean", "number"]
    return {
        "type": "object",
        "properties": {
            "prediction_id": {
                "type": ["string", "null"],
                "pattern": ROW_ID,
                "description": "As it was answered: <uuid>:<row>; <uuid> is its first row.",
            },
            "entity_key": {
                "type": ["string", "null"],
                "minLength": 1,
                "maxLength": MAX_CALLERS_KEY,
                "description": "The newest prediction with this key that is not younger than observed_at.",
            },
            "label": {
                "type": [*kinds, "array"],
                "maxLength": MAX_TEXT,
                "items": {"type": kinds, "maxLength": MAX_TEXT},
                "maxItems": MAX_ELEMENTS,
                "description": "What turned out true. Whole numbers have at most 64 bits.",
            },
            "observed_at": {
                "type": ["string", "null"],
                "format": "date-time",
                "description": "When it was true, with an offset; not in the future. Without: now.",
            },
            "source": {"type": ["string", "null"], "maxLength": MAX_SOURCE, "description": "Who or what knew."},
        },
        "required": ["label"],
        "oneOf": [
            {"properties": {name: {"type": "string"}, other: {"type": "null"}}, "required": [name]}
            for name, other in (("prediction_id", "entity_key"), ("entity_key", "prediction_id"))
        ],
        "additionalProperties": False,
    }


def _labels() -> Schema:
    return {
        "type": "object",
        "properties": {"labels": {"type": "array", "items": _ref("Label"), "maxItems": MAX_LABELS}},
        "required": ["labels"],
        "additionalProperties": False,
    }


def _responses(description: str, content: Mapping[str, Any]) -> dict[str, Any]:
    names = ("Trivet-Prediction-Id", "Trivet-Model-Version")
    headers = {name: {"$ref": f"#/components/headers/{name}"} for name in names}
    return {"200": {"description": description, "headers": headers, "content": dict(content)}} | _refusals()


def _refusals() -> dict[str, Any]:
    return {str(status): {"$ref": f"#/components/responses/Error{status}"} for status in MEANINGS}


def _error(status: int) -> dict[str, Any]:
    codes = [code for code, its in HTTP_STATUS.items() if its == status]
    headers = {"Trivet-Error": {"$ref": "#/components/headers/Trivet-Error"}}
    if status in (429, 503):
        headers["Retry-After"] = {"$ref": "#/components/headers/Retry-After"}
    return {
        "description": f"{MEANINGS[status]} Codes: {', '.join(codes)}.",
        "headers": headers,
        "content": {JSON: {"schema": _ref("Error")}},
    }


def _input(spec: Input) -> Schema:
    accepted = sorted(name for name in ACCEPTED[spec.datatype] if name not in NO_JSON)
    return {
        "type": "object",
        "properties": {
            "name": {"const": spec.name},
            "datatype": {"enum": accepted or [spec.datatype]},
            "shape": _shape(spec.shape),
            "data": {"type": "array", "description": "Row-major, flat or nested as the shape. " + words_about(spec)},
            "parameters": _ref("Parameters"),
        },
        "required": ["name", "shape", "datatype", "data"],
        "additionalProperties": False,
    }


def _output(output: Output) -> Schema:
    return {
        "type": "object",
        "properties": {
            "name": {"const": output.name},
            "datatype": {"const": output.datatype},
            "shape": _shape(output.shape),
            "data": {"type": "array", "items": {"type": [json_type(output.datatype), "null"]}},
            "parameters": {"type": "object"},
        },
        "required": ["name", "shape", "datatype", "data"],
    }


def _shape(shape: tuple[int, ...]) -> Schema:
    return {
        "type": "array",
        "items": {"type": "integer", "minimum": 0},
        "description": f"{list(shape)}; -1: any number.",
    }


def _answer_row(signature: Signature) -> Schema:
    return {
        "type": "object",
        "properties": {
            "id": {"type": "string"},
            "value": {"description": "A number, or a number per class."},
            "decision": {"type": "string"},
            "flags": {"type": "object", "additionalProperties": {"type": "string"}},
            "outputs": {"type": "object", "properties": {output.name: {} for output in signature.outputs}},
        },
        "required": ["id", "value"],
    }


def _ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}
