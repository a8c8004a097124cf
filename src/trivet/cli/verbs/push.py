"""The verb `push`: a trained file becomes a version, with its proof, and says how to call it."""

from __future__ import annotations

import argparse
import csv
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from trivet import conf
from trivet.cli.person import actor_of, check_may_view
from trivet.cli.signing_key import read_key
from trivet.cli.verb import DONE, USAGE, WRONG, Out, labels_problem
from trivet.control.registry.models import CHAMPION
from trivet.control.registry.pushing import Pushed, push_file
from trivet.core.errors import CompileError, ParityFailed, quoted
from trivet.core.examples import curl, fields_of, infer_body
from trivet.core.profile.reference import Reference
from trivet.core.signature import Input, Signature
from trivet.features.feature_set import find_feature_set
from trivet.features.sampling import basis_of
from trivet.features.shape import shape_of
from trivet.model.bundle.sample import SAMPLE_NAME
from trivet.model.compile.disposable import warm
from trivet.model.environments.environment import needs_of
from trivet.serving.acknowledgement import Acknowledgement, wait_for_workers
from trivet.serving.address import base_url
from trivet.serving.zygote import zygote_nearby

if TYPE_CHECKING:
    from trivet.model.signing.keys import Signer

KNOWN_SHOWN = 6
PARITY_FILE = "parity.csv"
NO_REFERENCE = (
    "none, so traffic has nothing to be compared with yet: give a --sample of 50 rows or more of a table,"
    " or wait for 1,000 rows and a week of traffic"
)


def push(options: argparse.Namespace, out: Out) -> int:
    """Push a trained file; where a server of this project runs, its zygote opens it."""
    with warm(zygote_nearby()):
        return _push(options, out)


def _push(options: argparse.Namespace, out: Out) -> int:
    given = [(options.file, options.file.exists())]
    given += [(path, _is_file_or_none(path)) for path in (options.sample, options.requirements)]
    for path, is_there in given:
        if not is_there:
            out.problem(f"trivet push: there is no file {path}.")
            return USAGE
    if problem := labels_problem(options):
        out.problem(f"trivet push: {problem}")
        return USAGE
    signer = None if options.sign is None else read_key(options.sign, out)
    try:
        pushed, origin = _pushed(options, signer)
    except CompileError as error:
        out.document({"state": "refused", "reason": error.message})
        if not isinstance(error, ParityFailed):
            raise
        _write_worst(error.worst, out)
        out.problem(f"trivet push: {error.message} Not registered.")
        return WRONG
    if pushed.compiled.worst:
        _write_worst(pushed.compiled.worst, out)
    event = pushed.promoted
    acknowledged = wait_for_workers(event.generation, event.model) if event else None
    out.document(_facts(pushed, acknowledged), _report(pushed, acknowledged, options.labels, origin))
    return DONE


def _pushed(options: argparse.Namespace, signer: Signer | None) -> tuple[Pushed, str]:
    """Push the file on the sample that is given, or on rows of its FeatureSet; return also where those came from."""
    if options.features and options.sample is None:
        check_may_view(options, shape_of(find_feature_set(options.features)).table)
    with basis_of(options.features, options.sample) as basis:
        pushed = push_file(
            options.file,
            name=options.name,
            actor=actor_of(options),
            sample=basis.sample,
            label_column=options.labels,
            tolerance=options.tolerance,
            message=options.message,
            promote=options.promote,
            is_vouched_for=options.vouch,
            accepted_types=options.accept_types,
            requirements=options.requirements.read_bytes() if options.requirements is not None else None,
            signer=signer,
            sensitive=options.sensitive,
            hidden=basis.sensitive,
            features=basis.features,
            declared=basis.declared,
        )
        return pushed, basis.origin


def _reference_line(reference: Reference | None, label_column: str | None) -> str:
    """Return what traffic is compared with, and where it is less than was meant to be given, what that takes."""
    if reference is None:
        return NO_REFERENCE
    if label_column and not reference.extent["labels"]:
        return f"{reference.line()}: the column {quoted(label_column)} is empty"
    return reference.line()


def _is_file_or_none(path: Path | None) -> bool:
    return path is None or path.is_file()


def _write_worst(worst: Sequence[dict[str, Any]], out: Out) -> None:
    """Write the worst rows of a graph beside the person who pushed: inputs, both answers, the difference."""
    if not worst:
        return
    rows = [{**{k: v for k, v in row.items() if k != "inputs"}, **row.get("inputs", {})} for row in worst]
    with Path(PARITY_FILE).open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    out.problem(f"the worst rows, with their inputs: {PARITY_FILE}")


def _report(pushed: Pushed, acknowledged: Acknowledgement | None, label_column: str | None, origin: str) -> str:
    version, bundle = pushed.version, pushed.compiled.bundle
    name = version.model.name
    compiled = pushed.compiled
    state = "native" if compiled.is_native else "compiled"
    proof = compiled.parity.round_trip_line() if compiled.is_native else compiled.parity.line()
    headline = (
        f"{name} {version.number} · digest {version.digest[:12]} · {state} · {version.runtime} · {proof}"
        f" · {pushed.probe.cost_us_per_row:.0f} µs a row · {pushed.alias or 'proposed'}"
    )
    if not pushed.is_new:
        headline += " · it was retired and is ready again" if pushed.was_retired else " · it was registered already"
    lines = [headline]
    if (needs := needs_of(bundle)) is not None:
        lines.append(f"it runs unchanged, in model workers with Python {needs.python}, {', '.join(needs.libraries)}.")
    elif compiled.is_native:
        lines.append(f"it runs unchanged, in model workers, because it was not compiled: {compiled.why}")
    if compiled.keeps:
        lines.append(f"it keeps of its training: {', '.join(compiled.keeps)}. Whoever gets its files can read them.")
    lines.append(f"reference: {_reference_line(compiled.reference, label_column)}")
    if features := bundle.manifest.features:
        lines.append(f"features: {features['class']} {features['hash'][:12]}")
    if origin:
        lines.append(f"sample: {origin}")
    lines += ["", *_signature_lines(bundle.signature), ""]
    if acknowledged is not None:
        lines.append(f"{pushed.alias} · {acknowledged}")
    elif pushed.proposed:
        lines.append(pushed.proposed)
    elif pushed.alias != CHAMPION:
        lines.append(f"it takes no traffic yet: `trivet promote {name}@{version.number}` makes it live.")
    if pushed.lacks:
        lines.append(f"E020: {pushed.lacks} Until the code has it, nothing promotes this version.")
    if pushed.inputs_differ:
        lines.append(pushed.inputs_differ)
    lines += [f"it fails golden case {failure}" for failure in pushed.probe.golden_failures]
    lines.append(f"opened in a sandbox of level {version.sandbox or 'unknown'}.")
    if command := call_command(pushed):
        lines += [
            f"call it, with the key of `trivet keys create NAME --model {name} --verb predict` in TRIVET_API_KEY:",
            command,
        ]
    return "\n".join(lines)


def call_command(pushed: Pushed) -> str:
    """Return a curl command that asks what was pushed about its first recorded row, or nothing where none was recorded.

    One that is not champion is asked by its number: without one the champion would answer.
    """
    bundle = pushed.compiled.bundle
    line = bundle.files.get(SAMPLE_NAME, b"").partition(b"\n")[0]
    if not line:
        return ""
    number = "" if pushed.alias == CHAMPION else f"/versions/{pushed.version.number}"
    path = f"{conf.PREFIX()}v2/models/{pushed.version.model.name}{number}/infer"
    fields = fields_of(bundle.signature, msgspec.json.decode(line)["inputs"])
    return curl(base_url() + path, infer_body(bundle.signature, fields))


def _signature_lines(signature: Signature) -> list[str]:
    lines = [f"inputs   {len(signature.inputs)}"]
    lines += [f"  {spec.name:<16} {spec.datatype:<6} {_span(spec)}".rstrip() for spec in signature.inputs]
    lines.append("outputs")
    lines += [f"  {o.name:<16} {o.datatype:<6} {', '.join(o.classes or ())}".rstrip() for o in signature.outputs]
    return lines


def _span(spec: Input) -> str:
    parts = []
    if spec.categories is not None:
        shown = ", ".join(spec.categories[:KNOWN_SHOWN])
        more = len(spec.categories) - KNOWN_SHOWN
        parts.append(f"{shown} and {more} more" if more > 0 else shown)
    elif spec.low is not None and spec.high is not None:
        parts.append(f"{spec.low:g} to {spec.high:g}")
    if spec.unit:
        parts.append(spec.unit)
    if spec.nullable:
        parts.append("may be missing")
    return ", ".join(parts)


def _facts(pushed: Pushed, acknowledged: Acknowledgement | None) -> dict[str, Any]:
    version = pushed.version
    facts: dict[str, Any] = {
        "model": version.model.name,
        "version": version.number,
        "digest": version.digest,
        "runtime": version.runtime,
        "state": "native" if pushed.compiled.is_native else "compiled",
        "reason": pushed.compiled.why,
        "keeps": list(pushed.compiled.keeps),
        "accepted_types": list(pushed.compiled.accepted_types),
        "reference": pushed.compiled.reference.extent if pushed.compiled.reference is not None else None,
        "sandbox": version.sandbox,
        "probe_sandbox_level": pushed.probe.sandbox_level,
        "alias": pushed.alias,
        "parity": pushed.version.parity,
        "cost_us_per_row": round(pushed.probe.cost_us_per_row, 1),
        "signature": version.signature,
        "golden_cases": len(pushed.probe.golden),
        "golden_failures": list(pushed.probe.golden_failures),
        "features": pushed.compiled.bundle.manifest.features or None,
        "curl": call_command(pushed),
        "inputs_differ": pushed.inputs_differ,
        "lacks": pushed.lacks,
    }
    if (needs := needs_of(pushed.compiled.bundle)) is not None:
        facts["environment"] = {"key": needs.key, "python": needs.python, "libraries": list(needs.libraries)}
    if acknowledged is not None:
        facts |= {
            "generation": acknowledged.generation,
            "workers": acknowledged.live,
            "behind": list(acknowledged.behind),
        }
    return facts
