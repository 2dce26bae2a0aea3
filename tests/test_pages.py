"""The pages for people: links lead somewhere, commands are ones that the jobs take, and the README stays short."""

import re
import shlex
from pathlib import Path

import pytest

from comit_ray.command import options
from comit_ray.command.jobs import JOBS
from tests.conftest import REPOSITORY

PAGES = [page for folder in (".", "docs", "cluster") for page in sorted((REPOSITORY / folder).glob("*.md"))]
COMMAND = re.compile(r"(?:comit-ray |submit jobs/|(?:.* -- )?python jobs/)(\w+)(?:\.py)? (.*)")
"""A job's name and the rest of its command line; `submit` is the shell function of docs/cluster.md."""


def commands(page: Path) -> list[tuple[str, list[str]]]:
    """Jobs and their options in the console blocks of a page."""
    found = []
    for block in re.findall(r"```console\n(.*?)```", page.read_text(), re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            match = COMMAND.match(line)
            if match and not match[2].endswith(" ..."):
                found.append((match[1], shlex.split(match[2], comments=True)))
    return found


def test_the_tests_that_the_page_of_faults_names_are_there() -> None:
    named = set(re.findall(r"`(test_\w+)`", (REPOSITORY / "docs" / "faults.md").read_text()))
    sources = [path.read_text() for path in (REPOSITORY / "tests").rglob("test_*.py")]
    written = {name for source in sources for name in re.findall(r"def (test_\w+)", source)}
    assert len(named) > 40
    assert not named - written


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_links_lead_to_files_that_exist(page: Path) -> None:
    links = re.findall(r"\]\(([^)#\s]+)", page.read_text())
    broken = [link for link in links if "://" not in link and not (page.parent / link).exists()]
    assert not broken


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_the_jobs_take_the_commands_of_the_pages(page: Path) -> None:
    for job, argv in commands(page):
        assert job in JOBS, f"there is no job {job}"
        given = options.read(JOBS[job].config, argv)
        if not given.help:
            JOBS[job].config.model_validate(given.values)


def test_the_quickstart_has_every_step() -> None:
    jobs = [job for job, _ in commands(REPOSITORY / "docs" / "quickstart.md")]
    assert {"manifest", "prepare", "train", "screen", "evaluate", "review", "requeue"} <= set(jobs)


def test_the_readme_fits_on_two_screens_and_says_what_matters_first() -> None:
    text = (REPOSITORY / "README.md").read_text()
    lines = text.splitlines()
    assert len(lines) <= 150
    assert max(map(len, lines)) <= 120
    first = text.split("\n\n")[1]
    assert "no ready-made model" in first
    assert "not a medical device" in text
    assert "Not flagged is not normal" in text
