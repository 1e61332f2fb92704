"""What users install, and the page that they find it on."""

from __future__ import annotations

import re
import subprocess
import sys
import tarfile
import zipfile
from email import message_from_bytes
from email.message import Message
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LINK = re.compile(r"\]\((?!https:)[^)]*\)")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel and the source distribution."""
    place = tmp_path_factory.mktemp("dist")
    build = [sys.executable, "-m", "hatchling", "build", "--directory", str(place)]
    run = subprocess.run(build, cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    return place


@pytest.fixture(scope="module")
def page(built: Path) -> Message:
    """What the wheel says of itself."""
    (wheel,) = built.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (each for each in archive.namelist() if each.endswith(".dist-info/METADATA"))
        return message_from_bytes(archive.read(name))


def test_the_package_page_can_be_shown(built: Path) -> None:
    """Of the wheel as of the source distribution, without a warning."""
    files = sorted(map(str, built.iterdir()))
    assert len(files) == 2
    check = [sys.executable, "-m", "twine", "check", "--strict", *files]
    run = subprocess.run(check, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr


def test_no_link_of_the_package_page_leads_nowhere(page: Message) -> None:
    """A file of the repository has no address there: what names one in the README is plain text."""
    text = str(page.get_payload())
    assert "pip install redpool" in text
    assert LINK.findall((ROOT / "README.md").read_text(encoding="utf-8"))
    assert LINK.findall(text) == []


def test_no_extra_but_its_own_brings_a_server(page: Message) -> None:
    """Only the extra `embedded` brings one, and `dev` with it."""
    servers = [each for each in page.get_all("Requires-Dist") or () if re.match("(redis|valkey)lite", each)]
    assert servers
    assert {extra for each in servers for extra in re.findall(r"extra == '(\w+)'", each)} <= {"embedded", "dev"}


def test_the_source_distribution_has_all_that_its_tests_need(built: Path) -> None:
    """And the wheel has the package only, with the files of the dashboard's page."""
    (source,) = built.glob("*.tar.gz")
    with tarfile.open(source) as archive:
        inside = {Path(*Path(name).parts[1:]).as_posix() for name in archive.getnames()}
    assert {"Makefile", "mkdocs.yml", "README.md", "docs/.nav.yml", "tests/docs/test_package.py"} <= inside
    (wheel,) = built.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    assert {Path(name).parts[0].partition("-")[0] for name in names} == {"redpool"}
    page = "redpool/dashboard/static/"
    assert {f"{page}index.html", f"{page}app.js", f"{page}uplot/uPlot.esm.js", f"{page}uplot/LICENSE"} <= names


def test_the_readme_fits_on_a_page() -> None:
    """It is for someone who has a minute; the rest stands in the docs."""
    lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    assert 60 <= len(lines) <= 100
    assert {"make demo", "make test"} <= {line.partition("#")[0].strip() for line in lines}
