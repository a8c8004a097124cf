"""Exports: rows to train on as a file, and beside it a manifest that says by which features, and as of when, they were made."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO

import msgspec
from django.db.models import QuerySet
from django.utils import timezone

from trivet.core.errors import InvalidRequest, Refused, quoted
from trivet.core.signature import enumerate_names
from trivet.features.feature_set import FeatureSet, find_feature_set
from trivet.features.fingerprint import columns_of, differences, hash_of
from trivet.features.given import Given
from trivet.features.reading import Reading
from trivet.features.shape import place_of, shape_of

SUFFIX = ".manifest.json"  # after the name of the file that it is of
FORMAT = 1
LARGEST_BYTES = 4 * 1024 * 1024  # of a manifest that is read


class ExportManifest(msgspec.Struct, frozen=True, kw_only=True):
    """What an export was made by. `columns` has a hash for each feature, in the order of the file."""

    format: int
    features: str  # "customers.ml.ChurnFeatures"
    hash: str
    columns: dict[str, str]
    as_of: str  # a moment, or the path of the column where each row says its own
    label: str
    rows: int


Opening = Callable[[Path], Any]  # a context manager that gives a file to write bytes to


def export_features(
    feature_set: type[FeatureSet], file: Path, opened: Opening, *, as_of: datetime | str | None, label: str | None
) -> ExportManifest:
    """Write the features of all rows of a FeatureSet's model to `file` as CSV, and its manifest beside it, in constant memory.

    With `label`, a column of the row, it is the last of the file, and rows where it is empty are left out, as are those whose
    `as_of` is. A missing value is an empty cell; a number reads back as the very same one. Raises `InvalidRequest` for a
    label or a moment that is none, and for features that no table has, before a file is there.
    """
    shape = shape_of(feature_set)
    if label in shape.features:
        raise InvalidRequest(
            f"{shape.name}: {quoted(str(label))} is a feature; the label of a row is not known when it is asked."
        )
    also = (label,) if label is not None else ()
    moment = timezone.now() if as_of is None else as_of
    given = [quoted(name) for name, feature in shape.features.items() if isinstance(feature, Given)]
    if given:  # also where it may be missing: a model would learn that it always is
        raise InvalidRequest(
            f"{shape.name}: {enumerate_names(given)} is supplied by whoever asks, and no table has it. Write the rows yourself:"
            f" {shape.name}.rows(given=lambda key: ...)."
        )
    rows: QuerySet[Any] = QuerySet(shape.table)
    Reading(shape, moment, feature_set, also)  # raises for what is no moment and no column
    if label is not None:
        rows = rows.filter(**{f"{label}__isnull": False})
    with opened(file) as sink:
        written = write_rows(feature_set.rows(rows, moment, also=also), [*shape.features, *also], sink)
    columns = columns_of(feature_set)
    manifest = ExportManifest(
        format=FORMAT,
        features=place_of(feature_set),
        hash=hash_of(columns),
        columns=columns,
        as_of=moment if isinstance(moment, str) else moment.isoformat(),
        label=label or "",
        rows=written,
    )
    with opened(manifest_of(file)) as sink:
        sink.write(msgspec.json.format(msgspec.json.encode(manifest)) + b"\n")
    return manifest


def manifest_of(file: Path) -> Path:
    """Return where the manifest of an export lies."""
    return file.with_name(file.name + SUFFIX)


def read_manifest(file: Path) -> ExportManifest | None:
    """Return the manifest beside a file of rows; None where there is none. Raises `InvalidRequest` for one that is broken."""
    path = manifest_of(file)
    if not path.is_file():
        return None
    if path.stat().st_size > LARGEST_BYTES:
        raise InvalidRequest(f"{path.name} is no manifest of an export: it has {path.stat().st_size:,} bytes.")
    try:
        manifest = msgspec.json.decode(path.read_bytes(), type=ExportManifest)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidRequest(f"{path.name} is no manifest of an export: {error}.") from error
    if manifest.format != FORMAT or hash_of(manifest.columns) != manifest.hash:
        raise InvalidRequest(f"{path.name} is of another release, or was changed: export {file.name} again.")
    return manifest


def bundled(features: str | None, sample: Path | None) -> dict[str, Any]:
    """Return what the manifest of a bundle says of the features that a model was trained on; nothing where nobody says any.

    They are of the FeatureSet that code names `features`, or of the one that the manifest beside `sample` names. Raises
    `Refused`, which names the features, where that is of another class than the code has now; `NotFound` for no class.
    """
    exported = None if sample is None else read_manifest(sample)
    place = features or (exported.features if exported is not None else "")
    if not place:
        return {}
    columns = columns_of(find_feature_set(place))
    if exported is not None and sample is not None and exported.hash != hash_of(columns):
        changed = enumerate_names(differences(exported.columns, columns))
        raise Refused(
            f"{sample.name} was exported by another {quoted(place)} than the code has now: {changed}. Export the rows again, and"
            " train on those; or push from the code that they were exported by."
        )
    return {"class": place, "hash": hash_of(columns), "columns": columns}


def write_rows(rows: Iterator[Mapping[str, Any]], columns: list[str], sink: BinaryIO) -> int:
    """Write rows as CSV and return how many. Texts stay as they are, also such as a spreadsheet would take for a formula."""
    text = io.TextIOWrapper(sink, encoding="utf-8", newline="", write_through=True)
    number = 0
    try:
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(columns)
        for row in rows:
            writer.writerow([row[name] for name in columns])
            number += 1
    finally:
        text.detach()  # the file stays open: it is the caller's
    return number
