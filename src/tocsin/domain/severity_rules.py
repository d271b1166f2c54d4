"""Severity rules: what a project's operator knows of its errors better than the client that reports them.

A rule has conditions and a severity; of the rules whose conditions all hold, the first one decides.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import translate

from tocsin.domain.incident import Severity
from tocsin.domain.report import ErrorReport
from tocsin.errors import Code, refuse

MAX_RULES = 50
MAX_CONDITIONS = 10
MAX_PATTERN_CHARACTERS = 200
MAX_MATCHED_CHARACTERS = 1_024
"""How much of a field is compared with a pattern."""

HANDLED = "handled"
_TAG = "tags."
_FIELDS = {
    "type": "error_type",
    "message": "message",
    "level": "severity",
    "logger": "logger",
    "environment": "environment",
    "service": "service",
    "release": "release",
    "serverName": "server_name",
    "platform": "platform",
}


@dataclass(frozen=True, slots=True)
class SeverityRule:
    """When every condition holds, the report has this severity.

    A condition is a pattern for one field (`*` and `?` as in file names, all else as it stands, upper and lower case
    alike), or, for "handled", whether the program caught the exception itself.
    """

    when: Mapping[str, str | bool]
    severity: Severity

    def document(self) -> dict[str, object]:
        """Return the rule as JSON."""
        return {"when": dict(self.when), "severity": self.severity.value}

    def matches(self, report: ErrorReport) -> bool:
        """Tell whether every condition holds."""
        return all(_holds(report, field, wanted) for field, wanted in self.when.items())


def judged_severity(rules: Sequence[SeverityRule], report: ErrorReport) -> Severity:
    """Return the severity that the rules give a report; its own when none applies."""
    return next((rule.severity for rule in rules if rule.matches(report)), report.severity)


def parse_rules(document: object) -> tuple[SeverityRule, ...]:
    """Read rules from JSON: a list of `{"when": {…}, "severity": "…"}`. Raises INVALID naming every wrong part."""
    problems: list[dict[str, str]] = []
    if not isinstance(document, list) or len(document) > MAX_RULES:
        problems.append({"field": "", "problem": f"must be a list of at most {MAX_RULES} rules"})
        document = []
    rules = [_rule(item, f"[{index}]", problems) for index, item in enumerate(document)]
    if problems:
        named = "; ".join(f"{problem['field']} {problem['problem']}".strip() for problem in problems[:5])
        raise refuse(
            Code.INVALID,
            f"The severity rules are not valid: {named}.",
            'A rule looks like {"when": {"handled": false}, "severity": "CRITICAL"}.',
            errors=problems,
        )
    return tuple(rule for rule in rules if rule is not None)


def _rule(item: object, at: str, problems: list[dict[str, str]]) -> SeverityRule | None:
    when = item.get("when") if isinstance(item, dict) else None
    if not isinstance(item, dict) or not isinstance(when, dict) or not 1 <= len(when) <= MAX_CONDITIONS:
        problem = f'must be an object with "when" (1 to {MAX_CONDITIONS} conditions) and "severity"'
        problems.append({"field": at, "problem": problem})
        return None
    for field, wanted in when.items():
        if problem := _problem(field, wanted):
            problems.append({"field": f"{at}.when.{field}", "problem": problem})
    severity = item.get("severity")
    if not isinstance(severity, str) or severity not in Severity.__members__:
        problems.append({"field": f"{at}.severity", "problem": f"must be one of {', '.join(Severity.__members__)}"})
        return None
    return SeverityRule(when, Severity(severity))


def _problem(field: str, wanted: object) -> str:
    if field == HANDLED:
        return "" if isinstance(wanted, bool) else "must be true or false"
    if field not in _FIELDS and not (field.startswith(_TAG) and len(field) > len(_TAG)):
        return f"is not a field: use {HANDLED}, {', '.join(_FIELDS)} or {_TAG}NAME"
    if not isinstance(wanted, str) or not 1 <= len(wanted) <= MAX_PATTERN_CHARACTERS:
        return f"must be a pattern of 1 to {MAX_PATTERN_CHARACTERS} characters"
    return ""


def _holds(report: ErrorReport, field: str, wanted: str | bool) -> bool:
    if isinstance(wanted, bool):
        return any(exception.handled is wanted for exception in report.exceptions)
    name = field.removeprefix(_TAG)
    value = report.tags.get(name, "") if field.startswith(_TAG) else str(getattr(report, _FIELDS[field]))
    # Messages begin with "[Errno 111]": a bracket stands for itself.
    pattern = translate(wanted.lower().replace("[", "[[]"))
    return re.fullmatch(pattern, value[:MAX_MATCHED_CHARACTERS].lower()) is not None
