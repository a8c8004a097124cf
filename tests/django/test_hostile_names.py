"""Names and texts that are paths, commands, templates or tricks, typed at the command line: refused, or kept as typed."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.utils.html import escape

from tests.django.command_line import trivet
from tests.django.worlds import ready
from trivet.control.registry import actions
from trivet.control.registry.models import ApiKey, Event, RegisteredModel

pytestmark = pytest.mark.django_db

MARK = "owned-by-a-name"
NAMES = (
    f"../{MARK}",
    f"..%2f{MARK}",
    f"/{MARK}",
    f"{MARK}\u202etxt",
    f"caf\u00e9-{MARK}",
    f"cafe\u0301-{MARK}",
    f"\U0001f4a3{MARK}",
    f"-{MARK}",
    f"--{MARK}",
    f".{MARK}",
    f"{MARK}\n",
    f"{MARK} x",
    MARK * 4096,
    f"$(touch {MARK})",
    f"`touch {MARK}`",
    f"; touch {MARK};",
    f"| touch {MARK}",
)
TEXTS = (
    f"$(touch {MARK})",
    f"`touch {MARK}`; touch {MARK} | touch {MARK}",
    "{{ request.user.password }}{% load static %}{% include '/etc/passwd' %}",
    "{0.__class__.__mro__[1].__subclasses__}",
    "%(password)s %s %n ${env:HOME} #{7*7} <%= 7*7 %>",
)
_watched: list[list[str]] = []  # where opened paths and started programs go, while somebody watches


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    if _watched and event in {"open", "os.mkdir", "os.rename", "subprocess.Popen", "os.system", "os.exec"}:
        _watched[-1].append(repr(arguments))


sys.addaudithook(_hook)


@pytest.fixture
def touched() -> Iterator[list[str]]:
    """Yield what is opened and started during the test."""
    _watched.append([])
    yield _watched[-1]
    _watched.pop()


@pytest.mark.parametrize("name", NAMES, ids=range(len(NAMES)))
def test_A18_A19_a_hostile_name_on_the_command_line_names_nothing(name: str, touched: list[str], capsys):
    ready(1)
    before = Event.objects.count()
    for words in (["show", name], ["promote", f"{name}@1"], ["rollback", name], ["route", name, "1=100"]):
        assert trivet(*words) in (2, 4)
    told = capsys.readouterr()
    assert "Traceback" not in told.err + told.out
    assert len(told.err) < 8_000  # of four verbs: what is quoted is cut
    assert not any(MARK in line for line in touched)
    assert Event.objects.count() == before


@pytest.mark.parametrize("name", NAMES, ids=range(len(NAMES)))
def test_A18_A19_a_hostile_name_is_no_models(name: str, tmp_path: Path, touched: list[str], capsys):
    file = tmp_path / "model.joblib"
    file.write_bytes(b"\x80\x04N.")
    code = trivet("push", str(file), f"--name={name}")
    assert code == 2  # the file, which is none, was not opened
    assert not RegisteredModel.objects.exists()
    assert not any(MARK in line for line in touched)
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize("text", TEXTS, ids=range(len(TEXTS)))
def test_A32_A34_a_text_that_is_a_command_or_a_template_is_kept_as_typed(
    text: str, touched: list[str], client, admin_user
):
    ready(2)
    actions.promote(model="churn", version=1, actor="cli:ana", reason=text)
    assert trivet("keys", "create", text[:100], "--model", "churn", "--verb", "predict") == 0
    assert Event.objects.filter(reason=text).exists()
    assert ApiKey.objects.get().name == text[:100]
    client.force_login(admin_user)
    for address in ("/admin/trivet/event/", "/admin/trivet/apikey/"):
        page = client.get(address)
        assert page.status_code == 200
        assert escape(text) in page.content.decode()
    assert not any(MARK in line for line in touched if "Popen" in line or "system" in line or MARK + "'" in line)
