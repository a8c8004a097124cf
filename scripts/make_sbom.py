"""Writes what a lock file holds as a bill of materials, CycloneDX 1.6 in JSON: `python scripts/make_sbom.py LOCK [OUT]`.

The same lock file makes the same bytes: there is no time and no random number in it.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[1]
VERSION = re.compile(r'^__version__ = "([^"]+)"', re.MULTILINE)
_ENTRY = re.compile(
    r"^([A-Za-z0-9._-]+)(?:\[[^\]]*\])?==([^ ;\\]+)(?:\s*;\s*(.*?))?\s*\\\n((?:    --hash=\S+(?: \\)?\n?)+)",
    re.MULTILINE,
)
_HASH = re.compile(r"--hash=sha256:([0-9a-f]{64})")


def bill(lock: str, release: str) -> dict[str, Any]:
    """Return the bill of what `lock` has: each release with its package URL, and the marker it is installed under."""
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "component": {
                "type": "application",
                "bom-ref": f"pkg:pypi/trivet@{release}",
                "name": "trivet",
                "version": release,
                "purl": f"pkg:pypi/trivet@{release}",
                "licenses": [{"license": {"id": "Apache-2.0"}}],
            }
        },
        "components": [_component(*found) for found in sorted(_ENTRY.findall(lock))],
    }


def _component(name: str, release: str, marker: str, hashes: str) -> dict[str, Any]:
    plain = re.sub(r"[-_.]+", "-", name).lower()
    place = f"pkg:pypi/{plain}@{release}"
    component: dict[str, Any] = {
        "type": "library",
        "bom-ref": f"{place}#{marker}" if marker else place,
        "name": plain,
        "version": release,
        "purl": place,
        "properties": [{"name": "trivet:sha256", "value": digest} for digest in _HASH.findall(hashes)],
    }
    if marker:
        component["properties"].append({"name": "trivet:marker", "value": marker})
    return component


def main(arguments: list[str]) -> int:
    """Write the bill of one lock file."""
    lock, *out = arguments
    init = (REPOSITORY / "src" / "trivet" / "__init__.py").read_text(encoding="utf-8")
    text = json.dumps(bill(Path(lock).read_text(encoding="utf-8"), VERSION.findall(init)[0]), indent=1) + "\n"
    if out:
        Path(out[0]).parent.mkdir(parents=True, exist_ok=True)
        Path(out[0]).write_text(text, encoding="utf-8")
    else:
        sys.stdout.write(text)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
