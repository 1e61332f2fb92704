"""What is seen in code, and what is not."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent

import pytest

from redpool.doctor.code.look import look, read
from redpool.doctor.code.source import parse
from redpool.doctor.facts import Pattern, Sighting

PER_CALL, LOOP, FORK = Pattern.POOL_PER_CALL, Pattern.LOOP_PER_CALL, Pattern.ASYNC_BEFORE_FORK
SMALL, PAST = Pattern.BLOCKING_ON_SMALL_POOL, Pattern.BLOCKING_PAST_TIMEOUT
KEYS, WHOLE, ITEM = Pattern.WHOLE_KEYSPACE, Pattern.WHOLE_VALUE, Pattern.COMMAND_PER_ITEM


def seen(*texts: str, **named: str) -> list[Sighting]:
    """Return what is seen in files of these texts; those without a name are `app.py` and so on."""
    files = {("app.py", "more.py")[number]: text for number, text in enumerate(texts)}
    files |= {f"{name}.py": text for name, text in named.items()}
    return list(look([parse(path, dedent(text)) for path, text in files.items()]))


def patterns(*texts: str, **named: str) -> list[tuple[Pattern, int]]:
    return [(each.pattern, each.line) for each in seen(*texts, **named)]


WRONG = {
    "a client in a Flask view": (
        PER_CALL,
        """
        import redis
        @app.route("/")
        def index():
            r = redis.Redis(host="redis")  #!
            return r.get("x")
        """,
    ),
    "a client in a Django view": (
        PER_CALL,
        """
        from redis import StrictRedis
        def index(request):
            return StrictRedis().get("x")  #!
        """,
    ),
    "a pool under a client, in a FastAPI view": (
        PER_CALL,
        """
        import redis.asyncio as aioredis
        @router.post("/x")
        async def index():
            pool = aioredis.ConnectionPool.from_url(URL)  #!
            r = aioredis.Redis(connection_pool=pool)
            return await r.get("x")
        """,
    ),
    "a dependency of FastAPI's": (
        PER_CALL,
        """
        from redis.asyncio import from_url
        async def get_redis():
            r = from_url(URL)  #!
            try:
                yield r
            finally:
                await r.aclose()
        @app.get("/x")
        async def index(r=Depends(get_redis)): ...
        """,
    ),
    "a function that a view calls": (
        PER_CALL,
        """
        import redpool
        class IndexView(View):
            def get(self, request):
                return self.client().get("x")
            def client(self):
                return redpool.Redis()  #!
        """,
    ),
    "a Celery task": (
        PER_CALL,
        """
        import valkey
        @shared_task
        def work():
            with valkey.Valkey() as v:  #!
                v.incr("x")
        """,
    ),
    "what is kept on the request only": (
        PER_CALL,
        """
        import redis
        @app.before_request
        def before():
            g.redis = redis.Redis()  #!
        """,
    ),
    "a client that is made, used and forgotten at each call": (
        PER_CALL,
        """
        import redis
        def cached(key):
            r = redis.Redis()  #!
            return r.get(key)
        """,
    ),
    "an event loop for each task": (
        LOOP,
        """
        import asyncio, redis.asyncio
        r = redis.asyncio.Redis()
        @app.task
        def work():
            asyncio.run(r.incr("x"))  #!
        """,
    ),
    "an event loop for each item": (
        LOOP,
        """
        import asyncio
        import redis.asyncio as redis
        def consume(items):
            for item in items:
                asyncio.run(store(item))  #!
        """,
    ),
    "an asyncio client in a file that forks": (
        FORK,
        """
        import multiprocessing
        import redis.asyncio as redis
        r = redis.Redis()  #!
        def begin():
            multiprocessing.Process(target=work).start()
        """,
    ),
    "a blocking command on a small pool": (
        SMALL,
        """
        import redpool
        r = redpool.Redis(max_connections=4)
        def work():
            r.blpop("jobs", timeout=30)  #!
        """,
    ),
    "a blocking command past the socket's timeout": (
        PAST,
        """
        import redis
        class Worker:
            def __init__(self):
                self.r = redis.Redis(socket_timeout=5)
            def work(self):
                self.r.xread({"s": "$"}, block=8000)  #!
        """,
    ),
    "KEYS in a view": (
        KEYS,
        """
        import redis
        r = redis.Redis()
        def index(request):
            return r.keys("user:*")  #!
        """,
    ),
    "KEYS on what can only be Redis": (
        KEYS,
        """
        @app.get("/x")
        async def index(request: Request):
            return await request.app.state.redis.keys("user:*")  #!
        """,
    ),
    "a whole hash in a view": (
        WHOLE,
        """
        import redis
        r = redis.Redis()
        def index(request):
            return r.hgetall("users")  #!
        """,
    ),
    "a command for each item": (
        ITEM,
        """
        import redis
        r = redis.Redis()
        def index(request):
            return [r.get(key) for key in request.keys]  #!
        """,
    ),
}


@pytest.mark.parametrize(("pattern", "text"), WRONG.values(), ids=list(WRONG))
def test_what_is_wrong_is_seen_in_its_line(pattern: Pattern, text: str) -> None:
    """Nothing else is seen there."""
    (line,) = (number for number, each in enumerate(dedent(text).splitlines(), 1) if each.endswith("#!"))
    assert patterns(text) == [(pattern, line)]


RIGHT = {
    "a client at module level": """
        import redis
        r = redis.Redis()
        def index(request):
            return r.get("x")
        """,
    "a pool that is given": """
        import redis
        def index(request):
            return redis.Redis(connection_pool=pool).get("x")
        """,
    "what is made once": """
        import redis
        client = None
        def get_client():
            global client
            if client is None:
                client = redis.Redis()
            return client
        def index(request):
            return get_client().get("x")
        """,
    "what is cached": """
        import functools, redis
        @functools.lru_cache
        def get_client():
            return redis.Redis()
        def index(request):
            return get_client().get("x")
        """,
    "what is kept on the application": """
        import redis.asyncio as redis
        @asynccontextmanager
        async def lifespan(app):
            app.state.redis = redis.Redis()
            yield
        @app.get("/x")
        async def index(request: Request):
            return await request.app.state.redis.get("x")
        """,
    "a factory whose callers keep what it makes": """
        import redis
        clients = {}
        def make():
            return redis.Redis()
        def client_for(loop):
            if loop not in clients:
                made = make()
                clients[loop] = made
            return clients[loop]
        def index(request):
            return client_for(1).get("x")
        """,
    "a script": """
        import redis
        def fill(count):
            r = redis.Redis()
            r.set("x", count)
        if __name__ == "__main__":
            fill(3)
        """,
    "an application's one event loop": """
        import asyncio, redis.asyncio
        def main():
            asyncio.run(serve())
        """,
    "an event loop without Redis": """
        import asyncio
        @app.task
        def work():
            asyncio.run(fetch())
        """,
    "a client for threads in a file that forks": """
        import multiprocessing, redis
        r = redis.Redis()
        multiprocessing.Process(target=work).start()
        """,
    "a blocking command in time, on a large pool": """
        import redis
        r = redis.Redis(max_connections=50, socket_timeout=30)
        def work(timeout):
            r.xread({"s": "$"})
        """,
    "a dictionary's keys": """
        import redis
        redis_options = {}
        def index(request):
            return redis_options.keys(), request.GET.keys()
        """,
    "KEYS in a script": """
        import redis
        r = redis.Redis()
        print(r.keys("*"))
        """,
    "a pipeline for all items": """
        import redis
        r = redis.Redis()
        def index(request):
            with r.pipeline() as pipe:
                for key in request.keys:
                    pipe.get(key)
                return pipe.execute()
        """,
    "a loop that ends at the first": """
        import redis
        r = redis.Redis()
        def index(request):
            for key in request.keys:
                if r.get(key):
                    return key
        """,
    "another module's class of that name": """
        from fakeredis import Redis
        def index(request):
            return Redis().get("x")
        """,
    "what is meant so": """
        import redis
        def index(request):
            return redis.Redis().get("x")  # redpool: ignore[P13]
        """,
}


@pytest.mark.parametrize("text", RIGHT.values(), ids=list(RIGHT))
def test_what_is_right_is_left_alone(text: str) -> None:
    """What can't be known for certain isn't seen either."""
    assert patterns(text) == []


def test_files_are_looked_at_together() -> None:
    """A client, a factory and a dependency of another file are known by their imports."""
    clients = """
        import redis, redis.asyncio
        shared = redis.Redis()
        def fresh():
            return redis.Redis()
        async def session():
            yield redis.asyncio.Redis()
        """
    views = """
        from clients import fresh, session, shared
        def index(request):
            shared.flushall()
            return fresh().get("x")
        @app.get("/x")
        async def x(r=Depends(session)): ...
        """
    assert patterns(clients=clients, views=views) == [(PER_CALL, 5), (PER_CALL, 7), (KEYS, 4)]


def test_a_package_may_hand_on_what_it_imports() -> None:
    """The function is the one of the file in which it is defined."""
    files = {
        "core/__init__.py": "from .pools import fresh",
        "core/pools.py": "import redis\ndef fresh():\n    return redis.Redis()",
        "views.py": "from core import fresh\ndef index(request):\n    fresh().get('x')",
    }
    (found,) = look([parse(path, text) for path, text in files.items()])
    assert (found.pattern, found.path, found.line) == (PER_CALL, "core/pools.py", 3)


def test_the_timeouts_are_those_of_the_call_and_of_its_client() -> None:
    """By place or by name, in seconds or milliseconds; what isn't written down isn't known."""
    calls = (
        'r.blpop("a", 8)',
        'r.blpop("a")',
        'r.brpoplpush("a", "b", timeout=0)',
        'r.xreadgroup("g", "c", {}, block=100)',
    )
    text = "import redis\nr = redis.Redis(socket_timeout=4)\n" + "\n".join((*calls, 'r.blpop("a", timeout=patience)'))
    assert [(each.own_timeout, each.socket_timeout) for each in seen(text)] == [(8, 4), (0, 4), (0, 4), (0.1, 4)]


def test_tests_and_what_others_made_are_passed_over(tmp_path: Path) -> None:
    """What can't be read is said, and the rest is read."""
    wrong = "import redis\ndef index(request):\n    redis.Redis()\n"
    for path in ("app/views.py", "app/tests/test_views.py", "app/test_x.py", ".venv/lib/x.py", "app/notes.txt"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(wrong, encoding="utf-8")
    (tmp_path / "app" / "old.py").write_text("print 'x'", encoding="utf-8")
    found, unread = read([str(tmp_path)])
    assert [(Path(each.path).name, each.line, each.function) for each in found] == [("views.py", 3, "index")]
    assert [Path(each.what).name for each in unread] == ["old.py"]
