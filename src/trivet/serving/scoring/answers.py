"""Answers: what the model says of a page of rows, and why it says nothing of some. No transaction is open meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from trivet import conf
from trivet.core.errors import InvalidRequest, InvalidRows
from trivet.features.entities import prefix_of
from trivet.features.reading import Reading, RefusedRow, Row, told_of
from trivet.features.shape import Shape, shape_of
from trivet.serving.predict import predict_many
from trivet.serving.prediction import Prediction
from trivet.serving.scoring.asked import Asked


@dataclass(frozen=True)
class Page:
    """What is known of some keys: the rows' features and numbers, and what kept others from one. Who is in none is gone."""

    keys: Sequence[Any]
    features: dict[Any, Mapping[str, Any]] = field(default_factory=dict)
    values: dict[Any, float] = field(default_factory=dict)
    refused: dict[Any, str] = field(default_factory=dict)


def answer(asked: Asked, keys: Sequence[Any], *, user: Any, alive: Callable[[], None]) -> Page:
    """Return what the model says of the rows with these keys. As many queries for ten rows as for 2,000.

    `alive` is called between runs of the model. Raises what `predict_many` does but `InvalidRequest`, which is a row's.
    """
    page = Page(keys)
    for one in Reading(shape_of(asked.features), None, asked.features).of_each_key(keys, asked.rows.db):
        if isinstance(one, RefusedRow):
            page.refused[one.key] = one.message
        else:
            page.features[one.key] = _known(asked, one)
    for chunk in _batches(list(page.features), conf.MAX_ROWS()):
        _predict(asked, page, chunk, user)
        alive()
    return page


def number_of(prediction: Prediction) -> float | None:
    """Return the one number of a prediction, as the log's `score`: of classes the second's of two, the largest of more."""
    value: float | Mapping[str, float | None] | None = prediction.value
    if not isinstance(value, Mapping):
        return value
    shares: list[float | None] = list(value.values())
    return shares[-1] if len(shares) <= 2 else max((share for share in shares if share is not None), default=None)


def _known(asked: Asked, row: Row) -> Mapping[str, Any]:
    """Return the features that the version was trained on: a FeatureSet may be ahead of it."""
    return {name: row.values[name] for name in asked.inputs if name in row.values} if asked.inputs else row.values


def _predict(asked: Asked, page: Page, keys: Sequence[Any], user: Any) -> None:
    """Fill `page` for `keys`. Rows that do not fit are set aside as they are named; where none is, they are halved."""
    shape = shape_of(asked.features)
    prefix = prefix_of(shape.table)
    while keys:
        rows = [page.features[key] for key in keys]
        try:
            made = predict_many(asked.selector, rows, user=user, entity_keys=[f"{prefix}{key}" for key in keys])
        except InvalidRequest as error:
            named = _named(shape, error)
            if not named and len(keys) > 1:
                half = len(keys) // 2
                _predict(asked, page, keys[:half], user)
                keys = keys[half:]
                continue
            page.refused.update(
                {keys[place]: message for place, message in (named or {0: told_of(shape, error)}).items()}
            )
            keys = [key for key in keys if key not in page.refused]
            continue
        for key, prediction in zip(keys, made, strict=True):
            _note(asked, page, key, number_of(prediction))
        return


def _note(asked: Asked, page: Page, key: Any, number: float | None) -> None:
    if number is None:
        page.refused[key] = f"{asked.model}: no number came of it."
    else:
        page.values[key] = float(number)


def _named(shape: Shape, error: InvalidRequest) -> dict[int, str]:
    """Return what is said of each row, by its place; nothing where the request is refused as a whole."""
    if not isinstance(error, InvalidRows):
        return {}
    said = [(problem.row, told_of(shape, problem)) for problem in reversed(error.problems)]  # the first of a row stays
    return {row: message for row, message in said if row is not None}


def _batches(keys: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    return (keys[start : start + size] for start in range(0, len(keys), size))
