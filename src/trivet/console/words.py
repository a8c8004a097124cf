"""What the registry's values say, in sentences: what a model decides, who did what, why a version answered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from django.utils.functional import Promise
from django.utils.translation import gettext as _, gettext_lazy, ngettext

from trivet.console.figures import count, number, percent
from trivet.core.decisions import LABEL, LABEL_OF_A_TARGET, PROBABILITIES, SCORES
from trivet.core.signature import Signature
from trivet.model.bundle.libraries import Library
from trivet.model.compile.asked_names import dangerous_among, unknown_among

NAMED_INPUTS = 4
NAMED_CLASSES = 6
NAMED_GLOBALS = 6

Text = str | Promise

FLAGS: Mapping[str, Text] = {
    "below_low": gettext_lazy("below every value seen in training"),
    "above_high": gettext_lazy("above every value seen in training"),
    "clipped": gettext_lazy("outside the range seen in training; the nearest bound was used"),
    "unknown_category": gettext_lazy("a value not seen in training"),
}
ROUTES: Mapping[str, Text] = {
    "only": gettext_lazy("all traffic"),
    "split": gettext_lazy("share of traffic"),
    "sticky": gettext_lazy("sticky"),
    "audience": gettext_lazy("audience"),
    "alias": gettext_lazy("by alias"),
    "pinned": gettext_lazy("by number"),
    "fallback": gettext_lazy("fallback"),
}
TASKS: Mapping[str, Text] = {
    "classification": gettext_lazy("Classification"),
    "regression": gettext_lazy("Regression"),
    "outlier": gettext_lazy("Outlier detection"),
    "cluster": gettext_lazy("Clustering"),
    "tensors": gettext_lazy("Tensors"),
}


def decides(signature: Signature) -> str:
    """Return in one sentence what a model of this signature decides, and from what."""
    sentences = {
        "classification": _chooses,
        "regression": _estimates,
        "outlier": _judges,
        "cluster": _groups,
    }
    what = sentences.get(signature.task, _computes)(signature)
    return f"{what}, {_from_inputs(signature)}."


def threshold(signature: Signature) -> str:
    """Return the decision threshold as a sentence; empty where there is none."""
    classes = classes_of(signature)
    if signature.threshold is None or len(classes) != 2:
        return ""
    values = {"name": classes[1], "share": percent(signature.threshold), "other": classes[0]}
    return _("It answers “%(name)s” when its probability is at least %(share)s, otherwise “%(other)s”.") % values


def classes_of(signature: Signature) -> tuple[str, ...]:
    """Return the names of the classes, empty where there are none."""
    for name in (LABEL, PROBABILITIES, SCORES):
        output = signature.output(name)
        if output is not None and output.classes:
            return output.classes
    return ()


def enumerated(names: Sequence[str], most: int) -> str:
    """Return the first `most` of `names` joined, and how many more there are."""
    shown = ", ".join(names[:most])
    rest = len(names) - most
    if rest <= 0:
        return shown
    return ngettext("%(shown)s and %(rest)s more", "%(shown)s and %(rest)s more", rest) % {
        "shown": shown,
        "rest": count(rest),
    }


def parity(found: Mapping[str, Any], *, has_decisions: bool) -> str:
    """Return what the parity gate measured, in one line; empty when it measured nothing."""
    parts = []
    if (rows := found.get("rows")) is not None:
        text = (
            ngettext("%(rows)s made-up row", "%(rows)s made-up rows", rows)
            if found.get("synthetic")
            else ngettext("%(rows)s row", "%(rows)s rows", rows)
        )
        parts.append(text % {"rows": count(rows)})
    if (largest := found.get("max")) is not None:
        parts.append(_("max difference %(largest)s") % {"largest": _one_digit(largest)})
    if has_decisions and (differ := found.get("labels_differ")) is not None:
        parts.append(
            ngettext("%(count)s decision differs", "%(count)s decisions differ", differ) % {"count": count(differ)}
        )
    return ", ".join(parts)


def opened(sandbox: str, names: Sequence[str]) -> str:
    """Return how a version's file was opened, and what it asked for by name; nothing where nothing was opened."""
    if not sandbox:
        return ""
    sentences = [_("Its file was opened in a sandbox of level %(level)s.") % {"level": sandbox}]
    for told, found in (
        (gettext_lazy("It asks for what no model needs: %(names)s."), dangerous_among(names)),
        (gettext_lazy("It asks for names of no known library: %(names)s."), unknown_among(names)),
    ):
        if found:
            sentences.append(str(told) % {"names": enumerated(found, NAMED_GLOBALS)})
    if names and len(sentences) == 1:
        sentences.append(_("All that it asks for is of libraries for models."))
    return " ".join(sentences)


def trained_with(libraries: Sequence[Library], *, is_compiled: bool) -> str:
    """Return what a model was trained with, what is here, and whether that matters; nothing where nothing is known."""
    different = [library for library in libraries if library.here != library.trained]
    if not libraries:
        return ""
    if not different:
        told = _("Trained with %(names)s, as installed here.")
        return told % {"names": ", ".join(f"{library.name} {library.trained}" for library in libraries)}
    sentences = [
        (
            _("Trained with %(name)s %(trained)s, running %(here)s.")
            if library.here
            else _("Trained with %(name)s %(trained)s, which is not installed here.")
        )
        % {"name": library.name, "trained": library.trained, "here": library.here}
        for library in different
    ]
    matters = (
        _("It does not matter: the compiled version needs no training library.")
        if is_compiled
        else _("This version runs in that library, and may answer otherwise: trivet verify says whether it does.")
    )
    return " ".join([*sentences, matters])


def runs_with(libraries: Sequence[Library]) -> str:
    """Return what a model was trained with that runs in an environment of its own; nothing where nothing is known."""
    if not libraries:
        return ""
    told = _("Trained with %(names)s, and runs in an environment of its own that has it.")
    return told % {"names": ", ".join(f"{library.name} {library.trained}" for library in libraries)}


def actor(named: str) -> str:
    """Return who `user:ana`, `cli:ana`, `key:abcd` or `process:probe` is."""
    kind, colon, name = named.partition(":")
    if not colon:
        return named
    words = {
        "user": "%(name)s",
        "cli": _("%(name)s (command line)"),
        "key": _("API key %(name)s"),
        "process": _("%(name)s (process)"),
    }
    return words.get(kind, named.replace("%", "%%")) % {"name": name}


def event(action: str, version: int | None, after: Mapping[str, Any]) -> str:
    """Return what an Event tells, as the end of a sentence that begins with its actor."""
    about = {
        "version": version,
        "case": after.get("case"),
        "number": after.get("proposal"),
        "bundles": len(after.get("digests") or ()),
        "wanted": after.get("action"),
        "days": after.get("days"),
        "principal": after.get("principal"),
        "verbs": ", ".join(after.get("verbs") or ()) or _("nothing"),
        "shares": _shares(after.get("routes") or {}) + _handling(after),
    }
    words = {
        "register_version": _("registered version %(version)s"),
        "register_again": _("registered version %(version)s again, which was retired"),
        "erase_inputs": _("erased inputs that were older than they are kept"),
        "prune_bundles": _("pruned %(bundles)s bundles"),
        "mark_ready": _("let version %(version)s take traffic: it passed its probe"),
        "reject_version": _("rejected version %(version)s"),
        "promote": _("promoted version %(version)s"),
        "sign_version": _("signed version %(version)s"),
        "refuse_promotion": _("wanted to promote version %(version)s and was refused"),
        "refuse": _("wanted %(wanted)s and was refused"),
        "propose": _("proposed version %(version)s, as proposal %(number)s")
        if version
        else _("proposed another split, as proposal %(number)s"),
        "decline": _("closed proposal %(number)s"),
        "grant": _("let %(principal)s do: %(verbs)s"),
        "revoke_grant": _("left %(principal)s: %(verbs)s"),
        "roll_back": _("rolled back to version %(version)s"),
        "set_routes": _("shared the traffic: %(shares)s"),
        "load": _("had version %(version)s loaded") if version else _("had it loaded again"),
        "unload": _("had version %(version)s unloaded") if version else _("had it unloaded"),
        "give_up_inline": _("had version %(version)s run in model workers on one machine"),
        "set_alias": _("moved an alias to version %(version)s") if version else _("removed an alias"),
        "add_golden_case": _("kept golden case %(case)s"),
        "remove_golden_case": _("took a golden case away"),
        "acknowledge_alert": _("looks after an alert"),
        "snooze_alert": _("had nobody told of an alert for a while"),
        "accept_as_normal": ngettext(
            "took the last %(days)s day of version %(version)s for what is normal",
            "took the last %(days)s days of version %(version)s for what is normal",
            after.get("days") or 0,
        ),
        "set_anonymous": _("opened it to callers without a key")
        if after.get("anonymous")
        else _("closed it to callers without a key"),
    }
    sentence = words[action] % about if action in words else action
    if second := after.get("approved_by"):
        sentence += _("; approved by %(who)s") % {"who": actor(second)}
    if after.get("more"):
        sentence += _("; of this minute, what else was refused to them stands in the server's log")
    return sentence


def _handling(after: Mapping[str, Any]) -> str:
    """Return what else an Event says of traffic, each part behind a semicolon."""
    parts = []
    if shadows := after.get("shadows"):
        parts.append(_("shadow %(shares)s") % {"shares": _shares(shadows)})
    if sticky_by := after.get("sticky_by"):
        parts.append(_("sticky by %(input)s") % {"input": sticky_by})
    if fallback := after.get("fallback"):
        steps = [_("a constant") if isinstance(step, dict) else str(step) for step in fallback]
        parts.append(_("fallback %(steps)s") % {"steps": ", ".join(steps)})
    return "".join(f"; {part}" for part in parts)


def output_value(value: Any, unit: str) -> str:
    """Return a number the model gave, with its unit, or a word as it is."""
    if isinstance(value, str):
        return value
    return f"{number(value)} {unit}".rstrip()


def _chooses(signature: Signature) -> str:
    classes = classes_of(signature)
    if targets := sum(output.name.startswith(LABEL_OF_A_TARGET) for output in signature.outputs):
        return _("Makes %(count)s decisions") % {"count": count(targets)}
    if not classes:
        return _("Chooses a class")
    if len(classes) == 2:
        return _("Decides between “%(first)s” and “%(second)s”") % {"first": classes[0], "second": classes[1]}
    return _("Chooses one of %(count)s classes (%(names)s)") % {
        "count": count(len(classes)),
        "names": enumerated(classes, NAMED_CLASSES),
    }


def _estimates(signature: Signature) -> str:
    if len(signature.outputs) > 1:
        return _("Estimates %(names)s") % {"names": enumerated([o.name for o in signature.outputs], NAMED_CLASSES)}
    unit = signature.outputs[0].unit if signature.outputs else ""
    return _("Estimates a number in %(unit)s") % {"unit": unit} if unit else _("Estimates a number")


def _judges(_signature: Signature) -> str:
    return _("Tells whether a row is unusual")


def _groups(_signature: Signature) -> str:
    return _("Assigns a row to a group")


def _computes(signature: Signature) -> str:
    return _("Computes %(names)s") % {"names": enumerated([o.name for o in signature.outputs], NAMED_CLASSES)}


def _from_inputs(signature: Signature) -> str:
    names = signature.field_names or tuple(tensor.name for tensor in signature.inputs)
    values = {"count": count(len(names)), "names": enumerated(names, NAMED_INPUTS)}
    return ngettext("from %(count)s input: %(names)s", "from %(count)s inputs: %(names)s", len(names)) % values


def _shares(routes: Mapping[str, int]) -> str:
    return ", ".join(
        _("%(weight)s %% to version %(version)s") % {"weight": weight, "version": version}
        for version, weight in routes.items()
    )


def _one_digit(value: float) -> str:
    return f"{value:.0e}".replace("e-0", "e-") if value else "0"
