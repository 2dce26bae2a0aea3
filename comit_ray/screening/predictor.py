"""The predictor actor of a screen: loads a model once, then turns chunks into predictions and masks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from comit_ray.checkpoint import frontal_check
from comit_ray.checkpoint.operating_points import OperatingPoint
from comit_ray.chunks import plan
from comit_ray.errors import CheckpointError, ConfigError
from comit_ray.inference import optimised
from comit_ray.inference.model import Frames, load_model
from comit_ray.inference.scores import Scores
from comit_ray.screening import mask_choice, prediction_rows, variants
from comit_ray.screening.fetch import frames_of
from comit_ray.screening.mask_tables import bits_table
from comit_ray.screening.prediction_rows import Decision


@dataclass(frozen=True)
class PredictorSettings:
    """Settings of a predictor; they are passed to the actors.

    Attributes:
        checkpoint_uri: URI of the checkpoint. It is a URI and not the weights, because Ray cannot restart an actor
            whose arguments are in the object store.
        model_id: the model that the run started with; another model at the same URI is refused.
        operating_point: decides the flags.
        run_id: id of the run, written into every row.
        batch_size: images per forward pass; a batch never crosses a chunk.
        device: `cpu` or `cuda`.
        threads: CPU threads of the whole process; None: the backend chooses.
        embeddings: whether to return the embeddings table too.
        temperatures: score -> temperature that divides its log-odds, for every score of the model; empty: scores are
            written as the model gives them.
        site_thresholds: whether the thresholds apply to the scores as they are written; otherwise they apply to the
            model's own scores, so that temperatures change no flag.
        gradcam: whether to return the gradcam table too.
        variants: altered copies to score (`comit_ray.screening.variants`) for the variants table; empty: no such table.
        masks: images that get masks: `all`, `flagged` or `none` (`comit_ray.screening.mask_choice`).
        computed: what decides the arithmetic (`comit_ray.inference.optimised.computed`), including `backend` and
            `precision`; empty: PyTorch in float32.
    """

    checkpoint_uri: str
    model_id: str
    operating_point: OperatingPoint
    run_id: str
    batch_size: int
    device: str = "cpu"
    threads: int | None = None
    embeddings: bool = False
    temperatures: Mapping[str, float] = field(default_factory=dict)
    site_thresholds: bool = False
    gradcam: bool = False
    variants: tuple[str, ...] = ()
    masks: str = mask_choice.ALL
    computed: Mapping[str, str] = field(default_factory=dict)


class Predictor:
    """Scores fetched chunks with one model at one operating point.

    Attributes:
        model: the loaded model (`comit_ray.inference`).

    Raises:
        CheckpointError: the checkpoint cannot be loaded, or holds another model than the settings name.
        ConfigError: with `gradcam`, captum is not installed or the model has no score. Or this machine computes
            differently from the one that the run started on.
    """

    def __init__(self, settings: PredictorSettings) -> None:
        self.settings = settings
        backend = settings.computed.get("backend", optimised.TORCH)
        precision = settings.computed.get("precision", optimised.FLOAT32)
        here = optimised.computed(backend, precision)
        if here != settings.computed:
            raise ConfigError(
                f"expected a machine that computes as {dict(settings.computed)}, as where the run started, got {here}: "
                "their scores differ and must not share a table; use machines of one kind, or --backend torch"
            )
        self.model = load_model(
            settings.checkpoint_uri,
            backend,
            settings.device,
            settings.batch_size,
            settings.gradcam,
            settings.threads,
            precision,
        )
        if self.model.model_id != settings.model_id:
            raise CheckpointError(
                f"{settings.checkpoint_uri} was replaced during the run: expected model {settings.model_id}, got "
                f"{self.model.model_id}; restore the first model, or give another --output"
            )
        self.frontal_check = frontal_check.load(settings.checkpoint_uri)
        self.decision = Decision(settings.operating_point, settings.temperatures, settings.site_thresholds)

    def __call__(self, row: pa.Table) -> pa.Table:
        """Returns a packed chunk with the tables of `predict` for a packed fetched chunk."""
        file, tables = plan.unpack(row)
        return plan.pack(file, self.predict(tables["fetched"]))

    def predict(self, fetched: pa.Table) -> dict[str, pa.Table]:
        """Returns the tables `predictions`, `masks` and the other requested tables of one fetched chunk.

        Masks are still bits, and not measured: `comit_ray.screening.mask_tables.finish` does the rest.
        """
        asked, now = self.settings, datetime.now(UTC)
        frames_BHW = frames_of(fetched)
        valid = fetched["frame"].is_valid()
        scores, masks_B = self._scored(frames_BHW, fetched["image_id"].filter(valid).to_pylist())
        signals = prediction_rows.strangeness(scores, self.model.reference)
        p_frontal_B = self.frontal_check.p_frontal_chest(frames_BHW)
        if p_frontal_B is not None:
            signals[frontal_check.COLUMN] = p_frontal_B
        sound_B = np.all([scores.finite, *(np.isfinite(values) for values in signals.values())], axis=0)
        scores = replace(scores, finite=sound_B)

        scored_N = np.array(valid)
        scored_N[scored_N] = sound_B
        scored, image_ids = fetched.filter(pa.array(scored_N)), fetched["image_id"].filter(pa.array(scored_N))
        sound, of_sound = scores.take(sound_B), {name: values[sound_B] for name, values in signals.items()}
        tables = {
            "predictions": prediction_rows.predictions(
                fetched, scored_N, sound, of_sound, self.decision, self.model.model_id, asked.run_id, now
            ),
            "masks": bits_table(scored, sound, self.model.frame, None if masks_B is None else masks_B[sound_B]),
        }
        if asked.embeddings:
            tables["embeddings"] = prediction_rows.embeddings(image_ids, sound)
        if asked.gradcam:
            tables["gradcam"] = prediction_rows.gradcam_rows(self.model, frames_BHW, image_ids, sound_B)
        if asked.variants:
            tables["variants"] = variants.table(
                self.model, frames_BHW, scores, image_ids, asked.variants, asked.temperatures
            )
        return tables

    def _scored(self, frames_BHW: Frames, image_ids: Sequence[str]) -> tuple[Scores, npt.NDArray[np.bool_] | None]:
        """Returns the scores of each frame, and (B,) whether it has masks; None: every frame has the model's masks."""
        asked = self.settings
        scores = self.model.predict(frames_BHW, masks=asked.masks == mask_choice.ALL)
        if asked.masks != mask_choice.FLAGGED:
            return scores, None
        flags = self.decision.flags(scores)
        chosen_B = mask_choice.chosen(
            scores, flags, asked.operating_point, asked.temperatures, asked.site_thresholds, image_ids
        )
        drawn = self.model.predict(frames_BHW[chosen_B])
        finite_B, masks = scores.finite.copy(), {}
        finite_B[chosen_B] &= drawn.finite
        for task, bits in drawn.masks.items():
            masks[task] = np.zeros((len(scores), bits.shape[1]), np.uint8)
            masks[task][chosen_B] = bits
        return replace(scores, finite=finite_B, masks=masks), chosen_B

    def close(self) -> None:
        """Releases the model."""
        self.model.close()
