"""Turns a model's scores of a chunk into rows of `predictions`, `embeddings` and `gradcam`."""

import io
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from PIL import Image

from comit_ray.checkpoint.operating_points import OperatingPoint
from comit_ray.checkpoint.reference import Reference
from comit_ray.data.images.frame import STATISTICS
from comit_ray.errors import STATUS_OF, Reason
from comit_ray.inference.model import Frames, Model
from comit_ray.inference.scores import Scores
from comit_ray.tables import arrays
from comit_ray.tables.schema import EMBEDDINGS, GRADCAM, PREDICTIONS

NOT_FINITE = "the model's output is not a finite number"

BoolN = npt.NDArray[np.bool_]
Signals = dict[str, npt.NDArray[np.float64]]


@dataclass(frozen=True)
class Decision:
    """How scores become the values that are written.

    Attributes:
        operating_point: decides the flags.
        temperatures: score -> temperature that divides its log-odds, for every score of the model; empty: scores are
            written as the model gives them.
        site_thresholds: whether the thresholds apply to the scores as they are written; otherwise they apply to the
            model's own scores, so that temperatures change no flag.
    """

    operating_point: OperatingPoint
    temperatures: Mapping[str, float]
    site_thresholds: bool = False

    def flags(self, scores: Scores) -> dict[str, BoolN]:
        """Returns score -> (B,) whether each image is at or above its threshold, for scores that have a threshold."""
        decides = scores.scaled(self.temperatures) if self.site_thresholds else scores.probabilities
        return {
            score: decides[score].astype(np.float64) >= threshold  # thresholds are not rounded to float32
            for score, threshold in self.operating_point.thresholds.items()
            if score in decides
        }


def strangeness(scores: Scores, reference: Reference | None) -> Signals:
    """Measures how far each image is from the training data; empty if the checkpoint has no reference.

    Returns:
        `embedding_distance` and `typicality`, (B,) each.
    """
    known_BC = np.where(scores.finite[:, None], scores.embedding, 0)  # others become failed rows
    distances_B = None if reference is None or not len(scores) else reference.distances(known_BC)
    if reference is None or distances_B is None:
        return {}
    return {"embedding_distance": distances_B, "typicality": reference.typicality(distances_B)}


def predictions(
    fetched: pa.Table,
    scored_N: BoolN,
    scores: Scores,
    signals: Signals,
    decision: Decision,
    model_id: str,
    run_id: str,
    now: datetime,
) -> pa.Table:
    """Returns one row for every image of a fetched chunk; areas and zones are null.

    An image whose output is not finite is a failure of the model.

    Args:
        fetched: N fetched images.
        scored_N: (N,) whether each image has scores.
        scores: scores of the images that have some, in their order; all finite.
        signals: result of `strangeness` for the same images.
        decision: how scores become the values that are written.
        model_id: id of the model.
        run_id: id of the run.
        now: time of the prediction.
    """
    rows, scored = len(fetched), pa.array(scored_N)
    failed = pc.and_(pc.equal(fetched["status"], "ok"), pc.invert(scored))
    reason = Reason.MODEL_FAILED
    columns = {name: fetched[name] for name in ("image_id", "height", "width", "view")}
    columns |= {
        "status": pc.if_else(failed, str(STATUS_OF[reason]), fetched["status"]),
        "reason": pc.if_else(failed, str(reason), fetched["reason"]),
        "detail": pc.if_else(failed, NOT_FINITE, fetched["detail"]),
    }
    columns |= {name: pc.if_else(scored, fetched[name], pa.scalar(None, pa.float32())) for name in STATISTICS}
    same = {"model_id": model_id, "run_id": run_id, "screened_at": now}
    columns |= {name: pa.repeat(pa.scalar(value, PREDICTIONS.field(name).type), rows) for name, value in same.items()}
    written = scores.scaled(decision.temperatures)
    values = {f"p_{score}": p_B for score, p_B in written.items()} | signals
    columns |= {name: arrays.spread(value_B, scored_N, pa.float32()) for name, value_B in values.items()}
    flags = {f"{score}_flag": flag_B for score, flag_B in decision.flags(scores).items()}
    columns |= {
        name: arrays.spread(flag_B, scored_N, pa.bool_()) for name, flag_B in flags.items() if name in PREDICTIONS.names
    }
    if written:
        calibration = "temperature" if decision.temperatures else "none"
        names = {"operating_point": decision.operating_point.name, "calibration": calibration}
        columns |= {name: pc.if_else(scored, value, pa.scalar(None, pa.string())) for name, value in names.items()}
    return arrays.table(columns, PREDICTIONS, rows)


def embeddings(image_ids: pa.ChunkedArray, scores: Scores) -> pa.Table:
    """Returns the `embeddings` rows of scored images."""
    lists = arrays.lists(scores.embedding.astype(np.float16), EMBEDDINGS.field("embedding").type)
    return arrays.table({"image_id": image_ids, "embedding": lists}, EMBEDDINGS, len(scores))


def gradcam_rows(
    model: Model, frames_BHW: Frames, image_ids: pa.ChunkedArray, sound_B: npt.NDArray[np.bool_]
) -> pa.Table:
    """Returns the `gradcam` rows of images with scores; a map is null if its head is missing or it is not finite.

    Maps are made and encoded batch by batch, because all maps of a chunk together would take hundreds of megabytes.

    Args:
        model: model that was loaded with `gradcam`.
        frames_BHW: (B, H, W) radiographs.
        image_ids: ids of the images whose scores are finite.
        sound_B: (B,) whether each frame's scores are finite; other frames have no row.
    """
    pngs: dict[str, list[bytes | None]] = {}
    for start in range(0, len(frames_BHW), model.batch_size):
        batch = slice(start, start + model.batch_size)
        for score, maps_BHW in model.heat_maps(frames_BHW[batch]).items():
            pngs.setdefault(f"{score}_png", []).extend(heat_map_png(map_HW) for map_HW in maps_BHW[sound_B[batch]])
    columns = {name: pa.array(values, pa.binary()) for name, values in pngs.items()}
    return arrays.table({"image_id": image_ids, **columns}, GRADCAM, len(image_ids))


def heat_map_png(map_HW: npt.NDArray[np.float32]) -> bytes | None:
    """Encodes a map as 8-bit grey PNG, with 255 for its highest value; None if the map is not finite.

    A map without a positive value is 0 everywhere.
    """
    if not np.isfinite(map_HW).all():
        return None
    highest = float(map_HW.max())
    share_HW = map_HW / np.float64(highest) if highest > 0 else np.zeros(map_HW.shape)
    buffer = io.BytesIO()
    Image.fromarray(np.rint(255 * share_HW).astype(np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()
