"""Statistics of the training data that a checkpoint stores, so that a screen can report drift.

Distances are Mahalanobis distances from the embeddings of the training images (Lee et al. 2018, "A simple unified
framework for detecting out-of-distribution samples and adversarial attacks"). They use one centre and the covariance
estimate of Ledoit and Wolf (2004), which needs only few images. Their scale comes from the validation images, because
images on which a network was fitted lie nearer than any others. Statistics of pixels are stored for training images by
source and view, so that an archive like one of the sources does not count as different. The files hold sorted values
and no image.

There are two files: `reference.json` (counts, shares, quantiles) and `reference.safetensors` (centre and whitening).
"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np
import numpy.typing as npt
import safetensors
import safetensors.numpy

from comit_ray.errors import ConfigError
from comit_ray.tables.vocabulary import counted

FloatArray = npt.NDArray[np.float64]

FILES = ("reference.json", "reference.safetensors")
"""File names in a checkpoint: the facts and the arrays."""
ENVIRONMENT, HISTORY = "environment.json", "history.json"
"""Files of a checkpoint about its training, which a report reads without the network."""
LEARNS_FROM = "learns_from"
"""Key in the environment file: head -> source -> number of images with and without the finding that it learned from."""
SAMPLE = 2_000
"""Largest number of images of a split that are embedded for the reference."""
FEWEST = 20
"""Images of each split that distances and quantiles need."""
QUANTILES = 1_001
"""Largest number of values stored for a score: its quantiles at 0, 0.001, ..., 1; every value if there are fewer."""
DISTANCE = "embedding_distance"


@dataclass(frozen=True)
class Sample:
    """Training images drawn at random.

    Args:
        embeddings_NC: (N, C) embedding of each image.
        pixels: statistic (`comit_ray.data.images.frame`) -> (N,) values.
        groups: source and view of each image, as one text.
        patients: patient of each image; None: not known.
    """

    embeddings_NC: npt.NDArray[np.floating]
    pixels: Mapping[str, npt.NDArray[np.floating]]
    groups: Sequence[str]
    patients: Sequence[str | None]


@dataclass(frozen=True)
class Facts:
    """The content of `reference.json`. An image whose patient is not known counts as one patient.

    Args:
        training_images: number of all training images; the shares refer to these.
        sampled_images: number of those used for centre, whitening and statistics of pixels.
        sampled_patients: number of their patients.
        validation_images: number of all validation images; scores cover these, distances at most `SAMPLE` of them.
        validation_patients: number of their patients.
        views: view -> share (0 to 1) of the training images.
        sources: dataset -> share (0 to 1) of the training images.
        pixels: source and view -> statistic -> sorted values of the sampled training images.
        quantiles: `embedding_distance` or a score (`covid`, `other`, `unhealthy`; as the model gives it) -> sorted
            values of the validation images.
        reason: why there are no distances, pixels and quantiles; None if there are.
    """

    training_images: int
    sampled_images: int
    sampled_patients: int
    validation_images: int
    validation_patients: int
    views: dict[str, float]
    sources: dict[str, float]
    pixels: dict[str, dict[str, list[float]]]
    quantiles: dict[str, list[float]]
    reason: str | None = None


@dataclass(frozen=True)
class Reference:
    """Statistics of the training data.

    Args:
        facts: counts, shares and quantiles.
        centre_C: (C,) float32, mean embedding of the training images.
        whitening_CC: (C, C) float32; an embedding minus the centre, times this matrix, has variance 1 in every
            direction.
    """

    facts: Facts
    centre_C: npt.NDArray[np.float32]
    whitening_CC: npt.NDArray[np.float32]

    def distances(self, embeddings_BC: npt.NDArray[np.floating]) -> FloatArray | None:
        """Returns (B,) the distance of each embedding, in standard deviations per direction; None without distances.

        The distance is about 1 for an embedding like those of the training.
        """
        if self.facts.reason is not None:
            return None
        moved_BC = (embeddings_BC.astype(np.float64) - self.centre_C) @ self.whitening_CC.astype(np.float64)
        distances: FloatArray = np.sqrt(np.mean(moved_BC**2, axis=1))
        return distances

    def typicality(self, distances_B: FloatArray) -> FloatArray:
        """Returns (B,) the share (0 to 1) of validation images that lie as far or farther: the conformal p-value.

        It is (1 + number at least as far) / (1 + number of validation images), so it is never 0. Among images like the
        validation images, a share of 0.05 has a value of 0.05 or less.
        """
        known_M = np.asarray(self.facts.quantiles[DISTANCE])
        as_far_B = len(known_M) - np.searchsorted(known_M, distances_B, side="left")
        return (1 + as_far_B) / (1 + len(known_M))


def make(
    training: Sample,
    validation: npt.NDArray[np.floating],
    scores: Mapping[str, npt.NDArray[np.floating]],
    views: Sequence[str],
    sources: Sequence[str],
    patients: Sequence[str | None],
) -> Reference:
    """Computes the reference of a training.

    Args:
        training: a sample of training images.
        validation: (M, C) embeddings of validation images.
        scores: score -> values of all validation images, as the model gives them.
        views: view of every training image.
        sources: dataset of every training image.
        patients: patient of every validation image; None: not known.
    """
    facts = Facts(
        len(views),
        len(training.patients),
        _people(training.patients),
        len(patients),
        _people(patients),
        _shares(views),
        _shares(sources),
        {},
        {},
        _why_not(training.embeddings_NC, validation),
    )
    if facts.reason is not None:
        return Reference(facts, np.zeros(0, np.float32), np.zeros((0, 0), np.float32))
    found = Reference(facts, *_whitening(training.embeddings_NC.astype(np.float64)))
    distances_M = found.distances(validation)
    assert distances_M is not None, "there is no reason against them"
    quantiles = {name: _kept(values) for name, values in ({DISTANCE: distances_M} | dict(scores)).items()}
    return replace(found, facts=replace(facts, pixels=_by_group(training), quantiles=quantiles))


def _people(patients: Sequence[str | None]) -> int:
    named = [patient for patient in patients if patient is not None]
    return len(set(named)) + len(patients) - len(named)


def _by_group(training: Sample) -> dict[str, dict[str, list[float]]]:
    groups_N = np.asarray(training.groups)
    return {
        str(group): {name: _kept(values[groups_N == group]) for name, values in training.pixels.items()}
        for group in np.unique(groups_N)
    }


def _why_not(training: npt.NDArray[np.floating], validation: npt.NDArray[np.floating]) -> str | None:
    for name, embeddings in (("training", training), ("validation", validation)):
        if len(embeddings) < FEWEST:
            return f"{counted(len(embeddings), f'{name} image')}: at least {FEWEST} are needed"
        if not np.isfinite(embeddings).all():
            return f"embeddings of {name} images are not finite"
    if not np.ptp(training, axis=0).any():
        return "all training images have the same embedding"
    return None


def _whitening(embeddings_NC: FloatArray) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Returns centre and whitening: for the covariance S = V diag(w) V', the whitening is V diag(1 / sqrt(w))."""
    from sklearn.covariance import LedoitWolf  # imported late: predictors only measure distances

    fitted = LedoitWolf().fit(embeddings_NC)
    variances_C, directions_CC = np.linalg.eigh(fitted.covariance_)
    least = variances_C[-1] * np.finfo(np.float32).eps  # smaller variances are rounding errors
    whitening_CC = directions_CC / np.sqrt(np.maximum(variances_C, least))
    return fitted.location_.astype(np.float32), whitening_CC.astype(np.float32)


def _shares(values: Sequence[str]) -> dict[str, float]:
    return {name: count / len(values) for name, count in sorted(Counter(values).items())}


def _kept(values: npt.NDArray[np.floating]) -> list[float]:
    rising = np.sort(values.astype(np.float64))
    if len(rising) > QUANTILES:
        rising = np.quantile(rising, np.linspace(0, 1, QUANTILES))
    return [float(value) for value in rising]


def to_files(reference: Reference) -> tuple[bytes, bytes]:
    """Returns the bytes of `reference.json` and `reference.safetensors`."""
    arrays = {"centre": reference.centre_C, "whitening": np.ascontiguousarray(reference.whitening_CC)}
    return (json.dumps(asdict(reference.facts), indent=1) + "\n").encode(), safetensors.numpy.save(arrays)


def parse(facts: bytes, arrays: bytes, *, origin: str) -> Reference:
    """Reads the reference from the bytes of its two files.

    Raises:
        ConfigError: the message names `origin` and what is wrong with it.
    """
    try:
        known = Facts(**json.loads(facts))
        loaded = safetensors.numpy.load(arrays)
        found = Reference(known, loaded["centre"], loaded["whitening"])
        if known.reason is None and not {DISTANCE} <= set(known.quantiles):
            raise ValueError(f"expected quantiles of {DISTANCE}, got none")
    except (ValueError, TypeError, KeyError, safetensors.SafetensorError) as error:
        raise ConfigError(
            f"{origin}: expected the statistics that a training writes, got something else ({error}): copy the "
            "checkpoint again"
        ) from None
    return found
