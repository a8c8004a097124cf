"""The promises about what a process loads: no Django where none is needed, no training library, no pickle."""

import ast
import os
import subprocess
import sys

import pytest

from tests.contracts.rooms import COMPILE, NATIVE, PACKAGE, belongs_to, dotted, imported_names, loaded_by, modules

ROOMS_WITHOUT_DJANGO = ["trivet.core", "trivet.model", "trivet.dataplane", "trivet.client"]
WITHOUT_DJANGO = """
import importlib, sys

class NoDjango:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("django", "asgiref"):
            raise ImportError(f"this process has no {name}")

sys.meta_path.insert(0, NoDjango())
"""
TRAINING_LIBRARIES = {
    "catboost",
    "joblib",
    "lightgbm",
    "onnx",
    "onnxmltools",
    "pandas",
    "scipy",
    "skl2onnx",
    "sklearn",
    "skops",
    "xgboost",
}
# what turns bytes into objects by running what they say, and what passes objects between processes that way
UNPICKLERS = {"_pickle", "cloudpickle", "dill", "joblib", "marshal", "multiprocessing", "pickle", "shelve"}
ROOMS_THAT_OPEN_FILES = [COMPILE, "trivet.demo"]


@pytest.mark.parametrize("room", ROOMS_WITHOUT_DJANGO)
def test_the_room_can_be_imported_where_there_is_no_django(room):
    names = [name for name in modules(room) if not belongs_to(name, COMPILE)]
    assert names, f"there is no {room}"
    loaded = loaded_by(WITHOUT_DJANGO + f"for name in {names!r}: importlib.import_module(name)")
    assert set(names) <= loaded
    assert "django" not in loaded


def test_the_test_above_would_notice_django():
    with pytest.raises(AssertionError, match="this process has no django"):
        loaded_by(WITHOUT_DJANGO + "import trivet.control.registry.models")


def test_what_runs_unchanged_is_opened_proved_and_served_without_onnx():
    compiling = [f"{COMPILE}.{name}" for name in ("child", "opening", "native", "judge")]
    fresh = ["trivet.model.probe", "trivet.model.replay"]
    names = [*compiling, *fresh, "trivet.dataplane.engines.worker.instance", f"{NATIVE}.skops"]
    loaded = loaded_by(f"import importlib\nfor name in {names!r}: importlib.import_module(name)")
    assert set(names) <= loaded
    assert not loaded & {"django", "onnx", "onnxruntime", "skl2onnx"}


def test_importing_trivet_loads_nothing_heavy():
    loaded = loaded_by("import trivet")
    assert not loaded & {"asyncio", "django", "msgspec", "numpy", "onnxruntime", *TRAINING_LIBRARIES}
    assert {name for name in loaded if belongs_to(name, "trivet")} == {"trivet"}


def test_setting_django_up_loads_no_runtime_and_no_training_library():
    loaded = loaded_by("import django; django.setup()")
    assert not loaded & {"onnxruntime", "uvicorn", *TRAINING_LIBRARIES}


def test_the_checks_load_no_runtime_and_no_training_library_though_a_feature_set_is_declared():
    loaded = loaded_by(
        "import django; django.setup()\n"
        "from django.core.management import call_command\n"
        "from tests.shop.models import Customer\n"
        "import trivet\n"
        "meta = type('Meta', (), {'model': Customer, 'fields': ['seats']})\n"
        "declared = type('Seats', (trivet.FeatureSet,), {'Meta': meta})\n"
        "call_command('check')\n"
        "declared.hash, declared.json_schema(), declared.form_class()"
    )
    assert "trivet.features.fingerprint" in loaded
    assert not loaded & {"onnxruntime", "uvicorn", *TRAINING_LIBRARIES}


def test_onnx_runtime_keeps_nothing_in_a_home_folder_and_starts_no_thread_of_its_own(tmp_path):
    code = "import os, trivet.model.runtimes.onnx; print(len(os.listdir('/proc/self/task')))"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ORT_")}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**environment, "HOME": str(tmp_path), "OPENBLAS_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert (done.stdout.strip(), list(tmp_path.rglob("*"))) == ("1", [])


def test_a_serving_process_loads_no_training_library_and_nothing_that_opens_a_trained_file():
    loaded = loaded_by(
        "import django; django.setup(); import trivet.serving.web, trivet.serving.asgi, trivet.serving.wsgi"
    )
    assert "trivet.dataplane.infer" in loaded
    assert not loaded & (TRAINING_LIBRARIES | {"cryptography"})  # keys are read where a signature is required
    assert not {name for name in loaded if belongs_to(name, COMPILE) or belongs_to(name, NATIVE)}


def test_a_model_worker_and_the_probe_load_the_library_of_a_native_runtime_only_when_its_bundle_is_there():
    worker = "import trivet.dataplane.engines.worker.instance, trivet.model.probe"
    loaded = loaded_by(worker)
    assert not loaded & (TRAINING_LIBRARIES | {"onnxruntime", "joblib"})
    assert not {name for name in loaded if belongs_to(name, NATIVE)}
    found = loaded_by(worker + "\nfrom trivet.model.runtimes.base import runtime_class\nruntime_class('skops')")
    assert {"sklearn", "skops", f"{NATIVE}.skops"} <= found
    assert not found & {"onnxruntime", "xgboost", "lightgbm", "catboost"}


@pytest.mark.parametrize("verb", ["keeper", "processes"])
def test_whoever_answers_no_request_loads_nothing_that_does(verb):
    loaded = loaded_by(f"import django; django.setup(); import trivet.cli.verbs.{verb}")
    assert not loaded & {"onnxruntime", "uvicorn", "trivet.dataplane.infer", "trivet.dataplane.plane"}


def test_the_supervisor_loads_nothing_heavy():
    loaded = loaded_by("import trivet.serving.supervision")
    assert not loaded & {"asyncio", "ctypes", "django", "msgspec", "numpy", "onnxruntime", *TRAINING_LIBRARIES}


def test_A33_only_the_rooms_that_open_trained_files_can_unpickle():
    found = {
        f"{dotted(file)} imports {name}"
        for file in PACKAGE.rglob("*.py")
        if not any(belongs_to(dotted(file), room) for room in ROOMS_THAT_OPEN_FILES)
        for name in imported_names(file)
        if name.partition(".")[0] in UNPICKLERS or name.endswith(".ProcessPoolExecutor")
    }
    assert not found


def test_A33_no_array_is_read_with_its_pickles():
    found = {
        f"{dotted(file)}, line {keyword.value.lineno}"
        for file in PACKAGE.rglob("*.py")
        for keyword in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(keyword, ast.keyword) and keyword.arg == "allow_pickle"
        if not (isinstance(keyword.value, ast.Constant) and keyword.value.value is False)
    }
    assert not found


SERVING = ("trivet.core", "trivet.dataplane", "trivet.serving", "trivet.model.runtimes", "trivet.model.bundle")
NEVER_CALLED = {"eval", "exec", "compile", "__import__", "os.system", "os.popen", "yaml.load", "yaml.unsafe_load"}


def test_A33_serving_code_evaluates_no_text_and_asks_no_shell():
    found = {
        f"{dotted(file)}, line {node.lineno}: {ast.unparse(node.func)}"
        for file in PACKAGE.rglob("*.py")
        if any(belongs_to(dotted(file), room) for room in SERVING)
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
        if ast.unparse(node.func) in NEVER_CALLED
        or any(word.arg == "shell" and ast.unparse(word.value) != "False" for word in node.keywords)
    }
    assert not found
