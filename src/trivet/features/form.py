"""The form of a FeatureSet: one field a feature, with its bounds, choices and unit; each takes what `from_data` takes."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import ValidationError

from django import forms
from trivet.core.errors import InvalidRequest
from trivet.features.columns import Category
from trivet.features.feature import Feature, Kind
from trivet.features.shape import Shape


def form_class(shape: Shape) -> type[forms.Form]:
    """Return a form with one field a feature."""
    fields = {name: field_of(name, feature, shape.kinds[name]) for name, feature in shape.features.items()}
    return type(f"{shape.name}Form", (forms.Form,), {"__doc__": f"The features of {shape.name}.", **fields})


def field_of(name: str, feature: Feature, kind: Kind) -> forms.Field:
    """Return the field of a feature; what it cleans a value to is the feature's."""
    said: dict[str, Any] = {
        "label": feature.title or name.replace("_", " ").capitalize(),
        "help_text": feature.unit,
        "required": not kind.is_nullable and not feature.fills,
    }
    if kind.datatype == "BOOL":
        return _taking(forms.BooleanField, {**said, "required": False}, name, feature, kind)
    if kind.datatype == "BYTES":
        if not isinstance(feature, Category) or feature.choices is None or feature.unknown == "pass":
            return _taking(forms.CharField, said, name, feature, kind)
        none = [] if said["required"] else [("", "")]
        choices = [*none, *((choice, choice) for choice in feature.choices)]
        return _taking(forms.ChoiceField, {**said, "choices": choices}, name, feature, kind)
    if feature.outside == "reject":
        said |= {"min_value": feature.low, "max_value": feature.high}
    return _taking(forms.IntegerField if kind.datatype == "INT64" else forms.FloatField, said, name, feature, kind)


def _taking(field: type[forms.Field], said: dict[str, Any], name: str, feature: Feature, kind: Kind) -> forms.Field:
    """Return a field of Django's that looks as it does, and takes what the feature takes."""

    def clean(self: forms.Field, value: Any) -> Any:  # noqa: ARG001  (the field has no say)
        try:
            return feature.given(name, value, kind)
        except InvalidRequest as error:
            raise ValidationError(error.message, code=error.code) from error

    made: type[forms.Field] = type(field.__name__, (field,), {"clean": clean})
    return made(**said)
