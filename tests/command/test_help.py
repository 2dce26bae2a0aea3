"""The help of every job: plain words, the options most people need first."""

import re

import pytest

from comit_ray.command import help as help_text
from comit_ray.command import jobs, options
from comit_ray.config.screen_config import ScreenConfig
from comit_ray.config.train_config import TrainConfig

PYTHON = re.compile(r"FieldInfo|<class|NoneType|Optional\[|Union\[|\btype:|Literal|\b(int|str|dict|bool|float|tuple)\b")


def text_of(name: str) -> str:
    job = jobs.JOBS[name]
    return help_text.of_job(f"comit-ray {name}", job.description, job.config)


@pytest.mark.parametrize("name", jobs.JOBS)
def test_every_option_is_there_once_in_plain_words(name: str) -> None:
    text = text_of(name)
    assert PYTHON.search(text) is None
    assert sorted(re.findall(r"^  --([\w.]+):", text, re.MULTILINE)) == sorted(
        [*options.keys(jobs.JOBS[name].config), "config"]
    )
    assert len(text.splitlines()[0]) <= 100
    assert max(map(len, text.splitlines())) <= 100


def test_needed_options_come_first_and_advanced_ones_last() -> None:
    basic, _, advanced = text_of("screen").partition("Advanced options:")
    assert re.findall(r"^  --([\w.]+): .*\(needed\)", basic, re.MULTILINE) == ["checkpoint", "output"]
    assert "--queue.capacity: whole number above 0, or null (default: null)" in basic
    assert "--decode.max_pixels" in advanced
    assert "(needed)" not in advanced


def test_single_options_come_before_groups_of_options() -> None:
    basic = text_of("manifest").partition("Advanced options:")[0]
    names = re.findall(r"^  --([\w.]+):", basic, re.MULTILINE)[:-1]
    assert names[0] == "output"
    assert [("." in name) for name in names] == sorted("." in name for name in names)
    assert text_of("manifest").startswith("usage: comit-ray manifest --root URI | --inputs URI --output URI")


def test_kinds_are_words_with_their_range_and_default() -> None:
    text = help_text.of_job("p", "", TrainConfig)
    assert "--train.lr: number above 0 (default: 5e-05)" in text
    assert "--resume: yes or no (default: no)" in text
    assert "--train.optimiser: one of adam|sgd (default: adam)" in text
    assert "--train.momentum: number at least 0 and below 1 (default: 0.9)" in text
    assert "--leave_out: list of: text (default: none)" in text
    assert "--max_failed_share: number from 0 to 1 (default: 0.05)" in text


def test_shipped_files_that_fit_the_job_are_named(monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    text = " ".join(help_text.of_job("p", "", TrainConfig).split())
    assert "comit_net, comit_net_cpu, comit_net_robust, comit_net_robust_cpu, demo" in text
    assert "svm_rbf" not in help_text.of_job("p", "", TrainConfig)
    assert "svm_rbf" in text_of("embedding_classifier")
    assert "shipped" not in help_text.of_job("p", "", ScreenConfig)


def test_the_command_lists_every_job_with_its_line(monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    text = help_text.of_all("comit-ray", ((name, job.line) for name, job in jobs.JOBS.items()))
    assert re.findall(r"^  (\w+) ", text, re.MULTILINE) == list(jobs.JOBS)
    assert "Screen a folder or bucket of radiographs" in " ".join(text.split())
