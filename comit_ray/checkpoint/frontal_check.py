"""Recognises pictures that are no frontal chest: a small classifier on the frame, fitted and stored with the model.

PNG and JPEG files have no header, so a lateral view or a CT slice among them is scored like any radiograph. The check
uses the directions of edges (Dalal and Triggs 2005, "Histograms of oriented gradients for human detection") and an 8 x
8 thumbnail. It uses no network, so every backend gives the same value. A logistic regression with equal weight for both
classes learns from the frontal radiographs of the training, and from rows that its sources call lateral, another part
of the body or another modality. The check excludes no image.

It is stored in one file, `frontal_check.json`: weights, intercept, and the result of a test by patient.
"""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy.special import expit

from comit_ray.errors import CheckpointError, NotFoundError
from comit_ray.statistics.intervals import Interval, wilson
from comit_ray.storage import storage
from comit_ray.tables.vocabulary import counted

FILE = "frontal_check.json"
"""File name in a checkpoint."""
COLUMN = "p_frontal_chest"
THRESHOLD = 0.5
"""An image with a lower value does not look like a frontal chest; the test by patient uses this threshold."""
FEWEST_IMAGES, FOLDS = 20, 5
"""Examples that a check needs, and folds of patients, each of which is tested once."""
SIDE, CELLS, DIRECTIONS, THUMBNAIL = 32, 8, 8, 8
"""Side of the reduced picture (pixels), cells per side, directions of edges, and side of the thumbnail (pixels)."""
_EDGES_WEIGH, _THUMBNAIL_WEIGHS, _C = 8.0, 0.5, 0.01

Frames = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Examples:
    """Images from which the check learns.

    Args:
        frames_NHW: (N, H, W) uint8, in the model's frame.
        frontal_N: (N,) whether each image is a frontal chest.
        patients: patient of each image; None: not known, and the image counts as one patient.
        datasets: dataset of each image.
        kinds: `frontal`, or the reason of the image's exclusion.
    """

    frames_NHW: Frames
    frontal_N: npt.NDArray[np.bool_]
    patients: Sequence[str | None]
    datasets: Sequence[str]
    kinds: Sequence[str]


@dataclass(frozen=True)
class Tested:
    """Result of the test by patient for one kind of images of one source; no patient was in both training and test.

    Args:
        dataset: the source.
        kind: `frontal`, or the reason of the images' exclusion.
        images: number of tested images.
        patients: number of their patients.
        right: number of correctly recognised images.
    """

    dataset: str
    kind: str
    images: int
    patients: int
    right: int


@dataclass(frozen=True)
class FrontalCheck:
    """The check of a checkpoint.

    Args:
        weights_F: (F,) weight of each feature; empty if there is no check.
        intercept: intercept of the log-odds.
        tested: groups of the test by patient.
        reason: why there is no check; None if there is one.
    """

    weights_F: npt.NDArray[np.float64]
    intercept: float
    tested: tuple[Tested, ...] = ()
    reason: str | None = None

    def p_frontal_chest(self, frames_BHW: Frames) -> npt.NDArray[np.float64] | None:
        """Returns (B,) values from 0 to 1, below `THRESHOLD` for images unlike a frontal chest; None without a check.

        A value is not a probability, because half of the weight in the training was on images that are no frontal
        chest.
        """
        if self.reason is not None:
            return None
        values: npt.NDArray[np.float64] = expit(features(frames_BHW) @ self.weights_F + self.intercept)
        return values

    def share_right(self, frontal: bool) -> tuple[int, int, int, Interval]:
        """Returns correct images, images and patients of the test, and the interval of the share.

        The interval is Wilson's for as many observations as there are patients, because images of one patient are
        alike.

        Args:
            frontal: whether to count frontal chests, or all other images.
        """
        groups = [one for one in self.tested if (one.kind == "frontal") is frontal]
        right, images, patients = (
            sum(getattr(one, name) for one in groups) for name in ("right", "images", "patients")
        )
        return right, images, patients, wilson(round(right / images * patients) if images else 0, patients)

    @property
    def line(self) -> str:
        """One sentence that says how well the check works."""
        if self.reason is not None:
            return f"images were not checked for frontal chests: {self.reason}"
        told = []
        for frontal, what in ((False, "other pictures recognised"), (True, "frontal chests kept")):
            right, images, patients, interval = self.share_right(frontal)
            told.append(f"{right:,} of {images:,} {what} ({counted(patients, 'patient')}, {_ends(interval)})")
        return f"check for frontal chests, tested on patients it was not fitted on: {'; '.join(told)}"


def _ends(interval: Interval) -> str:
    if interval.low is None or interval.high is None:
        return "no interval"
    return f"95% interval {np.floor(100 * interval.low):.0f} to {np.ceil(100 * interval.high):.0f}%"


def features(frames_BHW: Frames) -> npt.NDArray[np.float64]:
    """Returns (B, F) features: edges by cell and direction, and the standardised grey values of the thumbnail.

    The edge features are the square root of each share of the edge strength.
    """
    count = len(frames_BHW)
    small_BSS = _resized(frames_BHW, SIDE)
    rows_BSS, columns_BSS = np.gradient(small_BSS, axis=(1, 2)) if count else (small_BSS, small_BSS)
    strength_BSS = np.hypot(rows_BSS, columns_BSS)
    turn_BSS = (np.arctan2(rows_BSS, columns_BSS) % np.pi) / np.pi * DIRECTIONS
    first_BSS = np.floor(turn_BSS).astype(np.int64)
    share_BSS = turn_BSS - first_BSS
    cell = SIDE // CELLS
    edges_BCCD = np.zeros((count, CELLS, CELLS, DIRECTIONS))
    for direction in range(DIRECTIONS):  # an edge counts for the two nearest directions
        part_BSS = (first_BSS % DIRECTIONS == direction) * (1 - share_BSS)
        part_BSS += ((first_BSS + 1) % DIRECTIONS == direction) * share_BSS
        cells_BCPCP = (strength_BSS * part_BSS).reshape(count, CELLS, cell, CELLS, cell)
        edges_BCCD[..., direction] = cells_BCPCP.sum(axis=(2, 4))
    edges_BE = edges_BCCD.reshape(count, CELLS**2 * DIRECTIONS)
    edges_BE = np.sqrt(edges_BE / (edges_BE.sum(axis=1, keepdims=True) + 1e-6))
    thumbnail_BT = _resized(frames_BHW, THUMBNAIL).reshape(count, THUMBNAIL**2)
    middle_B1, spread_B1 = thumbnail_BT.mean(axis=1, keepdims=True), thumbnail_BT.std(axis=1, keepdims=True)
    thumbnail_BT = (thumbnail_BT - middle_B1) / (spread_B1 + 1e-3)
    return np.concatenate([_EDGES_WEIGH * edges_BE, _THUMBNAIL_WEIGHS * thumbnail_BT], axis=1)


def _resized(frames_BHW: Frames, side: int) -> npt.NDArray[np.float64]:
    size = (side, side)
    small = [np.asarray(Image.fromarray(frame).resize(size, Image.Resampling.BILINEAR)) for frame in frames_BHW]
    return np.array(small, np.float64).reshape(-1, side, side) / 255


def fit(examples: Examples) -> FrontalCheck:
    """Fits the check on all examples, and tests it: each patient is tested once, by a fit without this patient.

    Args:
        examples: frontal radiographs and other pictures.

    Returns:
        The check; one with a `reason` if there are too few examples.
    """
    frontal_N = examples.frontal_N
    patients = np.array([f"image {n}" if one is None else one for n, one in enumerate(examples.patients)])
    others, people = int((~frontal_N).sum()), len(set(patients[~frontal_N]))
    if others < FEWEST_IMAGES or people < FOLDS or len(set(patients[frontal_N])) < FOLDS:
        why = (
            f"the training had {counted(others, 'other picture')} of {counted(people, 'patient')}; at least "
            f"{FEWEST_IMAGES} of {FOLDS} patients are needed"
        )
        return FrontalCheck(np.zeros(0), 0.0, reason=why)
    from sklearn.model_selection import StratifiedGroupKFold  # imported late: only a fit needs it

    x_NF = features(examples.frames_NHW)
    taken_N = np.zeros(len(x_NF), bool)
    folds = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=0)
    for rest, tested in folds.split(x_NF, frontal_N, patients):
        weights_F, intercept = _fitted(x_NF[rest], frontal_N[rest])
        taken_N[tested] = expit(x_NF[tested] @ weights_F + intercept) >= THRESHOLD
    groups = sorted(Counter(zip(examples.datasets, examples.kinds, strict=True)))
    datasets, kinds = np.asarray(examples.datasets), np.asarray(examples.kinds)
    found = []
    for dataset, kind in groups:
        here_N = (datasets == dataset) & (kinds == kind)
        right = int((taken_N == frontal_N)[here_N].sum())
        found.append(Tested(str(dataset), str(kind), int(here_N.sum()), len(set(patients[here_N])), right))
    weights_F, intercept = _fitted(x_NF, frontal_N)
    return FrontalCheck(weights_F, intercept, tuple(found))


def _fitted(x_NF: npt.NDArray[np.float64], frontal_N: npt.NDArray[np.bool_]) -> tuple[npt.NDArray[np.float64], float]:
    """Fits to standardised features, and returns weights and intercept for the original features."""
    from sklearn.linear_model import LogisticRegression

    middle_F, spread_F = x_NF.mean(axis=0), x_NF.std(axis=0) + 1e-6
    fitted = LogisticRegression(C=_C, class_weight="balanced", max_iter=2000).fit(
        (x_NF - middle_F) / spread_F, frontal_N
    )
    weights_F = fitted.coef_[0] / spread_F
    return weights_F, float(fitted.intercept_[0] - weights_F @ middle_F)


def write(directory: Path, check: FrontalCheck) -> None:
    """Writes `FILE` into the local directory of a checkpoint."""
    kept = asdict(check) | {"weights_F": [float(f"{weight:.7g}") for weight in check.weights_F]}
    (directory / FILE).write_text(json.dumps(kept, indent=1) + "\n")


def load(checkpoint: str) -> FrontalCheck:
    """Loads the check of the checkpoint at this URI; for an older checkpoint, a check that says that there is none.

    Raises:
        CheckpointError: the file is not a check that a training wrote.
        StorageError: the file cannot be read.
    """
    uri = storage.join(storage.normalise(checkpoint), FILE)
    try:
        kept = json.loads(storage.read_bytes(uri))
        tested = tuple(Tested(**group) for group in kept["tested"])
        check = FrontalCheck(np.array(kept["weights_F"], np.float64), kept["intercept"], tested, kept["reason"])
        expected = CELLS**2 * DIRECTIONS + THUMBNAIL**2
        if check.reason is None and check.weights_F.shape != (expected,):
            raise ValueError(f"expected {expected} weights, got {check.weights_F.shape}")
    except NotFoundError:
        return FrontalCheck(np.zeros(0), 0.0, reason="the checkpoint is older than this check; train again")
    except (ValueError, TypeError, KeyError) as error:
        raise CheckpointError(
            f"{uri}: expected the check that a training writes, got something else ({error}): copy the checkpoint again"
        ) from None
    return check
