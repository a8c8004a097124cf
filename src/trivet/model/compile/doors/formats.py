"""Formats: what a file is, told by its first kilobyte and never by its name. Reads, and runs nothing."""

from __future__ import annotations

import re
from typing import NamedTuple

from trivet.core.errors import CompileError

HEAD_BYTES = 1024
PICKLE_PROTOCOLS = range(2, 6)
PICKLE, ZIP, ONNX, PARCEL = "pickle", "zip", "onnx", "parcel"
XGBOOST_JSON, XGBOOST_UBJ, LIGHTGBM, CATBOOST = "xgboost.json", "xgboost.ubj", "lightgbm", "catboost"
COMPRESSIONS = ("zlib", "gzip", "bz2", "xz", "lzma", "lz4")
PARCEL_MAGIC = b"\x92TRIVET PARCEL 1\n"  # what `trivet.push` makes of a torch or Keras model: a graph, rows and answers

_MAGICS = {
    b"\x1f\x8b": "gzip",
    b"BZh": "bz2",
    b"\xfd7zXZ\x00": "xz",
    b"\x5d\x00\x00": "lzma",
    b"\x04\x22\x4d\x18": "lz4",
    b"PK\x03\x04": ZIP,
    b"tree\n": LIGHTGBM,
    b"CBM1": CATBOOST,
    PARCEL_MAGIC: PARCEL,
}
_EXPORT = "Export it to ONNX where it was trained: trivet.push(model, ...) does that from a notebook."
_R = ("R", "it is an R file. R models are not served: retrain in Python, or export to ONNX from R.")
_PROGRAM = ("program", "it is a program.")
_PMML = "which is not served: push the estimator itself, or an ONNX export of it."
REFUSED = {  # by its first bytes: what it is, and why it is not read
    b"\x89HDF": ("HDF5", f"it is HDF5 (Keras .h5?), and opening it can run code. {_EXPORT}"),
    b"RDX": _R,
    b"RDA": _R,
    b"X\n\x00\x00\x00": _R,
    b"<?xml": ("XML", f"it is XML (PMML?), {_PMML}"),
    b"<PMML": ("PMML", f"it is PMML, {_PMML}"),
    b"<": ("HTML or XML", "it is a page of HTML or XML: was it downloaded without its key?"),
    b"\x7fELF": _PROGRAM,
    b"#!": _PROGRAM,
    b"\x93NUMPY": ("NumPy array", "it is a NumPy array: push the estimator that was trained, as joblib."),
    b"\x28\xb5\x2f\xfd": ("zstd", "it is compressed with zstd, which is not read: save it with compress=('zlib', 3)."),
    b"version https://git-lfs": ("Git LFS pointer", "it is a pointer of Git LFS: run `git lfs pull` first."),
}
_OLD_PICKLE = re.compile(rb"c[A-Za-z_][\w.]*\n[A-Za-z_]\w*\n|\((?:dp|lp|i|c[A-Za-z_])|[\]}]q\x00")
_JSON = re.compile(rb'\{\s*"')
_UBJ = re.compile(rb"\{[iUIlL\$#]")  # a key's length with its type, which no JSON text may hold there
_ONNX = re.compile(
    rb"\x08[\x01-\x7f][\x12\x1a\x22\x28\x32\x3a\x42\x72\xa2\xca]"
)  # ir_version, then a field of ModelProto


class Format(NamedTuple):
    """What a file is: a name of this module, or the compression around a pickle."""

    name: str

    @property
    def is_compressed(self) -> bool:
        """True for a compression, inside which only a pickle is read."""
        return self.name in COMPRESSIONS


def recognise(head: bytes) -> Format:
    """Return what a file is that begins with `head`; raises `CompileError` with the reason and the way out otherwise."""
    if len(head) > 1 and head[0] == 0x80 and head[1] in PICKLE_PROTOCOLS:
        return Format(PICKLE)
    for magic, name in _MAGICS.items():
        if head.startswith(magic):
            return Format(name)
    if _is_zlib(head):
        return Format("zlib")
    if _JSON.match(head):
        return Format(XGBOOST_JSON)
    if _UBJ.match(head):
        return Format(XGBOOST_UBJ)
    if _ONNX.match(head):
        return Format(ONNX)
    if refused := _refused(head):
        raise CompileError(f"this file cannot be compiled: {refused[1]}")
    if _OLD_PICKLE.match(head):
        raise CompileError(
            "this file cannot be compiled: it looks like a pickle of protocol 0 or 1, which has no mark to know it by. "
            "Save it again with joblib, or with pickle.dump(model, file, protocol=5)."
        )
    raise CompileError(
        "this file is no trained object: its first bytes are of no known format. Known are joblib, pickle, skops, ONNX, "
        "XGBoost's .json and .ubj, LightGBM's .txt, CatBoost's .cbm, and a model directory of MLflow."
    )


def name_of_refused(head: bytes) -> str:
    """Return what a file is that begins with `head` and is known but not read; empty for one that is not known."""
    refused = _refused(head)
    return refused[0] if refused else ""


def _refused(head: bytes) -> tuple[str, str] | tuple[()]:
    begins = head.lstrip(b"\xef\xbb\xbf \t\r\n")
    return next((told for magic, told in REFUSED.items() if begins.startswith(magic)), ())


def _is_zlib(head: bytes) -> bool:
    """True for a zlib stream: deflate, and a check over its first two bytes (RFC 1950)."""
    return len(head) > 1 and head[0] == 0x78 and int.from_bytes(head[:2], "big") % 31 == 0
