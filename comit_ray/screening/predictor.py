"""The actor class of the screen: loads a checkpoint once, then turns fetched chunks into predictions and masks."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch

from comit_ray.checkpoint import checkpoint
from comit_ray.checkpoint.operating_points import OperatingPoint
from comit_ray.chunks import plan
from comit_ray.config.data_config import FrameConfig
from comit_ray.data.images.frame import STATISTICS
from comit_ray.errors import STATUS_OF, CheckpointError, Reason, Status
from comit_ray.models.outputs import ModelOutput, normalise
from comit_ray.screening import variants
from comit_ray.screening.gradcam import GradCam
from comit_ray.screening.mask_tables import MASK_BITS, to_bits
from comit_ray.tables.schema import EMBEDDINGS, GRADCAM, PREDICTIONS, SCORES, VARIANTS
from comit_ray.tables.vocabulary import MASK_TASKS, Task

FOREGROUND = 0.5
"""A pixel is lung, or disease, from this probability on (paper, section 4.1)."""

STRANGENESS = ("embedding_distance", "typicality")


def scores(output: ModelOutput) -> dict[str, npt.NDArray[np.float32]]:
    """Probabilities (B,) and embeddings (B, C); those of absent heads are left out."""
    found = {
        "p_unhealthy": output.p_unhealthy,
        "p_covid": output.p_covid,
        "p_other": output.p_other,
        "embedding": output.embedding,
    }
    return {name: value.float().cpu().numpy() for name, value in found.items() if value is not None}


def masks(output: ModelOutput) -> tuple[dict[Task, npt.NDArray[np.bool_]], npt.NDArray[np.bool_]]:
    """Foreground (B, H, W) of each mask, and (B,) whether an image's are all finite.

    Both are decided on the device: the probabilities themselves are four times as many bytes to fetch.
    """
    found = {Task.LUNG: output.p_lung_BHW, Task.DISEASE: output.p_disease_BHW}
    there = {task: p_BHW for task, p_BHW in found.items() if p_BHW is not None}
    finite_B = torch.ones(len(output.embedding), dtype=torch.bool, device=output.embedding.device)
    for p_BHW in there.values():
        finite_B &= p_BHW.sum(dim=(1, 2)).isfinite()  # each is in 0..1, or no number
    return {task: (p_BHW >= FOREGROUND).cpu().numpy() for task, p_BHW in there.items()}, finite_B.cpu().numpy()


def scaled_scores(output: ModelOutput, temperatures: Mapping[str, float]) -> dict[str, npt.NDArray[np.float32]]:
    """(B,) probabilities, their log-odds divided by `temperatures`; of the scores that have one and a head."""
    log_odds = output.log_odds
    return {
        score: torch.sigmoid(log_odds[score].cpu() / value).float().numpy()
        for score, value in temperatures.items()
        if score in log_odds
    }


class Predictor:
    """Scores fetched chunks with one checkpoint at one operating point.

    Args:
        checkpoint_uri: where the checkpoint lies. A URI, not weights: an actor whose arguments sit in the object
            store could not be restarted.
        model_id: the model the run began with; another one at the same URI is refused.
        operating_point: decides the flags.
        run_id: written into every row.
        batch_size: images a forward pass; a batch never crosses a chunk.
        device: `cpu` or `cuda`.
        embeddings: whether to return the embeddings table too.
        temperatures: score -> what its log-odds are divided by, for every score of the model; None or empty: scores are
            written as the model gives them.
        site_thresholds: whether the operating point is meant for the scores as they are written; else for those that
            the model gives, so that temperatures change no flag.
        gradcam: whether to return the gradcam table too.
        altered: copies to score (`screening.variants`), for the variants table; none: it is not returned.

    Raises:
        CheckpointError: if the checkpoint cannot be loaded, or is not `model_id`'s.
        ConfigError: with `gradcam`, if captum is not installed or the model has no score.
    """

    def __init__(
        self,
        checkpoint_uri: str,
        model_id: str,
        operating_point: OperatingPoint,
        run_id: str,
        batch_size: int,
        device: str = "cpu",
        embeddings: bool = False,
        temperatures: Mapping[str, float] | None = None,
        site_thresholds: bool = False,
        gradcam: bool = False,
        altered: Sequence[str] = (),
    ) -> None:
        loaded = checkpoint.load(checkpoint_uri)
        if loaded.model_id != model_id:
            raise CheckpointError(
                f"{checkpoint_uri} was replaced while the run went on: it began with model {model_id}, now there is "
                f"{loaded.model_id}; put the first one back, or begin another --output"
            )
        self.model = loaded.model.to(device).eval()
        self.model_id = model_id
        self.reference = loaded.reference
        self.frame: FrameConfig = loaded.config.frame
        self.tasks = loaded.config.model.tasks
        self.operating_point = operating_point
        self.run_id = run_id
        self.batch_size = batch_size
        self.device = device
        self.embeddings = embeddings
        self.temperatures = dict(temperatures or {})
        self.site_thresholds = site_thresholds
        self.gradcam = GradCam(self.model) if gradcam else None
        self.variants = tuple(altered)

    def __call__(self, row: pa.Table) -> pa.Table:
        """One packed fetched chunk in, the same chunk packed with what `predict` gives out."""
        file, tables = plan.unpack(row)
        return plan.pack(file, self.predict(tables["fetched"]))

    def predict(self, fetched: pa.Table) -> dict[str, pa.Table]:
        """The tables `predictions`, `masks` and what else is asked for, of one fetched chunk.

        Masks are bits yet, and not measured: `comit_ray.screening.mask_tables.finish` does the rest.
        """
        now = datetime.now(UTC)
        rows = fetched.to_pylist()
        results = self._forward([row for row in rows if row["status"] == Status.OK])
        predictions: list[dict[str, Any]] = []
        drawn: list[dict[str, Any]] = []
        embeddings: list[dict[str, Any]] = []
        heat: list[dict[str, Any]] = []
        altered: list[dict[str, Any]] = []
        for row in rows:
            common = {"model_id": self.model_id, "run_id": self.run_id, "screened_at": now}
            kept = {name: row[name] for name in ("image_id", "status", "reason", "detail", "height", "width", "view")}
            if row["status"] != Status.OK:
                predictions.append(kept | common)
                continue
            result = next(results)
            maps, copies = result.pop("gradcam", {}), result.pop("variants", [])
            bits = {task: result.pop(task) for task in MASK_TASKS if task in result}
            if not all(np.isfinite(value).all() for value in result.values()) or not result["finite_masks"]:
                reason = Reason.MODEL_FAILED
                detail = "the model's output is not a finite number"
                predictions.append(kept | common | {"status": STATUS_OF[reason], "reason": reason, "detail": detail})
                continue
            predictions.append(kept | common | self._prediction(result) | {name: row[name] for name in STATISTICS})
            drawn.append(self._mask(row, bits))
            embeddings.append({"image_id": row["image_id"], "embedding": result["embedding"].astype(np.float16)})
            heat.append({"image_id": row["image_id"]} | maps)
            altered += [{"image_id": row["image_id"]} | copy for copy in copies]
        tables = {
            "predictions": pa.Table.from_pylist(predictions, schema=PREDICTIONS),
            "masks": pa.Table.from_pylist(drawn, schema=MASK_BITS),
        }
        if self.embeddings:
            tables["embeddings"] = pa.Table.from_pylist(embeddings, schema=EMBEDDINGS)
        if self.gradcam:
            tables["gradcam"] = pa.Table.from_pylist(heat, schema=GRADCAM)
        if self.variants:
            tables["variants"] = pa.Table.from_pylist(altered, schema=VARIANTS)
        return tables

    def _forward(self, rows: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        """Scores image by image, in order; halves the batch while the device's memory does not suffice."""
        size, batch, start = self.frame.size, self.batch_size, 0
        while start < len(rows):
            frames = b"".join(row["frame"] for row in rows[start : start + batch])
            frames_BHW = np.frombuffer(frames, np.uint8).reshape(-1, size, size)
            try:
                found = self._scores(frames_BHW)
            except torch.OutOfMemoryError:
                if batch == 1:
                    raise
                batch //= 2
                torch.cuda.empty_cache()
                continue
            for index in range(len(frames_BHW)):
                yield {name: values[index] for name, values in found.items()}
            start += len(frames_BHW)

    def _scores(self, frames_BHW: npt.NDArray[np.uint8]) -> dict[str, Sequence[Any] | npt.NDArray[Any]]:
        x_BHW = torch.from_numpy(frames_BHW.copy()).to(self.device)  # uint8 until the device
        with torch.inference_mode():
            output = self.model(normalise(x_BHW))
            scaled = scaled_scores(output, self.temperatures)
            found: dict[str, Sequence[Any] | npt.NDArray[Any]] = {**scores(output)}
            found |= {f"scaled_{score}": values for score, values in scaled.items()}
            masks_BHW, found["finite_masks"] = masks(output)
            del output  # its memory, before that of the maps
        found |= {task: to_bits(mask_BHW) for task, mask_BHW in masks_BHW.items()}
        found |= self._strangeness(found["embedding"])
        if self.gradcam:
            found["gradcam"] = self.gradcam.rows(normalise(x_BHW))
        if self.variants:
            found["variants"] = self._variants(frames_BHW, masks_BHW.get(Task.LUNG))
        return found

    def _strangeness(self, embeddings_BC: Any) -> dict[str, npt.NDArray[Any]]:
        """How far each image lies from what the model knows; nothing where its checkpoint does not tell."""
        finite_B = np.isfinite(embeddings_BC).all(axis=1)  # one that is not has a failed row
        embeddings_BC = np.where(finite_B[:, None], embeddings_BC, 0)
        distances_B = None if self.reference is None else self.reference.distances(embeddings_BC)
        if self.reference is None or distances_B is None:
            return {}
        return {"embedding_distance": distances_B, "typicality": self.reference.typicality(distances_B)}

    def _variants(
        self, frames_BHW: npt.NDArray[np.uint8], lungs_BHW: npt.NDArray[np.bool_] | None
    ) -> list[list[dict[str, Any]]]:
        """For each image, a row of the `variants` table for each altered copy, without its id."""
        rows: list[list[dict[str, Any]]] = [[] for _ in frames_BHW]
        for variant in self.variants:
            x_BHW = torch.from_numpy(variants.alter(frames_BHW, lungs_BHW, variant)).to(self.device)
            with torch.inference_mode():
                output = self.model(normalise(x_BHW))
                found = scores(output)
                given = {name: found[name] for name in (f"p_{score}" for score in SCORES) if name in found}
                given |= {f"p_{score}": value for score, value in scaled_scores(output, self.temperatures).items()}
            seen_B = np.ones(len(frames_BHW), bool)
            if variants.needs_lungs(variant):
                assert lungs_BHW is not None, "a model without a lung head is refused"
                seen_B = variants.has_lungs(lungs_BHW)
            for index, mine in enumerate(rows):
                values = {name: float(value[index]) for name, value in given.items()}
                if not seen_B[index]:
                    mine.append({"variant": variant, "reason": variants.NO_LUNGS})
                elif not np.isfinite(list(values.values())).all():
                    mine.append({"variant": variant, "reason": "the model's output is not a finite number"})
                else:
                    mine.append({"variant": variant} | values)
        return rows

    def _prediction(self, result: dict[str, Any]) -> dict[str, Any]:
        """Scores, flags and distances of one image."""
        given = {score: float(result[f"p_{score}"]) for score in SCORES if f"p_{score}" in result}
        written = {score: float(result[f"scaled_{score}"]) for score in given} if self.temperatures else given
        decides = written if self.site_thresholds else given
        flags = {
            f"{score}_flag": decides[score] >= threshold
            for score, threshold in self.operating_point.thresholds.items()
            if score in decides
        }
        signals = {name: float(result[name]) for name in STRANGENESS if name in result}
        probabilities = {f"p_{score}": value for score, value in written.items()}
        names = {
            "operating_point": self.operating_point.name,
            "calibration": "temperature" if self.temperatures else "none",
        }
        return probabilities | flags | signals | (names if given else {})

    def _mask(self, row: dict[str, Any], bits: Mapping[Task, npt.NDArray[np.uint8]]) -> dict[str, Any]:
        """The masks of one image and how its original lies in their frame."""
        return {f"{task}_bits": packed.tobytes() for task, packed in bits.items()} | {
            "image_id": row["image_id"],
            "frame_height": self.frame.size,
            "frame_width": self.frame.size,
            "fit": self.frame.fit,
            "original_top": row["top"],
            "original_left": row["left"],
            "rows_per_pixel": row["rows_per_pixel"],
            "columns_per_pixel": row["columns_per_pixel"],
        }
