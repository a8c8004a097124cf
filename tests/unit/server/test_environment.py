"""What the ready-made server reads from its environment."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from django.core.exceptions import ImproperlyConfigured

from trivet.server.environment import database, load_env_file, mail, trivet_settings


def test_parameters_of_the_address_go_to_the_driver():
    found = database("postgres://ana:p%40ss@db:5433/shop?sslmode=require&connect_timeout=3", Path("unused"))
    assert (found["NAME"], found["PASSWORD"], found["PORT"]) == ("shop", "p@ss", "5433")
    assert found["OPTIONS"] == {"sslmode": "require", "connect_timeout": "3", "tcp_user_timeout": "10000"}


def test_mail_goes_where_the_address_says():
    found = mail("smtp://ana:p%40ss@mail.example.com")
    options = found["MAILERS"]["default"]["OPTIONS"] if "MAILERS" in found else None
    if options is not None:
        assert (options["host"], options["port"], options["password"]) == ("mail.example.com", 587, "p@ss")
        assert (options["use_tls"], options["use_ssl"]) == (True, False)
    else:
        assert (found["EMAIL_HOST"], found["EMAIL_HOST_PASSWORD"], found["EMAIL_USE_TLS"]) == (
            "mail.example.com",
            "p@ss",
            True,
        )
    with pytest.raises(ImproperlyConfigured, match="smtp://host:port"):
        mail("https://mail.example.com")


@pytest.mark.parametrize(("durability", "synchronous"), [("process", "NORMAL"), ("power", "FULL")])
def test_F03_a_commit_of_sqlite_waits_for_the_disk_where_answers_do(tmp_path: Path, durability: str, synchronous: str):
    (tmp_path / ".env").write_text(f"SECRET_KEY='new'\nTRIVET_DURABILITY={durability}\n")
    code = "from trivet.server import settings; print(settings.DATABASES['default']['OPTIONS']['init_command'])"
    environment = {**os.environ, "TRIVET_PROJECT": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == f"PRAGMA journal_mode=WAL; PRAGMA synchronous={synchronous};"


def test_earlier_secret_keys_are_read(tmp_path: Path):
    (tmp_path / ".env").write_text("SECRET_KEY='new'\nSECRET_KEY_FALLBACKS='old,older'\n")
    code = "from trivet.server import settings; print(settings.SECRET_KEY_FALLBACKS)"
    environment = {**os.environ, "TRIVET_PROJECT": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['old', 'older']"


@pytest.mark.parametrize(
    ("text", "value"), [("true", True), ("ON", True), ("1", True), ("no", False), ("off", False), ("", False)]
)
def test_a_switch_is_read_in_the_usual_words(text, value, monkeypatch):
    monkeypatch.setenv("TRIVET_REQUIRE_SIGNATURE", text)
    assert trivet_settings({"TRIVET_REQUIRE_SIGNATURE": bool}) == {"TRIVET_REQUIRE_SIGNATURE": value}


def test_a_switch_in_other_words_is_refused_and_not_taken_for_no(monkeypatch):
    monkeypatch.setenv("TRIVET_REQUIRE_SIGNATURE", "ture")
    with pytest.raises(
        ImproperlyConfigured, match=r"TRIVET_REQUIRE_SIGNATURE is 'ture' in the environment or \.env; true or false"
    ):
        trivet_settings({"TRIVET_REQUIRE_SIGNATURE": bool})


def test_a_name_in_the_file_that_is_no_setting_reaches_the_check_of_names(monkeypatch, tmp_path):
    for name in ("TRIVET_REQUIRE_SIGNATURES", "TRIVET_API_KEY", "OTHER"):  # so that they are as before in the end
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    monkeypatch.setenv("TRIVET_ELSEWHERE", "of another program")
    (tmp_path / ".env").write_text("TRIVET_REQUIRE_SIGNATURES=true\nTRIVET_API_KEY=abc\nOTHER=1\n")
    written = load_env_file(tmp_path / ".env")
    assert trivet_settings({}, written) == {"TRIVET_REQUIRE_SIGNATURES": "true"}


def test_a_name_in_the_environment_that_is_nearly_a_setting_is_none_of_another_program(monkeypatch):
    for name in ("TRIVET_MAX_ROW", "TRIVET_ELSEWHERE", "TRIVET_URL", "TRIVET_PROJECT"):
        monkeypatch.setenv(name, "5")
    assert trivet_settings({"TRIVET_MAX_ROWS": int, "TRIVET_PUBLIC_URL": str}) == {"TRIVET_MAX_ROW": "5"}


def test_the_later_of_two_lines_holds_and_the_environment_before_both(monkeypatch, tmp_path):
    for name in ("TRIVET_APPROVALS", "TRIVET_BIND"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    monkeypatch.setenv("TRIVET_WORKERS", "3")
    lines = "TRIVET_APPROVALS=1\nTRIVET_WORKERS=1\nTRIVET_APPROVALS = 2\nexport TRIVET_BIND=127.0.0.1:9\n"
    (tmp_path / ".env").write_text(lines)
    written = load_env_file(tmp_path / ".env")
    assert written == ["TRIVET_APPROVALS", "TRIVET_WORKERS", "TRIVET_BIND"]
    found = trivet_settings({"TRIVET_APPROVALS": int, "TRIVET_WORKERS": int, "TRIVET_BIND": str}, written)
    assert found == {"TRIVET_APPROVALS": 2, "TRIVET_WORKERS": 3, "TRIVET_BIND": "127.0.0.1:9"}


def test_blanks_beside_the_commas_of_a_list_are_nobodys(monkeypatch):
    monkeypatch.setenv("TRIVET_ALERT_WEBHOOKS", "https://hooks.example.com/a, chat.example.com ,")
    assert trivet_settings({"TRIVET_ALERT_WEBHOOKS": tuple}) == {
        "TRIVET_ALERT_WEBHOOKS": ("https://hooks.example.com/a", "chat.example.com")
    }


def test_a_number_that_may_be_left_out_is_left_out_by_its_word(monkeypatch):
    monkeypatch.setenv("TRIVET_LOG_RETENTION_DAYS", "None")
    assert trivet_settings({"TRIVET_LOG_RETENTION_DAYS": int}) == {"TRIVET_LOG_RETENTION_DAYS": None}
    monkeypatch.setenv("TRIVET_LOG_RETENTION_DAYS", "never")
    with pytest.raises(ImproperlyConfigured, match="'never' in the environment"):
        trivet_settings({"TRIVET_LOG_RETENTION_DAYS": int})
