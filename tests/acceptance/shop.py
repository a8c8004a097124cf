"""The shop of `examples/shop` as it was before Trivet came, in a folder of its own, with what people type there."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.acceptance.servers import clean_environment

EXAMPLE = Path(__file__).parents[2] / "examples" / "shop"
LEFT_OUT = shutil.ignore_patterns("db.sqlite3", ".trivet", "__pycache__", "*.csv", "*.json", "*.joblib", "static")
APP = 'INSTALLED_APPS += ["trivet"]\n'
CONSOLE = '    path("trivet/", include("trivet.console.urls")),\n'
IMPORT = "import trivet\n"
COLUMN = '    churn_risk = trivet.PredictedField("churn")\n'
MIXIN = "from trivet.admin import PredictionAdminMixin, prediction_column\n"
MIXED = "PredictionAdminMixin, admin.ModelAdmin"
PREDICTORS = '    predictors = ["churn"]\n'
PREDICTION_COLUMN = ', prediction_column("churn")]'
ASKED = '    risk = trivet.predict("churn", customer)\n'


@dataclass(frozen=True)
class Shop:
    """A project in `folder`, run by `python`."""

    folder: Path
    python: Path

    def run(self, *words: str, expect: int = 0, **environment: str) -> str:
        """Run Python with `words` in the project; return what it printed, on both streams."""
        done = subprocess.run(
            [self.python, *words],
            cwd=self.folder,
            env=clean_environment(PYTHONPATH="", **environment),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=600,
            check=False,
        )
        assert done.returncode == expect, f"{' '.join(words)} → {done.returncode}\n{done.stdout}"
        return done.stdout

    def manage(self, *words: str, expect: int = 0, **environment: str) -> str:
        """Run `manage.py` with `words`."""
        return self.run("manage.py", *words, expect=expect, **environment)

    def trivet(self, *words: str, expect: int = 0) -> str:
        """Run `manage.py trivet` with `words`."""
        return self.manage("trivet", *words, expect=expect)

    def shell(self, code: str) -> str:
        """Run `code` as typed into `manage.py shell`."""
        return self.manage("shell", "-v", "0", "-c", code)

    def edit(self, name: str, before: str, after: str) -> None:
        """Put `after` in the place of `before`, which is in the file once."""
        file = self.folder / name
        text = file.read_text()
        assert text.count(before) == 1, f"{name} has {before!r} {text.count(before)} times"
        file.write_text(text.replace(before, after))


def shop_in(folder: Path, python: Path) -> Shop:
    """Copy the example as it is."""
    shutil.copytree(EXAMPLE, folder, ignore=LEFT_OUT)
    return Shop(folder, python)


def plain_shop(folder: Path, python: Path) -> Shop:
    """Copy the example and take Trivet out of it: what is left knows nothing of models."""
    shop = shop_in(folder, python)
    for name in ("ml.py", "tests.py", "migrations/0002_churn_risk.py"):
        (folder / "customers" / name).unlink()
    shop.edit("shop/settings.py", APP, "")
    shop.edit("shop/urls.py", CONSOLE, "")
    shop.edit("customers/models.py", IMPORT, "")
    shop.edit("customers/models.py", COLUMN, "")
    for before, after in ((MIXIN, ""), (MIXED, "admin.ModelAdmin"), (PREDICTORS, ""), (PREDICTION_COLUMN, "]")):
        shop.edit("customers/admin.py", before, after)
    shop.edit("customers/views.py", IMPORT, "")
    shop.edit("customers/views.py", ASKED, "    risk = 0.0\n")
    left = [file.name for file in folder.rglob("*.py") if "trivet" in file.read_text()]
    assert not left
    return shop
