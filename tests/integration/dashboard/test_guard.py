"""Who may see the dashboard: visitors on this machine, elsewhere those with the token; pages of other sites never."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from redpool import dashboard
from redpool.dashboard.guard import COOKIE, is_loopback
from support.asgi import Answer, ask
from support.fleets import shop

TOKEN = "correct-horse-battery-staple"
STATIC = Path(dashboard.__file__).parent / "static"


@pytest.fixture
def local() -> Any:
    return dashboard.app(shop())


@pytest.fixture
def with_token() -> Any:
    return dashboard.app(shop(), token=TOKEN)


@pytest.mark.parametrize("host", ["localhost", "localhost:8379", "127.0.0.1:1", "[::1]:8379", "redpool.localhost:80"])
def test_a_visitor_on_this_machine_sees_it(local: Any, host: str) -> None:
    """Under any name that can only mean this machine."""
    assert ask(local, headers={"host": host}).status == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "localhost.evil.example", "10.0.0.1:8379", "127.0.0.1.evil.example", "a@b", ""]
)
def test_another_name_is_refused(local: Any, host: str) -> None:
    """It may have been made to lead here: a page that was loaded under it could read everything."""
    assert ask(local, headers={"host": host}).status == 403
    assert ask(local, "/events", headers={"host": host}).status == 403


@pytest.mark.parametrize(
    ("client", "headers"),
    [("10.0.0.7", {}), ("127.0.0.1", {"x-forwarded-for": "10.0.0.7"}), ("127.0.0.1", {"forwarded": "for=10.0.0.7"})],
)
def test_a_visitor_from_elsewhere_is_refused_without_a_token(local: Any, client: str, headers: dict[str, str]) -> None:
    """Whatever it says that the host is called; nor may a proxy on this machine let it in."""
    assert ask(local, headers=headers, client=client).status == 403


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"origin": "http://["},
        {"origin": "http://localhost:9999"},
        {"sec-fetch-site": "cross-site", "sec-fetch-mode": "cors"},
        {"sec-fetch-site": "same-site", "sec-fetch-mode": "no-cors"},
    ],
)
@pytest.mark.parametrize("path", ["/", "/events", "/static/app.js"])
def test_a_page_of_another_site_loads_nothing(local: Any, path: str, headers: dict[str, str]) -> None:
    """Nor does a page of another port. A link from there may be followed."""
    assert ask(local, path, headers=headers).status == 403
    assert ask(local, headers={"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}).status == 200
    assert ask(local, headers={"origin": "http://localhost:8379"}).status == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
def test_nothing_can_be_changed(local: Any, method: str) -> None:
    """It is read-only."""
    assert ask(local, method=method).status == 405


def test_the_token_is_asked_for(with_token: Any) -> None:
    """By a form for people, in a line for programs; a wrong one is no better than none."""
    for path in ("/", "/events", "/?token=wrong-horse-battery-staple", "/events?token=x"):
        assert ask(with_token, path).status == 401
    assert 'type="password"' in ask(with_token).text
    assert ask(with_token, headers={"authorization": "Bearer wrong-horse"}).status == 401
    assert ask(with_token, headers={"cookie": f"{COOKIE}={TOKEN}"}).status == 401
    assert ask(with_token, headers={"cookie": f'{COOKIE}="'}).status == 401


def signed_in(answer: Answer) -> str:
    assert answer.status == 303
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Lax" in cookie
    assert TOKEN not in cookie + answer.headers["location"] + answer.text
    return cookie.partition(";")[0]


def test_the_token_becomes_a_cookie(with_token: Any) -> None:
    """From a link or from the form; the address that follows is without it. Any host may serve it."""
    posted = ask(with_token, "/sign-in", method="POST", body=f"token={TOKEN}".encode())
    for answer in (ask(with_token, f"/?token={TOKEN}", headers={"host": "pools.example"}), posted):
        cookie = signed_in(answer)
        assert ask(with_token, headers={"cookie": cookie, "host": "pools.example"}, client="10.0.0.7").status == 200
    assert ask(with_token, headers={"authorization": f"Bearer {TOKEN}"}).status == 200
    assert ask(with_token, "/sign-in", method="POST", body=b"token=" + b"x" * 10**6).status == 401


def test_a_cookie_of_another_token_is_none(with_token: Any) -> None:
    """So a new token ends all visits."""
    cookie = signed_in(ask(dashboard.app(shop(), token=TOKEN + "2"), f"/?token={TOKEN}2"))
    assert ask(with_token, headers={"cookie": cookie}).status == 401


@pytest.mark.parametrize("token", ["short", "", "with spaces in it 123", "ünïcödé-tokens-are-none"])
def test_a_token_that_could_be_guessed_is_refused(token: str) -> None:
    """At once, and without being shown."""
    with pytest.raises(ValueError, match="token") as refused:
        dashboard.app(shop(), token=token)
    assert not token or token not in str(refused.value)


def test_an_application_around_it_may_be_the_guard() -> None:
    """Then neither the address nor a token is asked for; a page of another site is still refused."""
    guarded = dashboard.app(shop(), guarded=True)
    elsewhere = {"host": "intern.example", "x-forwarded-for": "10.0.0.7"}
    assert ask(guarded, headers=elsewhere, client="10.0.0.1").status == 200
    assert ask(guarded, headers={**elsewhere, "origin": "https://evil.example"}).status == 403


def test_it_works_below_a_path(with_token: Any) -> None:
    """Mounted by Starlette, or behind a proxy: its own addresses are relative, its cookie is for that path only."""
    from starlette.applications import Starlette
    from starlette.routing import Mount

    mounted = Starlette(routes=[Mount("/redpool", with_token)])
    answer = ask(mounted, f"/redpool/?token={TOKEN}")
    assert answer.headers["location"] == "/redpool/"
    assert "Path=/redpool/;" in answer.headers["set-cookie"]
    cookie = {"cookie": signed_in(answer)}
    assert ask(mounted, "/redpool/", headers=cookie).status == 200
    assert ask(mounted, "/redpool/static/app.js", headers=cookie).status == 200
    assert 'action="/redpool/sign-in"' in ask(mounted, "/redpool/").text


@pytest.mark.parametrize("path", ["/", "/static/app.js", "/nothing", "/events?page=nonsense"])
def test_every_answer_forbids_what_the_page_does_not_need(local: Any, path: str) -> None:
    """No other host, no inline script, no frame, no text read as HTML."""
    headers = ask(local, path).headers
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "require-trusted-types-for 'script'" in policy
    assert "unsafe" not in policy
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert ask(local, path, headers={"host": "evil.example"}).headers["content-security-policy"] == policy


def test_the_page_has_nothing_inline_and_comes_from_here() -> None:
    """Each script, style and picture is a file of the package; no code reads text as HTML."""
    page = (STATIC / "index.html").read_text(encoding="utf-8")
    links = re.findall(r'(?:src|href)="([^"#]+)"', page)
    assert links
    assert [link for link in links if not (STATIC.parent / link).is_file()] == []
    assert not re.search(r"<style|style=|\son\w+=|<script(?![^>]*src=)", page)
    forbidden = re.compile(
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function|https?://(?!www\.w3\.org)"
    )
    for script in STATIC.glob("*.js"):
        assert not forbidden.search(script.read_text(encoding="utf-8")), script


def test_no_file_outside_is_served(local: Any) -> None:
    """Whatever a path looks like."""
    for path in ("/static/../guard.py", "/static/%2e%2e/guard.py", "/static//etc/passwd", "/static/..%2fguard.py"):
        assert ask(local, path).status == 404


@pytest.mark.parametrize(
    ("host", "ours"),
    [
        ("localhost", True),
        ("127.8.0.1", True),
        ("[::1]", True),
        ("0.0.0.0", False),
        ("::", False),
        ("example.com", False),
    ],
)
def test_loopback_is_known_by_its_name_alone(host: str, ours: bool) -> None:
    """No name server is asked: it could say anything."""
    assert is_loopback(host) is ours
