#!/usr/bin/env python
"""Writes docs/reference from the code: settings, command line, errors, Python. `--check` says which page is not up to date."""

from __future__ import annotations

import argparse
import ast
import dataclasses
import importlib
import inspect
import itertools
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import trivet
from trivet import checks, conf, signals
from trivet.cli import verb
from trivet.cli.arguments.options import add_common_options
from trivet.cli.main import EXIT_CODES
from trivet.cli.parser import VERBS
from trivet.core import errors
from trivet.core.errors import TrivetError
from trivet.dataplane.frontends.doors import DOORS
from trivet.dataplane.metrics.families import BOUNDS_NS, FAMILIES, UNKNOWN
from trivet.dataplane.protocol.catalogue import HTTP_STATUS
from trivet.features.aggregates import Related
from trivet.features.feature import Feature

REPOSITORY = Path(__file__).resolve().parents[1]
SOURCE = REPOSITORY / "src" / "trivet"
FOLDER = REPOSITORY / "docs" / "reference"
MADE = "<!-- Made by scripts/make_reference.py from the code; changes belong there. -->"
DEPENDS = {  # defaults that are read from the machine or the project
    conf.HOME: "`.trivet` in `BASE_DIR`",
    conf.WORKERS: "one per core",
    conf.KEY_PEPPER: "`SECRET_KEY`",
    conf.KEY_PEPPER_FALLBACKS: "`SECRET_KEY_FALLBACKS`",
}
STATUSES = {  # what the caller may do about it
    400: "the request is wrong; the sentence says where. Sent again, it fails again",
    401: "no key, or one that is unknown, expired or revoked",
    403: "the key is valid, but not for this verb",
    404: "no such model, version or path, or none that this key may know of",
    405: "`Allow` names the methods",
    408: "the body did not come in time",
    409: "somebody changed the registry first: look again",
    413: "more than `TRIVET_MAX_BODY_MB`",
    414: "the request line is too long",
    415: "send JSON, with binary tensors behind it if you like; plain, or as gzip or deflate",
    429: "ask again after `Retry-After` seconds",
    431: "too many headers, or too long ones",
    500: "a defect of Trivet; the server's log has the trace. Please report it",
    503: "not now: ask again after `Retry-After` seconds",
    504: "the answer would have come too late",
}
SUBMODULES = {
    "trivet.client": ("Client", "RowPrediction"),
    "trivet.serving.asgi": ("in_front_of",),
    "trivet.serving.wsgi": ("in_front_of",),
    "trivet.testing": ("override_predictor", "real_predictions", "PredictionAssertions", "Asked"),
}


def settings() -> str:
    """Return the page of the settings."""
    served = set(re.findall(r'"(TRIVET_\w+)":', (SOURCE / "server" / "settings.py").read_text(encoding="utf-8")))
    rows = [
        (f"`{one.name}`", _accepted(one), DEPENDS.get(one) or f"`{one.default()!r}`", _cell(one.doc))
        for one in conf.SETTINGS
    ]
    missing = [f"`{one.name}`" for one in conf.SETTINGS if one.name not in served]
    return _page(
        "Settings",
        "All are optional, and stand in Django's settings module. A project that `trivet init` made reads them from the"
        " environment or its `.env`" + (f" ({', '.join(missing)} excepted)." if missing else "."),
        _table(("setting", "accepts", "default", "what it is for"), rows),
        "## Beside them",
        'Bundles lie in `STORAGES["trivet"]` where there is one, else in `TRIVET_HOME`.'
        " The prediction paths answer the hosts of `ALLOWED_HOSTS`."
        " The project that `trivet init` makes also reads `SECRET_KEY`, `DATABASE_URL`"
        " (`postgres://user:password@host/name`), `REDIS_URL` (the entry `redis` of `CACHES`),"
        " `EMAIL_URL` (`smtp://user:password@host:port`, or `smtps://`), `DEFAULT_FROM_EMAIL`,"
        " `ALLOWED_HOSTS`, `CSRF_TRUSTED_ORIGINS` and `LOG_LEVEL` from there."
        " What the environment has comes before `.env`, and of two lines there the later one holds."
        " Every verb of `trivet` says which name is none of these, also in the environment where it is nearly one, and does"
        " nothing with a value that is not accepted (`trivet init` has made its folder by then, and goes on from there).",
        "## Checks",
        "What `manage.py check` says about them, and about what `ml.py` declares:",
        *(f"* `trivet.{_sentence(check.__doc__).replace(':', '`:', 1)}" for check in checks.ALL_CHECKS),
    )


def command_line() -> str:
    """Return the page of the verbs."""
    common = argparse.ArgumentParser()
    add_common_options(common)
    known = {action.dest for action in common._actions}
    parts = [
        "`trivet VERB` and `python manage.py trivet VERB` are the same. `MODEL[@V]`: V is a version's number or an alias"
        " (`champion`, `challenger`).",
        "Every verb takes:",
        _options(common, {"help"}),
    ]
    for one in VERBS:
        parser = argparse.ArgumentParser(prog=f"trivet {one.name}")
        one.arguments(parser)
        parts += [f"## {one.name}", f"{one.help[0].upper()}{one.help[1:]}.", *_verb(parser, known)]
    parts += ["## Exit codes", _table(("code", "means", "errors"), list(_exit_codes()))]
    return _page("Command line", *parts)


def error_codes() -> str:
    """Return the page of the errors."""
    raised = _raised()
    rows = []
    for status, advice in STATUSES.items():
        codes = [code for code, its in HTTP_STATUS.items() if its == status]
        now = ", ".join(f"`{code}`" for code in codes if code in raised) or "–"
        rows.append((str(status), advice, now))
    later = sorted(code for code in HTTP_STATUS if code not in raised)
    classes = [
        (
            f"`{one.__name__}`",
            f"`{one.__mro__[1].__name__}`" if one is not TrivetError else "",
            _cell(one.__doc__ or ""),
        )
        for one in _tree(TrivetError)
    ]
    return _page(
        "Errors",
        'Over HTTP an error is a status, `{"error": "a sentence"}`, and a code in the header `Trivet-Error`.'
        " `/predict` adds `errors`: for each bad row its number, field, code and sentence."
        " The sentence may change with a release; the codes do not.",
        _table(("status", "what to do", "codes"), rows),
        "In the catalogue, and given by no door of this release: " + ", ".join(f"`{code}`" for code in later) + ".",
        "## In Python",
        "The same sentences as exceptions, each with `.message` and `.code`. `trivet.TrivetError` catches them all;"
        " the others are in `trivet.core.errors`.",
        _table(("error", "is a", "means"), classes),
    )


def python() -> str:
    """Return the page of the public names."""
    parts = [
        "What is not here may change without notice. `import trivet` loads nothing: the names resolve on first use.",
        "## trivet",
    ]
    for name in trivet.__all__:
        parts += _described(name, getattr(trivet, name))
    for module, names in SUBMODULES.items():
        found = importlib.import_module(module)
        parts += [f"## {module}", _unwrapped(found.__doc__)]
        for name in names:
            parts += _described(name, getattr(found, name))
    parts += ["## trivet.signals", _unwrapped(signals.__doc__), *_signals()]
    parts += [
        "## trivet.models",
        "The tables, for reading: what changes the registry goes through the verbs, the console or the admin.",
        *_models(),
    ]
    return _page("Python", *parts)


def metrics() -> str:
    """Return the page of the metrics."""
    rows = [
        (f"`{one.name}`", one.kind, ", ".join(f"`{label}`" for label in one.labels), _cell(one.doc)) for one in FAMILIES
    ]
    bounds = ", ".join(f"{bound / 1e9:g}" for bound in BOUNDS_NS)
    return _page(
        "Metrics",
        "`GET /metrics` answers in Prometheus's text format, for a key that may view every model. Any worker tells of all"
        " processes of its host; gauges are sums over those that live, where nothing else is said.",
        _table(("metric", "kind", "labels", "what it tells"), rows),
        f"`model` is a registered name, or `{UNKNOWN}` for all that are not; `version` the number of the version that"
        " answered, empty where none was chosen; `protocol` the door: "
        + ", ".join(f"`{door}`" for door in (*dict.fromkeys(DOORS.values()), "python"))
        + "; `code` is `OK` or a [code of the errors](errors.md).",
        f"The bounds of a histogram are, in seconds: {bounds}.",
    )


def permissions() -> str:
    """Return the page of who may do what."""
    from django.apps import apps

    from trivet.control.registry.groups import SUGGESTED_GROUPS
    from trivet.control.registry.permissions import VERBS_OF_MODELS, VERBS_OF_REGISTRY

    told = {
        codename: words
        for model in apps.get_app_config("trivet").get_models()
        for codename, words in model._meta.permissions
    }
    told["view_registeredmodel"] = "Can see a model"

    def row(verb: str, codename: str) -> tuple[str, ...]:
        groups = [name for name, codenames in SUGGESTED_GROUPS.items() if codename in codenames]
        return (f"`{verb}`", f"`trivet.{codename}`", _cell(str(told[codename])), ", ".join(groups))

    header = ("verb", "Django permission", "it says", "suggested groups that have it")
    return _page(
        "Permissions",
        "A Django permission, given to a user or a group in Django's admin, holds for every model. A grant"
        " (`trivet grants add user:NAME --model M --verb V`) holds for one. Any grant includes `view`. Superusers may do"
        " everything, and whoever is disabled nothing. [How](../how-to/people-and-keys.md).",
        "## With a model",
        _table(header, [row(verb, codename) for verb, codename in VERBS_OF_MODELS.items()]),
        "## With the registry",
        "Of no single model, so not to be granted:",
        _table(header, [row(verb, codename) for verb, codename in VERBS_OF_REGISTRY.items()]),
        "Django's own permissions for the tables (`trivet.view_modelversion`, ...) show all rows of a table in Django's"
        " admin; without them one sees there the rows of the models that one may know of.",
    )


PAGES: dict[str, Callable[[], str]] = {
    "settings.md": settings,
    "command-line.md": command_line,
    "errors.md": error_codes,
    "metrics.md": metrics,
    "permissions.md": permissions,
    "python.md": python,
}


def main(arguments: list[str]) -> int:
    """Write the pages, or with `--check` return 1 when one is not what would be written."""
    _set_up()
    stale = [name for name, make in PAGES.items() if _read(FOLDER / name) != make()]
    for name in stale:
        if "--check" in arguments:
            sys.stdout.write(f"docs/reference/{name} is not what the code says: run scripts/make_reference.py\n")
        else:
            (FOLDER / name).write_text(PAGES[name](), encoding="utf-8")
    return 1 if stale and "--check" in arguments else 0


def _set_up() -> None:
    from django.conf import settings as django_settings

    import django

    if not django_settings.configured:
        apps = ["trivet", "django.contrib.auth", "django.contrib.contenttypes"]
        django_settings.configure(SECRET_KEY="only to read the models", INSTALLED_APPS=apps)  # noqa: S106
        django.setup()


def _accepted(setting: conf.Setting) -> str:
    """Return what a setting accepts: what it says of a value that nothing accepts."""
    try:
        setting.read(object())
    except ValueError as problem:
        return _cell(str(problem))
    raise AssertionError(setting.name)


def _verb(parser: argparse.ArgumentParser, known: set[str]) -> Iterator[str]:
    steps = next((a for a in parser._actions if isinstance(a, argparse._SubParsersAction)), None)
    if steps is None:
        yield _usage(parser, known)
        yield _options(parser, known)
        return
    helps = {choice.dest: choice.help or "" for choice in steps._choices_actions}
    for name, step in steps.choices.items():
        yield f"### {parser.prog.split()[1]} {name}"
        yield f"{helps[name][0].upper()}{helps[name][1:]}."
        yield _usage(step, known)
        yield _options(step, known)


def _usage(parser: argparse.ArgumentParser, known: set[str]) -> str:
    words = [parser.prog, *(_word(action) for action in parser._actions if action.dest not in known)]
    return f"```text\n{' '.join(words)}\n```"


def _word(action: argparse.Action) -> str:
    if not action.option_strings:
        return (
            f"[{action.metavar}{' ...' if action.nargs == '*' else ''}]"
            if action.nargs in ("?", "*")
            else str(action.metavar)
        )
    text = " ".join(filter(None, (action.option_strings[-1], _value(action))))
    return text if action.required else f"[{text}]"


def _value(action: argparse.Action) -> str:
    if action.nargs == 0:
        return ""
    return str(action.metavar or "/".join(map(str, action.choices or ())) or action.dest.upper())


def _options(parser: argparse.ArgumentParser, known: set[str]) -> str:
    rows = []
    for action in parser._actions:
        if action.dest in known:
            continue
        names = ", ".join(f"`{name}`" for name in action.option_strings) or f"`{action.metavar}`"
        value = f" `{_value(action)}`" if action.option_strings and _value(action) else ""
        rows.append((f"{names}{value}", _cell(action.help or "")))
    return _table(("option", "what it does"), rows) if rows else ""


def _exit_codes() -> Iterator[tuple[str, str, str]]:
    said = dict(re.findall(r"^([A-Z_]+) = \d+  # (.+)$", inspect.getsource(verb), re.MULTILINE))
    for name in ("DONE", "WRONG", "USAGE", "REFUSED", "NOT_FOUND", "OUT_OF_REACH", "INTERRUPTED"):
        code = getattr(verb, name)
        kinds = ", ".join(f"`{kind.__name__}`" for kind, its in EXIT_CODES if its == code)
        yield str(code), said.get(name, name.lower()), kinds


def _raised() -> set[str]:
    """Return the codes that stand in the code somewhere else than in the catalogue."""
    found = {kind.default_code for kind in _tree(TrivetError)}
    for path in SOURCE.rglob("*.py"):
        if path.name == "catalogue.py":
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.add(node.value)
    return found & set(HTTP_STATUS)


def _tree(kind: type[TrivetError]) -> Iterator[type[TrivetError]]:
    yield kind
    for child in kind.__subclasses__():
        if child.__module__ == errors.__name__:
            yield from _tree(child)


def _described(name: str, value: Any) -> Iterator[str]:
    yield f"### `{name}`"
    if inspect.ismodule(value):
        yield _unwrapped(value.__doc__)
        yield from _words(name, value)
        return
    if not inspect.isclass(value):
        prefix = "await " if inspect.iscoroutinefunction(value) else ""
        yield f"```text\n{prefix}{name}{_short(value)}\n```"
    yield _unwrapped(inspect.getdoc(value))
    if inspect.isclass(value) and not issubclass(value, Exception):
        yield from _members(name, value)


def _words(name: str, module: ModuleType) -> Iterator[str]:
    """Yield what each name of a module is, and once what several classes may say."""
    shared = {*Feature.__dataclass_fields__, *Related.__dataclass_fields__}
    for word in module.__all__:
        value = getattr(module, word)
        fields = dataclasses.fields(value) if dataclasses.is_dataclass(value) else ()
        arguments = [field.name for field in fields if field.name == "path" or field.name not in shared]
        said = f"({', '.join(arguments)})" if inspect.isclass(value) else ""
        text = inspect.getdoc(value if inspect.isclass(value) else type(value))
        yield f"* `{name}.{word}{said}`: " + _unwrapped(text).replace("\n\n", " ")
    yield "All of them: " + _unwrapped(Feature.__doc__).partition("\n\n")[2]
    yield "Those of many rows: " + _unwrapped(Related.__doc__)


def _members(name: str, kind: type) -> Iterator[str]:
    """Yield the fields of a class of values, or how another is made; then its methods."""
    if fields := getattr(kind, "__dataclass_fields__", None) or getattr(kind, "__struct_fields__", None):
        yield "Fields: " + ", ".join(f"`{field}`" for field in fields) + "."
    else:
        yield f"* `{name}{_short(kind)}`"
    for key, member in vars(kind).items():
        member = member.__func__ if isinstance(member, classmethod) else member  # noqa: PLW2901
        if inspect.isfunction(member) and not key.startswith("_"):
            text = _unwrapped(inspect.getdoc(member)).replace("\n\n", " ")
            yield f"* `.{key}{_short(member)}`: {text}"


def _short(value: Callable[..., Any]) -> str:
    """Return a signature without `self` and without the modules of its types."""
    text = re.sub(r"\((?:self|cls)(?:, )?", "(", str(inspect.signature(value)))
    return re.sub(r"\b(?:[a-z_]+\.)+([A-Z])", r"\1", text).replace("'", "")


def _signals() -> Iterator[str]:
    """Yield each signal with the text that stands under it."""
    body = ast.parse(inspect.getsource(signals)).body
    for here, below in itertools.pairwise(body):
        if isinstance(here, ast.Assign) and isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant):
            yield f"* `{ast.unparse(here.targets[0])}`: {_sentence(str(below.value.value))}"


def _models() -> Iterator[str]:
    from trivet import models

    for name in models.__all__:
        model = getattr(models, name)
        yield f"* `{name}`: {_sentence(model.__doc__)}"
    yield "### Columns of `Prediction`"
    columns = [
        (f"`{field.name}`", type(field).__name__, _cell(str(field.help_text)))
        for field in models.Prediction._meta.get_fields()
        if getattr(field, "column", None)
    ]
    yield _table(("column", "kind", ""), columns)


def _unwrapped(text: str | None) -> str:
    """Return a docstring with each paragraph on one line."""
    paragraphs = inspect.cleandoc(text or "").split("\n\n")
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)


def _sentence(text: str | None) -> str:
    """Return the first paragraph of a docstring."""
    return _unwrapped(text).split("\n\n")[0]


def _cell(text: str) -> str:
    return _sentence(text).replace("|", "\\|")


def _table(header: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = ["| " + " | ".join(cells) + " |" for cells in (header, ("---",) * len(header), *rows)]
    return "\n".join(lines)


def _page(title: str, *parts: str) -> str:
    """Return a page; items of a list stand together, all else apart."""
    text = f"{MADE}\n\n# {title}\n"
    before = ""
    for part in filter(None, parts):
        text += f"{'' if before.startswith('* ') and part.startswith('* ') else chr(10)}{part}\n"
        before = part
    return text


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.exists() else ""


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
