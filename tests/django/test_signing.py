"""Where a signature is required, what no trusted key signed gets no traffic and is not loaded; elsewhere nothing changes."""

from __future__ import annotations

import errno
import json
import os
from argparse import Namespace
from collections import Counter
from pathlib import Path

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.db import connection

from tests.django.command_line import trivet
from tests.django.worlds import bundle, live_model, ready, registered, trained_bundle
from tests.unit.signing.conftest import PASSPHRASE, write_keys
from trivet import checks
from trivet.cli.verb import Out
from trivet.cli.verbs.demo import demo
from trivet.control.registry import actions
from trivet.control.registry.models import Event, ModelVersion
from trivet.control.registry.pushing import push_file
from trivet.control.registry.signing import fetch_to_serve, signatures_of
from trivet.control.registry.snapshots import build_snapshot
from trivet.control.registry.storage import (
    BundleFolder,
    fetch_bundle,
    read_signature,
    signature_name,
    store_signature,
    stored_name,
)
from trivet.core.errors import BundleError, Conflict, Refused
from trivet.dataplane.engines.inline import InlineEngine
from trivet.dataplane.reconcile import Reconciler
from trivet.dataplane.table import EMPTY_TABLE
from trivet.model.bundle.bundle import make_bundle
from trivet.model.signing.envelope import SIGNATURE_LIMIT
from trivet.model.signing.keys import Signer, read_signer
from trivet.model.signing.statement import files_of
from trivet.serving import model_workers
from trivet.serving.wiring import build_plane

pytestmark = pytest.mark.django_db
WAYS = {
    "promote": lambda: actions.promote(model="churn", version=1, actor="cli:eve"),
    "routes": lambda: actions.set_routes(model="churn", routes={1: 10, 2: 90}, actor="cli:eve"),
    "shadow": lambda: actions.set_routes(model="churn", shadows={1: 100}, actor="cli:eve"),
    "fallback": lambda: actions.set_routes(model="churn", fallback=[1], actor="cli:eve"),
    "alias beside routes": lambda: actions.set_routes(model="churn", aliases={"challenger": 1}, actor="cli:eve"),
    "alias": lambda: actions.set_alias(model="churn", alias="challenger", version=1, actor="cli:eve"),
    "rollback": lambda: actions.roll_back(model="churn", actor="cli:eve"),
    "load": lambda: actions.load(model="churn", version=1, actor="cli:eve"),
}


@pytest.fixture(scope="module")
def keys(tmp_path_factory) -> Path:
    """A folder of PEM files: NAME.pem and NAME.pub.pem."""
    return write_keys(tmp_path_factory.mktemp("keys"))


@pytest.fixture
def required(settings, keys):
    """Return what requires signatures from now on, by one of the keys named."""

    def require(*names: str) -> None:
        settings.TRIVET_REQUIRE_SIGNATURE = True
        settings.TRIVET_TRUSTED_KEYS = [str(keys / f"{name}.pub.pem") for name in names or ("p256",)]

    return require


def signer(keys: Path, name: str = "p256") -> Signer:
    return read_signer(keys / f"{name}.pem", lambda _: PASSPHRASE)


def sign(version: ModelVersion, keys: Path, name: str = "p256") -> str:
    """Sign `version`, and return the name of the signature in the storage."""
    by = signer(keys, name)
    actions.sign_version(model=version.model.name, version=version.number, actor="cli:ana", by=by)
    return signature_name(version.digest, by.key.fingerprint)


def successor(keys: Path | None = None) -> ModelVersion:
    """Register another version that really runs, ready; signed where there are `keys`."""
    first = trained_bundle()
    sample = b"".join(first.files["sample.jsonl"].splitlines(keepends=True)[:60])
    another = make_bundle(first.manifest, {**first.files, "sample.jsonl": sample})
    by = signer(keys) if keys else None
    version = actions.register_version(name="churn", bundle=another, actor="cli:ana", signer=by)
    return actions.mark_ready(model="churn", version=version.number, actor="process:probe")


def worker() -> Reconciler:
    """A process that answers, as its settings are now."""
    return Reconciler([InlineEngine()], fetch_to_serve(), 1024)


def test_a_push_without_a_trusted_key_is_refused_before_the_file_is_opened(required, keys, tmp_path):
    required()
    nowhere = tmp_path / "model.joblib"
    with pytest.raises(Refused, match=r"TRIVET_REQUIRE_SIGNATURE is True: push with --sign KEY\.pem"):
        push_file(nowhere, name="churn", actor="cli:ana")
    with pytest.raises(Refused, match=r"other\.pem \(.*\) is none of TRIVET_TRUSTED_KEYS"):
        push_file(nowhere, name="churn", actor="cli:ana", signer=signer(keys, "other"))


def test_the_demonstration_says_before_it_trains_that_it_signs_nothing(required, tmp_path):
    required()
    with pytest.raises(Refused, match="start it where TRIVET_REQUIRE_SIGNATURE is not set"):
        demo(Namespace(dir=tmp_path, replay=False), Out())
    assert not list(tmp_path.iterdir())


def test_nothing_unsigned_is_registered_and_what_is_signed_is_told(required, keys):
    required()
    with pytest.raises(Refused, match="push with --sign"):
        registered()
    assert not ModelVersion.objects.exists()
    version = actions.register_version(name="churn", bundle=bundle(), actor="cli:ana", signer=signer(keys))
    assert Event.objects.get(action="register_version").after["signed_by"] == signer(keys).key.fingerprint
    assert [found.is_good for found in signatures_of(version)] == [True]


def test_an_unsigned_version_gets_no_traffic_by_any_way(required, keys):
    first, second = ready(2)
    for version in (first, second):
        actions.promote(model="churn", version=version.number, actor="cli:ana")
    required()
    sign(second, keys)
    for way in WAYS.values():
        with pytest.raises(Refused, match=r"churn 1 gets no traffic: .* signed by no key of TRIVET_TRUSTED_KEYS"):
            way()
    assert "signed by no key" in Event.objects.get(action="refuse_promotion").reason
    sign(first, keys)
    assert WAYS["promote"]().after["routes"] == {"1": 100}


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("way", WAYS)
def test_the_storage_is_asked_for_a_signature_while_nobody_waits_for_the_registry(way, required, keys, monkeypatch):
    for version in ready(2):
        sign(version, keys)
        actions.promote(model="churn", version=version.number, actor="cli:ana")
    required()
    asked = []
    really = BundleFolder._open

    def asking(self, name, mode="rb"):
        asked.append((name, connection.in_atomic_block))
        return really(self, name, mode)

    monkeypatch.setattr(BundleFolder, "_open", asking)
    WAYS[way]()
    first = ModelVersion.objects.get(number=1)
    assert (signature_name(first.digest, signer(keys).key.fingerprint), False) in asked
    assert not any(is_locked for _, is_locked in asked)


@pytest.mark.django_db(transaction=True)
def test_a_rollback_whose_way_changed_under_it_is_a_conflict(required, keys, monkeypatch):
    for version in ready(3):
        sign(version, keys)
        actions.promote(model="churn", version=version.number, actor="cli:ana")
    required()
    really = BundleFolder._open

    def meanwhile(self, name, mode="rb"):
        monkeypatch.setattr(BundleFolder, "_open", really)
        actions.roll_back(model="churn", actor="cli:ben")
        return really(self, name, mode)

    monkeypatch.setattr(BundleFolder, "_open", meanwhile)
    with pytest.raises(Conflict, match="churn changed while you decided"):
        actions.roll_back(model="churn", actor="cli:ana")
    assert ModelVersion.objects.resolve("churn", "champion").number == 2


def test_a_signature_that_is_not_over_the_version_gives_no_traffic(required, keys, home):
    first, second = ready(2)
    theirs = sign(first, keys)
    mine = sign(second, keys)
    (home / "bundles" / mine).write_bytes((home / "bundles" / theirs).read_bytes())
    required()
    with pytest.raises(Refused, match=f"the signature is of another bundle than {second.digest[:12]}"):
        actions.promote(model="churn", version=2, actor="cli:eve")


def _tamper(path: Path, keys: Path) -> None:
    path.write_bytes(path.read_bytes().replace(b'"payload":"', b'"payload":"AAAA', 1))


def _by_another_key(path: Path, keys: Path) -> None:
    digest = path.name[:64]
    path.write_bytes(signer(keys, "other").sign(files_of(fetch_bundle(digest))))


def _make_link(path: Path, keys: Path) -> None:
    path.rename(path.with_suffix(".elsewhere"))
    path.symlink_to(path.with_suffix(".elsewhere"))


DAMAGES = {
    "missing": (lambda path, keys: path.unlink(), "signed by no key of TRIVET_TRUSTED_KEYS"),
    "tampered": (_tamper, "not by the key"),
    "by another key": (_by_another_key, "not by the key"),
    "garbage": (lambda path, keys: path.write_bytes(b"\xff" * 99), "no file of a signature by key"),
    "empty": (lambda path, keys: path.write_bytes(b""), "no file of a signature by key"),
    "huge": (lambda path, keys: path.write_bytes(b" " * (SIGNATURE_LIMIT + 1)), "more than 65536 bytes"),
    "a link": (_make_link, "not a plain file"),
}


def test_A31_a_version_whose_signature_is_not_good_is_not_loaded_and_the_old_one_keeps_serving(required, keys, home):
    first = live_model("churn")
    sign(first, keys)
    second = successor(keys)
    required()
    place = home / "bundles" / signature_name(second.digest, signer(keys).key.fingerprint)
    whole = place.read_bytes()
    reconciler = worker()
    serving = reconciler.follow(build_snapshot(), EMPTY_TABLE)
    actions.promote(model="churn", version=2, actor="cli:ana")
    for name, (damage, why) in DAMAGES.items():
        damage(place, keys)
        table = reconciler.follow(build_snapshot(), serving)
        assert [live.entry.number for _, live in table.models["churn"].routed] == [1], name
        assert why in table.models["churn"].failed[2], name
        place.unlink(missing_ok=True)
        place.write_bytes(whole)
    table = reconciler.follow(build_snapshot(), table)
    assert [live.entry.number for _, live in table.models["churn"].routed] == [2]


def test_signing_again_heals_a_damaged_signature_and_has_the_workers_look_again(required, keys, home):
    first = live_model("churn")
    place = home / "bundles" / sign(first, keys)
    place.write_bytes(b"garbage")
    required()
    reconciler, before = worker(), build_snapshot()
    assert 1 in reconciler.follow(before, EMPTY_TABLE).models["churn"].failed
    sign(first, keys)
    after = build_snapshot()
    assert after.generation > before.generation
    assert 1 in reconciler.follow(after, EMPTY_TABLE).models["churn"].live


def test_a_good_signature_is_kept_and_told_once(keys):
    (version,) = ready()
    fingerprint = signer(keys).key.fingerprint
    sign(version, keys)
    first = read_signature(version.digest, fingerprint)
    sign(version, keys)
    assert read_signature(version.digest, fingerprint) == first
    assert Event.objects.filter(action="sign_version").count() == 1


def test_a_signature_whose_signer_was_killed_before_the_history_told_it_is_told_by_the_next(keys):
    version = successor()
    by, files = signer(keys), files_of(fetch_bundle(version.digest))
    store_signature(version.digest, by.key.fingerprint, by.sign(files))
    sign(version, keys)
    sign(version, keys)
    told = Event.objects.filter(action="sign_version", version=version.number)
    assert [event.after["signed_by"] for event in told] == [by.key.fingerprint]


def test_a_push_tells_of_the_signature_that_a_killed_one_had_stored(keys):
    version = successor()
    by, files = signer(keys, "p384"), files_of(fetch_bundle(version.digest))
    store_signature(version.digest, by.key.fingerprint, by.sign(files))
    for _ in range(2):
        again = actions.register_version(name="churn", bundle=fetch_bundle(version.digest), actor="cli:ana", signer=by)
        assert again == version
    assert Event.objects.filter(action="sign_version", after__signed_by=by.key.fingerprint).count() == 1


def test_a_bundle_that_was_registered_signed_is_told_once(keys):
    version = successor(keys)
    sign(version, keys)
    assert not Event.objects.filter(action="sign_version").exists()


def test_a_new_key_signs_beside_the_old_one_until_nobody_trusts_that(required, keys):
    version = live_model("churn")
    sign(version, keys, "p256")
    sign(version, keys, "p384")
    for trusted in (("p256",), ("p256", "p384"), ("other", "p384")):
        required(*trusted)
        assert fetch_to_serve()(version.digest).digest == version.digest
    required("other")
    with pytest.raises(BundleError, match="signed by no key of TRIVET_TRUSTED_KEYS"):
        fetch_to_serve()(version.digest)


def test_what_was_verified_is_what_is_loaded_for_each_file_is_opened_once(required, keys, monkeypatch):
    version = live_model("churn")
    signature = sign(version, keys)
    required()
    opened: Counter[str] = Counter()
    really = BundleFolder._open

    def counting(self, name, mode="rb"):
        opened[name] += 1
        return really(self, name, mode)

    monkeypatch.setattr(BundleFolder, "_open", counting)
    fetch_to_serve()(version.digest)
    files = ("manifest.json", "model.onnx", "reference.msgpack", "sample.jsonl")
    assert opened == Counter([signature, *(stored_name(version.digest, file) for file in files)])


def test_every_process_that_answers_asks_for_the_signature(required):
    live_model("churn")
    required()
    plane = build_plane("test-signing")
    try:
        plane.follow(build_snapshot())
        assert "signed by no key" in plane.table.models["churn"].failed[1]
    finally:
        plane.shadows.stop()
        plane.spool.close()
        plane.meter.close()


def test_who_gives_a_bundle_to_model_workers_asks_for_the_signature(required, monkeypatch):
    version = live_model("churn")
    required()
    given = []
    monkeypatch.setattr(model_workers, "WorkerEngine", lambda folder, fetch, options: given.append(fetch))
    model_workers.worker_engine()
    with pytest.raises(BundleError, match="signed by no key"):
        given[0](version.digest)


def test_where_no_signature_is_required_a_load_is_what_it_was(settings, keys):
    settings.TRIVET_TRUSTED_KEYS = [str(keys / "p256.pub.pem")]
    assert fetch_to_serve() is fetch_bundle


@pytest.mark.parametrize(
    ("trusted", "why"),
    [
        ([], "TRIVET_REQUIRE_SIGNATURE is True, but TRIVET_TRUSTED_KEYS names no key"),
        (["nowhere.pem"], "TRIVET_TRUSTED_KEYS: .*nowhere.pem cannot be read: No such file"),
        (["p256.pem"], "TRIVET_TRUSTED_KEYS: .*p256.pem is a private key"),
        (["rsa.pub.pem"], "TRIVET_TRUSTED_KEYS: .*rsa.pub.pem is no key of the elliptic curves"),
    ],
)
def test_a_key_that_cannot_be_used_stops_a_process_at_its_start_and_is_an_error_of_the_checks(
    trusted, why, settings, keys
):
    settings.TRIVET_REQUIRE_SIGNATURE = True
    settings.TRIVET_TRUSTED_KEYS = [str(keys / name) for name in trusted]
    with pytest.raises(ImproperlyConfigured, match=why):
        fetch_to_serve()
    (found,) = checks.check_trusted_keys()
    assert found.id == "trivet.E005"


def test_nothing_is_wrong_where_nothing_is_required_or_a_key_is_there(required):
    assert checks.check_trusted_keys() == []
    required()
    assert checks.check_trusted_keys() == []


def test_verify_and_show_tell_who_signed(required, keys, settings, capsys):
    version = live_model("churn")
    settings.TRIVET_TRUSTED_KEYS = [str(keys / "p256.pub.pem")]
    assert trivet("verify", "churn") == 0
    assert "signed by" not in capsys.readouterr().out
    required()
    assert trivet("verify", "churn") == 1
    assert "is signed by no key of TRIVET_TRUSTED_KEYS" in capsys.readouterr().out
    sign(version, keys)
    sign_by_other = signer(keys, "other")
    settings.TRIVET_REQUIRE_SIGNATURE = False
    actions.sign_version(model="churn", version=1, actor="cli:ana", by=sign_by_other)
    required()
    assert trivet("verify", "churn") == 0
    said = capsys.readouterr().out
    assert f"signed by p256.pub.pem ({signer(keys).key.fingerprint[:12]}…)" in said
    assert f"signed by {sign_by_other.key.fingerprint[:12]}…, not trusted here" in said
    assert trivet("show", "churn@1") == 0
    assert "p256.pub.pem" in capsys.readouterr().out


def test_show_needs_neither_keys_nor_storage_for_the_rest_that_it_tells(settings, keys, monkeypatch, capsys):
    version = live_model("churn")
    sign(version, keys)
    settings.TRIVET_TRUSTED_KEYS = ["/nowhere.pem"]
    assert trivet("show", "churn@1") == 0
    said = capsys.readouterr()
    assert version.digest in said.out
    assert "who signed churn 1 cannot be told now: TRIVET_TRUSTED_KEYS: /nowhere.pem cannot be read" in said.err

    def away(self, path):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(BundleFolder, "listdir", away)
    settings.TRIVET_TRUSTED_KEYS = [str(keys / "p256.pub.pem")]
    assert trivet("show", "churn@1", "--json") == 0
    said = capsys.readouterr()
    assert json.loads(said.out)["signed_by"] is None
    assert "the bundle storage cannot be read: Permission denied" in said.err
    settings.TRIVET_TRUSTED_KEYS = []
    assert trivet("show", "churn@1") == 0
    assert capsys.readouterr().err == "", "nobody is asked where no key is trusted"


@pytest.mark.urls("trivet.server.urls")
def test_the_page_of_a_model_tells_who_signed_where_keys_are_trusted(settings, keys, client, admin_user):
    version = live_model("churn")
    client.force_login(admin_user)

    def page() -> str:
        return client.get("/models/churn/").content.decode()

    assert "Signed by" not in page()
    settings.TRIVET_TRUSTED_KEYS = [str(keys / "p256.pub.pem")]
    assert "Signed by no trusted key." in page()
    sign(version, keys)
    assert f"Signed by p256.pub.pem ({signer(keys).key.fingerprint[:12]}…)." in page()
    settings.TRIVET_TRUSTED_KEYS = ["/nowhere.pem"]
    assert "Who signed it cannot be told now." in page()


def test_verify_tells_of_a_damaged_signature_though_none_is_required(settings, keys, home, capsys):
    version = live_model("churn")
    (home / "bundles" / sign(version, keys)).write_bytes(b"garbage")
    settings.TRIVET_TRUSTED_KEYS = [str(keys / "p256.pub.pem")]
    assert trivet("verify", "--all", "--json") == 1
    (found,) = json.loads(capsys.readouterr().out)
    assert "no file of a signature by key" in found["problems"][0]


def test_the_verb_signs_what_has_traffic_and_warns_of_a_key_that_others_may_read(required, keys, tmp_path, capsys):
    first = live_model("churn")
    copy = tmp_path / "copy.pem"
    copy.write_bytes((keys / "p256.pem").read_bytes())
    copy.chmod(0o644)
    required()
    assert trivet("sign", "churn", "--key", str(copy)) == 0
    said = capsys.readouterr()
    assert f"churn 1 · digest {first.digest[:12]} · signed by {signer(keys).key.fingerprint[:12]}" in said.out
    assert f"chmod 600 {copy}" in said.err
    assert trivet("sign", "churn", "--key", str(keys / "p256.pem")) == 0
    assert "chmod" not in capsys.readouterr().err
    assert [found.is_good for found in signatures_of(first)] == [True]


def test_the_verb_signs_what_stands_in_and_what_a_rollback_goes_to(keys, capsys):
    for version in ready(4)[:3]:
        actions.promote(model="churn", version=version.number, actor="cli:ana")
    actions.set_routes(model="churn", fallback=[1], actor="cli:ana")
    assert trivet("sign", "churn", "--key", str(keys / "p256.pem"), "--json") == 0
    assert [told["version"] for told in json.loads(capsys.readouterr().out)] == [1, 2, 3]


def test_a_passphrase_comes_from_the_environment_and_goes_no_further(keys, monkeypatch, capsys):
    live_model("churn")
    monkeypatch.setattr("sys.stdin.isatty", lambda: False)
    assert trivet("sign", "churn@1", "--key", str(keys / "locked.pem")) == 2
    assert "set TRIVET_SIGNING_PASSPHRASE" in capsys.readouterr().err
    monkeypatch.setenv("TRIVET_SIGNING_PASSPHRASE", "wrong")
    assert trivet("sign", "churn@1", "--key", str(keys / "locked.pem")) == 2
    assert "wrong" not in capsys.readouterr().err
    monkeypatch.setenv("TRIVET_SIGNING_PASSPHRASE", PASSPHRASE.decode())
    assert trivet("sign", "churn@1", "--key", str(keys / "locked.pem")) == 0
    assert "TRIVET_SIGNING_PASSPHRASE" not in os.environ


def test_a_signature_made_elsewhere_is_taken_where_a_trusted_key_made_it(required, keys, tmp_path, capsys):
    version = live_model("churn")
    file = tmp_path / "churn.sig"
    required()
    file.write_bytes(signer(keys, "other").sign(files_of(fetch_bundle(version.digest))))
    assert trivet("sign", "churn@1", "--signature", str(file)) == 3
    assert "not by the key" in capsys.readouterr().err
    file.write_bytes(signer(keys).sign(files_of(fetch_bundle(version.digest))))
    assert trivet("sign", "churn", "--signature", str(file)) == 2
    assert trivet("sign", "churn@1", "--signature", str(file)) == 0
    assert fetch_to_serve()(version.digest).digest == version.digest
