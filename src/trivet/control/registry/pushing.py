"""Push: from a trained file to a version that is ready, and live where nothing else is. Every door pushes through here."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from django.db import router

from trivet.control.registry import actions
from trivet.control.registry.actions.finding import check_model_name
from trivet.control.registry.actions.permission import permitted
from trivet.control.registry.comparing import unlike_champion
from trivet.control.registry.golden import cases_of
from trivet.control.registry.models import (
    CHALLENGER,
    CHAMPION,
    Alias,
    Event,
    ModelVersion,
    RegisteredModel,
    VersionStatus,
)
from trivet.control.registry.needed_features import lacking
from trivet.control.registry.permissions import can
from trivet.control.registry.probing import probe_here
from trivet.control.registry.shuffling import shuffled
from trivet.control.registry.signing import check_signer
from trivet.control.registry.storage import environments_folder
from trivet.core.errors import ApprovalNeeded, Conflict, Refused
from trivet.core.policies import with_policies
from trivet.core.redaction import check_sensitive
from trivet.model.bundle.bundle import Bundle, make_bundle
from trivet.model.bundle.golden import GOLDEN_NAME, GoldenCase, encode_cases
from trivet.model.compile.process import LEVEL_OF_STRANGERS, CompiledFile, compile_file
from trivet.model.compile.report import DEFAULT_TOLERANCE
from trivet.model.environments.environment import own_environment
from trivet.model.probe import ProbeResult

if TYPE_CHECKING:
    from trivet.control.registry.permissions import Actor
    from trivet.core.signature import Input
    from trivet.model.signing.keys import Signer


@dataclass(frozen=True)
class Pushed:
    """What a push came to: the version, what compiling and probing it found, and the Event if it took traffic."""

    version: ModelVersion
    compiled: CompiledFile
    probe: ProbeResult
    promoted: Event | None
    alias: str
    is_new: bool = True  # False where the model had this very bundle already
    was_retired: bool = False  # as that version was; now it is ready again
    proposed: str = ""  # where a second person has to approve its first traffic: what to do
    inputs_differ: str = ""  # in what they do from those of the champion that it met, as a sentence
    lacks: str = ""  # what the code has not that it needs, as a sentence: until it has, nothing promotes the version

    def __repr__(self) -> str:
        """Return one line, which is what a notebook shows: the bundle has the model's bytes and rows of its sample."""
        compiled, version = self.compiled, self.version
        state = "native" if compiled.is_native else "compiled"
        proof = compiled.parity.round_trip_line() if compiled.is_native else compiled.parity.line()
        return f"<Pushed {version.model.name} {version.number} · {state} · {proof} · {self.alias or 'proposed'}>"


def push_file(
    path: Path,
    *,
    name: str,
    actor: Actor,
    sample: Path | None = None,
    label_column: str | None = None,
    tolerance: float | None = None,
    message: str = "",
    promote: bool = False,
    is_vouched_for: bool = False,
    accepted_types: Collection[str] = (),
    requirements: bytes | None = None,
    source: str = "",
    signer: Signer | None = None,
    sensitive: Collection[str] = (),
    hidden: Collection[str] = (),
    features: Mapping[str, Any] | None = None,
    declared: Collection[Input] = (),
) -> Pushed:
    """Compile the trained file at `path`, register it, probe it in a fresh process, and give it its place.

    What does not compile is registered to run unchanged in model workers; the version says why.

    The first version of a model becomes champion with all the traffic, where the actor may promote and the code has the
    features it needs; a later one becomes `challenger` and takes none, unless `promote` says so. `is_vouched_for`: the
    actor made this file, so a weak sandbox is enough; the Event says so, and which `accepted_types`, on no list, the actor
    lets it hold. With `requirements`, a file of exact versions, it is opened, proved and run in their environment, which was
    made on this machine before. `source` is what its row says it was made from; the file's name where it is empty. Inputs
    called `sensitive` are hidden in every record of the model, from before its first answer; in `sample` their values are
    shuffled, as are those hidden before, and the reference does not count them. So it is with what is `hidden`, as far as the
    version reads it.
    `features` are what its manifest says of the FeatureSet that it was trained on, and `declared` its inputs, whose bounds,
    categories and policies its signature then has.
    `signer` signs the bundle as it is registered. Raises `CompileError`, `ParityFailed`, or `Refused` for a sandbox that is
    too weak or a signature that is required, before anything is registered; and `Refused` when the probe fails: then the
    version is there, rejected, and can take no traffic.
    """
    permitted(actor, "push", to="register_version", model=name)
    check_model_name(name)  # before a minute is spent on what would be refused
    check_signer(signer)
    compiled = _compiled(
        path,
        name,
        sample=sample,
        label_column=label_column,
        tolerance=DEFAULT_TOLERANCE if tolerance is None else tolerance,
        is_vouched_for=is_vouched_for,
        accepted_types=accepted_types,
        requirements=requirements,
        sensitive=sensitive,
        hidden=hidden,
    )
    sensitive = [*sensitive, *(name for name in compiled.bundle.signature.field_names if name in hidden)]
    if features:
        compiled = replace(compiled, bundle=_with_features(compiled.bundle, features, declared))
    level = compiled.confinement.level
    probed = register_and_probe(
        compiled.bundle,
        name=name,
        actor=actor,
        message=message,
        source=source or path.name,
        sandbox=f"L{level}" if level >= LEVEL_OF_STRANGERS else f"L{level}, vouched for",
        signer=signer,
    )
    if sensitive:
        actions.set_sensitive(model=name, add=sensitive, actor=actor, reason="pushed as sensitive")
    differ = unlike_champion(probed.version)
    placed = _placed(probed, compiled, actor=actor, promote=promote)
    return replace(placed, inputs_differ=differ, was_retired=probed.was_retired, lacks=lacking(probed.version))


def _compiled(
    path: Path,
    name: str,
    *,
    sample: Path | None,
    label_column: str | None,
    tolerance: float,
    is_vouched_for: bool,
    accepted_types: Collection[str],
    requirements: bytes | None,
    sensitive: Collection[str],
    hidden: Collection[str],
) -> CompiledFile:
    """Return what becomes of the file, with values shuffled and uncounted that are to be hidden, or were before."""
    also_hidden = [*_hidden_already(name), *hidden]
    with shuffled(sample, sensitive, where_there=also_hidden) as rows:
        compiled = compile_file(
            path,
            sample=rows,
            label_column=label_column,
            tolerance=tolerance,
            is_vouched_for=is_vouched_for,
            accepted_types=accepted_types,
            uncounted={*sensitive, *also_hidden},
            own=own_environment(environments_folder(), requirements) if requirements is not None else None,
        )
    check_sensitive(compiled.bundle.signature, sensitive, name)
    return compiled


def _with_features(bundle: Bundle, features: Mapping[str, Any], declared: Collection[Input]) -> Bundle:
    """Return `bundle` with what its manifest says of the features that it was trained on, and with what these declare."""
    signature = with_policies(bundle.signature, declared)
    manifest = msgspec.structs.replace(bundle.manifest, features=dict(features), signature=signature)
    return make_bundle(manifest, bundle.files)


def _hidden_already(name: str) -> list[str]:
    """Return the inputs that earlier versions of the model hide: the newest one's sample tells no more of them."""
    return RegisteredModel.objects.filter(name=name).values_list("sensitive", flat=True).first() or []


@dataclass(frozen=True)
class Probed:
    """A registered version and what its probe found."""

    version: ModelVersion
    probe: ProbeResult
    is_new: bool
    was_retired: bool = False


def register_and_probe(
    bundle: Bundle,
    *,
    name: str,
    actor: Actor,
    message: str = "",
    source: str = "",
    sandbox: str = "",
    signer: Signer | None = None,
) -> Probed:
    """Register `bundle` under `name` and make it ready; `sandbox` says how its trained file was opened.

    Where the model has golden cases, the bundle records those it passes (`golden.jsonl`); one that it fails keeps it from
    traffic, not from being registered. Raises `Refused` when its probe fails.
    """
    cases = cases_of(name)
    bundle = _with_passed(bundle, cases)
    known = ModelVersion.objects.of_model(name).filter(digest=bundle.digest).first()
    version = actions.register_version(
        name=name, bundle=bundle, actor=actor, message=message, source=source, sandbox=sandbox, signer=signer
    )
    found = probe_here(bundle, cases)
    if not found.passed:
        if not version.is_ready:
            actions.reject_version(model=name, version=version.number, actor=actor, reason=found.reason)
        raise Refused(f"{version} is not ready: probe rejected it ({found.reason}).")
    ready = actions.mark_ready(model=name, version=version.number, actor=actor, cost_us_per_row=found.cost_us_per_row)
    return Probed(ready, found, known is None, known is not None and known.status == VersionStatus.RETIRED)


def _with_passed(bundle: Bundle, cases: list[GoldenCase]) -> Bundle:
    """Return `bundle` with the cases that it passes in it, as a fresh process finds them."""
    found = probe_here(bundle, cases).golden if cases else ()
    passed = [case for case, wrong in zip(cases, found, strict=False) if not wrong]  # none where the probe failed
    if not passed:
        return bundle
    manifest = msgspec.structs.replace(bundle.manifest, golden_cases=len(passed))
    return make_bundle(manifest, {**bundle.files, GOLDEN_NAME: encode_cases(passed)})


def _placed(probed: Probed, compiled: CompiledFile, *, actor: Actor, promote: bool) -> Pushed:
    version = probed.version
    name, number = version.model.name, version.number
    database = router.db_for_write(RegisteredModel)  # a replica may not know yet of a champion made just now
    seen = RegisteredModel.objects.using(database).get(pk=version.model_id).generation
    champion = Alias.objects.using(database).filter(model=version.model_id, name=CHAMPION).first()
    if champion is not None and champion.version_id == version.pk:
        return Pushed(version, compiled, probed.probe, None, CHAMPION, probed.is_new)
    if promote:
        event = actions.promote(model=name, version=number, actor=actor, reason="pushed with --promote")
        return Pushed(version, compiled, probed.probe, event, CHAMPION, probed.is_new)
    may_promote = (isinstance(actor, str) or can(actor, "promote", name)) and not lacking(version)
    if champion is None and may_promote:
        try:
            event = actions.promote(
                model=name, version=number, actor=actor, reason="first version", expected_generation=seen
            )
        except ApprovalNeeded as waiting:
            return Pushed(version, compiled, probed.probe, None, "", probed.is_new, proposed=waiting.message)
        except Conflict:  # another push was first to be the first
            return _placed(probed, compiled, actor=actor, promote=promote)
        return Pushed(version, compiled, probed.probe, event, CHAMPION, probed.is_new)
    actions.set_alias(model=name, alias=CHALLENGER, version=number, actor=actor, reason="pushed")
    return Pushed(version, compiled, probed.probe, None, CHALLENGER, probed.is_new)
