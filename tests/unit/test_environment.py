"""What the ready-made server reads from its environment."""

import os
import subprocess
import sys
from pathlib import Path

from trivet.server.environment import database


def test_parameters_of_the_address_go_to_the_driver():
    found = database("postgres://ana:p%40ss@db:5433/shop?sslmode=require&connect_timeout=5", Path("unused"))
    assert (found["NAME"], found["PASSWORD"], found["PORT"]) == ("shop", "p@ss", "5433")
    assert found["OPTIONS"] == {"sslmode": "require", "connect_timeout": "5"}


def test_earlier_secret_keys_are_read(tmp_path: Path):
    (tmp_path / ".env").write_text("SECRET_KEY='new'\nSECRET_KEY_FALLBACKS='old,older'\n")
    code = "from trivet.server import settings; print(settings.SECRET_KEY_FALLBACKS)"
    environment = {**os.environ, "TRIVET_PROJECT": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['old', 'older']"
