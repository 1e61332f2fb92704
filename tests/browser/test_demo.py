"""`redpool demo --dashboard`: a fleet that is at work at once, and gone at the end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable

from playwright.sync_api import Page, expect


def test_the_demo_shows_a_fleet_and_leaves_nothing_behind(opened: Callable[..., Page]) -> None:
    """All of its services report, their connections are known to the server's page; Ctrl-C ends every process."""
    command = [sys.executable, "-m", "redpool", "demo", "--dashboard", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as demo:
        try:
            assert demo.stdout is not None
            url = next(line for line in demo.stdout if line.startswith("Dashboard")).split()[1].rstrip(".")
            page = opened(url, away=True)
            for service in ("checkout", "search", "jobs"):
                expect(page.get_by_role("region", name="Pools")).to_contain_text(service, timeout=30_000)
            shown = page.get_by_role("region", name="Pools").locator("tbody tr")
            expect(shown).to_have_count(4)
            listed = subprocess.run(["pgrep", "-P", str(demo.pid)], capture_output=True, text=True, check=True)
            workers = list(map(int, listed.stdout.split()))
            assert len(workers) >= 6
            page.get_by_role("link", name="Server").click()
            expect(page.get_by_role("region", name="By owner")).to_contain_text("known", timeout=30_000)
        finally:
            demo.send_signal(signal.SIGINT)
        assert demo.wait(30) == 130
    assert [pid for pid in workers if _is_there(pid)] == []


def _is_there(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
