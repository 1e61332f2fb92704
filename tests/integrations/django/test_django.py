"""A small site whose cache is redpool's, and Django's own cache beside it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ..conftest import write_page

SETTING_UP = """
import asyncio, os, threading, django, redis, redpool
os.environ["DJANGO_SETTINGS_MODULE"] = "settings"
django.setup()
from django.core.cache import cache, caches
from django.test import AsyncClient, Client
from redpool.contrib import pools

theirs = caches["theirs"]

def connections():
    with redis.from_url(URL) as asking:
        return len(asking.client_list()) - 1
"""
THEIRS = """
CACHES["theirs"] = {"BACKEND": "django.core.cache.backends.redis.RedisCache", "LOCATION": CACHES["default"]["LOCATION"]}
"""


def run(folder: Path, url: str, code: str) -> None:
    """Run code in a process of its own, with the page's settings: a process sets Django up only once."""
    write_page("django", folder, url)
    with (folder / "settings.py").open("a") as settings:
        settings.write(THEIRS)
    path = os.pathsep.join((str(folder), *sys.path))
    command = [sys.executable, "-W", "error", "-c", f"URL = {url!r}\n{SETTING_UP}\n{code}"]
    done = subprocess.run(command, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, check=False)
    assert not done.returncode, done.stderr


def test_the_site_on_the_page(base_url: str, tmp_path: Path) -> None:
    """It counts, by a view for threads and by one for event loops."""
    code = """
assert [Client().get("/visits").content for _ in range(2)] == [b"1", b"2"]
assert asyncio.run(AsyncClient().get("/avisits")).content == b"3"
"""
    run(tmp_path, base_url, code)


def test_a_process_has_one_pool_for_a_url(base_url: str, tmp_path: Path) -> None:
    """Sixteen threads, each with a cache object of its own, share one connection."""
    code = """
def everywhere(name):
    barrier = threading.Barrier(16)
    def use():
        barrier.wait()
        caches[name].set("thread", 1)
        barrier.wait()
    threads = [threading.Thread(target=use) for _ in range(16)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]

before = connections()
everywhere("default")
assert connections() == before + 1, connections()
assert len(pools._pools) == 1
everywhere("default")
assert connections() == before + 1
"""
    run(tmp_path, base_url, code)


@pytest.mark.parametrize("kind", ["multiplexed", "dedicated"])
def test_event_loops_have_the_same_cache(kind: str, base_url: str, tmp_path: Path) -> None:
    """Each method for event loops does what Django's does for threads, without a thread; values are the same."""
    code = """
from asgiref import sync
async def use(cache):
    said = [
        await cache.aadd("a", 1), await cache.aadd("a", 2), await cache.aadd("gone", 1, 0), await cache.aget("gone"),
        await cache.aget("a"), await cache.aget("b", "none"),
        await cache.aset("b", {"x": [1, None]}, 50), await cache.aget("b"), await cache.aset("b", 1, 0),
        await cache.ahas_key("b"), await cache.atouch("a", 50), await cache.atouch("b"), await cache.atouch("a", None),
        await cache.aset_many({"c": 1.5, "d": "text"}, 50), await cache.aset_many({}),
        await cache.aget_many(["a", "b", "c", "d"]), await cache.aget_many([]),
        await cache.aincr("a", 5), await cache.adecr("a"), await cache.adelete("a"), await cache.adelete("a"),
        await cache.aget_or_set("e", lambda: 7), await cache.adelete_many(["c", "d"]), await cache.adelete_many([]),
        await cache.aget_many(["c", "d", "e"]), cache.get("e"), await cache.aclear(), await cache.aget("e"),
    ]
    try:
        await cache.aincr("nothing")
    except ValueError:
        said.append("no such key")
    return said

async def both():
    sync.SyncToAsync.__call__, thread = None, sync.SyncToAsync.__call__
    ours = await use(cache)
    sync.SyncToAsync.__call__ = thread
    wanted = await use(theirs)
    assert ours == wanted, (ours, wanted)

    cache.set("shared", ["x"]), theirs.set("shared2", ["y"])
    assert (await cache.aget("shared2"), theirs.get("shared")) == (["y"], ["x"])
    before = connections()
    await asyncio.gather(*(cache.aset(str(n), n) for n in range(100)))
    assert len(await cache.aget_many([str(n) for n in range(100)])) == 100
    assert connections() - before <= MOST, connections() - before

DJANGO_ALLOW = os.environ.setdefault("DJANGO_ALLOW_ASYNC_UNSAFE", "1")
for _ in range(2):
    asyncio.run(both())
"""
    most = {"multiplexed": 0, "dedicated": 50}[kind]
    code = f"caches.settings['default']['OPTIONS']['kind'] = {kind!r}\nMOST = {most}\n{code}"
    run(tmp_path, base_url, code)


def test_sessions_are_kept_in_it(base_url: str, tmp_path: Path) -> None:
    """Django's own session engine over the cache, and a cache that a wrong option is told of."""
    code = """
from django.contrib.sessions.backends.cache import SessionStore
store = SessionStore()
store["user"] = "someone"
store.save()
assert SessionStore(store.session_key)["user"] == "someone"

caches.settings["wrong"] = {**caches.settings["default"], "OPTIONS": {"max_conections": 3}}
try:
    caches["wrong"].get("x")
except TypeError as error:
    assert "did you mean 'max_connections'" in str(error)
else:
    raise AssertionError
"""
    run(tmp_path, base_url, code)
