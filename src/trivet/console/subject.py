"""What somebody looks at: a model, and the version through which they see it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from django.http import Http404

from trivet.control.registry.models import ModelVersion, RegisteredModel
from trivet.control.registry.permissions import can
from trivet.core.names import MODEL_NAME, VERSION_NUMBER
from trivet.core.signature import Signature

if TYPE_CHECKING:
    from trivet.control.registry.permissions import Person


@dataclass(frozen=True)
class Subject:
    """A model, and the version through which somebody looks at it."""

    model: RegisteredModel
    version: ModelVersion | None
    signature: Signature | None
    is_pinned: bool  # the person chose this version; otherwise it is what traffic gets

    @property
    def selector(self) -> str:
        """What `trivet.predict` takes to ask this version."""
        return f"{self.model.name}@{self.version.number}" if self.is_pinned and self.version else self.model.name

    @property
    def query(self) -> str:
        """What keeps the choice in an address."""
        return f"?version={self.version.number}" if self.is_pinned and self.version else ""


def subject_seen_by(person: Person, name: str, version: str | None = None) -> Subject:
    """Return the model as `subject` does, to those who may know of it; for others there is none."""
    if not can(person, "view", name):
        raise Http404
    return subject(name, version)


def subject(name: str, version: str | None) -> Subject:
    """Return the model `name`, through `version` where one is chosen, else the live or the newest. Raises `Http404`."""
    model = RegisteredModel.objects.filter(name=name).first() if re.fullmatch(MODEL_NAME, name) else None
    if model is None:
        raise Http404
    versions = ModelVersion.objects.filter(model=model).defer("manifest")
    if version is not None:
        found = versions.filter(number=int(version)).first() if re.fullmatch(VERSION_NUMBER, version) else None
        if found is None:
            raise Http404
    else:
        found = (
            versions.filter(routes__isnull=False).order_by("-routes__weight").first()
            or versions.order_by("-number").first()
        )
    return Subject(model, found, found.read_signature() if found else None, version is not None)
