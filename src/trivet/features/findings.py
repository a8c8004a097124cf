"""Findings: what is wrong with what `ml.py` declares, as `manage.py check` tells it. Code is read, no database is asked."""

from __future__ import annotations

import ast
import math
import re
import sys
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

from django.apps import apps
from django.core.exceptions import FieldDoesNotExist, FieldError, ImproperlyConfigured, ValidationError
from django.db.models import (
    BooleanField,
    CharField,
    DateField,
    DecimalField,
    Field,
    FloatField,
    IntegerField,
    Model,
    OneToOneField,
    Q,
    QuerySet,
    TextField,
)

from trivet.control.monitoring.estimates import MEASURED
from trivet.control.registry.declarations import Declaration
from trivet.core.decisions import gives_score
from trivet.core.errors import InvalidRequest, NotFound, Refused, did_you_mean, quoted
from trivet.core.names import MODEL_NAME, RESERVED_MODEL_NAMES
from trivet.core.signature import Signature, enumerate_names
from trivet.features import shape
from trivet.features.feature_set import feature_sets, find_feature_set
from trivet.features.fingerprint import columns_of, differences
from trivet.features.outcome import Outcome
from trivet.features.outputs import Choice, Number, Probability
from trivet.features.paths import leaves, no_field, resolved
from trivet.features.predicted_field import columns_of_models
from trivet.features.predictor import (
    META,
    MONITORING,
    Predictor,
    declaration_of,
    features_of,
    inner,
    is_feature_set,
    name_of,
    predictor_of,
    predictors,
    public,
)

KNOWN = ("Meta", "Monitoring", "features", "outcome", "output", "segments")
LABELS = (BooleanField, CharField, DecimalField, FloatField, IntegerField, TextField)
TRAINING = frozenset({"catboost", "joblib", "keras", "lightgbm", "pandas", "sklearn", "tensorflow", "torch", "xgboost"})


def twice() -> Iterator[str]:
    """Yield which names several Predictors claim."""
    claims: dict[str, list[str]] = defaultdict(list)
    for predictor in predictors:
        claims[name_of(predictor)].append(_place(predictor))
    for name, places in claims.items():
        if len(places) > 1:
            yield f"{' and '.join(sorted(places))} both claim the model {quoted(name)}."


def unknown() -> Iterator[str]:
    """Yield which names, and which of their values, are none that a Predictor knows."""
    for predictor in predictors:
        place = _place(predictor)
        yield from _unknown(place, public(predictor), KNOWN)
        for name, readers in (("Meta", META), ("Monitoring", MONITORING)):
            if not isinstance(getattr(predictor, name, object), type):
                yield f"{place}.{name} is {quoted(str(getattr(predictor, name)))}: an inner class."
            yield from _misread(f"{place}.{name}", inner(predictor, name), readers)
        yield from _of_floor(f"{place}.Monitoring", declaration_of(predictor))
        name = name_of(predictor)
        if not re.fullmatch(MODEL_NAME, name) or name in RESERVED_MODEL_NAMES:
            yield f"{place}: {quoted(name)} is no name of a model: up to 63 small letters, digits and ._- (Meta.name)."
        yield from _of_features(place, predictor.features)
        yield from _of_output(place, predictor.output)
        if not _is_list_of_texts(predictor.segments):
            yield f"{place}.segments is {quoted(str(predictor.segments))}: a list of names of inputs."


def outcomes() -> Iterator[str]:
    """Yield what is wrong with each Outcome."""
    for predictor in predictors:
        if predictor.outcome is not None:
            place = f"{_place(predictor)}.outcome"
            yield from (f"{place} {problem}" for problem in _of_outcome(predictor.outcome))


def feature_problems() -> Iterator[tuple[str, str]]:
    """Yield what is wrong with each FeatureSet: the id of a check, and a sentence."""
    for feature_set in feature_sets:
        if not shape.is_abstract(feature_set):
            yield from shape.problems(feature_set)


def predicted_fields() -> Iterator[str]:
    """Yield which PredictedFields are of a model that no Predictor is of, or that cannot be asked about their rows."""
    for table, field in columns_of_models():
        place = f"{table._meta.label}.{field.name}"
        predictor = predictor_of(field.predictor)
        if predictor is not None and isinstance(predictor.output, Choice):
            yield f"{place}: {_place(predictor)} answers one of several classes, and a column takes one number: f.Probability."
        try:
            shape.shape_of(features_of(field.predictor)).check_model(table)
        except (InvalidRequest, NotFound, Refused) as error:
            yield f"{place}: {error.message}"
        except ImproperlyConfigured:
            continue  # E012 or E018 tells


def unfit_output(said: Any, signature: Signature) -> str:
    """Return in what a version of this signature does not answer as `said`, the output of a Predictor; nothing where it does."""
    classes = next((one.classes for one in signature.outputs if one.classes), None) or ()
    is_of_classes = signature.task == "classification"
    if isinstance(said, Number):
        return (
            "it answers a class"
            if is_of_classes
            else ""
            if gives_score(signature)
            else "it answers no number for a row"
        )
    if isinstance(said, Choice):
        missing = sorted({*classes} ^ {*said.classes})
        return "" if is_of_classes and not missing else f"its classes are {enumerate_names(classes) or 'none'}"
    if not isinstance(said, Probability) or not classes:
        return ""
    try:
        said.among(dict.fromkeys(classes, 0.0))
    except LookupError as error:
        return str(error)
    return ""


def untimed() -> Iterator[str]:
    """Yield which features count rows that may have come later than the moment they are of."""
    for feature_set in feature_sets:
        if not shape.is_abstract(feature_set) and not list(shape.problems(feature_set)):
            yield from shape.untimed(feature_set)


def moved(features: Mapping[str, Any]) -> str:
    """Return in what the code differs from the features that a bundle's manifest says it was trained on; nothing if in none."""
    place, then = features.get("class"), features.get("columns")
    if not isinstance(place, str) or not isinstance(then, dict):
        return ""  # a bundle may be a stranger's
    try:
        now = columns_of(find_feature_set(place))
    except (NotFound, ImproperlyConfigured) as error:
        return f"{quoted(place)}: {error}"
    changed = enumerate_names(differences(then, now))
    return f"another {quoted(place)} than the code has now: {changed}." if changed else ""


def training() -> Iterator[str]:
    """Yield which `ml.py` imports a training library when it is imported itself: in every process, when Django starts."""
    for app in apps.get_app_configs():
        module = sys.modules.get(f"{app.name}.ml")
        if module is None or not module.__file__:
            continue
        body = ast.parse(Path(module.__file__).read_bytes()).body
        heavy = sorted(TRAINING.intersection(_imported(body)))
        if heavy:
            yield f"{app.name}/ml.py imports {', '.join(heavy)}."


def _place(predictor: type[Predictor]) -> str:
    return f"{predictor.__module__}.{predictor.__qualname__}"


def _unknown(place: str, said: Iterable[str], known: Collection[str]) -> Iterator[str]:
    for name in said:
        if name not in known:
            yield f"{place} has no {quoted(name)}.{did_you_mean(name, known)} Known: {', '.join(sorted(known))}."


def _misread(place: str, said: Mapping[str, Any], readers: Mapping[str, Callable[[Any], Any]]) -> Iterator[str]:
    yield from _unknown(place, said, readers)
    for name in readers.keys() & said.keys():
        try:
            readers[name](said[name])
        except ValueError as expected:
            yield f"{place}.{name} is {quoted(str(said[name]))}: {expected}."


def _of_floor(place: str, said: Declaration) -> Iterator[str]:
    if said.floor is not None and said.metric is not None and said.metric not in MEASURED:
        yield (
            f"{place}.floor is {said.floor:g}, and {place}.metric {quoted(said.metric)}: a floor is held against what is "
            f"estimated, which is {', '.join(MEASURED)}."
        )


def _of_features(place: str, said: Any) -> Iterator[str]:
    if said is None:
        return
    if not is_feature_set(said):
        yield f"{place}.features is {quoted(str(said))}: a FeatureSet, the class itself."
    elif shape.is_abstract(said):
        yield f"{place}.features is {quoted(said.__name__)}, which is abstract: a FeatureSet that inherits from it."


def _of_output(place: str, said: Any) -> Iterator[str]:
    if isinstance(said, Probability):
        if not isinstance(said.of, str) or not said.of:
            yield f"{place}.output is of {quoted(str(said.of))}: the name of a class, a text."
    elif isinstance(said, Choice):
        if not _is_list_of_texts(said.classes) or not said.classes or len(set(said.classes)) < len(said.classes):
            yield f"{place}.output is of {quoted(str(said.classes))}: the names of the classes, each once, a list of texts."
    elif said is not None and not isinstance(said, Number):
        yield f'{place}.output is {quoted(str(said))}: f.Probability("the class"), f.Choice([...]) or f.Number().'


def _is_list_of_texts(value: Any) -> bool:
    return isinstance(value, list | tuple) and all(isinstance(one, str) for one in value)


def _imported(body: Iterable[ast.stmt]) -> Iterator[str]:
    for line in body:
        if isinstance(line, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in line.names)
        elif isinstance(line, ast.ImportFrom) and line.module and not line.level:
            yield line.module.partition(".")[0]


# --- outcomes ---------------------------------------------------------------------------------------------------------


def _of_outcome(outcome: Any) -> Iterator[str]:
    if not isinstance(outcome, Outcome):
        yield f"is {quoted(str(outcome))}: trivet.Outcome(...)."
        return
    yield from _of_values(outcome)
    try:
        table = outcome.table
    except (LookupError, ValueError, TypeError) as error:
        yield f'needs a model, as model=Flight or model="flights.Flight": {error}.'
        return
    yield from _of_key(table, outcome.key)
    for name, condition in (("when", outcome.when), ("known", outcome.known)):
        if isinstance(condition, Q):
            yield from (f"{name}: {problem}" for problem in _of_condition(table, condition))
    for name, path, types in (("value", outcome.value, LABELS), ("at", outcome.at, (DateField,))):
        if isinstance(path, str):
            yield from (f"{name}: {problem}" for problem in _of_path(table, path, types))


def _of_values(outcome: Outcome) -> Iterator[str]:
    if (outcome.when is None) == (outcome.value is None):
        yield "has one of when=Q(...) and value='field', not both and not neither."
    said: Any = outcome  # of whatever types somebody wrote
    for name, kind, expected in (("when", Q, "Q(...)"), ("known", Q, "Q(...)"), ("value", str, "a path of a field")):
        if not isinstance(getattr(said, name), kind | None):
            yield f"{name} is {quoted(str(getattr(said, name)))}: {expected}."
    if not isinstance(said.at, str | None):
        yield f"at is {quoted(str(said.at))}: a path of a date or a time."
    if said.matures is None:
        yield "lacks matures: how late labels may come, as matures=timedelta(days=30)."
    elif not isinstance(said.matures, timedelta) or said.matures <= timedelta():
        yield f"matures is {quoted(str(said.matures))}: a timedelta above zero."
    if said.says is not None:
        yield from _of_words(said.says, has_value=said.value is not None)
    absent = outcome.absent_means
    if outcome.value is None and absent is not None and absent is not False:
        yield f"absent_means is {quoted(str(absent))}: False or None, where `when` says what is True."
    elif not isinstance(absent, bool | int | float | str | None) or (
        isinstance(absent, float) and not math.isfinite(absent)
    ):
        yield f"absent_means is {quoted(str(absent))}: a truth, a number, a text, or None."


def _of_words(says: Any, *, has_value: bool) -> Iterator[str]:
    is_pair = isinstance(says, tuple) and len(says) == 2 and all(isinstance(word, str) and word for word in says)
    if not is_pair or says[0] == says[1]:
        yield f'says is {quoted(str(says))}: two different texts, for False and for True, as says=("stayed", "churned").'
    elif has_value:
        yield "says is for when=Q(...): with `value` the label is what stands there."


def _of_key(table: type[Model], key: str) -> Iterator[str]:
    try:
        found: Any = table._meta.pk if key == "pk" else table._meta.get_field(key)
    except FieldDoesNotExist:
        yield f"key: {no_field(table, key)}"
        return
    if not getattr(found, "column", None):
        yield f"key: {quoted(key)} of {table.__name__} is no single column."
    elif not found.unique:
        yield f"key: {quoted(key)} of {table.__name__} is not unique, so an entity would have several outcomes."
    elif isinstance(found, OneToOneField) and not found.target_field.primary_key:
        yield f"key: {quoted(key)} of {table.__name__} points at another field than the primary key."


def _of_condition(table: type[Model], condition: Q) -> Iterator[str]:
    problems = [problem for path in leaves(condition) if isinstance(problem := resolved(table, path), str)]
    yield from problems
    if not problems:
        try:
            QuerySet(table).filter(condition)
        except (FieldError, ValidationError, TypeError, ValueError) as error:
            yield f"{table.__name__} cannot be asked for that: {error}."


def _of_path(table: type[Model], path: str, types: tuple[type[Field], ...]) -> Iterator[str]:
    found = resolved(table, path)
    if isinstance(found, str):
        yield found
    elif found.rest:
        yield f"{quoted(path)} of {table.__name__} is no field."
    elif not isinstance(found.field, types):
        expected = "a date or a time" if types == (DateField,) else "a number, a truth or a text"
        yield f"{quoted(path)} of {table.__name__} is a {type(found.field).__name__}, not {expected}."
    elif found.is_to_many:
        yield f"{quoted(path)} of {table.__name__} goes to many rows, which may say different things."
