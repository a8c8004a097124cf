"""Settings: read late, checked, explained."""

import errno
from pathlib import Path

import pytest
from django.core.checks import run_checks
from django.core.exceptions import ImproperlyConfigured

from trivet import checks, conf
from trivet.cli.main import main
from trivet.serving.wiring import build_cache


def found(check):
    return [(message.id, message.msg) for message in check()]


def test_every_default_is_accepted_by_its_own_reader(settings):
    for setting in conf.SETTINGS:
        if hasattr(settings, setting.name):
            delattr(settings, setting.name)
        assert setting.read(setting()) == setting()


def test_the_home_is_beside_the_project(settings):
    del settings.TRIVET_HOME
    settings.BASE_DIR = "/srv/shop"
    assert Path("/srv/shop/.trivet") == conf.HOME()


def test_a_setting_is_read_when_it_is_asked_for(settings):
    assert conf.MAX_ROWS() == 1024
    settings.TRIVET_MAX_ROWS = 5
    assert conf.MAX_ROWS() == 5


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("TRIVET_WORKERS", 0, "TRIVET_WORKERS must be a whole number from 1 to 1,024, not '0'."),
        (
            "TRIVET_RATE_LIMIT",
            "fast",
            "TRIVET_RATE_LIMIT must be rates such as '100/s' or '100/s, 50000/d': a whole number, then s, m, h or d,"
            " each unit once, not 'fast'.",
        ),
        ("TRIVET_WORKERS", True, "TRIVET_WORKERS must be a whole number from 1 to 1,024, not 'True'."),
        ("TRIVET_LOG_INPUTS", 1.5, "TRIVET_LOG_INPUTS must be a number from 0 to 1, not '1.5'."),
        ("TRIVET_LOG_INPUTS", float("nan"), "TRIVET_LOG_INPUTS must be a number from 0 to 1, not 'nan'."),
        ("TRIVET_KEEPER", "never", "TRIVET_KEEPER must be 'auto' or 'external', not 'never'."),
        ("TRIVET_REQUIRE_KEY", "no", "TRIVET_REQUIRE_KEY must be True or False, not 'no'."),
        ("TRIVET_PREFIX", "ml", "TRIVET_PREFIX must be a path that begins and ends with '/', not 'ml'."),
        ("TRIVET_BIND", "8000", "TRIVET_BIND must be an address such as '127.0.0.1:8000', not '8000'."),
        ("TRIVET_PUBLIC_URL", "models.example", "must be a URL such as"),
        ("TRIVET_HOME", 7, "TRIVET_HOME must be the path of a folder"),
        ("TRIVET_CACHE", True, "TRIVET_CACHE must be 'auto' or 'on' or 'off', not 'True'."),
        ("TRIVET_CACHE_MB", 0, "TRIVET_CACHE_MB must be a whole number from 1 to 1,000,000, not '0'."),
        ("TRIVET_SHARED_CACHE", "default", "must be the alias of an entry of CACHES whose LOCATION is a URL"),
        ("TRIVET_SHARED_CACHE", "nowhere", "not 'nowhere'."),
        ("TRIVET_KEY_PEPPER", b"s3cret", "TRIVET_KEY_PEPPER must be a text that is not empty."),
        ("TRIVET_KEY_PEPPER_FALLBACKS", "s3cret", "must be a list of texts"),
    ],
)
def test_a_wrong_value_is_an_error_that_says_what_is_accepted(settings, name, value, message):
    setattr(settings, name, value)
    ((code, said),) = found(checks.check_setting_values)
    assert code == "trivet.E002"
    assert message in said
    assert "s3cret" not in said
    with pytest.raises(ImproperlyConfigured):
        next(setting for setting in conf.SETTINGS if setting.name == name)()


@pytest.mark.parametrize(
    ("entry", "problem"),
    [
        ({"BACKEND": "shop.engines.Ours"}, "No module named 'shop'"),
        ({"OPTIONS": {"instance": 2}}, "got an unexpected keyword argument 'instance'"),
        ({"OPTIONS": {"instances": 2}}, ""),
        ({"BACKND": "shop.engines.Ours"}, ""),  # E002 tells
    ],
)
def test_E001_says_which_engine_cannot_be_had(settings, entry, problem):
    assert found(checks.check_engines) == []
    settings.TRIVET_ENGINES = {"default": entry}
    told = found(checks.check_engines)
    assert [code for code, _ in told] == (["trivet.E001"] if problem else [])
    assert not problem or problem in told[0][1]


def test_a_misspelt_name_is_a_warning_with_the_closest_match(settings):
    settings.TRIVET_MAX_ROW = 5
    ((code, said),) = found(checks.check_setting_names)
    assert (code, said) == ("trivet.W003", "TRIVET_MAX_ROW is no setting of Trivet. Did you mean 'TRIVET_MAX_ROWS'?")


@pytest.mark.parametrize("verb", ["serve", "web", "grpc"])
def test_a_server_does_not_begin_with_a_value_that_is_not_accepted(verb, settings, capsys, monkeypatch):
    monkeypatch.setattr("trivet.cli.verbs.processes.open_listening_socket", lambda _: pytest.fail("it listens"))
    settings.TRIVET_RATE_LIMIT = "5/sec"  # read with the first key, long after "ready"
    assert main([verb, "--bind", "127.0.0.1:0"]) == 5
    assert f"trivet {verb}: TRIVET_RATE_LIMIT must be rates such as" in capsys.readouterr().err


def test_a_server_that_begins_tells_of_a_misspelt_name(settings, capsys, monkeypatch):
    def taken(bind):
        raise OSError(errno.EADDRINUSE, "in use")

    monkeypatch.setattr("trivet.cli.verbs.processes.open_listening_socket", taken)
    settings.TRIVET_RATE_LIMT = "5/s"
    assert main(["serve", "--bind", "127.0.0.1:0"]) == 5
    assert (
        "note: TRIVET_RATE_LIMT is no setting of Trivet. Did you mean 'TRIVET_RATE_LIMIT'?" in capsys.readouterr().err
    )


@pytest.mark.django_db
def test_any_verb_tells_of_a_misspelt_name_and_none_begins_with_a_value_that_is_not_accepted(settings, capsys):
    settings.TRIVET_MAX_ROW = 5
    assert main(["list"]) == 0
    assert "note: TRIVET_MAX_ROW is no setting of Trivet." in capsys.readouterr().err
    settings.TRIVET_WORKERS = 0
    assert main(["list"]) == 5
    told = capsys.readouterr().err
    assert "trivet list: TRIVET_WORKERS must be a whole number from 1 to 1,024, not '0'." in told


@pytest.mark.parametrize(("workers", "bound"), [(3, 64), (4, 80), (127, 2048)])
def test_F07_a_spool_without_room_for_a_segment_each_and_one_to_spare_is_a_warning(settings, workers, bound):
    settings.TRIVET_WORKERS, settings.TRIVET_SPOOL_MB = workers, bound
    assert found(checks.check_spool_bound) == []
    settings.TRIVET_WORKERS = workers + 1
    ((code, said),) = found(checks.check_spool_bound)
    assert (code, f"processes that answer need {bound + 16}" in said) == ("trivet.W007", True)
    settings.TRIVET_WORKERS = 0
    assert found(checks.check_spool_bound) == []  # E002 tells


def test_F07_a_server_that_begins_counts_its_grpc_workers_too(settings, capsys, monkeypatch):
    monkeypatch.setattr("trivet.cli.verbs.processes.listen", lambda *_: 1)
    monkeypatch.setattr("trivet.cli.verbs.processes.grpc_children", lambda *_: 5)  # ends with that code
    settings.TRIVET_SPOOL_MB = 64
    for workers, is_noted in ((2, False), (3, True)):
        command = ["serve", "--grpc", "127.0.0.1:0", "--workers", str(workers), "--grpc-workers", "1"]
        assert main(command) == 5
        assert ("note: TRIVET_SPOOL_MB is 64, and 4 processes" in capsys.readouterr().err) is is_noted


def test_bundles_under_the_media_folder_are_a_warning(settings):
    settings.MEDIA_ROOT = "/srv/media"
    files = "django.core.files.storage.FileSystemStorage"
    settings.STORAGES = {**settings.STORAGES, "trivet": {"BACKEND": files}}
    assert [code for code, _ in found(checks.check_bundle_storage)] == ["trivet.W004"]
    settings.STORAGES = {**settings.STORAGES, "trivet": {"BACKEND": files, "OPTIONS": {"location": "/srv/bundles"}}}
    assert found(checks.check_bundle_storage) == []


@pytest.mark.django_db
def test_the_project_of_the_tests_has_nothing_to_complain_of():
    assert [message for message in run_checks() if message.id.startswith("trivet")] == []


def test_keys_made_with_an_earlier_pepper_still_open(settings):
    settings.SECRET_KEY_FALLBACKS = ["old key"]
    assert len(conf.peppers()) == 2
    settings.TRIVET_KEY_PEPPER = "a pepper"
    assert len(conf.peppers()) == 1
    settings.TRIVET_KEY_PEPPER_FALLBACKS = [settings.SECRET_KEY]
    new, old = conf.peppers()
    del settings.TRIVET_KEY_PEPPER
    assert conf.peppers()[0] == old != new


REDIS = "django.core.cache.backends.redis.RedisCache"


@pytest.mark.parametrize(
    ("entry", "address", "options"),
    [
        ({"LOCATION": "redis://127.0.0.1:6379/1"}, "redis://127.0.0.1:6379/1", {}),
        ({"LOCATION": ["rediss://first:6380", "redis://replica"]}, "rediss://first:6380", {}),
        ({"LOCATION": "redis://first;redis://replica"}, "redis://first", {}),
        (
            {"LOCATION": "unix:///run/redis.sock", "OPTIONS": {"db": 3, "password": "s3cret", "pool_class": "x"}},
            "unix:///run/redis.sock",
            {"db": 3, "password": "s3cret"},
        ),
    ],
)
def test_the_shared_cache_is_the_address_of_an_entry_of_caches(settings, entry, address, options):
    assert conf.shared_cache() is None
    settings.CACHES = {"default": {"BACKEND": REDIS}, "models": {"BACKEND": REDIS, **entry}}
    settings.TRIVET_SHARED_CACHE = "models"
    assert conf.shared_cache() == (address, options)
    cache = build_cache()
    assert cache.shared is not None
    cache.shared.close()


def test_the_cache_is_as_large_as_the_setting_says_and_off_where_it_says_so(settings):
    assert build_cache().memory.limit_bytes == 64 * conf.MIB
    settings.TRIVET_CACHE_MB = 3
    assert build_cache().memory.limit_bytes == 3 * conf.MIB
    settings.TRIVET_CACHE = "off"
    assert build_cache() is None


def test_every_process_of_a_project_and_no_other_project_has_the_same_cache_secret(settings):
    secret = conf.cache_secret()
    assert conf.cache_secret() == secret
    assert secret not in conf.peppers()
    settings.SECRET_KEY = "another project's"
    assert conf.cache_secret() != secret


def test_answers_of_another_release_are_not_taken_for_this_ones(monkeypatch):
    key = build_cache().hash_of(b"a question")
    assert build_cache().hash_of(b"a question") == key
    monkeypatch.setattr("trivet.__version__", "0.0.0")
    assert build_cache().hash_of(b"a question") != key
