"""The documentation says what the code does."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tools.reference import FOLDER, PAGES

ROOT = Path(__file__).parent.parent
LINK = re.compile(r"\[[^\]]+\]\((?!https?://|#)([^)#]+)")


@pytest.mark.parametrize("name", sorted(PAGES))
def test_the_generated_reference_is_up_to_date(name: str) -> None:
    assert (FOLDER / name).read_text("utf-8") == PAGES[name](), "run `python -m tools.reference`"


@pytest.mark.parametrize(
    "page", sorted(str(path.relative_to(ROOT)) for path in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
)
def test_links_between_pages_lead_somewhere(page: str) -> None:
    path = ROOT / page
    broken = [target for target in LINK.findall(path.read_text("utf-8")) if not (path.parent / target).exists()]
    assert not broken


def test_every_folder_of_the_package_is_on_the_architecture_page() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text("utf-8")
    package = ROOT / "src" / "tocsin"
    names = [entry.stem for entry in package.iterdir() if entry.suffix == ".py" or (entry / "__init__.py").exists()]
    names += [entry.stem for entry in (package / "domain").glob("*.py")]
    missing = [name for name in names if not name.startswith("__") and name not in page]
    assert not missing
