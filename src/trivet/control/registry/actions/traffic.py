"""Traffic: which version answers, and which names point where."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from django.db import router, transaction

from trivet import conf, signals
from trivet.control.registry.actions.champions import champion_moves, pile_of, previous_champion
from trivet.control.registry.actions.change import Change, changing
from trivet.control.registry.actions.conflict import unchanged_since
from trivet.control.registry.actions.features import check_features
from trivet.control.registry.actions.finding import (
    bad_parameter,
    find_model,
    find_ready_version,
    find_version,
)
from trivet.control.registry.actions.manner import (
    ALL_TRAFFIC,
    FallbackStep,
    Manner,
    check_manner,
    routes_of,
    write_manner,
)
from trivet.control.registry.actions.move import Move
from trivet.control.registry.actions.permission import permitted
from trivet.control.registry.actions.proposals import propose
from trivet.control.registry.actions.refusals import record_refusal
from trivet.control.registry.actions.signing import check_signed
from trivet.control.registry.golden import Proof, cases_of, prove
from trivet.control.registry.models import (
    CHALLENGER,
    CHAMPION,
    REFUSED_PROMOTION,
    Alias,
    Event,
    ModelVersion,
    RegisteredModel,
    Route,
    Shadow,
)
from trivet.core.errors import ApprovalNeeded, Conflict, Refused, quoted
from trivet.core.names import ALIAS_NAME, RESERVED_ALIASES

if TYPE_CHECKING:
    from trivet.control.registry.permissions import Actor

A_TRACE = 0.5  # percent: less than the smallest share of a route, and more than nothing


def set_routes(
    *,
    model: str,
    actor: Actor,
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

    A version that gets traffic is put the model's golden cases first, and is `Refused` where it fails one; so is one that
    needs a feature which the code of a live process, or of this one, has not.
    Returns the Event, whose generation workers acknowledge; where nothing would change it is that of the last change.
    Sends `routes_changed`.
    """
    by, actor = actor, permitted(actor, "promote", to="set_routes", model=model)
    move = Move("set_routes", routes, aliases or {}, Manner(shadows, sticky_by, fallback))
    return make_or_propose(model, move, by, actor=actor, reason=reason, expected_generation=expected_generation)


def promote(
    *, model: str, version: int, actor: Actor, reason: str = "", expected_generation: int | None = None
) -> Event:
    """Make a ready version champion with all the traffic, in one generation.

    A `challenger` alias that points at it goes, and so does its being a shadow. Other shadows, the fallback chain and what
    is sticky stay. Sends `routes_changed` and `version_promoted`. That a version was refused, because its probe failed or
    has not run, because it fails a golden case of the model, or because it needs a feature which the code of a live process
    or of this one has not, is an Event as well. Where the model has golden cases they are replayed first, in a fresh process,
    which takes a second.
    """
    by, actor = actor, permitted(actor, "promote", to="promote", model=model, version=version)
    move = Move("promote", {version: ALL_TRAFFIC}, {CHAMPION: version})
    try:
        return make_or_propose(model, move, by, actor=actor, reason=reason, expected_generation=expected_generation)
    except Refused as refusal:
        record_refusal(REFUSED_PROMOTION, actor=actor, model=model, version=version, reason=refusal.message)
        raise


def roll_back(
    *,
    model: str,
    actor: Actor,
    to: int | None = None,
    reason: str = "",
    expected_generation: int | None = None,
) -> Event:
    """Give champion and traffic back to the champion before, or to the earlier champion `to`.

    Rolling back twice goes two champions back, not forth again: `Refused` is raised for a version that was never champion,
    and for one that was rolled back from since, which it takes a promotion to make champion again. Sends `routes_changed`
    and `version_rolled_back`. Raises `Conflict` also where somebody else moved the champion between the look at who was
    before and the change.
    """
    actor = permitted(actor, "promote", to="roll_back", model=model, version=to)
    target = _champion_before(model) if to is None else to
    check_signed(model, [target])
    with changing() as change:
        found = unchanged_since(change, expected_generation, find_model(change, model))
        if to is None and found.previous_champion != target:
            raise Conflict(f"{model} changed while you decided. Look again, then roll back.")
        if target is None:
            raise Refused(f"{model} has no earlier champion to roll back to.{_way_forth(change, found)}")
        _check_is_back(change, found, target)
        move = Move("roll_back", {target: ALL_TRAFFIC}, {CHAMPION: target})
        return make(change, found, move, actor=actor, reason=reason)


def _champion_before(model: str) -> int | None:
    models = RegisteredModel.objects.using(router.db_for_write(RegisteredModel)).filter(name=model)
    return models.values_list("previous_champion", flat=True).first()


def _check_is_back(change: Change, model: RegisteredModel, number: int) -> None:
    """Raise `Refused` where it takes a promotion, with its golden cases and its second person, to get to that version."""
    version = find_version(change, model, number)
    moves = champion_moves(change, model)
    if number in pile_of(moves):
        return
    was_champion = number in {champion for _, champion in moves}
    why = "was rolled back from, so this is no way back" if was_champion else "was never champion"
    raise Refused(f"{version} {why}; promote it instead: `trivet promote {model.name}@{number}`.")


def _way_forth(change: Change, model: RegisteredModel) -> str:
    """Return the hint for who rolls back twice to undo a rollback: that goes further back, and a promotion forth."""
    moves = champion_moves(change, model)
    if len(moves) < 2 or moves[-1][0] != "roll_back" or moves[-2][1] is None:
        return ""
    return f" To undo the last rollback, promote: `trivet promote {model.name}@{moves[-2][1]}`."


def set_alias(
    *,
    model: str,
    alias: str,
    version: int | None,
    actor: Actor,
    reason: str = "",
    expected_generation: int | None = None,
) -> Event:
    """Point an alias at a ready version, or remove it with None. Not `champion`: it moves with its traffic.

    Who may push may move `challenger`, where it stands in for nobody. Sends `routes_changed`.
    """
    by_pushers = ("push",) if alias == CHALLENGER and not _stands_in(model, alias) else ()
    by, actor = actor, permitted(actor, "promote", *by_pushers, to="set_alias", model=model, version=version)
    if alias == CHAMPION:
        raise Refused("the alias 'champion' moves with its traffic: promote the version instead.")
    move = Move("set_alias", None, {alias: version})
    return make_or_propose(model, move, by, actor=actor, reason=reason, expected_generation=expected_generation)


def make_or_propose(
    model: str, move: Move, by: Actor, *, actor: str, reason: str, expected_generation: int | None
) -> Event:
    """Make the move; where it takes a second person, leave it at a proposal and raise `ApprovalNeeded`."""
    proven = prove_move(model, move)
    with changing() as change:
        found = unchanged_since(change, expected_generation, find_model(change, model))
        check_proofs(found, proven)
        if conf.APPROVALS() == 1:
            return make(change, found, move, actor=actor, reason=reason)
        made = _made_alone(change, found, move, actor=actor, reason=reason)
        if made is not None:
            return made
        found = find_model(change, model)  # as it was before the attempt
        proposal = propose(change, found, move, by, actor=actor, reason=reason)
    raise ApprovalNeeded(
        f"{model}: this takes a second person (TRIVET_APPROVALS). It is proposal {proposal.pk}, until "
        f"{proposal.expires_at:%Y-%m-%d %H:%M}: `trivet approve {proposal.pk}`, or the console, by somebody else who may "
        "approve.",
        proposal=proposal.pk,
    )


def _made_alone(change: Change, model: RegisteredModel, move: Move, *, actor: str, reason: str) -> Event | None:
    """Make the move where one person may: it gives no version traffic, or more of it; else undo it and return None.

    A new champion counts as having all of it: from then on one person may give it that, by a rollback.
    """
    before, champion = _answering(change, model), _champion(change, model)
    with transaction.atomic(using=change.database):
        event = make(change, model, move, actor=actor, reason=reason)
        after = _answering(change, model)
        if (successor := _champion(change, model)) not in (None, champion):
            after[successor] = ALL_TRAFFIC
        gains = any(weight > before.get(number, 0) for number, weight in after.items())
        transaction.set_rollback(gains, using=change.database)
    return None if gains else event


def _answering(change: Change, model: RegisteredModel) -> dict[int, float]:
    """Return what each version has of the traffic, in percent, and a trace of it for those that stand in where one fails."""
    shares: dict[int, float] = dict(routes_of(change, model).values_list("version__number", "weight"))
    aliases = dict(change.rows(Alias).filter(model=model).values_list("name", "version__number"))
    for step in model.fallback or ():
        number = aliases.get(step) if isinstance(step, str) else step
        if isinstance(number, int):
            shares.setdefault(number, A_TRACE)
    return shares


def _champion(change: Change, model: RegisteredModel) -> int | None:
    aliases = change.rows(Alias).filter(model=model, name=CHAMPION)
    return aliases.values_list("version__number", flat=True).first()


def prove_move(model: str, move: Move) -> Proof | None:
    """Ask, before the lock is taken, whether those that would get a place are signed, can be asked and pass the golden cases."""
    check_signed(model, _named(move))
    check_features(model, move.routes or {}, _stand_ins(move))
    threshold = ALL_TRAFFIC if move.action == "promote" else 1
    return _prove_newcomers(model, move.routes or {}, those_with_less_than=threshold)


def make(change: Change, model: RegisteredModel, move: Move, *, actor: str, reason: str, **told: Any) -> Event:
    """Write the move, and its Event with what is `told` besides; where nothing changes, return the last Event."""
    before = _traffic(change, model)
    if move.routes is not None:
        _write_routes(change, model, move.routes)
    _write_aliases(change, model, move.aliases)
    write_manner(change, model, move.manner)
    if move.action != "roll_back":  # the way back is open, whatever fits no longer
        check_manner(change, model, move.manner)
    after = _traffic(change, model)
    if after == before and (last := change.rows(Event).filter(generation=model.generation).first()):
        return last
    champion = after["aliases"].get(CHAMPION)
    if champion != before["aliases"].get(CHAMPION):
        model.previous_champion = previous_champion([*champion_moves(change, model), (move.action, champion)])
    model.generation = change.generation
    model.save(update_fields=["generation", "previous_champion", "sticky_by", "fallback"])
    event = change.record(
        move.action,
        actor=actor,
        model=model.name,
        version=move.version,
        before=before,
        after={**after, **told},
        reason=reason,
    )
    change.announce(signals.routes_changed, RegisteredModel, **_told(event))
    if move.action in _SIGNALS:
        change.announce(_SIGNALS[move.action], RegisteredModel, **_told(event))
    return event


_SIGNALS = {"promote": signals.version_promoted, "roll_back": signals.version_rolled_back}


def _stands_in(model: str, alias: str) -> bool:
    models = RegisteredModel.objects.using(router.db_for_write(RegisteredModel)).filter(name=model)
    return alias in (models.values_list("fallback", flat=True).first() or ())


def _named(move: Move) -> list[int | None]:
    """Return the numbers that such a move gives a place, each once; a weight of 0 takes one away."""
    tables = (move.routes or {}, move.manner.shadows or {})
    shares = [number for table in tables for number, weight in table.items() if weight]
    return list(dict.fromkeys([*shares, *move.aliases.values(), *_stand_ins(move)]))


def _stand_ins(move: Move) -> list[int]:
    """Return the numbers that such a move lets answer where the routed version fails."""
    return [step for step in move.manner.fallback or () if isinstance(step, int)]


def _prove_newcomers(model: str, routes: Mapping[int, int], *, those_with_less_than: int) -> Proof | None:
    """Put the model's golden cases to those that would get traffic and have less of it so far; None where nobody would.

    Before the lock is taken, for it takes a second. Who may not have traffic anyway is told so under the lock.
    """
    database = router.db_for_write(ModelVersion)
    numbers = [number for number, weight in routes.items() if weight]
    versions = ModelVersion.objects.using(database).ready().of_model(model).filter(number__in=numbers)
    proven = None
    for version in versions.exclude(routes__weight__gte=those_with_less_than).select_related("model"):
        proven = prove(version)
    return proven


def check_proofs(model: RegisteredModel, proven: Proof | None) -> None:
    if proven is not None and proven.cases != cases_of(model.name):
        raise Conflict(f"the golden cases of {model.name} changed while you decided. Look again, then promote.")


def _write_routes(change: Change, model: RegisteredModel, routes: Mapping[int, int]) -> None:
    weights = {number: weight for number, weight in routes.items() if weight != 0}
    if not all(isinstance(weight, int) and weight > 0 for weight in weights.values()):
        raise bad_parameter("a route's weight is a whole number of percent, 0 to 100, without %.")
    if sum(weights.values()) != ALL_TRAFFIC:
        raise bad_parameter(f"the weights of {model.name}'s routes add to {sum(weights.values())}, not 100.")
    versions = {number: find_ready_version(change, model, number) for number in weights}
    change.rows(Route).filter(model=model).delete()
    change.rows(Route).bulk_create(
        Route(model=model, version=versions[number], weight=weight) for number, weight in sorted(weights.items())
    )


def _write_aliases(change: Change, model: RegisteredModel, aliases: Mapping[str, int | None]) -> None:
    rows = change.rows(Alias).filter(model=model)
    for name, number in aliases.items():
        if not re.fullmatch(ALIAS_NAME, name) or name in RESERVED_ALIASES:
            raise bad_parameter(f"{quoted(name)} cannot be an alias: a letter, then up to 31 of a-z, 0-9, _ and -.")
        if number is None:
            rows.filter(name=name).delete()
        else:
            version = find_ready_version(change, model, number)
            change.rows(Alias).update_or_create(model=model, name=name, defaults={"version": version})
    if champion := aliases.get(CHAMPION):  # who has become champion challenges no longer
        rows.filter(name=CHALLENGER, version__number=champion).delete()


def _traffic(change: Change, model: RegisteredModel) -> dict[str, Any]:
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


def _told(event: Event) -> dict[str, Any]:
    """Return what the signals about traffic say of `event`."""
    fields = ("model", "before", "after", "generation", "actor", "reason")
    return {field: getattr(event, field) for field in fields}
