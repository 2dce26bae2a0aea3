"""A screen in this process, without Ray: the same reading, model and tables, chunk after chunk."""

from functools import partial
from typing import Any

from comit_ray.checkpoint import checkpoint
from comit_ray.checkpoint.operating_points import OperatingPoint
from comit_ray.chunks import plan, run_record
from comit_ray.chunks.plan import make_plan
from comit_ray.chunks.reading import read_part
from comit_ray.config.image_config import DecodeLimits, FrameConfig
from comit_ray.screening import mask_tables
from comit_ray.screening.fetch import MANIFEST_COLUMNS, fail_row, fetch_row, to_table
from comit_ray.screening.predictor import Predictor, PredictorSettings
from comit_ray.screening.screen_tables import layout
from comit_ray.tables import parquet


def screen_here(
    manifest: str, checkpoint_uri: str, output: str, point: OperatingPoint, settings: dict[str, Any] | None = None
) -> str:
    """Screen every image of a manifest at 64 px; URI of the results, which have no queue yet.

    Args:
        manifest: URI.
        checkpoint_uri: of `tests.support.write_checkpoint`.
        output: URI to write to.
        point: of the flags.
        settings: for the record of the run.
    """
    question = {"operating_point": {"name": point.name, "thresholds": point.thresholds}}
    run = run_record.open_run(output, question, settings or {}, "predictions")
    model_id = checkpoint.load(checkpoint_uri).model_id
    predictor = Predictor(PredictorSettings(checkpoint_uri, model_id, point, run, 8))
    frame = FrameConfig(size=64)
    read_one = partial(fetch_row, frame=frame, limits=DecodeLimits())
    for part in make_plan(manifest, "all").parts:
        files = {one.chunk: one.file for one in part.chunks}
        rows = parquet.read_part(part.uri, MANIFEST_COLUMNS)
        for chunk_name, results in read_part(rows, files, read_one, fail_row, 2, 2**28):
            tables = mask_tables.finish(predictor.predict(to_table(results, frame)))
            plan.commit(output, files[chunk_name], tables, layout(embeddings=False))
    return output
