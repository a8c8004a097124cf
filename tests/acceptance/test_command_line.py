"""The verbs as people type them: what they print, what they leave, and how they end."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tests.acceptance.conftest import Churn
from tests.acceptance.servers import Server, clean_environment, free_port, serving, taken_port, trivet, wait_for
from trivet.client import Client
from trivet.core.errors import Unauthenticated


def test_init_makes_a_project_that_is_private_and_changes_nothing_the_second_time(tmp_path: Path):
    first = trivet("init", "shop", "--json", project=tmp_path)
    facts = json.loads(first.stdout)
    assert facts["written"] == [".env", "manage.py", "ml.py"]
    assert facts["admin_password"]
    modes = {
        name: stat.S_IMODE((tmp_path / "shop" / name).stat().st_mode) for name in (".env", "db.sqlite3", ".trivet")
    }
    assert modes == {".env": 0o600, "db.sqlite3": 0o600, ".trivet": 0o700}
    before = {path: path.read_bytes() for path in (tmp_path / "shop").glob("[!d]*") if path.is_file()}
    second = json.loads(trivet("init", "shop", "--json", project=tmp_path).stdout)
    assert (second["written"], second["admin_password"]) == ([], None)
    assert before == {path: path.read_bytes() for path in before}
    assert "nothing is missing" in trivet("init", project=tmp_path / "shop").stdout
    (tmp_path / "shop" / "ml.py").unlink()
    again = trivet("init", project=tmp_path / "shop").stdout
    assert "wrote ml.py" in again
    assert "nothing is missing" not in again


PUBLIC = {"TRIVET_PUBLIC_URL": "https://models.example.com"}


@pytest.mark.parametrize(
    ("environment", "warned"),
    [
        ({}, []),
        (PUBLIC, []),
        ({**PUBLIC, "TRIVET_BIND": "0.0.0.0:8000"}, []),
        ({"TRIVET_BIND": "0.0.0.0:8000"}, ["W012"]),
    ],
    ids=["of this machine", "by a proxy", "by a proxy elsewhere", "open and without TLS"],
)
def test_D08_a_project_that_init_made_passes_djangos_checks_of_a_deployment(churn: Churn, environment, warned):
    done = subprocess.run(
        [sys.executable, "manage.py", "check", "--deploy", "--fail-level", "WARNING"],
        cwd=churn.project,
        env=clean_environment(**environment),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == bool(warned), done.stderr
    assert all(word in done.stderr for word in warned)


def test_a_version_with_other_inputs_says_so_when_it_is_pushed_and_promoted(churn: Churn, tmp_path: Path):
    import joblib
    import pandas as pd
    from sklearn.linear_model import LogisticRegression

    table = pd.DataFrame({"seats": [1.5, 2.0, 30.0, 40.0], "zip": [1, 2, 3, 4], "churned": ["no", "no", "yes", "yes"]})
    joblib.dump(LogisticRegression().fit(table[["seats", "zip"]], table.churned), tmp_path / "other.joblib")
    table.to_csv(tmp_path / "sample.csv", index=False)
    pushing = ("push", str(tmp_path / "other.joblib"), "--name=churn", f"--sample={tmp_path / 'sample.csv'}")
    with serving(churn.project, workers=1) as server:  # somewhere else than the settings say
        pushed = trivet(*pushing, "--labels=churned", project=churn.project).stdout
    sentence = "inputs differ from the champion's version 1: zip is new, tenure is gone, plan is gone"
    assert sentence in pushed
    assert f"{server.url}/v2/models/churn/versions/3/infer" in pushed  # the champion would not take these inputs
    assert sentence in trivet("promote", "churn@3", project=churn.project).stdout


def test_a_push_says_what_its_reference_lacks(churn: Churn, tmp_path: Path):
    import joblib
    import pandas as pd
    from sklearn.linear_model import LogisticRegression

    table = pd.DataFrame({"seats": [float(seats) for seats in range(60)], "left": ["no", "yes"] * 30})
    joblib.dump(LogisticRegression().fit(table[["seats"]], table["left"]), tmp_path / "left.joblib")
    sample = tmp_path / "sample.csv"
    pushing = ("push", str(tmp_path / "left.joblib"), f"--sample={sample}", "--labels=left")
    table.head(40).to_csv(sample, index=False)
    told = trivet(*pushing, "--name=few", project=churn.project).stdout
    assert "reference: none, so traffic has nothing to be compared with yet: give a --sample of 50 rows or more" in told
    table.assign(left="").to_csv(sample, index=False)
    told = trivet(*pushing, "--name=empty", project=churn.project).stdout
    assert "reference: 60 rows, 1 features, labels no: the column 'left' is empty" in told


def test_outside_a_project_a_verb_says_where_to_go(tmp_path: Path):
    done = trivet("list", project=tmp_path, check=False)
    assert done.returncode == 4
    assert "trivet init" in done.stderr


@pytest.mark.parametrize("verb", ["list", "init", "serve"])
def test_a_project_that_does_not_have_the_app_yet_is_told_the_line_to_add(tmp_path: Path, verb: str):
    (tmp_path / "shop.py").write_text("SECRET_KEY = 'x'\nINSTALLED_APPS = []\n")
    (tmp_path / "manage.py").write_text("os.environ.setdefault('DJANGO_SETTINGS_MODULE', 'shop')\n")
    done = trivet(verb, project=tmp_path, check=False)
    assert done.returncode == 3
    assert done.stderr.startswith(f'trivet {verb}: shop does not have Trivet: add it, INSTALLED_APPS += ["trivet"],')


def test_a_project_is_not_made_where_a_file_is(tmp_path: Path):
    (tmp_path / "customers.csv").write_text("age\n")
    done = trivet("init", "customers.csv", project=tmp_path, check=False)
    assert (done.returncode, done.stderr) == (3, "trivet init: customers.csv is a file; name a folder to make.\n")


def test_list_and_show_tell_the_models_story(churn: Churn):
    (model,) = json.loads(trivet("list", "--json", project=churn.project).stdout)
    assert (model["name"], model["champion"], model["traffic"]) == ("churn", 1, "1=100%")
    shown = json.loads(trivet("show", "churn", "--json", project=churn.project).stdout)
    assert [version["status"] for version in shown["versions"]] == ["ready", "ready"]
    assert {event["action"] for event in shown["events"]} >= {"register_version", "mark_ready", "promote"}
    sheet = trivet("show", "churn@challenger", project=churn.project).stdout
    assert re.search(r"tenure\s+FP64.*may be missing", sheet)
    assert "number           2" in sheet


def test_unknown_names_end_with_4_and_the_closest_match(churn: Churn):
    for verb, name in (("show", "chorn"), ("show", "churn@9"), ("promote", "churn@9"), ("rollback", "chorn")):
        done = trivet(verb, name, project=churn.project, check=False)
        assert done.returncode == 4, done.stderr
    assert "Did you mean 'churn'" in trivet("show", "chorn", project=churn.project, check=False).stderr


def test_promote_and_rollback_wait_for_the_workers(churn: Churn):
    with serving(churn.project):
        moved = json.loads(trivet("promote", "churn@2", "--json", project=churn.project).stdout)
        assert (moved["version"], moved["workers"], moved["behind"]) == (2, 2, [])
        back = trivet("rollback", "churn", project=churn.project).stdout
        assert "churn 1 is champion" in back
        assert "live in 2 of 2 workers" in back
    late = trivet("promote", "churn@2", "--if-generation", "1", project=churn.project, check=False)
    assert late.returncode == 3
    assert "changed while you decided" in late.stderr
    late = trivet("rollback", "churn", "--if-generation", "1", project=churn.project, check=False)
    assert late.returncode == 3
    assert "changed while you decided" in late.stderr


def test_predict_answers_one_row_or_a_file_into_the_same_log(churn: Churn, tmp_path: Path):
    one = json.loads(
        trivet("predict", "churn", "tenure=120.5", "plan=pro", "seats=3", "--json", project=churn.project).stdout
    )
    assert one["version"] == 1
    file = tmp_path / "rows.csv"
    file.write_text("tenure,plan,seats,note\n120.5,pro,3,x\n,free,4,y\n80,pro,lots,z\ninf,pro,3,x\n")
    unfit = trivet("predict", "churn", "--file", str(file), project=churn.project, check=False)
    assert (unfit.returncode, unfit.stdout) == (2, "")
    assert "column 'note' is no input: --skip note" in unfit.stderr
    done = trivet("predict", "churn", "--file", str(file), "--skip", "note", project=churn.project, check=False)
    assert done.returncode == 1
    first, second, third, fourth = csv.DictReader(io.StringIO(done.stdout))
    assert json.loads(first["value"]) == one["value"]
    assert second["decision"] in ("yes", "no")
    assert "'lots' is not a whole number" in third["error"]
    assert "'tenure' is infinite" in fourth["error"]
    assert "2 rows answered, 2 refused" in done.stderr
    (model,) = json.loads(trivet("list", "--json", project=churn.project).stdout)
    assert model["requests_last_hour"] == 3
    wrong = trivet("predict", "churn", "tenur=1", "plan=pro", "seats=3", project=churn.project, check=False)
    assert wrong.returncode == 2
    assert "Did you mean 'tenure'" in wrong.stderr


def test_a_key_is_shown_once_and_refused_everywhere_once_revoked(churn: Churn):
    with serving(churn.project) as server:
        made = json.loads(
            trivet(
                "keys",
                "create",
                "app",
                "--model=churn",
                "--verb=predict",
                "--expires=1d",
                "--json",
                project=churn.project,
            ).stdout
        )
        limited = trivet("keys", "limit", made["id"], "--limit=9/s", "--limit=churn=90/d,5/m", project=churn.project)
        assert f"limit of key {made['id']}: 9/s; churn: 5/m, 90/d · on 2 of 2 workers" in limited.stdout
        listed = trivet("keys", "list", "--json", project=churn.project).stdout
        assert made["key"] not in listed
        assert made["id"] in listed
        with Client(server.url, made["key"]) as client:
            assert client.predict("churn", churn.rows[:1])
        assert "revoked on 2 of 2 workers" in trivet("keys", "revoke", made["id"], project=churn.project).stdout
        for _ in range(8):
            with Client(server.url, made["key"]) as client, pytest.raises(Unauthenticated):
                client.predict("churn", churn.rows[:1])


def test_the_curl_that_push_prints_works_when_pasted(churn: Churn, churn_template: Churn):
    with serving(churn.project, workers=1, TRIVET_PUBLIC_URL="") as server:
        folder = churn_template.project.parent
        pushed = trivet(
            "push",
            str(folder / "churn1.joblib"),
            "--name=again",
            f"--sample={folder / 'sample.csv'}",
            "--labels=churned",
            project=churn.project,
            TRIVET_PUBLIC_URL=server.url,
        ).stdout
        assert "again 1 · digest" in pushed
        assert "0 decisions differ" in pushed
        assert "champion · generation" in pushed
        key = json.loads(
            trivet("keys", "create", "x", "--model=again", "--verb=predict", "--json", project=churn.project).stdout
        )["key"]
        command = next(line for line in pushed.splitlines() if line.startswith("curl "))
        answer = subprocess.run(
            ["bash", "-c", command],
            env=clean_environment(TRIVET_API_KEY=key),
            capture_output=True,
            text=True,
            check=True,
        )
        assert json.loads(answer.stdout)["model_name"] == "again"


def test_a_file_that_cannot_become_a_version_is_refused_with_a_reason(churn: Churn, tmp_path: Path):
    nothing = trivet("push", str(tmp_path / "none.joblib"), "--name=x", project=churn.project, check=False)
    assert nothing.returncode == 2
    (tmp_path / "page.joblib").write_text("<html>")
    page = trivet("push", str(tmp_path / "page.joblib"), "--name=x", project=churn.project, check=False)
    assert page.returncode == 3
    assert "Traceback" not in page.stderr
    bad_name = trivet("push", str(tmp_path / "page.joblib"), "--name=A B", project=churn.project, check=False)
    assert bad_name.returncode in (2, 3)
    assert json.loads(trivet("list", "--json", project=churn.project).stdout)[0]["name"] == "churn"


def test_manage_py_has_the_same_verbs(churn: Churn):
    done = subprocess.run(
        [sys.executable, "manage.py", "trivet", "list", "--json"],
        cwd=churn.project,
        env=clean_environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(done.stdout)[0]["name"] == "churn"
    wrong = subprocess.run(
        [sys.executable, "manage.py", "trivet", "show", "chorn"],
        cwd=churn.project,
        env=clean_environment(),
        capture_output=True,
        check=False,
    )
    assert wrong.returncode == 4


def test_serve_replaces_what_dies_and_leaves_nothing_behind(churn: Churn):
    server = Server(churn.project)
    try:
        server.wait_ready()
        children = server.children()
        assert len(children) == 3
        os.kill(server.web_workers()[0], signal.SIGKILL)
        wait_for(lambda: len(server.web_workers()) == 2 and set(server.web_workers()) - set(children))
        last = server.children()
        assert server.stop() == 0
        assert not [pid for pid in {*children, *last} if Path(f"/proc/{pid}").exists()]
        assert not list((churn.project / ".trivet/spool").glob("*/*.seg"))
    finally:
        server.stop()


def test_the_supervisor_keeps_its_process_id_and_neither_django_nor_numpy(churn: Churn):
    with serving(churn.project, LOG_LEVEL="INFO") as server:
        mapped = Path(f"/proc/{server.process.pid}/maps").read_text()
        assert "numpy" not in mapped
        assert "sqlite" not in mapped
        assert "numpy" in Path(f"/proc/{server.web_workers()[0]}/maps").read_text()
        held = [str(entry.readlink()) for entry in Path(f"/proc/{server.process.pid}/fd").iterdir()]
        assert not [path for path in held if "db.sqlite3" in path or "trivet-plan" in path]
        told = [line for line in server.lines if "event=ready imports_seconds=" in line]
        assert len(told) == 2, "each web worker says how long it took"


def test_workers_end_when_the_supervisor_is_killed(churn: Churn):
    server = Server(churn.project)
    try:
        server.wait_ready()
        children = server.children()
        os.kill(server.process.pid, signal.SIGKILL)
        wait_for(lambda: not any(Path(f"/proc/{pid}").exists() for pid in children), seconds=30)
    finally:
        server.process.wait()
        server.stop()


@pytest.mark.parametrize("verb", ["web", "keeper"])
def test_a_process_whose_supervisor_died_while_it_started_ends(churn: Churn, verb: str):
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    done = trivet(verb, "--supervisor", str(gone.pid), project=churn.project, check=False)
    assert done.returncode == -signal.SIGTERM


def test_a_second_server_of_one_trivet_home_is_refused_with_the_process_that_is_in_its_way(churn: Churn):
    with serving(churn.project, workers=1) as server:
        second = trivet(
            "serve", "--bind", f"127.0.0.1:{free_port()}", "--workers", "1", project=churn.project, check=False
        )
        assert second.returncode == 5
        assert f"process {server.process.pid} serves this TRIVET_HOME already" in second.stderr
        assert f"kill {server.process.pid}" in second.stderr
        alone = trivet("model-workers", project=churn.project, check=False)
        assert f"process {server.process.pid} (trivet serve) runs the model workers" in alone.stderr
    with serving(churn.project, workers=1) as server:
        assert server.web_workers()


@pytest.mark.parametrize("bind", ["9302", ":9302", "127.0.0.1:http"])
def test_what_is_no_address_is_refused_before_anything_listens(churn: Churn, bind: str):
    done = trivet("serve", "--bind", bind, project=churn.project, check=False)
    assert done.returncode == 5
    assert f"cannot listen on {bind}: not an address such as 127.0.0.1:8000" in done.stderr


def test_without_its_tables_a_verb_says_how_to_make_them(tmp_path: Path):
    made = trivet("init", "site", project=tmp_path, check=False)
    project = tmp_path / "site"
    assert made.returncode == 0, made.stderr
    for database in project.rglob("*.sqlite3"):
        database.unlink()
    done = trivet("list", project=project, check=False)
    assert (done.returncode, "run `python manage.py migrate`" in done.stderr) == (5, True), done.stderr


def test_a_port_that_is_taken_is_a_sentence(churn: Churn):
    with taken_port() as port:
        done = trivet("serve", "--bind", f"127.0.0.1:{port}", project=churn.project, check=False)
    assert done.returncode == 5
    assert "cannot listen" in done.stderr
