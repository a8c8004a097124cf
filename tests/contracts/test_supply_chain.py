"""What is installed is what the lock file says, can be listed, and asks nobody when it is imported or started."""

import json
import subprocess
import sys
from datetime import date
from pathlib import Path

import pytest

from tests.acceptance.servers import clean_environment
from trivet import __version__

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path.append(str(REPOSITORY / "scripts"))
import audit  # noqa: E402
import make_sbom  # noqa: E402

LOCK = (REPOSITORY / "requirements" / "dev.txt").read_text()


def test_D47_the_lock_files_have_a_hash_for_everything_and_name_no_place(tmp_path):
    locks = sorted(str(path) for path in (REPOSITORY / "requirements").glob("*.txt") if path.name != "waivers.txt")
    assert subprocess.run([REPOSITORY / "scripts" / "check-locks", *locks], check=False).returncode == 0
    for bad in ("django==5.2\n", "--index-url https://example.com\n"):
        (tmp_path / "bad.txt").write_text(bad)
        done = subprocess.run(
            [REPOSITORY / "scripts" / "check-locks", tmp_path / "bad.txt"], check=False, capture_output=True
        )
        assert done.returncode == 1


def test_D47_the_audit_sees_what_the_lock_file_does_not_have():
    lock = audit.locked(LOCK)
    assert len(lock) > 100
    assert list(audit.unlocked(lock, {"django": sorted(lock["django"])[0], "trivet": "0", "pip": "1"})) == []
    assert list(audit.unlocked({"a": {"1"}}, {"a": "2", "b": "1"})) == [
        "a 2 is installed; the lock file has 1",
        "b 1 is installed; the lock file has none",
    ]


def test_D47_what_the_service_knows_nothing_of_is_not_taken_for_sound():
    report = {
        "dependencies": [
            {"name": "a", "version": "1", "vulns": [{"id": "PYSEC-1", "fix_versions": ["2"]}]},
            {"name": "b", "version": "1", "vulns": []},
            {"name": "c", "skip_reason": "not found"},
        ]
    }
    assert audit.judged(report) == (["a 1: PYSEC-1, mended in 2"], ["c"])


def test_D47_a_waiver_has_a_reason_and_an_end():
    audit.waivers(audit.WAIVERS.read_text())
    assert audit.waivers("# x\nPYSEC-1 2030-01-01 we call none of it\n") == [
        ("PYSEC-1", date(2030, 1, 1), "we call none of it")
    ]
    for bad in ("PYSEC-1", "PYSEC-1 2030-01-01", "PYSEC-1 soon because"):
        with pytest.raises(ValueError, match="is not FINDING"):
            audit.waivers(bad)


def test_D47_the_bill_of_materials_has_every_release_with_its_hashes_and_is_the_same_each_time():
    bill = make_sbom.bill(LOCK, __version__)
    assert bill == make_sbom.bill(LOCK, __version__)
    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.6")
    named = {(one["name"], one["version"]) for one in bill["components"]}
    assert named == {(name, release) for name, releases in audit.locked(LOCK).items() for release in releases}
    assert sum(len(one["properties"]) for one in bill["components"]) >= LOCK.count("--hash=sha256:")
    references = [one["bom-ref"] for one in bill["components"]]
    assert len(set(references)) == len(references)
    json.dumps(bill)


STARTS = """
import sys
asked = []
def see(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto", "urllib.Request"):
        asked.append((event, str(arguments[-1])))
sys.addaudithook(see)
import trivet, trivet.client, trivet.cli.main
import django
django.setup()
from django.core.management import call_command
call_command("migrate", verbosity=0)
call_command("check", "--deploy", "--database", "default")
from trivet.server.asgi import application
from trivet.server.wsgi import application
import trivet.serving.web, trivet.serving.keeper, trivet.serving.process, trivet.model.compile.compiler
from trivet.serving.process import this_process
from trivet.control.registry.models import WorkerKind
this_process(WorkerKind.WEB).stop()
import socket
is_seen = len(asked)
try:
    socket.create_connection(("127.0.0.1", 9), timeout=0.1)
except OSError:
    pass
print(asked[:is_seen], len(asked) > is_seen)
"""


def test_D47_nothing_is_asked_at_import_or_start(tmp_path):
    own = {"SECRET_KEY": "x" * 60, "TRIVET_PROJECT": str(tmp_path), "DJANGO_SETTINGS_MODULE": "trivet.server.settings"}
    done = subprocess.run(
        [sys.executable, "-c", STARTS], env=clean_environment(**own), capture_output=True, text=True, check=False
    )
    assert done.stdout.splitlines()[-1:] == ["[] True"], done.stderr
