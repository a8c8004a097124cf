"""Samples: some rows of a FeatureSet, spread over its table, on which a push proves what it made."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from django.db.models import QuerySet, Window
from django.db.models.functions import RowNumber

from trivet.core.errors import quoted
from trivet.core.signature import Input, enumerate_names
from trivet.features.exporting import bundled, write_rows
from trivet.features.feature_set import FeatureSet, find_feature_set
from trivet.features.given import Given
from trivet.features.reading import Reading, Row
from trivet.features.shape import Shape, shape_of

SAMPLE_ROWS = 200


class Basis(NamedTuple):
    """What a push knows of the rows that a model was trained on: what its manifest says, a sample, and what nobody may see."""

    features: dict[str, Any]
    sample: Path | None
    origin: str  # of rows that were drawn, or why they were not, as a sentence; empty where a sample was given
    sensitive: tuple[str, ...]
    declared: tuple[Input, ...]  # bounds, categories and policies of the features


@contextmanager
def basis_of(place: str | None, sample: Path | None, *, has_rows: bool = False) -> Iterator[Basis]:
    """Give, for the block, what a push begins with: of the FeatureSet that code names `place`, or of the `sample`'s manifest.

    Without a sample its rows are drawn from the table, unless what is pushed `has_rows` itself. Raises what `bundled` and
    `drawn` do.
    """
    features = bundled(place, sample)
    if not features:
        yield Basis({}, sample, "", (), ())
        return
    feature_set = find_feature_set(features["class"])
    shape = shape_of(feature_set)
    hidden = tuple(name for name, feature in shape.features.items() if feature.sensitive)
    if has_rows or sample is not None:
        yield Basis(features, sample, "", hidden, shape.inputs)
        return
    with drawn(feature_set) as rows:
        said = features | ({"sample": rows.origin} if rows.file else {})
        yield Basis(said, rows.file, rows.in_words(), hidden, shape.inputs)


class Drawn(NamedTuple):
    """Rows as a CSV file, how many, and of which table; without a file, `why` there is none."""

    file: Path | None
    rows: int
    table: str  # "customers.Customer"
    why: str = ""

    @property
    def origin(self) -> dict[str, Any]:
        """Return what the manifest of a bundle says of where the rows came from."""
        return {"table": self.table, "rows": self.rows} if self.file is not None else {}

    def in_words(self) -> str:
        """Return where the rows came from, or why there are none, as a sentence for people."""
        return f"{self.rows} rows of {self.table}, spread over the table, as they stand now" if self.file else self.why


@contextmanager
def drawn(feature_set: type[FeatureSet], count: int = SAMPLE_ROWS) -> Iterator[Drawn]:
    """Give, for the block, a file of `count` rows of a FeatureSet as of now, or all where there are fewer.

    They are spread over the order of the primary key, by as many queries for any table: one that counts, one for the
    keys, which goes over the whole index, and those for the features. Rows that a feature refuses are left out, since nobody
    can ask about them; where all are, `InvalidRequest` is raised with the first problem.
    """
    shape = shape_of(feature_set)
    table = shape.table._meta.label
    given = [quoted(name) for name, feature in shape.features.items() if isinstance(feature, Given)]
    if given:
        yield Drawn(None, 0, table, f"no table has {enumerate_names(given)}, so the rows are made up: give a --sample")
        return
    keys = _spread(shape, count)
    if not keys:
        yield Drawn(None, 0, table, f"{table} has no rows yet, so they are made up: give a --sample")
        return
    reading = Reading(shape, None, feature_set)
    rows = [row.values for row in reading.of_each_key(keys, None) if isinstance(row, Row)]
    if not rows:
        next(reading.of_keys(keys, None))  # raises for the first
    with TemporaryDirectory(prefix="trivet-sample-") as folder:
        file = Path(folder, f"{shape.name}.csv")
        with file.open("wb") as sink:
            write_rows(iter(rows), list(shape.features), sink)
        yield Drawn(file, len(rows), table)


def _spread(shape: Shape, count: int) -> list[Any]:
    """Return up to `count` keys, one of each of so many equal pieces of their order.

    Which one of a piece is by chance, for rows at even distances may have something in common; it is the same one each time.
    """
    rows: QuerySet[Any] = QuerySet(shape.table)
    total = rows.count()
    chance = random.Random(total)
    bounds = [place * total // count for place in range(count + 1)]
    places = [chance.randrange(low, high) + 1 for low, high in pairwise(bounds) if low < high]
    numbered = rows.annotate(trivet_place=Window(RowNumber(), order_by="pk")).filter(trivet_place__in=places)
    return list(numbered.order_by("pk").values_list("pk", flat=True)) if total else []
