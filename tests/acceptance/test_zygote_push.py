"""A push while a server of the project runs: its zygote opens the file."""

import json
import os
import signal
import time
import urllib.request
from pathlib import Path

from tests.acceptance.servers import trivet, wait_for

MOST_SECONDS = 5.0  # promised for a pipeline on a machine that does nothing else
SLACK = 4.0  # this machine may run three suites at once


def push(churn, folder, name):
    """Push a pipeline with a logistic regression; return what was said, and how long it took until it was live."""
    started = time.monotonic()
    said = trivet(
        "push",
        str(folder / "churn1.joblib"),
        f"--name={name}",
        f"--sample={folder / 'sample.csv'}",
        "--labels=churned",
        "--json",
        project=churn.project,
    ).stdout
    return json.loads(said), time.monotonic() - started


def zygotes(server):
    """Return the zygotes among the server's processes."""
    return [pid for pid in server.children() if b"sandbox.zygote" in Path(f"/proc/{pid}/cmdline").read_bytes()]


def test_the_servers_zygote_opens_what_is_pushed_and_is_renewed_when_asked(churn, churn_template, churn_server):
    folder = churn_template.project.parent
    assert zygotes(churn_server) == []  # nobody asked for one yet
    push(churn, folder, "first")
    (zygote,) = zygotes(churn_server)
    environment = Path(f"/proc/{zygote}/environ").read_bytes()
    assert b"DJANGO" not in environment
    assert b"SECRET" not in environment
    opened = [str(Path(f"/proc/{zygote}/fd/{number}").readlink()).partition(":")[0] for number in range(3)]
    assert opened == ["socket", "/dev/null", "/dev/null"]
    said, seconds = push(churn, folder, "second")
    assert said["generation"]
    assert said["behind"] == []
    assert seconds < MOST_SECONDS * SLACK
    assert zygotes(churn_server) == [zygote]
    body = json.dumps({"inputs": json.loads(churn.body)["inputs"]}).encode()
    made = trivet("keys", "create", "two", "--model=second", "--verb=predict", "--json", project=churn.project).stdout
    request = urllib.request.Request(
        f"{churn_server.url}/v2/models/second/infer",
        body,
        {"Content-Type": "application/json", "Authorization": f"Bearer {json.loads(made)['key']}"},
    )
    wait_for(lambda: urllib.request.urlopen(request).status == 200)
    os.kill(zygote, signal.SIGHUP)
    wait_for(lambda: zygotes(churn_server) == [])
    push(churn, folder, "third")
    assert len(zygotes(churn_server)) == 1
