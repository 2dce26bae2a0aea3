"""Chooses the settings of a screen that decide its numbers, and refuses impossible ones before it starts.

`comit_ray.chunks.run_record` records them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from comit_ray.checkpoint import operating_points, temperature
from comit_ray.checkpoint.checkpoint_facts import CheckpointFacts
from comit_ray.checkpoint.operating_points import OperatingPoint
from comit_ray.chunks import run_record
from comit_ray.chunks.plan import Plan
from comit_ray.config.config_base import operating_point_name
from comit_ray.config.screen_config import ScreenConfig
from comit_ray.errors import ConfigError, StorageError
from comit_ray.inference import optimised
from comit_ray.screening import mask_choice, variants
from comit_ray.tables.vocabulary import SPECIFICITY, Task, scores_of


def choose_temperatures(config: ScreenConfig, checkpoint: CheckpointFacts) -> dict[str, float]:
    """Returns score -> temperature that divides its log-odds; empty with `--temperature off`.

    Raises:
        ConfigError: with `on`, the model has no score, or the checkpoint has no temperature for one; gives the reasons.
    """
    if config.temperature == "off":
        return {}
    scores = score_names(checkpoint)
    if not scores:
        heads = ", ".join(checkpoint.config.model.tasks)
        raise ConfigError(f"--temperature on: the model of {config.checkpoint} has no score to scale (heads: {heads})")
    known = checkpoint.temperatures
    found = {score: known[score].temperature for score in scores if score in known}
    lacking = [
        f"{score} ({known[score].reason or 'null'})" if score in known else f"{score} (none was fitted in its training)"
        for score in scores
        if found.get(score) is None
    ]
    if lacking:
        raise ConfigError(
            f"--temperature on: {config.checkpoint} has no temperature for {'; '.join(lacking)}; use --temperature off"
        )
    return {score: value for score, value in found.items() if value is not None}


def score_names(checkpoint: CheckpointFacts) -> tuple[str, ...]:
    """Returns the scores of the model: `covid` and `other` of the COVID head, `unhealthy` of the health head."""
    return scores_of(checkpoint.config.model.tasks)


def check_gradcam(config: ScreenConfig, checkpoint: CheckpointFacts) -> None:
    """Refuses `--gradcam true` before any image is read, if no map can be made.

    Raises:
        ConfigError: the model has no score, the backend gives no gradients, or captum is not installed.
    """
    if not config.gradcam:
        return
    if not score_names(checkpoint):
        heads = ", ".join(checkpoint.config.model.tasks)
        raise ConfigError(f"--gradcam true: the model of {config.checkpoint} has no score to explain (heads: {heads})")
    if optimised.choose(config.checkpoint, config.backend, config.precision)[0] != optimised.TORCH:
        raise ConfigError("--gradcam true needs gradients of the plain network: use --backend torch")
    from comit_ray.inference import torch_gradcam  # imported late: only this check needs PyTorch

    torch_gradcam.library()


def check_variants(config: ScreenConfig, checkpoint: CheckpointFacts) -> None:
    """Refuses `--variants` that the model cannot score, before any image is read.

    Raises:
        ConfigError: the model has no score, or no lung head for a variant that needs the lungs.
    """
    tasks = checkpoint.config.model.tasks
    heads = ", ".join(tasks)
    if config.variants and not score_names(checkpoint):
        raise ConfigError(f"--variants: the model of {config.checkpoint} has no score (heads: {heads})")
    of_lungs = [variant for variant in config.variants if variants.needs_lungs(variant)]
    if of_lungs and Task.LUNG not in tasks:
        raise ConfigError(
            f"--variants {','.join(of_lungs)}: they need the masks of a lung head, but the model of "
            f"{config.checkpoint} has none (heads: {heads}); borders_cropped needs no lung head"
        )


def check_masks(config: ScreenConfig, checkpoint: CheckpointFacts) -> None:
    """Refuses `--masks flagged` and `--masks none` if the model gives only masks, or the variants need every mask.

    Raises:
        ConfigError: the model has no score, or variants of the lungs are requested.
    """
    if config.masks == mask_choice.ALL:
        return
    if not score_names(checkpoint):
        heads = ", ".join(checkpoint.config.model.tasks)
        raise ConfigError(
            f"--masks {config.masks}: the model of {config.checkpoint} gives masks and no score (heads: {heads}): use "
            "--masks all"
        )
    of_lungs = [variant for variant in config.variants if variants.needs_lungs(variant)]
    if of_lungs:
        raise ConfigError(
            f"--variants {','.join(of_lungs)} need the lungs of every image, and --masks is {config.masks}: use "
            "--masks all, or --variants borders_cropped"
        )


def choose_operating_point(config: ScreenConfig, checkpoint: CheckpointFacts) -> OperatingPoint:
    """Returns the requested operating point, from the site's file or otherwise from the checkpoint.

    The site's thresholds apply to the scores as they are written, the checkpoint's thresholds to the model's own
    scores. A model without scores gets an empty operating point.

    Raises:
        ConfigError: there is no operating point of that name (the message lists those there are); it has no threshold
            for COVID-19 (or for `unhealthy`, if the model has no COVID head); or its thresholds were made for scores of
            another model or on another scale. Any other score without a threshold has null flags.
    """
    origin = config.operating_points or config.checkpoint
    points = operating_points.read(origin) if config.operating_points else checkpoint.operating_points
    name = config.operating_point or default_point(checkpoint.config.train.flag_point, config.operating_points)
    point = pick_operating_point(points, name, score_names(checkpoint), origin)
    if config.operating_points:
        point.check_made_for(checkpoint.model_id, "none" if config.temperature == "off" else "temperature")
    return point


def default_point(flag_point: str | None, own: str | None) -> str:
    """Returns the operating point used if none is named: the training's choice, otherwise that of the paper.

    Args:
        flag_point: `train.flag_point` of the checkpoint.
        own: URI of a site's own operating points, which the training does not know; None: the checkpoint's are used.
    """
    return flag_point if flag_point is not None and own is None else operating_point_name(SPECIFICITY)


def pick_operating_point(
    points: Mapping[str, OperatingPoint], name: str, scores: Sequence[str], origin: str
) -> OperatingPoint:
    """Returns the operating point `name` of `points`; an empty one for a model without scores.

    Args:
        points: name -> operating point, as in a checkpoint.
        name: the requested name.
        scores: scores of the model, the one for screening first.
        origin: URI that an error names.

    Raises:
        ConfigError: there is no operating point of that name, or it has no threshold for the first of `scores`.
    """
    if not scores:
        return OperatingPoint(name, {})
    point = points.get(name)
    if point is None:
        raise ConfigError(f"no operating point {name!r} in {origin}; known: {', '.join(sorted(points)) or 'none'}")
    point.threshold(scores[0])  # raises an error with the reason if there is none
    return point


def as_written(point: OperatingPoint, config: ScreenConfig, temperatures: Mapping[str, float]) -> OperatingPoint:
    """Returns the operating point on the scale of the scores as they are written.

    The checkpoint's thresholds are converted with the temperatures; a site's own thresholds are on that scale already.
    """
    if config.operating_points or not temperatures:
        return point
    carried = {
        score: temperature.carry(threshold, temperatures.get(score, 1.0))
        for score, threshold in point.thresholds.items()
    }
    return replace(point, thresholds=carried)


def recorded_operating_point(output: str) -> OperatingPoint:
    """Reads the operating point that decided the flags in `output`, on the scale of its scores.

    Raises:
        NotFoundError: there is no `run.json`.
        StorageError: the file is not the record of a screen.
    """
    try:
        point = run_record.read(output)["question"]["operating_point"]
        return OperatingPoint(str(point["name"]), {str(k): float(v) for k, v in point["thresholds"].items()})
    except (ValueError, KeyError, TypeError) as error:
        raise StorageError(f"the {run_record.FILE} of {output} is not the record of a screen: {error!r}") from error


def run_settings(
    config: ScreenConfig,
    checkpoint: CheckpointFacts,
    plan: Plan,
    operating_point: OperatingPoint,
    temperatures: Mapping[str, float],
    computed: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Returns all settings that decide the numbers of a run.

    Args:
        config: options of the job.
        checkpoint: facts of the model.
        plan: plan of the whole manifest.
        operating_point: operating point on the scale of the scores as written.
        temperatures: score -> temperature.
        computed: what decides the arithmetic (`comit_ray.inference.optimised.computed`); empty: PyTorch in float32.

    Raises:
        ConfigError: Grad-CAM maps or variants are requested but cannot be made, or needed masks are left out.
    """
    check_gradcam(config, checkpoint)
    check_variants(config, checkpoint)
    check_masks(config, checkpoint)
    return {
        "manifest": plan.fingerprint,
        "split": config.split,
        "model_id": checkpoint.model_id,
        # Outputs older than the option for equalisation continue if none is requested.
        "frame": {name: value for name, value in checkpoint.config.frame.model_dump().items() if value != "none"},
        "operating_point": {"name": operating_point.name, "thresholds": operating_point.thresholds},
        "temperature": dict(temperatures) or "off",
        "decode": config.decode.question(),
        "embeddings": config.embeddings,
        "gradcam": config.gradcam,
        "variants": sorted(config.variants),
        "masks": mask_choice.setting(config.masks),
        **({"computed": dict(computed)} if computed else {}),
    }
