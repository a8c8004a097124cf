"""What the names and numbers in a call mean: a model, a version, one that may take traffic; or why not."""

from __future__ import annotations

import re

from trivet.control.registry.actions.change import Change
from trivet.control.registry.models import ModelVersion, RegisteredModel, VersionStatus
from trivet.core.errors import InvalidRequest, NotFound, Refused, quoted
from trivet.core.names import MODEL_NAME, RESERVED_MODEL_NAMES


def find_model(change: Change, name: str) -> RegisteredModel:
    """Return the model of that name; raises `NotFound`."""
    return RegisteredModel.objects.using(change.database).named(name)


def find_version(change: Change, model: RegisteredModel, number: int) -> ModelVersion:
    """Return the version of that number; raises `NotFound`."""
    found = change.rows(ModelVersion).filter(model=model, number=number).select_related("model").first()
    if found is None:
        raise NotFound(f"{model.name} has no version {quoted(number)}.")
    return found


def find_ready_version(change: Change, model: RegisteredModel, number: int) -> ModelVersion:
    """Return a version that may take traffic; raises `Refused` with what keeps it from that.

    Whether it is signed is asked before the lock is taken, by `check_signed`.
    """
    version = find_version(change, model, number)
    if version.is_ready:
        return version
    why = {
        VersionStatus.REJECTED: f"probe rejected it ({version.status_reason})",
        VersionStatus.REGISTERED: "it has not been probed yet",
        VersionStatus.RETIRED: "it was retired, and its bundle pruned; push it again",
    }[VersionStatus(version.status)]
    raise Refused(f"{version} is not ready: {why}.")


def check_model_name(name: str) -> None:
    """Raise `InvalidRequest` where nothing may have that name."""
    if not re.fullmatch(MODEL_NAME, name):
        raise bad_parameter(
            f"{quoted(name)} cannot name a model: use up to 63 of a-z, 0-9, '.', '_' and '-', a letter or digit first."
        )
    if name in RESERVED_MODEL_NAMES:
        raise bad_parameter(f"{quoted(name)} cannot name a model: the word is reserved.")


def bad_parameter(message: str) -> InvalidRequest:
    """Return the error for a value that no call may have."""
    return InvalidRequest(message, code="BAD_PARAMETER")
