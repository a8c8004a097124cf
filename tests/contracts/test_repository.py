"""What is committed works anywhere: no path of one machine, no place to download from, a changelog for this version."""

import re
import shutil
import subprocess
import tomllib
from importlib.metadata import entry_points
from pathlib import Path

import pytest

import trivet
from tests.contracts.rooms import REPOSITORY

LOCKS = [REPOSITORY / "requirements" / name for name in ("dev.txt", "uv.txt")]
# put together from pieces, since this file is committed, too
FOLDERS_OF_ONE_MACHINE = re.compile(r"(?<![\w.<}])/(?:work|root|tmp|home|Users)/\w")
REGISTRY_HOSTS = re.compile(r"pypi\." + "org|python" + r"hosted\." + "org")


def committed_texts() -> dict[str, str]:
    """Return path → text of every file in the index of the checkout, without binary ones."""
    if shutil.which("git") is None or not (REPOSITORY / ".git").exists():
        pytest.skip("not a git checkout")
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    texts = {}
    for name in filter(None, listed.stdout.split("\0")):
        file = REPOSITORY / name
        content = file.read_bytes() if file.is_file() else b""
        if b"\0" not in content:
            texts[name] = content.decode()
    return texts


@pytest.mark.parametrize("pattern", [FOLDERS_OF_ONE_MACHINE, REGISTRY_HOSTS], ids=["machine paths", "registry hosts"])
def test_no_committed_file_names_one_machine_or_registry(pattern):
    found = {
        f"{name}, line {number}: {line.strip()[:100]}"
        for name, text in committed_texts().items()
        for number, line in enumerate(text.splitlines(), start=1)
        if pattern.search(line)
    }
    assert not found


def check_locks(*files: Path) -> subprocess.CompletedProcess[str]:
    command = [REPOSITORY / "scripts" / "check-locks", *files]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_lock_files_name_no_place_to_download_from_and_every_hash():
    run = check_locks(*LOCKS)
    assert run.returncode == 0, run.stdout + run.stderr


@pytest.mark.parametrize(
    "line",
    [
        "--index-url=https://example.com/simple",
        "--extra-index-url example",
        "-f wheels",
        "django @ https://example.com/django.whl \\",
        "django==6.0",
    ],
)
def test_such_a_line_in_a_lock_file_would_be_noticed(line, tmp_path):
    lock = tmp_path / "lock.txt"
    lock.write_text(f"numpy==2.0 \\\n    --hash=sha256:00\n{line}\n")
    assert check_locks(lock).returncode == 1


def test_every_declared_dependency_is_locked():
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))
    extras = project["project"]["optional-dependencies"]
    declared = [project["project"]["dependencies"], *extras.values(), *project["dependency-groups"].values()]
    locked = set(re.findall(r"^([a-z0-9-]+)==", LOCKS[0].read_text(encoding="utf-8"), re.MULTILINE))
    names = {re.match(r"[\w-]+", requirement).group().lower() for group in declared for requirement in group}
    assert names - {"trivet"} <= locked


def test_the_changelog_knows_this_version():
    changelog = (REPOSITORY / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.search(rf"^## {re.escape(trivet.__version__)}\b", changelog, re.MULTILINE)
    assert re.search(r"^## Unreleased$", changelog, re.MULTILINE)


@pytest.mark.parametrize(
    "file", [*REPOSITORY.glob("*.md"), *REPOSITORY.glob("docs/**/*.md")], ids=lambda file: file.name
)
def test_links_between_pages_lead_somewhere(file):
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", file.read_text(encoding="utf-8"))
    assert {link for link in links if not (file.parent / link).exists()} == set()


def test_the_first_page_of_the_documentation_leads_to_every_other():
    first = (REPOSITORY / "docs" / "README.md").read_text(encoding="utf-8")
    pages = {str(page.relative_to(REPOSITORY / "docs")) for page in REPOSITORY.glob("docs/*/*.md")}
    assert {page for page in pages if f"({page})" not in first} == set()


def test_the_runtimes_we_announce_are_there():
    ours = [point for point in entry_points(group="trivet.runtimes") if point.dist and point.dist.name == "trivet"]
    assert {point.name for point in ours} == {"catboost", "lightgbm", "onnx", "skops", "xgboost"}
    assert {point.load().name for point in ours} == {point.name for point in ours}


def test_the_security_page_tells_of_every_runtime_we_announce():
    page = (REPOSITORY / "SECURITY.md").read_text(encoding="utf-8")
    announced = [
        point.name for point in entry_points(group="trivet.runtimes") if point.dist and point.dist.name == "trivet"
    ]
    assert [name for name in announced if f"`{name}`" not in page] == []
