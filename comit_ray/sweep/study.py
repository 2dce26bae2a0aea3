"""Expands a study's file into trials: every variant with every seed, as a full configuration.

It also draws the points of a random search before anything runs: the same seed gives the same points, so a study can
resume.
"""

import hashlib
import itertools
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from comit_ray.config import config_yaml
from comit_ray.config.embedding_config import EmbeddingClassifierConfig
from comit_ray.config.sweep_config import DrawConfig, SearchConfig, StudyConfig, SweepConfig
from comit_ray.config.train_config import TrainConfig
from comit_ray.errors import ConfigError
from comit_ray.storage import storage
from comit_ray.tables.vocabulary import Task

TRIES = 100  # draws per wanted point, until one is new


def draw(search: SearchConfig) -> list[tuple[str, dict[str, Any]]]:
    """Draws `search.samples` different points; each as words and as dotted options.

    Raises:
        ConfigError: the choices do not have so many different points.
    """
    rng = np.random.default_rng(search.seed)
    points: list[dict[str, Any]] = []
    for _ in range(TRIES * search.samples):
        options = {option: _value(how, rng) for option, how in search.draw.items()}
        if options not in points:
            points.append(options)
        if len(points) == search.samples:
            return [(_words(options), options) for options in points]
    raise ConfigError(f"search: {search.samples} different points are wanted, and its choices gave {len(points)}")


def _words(options: dict[str, Any]) -> str:
    return ", ".join(
        f"{option}={value:.3g}" if isinstance(value, float) else f"{option}={value}"
        for option, value in options.items()
    )


def _value(how: DrawConfig, rng: np.random.Generator) -> Any:
    if how.choice is not None:
        return how.choice[int(rng.integers(len(how.choice)))]
    if how.log_uniform is not None:
        least, greatest = how.log_uniform
        return float(math.exp(rng.uniform(math.log(least), math.log(greatest))))
    assert how.uniform is not None
    return float(rng.uniform(*how.uniform))


CONFIG = "config"
"""The option of a point that names files instead of a value."""
PLACES = {"data", "storage", "name", "resume", "workers", "speed", "track", "max_failed_share"}
"""Options of training that do not decide what is learned: a resumed study may have others."""
OURS = {"data", "storage", "name", "resume", "train.seed"}
"""Options of training that the sweep gives each trial itself."""


@dataclass(frozen=True)
class ClassifierTrial:
    """A trial without its own training: a classifier on the embeddings of a network.

    Attributes:
        id: name of its directories and files.
        variant: what is compared, in words.
        seed: seed of the classifier, and of the network below it.
        config: options of the job `embedding_classifier`; its URIs are set when the trial runs.
    """

    id: str
    variant: str
    seed: int
    config: EmbeddingClassifierConfig


@dataclass(frozen=True)
class PlannedTrial:
    """One training, and what is scored with it.

    Attributes:
        id: name of its directories and files; the same options give the same id.
        variant: what is compared, in words: the point on the axes.
        seed: seed of the initial weights and of the order of the images.
        config: options of the job `train`.
        classifiers: classifiers that are fitted on its embeddings.
        embeddings: whether its embeddings are kept.
        gradcam: whether its Grad-CAM maps are made.
    """

    id: str
    variant: str
    seed: int
    config: TrainConfig
    classifiers: tuple[ClassifierTrial, ...] = ()
    embeddings: bool = False
    gradcam: bool = False

    @property
    def members(self) -> tuple["Member", ...]:
        """The trial and its classifiers; each has a row in `trials`."""
        return (self, *self.classifiers)


Member = PlannedTrial | ClassifierTrial


def read(path: Path) -> StudyConfig:
    """Reads the study in a YAML file.

    Raises:
        ConfigError: there is no such file, or it is not a study.
    """
    return StudyConfig.parse(config_yaml.read(path), origin=str(path))


def trials(study: StudyConfig, path: Path, sweep: SweepConfig) -> list[PlannedTrial]:
    """Returns all trials of the study, seed by seed.

    Later entries win: the study's base, the files of the points, the sweep's overlays, the study's options, the options
    of the points, the sweep's options, the seed.

    Args:
        study: result of `read`.
        path: the study's file; names in it are relative to this file.
        sweep: options of the job.

    Raises:
        ConfigError: training does not know or cannot have an option, or a variant is not in the study.
    """
    points = _points(study)
    _check_names(study, [variant for variant, _ in points])
    found = []
    for seed in range(sweep.seeds or study.seeds):
        for variant, options in points:
            config = _resolve(study, path.parent, sweep, variant, options, seed)
            _check_judge(study, variant, config)
            trial_id = _id(variant, seed, {k: v for k, v in config.flat().items() if k.split(".")[0] not in PLACES})
            on_it = study.embedding_classifiers
            found.append(
                PlannedTrial(
                    trial_id,
                    variant,
                    seed,
                    config.model_copy(update={"name": trial_id}),
                    _classifiers(study, path.parent, trial_id, seed) if on_it and on_it.of == variant else (),
                    variant in study.embeddings,
                    variant in study.gradcam and bool({Task.HEALTH, Task.COVID} & set(config.model.tasks)),
                )
            )
    _check_differ(found)
    if study.search and study.search.metric == "val_loss":
        sums = {json.dumps([t.config.loss.model_dump(), sorted(t.config.model.tasks)]) for t in found}
        if len(sums) > 1:
            raise ConfigError(
                f"{path}: search.metric val_loss is the sum of the tasks' losses, and the trials do not sum the same "
                "tasks with the same weights (loss.*, model.tasks): expected one that these do not scale, such as "
                "val_auroc_covid or val_loss_covid"
            )
    ids = [member.id for trial in found for member in trial.members]
    twice = sorted({one for one in ids if ids.count(one) > 1})
    if twice:
        raise ConfigError(f"{path}: two points have one name and the same options: {twice[0]}")
    return found


def _points(study: StudyConfig) -> list[tuple[str, dict[str, Any]]]:
    """Returns every combination of the axes' points and the drawn points: its name and its options."""
    axes = [list(points.items()) for points in study.axes.values()]
    combinations: list[tuple[str, dict[str, Any]]] = []
    for combination in itertools.product(*axes):
        options: dict[str, Any] = {}
        for _, given in combination:
            twice = sorted(options.keys() & given.keys() - {CONFIG})
            if twice:
                raise ConfigError(f"axes: {twice[0]} is set by two of them, and a trial's name would tell one alone")
            files = [*_names(options.get(CONFIG, [])), *_names(given.get(CONFIG, []))]
            options |= given | ({CONFIG: files} if files else {})
        combinations.append((", ".join(name for name, _ in combination), options))
    if study.search is None:
        return combinations
    return [
        (", ".join(filter(None, [name, words])), options | drawn)
        for name, options in combinations
        for words, drawn in draw(study.search)
    ]


def _check_names(study: StudyConfig, variants: Sequence[str]) -> None:
    on_it = study.embedding_classifiers
    named = [*study.embeddings, *study.gradcam, *([on_it.of] if on_it else [])]
    unknown = sorted(set(named) - set(variants))
    if unknown:
        raise ConfigError(f"no variant {unknown[0]!r} in this study; it has: {'; '.join(variants)}")


def _check_differ(trials: Sequence[PlannedTrial]) -> None:
    """Refuses variants that overlays or --options made equal: they would be compared under two names."""
    seen: dict[str, str] = {}
    for trial in trials:
        options = {key: value for key, value in trial.config.flat().items() if key != "name"}
        other = seen.setdefault(json.dumps(options, sort_keys=True), trial.variant)
        if other != trial.variant:
            raise ConfigError(f"the variants {other!r} and {trial.variant!r} have the same options: nothing to compare")


def _check_judge(study: StudyConfig, variant: str, config: TrainConfig) -> None:
    """Checks that the search uses a metric of a head that the network has."""
    words = study.search.metric.split("_") if study.search else []
    heads = {Task.HEALTH if word == "unhealthy" else Task(word) for word in words if word in (*Task, "unhealthy")}
    if not heads <= set(config.model.tasks):
        raise ConfigError(
            f"variant {variant!r}: the search is judged by {'_'.join(words)}, and the network has the heads "
            f"{', '.join(config.model.tasks)} alone: choose another search.metric"
        )


def _check_keys(study: StudyConfig, given: Mapping[str, Any], sweep: SweepConfig) -> None:
    """Refuses options that would be overridden silently: those the sweep sets itself, and those that name trials."""
    ours = sorted(OURS & {*study.options, *given, *sweep.options})
    if ours:
        raise ConfigError(f"{ours[0]}: every trial is given its own (seeds: --seeds, data: --data); leave it out")
    drawn = sorted((study.search.draw.keys() if study.search else set()) & sweep.options.keys())
    if drawn:
        raise ConfigError(f"--options: {drawn[0]} is drawn, and trials are named for what was drawn; leave it out")


def _resolve(
    study: StudyConfig, directory: Path, sweep: SweepConfig, variant: str, options: Mapping[str, Any], seed: int
) -> TrainConfig:
    values: dict[str, Any] = {}
    for name in [*study.base, *_names(options.get(CONFIG, []))]:
        values = _laid_over(values, _options(name, directory))
    for file in sweep.overlay:
        values = _laid_over(values, _options(file))
    given = {key: value for key, value in options.items() if key != CONFIG}
    _check_keys(study, given, sweep)
    places = {"data": storage.normalise(sweep.data), "storage": "set when it runs", "name": "trial", "resume": True}
    for key, value in {**study.options, **given, **sweep.options, **places, "train.seed": seed}.items():
        values = _laid_over(values, _nested(key, value))
    return TrainConfig.parse(values, origin=f"variant {variant!r}")


def _classifiers(study: StudyConfig, directory: Path, network: str, seed: int) -> tuple[ClassifierTrial, ...]:
    assert study.embedding_classifiers is not None
    found = []
    for variant, file in study.embedding_classifiers.methods.items():
        later = "set when it runs"
        values = _laid_over(_options(file, directory), {"results": later, "manifest": later, "output": later})
        values = _laid_over(values, {"method": {"seed": seed}})
        config = EmbeddingClassifierConfig.parse(values, origin=f"variant {variant!r} ({file})")
        found.append(ClassifierTrial(_id(variant, seed, config.flat() | {"network": network}), variant, seed, config))
    return tuple(found)


def _id(variant: str, seed: int, options: Mapping[str, Any]) -> str:
    """Returns a directory name: the variant's words, the seed, and eight digits that change with any option."""
    digest = hashlib.sha256(json.dumps(options, sort_keys=True).encode()).hexdigest()[:8]
    words = re.sub(r"[^a-z0-9]+", "-", variant.lower()).strip("-")[:48].rstrip("-")
    return f"{words}-s{seed}-{digest}"


def _names(value: Any) -> list[str]:
    names = [value] if isinstance(value, str) else value
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ConfigError(f"{CONFIG}: expected the name of a file, or a list of them, got {value!r}")
    return list(names)


def _options(name: str, beside: Path | None = None) -> dict[str, Any]:
    """Reads the options of a shipped file by its name, or of the user's own file."""
    return config_yaml.read(config_yaml.find(name, beside=beside))


def _nested(key: str, value: Any) -> dict[str, Any]:
    """Returns `{"a": {"b": value}}` for the dotted key `a.b`."""
    for part in reversed(key.split(".")):
        value = {part: value}
    return dict(value)


def _laid_over(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Returns `above` merged over `below`, option by option."""
    merged = dict(below)
    for key, value in above.items():
        old = merged.get(key)
        merged[key] = _laid_over(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return merged
