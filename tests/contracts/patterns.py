"""Every regular expression of the source, how it is used, and texts that a slow one would choke on."""

from __future__ import annotations

import ast
import random
import re
import re._parser as parser  # type: ignore[import-untyped]  # private, and the one that compiles what is attacked
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import trivet

SOURCE = Path(trivet.__file__).parent
METHODS = {"match", "fullmatch", "search", "sub", "subn", "split", "findall", "finditer"}
OFTEN = 2  # how many times more than it must be a repeat is written in an example
BREAKS = ("", "!", "\n", "\0\0")  # at the end, so that what was taken has to be given back
CLASSES = {"CATEGORY_DIGIT": "0", "CATEGORY_SPACE": " ", "CATEGORY_WORD": "a"}
_MENTION = re.compile(r"\bre\.|\bRegexValidator\b")
OTHERS = "!~ \nZz9é"  # candidates for what a set leaves out


@dataclass(frozen=True)
class Pattern:
    """One expression as one method runs it."""

    place: str  # module and line
    expression: str | bytes
    flags: int
    method: str

    def __str__(self) -> str:
        return f"{self.place} {self.method} {self.expression!r}"

    @property
    def compiled(self) -> re.Pattern[Any]:
        return re.compile(self.expression, self.flags)

    def run(self, text: str | bytes) -> None:
        """Run it to its end, whatever it finds."""
        if self.method in ("sub", "subn"):
            getattr(self.compiled, self.method)(b"" if isinstance(text, bytes) else "", text)
        elif self.method == "finditer":
            list(self.compiled.finditer(text))
        else:
            getattr(self.compiled, self.method)(text)


def patterns() -> list[Pattern]:
    """Return every expression that stands in the source, once for each method that is called on it."""
    found = []
    for path in (path for path in _modules() if _MENTION.search(_text(path))):
        names, chained = _names_of_values(path), _methods_of_values(path)
        for call in (node for node in _nodes(path) if isinstance(node, ast.Call)):
            how = _function_of_re(call)
            if how is None:
                continue
            if how == "RegexValidator":
                methods = {"search"}
            elif call in chained:
                methods = {chained[call]}
            elif how == "compile":
                name = names.get(call, "")
                where = [path] if name.startswith("_") else [one for one in _modules() if name in _text(one)]
                methods = {method for one in where for method in _methods_called(one).get(name, ())} or {"search"}
            else:
                methods = {how}
            expression, flags = _value_of(path, call)
            place = f"{path.relative_to(SOURCE)}:{call.lineno}"
            found += [Pattern(place, expression, flags, method) for method in sorted(methods)]
    return found


def imports_of_re() -> Iterator[str]:
    """Yield the places that import `re` otherwise than by its name, where `patterns` would not see it used."""
    for path in _modules():
        for node in _nodes(path):
            from_re = isinstance(node, ast.ImportFrom) and node.module in ("re", "regex", "fnmatch", "glob")
            renamed = isinstance(node, ast.Import) and any(
                (alias.name == "re" and alias.asname) or alias.name in ("regex", "re2", "fnmatch")
                for alias in node.names
            )
            if from_re or renamed:
                yield f"{path.relative_to(SOURCE)}:{node.lineno}"


def attacks(pattern: Pattern, length: int, *, seed: int, most: int) -> Iterator[str | bytes]:
    """Yield texts of about that many characters: a beginning that fits, a piece of what fits, again and again, and a break."""
    chance = random.Random(f"{seed} {pattern}")
    example = "".join(_fitting(parser.parse(pattern.expression, pattern.flags), chance))
    pieces = {(i, j) for i in range(len(example)) for j in range(i + 1, min(i + 4, len(example) + 1))}
    pieces |= {(0, j) for j in range(1, len(example) + 1)} | {(i, len(example)) for i in range(len(example))}
    for i, j in sorted(chance.sample(sorted(pieces), min(most, len(pieces)))):
        for end in BREAKS:
            text = example[:i] + example[i:j] * (length // (j - i)) + end
            yield text.encode("latin-1", "replace") if isinstance(pattern.expression, bytes) else text


@cache
def _modules() -> list[Path]:
    return sorted(SOURCE.rglob("*.py"))


@cache
def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8")


@cache  # every process that collects tests looks at the source: once
def _nodes(path: Path) -> list[ast.AST]:
    return list(ast.walk(ast.parse(_text(path))))


def _function_of_re(call: ast.Call) -> str | None:
    match call.func:
        case ast.Attribute(value=ast.Name(id="re"), attr=attr) if attr in METHODS | {"compile"}:
            return attr
        case ast.Name(id="RegexValidator") | ast.Attribute(attr="RegexValidator"):
            return "RegexValidator"
    return None


@cache
def _methods_called(path: Path) -> Mapping[str, set[str]]:
    """Return which methods of expressions are called, or handed on, by the last name of what they are called on."""
    found: dict[str, set[str]] = {}
    for node in _nodes(path):
        if isinstance(node, ast.Attribute) and node.attr in METHODS:
            owner = node.value
            name = owner.id if isinstance(owner, ast.Name) else owner.attr if isinstance(owner, ast.Attribute) else ""
            found.setdefault(name, set()).add(node.attr)
    return found


def _names_of_values(path: Path) -> Mapping[ast.AST, str]:
    """Return the name that each value of an assignment gets."""
    return {
        node.value: node.targets[0].id
        for node in _nodes(path)
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
    }


def _methods_of_values(path: Path) -> Mapping[ast.AST, str]:
    """Return the method that is taken at once of each value: `re.compile(...).search`."""
    return {node.value: node.attr for node in _nodes(path) if isinstance(node, ast.Attribute) and node.attr in METHODS}


def _value_of(path: Path, call: ast.Call) -> tuple[str | bytes, int]:
    """Return the expression and the flags of a call, which are made of literals and of names of the module."""
    compiling = isinstance(call.func, ast.Attribute) and call.func.attr == "compile"
    given = [
        *call.args[:1],
        *(call.args[1:2] if compiling else []),
        *(k.value for k in call.keywords if k.arg == "flags"),
    ]
    if not compiling and isinstance(call.func, ast.Attribute):
        given += [a for a in call.args[2:] if ast.unparse(a).startswith("re.")]
    plain = all(isinstance(node, ast.Constant) for node in given)
    module = ".".join(("trivet", *path.relative_to(SOURCE).with_suffix("").parts)).removesuffix(".__init__")
    names = {} if plain else vars(import_module(module))
    values = [eval(compile(ast.Expression(node), str(path), "eval"), names) for node in given]
    return values[0], int(values[1]) if len(values) > 1 else 0


def _fitting(tree: Any, chance: random.Random) -> Iterator[str]:
    """Yield the characters of a text that a parsed expression takes, but for what it looks at around itself."""
    for operation, argument in tree:
        match str(operation):
            case "LITERAL":
                yield chr(argument)
            case "NOT_LITERAL":
                yield next(c for c in OTHERS if ord(c) != argument)
            case "ANY":
                yield chance.choice("a.`'")
            case "IN":
                yield _one_of(argument, chance)
            case "BRANCH":
                yield from _fitting(chance.choice(argument[1]), chance)
            case "SUBPATTERN":
                yield from _fitting(argument[-1], chance)
            case "MAX_REPEAT" | "MIN_REPEAT" | "POSSESSIVE_REPEAT":
                least, most, inner = argument
                for _ in range(chance.randint(least, min(int(most), least + OFTEN))):
                    yield from _fitting(inner, chance)
            case "ATOMIC_GROUP":
                yield from _fitting(argument, chance)
            case "AT" | "ASSERT" | "ASSERT_NOT":
                pass
            case other:
                raise AssertionError(f"no example is known for {other}")


def _one_of(members: Any, chance: random.Random) -> str:
    operations = [str(operation) for operation, _ in members]
    if operations[0] == "NEGATE":
        refused = {c for c in OTHERS for member in members[1:] if c in _members(member)}
        return chance.choice([c for c in OTHERS if c not in refused])
    return chance.choice(_members(chance.choice(members)))


def _members(member: Any) -> str:
    """Return a few of the characters that one member of a set has, or those of `OTHERS` that it has."""
    operation, argument = member
    match str(operation):
        case "LITERAL":
            return chr(argument)
        case "RANGE":
            low, high = argument
            return "".join(sorted({chr(low), chr(high), *(c for c in OTHERS if low <= ord(c) <= high)}))
        case "CATEGORY":
            name = str(argument)
            test = {"DIGIT": str.isdigit, "SPACE": str.isspace, "WORD": lambda c: c.isalnum() or c == "_"}
            kind = name.rpartition("_")[2]
            negated = "_NOT_" in name
            return "".join(c for c in OTHERS + "a0 _" if test[kind](c) != negated)
    raise AssertionError(f"no member is known for {operation}")
