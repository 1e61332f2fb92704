"""Who may see the dashboard. A visitor on this machine may, and elsewhere one that brings the token.

Without a token the danger is a page of another site in the visitor's own browser: it could reach this machine's
loopback under a name of its own (DNS rebinding). So the `Host` header must name loopback, and what a page of another
origin asks for is refused. A request that a proxy has handed on is not taken for one from this machine.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from http.cookies import CookieError, SimpleCookie
from typing import Any, TypeAlias
from urllib.parse import parse_qs, urlsplit

__all__ = ["COOKIE", "HEADERS", "SHORTEST_TOKEN", "Guard", "check_token", "is_loopback"]

Scope: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Any]]
Send: TypeAlias = Callable[[Any], Awaitable[None]]
Application: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]

COOKIE = "redpool_dashboard"
SHORTEST_TOKEN = 16
_LONGEST_BODY = 4096

# No script or style but the package's own files, no other host, no frame around it, and no text ever read as HTML.
HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    # With `no-referrer` a browser would send the sign-in form with `Origin: null`.
    "referrer-policy": "same-origin",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}

_SIGN_IN = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>redpool: sign in</title>
<meta name="viewport" content="width=device-width, initial-scale=1"><meta name="color-scheme" content="light dark">
<link rel="stylesheet" href="{place}static/style.css"></head><body><main class="sign-in"><h1>redpool</h1>
<form method="post" action="{place}sign-in"><label for="token">Token</label>
<input id="token" name="token" type="password" autocomplete="current-password" autofocus required>
<button>Sign in</button></form><p>{said}</p></main></body></html>
"""
_SAID = "It is the one that the dashboard was started with."
_WRONG = "That is not the token. It is the one that the dashboard was started with."


def check_token(token: str) -> str:
    """Return the token. Raises `ValueError` for one that could be guessed, or that no header can carry."""
    if len(token) < SHORTEST_TOKEN:
        raise ValueError(f"token: needs {SHORTEST_TOKEN} characters or more, this one has {len(token)}")
    if not (token.isascii() and token.isprintable()) or " " in token:
        raise ValueError("token: may have printable ASCII characters only, and no space")
    return token


def is_loopback(host: str) -> bool:
    """Return whether a name or an address is this machine's own loopback, whatever a name server says."""
    name = host.strip("[]").rstrip(".").lower()
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


class Guard:
    """Lets requests through to an application, or answers them itself.

    With `guarded` the application around it decides who gets this far.
    """

    def __init__(self, application: Application, token: str | None = None, *, guarded: bool = False) -> None:
        self._application = application
        self._token = None if token is None else check_token(token).encode()
        self._guarded = guarded
        # Not the token itself: who reads the browser's cookies can see this dashboard, and write no link to it.
        self._ticket = hmac.new(self._token or b"", b"redpool dashboard", hashlib.sha256).hexdigest().encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self._application(scope, receive, send)
            return
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        if foreign := _foreign(scope, headers):
            await _answer(send, 403, f"Refused: {foreign}.")
        elif self._guarded:
            await self._through(scope, receive, send)
        elif self._token is None:
            await self._to_this_machine(scope, headers, receive, send)
        else:
            await self._to_the_token(scope, headers, receive, send)

    async def _through(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] not in ("GET", "HEAD"):
            await _answer(send, 405, "Refused: the dashboard changes nothing.", {"allow": "GET, HEAD"})
        else:
            await self._application(scope, receive, _with_headers(send))

    async def _to_this_machine(self, scope: Scope, headers: Mapping[str, str], receive: Receive, send: Send) -> None:
        client = scope.get("client")
        forwarded = next((name for name in ("forwarded", "x-forwarded-for", "x-real-ip") if name in headers), None)
        if forwarded or (client and client[0] and not is_loopback(client[0])):
            await _answer(send, 403, "Refused: without a token the dashboard is for this machine only.")
        elif not is_loopback(_host(headers)):
            await _answer(send, 403, "Refused: open the dashboard as localhost, not under another name.")
        else:
            await self._through(scope, receive, send)

    async def _to_the_token(self, scope: Scope, headers: Mapping[str, str], receive: Receive, send: Send) -> None:
        query = parse_qs(scope.get("query_string", b"").decode("latin-1"))
        if scope["method"] == "POST" and _path(scope) == "/sign-in":
            form = parse_qs(await _body(receive))
            await self._sign_in(scope, form.get("token", [""])[0], send)
        elif "token" in query:
            await self._sign_in(scope, query["token"][0], send)
        elif self._is_known(headers) or _path(scope).startswith("/static/"):  # these files are no secret
            await self._through(scope, receive, send)
        else:
            await self._ask(scope, send, _SAID)

    def _is_known(self, headers: Mapping[str, str]) -> bool:
        """Return whether a request brings the token in a header, or the ticket that its cookie holds."""
        scheme, _, token = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and self._is_token(token.strip()):
            return True
        try:
            ticket = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
        except CookieError:
            return False
        return ticket is not None and hmac.compare_digest(ticket.value.encode(), self._ticket)

    def _is_token(self, token: str) -> bool:
        return self._token is not None and hmac.compare_digest(token.encode(), self._token)

    async def _sign_in(self, scope: Scope, token: str, send: Send) -> None:
        """Give the right token's bearer a cookie, and an address without the token."""
        if not self._is_token(token):
            await self._ask(scope, send, _WRONG)
            return
        place = _place(scope)
        secure = "; Secure" if scope.get("scheme") == "https" else ""
        cookie = f"{COOKIE}={self._ticket.decode()}; Path={place}; HttpOnly; SameSite=Lax{secure}"
        await _answer(send, 303, "", {"location": place, "set-cookie": cookie})

    async def _ask(self, scope: Scope, send: Send, said: str) -> None:
        """Ask for the token: with a form where a person may be, in a line elsewhere."""
        challenge = {"www-authenticate": "Bearer"}
        if _path(scope) in ("/", "/sign-in", ""):
            page = _SIGN_IN.format(place=_quoted(_place(scope)), said=said)
            await _answer(send, 401, page, {**challenge, "content-type": "text/html; charset=utf-8"})
        else:
            await _answer(send, 401, "The dashboard's token is needed.", challenge)


def _foreign(scope: Scope, headers: Mapping[str, str]) -> str | None:
    """Return why a request seems to come from a page of another site, or `None`."""
    origin = headers.get("origin")
    if origin is not None and origin.partition("://")[2].lower() != headers.get("host", "").lower():
        return "it comes from a page of another origin"
    # A person may follow a link from anywhere; a page of another site may not load anything.
    site, mode = headers.get("sec-fetch-site", "none"), headers.get("sec-fetch-mode", "navigate")
    if site in ("cross-site", "same-site") and mode != "navigate":
        return "a page of another site has asked for it"
    if scope["method"] == "POST" and site in ("cross-site", "same-site"):
        return "a form of another site has sent it"
    return None


def _host(headers: Mapping[str, str]) -> str:
    """Return the name in the `Host` header, without its port."""
    try:
        return urlsplit(f"//{headers.get('host', '')}").hostname or ""
    except ValueError:
        return ""


def _place(scope: Scope) -> str:
    """Return the path that the dashboard is mounted at, with a slash at its end."""
    return str(scope.get("root_path", "")).rstrip("/") + "/"


def _path(scope: Scope) -> str:
    """Return the path below the one that the dashboard is mounted at."""
    path: str = scope["path"]
    return path.removeprefix(_place(scope)[:-1])


async def _body(receive: Receive) -> str:
    """Return what a form has sent; nothing of what is longer than a token's form can be."""
    body = b""
    while len(body) <= _LONGEST_BODY:
        message = await receive()
        body += message.get("body", b"")
        if message["type"] != "http.request" or not message.get("more_body"):
            return body.decode("latin-1") if len(body) <= _LONGEST_BODY else ""
    return ""


def _quoted(text: str) -> str:
    return text.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;")


def _with_headers(send: Send) -> Send:
    """Return a `send` that adds what every answer carries."""
    added = [(name.encode(), value.encode()) for name, value in HEADERS.items()]

    async def sent(message: Any) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message.get("headers", ()), *added]}
        await send(message)

    return sent


async def _answer(send: Send, status: int, text: str, headers: Mapping[str, str] | None = None) -> None:
    sent = _with_headers(send)
    body = text.encode()
    all_headers = {
        "content-type": "text/plain; charset=utf-8",
        "cache-control": "no-store",
        "content-length": str(len(body)),
        **(headers or {}),
    }
    raw = [(name.encode(), value.encode("latin-1")) for name, value in all_headers.items()]
    await sent({"type": "http.response.start", "status": status, "headers": raw})
    await sent({"type": "http.response.body", "body": body})
