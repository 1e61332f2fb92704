"""The same load on what applications use today, and on redpool."""

from collections.abc import Callable

import redis

from redpool.bench import crowd
from redpool.bench.contenders import BLOCKING, OURS
from redpool.bench.load import Figures
from redpool.bench.setting import KEY, Setting, prepared

CALLERS = 32
CONNECTIONS = 4
FRESH = "a new connection each time"


def compare(url: str, seconds: float, tell: Callable[[str], None]) -> dict[str, Figures]:
    """Measure 32 threads that GET for `seconds`: without a pool, with redis-py's, with redpool's.

    `tell` gets the name of each before it is measured.
    """
    rows = {}
    with prepared(url, seconds) as setting:
        tell(FRESH)
        rows[FRESH] = _fresh(setting)
        for contender in (BLOCKING, OURS):
            tell(contender.name)
            rows[contender.name] = crowd.threads(contender, setting, callers=CALLERS, connections=CONNECTIONS)
    return rows


def served_all(rows: dict[str, Figures]) -> bool:
    """Return whether redpool's pool served every thread without an error."""
    ours = rows[OURS.name]
    return ours["fewest"] > 0 and not ours["errors"]


def _fresh(setting: Setting) -> Figures:
    def get() -> None:
        with redis.Redis.from_url(setting.url) as client:
            client.get(KEY)

    return crowd.same_call(get, CALLERS, setting)
