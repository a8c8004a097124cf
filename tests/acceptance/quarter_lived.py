"""Lives a quarter of the shop, run in its folder: its customers were asked about months ago, and now it is known who left.

What answers, records and ships is what does so anywhere; moved is only when it was.
"""

import json
import os
import re
import sys
from datetime import timedelta
from html import unescape
from pathlib import Path

import django

sys.path.insert(0, str(Path.cwd()))
os.environ["DJANGO_SETTINGS_MODULE"] = "shop.settings"
django.setup()

import msgspec  # noqa: E402
from django.contrib.auth.models import User  # noqa: E402
from django.test import Client  # noqa: E402
from django.utils import timezone  # noqa: E402
from sklearn.metrics import roc_auc_score  # noqa: E402

from customers.models import Customer  # noqa: E402
from trivet import conf  # noqa: E402
from trivet.control.monitoring.folding import Folding  # noqa: E402
from trivet.control.monitoring.performance_report import performance_report  # noqa: E402
from trivet.control.predictions.models import Prediction  # noqa: E402
from trivet.control.predictions.shipping import ship  # noqa: E402
from trivet.serving.aside import Aside  # noqa: E402
from trivet.serving.process import stop_process  # noqa: E402

LONG_AGO = timedelta(days=80)
LASTED = timedelta(days=15)
BATCH = 100


def asks():
    """Ask both versions about all customers, a batch each some hours."""
    keys = list(Customer.objects.order_by("pk").values_list("pk", flat=True))
    batches = [keys[start : start + BATCH] for start in range(0, len(keys), BATCH)]
    began = timezone.now() - LONG_AGO
    with Aside(conf.HOME() / "quarter") as aside:
        for place, batch in enumerate(batches):
            for version in sys.argv[2:]:
                aside.predict_many(f"churn@{version}", list(Customer.objects.filter(pk__in=batch)), user="renewals")
            at = int((began + LASTED * place / len(batches)).timestamp() * 10**9)
            ship([msgspec.structs.replace(one, made_at=at) for one in aside.records()], beside=Folding())
    stop_process()


def looks():
    """Say how right each version was: by the page's own report and by scikit-learn, of the same rows."""
    now, said = timezone.now(), {}
    client = Client(headers={"host": "localhost"})
    client.force_login(User.objects.get(username="ana"))
    for version in map(int, sys.argv[2:]):
        report = performance_report("churn", number=version, now=now, period=timedelta(days=90))
        rows = Prediction.objects.of_model("churn").of_version(version).answers().labelled().with_labels()
        truths, scores = zip(*rows.values_list("label", "score"), strict=True)
        page = client.get(f"/trivet/models/churn/performance/?version={version}&period=90")
        auc, brier = report.realised["auc"], report.realised["brier"]
        said[version] = {
            "labels": report.labels,
            "auc": auc.value,
            "binning": auc.binning,
            "brier": brier.value,
            "exact": roc_auc_score(list(map(int, truths)), scores),
            "status": page.status_code,
            "page": re.sub(r"\s+", " ", unescape(re.sub("<[^>]*>", " ", page.content.decode()))),
        }
    drift = client.get("/trivet/models/churn/drift/").content.decode()
    print(json.dumps({"versions": said, "drift": [name for name in ("seats", "plan", "orders_90d") if name in drift]}))


{"asks": asks, "looks": looks}[sys.argv[1]]()
