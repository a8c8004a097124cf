"""`python -m trivet.demo DIR` trains the two models and writes their files; a process of its own, so its memory is given back."""

import sys
from pathlib import Path

from trivet.demo.training import build

build(Path(sys.argv[1]))
