"""The screen of `redpool top`: shows what the pure modules say, and turns keys into what they are asked. Textual."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Generic, TypeVar

from rich.cells import cell_len, set_cell_size
from rich.table import Table as RichTable
from rich.text import Text
from textual.app import App, ComposeResult
from textual.binding import Binding
from textual.containers import VerticalScroll
from textual.events import Resize
from textual.message import Message
from textual.screen import ModalScreen
from textual.theme import Theme
from textual.widgets import DataTable, Footer, Input, Static

from redpool.fleet.source import Source

from .clients import CLIENT_COLUMNS, DEFAULT_CLIENT_SORT, ClientRow, client_rows, client_words
from .detail import client_detail, detail
from .headline import Look, instead_of_rows, server_line, status, title
from .looks import Looks
from .past import Past
from .plain import text_of
from .rows import COLUMNS, DEFAULT_SORT, Column, Grouping, Row, filtered, fitting, rows, sorted_by, words
from .shown import Line, Tone

THEME = Theme(
    name="redpool",
    primary="#6cb6ff",
    accent="#6cb6ff",
    warning="#e3b35c",
    error="#ff7b72",
    foreground="#d4d8de",
    background="#0f1215",
    surface="#0f1215",
    panel="#1b2026",
    dark=True,
    variables={"footer-background": "#1b2026", "footer-key-foreground": "#6cb6ff"},
)
STYLES = {
    Tone.PLAIN: "#d4d8de",
    Tone.QUIET: "#7f8893",
    Tone.STRONG: "bold #ffffff",
    Tone.WARN: "#e3b35c",
    Tone.BAD: "bold #ff7b72",
}
_SORTED = f"bold {THEME.primary}"
_LOW = 18  # lines of a terminal below which the details don't fit beneath the rows
_UNSEEN = 100  # looks that are kept while it is paused
_MOST = 200  # rows that are drawn: so many more that each look stays quick
_NARROWEST = 24  # column of names

CSS = """
Screen { background: $background; }
DataTable, VerticalScroll {
    scrollbar-size: 1 1; scrollbar-background: $background; scrollbar-background-hover: $background;
    scrollbar-background-active: $background; scrollbar-corner-color: $background;
    scrollbar-color: #39424d; scrollbar-color-hover: #4d5864; scrollbar-color-active: #6cb6ff;
}
#title, #server { height: 1; padding: 0 1; text-wrap: nowrap; text-overflow: ellipsis; }
#server.empty { display: none; }
#instead { height: 1fr; padding: 1 2; }
DataTable { height: 1fr; background: $background; margin-top: 1; }
DataTable:focus { background-tint: $background 0%; }
DataTable > .datatable--odd-row, DataTable > .datatable--even-row { background: $background; }
DataTable > .datatable--header { background: $background; color: #7f8893; text-style: none; }
DataTable > .datatable--header-hover { background: $panel; }
DataTable > .datatable--cursor { background: #23364d; color: $foreground; text-style: none; }
DataTable > .datatable--hover { background: $panel; }
#details { height: 45%; border-top: solid #2d343c; padding: 0 1; background: $background; }
#details.whole { height: 1fr; border-top: none; margin-top: 1; }
#filter { height: 1; border: none; padding: 0 1; background: $panel; }
Help { align: center middle; background: $background 60%; }
Help > VerticalScroll { width: 90; max-width: 96%; height: auto; max-height: 94%; background: $panel; padding: 1 2; }
Footer { background: $panel; padding: 0 0 0 1; }
"""

KEYS = (
    ("arrows", "choose a row: the details below follow it"),
    ("enter", "the details alone, and back"),
    ("d", "show the details below the rows, or not"),
    ("s, S", "sort by the next column, or the one before; a click on a heading sorts by it"),
    ("r", "the other way round"),
    ("/", "only rows with all of these words; esc shows all again"),
    ("g", "rows of each pool, of a service's pools by name, of processes, of services"),
    ("c", "the server's clients, and whose they are; and back to the pools"),
    ("space", "pause: the picture stays, while reading goes on"),
    ("q", "quit"),
)

Each = TypeVar("Each", Row, ClientRow)


def name_cell(row: Row | ClientRow, width: int, tone: Tone) -> Text:
    """Return a row's name and, dimly, its place; of what doesn't fit the name's end is left out first."""
    room = max(width // 2, width - cell_len(row.place) - 2)
    name = row.name if cell_len(row.name) <= room else set_cell_size(row.name, room - 1) + "…"
    place = set_cell_size(row.place, max(0, width - cell_len(name) - 2)).rstrip()
    return Text.assemble((name, STYLES[tone]), ("  " + place, STYLES[Tone.QUIET]))


@dataclass
class Sheet(Generic[Each]):
    """One kind of rows: where they come from, how they are sorted, and which of them is chosen."""

    columns: Sequence[Column[Each]]
    sort: str
    rows: Callable[[], list[Each]]
    words: Callable[[Each], str]
    detail: Callable[[Each, int], list[Line]]
    tone: Callable[[Each], Tone]
    backwards: bool = False
    chosen: tuple[str, ...] | None = None
    """the key of the row under the cursor; `None` at the top, which stays the top"""
    shown: list[Each] = field(default_factory=list)

    def arrange(self, wanted: str) -> None:
        """Filter and sort what there is now."""
        self.shown = sorted_by(filtered(self.rows(), wanted, self.words), self.columns, self.sort, self.backwards)

    def step(self, by: int) -> None:
        """Sort by another column."""
        headings = [column.heading for column in self.columns]
        self.sort = headings[(headings.index(self.sort) + by) % len(headings)]
        self.backwards = False

    @property
    def place(self) -> int:
        """Where the chosen row is now; at the top if it is gone."""
        return next((n for n, row in enumerate(self.shown) if row.key == self.chosen), 0)


class Table(DataTable[Text]):
    """The rows. Enter, which it takes, is named at the foot of the screen; Home and End go to the first and last."""

    BINDINGS: ClassVar = [
        Binding("enter", "select_cursor", "details"),
        Binding("home", "scroll_top", show=False),
        Binding("end", "scroll_bottom", show=False),
    ]


class Help(ModalScreen[None]):
    """Says what the keys do, and what the columns mean."""

    BINDINGS: ClassVar = [Binding("escape,question_mark,q,h,enter", "dismiss", "back")]

    def __init__(self, columns: Sequence[Column[Any]]) -> None:
        super().__init__()
        self._columns = columns

    def compose(self) -> ComposeResult:
        """Put the text into a box that scrolls."""
        grid = RichTable.grid(padding=(0, 3, 0, 0))
        grid.add_column(no_wrap=True, style=STYLES[Tone.PLAIN])
        grid.add_column(style=STYLES[Tone.QUIET])
        for heading, entries in (("Keys", KEYS), ("Columns", [(each.heading, each.about) for each in self._columns])):
            grid.add_row(Text(heading, STYLES[Tone.STRONG]))
            for entry in entries:
                grid.add_row(*map(Text, entry))
            grid.add_row()
        with VerticalScroll():
            yield Static(grid)


class Top(App[None]):
    """The application. Textual's own thread alone uses it; looks come as messages."""

    class Looked(Message):
        """The source was looked at."""

        def __init__(self, look: Look) -> None:
            super().__init__()
            self.look = look

    CSS = CSS
    TITLE = "redpool top"
    ENABLE_COMMAND_PALETTE = False
    BINDINGS: ClassVar = [
        Binding("q,ctrl+c", "quit", "quit", key_display="q"),
        Binding("question_mark,h", "help", "help", key_display="?"),
        Binding("slash", "filter", "filter", key_display="/", priority=True),
        Binding("s", "sort(1)", "sort"),
        Binding("S", "sort(-1)", "sort", show=False),
        Binding("r", "reverse", "reverse"),
        Binding("g", "group", "group"),
        Binding("c", "clients", "clients"),
        Binding("space", "pause", "pause"),
        Binding("enter", "whole", "rows", show=False),
        Binding("enter", "keep_filter", "keep", show=False, priority=True),
        Binding("escape", "leave_filter", "leave", show=False, priority=True),
        Binding("d", "details", "pane", show=False),
        Binding("escape", "leave", "back", show=False),
    ]

    def __init__(self, where: str, source: Source, interval: float) -> None:
        super().__init__()
        self.where, self.interval = where, interval
        self.looks = Looks(source, interval, self._take)
        self.look = Look()
        self.past = Past()
        self.paused = False
        self.unseen: deque[Look] = deque(maxlen=_UNSEEN)
        """what came and isn't shown yet, since it is paused"""
        self.grouping = Grouping.POOL
        self.wanted = ""
        self.whole = False
        self.below = True
        # Kept here: while the help is shown, the application finds nothing of what lies beneath it.
        self.head, self.server, self.instead = Static(id="title"), Static(id="server"), Static(id="instead")
        self.table = Table(cursor_type="row", cell_padding=1, cursor_foreground_priority="renderable")
        self.pane, self.detail = VerticalScroll(id="details"), Static(id="detail")
        self.filter = Input(placeholder="only rows with these words", id="filter", compact=True)
        self.pools = Sheet(COLUMNS, DEFAULT_SORT, self._pool_rows, words, detail, lambda row: row.tone)
        self.clients = Sheet(
            CLIENT_COLUMNS, DEFAULT_CLIENT_SORT, self._client_rows, client_words, client_detail, lambda _: Tone.PLAIN
        )
        self.sheet: Sheet[Any] = self.pools
        self.in_table = self.sheet
        """the one whose rows stand in the table"""

    def compose(self) -> ComposeResult:
        """Put the parts onto the screen, from the top."""
        yield self.head
        yield self.server
        yield self.instead
        yield self.table
        with self.pane:
            yield self.detail
        yield self.filter
        yield Footer(compact=True, show_command_palette=False)

    def on_mount(self) -> None:
        """Show that it is looked, and look."""
        self.register_theme(THEME)
        self.theme = THEME.name
        self.filter.display = False
        self.set_focus(self.table)
        self.draw()
        self.looks.start()
        self.set_interval(1.0, self.draw_head)
        # So that it gives the terminal back. There is no such handler on Windows, nor beside the main thread.
        with contextlib.suppress(NotImplementedError, RuntimeError, ValueError):
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, self.exit, None, 128 + signal.SIGTERM)

    def on_unmount(self) -> None:
        """Have the source closed."""
        self.looks.end()

    def on_resize(self, _: Resize) -> None:
        """Show the columns that fit now."""
        self.draw()

    def _take(self, look: Look) -> None:
        self.post_message(self.Looked(look))

    def on_top_looked(self, message: Looked) -> None:
        """Take what came. What is shown stays while it is paused."""
        self.unseen.append(message.look)
        if not self.paused and self.table.is_attached:
            self._show_unseen()

    def _show_unseen(self) -> None:
        while self.unseen:
            look = self.unseen.popleft()
            if look.view is not None and look.view is not self.look.view:
                self.past.note(look.view)
            self.look = look
        self.draw()

    def _pool_rows(self) -> list[Row]:
        return rows(self.look.view, self.past, self.grouping) if self.look.view else []

    def _client_rows(self) -> list[ClientRow]:
        return client_rows(self.look.view.server if self.look.view else None)

    # -- drawing -------------------------------------------------------------------------------------------------------

    def draw(self) -> None:
        """Draw all of it."""
        self._follow_cursor()
        self.sheet.arrange(self.wanted)
        self.draw_head()
        self._draw_rows()
        self._draw_detail()

    def draw_head(self) -> None:
        """Draw what stands above the rows; ages go on between looks."""
        now = time.monotonic()
        state = status(self.look, now, self.interval, self.paused)
        self.head.update(_drawn(title(self.where, self.look, state)))
        server = server_line(self.look.view)
        self.server.update(_drawn(server))
        self.server.set_class(not server, "empty")

    def _draw_rows(self) -> None:
        sheet, table, instead = self.sheet, self.table, self.instead
        empty = not sheet.shown
        instead.display = empty
        table.display = not empty and not self.whole
        if empty:
            lines = instead_of_rows(self.where, self.look, self.interval, self.wanted, sheet is self.clients)
            instead.update(Text("\n").join(map(_drawn, lines)))
            return
        width = self.size.width - 1
        longest = max(cell_len(row.name) + cell_len(row.place) + 2 for row in sheet.shown)
        columns = fitting(sheet.columns, width, min(longest, max(_NARROWEST, width // 4)))
        widths = {column.heading: self._width(column) for column in columns[1:]}
        name_width = width - 2 - sum(each + 2 for each in widths.values())
        with self.prevent(DataTable.RowHighlighted):
            self.in_table = sheet
            top = table.scroll_y
            table.clear(columns=True)
            for column in columns:
                width = widths.get(column.heading, name_width)
                table.add_column(self._heading(column), key=column.heading, width=width)
            for row in sheet.shown[:_MOST]:
                cells = (_cell(column, row) for column in columns[1:])
                table.add_row(name_cell(row, name_width, sheet.tone(row)), *cells)
            if (more := len(sheet.shown) - _MOST) > 0:
                table.add_row(Text(f"{more} more rows: filter with /", STYLES[Tone.QUIET]))
            table.move_cursor(row=min(sheet.place, _MOST), scroll=False)
            table.scroll_to(y=top, animate=False, force=True)

    def _follow_cursor(self) -> None:
        """Choose the row under the cursor. To be called before rows are drawn anew: the table's messages come late."""
        sheet, row = self.in_table, self.table.cursor_row
        if row < min(_MOST, len(sheet.shown)) and row != sheet.place:
            sheet.chosen = sheet.shown[row].key if row else None

    def _width(self, column: Column[Any]) -> int:
        """Return how wide a column is: the one that is sorted by has an arrow."""
        return max(column.width, len(column.heading) + (column.heading == self.sheet.sort))

    def _heading(self, column: Column[Any]) -> Text:
        chosen = column.heading == self.sheet.sort
        style = _SORTED if chosen else STYLES[Tone.QUIET]
        arrow = ("↑" if self.sheet.backwards else "↓") if chosen else ""
        return Text(column.heading + arrow, style, justify="left" if column.is_name else "right", no_wrap=True)

    def _draw_detail(self) -> None:
        sheet, pane = self.sheet, self.pane
        pane.display = bool(sheet.shown) and (self.whole or (self.below and self.size.height >= _LOW))
        pane.set_class(self.whole, "whole")
        if pane.display:
            lines = sheet.detail(sheet.shown[sheet.place], self.size.width - 3)
            self.detail.update(Text("\n").join(map(_drawn, lines)))

    # -- what users ask ------------------------------------------------------------------------------------------------

    def on_data_table_row_highlighted(self, _: DataTable.RowHighlighted) -> None:
        """Follow the cursor."""
        self._follow_cursor()
        self._draw_detail()

    def on_data_table_row_selected(self, _: DataTable.RowSelected) -> None:
        """Show the details alone, as Enter asks."""
        self.action_whole()

    def on_data_table_header_selected(self, event: DataTable.HeaderSelected) -> None:
        """Sort by the column that was clicked, or turn it round."""
        heading = str(event.column_key.value)
        self.sheet.backwards = heading == self.sheet.sort and not self.sheet.backwards
        self.sheet.sort = heading
        self.draw()

    def action_sort(self, by: int) -> None:
        """Sort by the next column, or the one before."""
        self.sheet.step(by)
        self.draw()

    def action_reverse(self) -> None:
        """Turn the order round."""
        self.sheet.backwards = not self.sheet.backwards
        self.draw()

    def action_group(self) -> None:
        """Make the next kind of rows of the pools."""
        every = list(Grouping)
        self.grouping = every[(every.index(self.grouping) + 1) % len(every)]
        self.sheet = self.pools
        self.draw()

    def action_clients(self) -> None:
        """Show the server's clients instead of the pools, or the pools again."""
        self.sheet = self.pools if self.sheet is self.clients else self.clients
        self.draw()

    def action_pause(self) -> None:
        """Keep the picture, or show what came meanwhile."""
        self.paused = not self.paused
        self._show_unseen() if not self.paused else self.draw_head()

    def action_whole(self) -> None:
        """Show the details of the chosen row alone, or all rows again."""
        self.whole = not self.whole and bool(self.sheet.shown)
        if self.whole:  # it stays this row, wherever it moves
            self.sheet.chosen = self.sheet.shown[self.sheet.place].key
        self.draw()
        self.set_focus(self.pane if self.whole else self.table)

    def action_details(self) -> None:
        """Show the details beneath the rows, or not."""
        self.below = not self.below
        self.draw()

    def action_filter(self) -> None:
        """Ask for words. It comes before what has the focus, so that no key behind it is taken for another command."""
        if self.focused is self.filter:
            self.filter.insert_text_at_cursor("/")
            return
        self.filter.display = True
        self.set_focus(self.filter)

    def on_input_changed(self, event: Input.Changed) -> None:
        """Filter while the words are typed."""
        self.wanted = event.value
        self.draw()

    def check_action(self, action: str, _: tuple[object, ...]) -> bool | None:
        """Return whether an action makes sense now: those that end the typing of a filter while it is typed."""
        return self.focused is self.filter if action in ("keep_filter", "leave_filter") else True

    def action_keep_filter(self) -> None:
        """Go back to the rows; the filter stays, and so does its line. It comes first for the same reason."""
        self.set_focus(self.table)

    def action_leave(self) -> None:
        """Leave the details, or else the filter."""
        if self.whole:
            self.action_whole()
        else:
            self.action_leave_filter()

    def action_leave_filter(self) -> None:
        """Show all rows again."""
        self.filter.value = ""
        self.filter.display = False
        self.set_focus(self.table)

    def action_help(self) -> None:
        """Say what keys and columns mean."""
        self.push_screen(Help(self.sheet.columns))


def _drawn(line: Line) -> Text:
    return text_of(line, STYLES)


def _cell(column: Column[Any], row: Any) -> Text:
    style = STYLES[column.tone(row)]
    return Text(
        column.text(row), style, justify="left" if column.is_name else "right", no_wrap=True, overflow="ellipsis"
    )
