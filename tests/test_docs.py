"""Every code block of the README and of docs/ runs, in order, in one fresh folder a page."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
INSTALL = re.compile(r'^pip install -e (\.|"\.\[dev\]") && ')


def blocks(page: Path) -> list[tuple[str, str]]:
    return [(match[1], match[2]) for match in BLOCK.finditer(page.read_text())]


def commands(block: str) -> list[list[str]]:
    lines = block.replace("\\\n", " ").splitlines()
    words = [shlex.split(INSTALL.sub("", line), comments=True) for line in lines]
    # The whole suite is what runs this very test.
    return [line for line in words if line and line != ["pytest"]]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_page_has_only_blocks_that_can_run(page: Path) -> None:
    for language, block in blocks(page):
        assert language in ("python", "bash"), block
        if language == "bash":
            assert all(words[0] in ("odevision", "python") for words in commands(block)), block


@pytest.mark.slow
@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page)], ids=lambda p: p.name)
def test_the_blocks_of_a_page_run(page: Path, tmp_path: Path) -> None:
    (tmp_path / "benchmarks").symlink_to(ROOT / "benchmarks")
    for language, block in blocks(page):
        if language == "python":
            calls = [[sys.executable, "-c", block]]
        else:
            starts = {
                "odevision": [sys.executable, "-m", "odevision"],
                "python": [sys.executable],
            }
            calls = [[*starts[words[0]], *words[1:]] for words in commands(block)]
        for call in calls:
            done = subprocess.run(call, cwd=tmp_path, capture_output=True, text=True)
            assert done.returncode == 0, f"{call}\n{done.stdout}\n{done.stderr}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_relative_link_of_a_page_leads_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text()):
        if "://" not in link:
            assert (page.parent / link).exists(), link
