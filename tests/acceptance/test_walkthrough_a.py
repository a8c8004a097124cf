"""Walkthrough A: a developer with a Django project is handed a `.joblib`, and goes from there to scored tables.

Everything is done as a person does it: a plain project in a folder of its own, an environment with the wheel of this checkout and
nothing else, `manage.py` and edits of files. What each step took is printed.
"""

from __future__ import annotations

import http.client
import json
import re
import sqlite3
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance import shop as edits
from tests.acceptance.plain_environment import built_wheel, needed_by, plain_environment, requirements_of
from tests.acceptance.servers import Load, Server, drained, serving, wait_for
from tests.acceptance.shop import ASKED, COLUMN, CONSOLE, EXAMPLE, IMPORT, Shop, plain_shop, shop_in

VISITOR, QUARTER, NOTEBOOK = (
    Path(__file__).with_name(name) for name in ("admin_visitor.py", "quarter_lived.py", "shop_notebook.py")
)
CUSTOMERS = 1200
WORKERS = 4
INFER = "/v2/models/churn/infer"
HEAVY = {"catboost", "lightgbm", "pandas", "redis", "scikit-learn", "skl2onnx", "tensorflow", "torch", "xgboost-cpu"}
LIBRARIES = ("onnxruntime", "pandas", "sklearn")
A_TO_NINE_SECONDS = 120  # of a machine's time; a person takes minutes
CHURNED = '    churned = models.BooleanField(null=True, help_text="whether it left then; empty before it is known")\n'
OUTCOME = """\
    outcome = trivet.Outcome(
        Q(churned=True), known=Q(churned__isnull=False), model=Customer, matures=timedelta(days=60)
    )
"""
TARGET_ABOVE_MS = 0.2
ABOVE_ITS_QUERY = """
import trivet
from statistics import median
from time import thread_time_ns
from customers.ml import ChurnFeatures
from customers.models import Customer

customer = Customer.objects.first()
calls = (lambda: trivet.predict("churn", customer), lambda: ChurnFeatures.for_instance(customer))
def each():  # in turns, of this thread alone: who else is at work does not count
    took = ([], [])
    for _ in range(300):
        for call, mine in zip(calls, took):
            began = thread_time_ns()
            call()
            mine.append(thread_time_ns() - began)
    return (median(took[0]) - median(took[1])) / 1e6
each()
print("ABOVE", min(each() for _ in range(5)))
"""
FILLED = {
    "orders_90d": 'f.Count("orders", where=Q(placed_at__gte=f.as_of - timedelta(days=90)))',
    "tenure_days": 'f.DaysSince("joined_at")',
}
TICKETS = '    tickets_30d = f.Count("orders", where=Q(placed_at__gte=f.as_of - timedelta(days=30)))\n'
HOSTILE = "import os\nclass Planted:\n    def __reduce__(self):\n        return os.system, ('touch ran',)\n"


class Walk:
    """How long each step took."""

    def __init__(self) -> None:
        self.took: dict[str, float] = {}

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Take a step."""
        began = time.monotonic()
        yield
        self.took[name] = time.monotonic() - began
        print(f"{name}: {self.took[name]:.1f} s")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built_wheel(tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory, wheel: Path) -> Path:
    """Return the interpreter of an environment with `trivet[server,compile]`."""
    return plain_environment(tmp_path_factory.mktemp("developer") / "env", wheel, "server", "compile")


@pytest.fixture(scope="module")
def handed(tmp_path_factory: pytest.TempPathFactory, python: Path) -> Path:
    """Return what the data scientist hands over: a folder with churn.joblib, trained on an export of the same features."""
    shop = shop_in(tmp_path_factory.mktemp("scientist") / "shop", python)
    shop.manage("migrate", "-v", "0")
    shop.manage("fill_shop", "--customers", str(CUSTOMERS))
    export = ("export", "features", "customers.ml.ChurnFeatures", "--as-of", "renewed_at", "--label", "churned")
    shop.trivet(*export, "--out", "churned.csv")
    shop.run("train.py", "churned.csv", "churn.joblib")
    return shop.folder


@pytest.fixture(scope="module")
def served_by(tmp_path_factory: pytest.TempPathFactory, wheel: Path) -> Path:
    """Return the interpreter of an environment with `trivet[server]`, which compiles nothing."""
    return plain_environment(tmp_path_factory.mktemp("server") / "env", wheel, "server")


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_walkthrough_A_from_a_joblib_to_scored_tables(
    tmp_path: Path, wheel: Path, python: Path, served_by: Path, handed: Path
):
    walk = Walk()
    shop = plain_shop(tmp_path / "shop", python)
    shop.manage("migrate", "-v", "0")
    shop.manage("fill_shop", "--customers", str(CUSTOMERS))
    (shop.folder / "churn.joblib").write_bytes((handed / "churn.joblib").read_bytes())

    with walk.step("A1 what is installed"):
        assert not HEAVY & set(needed_by(requirements_of(wheel)))
        assert {"numpy", "onnxruntime", "msgspec", "django"} <= set(needed_by(requirements_of(wheel)))

    with walk.step("A2 one line of settings, migrate"):
        shop.edit("shop/settings.py", "USE_TZ = True\n", f"USE_TZ = True\n{edits.APP}")
        shop.manage("migrate", "-v", "0")
        assert not imported(shop, "check")

    with walk.step("A3 inspect"):
        inspected(shop)

    with walk.step("A4 fill what is to do"):
        fill(shop)

    with walk.step("A5 push"):
        pushed = shop.trivet("push", "churn.joblib", "--name", "churn", "--features", "customers.ml.ChurnFeatures")
        assert "parity on " in pushed
        assert "champion · generation" in pushed
        assert "no server is running yet" in pushed

    with walk.step("A6 predict in the shell"):
        predicted(shop)

    with walk.step("A7 two lines in a view"):
        shop.edit("customers/views.py", "    risk = 0.0\n", ASKED)
        shop.edit("customers/views.py", "from customers.models", f"{IMPORT}from customers.models")
        shop.edit("shop/urls.py", "]\n", f"{CONSOLE}]\n")
        page = shop.shell("from django.test import Client; print(Client().get('/customers/1/renew/').content.decode())")
        assert "Firm 0" in page

    with walk.step("A8 tests without weights"):
        run_tests(tmp_path / "ci", served_by)

    with walk.step("A9 the admin of customers"):
        administered(shop)

    assert sum(walk.took.values()) < A_TO_NINE_SECONDS

    with walk.step("A10 score a table"):
        scored(shop)

    with walk.step("A11 verify"):
        shop.trivet("verify", "--all")

    with ExitStack() as stack:
        with walk.step("A12 deployed, four workers without what compiles"):
            server = stack.enter_context(deployed(shop, served_by))

        with walk.step("A13 what is wrong with a request is said"):
            key = key_of(shop)
            asked_badly(server, key)

        with walk.step("A14 a version that needs a feature which code lacks"):
            refused(shop, handed)

        with walk.step("A19 features as of then, a model trained in a notebook"):
            trained_anew(shop)

        with walk.step("A16, A17 promoted and rolled back under load"):
            moved(shop, server, key)

    with walk.step("A18 how right it was, a quarter later"):
        judged(shop)

    with walk.step("A15 the feature is added, the log replayed, the version a shadow"):
        replayed(shop)
        shadowed(shop, served_by)

    with walk.step("A20 take it out again"):
        shop.edit("customers/models.py", COLUMN, "")
        shop.manage("makemigrations", "customers", "-v", "0")
        shop.manage("migrate", "-v", "0")
        shop.manage("migrate", "trivet", "zero", "-v", "0")
        with closing(sqlite3.connect(shop.folder / "db.sqlite3")) as database:
            tables = {name for (name,) in database.execute("SELECT name FROM sqlite_master")}
        assert not [name for name in tables if "trivet" in name]
        assert list((shop.folder / ".trivet").rglob("manifest.json")), "bundles are plain files"


def imported(shop: Shop, *words: str) -> set[str]:
    """Return which heavy libraries a command imports."""
    said = shop.run("-X", "importtime", "manage.py", *words)
    modules = {
        line.rpartition("|")[2].strip().partition(".")[0]
        for line in said.splitlines()
        if line.startswith("import time:")
    }
    return modules & set(LIBRARIES)


def inspected(shop: Shop) -> None:
    """A3: the file is looked at, its inputs are matched with the table, and one that runs something is refused by name."""
    told = shop.trivet("inspect", "churn.joblib", "--model", "customers.Customer", "--write", "customers/ml.py")
    assert "inputs         6" in told
    assert "matched        4 of 6 on customers.Customer; orders_90d, tenure_days written as f.TODO" in told
    shop.run("-c", f"{HOSTILE}\nimport pickle\npickle.dump(Planted(), open('planted.pkl', 'wb'))")
    assert "system" in shop.trivet("inspect", "planted.pkl", expect=3)
    assert not (shop.folder / "ran").exists()


def fill(shop: Shop) -> None:
    """A4: check lists what is to be written by name, until it is."""
    told = shop.manage("check", expect=1)
    assert all(f"ChurnFeatures.{name}: is an f.TODO" in told for name in FILLED), told
    assert "trivet.E011" in told
    ml = shop.folder / "customers" / "ml.py"
    text = ml.read_text()
    for name, feature in FILLED.items():
        text, times = re.subn(rf"(    {name} = )f\.TODO\(.*\)", rf"\1{feature}", text)
        assert times == 1
    text = text.replace(
        "import trivet\n", "from datetime import timedelta\n\nfrom django.db.models import Q\n\nimport trivet\n", 1
    )
    ml.write_text(f'{text.rstrip()}\n    output = f.Probability("churned")\n')
    shop.manage("check")


def predicted(shop: Shop) -> None:
    """A6: one query, the answer of the trained object, and a row in the log."""
    told = shop.shell(
        "import joblib, pandas, trivet; from django.db import connection; from django.test.utils import CaptureQueriesContext;"
        "from customers.models import Customer; from customers.ml import ChurnFeatures;"
        "customer = Customer.objects.first(); trivet.predict('churn', customer);\n"
        "with CaptureQueriesContext(connection) as asked: risk = trivet.predict('churn', customer)\n"
        "row = pandas.DataFrame([risk.features]);"
        "bare = joblib.load('churn.joblib').predict_proba(row)[0, 1];"
        "print('ANSWER', len(asked), abs(bare - float(risk)) < 1e-6, repr(risk))"
    )
    told += shop.shell(ABOVE_ITS_QUERY)
    above = float(next(line for line in told.splitlines() if line.startswith("ABOVE")).split()[1])
    met = "met" if above <= TARGET_ABOVE_MS else "missed"
    print(f"A6: {1000 * above:.0f} µs above the query of its features (target {1000 * TARGET_ABOVE_MS:.0f}: {met})")
    assert above < 5 * TARGET_ABOVE_MS, "on whatever machine"
    said = next(line for line in told.splitlines() if line.startswith("ANSWER"))
    assert re.fullmatch(r"ANSWER 1 True <Prediction 0\.\d\d \S+ · churn 1 · \d+\.\d ms>", said), said
    shop.trivet("keeper", "--once")
    with closing(sqlite3.connect(shop.folder / "db.sqlite3")) as database:
        (entity,) = database.execute("SELECT entity_key FROM trivet_prediction ORDER BY id DESC LIMIT 1").fetchone()
    assert entity == "customers.customer:1"


def run_tests(folder: Path, bare: Path) -> None:
    """A8: the suite of the shop passes in an environment without the compile extra, where no model is."""
    shop = shop_in(folder, bare)
    assert "No module named 'sklearn'" in shop.run("-c", "import sklearn", expect=1)
    assert "Ran 2 tests" in shop.manage("test")
    assert not (shop.folder / ".trivet").exists()


def administered(shop: Shop) -> None:
    """A9: fifty customers are chosen and scored, by who may; the column is sorted by, and the page of one tells what was said."""
    shop.edit("customers/admin.py", "admin.ModelAdmin", edits.MIXED)
    shop.edit(
        "customers/admin.py",
        "from customers.models import Customer\n",
        f"from customers.models import Customer\n{edits.MIXIN}",
    )
    shop.edit("customers/admin.py", "    list_display", f"{edits.PREDICTORS}    list_display")
    shop.edit("customers/admin.py", '"renewed_at"]', f'"renewed_at"{edits.PREDICTION_COLUMN}')
    shop.manage("check")
    told = shop.run(str(VISITOR), "chooses")
    assert "ana offered 200 Scored 50 rows with churn." in told
    assert "ben not offered 403" in told
    shop.trivet("keeper", "--once")
    column, badge = shop.run(str(VISITOR), "looks").splitlines()[-2:]
    shares = [int(said.removesuffix(" %")) for said in column.split("|")[1:] if re.fullmatch(r"\d+ %", said)]
    assert len(shares) > 40
    assert shares == sorted(shares, reverse=True)
    assert re.search(r"\d+ % .+ · churn 1 · .+ ago · was it right\?", badge), badge


def scored(shop: Shop) -> None:
    """A10: a plan, then a column filled for every row."""
    shop.edit("customers/models.py", CHURNED, CHURNED + COLUMN)
    shop.edit("customers/models.py", "from django.db import models\n", f"from django.db import models\n\n{IMPORT}")
    shop.manage("makemigrations", "customers", "-v", "0")
    shop.manage("migrate", "-v", "0")
    verb = ("score", "churn", "customers.Customer", "--to", "churn_risk")
    assert f"would score {CUSTOMERS:,} rows" in shop.trivet(*verb)
    assert f"{CUSTOMERS:,} of {CUSTOMERS:,} rows scored by churn 1" in shop.trivet(*verb, "--apply")
    with closing(sqlite3.connect(shop.folder / "db.sqlite3")) as database:
        found = database.execute(
            "SELECT count(*), min(churn_risk), max(churn_risk) FROM customers_customer WHERE churn_risk_version = 1"
        ).fetchone()
    assert found[0] == CUSTOMERS
    assert 0 <= found[1] < found[2] <= 1


@contextmanager
def deployed(shop: Shop, bare: Path) -> Iterator[Server]:
    """A12: what is run before a deployment loads no model, in an environment that could compile none; then it serves."""
    there = Shop(shop.folder, bare)
    for words in (("check", "--deploy"), ("migrate", "-v", "0"), ("collectstatic", "--noinput", "-v", "0")):
        assert not imported(there, *words), words
    with serving(shop.folder, workers=WORKERS, python=bare, PYTHONPATH="") as server:
        assert any(line.split()[:3] == ["web", str(WORKERS), "workers"] for line in server.lines), server.lines
        yield server


def key_of(shop: Shop) -> str:
    """Return a key that may ask."""
    made = shop.trivet("keys", "create", "renewals", "--model", "churn", "--verb", "predict", "--json")
    return str(json.loads(made[made.index("{") :])["key"])


CUSTOMER = {"country": "AT", "seats": 3, "monthly_fee": 9.5, "plan": "pro", "orders_90d": 2, "tenure_days": 400.0}
DATATYPES = {"country": "BYTES", "plan": "BYTES", "seats": "INT64", "orders_90d": "INT64"}


def body_of(**changed: Any) -> bytes:
    """Return a request about a customer, with other values or, where one is None, without that column."""
    row = {name: value for name, value in {**CUSTOMER, **changed}.items() if value is not None}
    inputs = [
        {"name": name, "datatype": DATATYPES.get(name, "FP64"), "shape": [1, 1], "data": [value]}
        for name, value in row.items()
    ]
    return json.dumps({"inputs": inputs}).encode()


def asked(server: Server, key: str, body: bytes) -> tuple[int, str]:
    """Ask the model over a connection of one's own; return the status and the answer."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    try:
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        with suppress(BrokenPipeError, ConnectionResetError):  # too long a body is refused before its end
            connection.request("POST", INFER, body, {**headers, "Content-Type": "application/json"})
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()


def asked_badly(server: Server, key: str) -> None:
    """A13: each mistake is told as the client's own, by the name of the column, and nothing of the inside with it."""
    assert asked(server, key, body_of())[0] == 200
    for body, status, word in (
        (body_of(seats=None), 400, "seats"),
        (body_of(seats="three"), 400, "seats"),
        (body_of(monthly_fee=1).replace(b'"data": [1]', b'"data": [NaN]'), 400, "NaN"),
        (body_of(seats=1e308), 400, "seats"),
        (body_of(monthly_fee=1).replace(b'"data": [1]', b'"data": [1e999]'), 400, "inputs[2].data[0]"),
        (b" " * 50 * 1024**2 + body_of(), 413, "bytes"),
        (b"{", 400, "JSON"),
    ):
        got, said = asked(server, key, body)
        assert (got, word in said) == (status, True), (body[:200], got, said)
        assert not any(inside in said for inside in ("Traceback", "/site-packages", str(server.project))), said
    wrong = f"{key[:-1]}{'y' if key.endswith('x') else 'x'}"
    assert asked(server, "", body_of())[0] == asked(server, wrong, body_of())[0] == 401
    got, said = asked(server, key, body_of(plan="platinum"))
    assert got == 200
    assert json.loads(said)["parameters"]["flagged_rows"] == 1  # the model has no word for it


def trained_anew(shop: Shop) -> None:
    """A19: an order of later does not change a row of the export, one of before does; what is pushed has rows of it in it."""
    export = (
        "export",
        "features",
        "customers.ml.ChurnFeatures",
        "--as-of",
        "renewed_at",
        "--label",
        "churned",
        "--out",
    )
    shop.trivet(*export, "renewals.csv")
    rows = (shop.folder / "renewals.csv").read_text().splitlines()
    order = (
        "from datetime import timedelta; from customers.models import Customer, Order; one = Customer.objects.get(pk=1);"
        "Order.objects.create(customer=one, total=1, placed_at=one.renewed_at {} timedelta(hours=1))"
    )
    differing = []
    for when in "+-":
        shop.shell(order.format(when))
        shop.trivet(*export, "again.csv")
        again = (shop.folder / "again.csv").read_text().splitlines()
        differing.append(sum(one != other for one, other in zip(rows, again, strict=True)))
    assert differing == [0, 1]
    manifest = json.loads((shop.folder / "renewals.csv.manifest.json").read_text())
    assert (manifest["as_of"], manifest["label"], manifest["rows"]) == ("renewed_at", "churned", CUSTOMERS)
    assert "challenger" in shop.run(str(NOTEBOOK))
    newest = max((shop.folder / ".trivet").rglob("manifest.json"), key=lambda file: file.stat().st_mtime)
    assert json.loads(newest.read_text())["features"]["hash"] == manifest["hash"]
    assert len(newest.with_name("sample.jsonl").read_text().splitlines()) >= 50


def judged(shop: Shop) -> None:
    """A18: what became of each customer is found in their table, and how right each version was is what scikit-learn says."""
    ml = shop.folder / "customers" / "ml.py"
    ml.write_text(f"{ml.read_text().rstrip()}\n{OUTCOME}")
    shop.manage("check")
    shop.trivet("route", "churn", "1=50", "3=50")
    shop.run(str(QUARTER), "asks", "1", "3")
    assert "applied" in shop.trivet("label", "--outcomes", "--model", "churn")
    told = json.loads(shop.run(str(QUARTER), "looks", "1", "3").splitlines()[-1])
    for version, said in told["versions"].items():
        assert said["labels"] >= CUSTOMERS, version
        assert abs(said["auc"] - said["exact"]) <= said["binning"] + 1e-9, (version, said["auc"], said["exact"])
        assert said["status"] == 200
        assert f"{said['auc']:.3f}" in said["page"], said["page"]
        assert "alibration" in said["page"]
    assert told["drift"] == ["seats", "plan", "orders_90d"]


def moved(shop: Shop, server: Server, key: str) -> None:
    """A16, A17: a version trained anew is promoted, and taken back, while others ask: none fails, each gets the live one."""
    with Load(server, body_of(), key, path=INFER, clients=2) as load:
        wait_for(lambda: load.answers.qsize() > 50)
        assert f"live in {WORKERS} of {WORKERS} workers" in shop.trivet("promote", "churn@3")
        assert {version_of(server, key) for _ in range(5 * WORKERS)} == {"3"}
        told = shop.shell("import trivet; print('BY', trivet.predict('churn', 1).version)")
        assert "BY 3" in told.splitlines()
        shop.trivet("rollback", "churn")
        assert {version_of(server, key) for _ in range(5 * WORKERS)} == {"1"}
    assert not drained(load.failures)
    assert not drained(load.resets)
    assert {answer["model_version"] for _, _, answer in drained(load.answers)} == {"1", "3"}


def version_of(server: Server, key: str) -> str:
    """Return which version answers now."""
    return str(json.loads(asked(server, key, body_of())[1])["model_version"])


def refused(shop: Shop, handed: Path) -> None:
    """A14: a model with one column more is registered, gets no traffic, and says which feature is missing."""
    rows = (handed / "churned.csv").read_text().splitlines()
    wider = [f"{rows[0]},tickets_30d", *(f"{row},{place % 5}" for place, row in enumerate(rows[1:]))]
    (shop.folder / "wider.csv").write_text("\n".join(wider) + "\n")
    shop.run(str(EXAMPLE / "train.py"), "wider.csv", "churn2.joblib")
    shop.trivet("push", "churn2.joblib", "--name", "churn", "--sample", "wider.csv")
    told = shop.trivet("promote", "churn@2", expect=3)
    assert "churn 2 expects 'tickets_30d'" in told
    assert "E020" in shop.manage("check", "--database", "default")
    told = shop.shell("import trivet; print('BY', trivet.predict('churn', 1).version)")
    assert "BY 1" in told.splitlines()


def replayed(shop: Shop) -> None:
    """A15: once the code has the feature, the log is replayed: it is derived for whom the log knows, and for no other."""
    shop.edit("customers/ml.py", "    tenure_days =", f"{TICKETS}    tenure_days =")
    shop.manage("check")
    with closing(sqlite3.connect(shop.folder / "db.sqlite3")) as database:
        known, rows = database.execute(
            "SELECT count(*) FILTER (WHERE entity_key != ''), count(*) FROM trivet_prediction WHERE version = 1"
        ).fetchone()
    words = ("replay", "churn@2", "--since", "90d", "--limit", "1000000")
    said = shop.trivet(*words, "--json")
    told = json.loads(said[said.index("{") :])
    assert CUSTOMERS < known < rows
    assert (told["version"], told["against"], told["logged"]) == (2, 1, rows)
    assert 0 < told["derived"] == told["compared"] <= known
    assert {one["why"] for one in told["not_comparable"]} == {
        "it lacks 'tickets_30d', and it is about no row of the FeatureSet's table"
    }
    assert 0 < told["agreement"] <= 1
    assert len(told["movers"]) == 50
    assert all(mover["entity"].startswith("customers.customer:") for mover in told["movers"])
    assert told["speed"]["version"] > 0
    assert "NOT within" in shop.trivet(*words, "--max-moved", "0", expect=1)


def shadowed(shop: Shop, bare: Path) -> None:
    """A15: the version with the feature runs beside the champion, which goes on to answer."""
    assert "shadow 2=100%" in shop.trivet("route", "churn", "1=100", "--shadow", "2")
    with serving(shop.folder, workers=1, python=bare, PYTHONPATH="") as server:
        for customer in range(1, 11):
            connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
            connection.request("GET", f"/customers/{customer}/renew/")
            assert connection.getresponse().status == 200
            connection.close()
        wait_for(lambda: shadows_of(shop) > 0)


def shadows_of(shop: Shop) -> int:
    """Return what the log has of version 2 running beside answers of version 1."""
    with closing(sqlite3.connect(shop.folder / "db.sqlite3")) as database:
        (count,) = database.execute(
            "SELECT count(*) FROM trivet_prediction AS ran JOIN trivet_prediction AS answer"
            " ON ran.shadow_of = answer.prediction_id AND ran.row = answer.row"
            " WHERE ran.kind = 'shadow' AND ran.version = 2 AND answer.kind = 'predict' AND answer.version = 1"
        ).fetchone()
    return int(count)
