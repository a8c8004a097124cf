"""Every change to the registry, one function each. Doors parse, call one of these and present what it returns.

Each is one transaction that begins by taking the registry's lock, so changes form one line and every one has its own
generation; each writes one Event and sends its signals on commit. `actor` says who acts, as `key:<id>`, `user:<name>`,
`cli:<name>` or `process:<name>`; whether they may is asked by the door before it calls.

`Conflict` is raised when `expected_generation`, the generation the actor last saw, is older than the model's last
change of routes or aliases; `Refused` when the rules forbid the change now; `NotFound` and `InvalidRequest` for
names and values that name nothing. Then nothing was changed.

An action called inside a transaction of its caller commits with that one: until then it holds the lock, no worker sees
the change and no signal is sent. Never wait for workers in there.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any, TypeVar

import msgspec
from django.conf import settings
from django.db import router, transaction
from django.db.models import Model, QuerySet
from django.dispatch import Signal
from django.utils import timezone

from trivet import conf, signals
from trivet.control.registry.models import (
    CHALLENGER,
    CHAMPION,
    Alias,
    ApiKey,
    Event,
    ModelVersion,
    RegisteredModel,
    RegistryState,
    Route,
    Shadow,
    VersionStatus,
)
from trivet.control.registry.storage import store_bundle
from trivet.core.constants import constant_arrays
from trivet.core.errors import Conflict, InvalidRequest, NotFound, Refused, did_you_mean, quoted
from trivet.core.keys import hash_secret, mint_key
from trivet.core.names import ALIAS_NAME, MODEL_NAME, RESERVED_ALIASES, RESERVED_MODEL_NAMES
from trivet.core.snapshot import ANY_MODEL, VERBS
from trivet.model.bundle.bundle import Bundle

ALL_TRAFFIC = 100  # percent
MAX_FALLBACK = 8  # steps of a fallback chain: each takes time that the deadline has to leave

FallbackStep = int | str | Mapping[str, Any]  # a version's number, an alias, or a constant

Row = TypeVar("Row", bound=Model)


def register_version(
    *,
    name: str,
    bundle: Bundle,
    actor: str,
    message: str = "",
    source: str = "",
    sandbox: str = "",
    parity: Mapping[str, Any] | None = None,
    cost_us_per_row: float | None = None,
) -> ModelVersion:
    """Store `bundle` and register it as the next version of the model `name`, which is made on first use.

    The version takes no traffic and is not in the Snapshot until `mark_ready`. A bundle that the model has already
    is returned as the version it is; then nothing is written. Sends `version_registered`.
    """
    _check_model_name(name)
    store_bundle(bundle)
    with _change() as change:
        model, _ = change.rows(RegisteredModel).get_or_create(name=name)
        versions = change.rows(ModelVersion).filter(model=model)
        if known := versions.select_related("model").filter(digest=bundle.digest).first():
            return known
        last = versions.order_by("-number").values_list("number", flat=True).first()
        version = ModelVersion.objects.create(
            model=model,
            number=(last or 0) + 1,
            digest=bundle.digest,
            runtime=bundle.manifest.runtime,
            signature=msgspec.to_builtins(bundle.signature),
            manifest=msgspec.to_builtins(bundle.manifest),
            note=message,
            author=actor,
            source=source,
            sandbox=sandbox,
            parity=dict(bundle.manifest.parity if parity is None else parity),
            cost_us_per_row=cost_us_per_row,
        )
        after = {"digest": version.digest, "status": version.status}
        change.record("register_version", actor=actor, model=name, version=version.number, after=after, reason=message)
        change.announce(signals.version_registered, ModelVersion, version=version, actor=actor, reason=message)
        return version


def mark_ready(
    *, model: str, version: int, actor: str, cost_us_per_row: float | None = None, reason: str = ""
) -> ModelVersion:
    """Let a version take traffic: its probe loaded it fresh and it answered its sample as it should.

    Also for one that was rejected before. Writes the status and the measured cost; sends `version_ready`.
    """
    with _change() as change:
        found = _version(change, _model(change, model), version)
        if found.status == VersionStatus.RETIRED:
            raise Refused(f"{found} was retired; register it anew.")
        if not found.is_ready:
            if cost_us_per_row is not None:
                found.cost_us_per_row = cost_us_per_row
            _set_status(change, found, VersionStatus.READY, actor=actor, reason=reason)
            change.announce(signals.version_ready, ModelVersion, version=found, actor=actor, reason=reason)
        return found


def reject_version(*, model: str, version: int, actor: str, reason: str) -> ModelVersion:
    """Keep a version from taking traffic, because its probe found `reason`; sends `version_rejected`."""
    with _change() as change:
        found = _version(change, _model(change, model), version)
        if found.status not in {VersionStatus.REGISTERED, VersionStatus.REJECTED}:
            raise Refused(f"{found} is {found.status}; only a version that has not passed its probe can be rejected.")
        _set_status(change, found, VersionStatus.REJECTED, actor=actor, reason=reason)
        change.announce(signals.version_rejected, ModelVersion, version=found, actor=actor, reason=reason)
        return found


def set_routes(
    *,
    model: str,
    actor: str,
    routes: Mapping[int, int] | None = None,
    reason: str = "",
    expected_generation: int | None = None,
    aliases: Mapping[str, int | None] | None = None,
    shadows: Mapping[int, int] | None = None,
    sticky_by: str | None = None,
    fallback: Sequence[FallbackStep] | None = None,
) -> Event:
    """Share the model's traffic between ready versions: `{number: percent}`, adding to 100. Traffic moves only here.

    `aliases` move in the same generation (None removes one). What is not given stays as it is:

    - `shadows`: versions that run a share of the requests as well and never answer, `{number: percent}`; a version that
      takes traffic is a shadow no more.
    - `sticky_by`: an input of one value a row; callers with the same value there get the same version. "" is none.
    - `fallback`: who answers where the routed version fails, in this order: numbers, aliases, and at the end perhaps a
      constant, `{output: value of a row}`, for every output of the versions with traffic.

    Returns the Event, whose generation workers acknowledge; where nothing would change it is that of the last change.
    Sends `routes_changed`.
    """
    with _change() as change:
        found = _unchanged_since(change, expected_generation, _model(change, model))
        return _move(
            change,
            found,
            "set_routes",
            routes=routes,
            aliases=aliases or {},
            manner=_Manner(shadows, sticky_by, fallback),
            actor=actor,
            reason=reason,
        )


def promote(*, model: str, version: int, actor: str, reason: str = "", expected_generation: int | None = None) -> Event:
    """Make a ready version champion with all the traffic, in one generation.

    A `challenger` alias that points at it goes, and so does its being a shadow. Other shadows, the fallback chain and what
    is sticky stay. Sends `routes_changed` and `version_promoted`. That a version was refused, because its probe failed or
    has not run, is an Event as well.
    """
    try:
        with _change() as change:
            found = _unchanged_since(change, expected_generation, _model(change, model))
            signal = signals.version_promoted
            return _move_champion(change, found, "promote", version, signal, actor=actor, reason=reason)
    except Refused as refusal:
        _record_refusal(model, version, actor=actor, refusal=refusal)
        raise


def roll_back(
    *,
    model: str,
    actor: str,
    to: int | None = None,
    reason: str = "",
    expected_generation: int | None = None,
) -> Event:
    """Give champion and traffic back to the champion before, or to the earlier champion `to`.

    Rolling back twice goes two champions back, not forth again. Sends `routes_changed` and `version_rolled_back`.
    """
    with _change() as change:
        found = _unchanged_since(change, expected_generation, _model(change, model))
        target = found.previous_champion if to is None else to
        if target is None:
            raise Refused(f"{model} has no earlier champion to roll back to.")
        if target not in {champion for _, champion in _champion_moves(change, found)}:
            raise Refused(f"{model} {target} was never champion; promote it instead.")
        signal = signals.version_rolled_back
        return _move_champion(change, found, "roll_back", target, signal, actor=actor, reason=reason)


def set_alias(
    *,
    model: str,
    alias: str,
    version: int | None,
    actor: str,
    reason: str = "",
    expected_generation: int | None = None,
) -> Event:
    """Point an alias at a ready version, or remove it with None. Not `champion`: it moves with its traffic.

    Sends `routes_changed`.
    """
    if alias == CHAMPION:
        raise Refused("the alias 'champion' moves with its traffic: promote the version instead.")
    with _change() as change:
        found = _unchanged_since(change, expected_generation, _model(change, model))
        return _move(change, found, "set_alias", routes=None, aliases={alias: version}, actor=actor, reason=reason)


def set_anonymous(*, model: str, anonymous: bool, actor: str, reason: str = "") -> RegisteredModel:
    """Let a model answer `predict` without a key, or no longer. It has effect only with TRIVET_REQUIRE_KEY = False."""
    with _change() as change:
        found = _model(change, model)
        if found.anonymous != anonymous:
            before = {"anonymous": found.anonymous}
            found.anonymous = anonymous
            found.save(update_fields=["anonymous"])
            after = {"anonymous": anonymous}
            change.record("set_anonymous", actor=actor, model=model, before=before, after=after, reason=reason)
        return found


def issue_key(
    *,
    name: str,
    grants: Mapping[str, Iterable[str]],
    actor: str,
    expires: datetime | timedelta | None = None,
    reason: str = "",
) -> tuple[ApiKey, str]:
    """Make an API key and return it with its plaintext, which is shown to its owner once and stored nowhere.

    `grants` maps a model's name, or `*`, to verbs of `view`, `predict`, `explain`, `label`, `promote`. The Event names
    the key by its id.
    """
    granted = _checked_grants(grants)
    expires_at = _moment(expires)
    key_id, plaintext = mint_key()
    with _change() as change:
        key = ApiKey.objects.create(
            id=key_id,
            name=name,
            hash=hash_secret(conf.peppers()[0], plaintext),
            grants=granted,
            created_by=actor,
            expires_at=expires_at,
        )
        after = {"key": key_id, "name": name, "grants": granted, "expires_at": _iso(expires_at)}
        change.record("issue_key", actor=actor, after=after, reason=reason)
        return key, plaintext


def revoke_key(*, key: str, actor: str, reason: str = "") -> ApiKey:
    """Revoke the API key with the id `key`: workers refuse it from the next generation on. A second time is no change."""
    with _change() as change:
        found = change.rows(ApiKey).filter(pk=key).first()
        if found is None:
            raise NotFound(f"no API key {quoted(key)}.")
        if found.revoked_at is None:
            found.revoked_at = timezone.now()
            found.save(update_fields=["revoked_at"])
            before, after = {"key": key, "revoked_at": None}, {"key": key, "revoked_at": _iso(found.revoked_at)}
            change.record("revoke_key", actor=actor, before=before, after=after, reason=reason)
        return found


def load(*, model: str, version: int | None = None, actor: str, reason: str = "") -> int:
    """Have a ready version loaded that has no traffic; without `version`, all that the model's traffic and aliases need.

    Returns the generation that workers acknowledge; where nothing would change it is the present one.
    """
    with _change() as change:
        found = _model(change, model)
        if version is None:
            return _set_unloaded(change, found, unloaded=False, actor=actor, reason=reason)
        target = _ready_version(change, found, version)
        if not found.unloaded and _has_traffic(change, target):
            return change.generation - 1
        return _set_keep_loaded(change, target, keep=True, actor=actor, reason=reason)


def unload(*, model: str, version: int | None = None, actor: str, reason: str = "") -> int:
    """Have a version unloaded; without `version` the whole model, which then answers 503 until `load`. Its routes stay.

    Returns the generation that workers acknowledge. `Conflict` is raised for a version that has traffic or an alias.
    """
    with _change() as change:
        found = _model(change, model)
        if version is None:
            return _set_unloaded(change, found, unloaded=True, actor=actor, reason=reason)
        target = _version(change, found, version)
        if _has_traffic(change, target):
            raise Conflict(f"{target} has traffic or an alias; move that first, or unload the model.")
        return _set_keep_loaded(change, target, keep=False, actor=actor, reason=reason)


# One change: the lock, the generation, the Event, the signals


@dataclass(frozen=True)
class _Change:
    """What an action holds between taking the lock and committing."""

    database: str
    generation: int  # the one this change makes

    def rows(self, table: type[Row]) -> QuerySet[Row]:
        """Return the rows of `table` where the lock is held: a router may send other reads to a replica that lags."""
        return table._default_manager.using(self.database)

    def record(
        self,
        action: str,
        *,
        actor: str,
        model: str = "",
        version: int | None = None,
        before: Mapping[str, Any] | None = None,
        after: Mapping[str, Any] | None = None,
        reason: str = "",
    ) -> Event:
        """Write the Event and move the registry to its generation."""
        RegistryState.objects.using(self.database).advance(self.generation)
        return Event.objects.create(
            actor=actor,
            action=action,
            model=model,
            version=version,
            generation=self.generation,
            before=before or {},
            after=after or {},
            reason=reason,
        )

    def announce(self, signal: Signal, sender: type, **arguments: Any) -> None:
        """Send `signal` when the transaction has committed."""
        transaction.on_commit(partial(signal.send_robust, sender=sender, **arguments), using=self.database)


@contextmanager
def _change() -> Iterator[_Change]:
    database = router.db_for_write(RegistryState)
    with transaction.atomic(using=database):
        yield _Change(database, RegistryState.objects.using(database).lock() + 1)


def _set_status(change: _Change, version: ModelVersion, status: VersionStatus, *, actor: str, reason: str) -> None:
    before, after = {"status": version.status}, {"status": status.value}
    version.status, version.status_reason = status, reason
    version.save(update_fields=["status", "status_reason", "cost_us_per_row"])
    action = "mark_ready" if status == VersionStatus.READY else "reject_version"
    change.record(
        action,
        actor=actor,
        model=version.model.name,
        version=version.number,
        before=before,
        after=after,
        reason=reason,
    )


# What is loaded


def _has_traffic(change: _Change, version: ModelVersion) -> bool:
    """True for what the model's traffic needs: a version with a share, an alias, or a place among those that stand in."""
    shares = (change.rows(table).filter(version=version).exists() for table in (Route, Alias))
    return any(shares) or version.number in (version.model.fallback or ())


def _set_keep_loaded(change: _Change, version: ModelVersion, *, keep: bool, actor: str, reason: str) -> int:
    if version.keep_loaded is keep:
        return change.generation - 1
    before, after = {"keep_loaded": version.keep_loaded}, {"keep_loaded": keep}
    version.keep_loaded = keep
    version.save(update_fields=["keep_loaded"])
    name, action = version.model.name, "load" if keep else "unload"
    change.record(action, actor=actor, model=name, version=version.number, before=before, after=after, reason=reason)
    return change.generation


def _set_unloaded(change: _Change, model: RegisteredModel, *, unloaded: bool, actor: str, reason: str) -> int:
    kept = change.rows(ModelVersion).filter(model=model, keep_loaded=True)
    if model.unloaded is unloaded and not (unloaded and kept.exists()):
        return change.generation - 1
    before, after = {"unloaded": model.unloaded}, {"unloaded": unloaded}
    model.unloaded = unloaded
    model.save(update_fields=["unloaded"])
    if unloaded:
        kept.update(keep_loaded=None)
    action = "unload" if unloaded else "load"
    change.record(action, actor=actor, model=model.name, before=before, after=after, reason=reason)
    return change.generation


# Traffic


@dataclass(frozen=True)
class _Manner:
    """How traffic is handled, apart from who has it; None: as it was."""

    shadows: Mapping[int, int] | None = None
    sticky_by: str | None = None
    fallback: Sequence[FallbackStep] | None = None


_AS_IT_WAS = _Manner()


def _move_champion(
    change: _Change, model: RegisteredModel, action: str, number: int, signal: Signal, *, actor: str, reason: str
) -> Event:
    routes, aliases = {number: ALL_TRAFFIC}, {CHAMPION: number}
    event = _move(change, model, action, routes=routes, aliases=aliases, actor=actor, reason=reason)
    if event.generation == change.generation:
        change.announce(signal, RegisteredModel, **_told(event))
    return event


def _record_refusal(model: str, version: int, *, actor: str, refusal: Refused) -> None:
    """Write who wanted to promote what, and why it was refused: nothing else has changed."""
    with _change() as change:
        change.record("refuse_promotion", actor=actor, model=model, version=version, reason=refusal.message)


def _move(
    change: _Change,
    model: RegisteredModel,
    action: str,
    *,
    routes: Mapping[int, int] | None,
    aliases: Mapping[str, int | None],
    actor: str,
    reason: str,
    manner: _Manner = _AS_IT_WAS,
) -> Event:
    before = _traffic(change, model)
    if routes is not None:
        _write_routes(change, model, routes)
    _write_aliases(change, model, aliases)
    _write_manner(change, model, manner)
    if action != "roll_back":  # the way back is open, whatever fits no longer
        _check_manner(change, model, manner)
    after = _traffic(change, model)
    if after == before and (last := change.rows(Event).filter(generation=model.generation).first()):
        return last
    champion = after["aliases"].get(CHAMPION)
    if champion != before["aliases"].get(CHAMPION):
        model.previous_champion = _previous([*_champion_moves(change, model), (action, champion)])
    model.generation = change.generation
    model.save(update_fields=["generation", "previous_champion", "sticky_by", "fallback"])
    about = None if action == "set_routes" else next(iter(aliases.values()), None)
    event = change.record(
        action, actor=actor, model=model.name, version=about, before=before, after=after, reason=reason
    )
    change.announce(signals.routes_changed, RegisteredModel, **_told(event))
    return event


def _write_routes(change: _Change, model: RegisteredModel, routes: Mapping[int, int]) -> None:
    weights = {number: weight for number, weight in routes.items() if weight != 0}
    if not all(isinstance(weight, int) and weight > 0 for weight in weights.values()):
        raise _bad("a route's weight is a whole number of percent, 0 to 100.")
    if sum(weights.values()) != ALL_TRAFFIC:
        raise _bad(f"the weights of {model.name}'s routes add to {sum(weights.values())}, not 100.")
    versions = {number: _ready_version(change, model, number) for number in weights}
    change.rows(Route).filter(model=model).delete()
    change.rows(Route).bulk_create(
        Route(model=model, version=versions[number], weight=weight) for number, weight in sorted(weights.items())
    )


def _write_aliases(change: _Change, model: RegisteredModel, aliases: Mapping[str, int | None]) -> None:
    rows = change.rows(Alias).filter(model=model)
    for name, number in aliases.items():
        if not re.fullmatch(ALIAS_NAME, name) or name in RESERVED_ALIASES:
            raise _bad(f"{quoted(name)} cannot be an alias: a letter, then up to 31 of a-z, 0-9, _ and -.")
        if number is None:
            rows.filter(name=name).delete()
        else:
            version = _ready_version(change, model, number)
            change.rows(Alias).update_or_create(model=model, name=name, defaults={"version": version})
    if champion := aliases.get(CHAMPION):  # who has become champion challenges no longer
        rows.filter(name=CHALLENGER, version__number=champion).delete()


def _write_manner(change: _Change, model: RegisteredModel, manner: _Manner) -> None:
    shadows = change.rows(Shadow).filter(model=model)
    if manner.shadows is not None:
        weights = {number: weight for number, weight in manner.shadows.items() if weight != 0}
        if not all(isinstance(weight, int) and 1 <= weight <= ALL_TRAFFIC for weight in weights.values()):
            raise _bad("a shadow's share is a whole number of percent, 0 to 100.")
        versions = {number: _ready_version(change, model, number) for number in weights}
        for route in _routed(change, model):
            if route.version.number in weights:
                raise _bad(f"{route.version} has traffic; only a version without any can be a shadow.")
        shadows.delete()
        shadows.bulk_create(
            Shadow(model=model, version=versions[number], weight=weight) for number, weight in sorted(weights.items())
        )
    shadows.filter(version__in=change.rows(Route).filter(model=model).values("version")).delete()
    if manner.sticky_by is not None:
        model.sticky_by = manner.sticky_by
    if manner.fallback is not None:
        model.fallback = [_checked_step(change, model, step) for step in manner.fallback] or None


def _checked_step(change: _Change, model: RegisteredModel, step: FallbackStep) -> int | str | dict[str, Any]:
    if isinstance(step, Mapping):
        return dict(step)
    if isinstance(step, str):
        aliases = dict(change.rows(Alias).filter(model=model).values_list("name", "version__number"))
        if step not in aliases:
            raise NotFound(f"{model.name} has no alias {quoted(step)}.{did_you_mean(step, aliases)}")
        return step
    return _ready_version(change, model, step).number


def _check_manner(change: _Change, model: RegisteredModel, manner: _Manner) -> None:
    """Hold what is sticky, and the constant of the chain, against the versions that have traffic."""
    routed = [route.version for route in _routed(change, model)]
    if not routed and (manner.shadows or manner.sticky_by or manner.fallback):
        raise Refused(f"{model.name} has no routes yet: promote a version first.")
    if model.sticky_by and (len(routed) > 1 or manner.sticky_by):
        for version in routed:
            inputs = [spec.name for spec in version.read_signature().inputs if len(spec.field_names) == 1]
            if model.sticky_by not in inputs:
                raise _bad(
                    f"{version} has no input {quoted(model.sticky_by)} of one value a row to be sticky by."
                    f"{did_you_mean(model.sticky_by, inputs)} Name another, or none."
                )
    chain = model.fallback or []
    if len(chain) > MAX_FALLBACK:
        raise _bad(f"a fallback chain has at most {MAX_FALLBACK} steps, not {len(chain)}.")
    for place, step in enumerate(chain):
        if isinstance(step, dict):
            if place != len(chain) - 1:
                raise _bad("a constant ends a fallback chain: what comes after it would never be asked.")
            for version in routed:
                _check_constant(version, step)


def _check_constant(version: ModelVersion, constant: dict[str, Any]) -> None:
    try:
        constant_arrays(version.read_signature(), constant)
    except InvalidRequest as error:
        raise _bad(f"{version}: {error.message} Give the fallback chain anew, or none.") from None


def _routed(change: _Change, model: RegisteredModel) -> QuerySet[Route]:
    return change.rows(Route).filter(model=model).order_by("version__number").select_related("version__model")


def _traffic(change: _Change, model: RegisteredModel) -> dict[str, Any]:
    """Return where traffic goes and how, as an Event keeps it; what is not set is left out."""
    routes = change.rows(Route).filter(model=model).order_by("version__number").values_list("version__number", "weight")
    aliases = change.rows(Alias).filter(model=model).order_by("name").values_list("name", "version__number")
    shadows = change.rows(Shadow).filter(model=model).order_by("version__number")
    manner = {
        "shadows": {str(number): weight for number, weight in shadows.values_list("version__number", "weight")},
        "sticky_by": model.sticky_by,
        "fallback": model.fallback,
    }
    return {
        "routes": {str(number): weight for number, weight in routes},
        "aliases": dict(aliases),
        **{name: value for name, value in manner.items() if value},
    }


def _champion_moves(change: _Change, model: RegisteredModel) -> list[tuple[str, int | None]]:
    """Return each change of champion in the model's history, oldest first, as (action, new champion)."""
    events = change.rows(Event).filter(model=model.name, action__in=("set_routes", "promote", "roll_back"))
    told = events.order_by("generation").values_list("action", "before__aliases__champion", "after__aliases__champion")
    return [(action, after) for action, before, after in told if before != after]


def _previous(moves: Iterable[tuple[str, int | None]]) -> int | None:
    """Return the champion below the last one: a rollback takes champions off the pile, any other move adds one."""
    pile: list[int] = []
    for action, champion in moves:
        if champion is None:
            continue
        if action == "roll_back" and champion in pile:
            while pile[-1] != champion:
                pile.pop()
        else:
            pile.append(champion)
    return pile[-2] if len(pile) > 1 else None


def _told(event: Event) -> dict[str, Any]:
    """Return what the signals about traffic say of `event`."""
    fields = ("model", "before", "after", "generation", "actor", "reason")
    return {field: getattr(event, field) for field in fields}


# Optimistic concurrency


def _unchanged_since(change: _Change, expected_generation: int | None, model: RegisteredModel) -> RegisteredModel:
    if expected_generation is None or model.generation <= expected_generation:
        return model
    event = change.rows(Event).filter(generation=model.generation).first()
    what = "" if event is None else f", {_deed(event)} by {_who(change, event.actor)} at {_clock(event.at)}"
    raise Conflict(
        f"{model.name} changed while you decided: generation {expected_generation} → {model.generation}{what}. "
        f"Look again, then {'roll back' if event and event.action == 'roll_back' else 'promote'}."
    )


_DEEDS = {
    "promote": "version {version} promoted",
    "roll_back": "rolled back to version {version}",
    "set_routes": "routes set to {routes}",
    "set_alias": "an alias moved",
}


def _deed(event: Event) -> str:
    routes = ", ".join(f"{number}={weight}" for number, weight in event.after.get("routes", {}).items())
    return _DEEDS.get(event.action, event.action).format(version=event.version, routes=routes)


def _who(change: _Change, actor: str) -> str:
    kind, _, name = actor.partition(":")
    if kind == "key":
        key = change.rows(ApiKey).filter(pk=name).first()
        return f"the key '{key.name if key else name}'"
    return name if kind == "user" else actor


def _clock(moment: datetime) -> str:
    return f"{timezone.localtime(moment) if timezone.is_aware(moment) else moment:%H:%M}"


# Names and values


def _model(change: _Change, name: str) -> RegisteredModel:
    models = change.rows(RegisteredModel)
    found = models.filter(name=name).first()
    if found is None:
        names = models.values_list("name", flat=True)
        raise NotFound(f"no model {quoted(name)}.{did_you_mean(name, names)}")
    return found


def _version(change: _Change, model: RegisteredModel, number: int) -> ModelVersion:
    found = change.rows(ModelVersion).filter(model=model, number=number).select_related("model").first()
    if found is None:
        raise NotFound(f"{model.name} has no version {quoted(number)}.")
    return found


def _ready_version(change: _Change, model: RegisteredModel, number: int) -> ModelVersion:
    version = _version(change, model, number)
    if version.is_ready:
        return version
    why = {
        VersionStatus.REJECTED: f"probe rejected it ({version.status_reason})",
        VersionStatus.REGISTERED: "it has not been probed yet",
        VersionStatus.RETIRED: "it was retired",
    }[VersionStatus(version.status)]
    raise Refused(f"{version} is not ready: {why}.")


def _check_model_name(name: str) -> None:
    if not re.fullmatch(MODEL_NAME, name):
        raise _bad(
            f"{quoted(name)} cannot name a model: use up to 63 of a-z, 0-9, '.', '_' and '-', a letter or digit first."
        )
    if name in RESERVED_MODEL_NAMES:
        raise _bad(f"{quoted(name)} cannot name a model: the word is reserved.")


def _checked_grants(grants: Mapping[str, Iterable[str]]) -> dict[str, list[str]]:
    checked = {model: sorted(set(verbs)) for model, verbs in grants.items()}
    if not checked or not all(checked.values()):
        raise _bad("a key needs at least one verb on at least one model.")
    for model, verbs in checked.items():
        if model != ANY_MODEL:
            _check_model_name(model)
        for verb in verbs:
            if verb not in VERBS:
                raise _bad(f"{quoted(verb)} is no verb.{did_you_mean(verb, VERBS)} Known: {', '.join(VERBS)}.")
    return checked


def _moment(expires: datetime | timedelta | None) -> datetime | None:
    if expires is None:
        return None
    now = timezone.now()
    moment = now + expires if isinstance(expires, timedelta) else expires
    if settings.USE_TZ and timezone.is_naive(moment):
        moment = timezone.make_aware(moment)
    if moment <= now:
        raise _bad(f"the key would have expired already, at {moment.isoformat(timespec='seconds')}.")
    return moment


def _iso(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()


def _bad(message: str) -> InvalidRequest:
    return InvalidRequest(message, code="BAD_PARAMETER")
