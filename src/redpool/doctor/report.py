"""Put facts and rules together: what was found, what was checked, and what could not be."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass

from .facts import Facts, Unseen
from .rule import Finding, Rule, Severity


@dataclass(frozen=True, slots=True)
class Found:
    """A finding, and the rule that it breaks."""

    rule: Rule
    finding: Finding

    @property
    def severity(self) -> Severity:
        """How bad it is here."""
        return self.finding.severity or self.rule.severity

    @property
    def write(self) -> str:
        """What to write instead."""
        return self.finding.write or self.rule.write

    def to_dict(self) -> dict[str, object]:
        """Return it as plain values."""
        where = self.finding.where
        return {
            "rule": self.rule.id,
            "severity": self.severity.value,
            "title": self.rule.title,
            "what": self.finding.what,
            "why": self.rule.why,
            "figures": dict(self.finding.figures),
            "write": self.write,
            "where": None if where is None else {"path": where.path, "line": where.line, "function": where.function},
            "source": self.rule.source,
            "page": self.rule.page,
        }


@dataclass(frozen=True, slots=True)
class Report:
    """A doctor's report, the worst findings first."""

    looked_at: tuple[str, ...]
    found: tuple[Found, ...]
    checked: tuple[str, ...]
    """the rules that there were facts for"""
    unchecked: tuple[str, ...]
    unseen: tuple[Unseen, ...]
    silent: tuple[str, ...]
    """what was asked for and has told nothing: that nothing was found there says nothing"""

    @property
    def severe(self) -> bool:
        """Whether anything severe was found."""
        return any(each.severity is Severity.SEVERE for each in self.found)

    def to_dict(self) -> dict[str, object]:
        """Return it as plain values, ready for JSON."""
        return {
            "looked_at": list(self.looked_at),
            "findings": [each.to_dict() for each in self.found],
            "checked": list(self.checked),
            "unchecked": list(self.unchecked),
            "unseen": [asdict(each) for each in self.unseen],
            "silent": list(self.silent),
        }


def examine(facts: Facts, rules: Iterable[Rule], looked_at: Iterable[str] = ()) -> Report:
    """Return what the rules find in the facts."""
    rules = list(rules)
    found = [Found(rule, finding) for rule in rules for finding in rule.findings(facts)]
    checked = {rule.id for rule in rules if rule.can_check(facts)}
    return Report(
        looked_at=tuple(looked_at),
        found=tuple(sorted(found, key=lambda each: each.severity.rank)),
        checked=tuple(rule.id for rule in rules if rule.id in checked),
        unchecked=tuple(rule.id for rule in rules if rule.id not in checked),
        unseen=facts.unseen,
        silent=facts.silent,
    )
