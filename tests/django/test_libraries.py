"""Trained with one version of a library, running another: said before anything fails, and whether it matters."""

from __future__ import annotations

from importlib.metadata import version as installed

import pytest
from django.core import checks as django_checks

from tests.django.worlds import CHURN
from trivet.checks import check_libraries
from trivet.console.words import opened, trained_with
from trivet.control.registry import actions
from trivet.control.registry.environments import environments_in_use
from trivet.control.registry.models import Event, ModelVersion
from trivet.model.bundle.bundle import make_bundle
from trivet.model.bundle.libraries import Library, libraries_of
from trivet.model.bundle.manifest import Manifest

pytestmark = pytest.mark.django_db
HERE = installed("scikit-learn")
OLD = {
    "opened_with": {"python": "3.13", "numpy": "2.4.0", "scikit-learn": HERE},
    "trained_with": {"scikit-learn": "1.2.7"},
}
SAME = {"opened_with": {"python": "3.13", "numpy": "2.4.0", "scikit-learn": HERE}}


def live(model: str, *, runtime: str, source: dict[str, object], **files: bytes) -> ModelVersion:
    python = {"python": "3.12"}
    manifest = Manifest(format=1, runtime=runtime, signature=CHURN, files=(), source=source, environment=python)
    more = {f"{name}.txt": data for name, data in files.items()}
    bundle = make_bundle(manifest, {"model.onnx": model.encode(), "sample.jsonl": b"{}\n", **more})
    version = actions.register_version(name=model, bundle=bundle, actor="cli:ana", sandbox="L2")
    actions.mark_ready(model=model, version=version.number, actor="process:probe")
    actions.promote(model=model, version=version.number, actor="user:ana")
    return version


def test_W023_names_the_native_version_both_libraries_and_the_remedy():
    live("churn", runtime="skops", source=OLD)
    (warning,) = check_libraries(databases=["default"])
    assert warning.id == "trivet.W023"
    assert warning.msg.startswith(f"churn 1 was trained with scikit-learn 1.2.7, running {HERE}:")
    assert "trivet verify churn@1" in str(warning.hint)


def test_a_compiled_version_and_a_native_one_of_the_same_library_are_silent():
    live("compiled", runtime="onnx", source=OLD)
    live("same", runtime="skops", source=SAME)
    assert check_libraries(databases=["default"]) == []


@pytest.mark.urls("trivet.server.urls")
def test_one_with_an_environment_of_its_own_runs_in_its_library_whatever_is_here(client, django_user_model):
    live("churn", runtime="skops", source=OLD, requirements=b"scikit-learn==1.2.7\n")
    assert check_libraries(databases=["default"]) == []
    client.force_login(django_user_model.objects.create_superuser("ben"))
    page = client.get("/models/churn/").content.decode()
    assert "Trained with scikit-learn 1.2.7, and runs in an environment of its own that has it." in page
    (needs,) = environments_in_use().needed
    assert (needs.python, needs.libraries) == ("3.12", ("scikit-learn==1.2.7",))
    registered = Event.objects.get(action="register_version").after["environment"]
    assert registered == {"python": "3.12", "requirements": ["scikit-learn==1.2.7"]}


def test_the_environment_of_one_that_stands_in_or_is_the_way_back_is_in_use():
    first = live("churn", runtime="skops", source=OLD, requirements=b"scikit-learn==1.2.7\n")
    live("churn", runtime="skops", source=SAME)
    live("churn", runtime="skops", source=OLD)
    assert environments_in_use().needed == {}, "a rollback goes to churn 2"
    actions.set_routes(model="churn", fallback=[first.number], actor="user:ana")
    assert list(environments_in_use().needed.values()) == [["churn 1"]]
    actions.set_routes(model="churn", fallback=[], actor="user:ana")
    actions.roll_back(model="churn", actor="user:ana")
    assert list(environments_in_use().needed.values()) == [["churn 1"]], "a rollback goes to churn 1"


def test_it_asks_the_database_only_where_check_was_told_to():
    live("churn", runtime="skops", source=OLD)
    assert check_libraries() == []
    found = django_checks.run_checks(tags=[django_checks.Tags.database], databases=["default"])
    assert "trivet.W023" in [message.id for message in found]
    assert "trivet.W023" not in [message.id for message in django_checks.run_checks()]


@pytest.mark.urls("trivet.server.urls")
@pytest.mark.parametrize(
    ("runtime", "matters"), [("onnx", "It does not matter"), ("skops", "may answer otherwise: trivet verify says")]
)
def test_the_page_says_both_versions_and_whether_it_matters(runtime, matters, client, django_user_model):
    live("churn", runtime=runtime, source=OLD)
    actions.add_golden_case(
        model="churn",
        inputs={"age": 30, "plan": "pro"},
        expect={"between": [0, 1]},
        actor="user:ana",
        note="<b>her</b>",
    )
    client.force_login(django_user_model.objects.create_superuser("ben"))
    page = client.get("/models/churn/").content.decode()
    assert f"Trained with scikit-learn 1.2.7, running {HERE}." in page
    assert matters in page
    assert "Its file was opened in a sandbox of level L2." in page
    assert "age=30, plan=&#x27;pro&#x27;: between 0 and 1" in page
    assert "&lt;b&gt;her&lt;/b&gt;" in page


@pytest.mark.parametrize(
    ("sandbox", "names", "said"),
    [
        ("", ["os.system"], ""),
        ("L2", [], "Its file was opened in a sandbox of level L2."),
        ("L3", ["sklearn.svm._classes.SVC", "numpy.dtype"], "All that it asks for is of libraries for models."),
        ("L3", ["posix.system", "acme.Own"], "posix.system. It asks for names of no known library: acme.Own."),
        ("L1, vouched for", [f"acme.C{n}" for n in range(8)], "acme.C5 and 2 more."),
    ],
)
def test_how_a_file_was_opened_and_what_it_asked_for_is_said(sandbox, names, said):
    assert opened(sandbox, names).endswith(said)


def test_a_patch_release_warns_nobody_and_a_library_that_is_missing_does():
    assert not Library("scikit-learn", "1.7.2", "1.7.9").differs
    assert Library("scikit-learn", "1.7.2", "1.8.0").differs
    assert Library("catboost", "1.2", None).differs
    assert "which is not installed here. It does not matter" in trained_with(
        [Library("catboost", "1.2", None)], is_compiled=True
    )


def test_a_library_is_known_by_any_name_it_is_installed_as():
    (library,) = libraries_of({"opened_with": {"xgboost-cpu": "3.0.0"}})
    assert (library.name, library.trained, library.here) == ("xgboost", "3.0.0", installed("xgboost-cpu"))


def test_a_manifest_that_says_nothing_of_libraries_has_none():
    assert libraries_of({}) == ()
    assert libraries_of({"opened_with": "1.0"}) == ()
