"""A version's OpenAPI document as a page: its operations, what each needs, its real fields, a call, the answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.http import Http404
from django.utils.translation import gettext as _

from trivet.console.samples import recorded_rows
from trivet.console.snippets import curl, whole
from trivet.console.subject import Subject
from trivet.core.datatypes import FP32_MAX, INTEGER_BOUNDS
from trivet.core.examples import made_up_row
from trivet.core.signature import Signature
from trivet.serving.openapi import openapi_document

FIELDS_SHOWN = 100  # an image has a thousand; the document has them all
VALUES_SHOWN = 12
JSON = "application/json"
NATURAL_BOUNDS = {*INTEGER_BOUNDS.values(), (-FP32_MAX, FP32_MAX)}  # those of a datatype say nothing of a model
Document = Mapping[str, Any]


@dataclass(frozen=True)
class Field:
    """One value or tensor of a request or an answer."""

    name: str
    title: str
    type: str
    accepted: str
    words: str
    is_needed: bool
    example: str


@dataclass(frozen=True)
class Header:
    """One header of a request, and what stands in it."""

    name: str
    value: str
    words: str


@dataclass(frozen=True)
class AnswerRow:
    """One status an operation may answer with."""

    status: str
    words: str
    codes: tuple[str, ...]
    headers: tuple[str, ...]


@dataclass(frozen=True)
class Operation:
    """One method of one path."""

    id: str
    method: str
    path: str
    words: str
    headers: tuple[Header, ...]
    fields_title: str
    accepted_title: str
    fields: tuple[Field, ...]
    fields_left_out: int
    optional: tuple[str, ...]
    curl: str
    answer: AnswerRow


@dataclass(frozen=True)
class OpenApiPage:
    """The page."""

    model: str
    title: str
    version: int
    query: str
    release: str
    address: str
    operations: tuple[Operation, ...]
    outputs: tuple[Field, ...]
    refusals: tuple[AnswerRow, ...]


def document_of(shown: Subject, base_url: str) -> tuple[dict[str, Any], Signature]:
    """Return the document of the shown version, its examples a recorded row, and its signature.

    Raises `Http404` where there is no version.
    """
    version, signature = shown.version, shown.signature
    if version is None or signature is None:
        raise Http404
    row = next(iter(recorded_rows(version.digest)), None) or made_up_row(signature)
    at = str(version.number) if shown.is_pinned else None
    found = openapi_document(shown.model.name, version.number, signature, row, at=at, server=base_url)
    return found, signature


def openapi_page(shown: Subject, base_url: str) -> OpenApiPage:
    """Return the page of the shown version's document; `base_url` ends where `/v2` begins."""
    found, signature = document_of(shown, base_url)
    operations = tuple(
        _operation(found, signature, path, method, operation)
        for path, methods in found["paths"].items()
        for method, operation in methods.items()
    )
    model = shown.model
    return OpenApiPage(
        model=model.name,
        title=model.heading or model.name,
        version=int(found["info"]["version"]),
        query=shown.query,
        release=found["openapi"],
        address=f"{base_url}{operations[0].path.rpartition('/')[0]}/openapi.json",
        operations=operations,
        outputs=_outputs(found),
        refusals=_refusals(found),
    )


def _operation(found: Document, signature: Signature, path: str, method: str, operation: Document) -> Operation:
    content = operation["requestBody"]["content"]
    body = content.get(JSON, {"schema": {"$ref": "#/components/schemas/InferRequest"}})  # where only binary is taken
    request = _resolved(found, body["schema"].get("anyOf", [body["schema"]])[0])  # of several the simplest comes first
    example = next((each["value"] for each in body.get("examples", {}).values()), None)
    kind = next((name for name in ("rows", "inputs") if name in request["properties"]), "label")
    fields = {
        "rows": lambda: _row_fields(found, request, example),
        "inputs": lambda: _tensors(request, signature, example),
        "label": lambda: _fields(request, example or {}),
    }[kind]()
    status = next(status for status in operation["responses"] if status.startswith("2"))
    return Operation(
        id=operation["operationId"],
        method=method.upper(),
        path=path,
        words=f"{operation['summary']} {operation['description']}",
        headers=_headers(_security(found), list(content)),
        fields_title={"rows": _("Fields of a row"), "inputs": _("Input tensors"), "label": _("Fields of a label")}[
            kind
        ],
        accepted_title=_("Shape") if kind == "inputs" else _("Accepted"),
        fields=fields[:FIELDS_SHOWN],
        fields_left_out=len(fields[FIELDS_SHOWN:]),
        optional=tuple(name for name in request["properties"] if name not in request["required"]),
        curl=curl(found["servers"][0]["url"] + path, example, depth=2) if example else "",
        answer=_answer(status, operation["responses"][status]),
    )


def _headers(schemes: Document, media_types: list[str]) -> tuple[Header, ...]:
    return (
        Header("Authorization", "Bearer …", schemes["bearer"]["description"]),
        Header(schemes["api_key"]["name"], "…", _("The same key, for clients that cannot send the header above.")),
        Header("Content-Type", _(" or ").join(media_types), _("What the body is.")),
    )


def _row_fields(found: Document, request: Document, example: Document | None) -> tuple[Field, ...]:
    row = _resolved(found, request["properties"]["rows"]["items"])
    return _fields(row, example["rows"][0] if example else {})


def _fields(schema: Document, values: Document) -> tuple[Field, ...]:
    needed = schema["required"]
    return tuple(_field(name, each, values, is_needed=name in needed) for name, each in schema["properties"].items())


def _tensors(request: Document, signature: Signature, example: Document | None) -> tuple[Field, ...]:
    """Return the input tensors; the document only counts those that are needed, the signature names them."""
    sent = {tensor["name"]: tensor["data"] for tensor in example["inputs"]} if example else {}
    schemas = request["properties"]["inputs"]["items"]["anyOf"]
    return tuple(
        _tensor(schema["properties"], sent, is_needed=not spec.optional)
        for schema, spec in zip(schemas, signature.inputs, strict=True)
    )


def _field(name: str, schema: Document, values: Document, *, is_needed: bool) -> Field:
    return Field(
        name=name,
        title=schema.get("title", ""),
        type=_type(schema),
        accepted=_accepted(schema),
        words=schema.get("description", ""),
        is_needed=is_needed,
        example=_text(values[name]) if name in values else "",
    )


def _tensor(properties: Document, sent: Document, *, is_needed: bool) -> Field:
    name, datatype = properties["name"]["const"], properties["datatype"]
    return Field(
        name=name,
        title="",
        type=", ".join(datatype["enum"]) if "enum" in datatype else datatype["const"],
        accepted=properties["shape"]["description"],
        words=properties["data"].get("description", ""),
        is_needed=is_needed,
        example=_listed(sent[name]) if name in sent else "",
    )


def _outputs(found: Document) -> tuple[Field, ...]:
    """Return the version's outputs, which both ways to ask give."""
    outputs = _schemas(found)["InferAnswer"]["properties"]["outputs"]["items"]["anyOf"]
    return tuple(_tensor(output["properties"], {}, is_needed=True) for output in outputs)


def _refusals(found: Document) -> tuple[AnswerRow, ...]:
    """Return what may be answered instead, by status; operations share the references to it."""
    references = {
        status: answer
        for methods in found["paths"].values()
        for operation in methods.values()
        for status, answer in operation["responses"].items()
        if "$ref" in answer
    }
    return tuple(_answer(status, _resolved(found, answer)) for status, answer in references.items())


def _answer(status: str, answer: Document) -> AnswerRow:
    words, _colon, codes = answer["description"].partition(" Codes: ")
    named = tuple(codes.rstrip(".").split(", ")) if codes else ()
    return AnswerRow(status=status, words=words, codes=named, headers=tuple(answer["headers"]))


def _type(schema: Document) -> str:
    types = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    return _(" or ").join(types)


def _accepted(schema: Document) -> str:
    """Return which values pass, where that is more than the datatype says."""
    if "enum" in schema:
        return _listed([value for value in schema["enum"] if value is not None])
    low, high = schema.get("minimum"), schema.get("maximum")
    if (low, high) in NATURAL_BOUNDS or (low is None and high is None):
        return ""
    if low is None:
        return _("at most %(high)s") % {"high": f"{high:g}"}
    if high is None:
        return _("at least %(low)s") % {"low": f"{low:g}"}
    return _("%(low)s to %(high)s") % {"low": f"{low:g}", "high": f"{high:g}"}


def _listed(values: list[Any]) -> str:
    shown = ", ".join(map(_text, values[:VALUES_SHOWN]))
    return shown + (", …" if len(values) > VALUES_SHOWN else "")


def _text(value: Any) -> str:
    """Return a value as JSON has it, a text without its quotes."""
    return value if isinstance(value, str) else whole(value)


def _resolved(found: Document, schema: Document) -> Document:
    """Return what a reference within the document names, or `schema` where it is none."""
    address = schema.get("$ref")
    if address is None:
        return schema
    part = found
    for name in address.removeprefix("#/").split("/"):
        part = part[name]
    return part


def _schemas(found: Document) -> Document:
    schemas: Document = found["components"]["schemas"]
    return schemas


def _security(found: Document) -> Document:
    schemes: Document = found["components"]["securitySchemes"]
    return schemes
