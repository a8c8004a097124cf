"""The verb `verify`: stored bundles are what their digests say, and answer as they did."""

from __future__ import annotations

import argparse

from trivet.cli.verb import DONE, USAGE, WRONG, Out, split_version
from trivet.cli.verbs.audit_log import verify_log
from trivet.control.registry.models import ModelVersion, RegisteredModel
from trivet.control.registry.verifying import Verified, verify_versions, versions_to_verify


def verify(options: argparse.Namespace, out: Out) -> int:
    """Verify one version, or those of one model, or of all; or with `--log` what was recorded."""
    if options.log or options.expect is not None:
        if options.model or options.everything:
            out.problem("trivet verify: --log is about all that was recorded; leave MODEL and --all out.")
            return USAGE
        return verify_log(options, out)
    found = []
    for verified in verify_versions(_versions(options)):
        out.say(_line(verified))
        found.append(verified)
    moved = sum(not one.is_sound for one in found)
    out.say(f"{len(found)} versions verified, {moved} not in order")
    out.document([_facts(one) for one in found])
    return WRONG if moved else DONE


def _versions(options: argparse.Namespace) -> list[ModelVersion]:
    name, word = split_version(options.model or "")
    if word is not None:
        return [ModelVersion.objects.resolve(name, word)]
    if name:
        RegisteredModel.objects.named(name)  # raises where there is none
    return versions_to_verify(name or None, everything=options.everything)


def _line(verified: Verified) -> str:
    version = verified.version
    head = f"{version.model.name} {version.number} · digest {version.digest[:12]}"
    if verified.is_sound:
        cases = f" · {verified.golden_cases} golden cases hold" if verified.golden_cases else ""
        return f"{head} · unchanged · {verified.rows} rows answered as recorded{cases}{_signed(verified)}"
    return "\n".join([f"{head} · NOT in order", *(f"  {problem}" for problem in verified.problems)])


def _signed(verified: Verified) -> str:
    return "".join(f" · signed by {one}" for one in verified.signatures)


def _facts(verified: Verified) -> dict[str, object]:
    return {
        "model": verified.version.model.name,
        "version": verified.version.number,
        "digest": verified.version.digest,
        "rows": verified.rows,
        "golden_cases": verified.golden_cases,
        "signatures": [
            {"key": one.fingerprint, "trusted": bool(one.place), "good": one.is_good} for one in verified.signatures
        ],
        "problems": list(verified.problems),
        "sound": verified.is_sound,
    }
