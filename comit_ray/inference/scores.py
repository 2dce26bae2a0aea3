"""Defines `Scores`, the output of a model as plain arrays, the same for every backend."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from scipy.special import expit

from comit_ray.tables.vocabulary import MASK_TASKS, SCORES, SCORES_OF, Task

FOREGROUND = 0.5
"""Least probability of a pixel that counts as lung or disease (paper, section 4.1)."""

FloatB = npt.NDArray[np.float32]
LogOddsB = npt.NDArray[np.float64]
BoolB = npt.NDArray[np.bool_]
Masks = npt.NDArray[np.bool_]
Bits = npt.NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Scores:
    """A model's output for B radiographs, in their order. Every array is on the host.

    Attributes:
        embedding: (B, C) float32, the encoder's output after global average pooling.
        finite: (B,) whether every output for the image is a finite number: probabilities, masks, embedding. Where it is
            false none of the image's values may be used.
        height: rows of the frames and of the masks.
        width: columns of the frames and of the masks.
        p_unhealthy: (B,) float32, probability in 0..1 of any radiological finding (paper, eq. 4); None: no health head.
        p_covid: (B,) float32, score in 0..1 of COVID-19 (eq. 6); None: no COVID head.
        p_other: (B,) float32, score in 0..1 of another disease (eq. 6); None: no COVID head.
        log_odds: score (`SCORES`) -> (B,) float64, log-odds from the logits, for every present score. A probability
            near 1 has lost them.
        masks: lung or disease -> (B, ceil(height * width / 8)) uint8, foreground row by row, eight pixels per byte;
            tasks without a head are left out.

    Raises:
        ValueError: an array has another type or another number of images.
    """

    embedding: npt.NDArray[np.float32]
    finite: BoolB
    height: int
    width: int
    p_unhealthy: FloatB | None = None
    p_covid: FloatB | None = None
    p_other: FloatB | None = None
    log_odds: Mapping[str, LogOddsB] = field(default_factory=dict)
    masks: Mapping[Task, Bits] = field(default_factory=dict)

    def __post_init__(self) -> None:
        count = len(self.finite)
        size = -(-self.height * self.width // 8)
        _check("embedding", self.embedding, np.float32, (count, *self.embedding.shape[1:2]))
        _check("finite", self.finite, np.bool_, (count,))
        for name in SCORES:
            values = getattr(self, f"p_{name}")
            if (values is None) != (name not in self.log_odds):
                raise ValueError(f"Scores: p_{name} and its log-odds go together, got one without the other")
            if values is not None:
                _check(f"p_{name}", values, np.float32, (count,))
                _check(f"log_odds[{name}]", self.log_odds[name], np.float64, (count,))
        for task, bits in self.masks.items():
            _check(f"masks[{task}]", bits, np.uint8, (count, size))

    def __len__(self) -> int:
        """Returns the number of images."""
        return len(self.finite)

    @property
    def probabilities(self) -> dict[str, FloatB]:
        """Score name (`SCORES`) -> (B,) probabilities as the model computes them; absent heads are left out."""
        found = {name: getattr(self, f"p_{name}") for name in SCORES}
        return {name: values for name, values in found.items() if values is not None}

    def scaled(self, temperatures: Mapping[str, float]) -> dict[str, FloatB]:
        """Returns the `probabilities`, with temperature scaling for scores that have a temperature (Guo et al. 2017).

        Args:
            temperatures: score name -> temperature; names of scores that the model lacks are ignored.
        """
        return {
            name: expit(self.log_odds[name] / temperatures[name]).astype(np.float32) if name in temperatures else values
            for name, values in self.probabilities.items()
        }

    def mask_BHW(self, task: Task) -> Masks | None:
        """Returns the lung or disease mask as (B, H, W) Booleans; None if the model has no such head."""
        bits = self.masks.get(task)
        return None if bits is None else unpack_masks(bits, self.height, self.width)

    def take(self, chosen: npt.NDArray[np.bool_] | npt.NDArray[np.intp] | slice) -> "Scores":
        """Returns the scores of selected images, given as Booleans (B,), as numbers, or as a slice."""
        return Scores(
            embedding=self.embedding[chosen],
            finite=self.finite[chosen],
            height=self.height,
            width=self.width,
            log_odds={name: values[chosen] for name, values in self.log_odds.items()},
            masks={task: bits[chosen] for task, bits in self.masks.items()},
            **{f"p_{name}": values[chosen] for name, values in self.probabilities.items()},
        )


def empty(tasks: Sequence[Task], height: int, width: int, masks: bool = True) -> Scores:
    """Returns scores of no image: every array that a model with these heads gives has length 0."""
    names = [name for task in tasks for name in SCORES_OF.get(task, ())]
    size = -(-height * width // 8)
    return Scores(
        embedding=np.zeros((0, 0), np.float32),
        finite=np.zeros(0, bool),
        height=height,
        width=width,
        log_odds={name: np.zeros(0) for name in names},
        masks={task: np.zeros((0, size), np.uint8) for task in MASK_TASKS if masks and task in tasks},
        **{f"p_{name}": np.zeros(0, np.float32) for name in names},
    )


def concatenate(parts: Sequence[Scores]) -> Scores:
    """Joins scores of one model, part after part.

    Raises:
        ValueError: there is no part, or the parts differ in heads or frame size.
    """
    if not parts:
        raise ValueError("concatenate: expected Scores of one model, got none; scores.empty gives those of no image")
    first = parts[0]
    if len(parts) == 1:
        return first
    kinds = {(p.height, p.width, tuple(p.probabilities), tuple(sorted(p.masks))) for p in parts}
    if len(kinds) > 1:
        raise ValueError(f"concatenate: expected Scores of one model, got frames and heads {sorted(map(str, kinds))}")
    return Scores(
        embedding=np.concatenate([part.embedding for part in parts]),
        finite=np.concatenate([part.finite for part in parts]),
        height=first.height,
        width=first.width,
        log_odds={name: np.concatenate([part.log_odds[name] for part in parts]) for name in first.log_odds},
        masks={task: np.concatenate([part.masks[task] for part in parts]) for task in first.masks},
        **{f"p_{name}": np.concatenate([p.probabilities[name] for p in parts]) for name in first.probabilities},
    )


def pack_masks(masks_BHW: Masks) -> Bits:
    """Packs masks (B, H, W) into bits: (B, ceil(H * W / 8)) uint8."""
    return np.packbits(masks_BHW.reshape(len(masks_BHW), -1), axis=1)


def unpack_masks(bits: Bits, height: int, width: int) -> Masks:
    """Unpacks the bits of `pack_masks` into masks (B, height, width)."""
    pixels = np.unpackbits(bits, axis=1, count=height * width).view(np.bool_)
    return pixels.reshape(len(bits), height, width)


def _check(name: str, values: npt.NDArray[np.generic], kind: type[np.generic], shape: tuple[int, ...]) -> None:
    if values.dtype != kind or values.shape != shape:
        raise ValueError(f"Scores: {name} should be {kind.__name__} {shape}, got {values.dtype} {values.shape}")
