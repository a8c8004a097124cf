"""The mathematics stands alone: it is imported without settings and without Django."""

import subprocess
import sys

ALONE = ("performance", "estimates", "trust", "gaps", "truths", "usual", "shortfall")


def test_the_mathematics_needs_no_django():
    program = "import sys\n" + "".join(f"import trivet.control.monitoring.{name}\n" for name in ALONE)
    asked = [sys.executable, "-c", program + "sys.exit('django' in sys.modules)"]
    assert subprocess.run(asked, check=False, env={}).returncode == 0
