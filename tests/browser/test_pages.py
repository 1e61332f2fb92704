"""Every page, in a real browser, over fleets that are made up: what is shown, how, and to whom."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from redpool import dashboard
from redpool.dashboard import feed
from redpool.fleet.model import FleetView
from support.fleets import MadeUpFleet, MadeUpPool, MadeUpProcess, shop

from .conftest import Served

Opened = Callable[..., Page]
Serve = Callable[..., Served]
PAGES = [
    "#/",
    "#/service/checkout",
    "#/pool/checkout/carts",
    "#/pool/checkout/carts/checkout%40web-1%3A4100",
    "#/server",
]
TOKEN = "correct-horse-battery-staple"
HOSTILE = [
    "<img src=x onerror=alert(1)>",
    '"><script>alert(1)</script>',
    "javascript:alert(1)",
    "__proto__",
    "constructor",
    "a/b#c?d&e=%2F",
    "\u202egnp.exe",
    "line\nbreak\ttab\x00null",
    "x" * 300,
    "{{7*7}}${7*7}",
]


@pytest.fixture
def fleet() -> MadeUpFleet:
    return shop(minutes=3)


@pytest.fixture
def served(fleet: MadeUpFleet, serve: Serve) -> Served:
    return serve(fleet)


def live(page: Page) -> None:
    expect(page.locator("#state")).to_have_text("Live")
    expect(page.locator("main h1")).to_be_visible()


@pytest.mark.parametrize("hash_", PAGES)
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1360])
def test_every_page_can_be_linked_and_fits(served: Served, opened: Opened, hash_: str, scheme: str, width: int) -> None:
    """Light and dark, on a narrow screen too: nothing is wider than the screen, and each chart has drawn something."""
    page = opened(f"{served.url}/{hash_}", color_scheme=scheme, viewport={"width": width, "height": 800})
    live(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert ground == ("rgb(19, 21, 25)" if scheme == "dark" else "rgb(246, 246, 244)")
    charts = page.locator(".chart canvas")
    assert charts.count() == (5 if "pool" in hash_ else 2)
    drawn = "c => new Set(new Uint32Array(c.getContext('2d').getImageData(0, 0, c.width, c.height).data.buffer)).size"
    page.wait_for_function(f"[...document.querySelectorAll('.chart canvas')].every(c => ({drawn})(c) > 2)")


def test_a_reader_clicks_from_the_fleet_to_a_process(served: Served, opened: Opened) -> None:
    """And back by the links above, or with the browser's own button."""
    page = opened(served.url)
    live(page)
    page.get_by_role("link", name="carts").click()
    expect(page.locator("h1")).to_have_text("carts")
    expect(page.locator("#pages")).to_contain_text("checkout")
    expect(page.get_by_text("checkout/cart.py:88 in total").first).to_be_visible()
    page.get_by_role("link", name="web-1:4101").click()
    expect(page.locator(".words")).to_contain_text("checkout@web-1:4101")
    page.locator("#pages").get_by_role("link", name="checkout", exact=True).click()
    expect(page.locator("h1")).to_have_text("checkout")
    expect(page.get_by_role("region", name="Processes").locator("tbody tr")).to_have_count(3)
    page.go_back()
    expect(page.locator("h1")).to_have_text("carts")
    page.get_by_role("link", name="Server").click()
    expect(page.locator("h1")).to_have_text("Server")
    expect(page).to_have_title("Server · redpool")


def test_a_pool_that_is_exhausted_recovers_and_closes(fleet: MadeUpFleet, served: Served, opened: Opened) -> None:
    """Its page says each of these in words."""
    page = opened(f"{served.url}/#/pool/checkout/carts")
    live(page)
    for process in fleet.processes[:3]:
        process.pools[0].demand = 30
    expect(page.locator(".words")).to_contain_text("callers wait, the first for")
    expect(page.get_by_role("region", name="Processes")).to_contain_text("exhausted")
    expect(page.get_by_role("region", name="Who waits").locator("tbody tr").first).to_be_visible()
    for process in fleet.processes[:3]:
        process.pools[0].demand = 1
        process.pools[0].lose_all("error")
    expect(page.locator(".words")).to_contain_text("No caller waits")
    expect(page.locator(".facts")).to_contain_text("closed: error")
    for process in fleet.processes[:3]:
        del process.pools[0]
    expect(page.get_by_text("No live process reports this pool")).to_be_visible()


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_are_text(serve: Serve, opened: Opened, name: str) -> None:
    """Of services, hosts, pools, places in the code, commands, clients: they show as they are, and do nothing."""
    pool = MadeUpPool(name, 2, 5)
    pool.closed[name] = 1
    pool.counters[name] = 1
    fleet = MadeUpFleet([MadeUpProcess(name, 1, [pool], name, lines=(name,))])
    fleet.slow = [(fleet.at, 0.1, name, name)]
    fleet.error = None
    served = serve(fleet)
    page = opened(served.url)
    live(page)
    page.get_by_role("region", name="Pools").locator("tbody tr td a").nth(1).click()
    expect(page.locator("h1")).to_have_text(name, use_inner_text=False)
    live(page)
    expect(page.locator(".facts")).to_contain_text("closed")
    page.locator("#pages a").nth(1).click()
    expect(page.get_by_role("region", name="Processes").locator("tbody tr")).to_have_count(1)
    page.get_by_role("link", name="Server").click()
    live(page)
    expect(page.locator("img:not([src='static/icon.svg'])")).to_have_count(0)
    expect(page.locator("main script")).to_have_count(0)
    assert page.evaluate("Object.prototype.hasOwnProperty('clients')") is False


def test_the_browser_itself_forbids_markup_from_text(served: Served, opened: Opened) -> None:
    """Were there code that read text as HTML, it would fail."""
    page = opened(served.url, forbidden=True)
    live(page)
    tried = "try { document.body.innerHTML = '<b>x</b>'; 'done' } catch (error) { error.name }"
    assert page.evaluate(tried) == "TypeError"


def test_it_can_be_used_by_the_keyboard_alone(served: Served, opened: Opened) -> None:
    """Each stop can be seen; keys filter, go up, sort, and move along a chart."""
    page = opened(served.url)
    live(page)
    page.keyboard.press("Tab")
    expect(page.locator("#skip")).to_be_focused()
    for _ in range(60):
        page.keyboard.press("Tab")
        outline = page.evaluate(
            "(() => { const e = document.activeElement, s = e.matches('input[type=radio]') ? e.nextElementSibling : e;"
            " return getComputedStyle(s).outlineStyle })()"
        )
        assert outline != "none"
        if page.evaluate("document.activeElement.textContent") == "carts":
            break
    page.keyboard.press("Enter")
    expect(page.locator("h1")).to_have_text("carts")
    expect(page.locator("h1")).to_be_focused()
    page.keyboard.press("Escape")
    expect(page.locator("h1")).to_have_text("checkout")
    page.keyboard.press("Escape")
    expect(page.locator("h1")).to_have_text("Fleet")
    live(page)
    page.keyboard.press("/")
    page.keyboard.type("index")
    expect(page.get_by_role("region", name="Pools").locator("tbody tr")).to_have_count(1)
    page.keyboard.press("Escape")
    chart = page.locator(".plot").first
    chart.focus()
    for _ in range(3):
        page.keyboard.press("ArrowLeft")
    shown = [page.locator(".chart .when").nth(number).text_content() for number in (0, 1)]
    assert shown[0]
    assert shown[0] == shown[1]
    assert "in use" in (chart.get_attribute("aria-label") or "")


def test_a_table_is_sorted_by_its_heads(served: Served, opened: Opened) -> None:
    """And says so to those who can't see the arrow."""
    page = opened(served.url)
    live(page)
    head = page.locator("th[data-column=service]")
    head.get_by_role("button").click()
    expect(head).to_have_attribute("aria-sort", "ascending")
    services = page.locator("tbody tr td:first-child").all_text_contents()
    assert services == sorted(services)


def test_light_or_dark_is_chosen_and_kept(served: Served, opened: Opened) -> None:
    """By the button or by a key; at first it is as the system has it."""
    page = opened(served.url, color_scheme="light")
    live(page)
    button = page.locator("#theme")
    expect(button).to_have_text("Auto")
    page.keyboard.press("t")
    button.click()
    expect(button).to_have_text("Dark")
    page.reload()
    live(page)
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(19, 21, 25)"


def test_nothing_moves_where_that_is_not_wanted(served: Served, opened: Opened) -> None:
    """No transition, for those who have asked their system for less motion."""
    page = opened(served.url, reduced_motion="reduce")
    live(page)
    moving = "[...document.querySelectorAll('*')].filter(e => getComputedStyle(e).transitionDuration !== '0s').length"
    assert page.evaluate(moving) == 0


def test_a_server_that_goes_and_comes_back(served: Served, opened: Opened) -> None:
    """The page says that it is disconnected and when it tries again; then it goes on by itself."""
    page = opened(f"{served.url}/#/pool/checkout/carts", away=True)
    live(page)
    served.stop()
    expect(page.locator("#banner")).to_contain_text("Disconnected from the dashboard", timeout=10_000)
    expect(page.locator("#state")).to_have_text("Disconnected")
    expect(page.get_by_role("button", name="Try now")).to_be_visible()
    served.start()
    expect(page.locator("#state")).to_have_text("Live", timeout=30_000)
    expect(page.locator("#banner")).to_be_hidden()


def test_a_page_that_is_not_looked_at_reads_nothing(fleet: MadeUpFleet, serve: Serve, opened: Opened) -> None:
    """After a minute; it comes back when it is looked at."""
    page = opened(serve(fleet).url)
    live(page)
    hide = "Object.defineProperty(document, 'hidden', { value: %s, configurable: true });"
    page.evaluate("void (setTimeout = (run => (call, after) => run(call, after === 60000 ? 0 : after))(setTimeout))")
    page.evaluate(hide % "true" + "dispatchEvent(new Event('visibilitychange'))")
    looks = -1
    while looks != fleet.looks:  # the feed goes on for a few seconds
        looks = fleet.looks
        page.wait_for_timeout(2500)
    page.evaluate(hide % "false" + "dispatchEvent(new Event('visibilitychange'))")
    live(page)
    page.wait_for_timeout(2500)
    assert fleet.looks > looks


def test_old_figures_are_said_to_be_old(fleet: MadeUpFleet, served: Served, opened: Opened) -> None:
    """With the reason; the figures stay."""
    page = opened(served.url)
    live(page)
    fleet.error = "Connection refused <b>by</b> 127.0.0.1:6379"
    expect(page.locator("#state")).to_have_text("Stale")
    expect(page.locator("#banner")).to_contain_text("Connection refused <b>by</b> 127.0.0.1:6379")
    expect(page.get_by_role("link", name="carts")).to_be_visible()
    fleet.error = None
    live(page)


def test_an_empty_fleet_says_what_to_do(serve: Serve, opened: Opened) -> None:
    """On each page, in words."""

    class Empty:
        def read(self) -> FleetView:
            return FleetView(time.time())

        def close(self) -> None:
            """Close nothing."""

    served = serve(Empty())
    page = opened(served.url)
    expect(page.get_by_text("No process reports its pools here yet")).to_be_visible()
    page.get_by_role("link", name="Server").click()
    expect(page.get_by_text("Nothing is known of the server's side")).to_be_visible()
    page.goto(f"{served.url}/#/service/gone")
    expect(page.get_by_text("No live process of this service reports")).to_be_visible()


def test_the_token_is_asked_for_once(fleet: MadeUpFleet, serve: Serve, opened: Opened) -> None:
    """Then the browser has a cookie that no script can read, and no address has the token."""
    served = serve(fleet, token=TOKEN)
    page = opened(f"{served.url}/?token={TOKEN}")
    live(page)
    assert TOKEN not in page.url
    assert page.evaluate("document.cookie") == ""
    page.reload()
    live(page)


def test_the_token_is_typed_into_a_form(fleet: MadeUpFleet, serve: Serve, opened: Opened) -> None:
    """A wrong one is asked for again."""
    page = opened(serve(fleet, token=TOKEN).url, unknown=True)
    for typed in ("wrong-horse-battery", TOKEN):
        page.get_by_label("Token").fill(typed)
        page.get_by_role("button", name="Sign in").click()
        if typed != TOKEN:
            expect(page.get_by_text("That is not the token")).to_be_visible()
    live(page)


def test_it_works_below_a_path(fleet: MadeUpFleet, serve: Serve, opened: Opened) -> None:
    """Mounted in an application of the user's."""
    from starlette.applications import Starlette
    from starlette.routing import Mount

    served = serve(None, Starlette(routes=[Mount("/redpool", dashboard.app(fleet))]))
    page = opened(f"{served.url}/redpool")
    live(page)
    page.get_by_role("link", name="carts").click()
    live(page)


def test_an_hour_fits_into_memory(serve: Serve, opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    """3 600 looks, as fast as they can be shown: the page's heap stays below 100 MB, and its elements don't add up."""
    monkeypatch.setattr(feed, "PERIOD", 0.002)
    fleet = shop()
    fleet.processes[0].pools[0].demand = 12
    served = serve(fleet)
    page = opened(f"{served.url}/#/pool/checkout/carts")
    live(page)
    session = page.context.new_cdp_session(page)
    session.send("Performance.enable")
    session.send("HeapProfiler.enable")

    def measured() -> dict[str, Any]:
        session.send("HeapProfiler.collectGarbage")
        found = session.send("Performance.getMetrics")["metrics"]
        return {each["name"]: each["value"] for each in found}

    begun, first = fleet.looks, None
    while fleet.looks - begun < 3600:
        page.wait_for_timeout(500)
        if first is None and fleet.looks - begun > 300:
            first = measured()
    last = measured()
    assert first is not None
    live(page)
    print(f"heap {last['JSHeapUsedSize'] / 1e6:.1f} MB, {last['Nodes']:.0f} nodes, at first {first['Nodes']:.0f}")  # noqa: T201  a figure to read
    assert last["JSHeapUsedSize"] < 100e6
    assert last["Nodes"] < 1.5 * first["Nodes"] + 500
