"""What holds an arrival against the report that it stands for."""

from __future__ import annotations

from tocsin.domain.arrival import Arrival
from tocsin.domain.report import ErrorReport
from tocsin.intake import Rejected

JUDGED = [name for name in Arrival.__struct_fields__ if name != "whole"]


def whole(item: Arrival | Rejected) -> ErrorReport | Rejected:
    """Return what an arrival stands for, having seen that the two agree in everything that is judged."""
    if isinstance(item, Rejected):
        return item
    report = item.whole()
    of_report = Arrival.of(report)
    assert {name: getattr(item, name) for name in JUDGED} == {name: getattr(of_report, name) for name in JUDGED}
    assert item.whole() == report
    return report


def was_judged_quickly(item: Arrival | Rejected) -> bool:
    """Tell whether the quick reader made the arrival: then the report is read anew each time."""
    return isinstance(item, Arrival) and item.whole() is not item.whole()
