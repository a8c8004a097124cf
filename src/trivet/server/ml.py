"""The `ml.py` in the project's folder, which belongs to no app: Django finds this one, and this one imports it."""

from __future__ import annotations

import sys
from importlib.util import module_from_spec, spec_from_file_location

from trivet.server.environment import project_folder

_spec = spec_from_file_location("ml", project_folder() / "ml.py")
if _spec is not None and _spec.loader is not None and (project_folder() / "ml.py").is_file():
    sys.modules["ml"] = module_from_spec(_spec)
    _spec.loader.exec_module(sys.modules["ml"])
