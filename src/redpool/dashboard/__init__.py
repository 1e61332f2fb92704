"""`redpool dashboard`: the fleet as a web page. It reads, and changes nothing.

    app.mount("/redpool", redpool.dashboard.app(source))

`documents` makes JSON of what the fleet's reader knows, `feed` hands it on as server-sent events, `guard` decides who
may see it, `static/` is the page. It needs the extra: `pip install 'redpool[dashboard]'`.
"""

from __future__ import annotations

from redpool.fleet.source import Source

from .guard import Application

__all__ = ["app"]


def app(source: Source, *, token: str | None = None, guarded: bool = False) -> Application:
    """Return an ASGI application that shows what `source` reads; it may be mounted below a path.

    Without a `token` only visitors on this machine see it. With one (16 characters or more) everyone who brings it, in
    the address once (`?token=`), or as `Authorization: Bearer`. With `guarded` everyone who gets this far: say
    so only where your own application decides who does. The source stays yours to close.

    Raises `ValueError` for a token that is too short, and `ImportError` where the extra isn't installed.
    """
    from .pages import pages  # noqa: PLC0415  Starlette is there only when it is used

    return pages(source, token=token, guarded=guarded)
