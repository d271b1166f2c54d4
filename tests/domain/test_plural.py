"""A number and what it counts agree."""

from __future__ import annotations

import re
from pathlib import Path

import tocsin
from tocsin.domain.plural import number_of, times


def test_a_number_and_its_words_agree() -> None:
    assert [number_of(number, "page") for number in (0, 1, 2, 1_200)] == ["0 pages", "1 page", "2 pages", "1,200 pages"]
    assert [number_of(number, "entry waits", "entries wait") for number in (1, 2)] == [
        "1 entry waits",
        "2 entries wait",
    ]
    assert [times(number) for number in (1, 2)] == ["once", "2 times"]


def test_nobody_is_told_of_one_thing_s_or_decides_it_anew() -> None:
    """No text says "worker(s)", and no other place than the helper adds an s where there are several."""
    source = Path(tocsin.__file__).parent
    texts = {path: path.read_text() for suffix in ("*.py", "*.html") for path in source.rglob(suffix)}
    alone = source / "domain" / "plural.py"
    odd = re.compile(r"[a-z]\(s\)(?! URL)|'' if [\w.]+ == 1 else 's'|'s' if [\w.]+ != 1 else ''")
    assert not [(path.name, found) for path, text in texts.items() if path != alone for found in odd.findall(text)]
