"""The public Python interface: load a model, ask it about radiographs, open the results of a screen.

Example:
    >>> import comit_ray
    >>> model = comit_ray.load(CHECKPOINT)
    >>> result = model.predict(RADIOGRAPH)
    >>> result.status, result.lung_mask.shape == (result.height, result.width)
    ('ok', True)
"""

from pathlib import Path

from comit_ray.checkpoint import frontal_check
from comit_ray.checkpoint import operating_points as points
from comit_ray.checkpoint.checkpoint_facts import read_config
from comit_ray.config.image_config import DecodeLimits
from comit_ray.errors import NotFoundError
from comit_ray.front.screen_results import Results, is_table
from comit_ray.front.screening_model import Result, ScreeningModel
from comit_ray.inference.model import load_model
from comit_ray.screening import run_settings
from comit_ray.storage import storage
from comit_ray.tables.vocabulary import scores_of

__all__ = ["Result", "Results", "ScreeningModel", "load", "open_results"]


def load(
    checkpoint: str | Path,
    *,
    operating_point: str | None = None,
    operating_points: str | None = None,
    device: str = "cpu",
    batch_size: int = 16,
    limits: DecodeLimits | None = None,
) -> ScreeningModel:
    """Load a trained model with its thresholds, ready to predict radiographs.

    Args:
        checkpoint: path or `s3://` URI of a checkpoint, such as `runs/first/best`.
        operating_point: name of the operating point that decides the flags. None: the one that a screen would use: the
            training's own choice, else `specificity_0.90`.
        operating_points: URI of a site's own operating points (JSON). None: those of the checkpoint.
        device: `cpu` or `cuda`.
        batch_size: largest number of radiographs in one forward pass.
        limits: bounds on a file's bytes and pixels. None: those of a screen.

    Raises:
        CheckpointError: the checkpoint cannot be loaded.
        ConfigError: there is no such operating point (the message lists them), or the site's own operating points were
            made from another model's scores.

    Example:
        >>> load(CHECKPOINT).operating_point.name
        'specificity_0.90'
    """
    uri = storage.normalise(checkpoint)
    model = load_model(uri, device=device, batch_size=batch_size)
    origin = operating_points or storage.join(uri, points.FILE)
    if operating_point is None:
        operating_point = run_settings.default_point(read_config(uri).train.flag_point, operating_points)
    point = run_settings.pick_operating_point(points.read(origin), operating_point, scores_of(model.tasks), origin)
    if operating_points:
        point.check_made_for(model.model_id, "none")
    return ScreeningModel(model, point, limits or DecodeLimits(), frontal_check.load(uri))


def open_results(uri: str | Path, manifest: str | Path | None = None) -> Results:
    """Open the results of a screen, to query them in SQL and to draw pictures.

    Args:
        uri: path or URI that `screen` had as `--output`.
        manifest: URI of the manifest that was screened. None: `manifest` below `uri`, else the one that `run.json`
            names.

    Raises:
        NotFoundError: there are no predictions.

    Example:
        >>> results = open_results(RESULTS)
        >>> results.predictions.aggregate("status, count(*) AS images", "status").fetchall()
        [('ok', 1)]
    """
    where = storage.normalise(uri)
    if not is_table(storage.join(where, "predictions")):
        raise NotFoundError(f"{where}: expected the output of a screen, with predictions/*.parquet in it; found none")
    return Results(where, None if manifest is None else storage.normalise(manifest))
