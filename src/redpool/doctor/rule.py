"""A rule: what it is, and the pure function that finds what breaks it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import TypeAlias

from .facts import Facts, Sighting


class Severity(Enum):
    """How bad a finding is, the worst first."""

    SEVERE = "severe"
    """it breaks, or will"""
    COSTLY = "costly"
    """it costs time, memory or connections"""
    NOTE = "note"
    """it is good to know"""

    @property
    def rank(self) -> int:
        """0 for the worst."""
        return list(Severity).index(self)


class Seconds(float):
    """A time among the figures: people see its unit."""


Figure: TypeAlias = float | int | str


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found here: what will go wrong, the figures that say so, and what to write instead."""

    what: str
    figures: Mapping[str, Figure] = field(default_factory=dict)
    write: str | None = None
    """the code or line of configuration, with these figures; `None` where the rule's own says it all"""
    where: Sighting | None = None
    severity: Severity | None = None
    """where it is less, or more, than the rule's"""


Check: TypeAlias = Callable[[Facts], Iterable[Finding]]


@dataclass(frozen=True, slots=True)
class Rule:
    """What goes wrong, why, and how it is seen; texts are Markdown, as `docs/doctor` has them."""

    id: str
    severity: Severity
    title: str
    why: str
    seen: str
    """the figures that it takes, and where the line is drawn"""
    write: str
    source: str
    needs: tuple[str, ...]
    """the kinds of facts that it can be seen from: one of these, each of which may be several with a space between"""
    check: Check

    @property
    def page(self) -> str:
        """Where the docs explain it."""
        return f"docs/doctor/{self.id}.md"

    def can_check(self, facts: Facts) -> bool:
        """Return whether there are facts to see it by."""
        return any(set(way.split()) <= facts.known for way in self.needs)

    def findings(self, facts: Facts) -> Iterator[Finding]:
        """Yield what breaks the rule."""
        yield from self.check(facts) if self.can_check(facts) else ()


def rule(
    id: str,
    severity: Severity,
    title: str,
    *,
    why: str,
    seen: str,
    write: str,
    source: str,
    needs: Iterable[str],
) -> Callable[[Check], Rule]:
    """Return a decorator that makes a rule of the function that checks it."""
    texts = {"why": _flowing(why), "seen": _flowing(seen), "source": _flowing(source)}
    return lambda check: Rule(id, severity, title, write=_block(write), needs=tuple(needs), check=check, **texts)


def _flowing(text: str) -> str:
    return " ".join(text.split())


def _block(text: str) -> str:
    lines = text.strip("\n").splitlines()
    indent = min((len(line) - len(line.lstrip()) for line in lines if line.strip()), default=0)
    return "\n".join(line[indent:] for line in lines).rstrip()
