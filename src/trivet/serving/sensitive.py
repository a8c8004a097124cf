"""Sensitive: which features of a model are not to be shown, as far as this process knows without asking the database."""

from __future__ import annotations

from trivet.core.redaction import hidden_fields
from trivet.features.predictor import is_feature_set, predictor_of
from trivet.features.shape import shape_of
from trivet.serving.process import running_process


def sensitive_features(model: str) -> frozenset[str]:
    """Return the names of what the registry hides of `model` in records, of all its versions, and its FeatureSet in code."""
    return _marked(model) | _declared(model)


def _marked(model: str) -> frozenset[str]:
    here = running_process()
    live = here.plane.table.models.get(model) if here is not None else None
    if live is None or not live.entry.sensitive:
        return frozenset()
    names = live.entry.sensitive
    return names.union(*(hidden_fields(version.signature, names) for version in live.entry.versions.values()))


def _declared(model: str) -> frozenset[str]:
    predictor = predictor_of(model)
    if predictor is None or predictor.features is None or not is_feature_set(predictor.features):
        return frozenset()
    features = shape_of(predictor.features).features
    return frozenset(name for name, feature in features.items() if feature.sensitive)
