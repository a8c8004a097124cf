"""C8: whatever is changed, added, removed or linked in a bundle's folder is refused and named."""

import json

import msgspec
import pytest

from trivet.core.errors import BundleError
from trivet.core.signature import Input, Output, Signature
from trivet.model.bundle.bundle import make_bundle, read_bundle, write_bundle
from trivet.model.bundle.manifest import MANIFEST_NAME, Manifest, decode_manifest, encode_manifest

SIGNATURE = Signature(
    inputs=(Input(name="x", datatype="FP64", shape=(-1, 1)),),
    outputs=(Output(name="prediction", datatype="FP64", shape=(-1,)),),
)


@pytest.fixture
def bundle():
    manifest = Manifest(format=1, runtime="onnx", signature=SIGNATURE, files=())
    return make_bundle(manifest, {"model.onnx": b"graph" * 100, "sample.jsonl": b"{}\n"})


@pytest.fixture
def folder(bundle, tmp_path):
    write_bundle(bundle, tmp_path / "bundle")
    return tmp_path / "bundle"


def test_what_was_written_is_read_back_equal(bundle, folder):
    again = read_bundle(folder, bundle.digest)
    assert (again.digest, dict(again.files), again.manifest) == (bundle.digest, dict(bundle.files), bundle.manifest)


@pytest.mark.parametrize("name", ["model.onnx", "sample.jsonl", MANIFEST_NAME])
@pytest.mark.parametrize("place", [0, -1])
def test_one_flipped_bit_is_refused_and_the_file_named(name, place, bundle, folder):
    data = bytearray((folder / name).read_bytes())
    data[place] ^= 1
    (folder / name).write_bytes(data)
    with pytest.raises(BundleError, match=name):
        read_bundle(folder, bundle.digest)


def test_an_extra_file_is_refused_and_named(bundle, folder):
    (folder / "notes.txt").write_text("hello")
    with pytest.raises(BundleError, match=r"extra file 'notes\.txt'"):
        read_bundle(folder, bundle.digest)


@pytest.mark.parametrize("name", ["model.onnx", MANIFEST_NAME])
def test_a_missing_file_is_refused_and_named(name, bundle, folder):
    (folder / name).unlink()
    with pytest.raises(BundleError, match=name):
        read_bundle(folder, bundle.digest)


@pytest.mark.parametrize("size", [0, 499, 501])
def test_a_shorter_or_longer_file_is_refused(size, bundle, folder):
    (folder / "model.onnx").write_bytes((b"graph" * 101)[:size])
    with pytest.raises(BundleError, match=r"model\.onnx was changed"):
        read_bundle(folder, bundle.digest)


@pytest.mark.parametrize("name", ["model.onnx", MANIFEST_NAME])
def test_a_link_is_refused_even_to_the_right_bytes(name, bundle, folder, tmp_path):
    (folder / name).rename(tmp_path / "elsewhere")
    (folder / name).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(BundleError, match="plain file"):
        read_bundle(folder, bundle.digest)


@pytest.mark.parametrize("path", ["../x", "/etc/passwd", "model.onnx/../../x", "code.py", "", "MODEL.ONNX"])
def test_a_manifest_may_name_only_the_files_of_a_bundle(path, bundle):
    plain = msgspec.to_builtins(bundle.manifest)
    plain["files"][0]["path"] = path
    with pytest.raises(BundleError, match="not a file of a bundle"):
        decode_manifest(json.dumps(plain).encode())


def test_a_file_named_twice_is_refused(bundle):
    plain = msgspec.to_builtins(bundle.manifest)
    plain["files"] = [plain["files"][0], plain["files"][0]]
    with pytest.raises(BundleError, match="twice"):
        decode_manifest(json.dumps(plain).encode())


@pytest.mark.parametrize("format_", [0, 2, 999])
def test_an_unknown_format_is_refused_before_anything_else_is_read(format_):
    with pytest.raises(BundleError, match=f"bundle format {format_} is unknown"):
        decode_manifest(json.dumps({"format": format_, "anything": "else"}).encode())


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"\xff\xfe", b"[" * 100_000, b'{"format": 1}'])
def test_what_is_no_manifest_is_refused(data):
    with pytest.raises(BundleError):
        decode_manifest(data)


def test_canonical_bytes_do_not_depend_on_the_order_things_were_put_in(bundle):
    one = msgspec.structs.replace(bundle.manifest, source={"a": 1, "b": {"c": 2, "d": 3}})
    two = msgspec.structs.replace(bundle.manifest, source={"b": {"d": 3, "c": 2}, "a": 1})
    assert encode_manifest(one) == encode_manifest(two)
    assert decode_manifest(encode_manifest(one)) == one


def test_a_bundle_is_written_once(bundle, folder):
    with pytest.raises(BundleError, match="written once"):
        write_bundle(bundle, folder)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), [1.0, {"x": float("-inf")}]])
def test_a_manifest_cannot_hold_what_json_cannot(value, bundle):
    with pytest.raises(BundleError, match="NaN or infinity"):
        encode_manifest(msgspec.structs.replace(bundle.manifest, parity={"max": value}))


def test_a_whole_number_in_a_signature_does_not_change_the_digest_on_its_way(tmp_path):
    signature = Signature(inputs=(Input(name="x", datatype="FP64", shape=(-1, 1), low=0, high=1),), outputs=())
    made = make_bundle(Manifest(format=1, runtime="onnx", signature=signature, files=()), {"model.onnx": b"x"})
    write_bundle(made, tmp_path / "b")
    assert read_bundle(tmp_path / "b", made.digest).digest == made.digest
