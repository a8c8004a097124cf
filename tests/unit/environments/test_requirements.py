"""What a requirements file may say: exact versions, and nothing that an installer could take for more."""

import time

import pytest

from trivet.core.errors import BundleError
from trivet.model.environments.requirements import canonical, read_requirements

HASH = "--hash=sha256:" + "a" * 64
SPACES = " " * 1000


def text_of(data: str) -> str:
    return canonical(read_requirements(data.encode())).decode()


def test_two_spellings_of_the_same_requirements_are_the_same_bytes():
    told = "# made by hand\nScikit_Learn == 1.5.2   # the oldest we have\n\nnumpy==1.26.4\r\n"
    assert text_of(told) == "numpy==1.26.4\nscikit-learn==1.5.2\n" == text_of("numpy==1.26.4\nscikit-learn==1.5.2")


def test_hashes_and_markers_stay_as_a_locked_file_has_them():
    told = f"numpy==2.1.3 ; python_version >= '3.11' \\\n    {HASH[:-1]}b \\\n    {HASH}\n"
    assert text_of(told) == f"numpy==2.1.3 ; python_version >= '3.11' {HASH} {HASH[:-1]}b\n"


@pytest.mark.parametrize("line", ["mlflow==2.16.0", "mlflow-skinny==2.16.0", "Trivet==0.1.0"])
def test_what_mlflow_writes_for_itself_is_left_out_and_so_are_we(line: str):
    assert text_of(f"{line}\nscikit-learn==1.5.2\n") == "scikit-learn==1.5.2\n"


@pytest.mark.parametrize(
    "line",
    [
        "numpy>=1.26",
        "numpy==1.*",
        "numpy",
        "numpy===1.26.4",
        "evil @ https://example.com/evil.whl",
        "./evil.whl",
        "--index-url https://example.com",
        "-r other.txt",
        "-e .",
        "numpy==1.26.4 --install-option=x",
        "numpy==1.26.4 --hash=md5:abc",
        "numpy==1.26.4; os_name == 'posix' --index-url=x",
        "git+https://example.com/evil.git",
        "numpy==1.26.4\x0b--index-url=x",
        "${HOME}==1",
    ],
)
def test_anything_but_an_exact_version_is_refused_by_its_line(line: str):
    with pytest.raises(BundleError, match=r"exactly|names no library"):
        read_requirements(f"scipy==1.14.1\n{line}\n".encode())


@pytest.mark.parametrize(
    "line",
    [
        f"a==1{SPACES};{SPACES}x{SPACES}$",
        f"a[{'b, ' * 300}]==1$",
        f"a==1 ; {'x ' * 400}$",
        f"a==1 {f'{HASH} ' * 3000}--hash=sha256:b",
        f"a==1 ; {'x' * 250_000}$",
    ],
    ids=["spaces", "extras", "a marker", "hashes", "too long a line"],
)
def test_a_line_made_to_take_long_is_refused_at_once(line: str):
    began = time.process_time()
    with pytest.raises(BundleError, match="exactly"):
        read_requirements(line.encode())
    assert time.process_time() - began < 0.5, "the spaces took 3 s where parts of the pattern could share them"


def test_hashes_are_for_all_or_none():
    with pytest.raises(BundleError, match="none for scipy"):
        read_requirements(f"numpy==1.26.4 {HASH}\nscipy==1.14.1\n".encode())


@pytest.mark.parametrize("data", [b"", b"# nothing\n", b"mlflow==2.16.0\n", b"\xff", b"#" * 300_000])
def test_what_names_no_library_is_refused(data: bytes):
    with pytest.raises(BundleError):
        read_requirements(data)
