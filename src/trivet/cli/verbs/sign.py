"""The verb `sign`: say with a key that a version is to be trusted."""

from __future__ import annotations

import argparse
from pathlib import Path

from trivet.cli.person import actor_of
from trivet.cli.signing_key import read_key
from trivet.cli.verb import DONE, Out, split_version
from trivet.control.registry import actions
from trivet.control.registry.models import ModelVersion
from trivet.control.registry.verifying import versions_to_verify
from trivet.core.errors import InvalidRequest, NotFound, quoted
from trivet.model.signing.envelope import SIGNATURE_LIMIT


def sign(options: argparse.Namespace, out: Out) -> int:
    """Sign one version, or those of one model that are in use."""
    name, word = split_version(options.model)
    if options.signature is not None and word is None:
        raise InvalidRequest(f"a signature is of one version: give it as {name}@NUMBER.", code="BAD_PARAMETER")
    versions = (
        versions_to_verify(name, everything=False) if word is None else [ModelVersion.objects.resolve(name, word)]
    )
    if not versions:
        raise NotFound(f"no version of {quoted(name)} is in use; say which one: {name}@NUMBER.")
    by = read_key(options.key, out) if options.signature is None else _read_signature(options.signature)
    told = []
    for version in versions:
        _, fingerprint = actions.sign_version(
            model=name, version=version.number, actor=actor_of(options), by=by, reason=options.message
        )
        out.say(f"{version} · digest {version.digest[:12]} · signed by {fingerprint[:12]}…")
        told.append({"model": name, "version": version.number, "digest": version.digest, "signed_by": fingerprint})
    out.document(told)
    return DONE


def _read_signature(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(SIGNATURE_LIMIT + 1)
    except OSError as error:
        raise InvalidRequest(f"{path} cannot be read: {error.strerror}.", code="BAD_PARAMETER") from None
