"""What is said in words: figures, states, and what comes from outside."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import pytest
from rich.cells import cell_len

from redpool.fleet.model import Borrowed, Calling, Owner, Waiting
from redpool.top.clients import CLIENT_COLUMNS, client_rows
from redpool.top.detail import client_detail, detail
from redpool.top.document import document
from redpool.top.headline import Look, instead_of_rows, server_line, status, title
from redpool.top.past import Past
from redpool.top.rows import COLUMNS, Grouping, rows
from redpool.top.shown import Line, Tone, as_text, count, quantile, rate, seconds, sparkline
from support.views import NOON, client, exhausted, pool, process, server, view


def plain(*lines: Line) -> str:
    return "\n".join("".join(piece for piece, _ in line) for line in lines)


@pytest.mark.parametrize(
    ("value", "said"),
    [(0, "0 s"), (0.00042, "0.4 ms"), (0.0421, "42 ms"), (0.9996, "1.0 s"), (4.2, "4.2 s"), (45.2, "45 s"),
     (99.96, "1.7 min"), (7300, "2.0 h"), (9e6, "104 d"), (None, "·")],
)  # fmt: skip
def test_durations_have_their_unit(value: float | None, said: str) -> None:
    """Two digits or three are enough."""
    assert seconds(value) == said


def test_figures_never_grow_wider_than_their_columns() -> None:
    """However large they are."""
    for exponent in range(-7, 20):
        for digit in (1.0, 9.949, 9.951, 9.9999):
            value = digit * 10.0**exponent
            assert len(seconds(value)) <= 7
            assert len(rate(value)) <= 6
            assert len(quantile(value)) <= 7
            assert len(count(int(value))) <= 6


def test_a_quantile_says_no_more_than_is_known() -> None:
    """Below the first bound and above the last."""
    assert (quantile(0.00005), quantile(30.0), quantile(0.5)) == ("<0.1 ms", ">30 s", "500 ms")


def test_only_nothing_is_the_lowest_bar() -> None:
    """One of a thousand connections is seen, too."""
    assert sparkline([None, 0, 0.001, 0.5, 1, 7]) == " ▁▂▅██"


HOSTILE = "\x1b[31m[bold]\x07\u202egnp\n\r\x9b2J\ud800" + "漢字" * 500


def texts() -> Iterator[str]:
    """Yield all that is shown of a fleet in which every name is hostile."""
    lease, waiter = Borrowed(1, HOSTILE, HOSTILE, HOSTILE), Waiting(1, HOSTILE)
    call = Calling(1, HOSTILE, True, HOSTILE, HOSTILE)
    bad = pool(
        HOSTILE, 1, waiting=1, oldest_wait=1.0, borrowed=(lease,), waiters=(waiter,), calls=(call,), closed={HOSTILE: 1}
    )
    report = process(bad, service=HOSTILE, host=HOSTILE)
    said = client(1, Owner.FOREIGN, name=HOSTILE, user=HOSTILE, command=HOSTILE, library=HOSTILE, address=HOSTILE)
    seen = view(report, server=server(said, version=HOSTILE, unseen=(HOSTILE,)))
    past = Past()
    past.note(seen)
    look = Look(seen, HOSTILE, 0)
    for grouping in Grouping:
        for row in rows(seen, past, grouping):
            yield from (column.text(row) for column in COLUMNS)
            yield row.place
            yield plain(*detail(row, 80)).replace("\n", "")
    for client_row in client_rows(seen.server):
        yield from (column.text(client_row) for column in CLIENT_COLUMNS)
        yield client_row.place
        yield plain(*client_detail(client_row, 80)).replace("\n", "")
    state = status(look, 100, 1, paused=False)
    yield from (plain(title(HOSTILE, look, state)), plain(server_line(seen)))
    for empty in (look, Look(None, HOSTILE), Look(view(server=seen.server))):
        yield plain(*instead_of_rows(HOSTILE, empty, 1, HOSTILE, of_clients=True)).replace("\n", "")
        yield plain(*instead_of_rows(HOSTILE, empty, 1, "", of_clients=True)).replace("\n", "")


def test_whatever_is_named_reaches_a_terminal_as_text() -> None:
    """No control character, no change of direction, no half of a surrogate; and none without an end."""
    found = list(texts())
    assert any("\\x1b[31m[bold]" in text for text in found)
    assert [text for text in found if not text.isprintable()] == []
    assert max(map(len, found)) < 5000


def test_a_document_of_hostile_names_is_json() -> None:
    """Programs get the names as they are."""
    seen, past = view(process(pool(HOSTILE), service=HOSTILE)), Past()
    past.note(seen)
    text = json.dumps(document(seen, past))
    assert text.isascii()
    assert json.loads(text)["pools"][0]["name"] == HOSTILE


def test_what_is_long_is_cut_and_what_is_fine_stays() -> None:
    """Names of other scripts are shown as they are."""
    assert as_text("caché/キャッシュ") == "caché/キャッシュ"
    assert len(as_text("x" * 10_000)) == 300


def test_a_waiter_is_shown_with_who_holds_what_it_waits_for() -> None:
    """With the line of code, and without the number of a thread; no line is wider than the screen."""
    seen, past = view(process(exhausted(closed={"idle": 3, "error": 7}))), Past()
    past.note(seen)
    (row,) = rows(seen, past, Grouping.POOL)
    said = plain(*detail(row, 80))
    assert "web-7 has waited 4.2 s; 2 callers in the queue." in said
    assert "worker-0 has held a connection for 5.0 s, taken at /app/orders.py:40 in take, last command GET." in said
    assert said.index("worker-1 ") < said.index("worker-2 ") < said.index("worker-9 ")
    assert "error 7  idle 3" in said
    narrow = plain(*detail(row, 44)).splitlines()
    table = narrow[narrow.index("") :]
    assert all(cell_len(line) <= 44 for line in table[: table.index("", 1)])
    assert any("…" in line and line.endswith(":41 in take") for line in table)


def test_a_shared_connection_shows_its_oldest_call() -> None:
    """It holds up those behind it; how many commands are under way stands beside."""
    calls = (Calling(2.0, "KEYS", True, "task 'Task-3'", "/app/report.py:7 in all_keys"), Calling(0.1, "GET"))
    busy = pool("shared", 1, kind="multiplexed", in_flight=40, calls=calls)
    past = Past()
    past.note(view(process(busy)))
    past.note(seen := view(process(busy, at=NOON + 1)))
    (row,) = rows(seen, past, Grouping.POOL)
    said = plain(*detail(row, 100))
    assert re.search(r"2\.0 s  KEYS +sent +Task-3 +/app/report\.py:7 in all_keys\n", said)
    assert re.search(r"100 ms  GET +queued +not known", said)
    assert "and 38 more" in said
    assert "in flight 40" in said


def test_a_group_says_in_which_process() -> None:
    """Of borrowers as of waiters."""
    seen, past = view(process(exhausted()), process(exhausted(), pid=200)), Past()
    past.note(seen)
    (row,) = rows(seen, past, Grouping.SERVICE)
    said = plain(*detail(row, 120))
    assert "worker-0 web-1:100" in said
    assert "worker-0 web-1:200" in said
    assert "and 10 more" in said


@pytest.mark.parametrize(
    ("look", "now", "paused", "said"),
    [
        (Look(), 0.0, False, "connecting"),
        (Look(None, "refused"), 0.0, False, "disconnected"),
        (Look(view(), None, 10.0), 11.0, False, "live"),
        (Look(view(), None, 10.0), 15.0, False, "stale for 5.0 s: no answer"),
        (Look(view(), "refused", 10.0), 12.0, False, "stale for 2.0 s: refused"),
        (Look(view(), "refused", 10.0), 12.0, True, "paused for 2.0 s"),
    ],
)  # fmt: skip
def test_a_state_is_said_in_words(look: Look, now: float, paused: bool, said: str) -> None:
    """Color alone says nothing."""
    assert status(look, now, 1.0, paused)[0] == said


@pytest.mark.parametrize(
    ("look", "words", "of_clients", "said"),
    [
        (Look(), "", False, "for the first time"),
        (Look(None, "refused"), "", False, "can't be read: refused"),
        (Look(view()), "", False, "redpool.publish("),
        (Look(view(server=server(client(1)))), "", False, "The server has 1 client all the same: press c"),
        (Look(view(server=server(unseen=("reports: no permission",)))), "", False, "Not seen: reports: no permission"),
        (Look(view()), "abc", False, "Nothing matches 'abc'. Esc shows all."),
        (Look(view()), "", True, "can't be seen here"),
        (Look(view(server=server(unseen=("CLIENT LIST: no permission",)))), "", True, "no permission"),
    ],
)  # fmt: skip
def test_an_empty_screen_says_why(look: Look, words: str, of_clients: bool, said: str) -> None:
    """And what to do about it."""
    assert said in plain(*instead_of_rows("redis://here", look, 1.0, words, of_clients))


def test_a_table_that_is_printed_has_no_keys() -> None:
    """Nor does it ask for one."""
    lines = instead_of_rows("redis://here", Look(view(server=server(client(1)))), 1.0, "", of_clients=False, keys=False)
    assert "The server has 1 client all the same." in plain(*lines)


def test_the_server_is_a_line() -> None:
    """Its clients against its limit, and whose they are; what is worth a look stands out."""
    said = server(
        client(1), client(2, Owner.ORPHANED), client(3, idle_too_long=True), max_clients=3, commands_per_second=1234.5
    )
    line = server_line(view(process(pool()), server=said))
    assert plain(line) == (
        "server  clients 3 of 3  orphaned 1  foreign 2  known 0  idle too long 1  pools may open 10"
        "  1234 commands/s  version 9.0.1"
    )
    tones = {piece.strip().rpartition(" ")[0]: tone for piece, tone in line}
    assert tones["clients 3 of"] is Tone.BAD
    assert tones["orphaned"] is tones["idle too long"] is tones["pools may open"] is Tone.WARN
    assert server_line(view()) == ()
