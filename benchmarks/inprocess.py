"""What `trivet.predict` costs over the bare ONNX Runtime call, for one row in this process."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from benchmarks.corridor import best


def main(project: str) -> None:
    """Print microseconds of the bare call, and of `trivet.predict` for the same row, as JSON."""
    os.environ["TRIVET_PROJECT"] = project
    os.environ["DJANGO_SETTINGS_MODULE"] = "trivet.server.settings"
    import django

    django.setup()
    import trivet
    from trivet.core.examples import fields_of
    from trivet.serving.process import this_process

    live = this_process().plane.table.models["late"].routed[0][1]
    demo = json.loads((Path(project) / "demo.json").read_text())
    row = fields_of(live.plan.signature, {t["name"]: t["data"] for t in demo["sample"]["inputs"]})
    from trivet.dataplane.protocol.messages import Tensor
    from trivet.dataplane.validation.tensors import validate

    tensors = [Tensor(t["name"], t["shape"], t["datatype"], t["data"]) for t in demo["sample"]["inputs"]]
    feed = validate(live.plan, tensors, "late").feed
    print(
        json.dumps(
            {
                "bare": best(lambda: live.loaded.run(feed, live.output_names)),
                "predict": best(lambda: trivet.predict("late", row)),
            }
        )
    )


if __name__ == "__main__":
    main(sys.argv[1])
