"""The settings of a screen that decide its numbers, as `comit_ray.chunks.run_record` records them."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from comit_ray.checkpoint import operating_points, temperature
from comit_ray.checkpoint.checkpoint_facts import CheckpointFacts
from comit_ray.checkpoint.operating_points import OperatingPoint
from comit_ray.chunks import run_record
from comit_ray.chunks.plan import Plan
from comit_ray.config.config_base import SPECIFICITY, operating_point_name
from comit_ray.config.screen_config import ScreenConfig
from comit_ray.errors import ConfigError, StorageError
from comit_ray.inference import optimised
from comit_ray.screening import mask_choice, variants
from comit_ray.tables.vocabulary import Task, scores_of


def choose_temperatures(config: ScreenConfig, checkpoint: CheckpointFacts) -> dict[str, float]:
    """What the log-odds of each of the model's scores are divided by; empty with `--temperature off`.

    Raises:
        ConfigError: with `on`, if the model has no score, or the checkpoint no temperature for one; gives the reasons.
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
    """Scores the model gives: `covid` and `other` of the COVID head, `unhealthy` of the health head."""
    return scores_of(checkpoint.config.model.tasks)


def check_gradcam(config: ScreenConfig, checkpoint: CheckpointFacts) -> None:
    """Refuse `--gradcam true` where no map can be made, before any image is read.

    Raises:
        ConfigError: the model has no score, or captum is not installed.
    """
    if not config.gradcam:
        return
    if not score_names(checkpoint):
        heads = ", ".join(checkpoint.config.model.tasks)
        raise ConfigError(f"--gradcam true: the model of {config.checkpoint} has no score to explain (heads: {heads})")
    if optimised.choose(config.checkpoint, config.backend, config.precision)[0] != optimised.TORCH:
        raise ConfigError("--gradcam true needs gradients of the plain network: use --backend torch")
    from comit_ray.inference import torch_gradcam  # late: it imports PyTorch, which no other check needs

    torch_gradcam.library()


def check_variants(config: ScreenConfig, checkpoint: CheckpointFacts) -> None:
    """Refuse `--variants` that the model cannot score, before any image is read.

    Raises:
        ConfigError: the model has no score, or no lung head where a variant needs its lungs.
    """
    tasks = checkpoint.config.model.tasks
    heads = ", ".join(tasks)
    if config.variants and not score_names(checkpoint):
        raise ConfigError(f"--variants: the model of {config.checkpoint} has no score (heads: {heads})")
    of_lungs = [variant for variant in config.variants if variants.needs_lungs(variant)]
    if of_lungs and Task.LUNG not in tasks:
        raise ConfigError(
            f"--variants {','.join(of_lungs)}: they black out what the model's lung head draws, and the model of "
            f"{config.checkpoint} has none (heads: {heads}); borders_cropped needs none"
        )


def check_masks(config: ScreenConfig, checkpoint: CheckpointFacts) -> None:
    """Refuse `--masks flagged` and `--masks none` where masks are all there is, or the variants need every one.

    Raises:
        ConfigError: the model has no score, or variants of the lungs are asked for.
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
    """The operating point that is asked for, from the site's file or else from the checkpoint.

    A site's own is meant for the scores as they are written, the checkpoint's for those that the model gives. A model
    without scores needs none: its point is empty.

    Raises:
        ConfigError: there is none of that name (lists those there are), or it has no threshold for COVID-19 (for the
            unhealthy, if the model has no such head), or its thresholds were made of another model's scores, or of
            scores on another scale. Another head without threshold has null flags.
    """
    origin = config.operating_points or config.checkpoint
    points = operating_points.read(origin) if config.operating_points else checkpoint.operating_points
    name = config.operating_point or default_point(checkpoint.config.train.flag_point, config.operating_points)
    point = pick_operating_point(points, name, score_names(checkpoint), origin)
    if config.operating_points:
        point.check_made_for(checkpoint.model_id, "none" if config.temperature == "off" else "temperature")
    return point


def default_point(flag_point: str | None, own: str | None) -> str:
    """The operating point where none is named: the training's choice among its own, else that of the paper.

    Args:
        flag_point: `train.flag_point` of the checkpoint.
        own: URI of a site's own operating points, which the training knows nothing of; None: the checkpoint's are used.
    """
    return flag_point if flag_point is not None and own is None else operating_point_name(SPECIFICITY)


def pick_operating_point(
    points: Mapping[str, OperatingPoint], name: str, scores: Sequence[str], origin: str
) -> OperatingPoint:
    """The point `name` of `points`; an empty one for a model without scores.

    Args:
        points: by name, as in a checkpoint.
        name: the one that is asked for.
        scores: of the model, the one that is screened by first.
        origin: URI that an error names.

    Raises:
        ConfigError: there is none of that name, or it has no threshold for the first of `scores`.
    """
    if not scores:
        return OperatingPoint(name, {})
    point = points.get(name)
    if point is None:
        raise ConfigError(f"no operating point {name!r} in {origin}; known: {', '.join(sorted(points)) or 'none'}")
    point.threshold(scores[0])  # raises, with the reason, where there is none
    return point


def as_written(point: OperatingPoint, config: ScreenConfig, temperatures: Mapping[str, float]) -> OperatingPoint:
    """`point` on the scale of the scores as they are written: the checkpoint's thresholds carried to `temperatures`."""
    if config.operating_points or not temperatures:
        return point
    carried = {
        score: temperature.carry(threshold, temperatures.get(score, 1.0))
        for score, threshold in point.thresholds.items()
    }
    return replace(point, thresholds=carried)


def recorded_operating_point(output: str) -> OperatingPoint:
    """The operating point that decided the flags of the results in `output`, on the scale of their scores.

    Raises:
        NotFoundError: there is no `run.json`.
        StorageError: it is not one of ours.
    """
    try:
        point = run_record.read(output)["question"]["operating_point"]
        return OperatingPoint(str(point["name"]), {str(k): float(v) for k, v in point["thresholds"].items()})
    except (ValueError, KeyError, TypeError) as error:
        raise StorageError(f"the {run_record.FILE} of {output} is not that of a screening run: {error!r}") from error


def run_settings(
    config: ScreenConfig,
    checkpoint: CheckpointFacts,
    plan: Plan,
    operating_point: OperatingPoint,
    temperatures: Mapping[str, float],
    computed: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Everything that decides the numbers of a run; the operating point is on the scale of the scores as written.

    Args:
        config: of the job.
        checkpoint: the model's facts.
        plan: of the whole manifest.
        operating_point: on the scale of the scores as written.
        temperatures: score -> temperature.
        computed: what decides the arithmetic (`comit_ray.inference.optimised.computed`); empty: PyTorch in float32.

    Raises:
        ConfigError: it cannot be answered: Grad-CAM maps or variants are asked for and none can be made, or masks
            that are needed are left out.
    """
    check_gradcam(config, checkpoint)
    check_variants(config, checkpoint)
    check_masks(config, checkpoint)
    return {
        "manifest": plan.fingerprint,
        "split": config.split,
        "model_id": checkpoint.model_id,
        # An output from before there was equalisation goes on where none is asked for.
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
