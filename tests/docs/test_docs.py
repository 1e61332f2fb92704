"""The code in the README and the docs runs, as written, against a real server; no other block is unlooked at."""

from __future__ import annotations

import configparser
import contextlib
import gc
import io
import re
import shlex
import shutil
import ssl
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from importlib.metadata import metadata
from pathlib import Path
from typing import Any

import pytest
import redis.asyncio.connection
import redis.connection
import valkey.asyncio.connection
import valkey.connection

from redpool import cli
from redpool.embedded import Server
from support import tls
from topology import servers

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
# Those of frameworks/ need the frameworks: tests/integrations runs them.
PAGES = [ROOT / "README.md", *sorted(page for page in DOCS.rglob("*.md") if page.parent.name != "frameworks")]
BLOCK = re.compile(r"^```(.*)\n((?:.*\n)*?)^```$", re.MULTILINE)
INDENTED = re.compile(r"\n\n {4}\S.*")
AT_HOME = 6379
# What pages bound a call by suits a machine that has time for it. Here the machine may stall for longer.
TIGHT = re.compile(r"(?<=deadline\()\d+\.\d+|(?<=socket_timeout=)\d+\.\d+")
PATIENT = "30.0"
# What a page needs beside the server: where the page says that it is, and the fixture that has it.
ELSEWHERE = {"connecting.md": (6380, "secured"), "sentinel.md": (26379, "watched"), "cluster.md": (7000, "clustered")}
# What pages need of redis-py that not every supported version has.
NEEDS = {"metrics.md": "OpenTelemetry recording"}


def name_of(page: Path) -> str:
    return str(page.relative_to(DOCS if page.is_relative_to(DOCS) else ROOT))


def blocks(*languages: str) -> Iterator[Any]:
    """Yield each block of these languages, with the page's name."""
    for page in PAGES:
        for number, (language, text) in enumerate(BLOCK.findall(page.read_text(encoding="utf-8")), 1):
            if language in languages:
                yield pytest.param(text, id=f"{name_of(page)}-{number}")


def pages_of_code() -> Iterator[Any]:
    """Yield each page's Python, taken together."""
    for page in PAGES:
        found = BLOCK.findall(page.read_text(encoding="utf-8"))
        if code := [text for language, text in found if language == "python"]:
            needs = [pytest.mark.needs(NEEDS[name_of(page)])] if name_of(page) in NEEDS else []
            yield pytest.param(name_of(page), "\n".join(code), id=name_of(page), marks=needs)


# -- Python ------------------------------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def _recording_ends() -> Iterator[None]:
    """Switch redis-py's recorder off after a page: before 7.4 its own `shutdown` leaves it on."""
    yield
    for name in ("redis.observability.recorder", "redis.asyncio.observability.recorder"):
        if name in sys.modules:
            sys.modules[name].reset_collector()


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the files that the pages name: those of an authority, which signs for itself, and of a client."""
    if shutil.which("openssl") is None:
        pytest.skip("no openssl to make a certificate with")
    place = tmp_path_factory.mktemp("tls")
    make = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -addext subjectAltName=IP:127.0.0.1"
    subprocess.run(
        [*make.split(), "-keyout", "client.key", "-out", "ca.pem"], check=True, capture_output=True, cwd=place
    )
    shutil.copy(place / "ca.pem", place / "client.pem")
    return place


@pytest.fixture
def secured(certificates: Path, redis_server: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, int]]:
    """The server behind TLS, which looks at a client's certificate; and the page's files in the current folder."""
    monkeypatch.chdir(certificates)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile="ca.pem")
    context.load_cert_chain("ca.pem", "client.key")
    context.verify_mode = ssl.CERT_OPTIONAL
    with tls.before(redis_server.host, redis_server.port, context) as address:
        yield address


@pytest.fixture
def watched() -> Iterator[tuple[str, int]]:
    """A Sentinel, with a master and its replica."""
    with servers.guarded() as found:
        yield found.sentinels[0]


@pytest.fixture
def clustered() -> Iterator[tuple[str, int]]:
    """A node of a cluster of three."""
    with servers.cluster() as found:
        yield found.servers[0].host, found.servers[0].port


@pytest.fixture
def redirect(redis_server: Server, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> Callable[[int, Any], None]:
    """localhost:6379, where the pages say that a server is, is the test's own server; other ports as the test says."""
    places: dict[int, tuple[str, int]] = {AT_HOME: (redis_server.host, redis_server.port)}
    homes: tuple[Any, ...] = (
        redis.connection, redis.asyncio.connection, valkey.connection, valkey.asyncio.connection,
    )  # fmt: skip
    for connection_class in (each.Connection for each in homes):
        connect = connection_class._connect

        def redirected(self: Any, connect: Any = connect) -> Any:
            self.host, self.port = places.get(self.port, (self.host, self.port))
            return connect(self)

        monkeypatch.setattr(connection_class, "_connect", redirected)
    return places.__setitem__


@pytest.mark.filterwarnings("ignore:.*deprecated usage of input argument:DeprecationWarning")  # redis-py 6 and 7's own
@pytest.mark.parametrize(("name", "code"), list(pages_of_code()))
def test_code_on_the_pages_runs(
    name: str, code: str, redirect: Callable[[int, Any], None], request: pytest.FixtureRequest
) -> None:
    """Each page's code, taken together, runs without an error, but for what bounds a call: none may depend on speed."""
    if name in ELSEWHERE:
        port, fixture = ELSEWHERE[name]
        redirect(port, request.getfixturevalue(fixture))
    namespace: dict[str, Any] = {"__name__": "__docs__"}
    exec(compile(TIGHT.sub(PATIENT, code), f"<{name}>", "exec"), namespace)
    for value in namespace.values():
        if isinstance(value, redis.ConnectionPool | valkey.ConnectionPool):
            value.close()
    del value, namespace
    gc.collect()  # what a page leaves open is that page's fault, not the next one's


# -- what is typed into a shell ----------------------------------------------------------------------------------------

EXTRAS = set(metadata("redpool").get_all("Provides-Extra") or ())
TARGETS = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))


def is_installed(requirement: str) -> bool:
    """Return whether `redpool[extra,...]` names extras that there are."""
    found = re.fullmatch(r"redpool(?:\[([\w,]+)\])?", requirement)
    return found is not None and set(filter(None, (found[1] or "").split(","))) <= EXTRAS


def is_understood(arguments: list[str]) -> bool:
    """Return whether redpool's command line understands these arguments."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        try:
            cli._parser().parse_args(arguments)
        except SystemExit as left:
            return left.code == 0
    return True


def is_known(line: str) -> bool:
    """Return whether a line typed into a shell is one of those that a test knows to be right."""
    match shlex.split(line, comments=True):
        case ["pip", "install", *requirements]:
            return all(map(is_installed, requirements))
        case ["make", target, *_]:
            return target in TARGETS
        case ["redpool", *arguments] | ["python", "-m", "redpool", *arguments]:
            return is_understood(arguments)
        case [".venv/bin/python", program, *_]:
            return (ROOT / program).is_file()
        case words:
            return not words


@pytest.mark.parametrize("text", list(blocks("sh")))
def test_each_line_for_a_shell_is_known(text: str) -> None:
    """The extra, the target of make, the command or the program is there."""
    assert [line for line in text.splitlines() if not is_known(line)] == []


@pytest.mark.parametrize(
    "line",
    ["pip install 'redpool[gone]'", "pip install other", "make gone", "redpool gone", "redpool demo --gone", "rm -r x"],
)
def test_an_unknown_line_would_be_found(line: str) -> None:
    """An extra, a package, a target, a command, an option and a program that are not there."""
    assert not is_known(line)


# -- all others --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", list(blocks("ini", "toml")))
def test_each_configuration_can_be_read(text: str) -> None:
    """As TOML, or else as an ini file."""
    try:
        tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        configparser.ConfigParser().read_string(text)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_each_block_says_what_it_is(page: Path) -> None:
    """So that none is left out here: there is no block of a language that no test looks at, and no indented one."""
    text = page.read_text(encoding="utf-8")
    languages = {language for language, _ in BLOCK.findall(text)}
    assert languages <= {"python", "sh", "ini", "toml", "text"}
    assert INDENTED.findall(BLOCK.sub("", text)) == []


@pytest.mark.parametrize("page", [*ROOT.glob("*.md"), *ROOT.glob("*/README.md")], ids=name_of)
def test_no_link_beside_the_site_leads_nowhere(page: Path) -> None:
    """Those of the site itself are looked at when it is built."""
    links = re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text(encoding="utf-8"))
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_the_list_of_what_differs_is_the_one_that_is_run() -> None:
    """docs/compat.md ends with what `make compat` reads, as `tests/compat/run.py --tables` shows it."""
    shown = subprocess.run(
        [sys.executable, ROOT / "tests" / "compat" / "run.py", "--tables"], capture_output=True, text=True, check=True
    ).stdout
    page = (ROOT / "docs" / "compat.md").read_text(encoding="utf-8")
    assert page.partition("-->\n")[2].strip() == shown.strip()
