"""A signature is believed where a trusted key made it over exactly these files, and nowhere else."""

from __future__ import annotations

import base64
import json
import os
import re
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA384

from tests.unit.signing.conftest import PASSPHRASE
from trivet.core.errors import BundleError, InvalidRequest
from trivet.model.bundle.bundle import Bundle, make_bundle, read_bundle, write_bundle
from trivet.model.signing.envelope import SIGNATURE_LIMIT, encode_envelope, signed_bytes
from trivet.model.signing.keys import Signer, TrustedKey, read_signer, read_trusted_key
from trivet.model.signing.statement import encode_statement, files_of

THEIRS = Path(__file__).parent / "made_by_model_signing"
THEIR_TOOL = os.environ.get("TRIVET_TEST_MODEL_SIGNING", "")  # the path of model_signing, 1.0 or later
CURVES = ("p256", "p384", "p521")


def no_passphrase(path: Path) -> bytes:
    pytest.fail(f"nobody is asked for a passphrase of {path.name}")


def signer(keys: Path, name: str = "p256") -> Signer:
    return read_signer(keys / f"{name}.pem", no_passphrase)


def trusted(keys: Path, name: str = "p256") -> TrustedKey:
    return read_trusted_key(keys / f"{name}.pub.pem")


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return read_bundle(THEIRS / "bundle")


def resigned(keys: Path, payload: bytes, name: str = "p256") -> bytes:
    """Return `payload`, whatever it says, signed rightly: by someone who has the key and another tool."""
    one = signer(keys, name)
    signature = one.private.sign(signed_bytes(payload), ec.ECDSA(_hash_of(one)))
    return encode_envelope(payload, signature, one.key.fingerprint)


def _hash_of(one: Signer):
    from trivet.model.signing.keys import HASHES

    return HASHES[one.key.public.curve.name]


def changed(signature: bytes, change) -> bytes:
    """Return the file `signature` after `change` was done to its JSON."""
    told = json.loads(signature)
    change(told)
    return json.dumps(told).encode()


@pytest.mark.parametrize("name", ["p256", "p384"])
def test_what_the_tool_of_openssf_signed_is_verified_here(name, bundle):
    key = read_trusted_key(THEIRS / f"{name}.pub.pem")
    key.check((THEIRS / f"{name}.sig").read_bytes(), files_of(bundle))


@pytest.mark.parametrize("name", CURVES)
def test_what_was_signed_here_is_verified_here(name, keys, bundle):
    trusted(keys, name).check(signer(keys, name).sign(files_of(bundle)), files_of(bundle))


@pytest.mark.skipif(not THEIR_TOOL, reason="set TRIVET_TEST_MODEL_SIGNING to OpenSSF's model_signing to ask it")
@pytest.mark.parametrize("name", CURVES)
def test_what_was_signed_here_is_verified_by_the_tool_of_openssf(name, keys, bundle, tmp_path):
    folder, signature = tmp_path / bundle.digest, tmp_path / "signature"
    write_bundle(bundle, folder)
    signature.write_bytes(signer(keys, name).sign(files_of(bundle)))
    command = [THEIR_TOOL, "verify", "key", "--public_key", keys / f"{name}.pub.pem", "--signature", signature, folder]
    assert subprocess.run(command, check=False, capture_output=True).returncode == 0
    (folder / "model.onnx").write_bytes(b"another graph")
    assert subprocess.run(command, check=False, capture_output=True).returncode != 0


def test_the_signature_of_another_bundle_is_none(keys, bundle):
    other = make_bundle(bundle.manifest, {**bundle.files, "model.onnx": b"another graph"})
    with pytest.raises(BundleError, match=f"of another bundle than {bundle.digest[:12]}"):
        trusted(keys).check(signer(keys).sign(files_of(other)), files_of(bundle))


@pytest.mark.parametrize("file", ["model.onnx", "sample.jsonl"])
def test_a_statement_that_says_otherwise_of_one_file_or_leaves_it_out_is_refused(file, keys, bundle):
    files = files_of(bundle)
    for signed in ({**files, file: "0" * 64}, {name: digest for name, digest in files.items() if name != file}):
        with pytest.raises(BundleError, match=f"says of '{file}' something else"):
            trusted(keys).check(signer(keys).sign(signed), files)
    with pytest.raises(BundleError, match=r"says of 'extra\.txt' something else"):
        trusted(keys).check(signer(keys).sign({**files, "extra.txt": "0" * 64}), files)


def test_another_key_is_told_by_its_place(keys, bundle):
    signature = signer(keys, "other").sign(files_of(bundle))
    with pytest.raises(BundleError, match=r"not by the key .*p256\.pub\.pem"):
        trusted(keys).check(signature, files_of(bundle))


def test_a_signature_that_calls_itself_by_a_trusted_key_is_verified_all_the_same(keys, bundle):
    def lie(told):
        told["verificationMaterial"]["publicKey"]["hint"] = trusted(keys).fingerprint

    def say_nothing(told):
        del told["verificationMaterial"]["publicKey"]["hint"]

    for change in (lie, say_nothing):
        signature = changed(signer(keys, "other").sign(files_of(bundle)), change)
        with pytest.raises(BundleError, match="not by the key"):
            trusted(keys).check(signature, files_of(bundle))
    trusted(keys).check(changed(signer(keys).sign(files_of(bundle)), say_nothing), files_of(bundle))


def test_no_bit_of_the_payload_or_the_signature_can_be_changed(keys, bundle):
    whole, files = signer(keys).sign(files_of(bundle)), files_of(bundle)
    envelope = json.loads(whole)["dsseEnvelope"]
    for place in ("payload", "sig"):
        text = envelope["payload"] if place == "payload" else envelope["signatures"][0]["sig"]
        raw = base64.b64decode(text)
        for at in range(0, len(raw), 7):
            flipped = base64.b64encode(raw[:at] + bytes([raw[at] ^ 1]) + raw[at + 1 :]).decode()
            with pytest.raises(BundleError):
                trusted(keys).check(whole.replace(text.encode(), flipped.encode()), files)


def test_a_hash_that_is_not_the_curves_own_is_not_believed(keys, bundle):
    payload, one = encode_statement(files_of(bundle)), signer(keys)
    signature = one.private.sign(signed_bytes(payload), ec.ECDSA(SHA384()))
    with pytest.raises(BundleError, match="not by the key"):
        one.key.check(encode_envelope(payload, signature, one.key.fingerprint), files_of(bundle))


def test_a_payload_signed_without_its_type_is_not_believed(keys, bundle):
    payload, one = encode_statement(files_of(bundle)), signer(keys)
    signature = one.private.sign(payload, ec.ECDSA(_hash_of(one)))
    with pytest.raises(BundleError, match="not by the key"):
        one.key.check(encode_envelope(payload, signature, one.key.fingerprint), files_of(bundle))


def _envelope(**changes):
    return lambda told: told["dsseEnvelope"].update(changes)


ENVELOPES = {
    "two signatures": (lambda told: told["dsseEnvelope"]["signatures"].append({"sig": "AA=="}), "has 2 signatures"),
    "no signature": (_envelope(signatures=[]), "has 0 signatures"),
    "another payload type": (_envelope(payloadType="text/plain"), "is of type 'text/plain'"),
    "another media type": (lambda told: told.update(mediaType="application/json"), "is of type 'application/json'"),
    "a certificate": (
        lambda told: told.update(verificationMaterial={"x509CertificateChain": {"certificates": []}}),
        "no file of a signature by key",
    ),
    "a payload that is not base64": (_envelope(payload="§"), "no file of a signature by key"),
    "a message signature": (lambda told: told.pop("dsseEnvelope"), "no file of a signature by key"),
}


@pytest.mark.parametrize("name", ENVELOPES)
def test_an_envelope_that_is_not_one_signature_by_a_key_is_refused(name, keys, bundle):
    change, why = ENVELOPES[name]
    with pytest.raises(BundleError, match=why):
        trusted(keys).check(changed(signer(keys).sign(files_of(bundle)), change), files_of(bundle))


@pytest.mark.parametrize(
    "garbage", [b"", b"\x00\xff", b"{}", b"[" * 50_000, b"null", b'{"mediaType": 1}', b"-----BEGIN X-----"]
)
def test_garbage_is_no_signature(garbage, keys, bundle):
    with pytest.raises(BundleError, match="no file of a signature by key"):
        trusted(keys).check(garbage, files_of(bundle))


def test_a_huge_signature_is_not_read(keys, bundle):
    huge = changed(signer(keys).sign(files_of(bundle)), lambda told: told.update(padding="x" * SIGNATURE_LIMIT))
    with pytest.raises(BundleError, match="more than 65536 bytes"):
        trusted(keys).check(huge, files_of(bundle))


STATEMENTS = {
    "not JSON": (lambda _: None, "no statement about files"),
    "another statement": (lambda told: told.update(_type="x"), "is a 'x'"),
    "another predicate": (lambda told: told.update(predicateType="x"), "is a 'x'"),
    "parts of files": (lambda told: told["predicate"]["serialization"].update(method="shards"), "over 'shards'"),
    "another hash": (lambda told: told["predicate"]["resources"][0].update(algorithm="blake2b"), "by 'blake2b'"),
    "a file twice": (lambda told: told["predicate"]["resources"].append(told["predicate"]["resources"][0]), "twice"),
    "another subject": (lambda told: told["subject"][0]["digest"].update(sha256="0" * 64), "subject is not the files"),
    "two subjects": (lambda told: told["subject"].append(told["subject"][0]), "subject is not the files"),
    "no hexadecimal": (lambda told: told["predicate"]["resources"][0].update(digest="zz"), "not hexadecimal"),
}


@pytest.mark.parametrize("name", STATEMENTS)
def test_a_trusted_key_over_something_else_than_a_bundles_files_is_refused(name, keys, bundle):
    change, why = STATEMENTS[name]
    told = json.loads(encode_statement(files_of(bundle)))
    change(told)
    payload = b"\x00" if name == "not JSON" else json.dumps(told).encode()
    with pytest.raises(BundleError, match=why):
        trusted(keys).check(resigned(keys, payload), files_of(bundle))


@pytest.mark.parametrize("name", ["rsa", "ed25519", "k256"])
def test_a_key_of_another_kind_is_refused_as_trusted_and_as_signer(name, keys):
    for read in (lambda: trusted(keys, name), lambda: signer(keys, name)):
        with pytest.raises(InvalidRequest, match=f"{name}.* is no key of the elliptic curves P-256, P-384 or P-521"):
            read()


def test_a_private_key_is_not_trusted_and_a_public_one_does_not_sign(keys):
    with pytest.raises(InvalidRequest, match="is a private key, which nobody but its owner should have"):
        read_trusted_key(keys / "p256.pem")
    with pytest.raises(InvalidRequest, match="is no private key in PEM"):
        read_signer(keys / "p256.pub.pem", no_passphrase)


@pytest.mark.parametrize("read", [read_trusted_key, lambda path: read_signer(path, no_passphrase)])
def test_a_file_that_is_no_key_is_told_by_its_place_and_never_by_what_is_in_it(read, tmp_path):
    places = {name: tmp_path / name for name in ("missing", "garbage", "huge", "folder", "pipe")}
    places["garbage"].write_text("-----BEGIN PUBLIC KEY-----\nsecret\n-----END PUBLIC KEY-----\n")
    places["huge"].write_bytes(b"x" * 100_000)
    places["folder"].mkdir()
    os.mkfifo(places["pipe"])
    for place in places.values():
        with pytest.raises(InvalidRequest, match=re.escape(str(place))) as refused:
            read(place)
        assert "secret" not in refused.value.message


def test_a_passphrase_is_asked_for_only_where_one_is_needed(keys):
    assert read_signer(keys / "locked.pem", lambda _: PASSPHRASE).key.fingerprint
    with pytest.raises(InvalidRequest, match="cannot be opened with that passphrase"):
        read_signer(keys / "locked.pem", lambda _: b"wrong")


def test_a_key_that_others_may_read_is_known_as_such(keys, tmp_path):
    copy = tmp_path / "copy.pem"
    copy.write_bytes((keys / "p256.pem").read_bytes())
    for mode, is_open in ((0o600, False), (0o400, False), (0o640, True), (0o604, True)):
        copy.chmod(mode)
        assert read_signer(copy, no_passphrase).others_may_read is is_open


def test_nothing_shows_a_private_key(keys):
    one = signer(keys)
    assert "private" not in repr(one)
    assert one.key.fingerprint in repr(one)
