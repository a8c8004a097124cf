"""A sample in which nobody's sensitive values stand beside the rest of their row."""

from __future__ import annotations

import csv
import random
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from trivet.core.errors import InvalidRequest, did_you_mean, quoted


@contextmanager
def shuffled(
    sample: Path | None, names: Collection[str], *, where_there: Collection[str] = ()
) -> Iterator[Path | None]:
    """Give, for the block, a CSV file like `sample` whose columns called `names` are each in another order.

    So are those called `where_there`, as far as the file has them. The order is the same for the same file, so that it
    still makes the same digest. Nothing is written where there is nothing to shuffle. Raises `InvalidRequest` for one of
    `names` that is no column.
    """
    if sample is None or not (names or where_there):
        yield sample
        return
    with sample.open(encoding="utf-8-sig", newline="") as file:
        lines = list(csv.reader(file))
    if len({len(line) for line in lines}) != 1:
        raise InvalidRequest(f"the sample {sample.name} is no table: its lines differ in length, or there are none.")
    header, *rows = lines
    for name in dict.fromkeys([*names, *(name for name in where_there if name in header)]):
        if name not in header:
            raise InvalidRequest(f"the sample has no column {quoted(name)}.{did_you_mean(name, header)}")
        place = header.index(name)
        values = [row[place] for row in rows]
        random.Random(name).shuffle(values)
        for row, value in zip(rows, values, strict=True):
            row[place] = value
    with TemporaryDirectory(prefix="trivet-sample-") as folder:
        path = Path(folder) / sample.name
        with path.open("w", encoding="utf-8", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows([header, *rows])
        yield path
