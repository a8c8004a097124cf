"""The tripwire (S20): a process that answers ends when it unpickles or starts a program; the site beside it may do both."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from tests.contracts.rooms import REPOSITORY
from trivet.model.sandbox import tripwire

TRIPPED, DONE = tripwire.STATUS, 0
OURS, SITE = "trivet.dataplane.made_up", "site.views"
PICKLE = r'b"cos\ngetpid\n(tR."'
UNPICKLES = f"import pickle; pickle.loads({PICKLE})"
WAYS = {  # all that can find a global, and all that start something
    "pickle": UNPICKLES,
    "pickle in Python": f"import io, pickle; pickle._Unpickler(io.BytesIO({PICKLE})).load()",
    "a queue of processes": f"import multiprocessing.reduction as r; r.ForkingPickler.loads({PICKLE})",
    "an array of objects": "import io, numpy as np; f = io.BytesIO(); np.save(f, np.array([len], object));"
    " f.seek(0); np.load(f, allow_pickle=True)",
    "joblib": "import io, joblib; f = io.BytesIO(); joblib.dump(len, f); f.seek(0); joblib.load(f)",
    "shelve": "import shelve, tempfile\nwith shelve.open(tempfile.mkdtemp() + '/x') as s: s['a'] = len; s['a']",
    "Django's cache": "from django.core.cache import cache; cache.set('a', len); cache.get('a')",
    "a shell": "import os; os.system('true')",
    "a program": "import subprocess; subprocess.run(['true'])",
    "a spawned program": "import os; os.posix_spawn('/bin/true', ['true'], {})",
    "a process": "import multiprocessing as m; m.get_context('fork').Process(target=len).start()",
}
CASES = {
    **{f"{way} in the data plane": (TRIPPED, OURS, code) for way, code in WAYS.items()},
    "while following the registry": (TRIPPED, "trivet.serving.process", UNPICKLES),
    "while shipping records": (TRIPPED, "trivet.serving.keeper", UNPICKLES),
    **{f"{way} in the site": (DONE, SITE, code) for way, code in WAYS.items()},
    "a receiver of the site's": (DONE, OURS, "from django.dispatch import Signal; s = Signal();"
        " s.connect(site, weak=False); s.send(None)"),
    "a storage of the site's": (DONE, OURS, "from django.core.files.storage import Storage;"
        " type('S', (Storage,), {'_open': site})().open('x')"),
    "a file of such a storage": (DONE, OURS, "from trivet.control.registry import storage\n"
        "File = type('File', (), {'__enter__': lambda self: self, '__exit__': lambda *_: None, 'read': site})\n"
        "storage.bundle_storage = lambda: type('S', (), {'open': lambda *_: File()})()\n"
        "try: storage._content('name', 1)\nexcept TypeError: pass"),
    "the registry, for a person": (DONE, "trivet.serving.loading", UNPICKLES),
    "the site, which predicts": (TRIPPED, SITE, "ours()"),
    "a pickle that names nothing": (DONE, OURS, r'import pickle; pickle.loads(b"I1\n.")'),
}  # fmt: skip
RUN = f"""
import io, joblib, json, multiprocessing.reduction, os, pickle, shelve, subprocess, sys, django
django.setup()
import numpy, django.core.cache, django.core.files.storage
from trivet.model.sandbox import tripwire
from trivet.serving.process import WATCHED, WATCHED_ALONE

def function(module, code):
    names = {{"__name__": module}}
    exec("def run(*_, **__):\\n" + "\\n".join("    " + line for line in code.splitlines()), names)
    return names["run"]

def ended(module, code, rooms):
    pid = os.fork()
    if pid == 0:
        code_ = 1
        try:
            sys.stderr = io.StringIO()
            run, site = function(module, code), function({SITE!r}, {UNPICKLES!r})
            run.__globals__.update(site=site, ours=function({OURS!r}, {UNPICKLES!r}))
            tripwire.arm(rooms)
            run()
            code_ = 0
        finally:
            os._exit(code_)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

cases = json.loads(sys.argv[1])
print(json.dumps([
    {{name: ended(module, code, WATCHED) for name, (_, module, code) in cases.items()}},
    {{name: ended(module, code, None) for name, (_, module, code) in cases.items()}},
    {{name: ended(module, code, WATCHED_ALONE) for name, (_, module, code) in cases.items()}},
]))
"""


@pytest.fixture(scope="module")
def endings():
    """How a process ends for each case: with the rooms of one that a site shares, and with the whole process watched."""
    environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "tests.settings"}
    ran = subprocess.run(
        [sys.executable, "-c", RUN, json.dumps(CASES)],
        cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout.splitlines()[-1])


def test_S20_code_of_ours_that_unpickles_or_starts_a_program_ends_the_process_and_the_sites_own_does_not(endings):
    assert endings[0] == {name: expected for name, (expected, _, _) in CASES.items()}


def test_S20_where_no_site_shares_the_process_whoever_does_it_ends_it(endings):
    assert {name for name, status in endings[1].items() if status != TRIPPED} == {"a pickle that names nothing"}


def test_S20_in_a_process_of_ours_alone_what_the_site_has_in_it_still_may(endings):
    may = {
        "a receiver of the site's",
        "a storage of the site's",
        "a file of such a storage",
        "the registry, for a person",
    }
    assert {name for name, status in endings[2].items() if status != TRIPPED} == {*may, "a pickle that names nothing"}


@pytest.mark.parametrize("log", ["read", "blocked", "closed"])
@pytest.mark.parametrize("tell", ["print('told', flush=True)", "1 / 0"], ids=["told", "telling fails"])
def test_S20_it_says_so_and_ends_whatever_has_become_of_the_log(tell, log):
    prepare = {"read": "", "closed": "os.close(2)", "blocked": FILL}[log]
    code = f"import os\nfrom trivet.model.sandbox import tripwire\n{prepare}\ntripwire.arm(tell=lambda: {tell})\n"
    ran = subprocess.run(
        [sys.executable, "-c", code + UNPICKLES], capture_output=True, text=True, timeout=20, check=False
    )
    assert ran.returncode == TRIPPED
    assert ran.stdout == ("told\n" if "told" in tell else "")
    if log == "read":
        assert ran.stderr.startswith("CRITICAL trivet event=tripwire audit=pickle.find_class at=__main__:")


FILL = """
reading, writing = os.pipe()
os.dup2(writing, 2)
os.set_blocking(2, False)
try:
    while True: os.write(2, bytes(65536))
except BlockingIOError:
    os.set_blocking(2, True)
"""
