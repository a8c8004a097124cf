"""The notebook's door: `trivet.push(model, "churn", sample=X, labels=y)`."""

from __future__ import annotations

import argparse
import asyncio
import getpass
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from trivet.cli.project import SETTINGS_VARIABLE, find_project
from trivet.cli.signing_key import read_key
from trivet.cli.verb import Out
from trivet.client.exporting import exported
from trivet.client.provenance import git_commit
from trivet.core.errors import InvalidRequest, NotFound, quoted
from trivet.model.compile.parcel import encode_parcel

if TYPE_CHECKING:
    from trivet.control.registry.pushing import Pushed
    from trivet.model.signing.keys import Signer


def push(
    model: Any,
    name: str,
    *,
    sample: Any = None,
    labels: Any = None,
    message: str = "",
    promote: bool = False,
    tolerance: float | None = None,
    features: Any = None,
    sign: str | Path | None = None,
    settings: str | None = None,
) -> Pushed:
    """Push `model`, an object in memory, as a version of the model `name`, and return what that came to.

    Any fitted estimator or pipeline with `predict`; a torch module or a Keras model, which is exported to ONNX here and
    compared with itself. `sample`: rows as it was trained on, a DataFrame or an array (rows, features), without the
    label; `labels`: one per row, or the name of the sample's column that holds them. `features`: the FeatureSet that it was
    trained on, or its name as "customers.ml.ChurnFeatures"; without a sample 200 of its rows are the sample. `sign`: the
    file of a private key to sign the version with; a passphrase is taken out of TRIVET_SIGNING_PASSPHRASE, for this push
    alone. The Django project is the one of `settings`, of DJANGO_SETTINGS_MODULE, or of a manage.py in this folder or above.

    Whoever calls it vouches for the object: it is opened in a sandboxed process of this very environment. Blocks for
    some seconds, also in a notebook. Raises `CompileError` with what to do, `ParityFailed`, `Refused`, and `NotFound`
    where there is no project.

    >>> trivet.push(model, "churn", sample=X, labels=y)  # doctest: +SKIP
    """
    sample, labels = _without_labels(sample, labels)
    _find_project(settings)
    signer = None if sign is None else read_key(Path(sign), Out())
    parcel = exported(model, sample)
    if parcel is not None:
        data = encode_parcel(parcel)
    else:
        from trivet.model.compile.handing import hand_over

        data = hand_over(model, sample, labels)
    commit = git_commit(Path.cwd())
    source = f"{type(model).__name__} of a notebook" + (f" at git {commit}" if commit else "")
    pushed: Pushed = _outside_a_loop(
        lambda: _push(
            data,
            name,
            features=_place_of(features),
            columns=None if sample is None else list(getattr(sample, "columns", ())),
            source=source,
            message=message,
            promote=promote,
            tolerance=tolerance,
            signer=signer,
        )
    )
    return pushed


def _push(
    data: bytes,
    name: str,
    *,
    features: str | None,
    columns: list[Any] | None,
    source: str,
    message: str,
    promote: bool,
    tolerance: float | None,
    signer: Signer | None,
) -> Pushed:
    from trivet.control.registry.pushing import push_file
    from trivet.features.sampling import basis_of

    with (
        TemporaryDirectory(prefix="trivet-push-") as folder,
        basis_of(features, None, has_rows=columns is not None) as basis,
    ):
        if shown := [column for column in columns or () if column in basis.sensitive]:
            raise InvalidRequest(
                f"{quoted(shown[0])} is sensitive, and the rows of the sample would be kept: leave the sample out, and rows of"
                " the table are taken with such values shuffled."
            )
        path = Path(folder, "object")
        path.write_bytes(data)
        return push_file(
            path,
            name=name,
            actor=f"notebook:{getpass.getuser()}",
            message=message,
            promote=promote,
            tolerance=tolerance,
            is_vouched_for=True,
            source=source,
            signer=signer,
            sample=basis.sample,
            hidden=basis.sensitive,
            features=basis.features,
            declared=basis.declared,
        )


def _place_of(features: Any) -> str | None:
    """Return how code names a FeatureSet; a text is that already."""
    if features is None or isinstance(features, str):
        return features
    from trivet.features.shape import place_of

    return place_of(features)


def _without_labels(sample: Any, labels: Any) -> tuple[Any, Any]:
    if not isinstance(labels, str):
        return sample, labels
    if not hasattr(sample, "columns") or labels not in sample.columns:
        raise InvalidRequest(f"the sample has no column {labels!r} to take the labels from.")
    return sample.drop(columns=labels), sample[labels]


def _find_project(settings: str | None) -> None:
    """Set Django up: as `settings` or the environment say, else in the nearest folder with a manage.py."""
    here = Path.cwd()
    options = argparse.Namespace(settings=settings)
    if settings or SETTINGS_VARIABLE in os.environ:
        return find_project(options)
    home = next((folder for folder in (here, *here.parents) if (folder / "manage.py").is_file()), None)
    if home is None:
        raise NotFound(
            "no Django project here or above: start the notebook inside one, or give trivet.push(..., settings='shop.settings')."
        )
    os.chdir(home)
    try:
        return find_project(options)
    finally:
        os.chdir(here)


def _outside_a_loop(step: Any) -> Any:
    """Return what `step` returns; in a thread of its own where an event loop runs, as in Jupyter: Django asks for that."""
    if not _is_in_a_loop():
        return step()
    with ThreadPoolExecutor(1, "trivet-push") as pool:
        return pool.submit(_and_close_connections, step).result()


def _is_in_a_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _and_close_connections(step: Any) -> Any:
    from django.db import connections

    try:
        return step()
    finally:
        connections.close_all()
