"""What the names that a trained file asks for tell of it. A remark for people, never a boundary: the sandbox is one."""

from __future__ import annotations

from collections.abc import Iterable

# fmt: off
LIBRARIES = {  # by the module that a name begins with
        "_loss": "scikit-learn",  # what its compiled losses call their module
        "catboost": "catboost", "joblib": "joblib", "lightgbm": "lightgbm", "numpy": "numpy", "pandas": "pandas",
        "scipy": "scipy", "sklearn": "scikit-learn", "skops": "skops", "xgboost": "xgboost"
}
KNOWN = frozenset(LIBRARIES) | {
        "_codecs", "array", "builtins", "collections", "copyreg", "datetime", "decimal", "fractions", "numbers", "uuid"
}
HARMLESS_BUILTINS = frozenset({
        "bool", "bytearray", "bytes", "complex", "dict", "float", "frozenset", "int", "list", "object", "range",
        "set", "slice", "str", "tuple", "type"
})
DANGEROUS = frozenset({
        "asyncio", "bdb", "code", "codeop", "commands", "concurrent", "ctypes", "distutils", "http", "imaplib",
        "importlib", "inspect", "io", "marshal", "multiprocessing", "nt", "ntpath", "os", "pathlib", "pdb",
        "pickle", "pip", "pkgutil", "platform", "posix", "posixpath", "pty", "pydoc", "requests", "runpy",
        "shelve", "shutil", "signal", "site", "smtplib", "socket", "ssl", "subprocess", "sys", "tempfile",
        "threading", "timeit", "trace", "types", "urllib", "venv", "webbrowser", "zipimport", "_io", "_pickle",
        "_posixsubprocess"
})
# fmt: on
DANGEROUS_NAMES = frozenset(
    {
        "joblib.numpy_pickle.load",
        "joblib.load",
        "numpy.load",
        "numpy.f2py.compile",
        "numpy.testing._private.utils.runstring",
        "operator.attrgetter",
        "operator.methodcaller",
        "pandas.eval",
        "pandas.read_pickle",
        "pandas.io.pickle.read_pickle",
    }
)


def dangerous_among(names: Iterable[str]) -> tuple[str, ...]:
    """Return those that reach beyond a model: programs, files, the network, code."""
    return tuple(name for name in names if _is_dangerous(name))


def unknown_among(names: Iterable[str]) -> tuple[str, ...]:
    """Return those of modules that no trained model of a known library needs: the author's own, or worse."""
    return tuple(name for name in names if name.partition(".")[0] not in KNOWN and not _is_dangerous(name))


def library_of(name: str) -> str:
    """Return the library that trains models which `name` is of; empty for all else."""
    return LIBRARIES.get(name.partition(".")[0], "")


def _is_dangerous(name: str) -> bool:
    module, _, attribute = name.rpartition(".")
    if module == "builtins":
        return attribute not in HARMLESS_BUILTINS
    return name in DANGEROUS_NAMES or name.partition(".")[0] in DANGEROUS
