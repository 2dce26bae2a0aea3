"""Studies to trials: what is laid over what, names that stay, and what is refused."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from comit_ray.config import config_yaml
from comit_ray.config.sweep_config import SweepConfig
from comit_ray.errors import ConfigError
from comit_ray.evaluation.report import paper_values
from comit_ray.sweep import study
from comit_ray.sweep.study import PlannedTrial

STUDIES = config_yaml.STUDIES
BASE = {"model": {"width": 0.5, "weights": "none"}, "train": {"lr": 1e-4, "epochs": 9}}


def plan(tmp_path: Path, values: dict[str, Any], **options: Any) -> list[PlannedTrial]:
    (tmp_path / "base.yaml").write_text(yaml.safe_dump(BASE))
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump({"base": ["base.yaml"]} | values, sort_keys=False))
    where = {"study": str(path), "data": "data", "storage": "studies", "name": "one"}
    return study.trials(study.read(path), path, SweepConfig.parse(where | options, origin="test"))


TWO = {"axes": {"tasks": {"covid": {"model.tasks": ["covid"]}, "both": {"model.tasks": ["lung", "covid"]}}}}


def test_every_point_comes_with_every_seed_and_all_points_of_a_seed_come_first(tmp_path) -> None:
    trials = plan(tmp_path, TWO | {"seeds": 2})
    assert [(t.variant, t.seed, t.config.train.seed) for t in trials] == [
        ("covid", 0, 0), ("both", 0, 0), ("covid", 1, 1), ("both", 1, 1),
    ]  # fmt: skip
    assert [t.config.model.tasks for t in trials[:2]] == [("covid",), ("lung", "covid")]
    assert all(t.config.name == t.id for t in trials)


def test_axes_are_multiplied_and_files_of_several_points_are_laid_over_each_other(tmp_path) -> None:
    (tmp_path / "a.yaml").write_text("train: {lr: 0.5, epochs: 3}")
    (tmp_path / "b.yaml").write_text("train: {lr: 0.25}")
    axes = {"first": {"a": {"config": "a.yaml"}}, "second": {"b": {"config": ["b.yaml"]}, "c": {"train.lr": 0.125}}}
    trials = plan(tmp_path, {"axes": axes, "seeds": 1})
    assert [(t.variant, t.config.train.lr, t.config.train.epochs) for t in trials] == [
        ("a, b", 0.25, 3), ("a, c", 0.125, 3),
    ]  # fmt: skip


def test_what_wins_over_what(tmp_path) -> None:
    """Base, overlay, the study's options, the point's, the sweep's, in this order."""
    (tmp_path / "overlay.yaml").write_text("train: {lr: 0.002, batch_size: 4, patience: 7}\nmodel: {width: 0.25}")
    axes = {"axis": {"point": {"train.lr": 0.003, "model.width": 0.125}}}
    options = {"overlay": [str(tmp_path / "overlay.yaml")], "options": {"model.width": 0.0625}}
    values = {"axes": axes, "seeds": 1, "options": {"train.batch_size": 5, "train.lr": 0.5}}
    (trial,) = plan(tmp_path, values, **options)
    train, width = trial.config.train, trial.config.model.width
    assert (train.epochs, train.patience, train.batch_size, train.lr, width) == (9, 7, 5, 0.003, 0.0625)


def test_a_trials_name_changes_with_what_is_learned_and_with_nothing_else(tmp_path) -> None:
    before = [t.id for t in plan(tmp_path, TWO)]
    elsewhere = {"storage": "other", "name": "two", "options": {"workers.count": 2, "speed.prefetch": 0}}
    assert [t.id for t in plan(tmp_path, TWO, **elsewhere)] == before
    assert not set(before) & {t.id for t in plan(tmp_path, TWO, options={"train.lr": 0.5})}


def test_classifiers_stand_on_the_network_of_their_seed(tmp_path) -> None:
    (tmp_path / "forest.yaml").write_text("method: {name: random_forest, trees: 7}")
    values = TWO | {"seeds": 2, "embedding_classifiers": {"of": "both", "methods": {"forest": "forest.yaml"}}}
    trials = plan(tmp_path, values)
    assert [len(t.classifiers) for t in trials] == [0, 1, 0, 1]
    first, second = trials[1].classifiers[0], trials[3].classifiers[0]
    assert (first.config.method.trees, first.config.method.seed, second.config.method.seed) == (7, 0, 1)
    assert first.id.startswith("forest-s0-")
    assert first.id != second.id
    changed = plan(tmp_path, values, options={"train.lr": 0.5})
    assert changed[1].classifiers[0].id != first.id, "its network is another"


def test_a_search_multiplies_its_draws(tmp_path) -> None:
    search = {"draw": {"train.lr": {"uniform": [0.1, 0.2]}}, "samples": 3}
    trials = plan(tmp_path, {"search": search, "split": "val", "seeds": 1})
    assert len({t.id for t in trials}) == 3
    assert all(0.1 <= t.config.train.lr <= 0.2 and t.variant.startswith("train.lr=0.1") for t in trials)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({}, "expected axes or search"),
        ({"axes": {"a": {}}}, "axes.a: expected at least one point"),
        ({"search": {"draw": {"train.lr": {"uniform": [0, 1]}}}}, "expected val for a search"),
        (
            {"search": {"draw": {"loss.lung": {"uniform": [0, 1]}}, "metric": "val_loss"}, "split": "val"},
            "the trials do not sum the same tasks with the same weights",
        ),
        (
            {
                "options": {"model.tasks": ["lung"]},
                "search": {"draw": {"train.lr": {"uniform": [0, 1]}}, "metric": "val_auroc_covid"},
                "split": "val",
            },
            "judged by val_auroc_covid, and the network has the heads lung alone",
        ),
        (
            TWO | {"search": {"draw": {"train.lr": {"uniform": [0, 1]}}, "metric": "val_loss"}, "split": "val"},
            "the trials do not sum the same tasks with the same weights",
        ),
        ({"axes": {"a": {"b": {"train.seed": 3}}}}, "train.seed: every trial is given its own"),
        (TWO | {"options": {"data": "s3://other"}}, "data: every trial is given its own"),
        (
            {"axes": {"a": {"x": {"train.lr": 1e-3}}, "b": {"y": {"train.lr": 1e-4}}}},
            "axes: train.lr is set by two of them",
        ),
        ({"axes": {"a": {"b": {"config": None}}}}, "config: expected the name of a file, or a list of them, got None"),
        (TWO | {"gradcam": ["neither"]}, "no variant 'neither' in this study; it has: covid; both"),
        ({"axes": {"a": {"b": {"train.rate": 1}}}}, "variant 'b': train.rate: no such option; valid"),
        ({"axes": {"a": {"b": {"config": "gone.yaml"}}}}, "gone.yaml"),
        (TWO | {"sedes": 3}, "sedes: no such option (did you mean seeds?); valid keys: base"),
    ],
)
def test_what_is_no_study_is_refused(tmp_path, values, words) -> None:
    with pytest.raises(ConfigError) as error:
        plan(tmp_path, values)
    assert words in str(error.value)


def test_an_option_that_variants_are_named_for_is_not_overridden(tmp_path) -> None:
    with pytest.raises(ConfigError, match="the variants 'covid' and 'both' have the same options"):
        plan(tmp_path, TWO, options={"model.tasks": ["covid"]})
    search = {"draw": {"train.lr": {"uniform": [0.1, 0.2]}}, "samples": 3}
    with pytest.raises(ConfigError, match=r"train\.lr is drawn"):
        plan(tmp_path, {"search": search, "split": "val"}, options={"train.lr": 0.5})


def test_a_point_that_stands_twice_is_refused(tmp_path) -> None:
    """YAML would keep the later one alone, and a variant would be missing without a word."""
    path = tmp_path / "mine.yaml"
    path.write_text("axes: {model: {one: {model.width: 0.5}, one: {model.width: 0.25}}}")
    with pytest.raises(ConfigError, match="the key 'one' stands twice"):
        study.read(path)


@pytest.mark.parametrize("path", sorted(STUDIES.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_study_that_is_shipped_is_one(path) -> None:
    asked = study.read(path)
    where = SweepConfig(study=path.stem, data="data", storage="studies", name="one")
    trials = study.trials(asked, path, where)
    assert {t.seed for t in trials} == set(range(asked.seeds))


def variants(name: str) -> set[str]:
    path = STUDIES / f"{name}.yaml"
    where = SweepConfig(study=name, data="data", storage="studies", name="one", seeds=1)
    return {member.variant for t in study.trials(study.read(path), path, where) for member in t.members}


def test_the_papers_studies_have_the_rows_of_its_tables() -> None:
    assert variants("ablation") == set(paper_values.TABLE_5)
    assert variants("baselines") == set(paper_values.TABLE_4)
    assert variants("ablation_small") == variants("ablation")
    assert variants("baselines_small") == variants("baselines")
    assert variants("segmentation_small") == variants("segmentation")
