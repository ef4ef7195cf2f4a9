"""What the documents point to is there: pages, headings, files, tests and functions."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
CODE = {file: file.read_text() for file in (ROOT / "trade_engine").rglob("*.py")}
TESTS = {file: file.read_text() for file in (ROOT / "tests").rglob("test_*.py")}


def anchors(page: Path) -> set[str]:
    """The headings of a page, as links name them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    words = [re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings]
    return {heading.replace(" ", "-") for heading in words}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)]+)\)", page.read_text()):
        if "://" in target:
            continue
        path, _, anchor = target.partition("#")
        found = page if not path else (page.parent / path).resolve()
        assert found.exists(), target
        assert not anchor or anchor in anchors(found), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_tests_that_are_named_exist(page: Path) -> None:
    for path, name in re.findall(r"`([\w/]*test_\w+\.py)?(?:::)?(test_\w+)?`", page.read_text()):
        files = [file for file in TESTS if not path or str(file).endswith(f"/{path}")]
        assert files, path
        assert not name or any(f"def {name}(" in TESTS[file] for file in files), name


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_files_and_checks_that_are_named_exist(page: Path) -> None:
    text = page.read_text()
    for path in re.findall(r"`((?:\w+/)+\w+\.py)`", text):
        roots = (ROOT, ROOT / "trade_engine")
        assert any((root / path).exists() for root in roots), path
    for name in re.findall(r"`(check_\w+)`", text):
        assert any(f"def {name}(" in code for code in CODE.values()), name
