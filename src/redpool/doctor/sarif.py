"""A report as SARIF 2.1.0 (OASIS, *Static Analysis Results Interchange Format*): code hosts show it beside the code."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from urllib.parse import quote

from .facts import Sighting
from .report import Found, Report
from .rule import Rule, Severity

SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"
_LEVELS = {Severity.SEVERE: "error", Severity.COSTLY: "warning", Severity.NOTE: "note"}


def as_sarif(report: Report, rules: Iterable[Rule], version: str) -> dict[str, object]:
    """Return the report as a SARIF log of one run."""
    rules = list(rules)
    places = {rule.id: number for number, rule in enumerate(rules)}
    notices = [{"level": "note", "message": {"text": f"{each.what}: {each.why}"}} for each in report.unseen]
    notices += [{"level": "error", "message": {"text": f"{name}: it told nothing"}} for name in report.silent]
    driver = {"name": "redpool doctor", "version": version, "rules": [_rule(rule) for rule in rules]}
    run = {
        "tool": {"driver": driver},
        "invocations": [{"executionSuccessful": not report.silent, "toolExecutionNotifications": notices}],
        "results": [_result(each, places[each.rule.id], report.looked_at) for each in report.found],
        "columnKind": "unicodeCodePoints",
    }
    return {"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}


def _rule(rule: Rule) -> Mapping[str, object]:
    return {
        "id": rule.id,
        "shortDescription": {"text": rule.title},
        "fullDescription": {"text": rule.why},
        "help": {"text": rule.write, "markdown": rule.write},
        "defaultConfiguration": {"level": _LEVELS[rule.severity]},
        "properties": {"source": rule.source, "page": rule.page},
    }


def _result(found: Found, index: int, looked_at: Iterable[str]) -> Mapping[str, object]:
    where = found.finding.where
    return {
        "ruleId": found.rule.id,
        "ruleIndex": index,
        "level": _LEVELS[found.severity],
        "message": {"text": f"{found.finding.what} Write instead: {found.write}"},
        "locations": [_place(where)] if where else [{"logicalLocations": [_thing(name) for name in looked_at]}],
        "properties": {"figures": dict(found.finding.figures)},
    }


def _place(where: Sighting) -> Mapping[str, object]:
    path = quote(where.path.removeprefix("./"))
    return {"physicalLocation": {"artifactLocation": {"uri": path}, "region": {"startLine": where.line}}}


def _thing(name: str) -> Mapping[str, object]:
    return {"name": name, "kind": "resource"}
