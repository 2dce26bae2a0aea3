"""Defines the interface that every inference backend implements (`Model`), and `load_model`.

A backend is one class: it computes the `Scores` of a batch, and releases its resources when it is closed. Checks,
batches, and the halving of a batch that exceeds the device's memory are common to all backends.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType, TracebackType
from typing import ClassVar, Self, TypeVar

import numpy as np
import numpy.typing as npt

from comit_ray.checkpoint.reference import Reference
from comit_ray.config.image_config import FrameConfig
from comit_ray.errors import ConfigError
from comit_ray.inference.scores import Scores, concatenate, empty
from comit_ray.tables.vocabulary import Task

Frames = npt.NDArray[np.uint8]
"""(B, H, W) radiographs in the display sense, in the model's frame (`comit_ray.data.images.frame.to_frame`)."""
HeatMaps = Mapping[str, npt.NDArray[np.float32]]
"""Score -> (B, H, W): the contribution of each place of the frame, from 0 up."""

Result = TypeVar("Result")


class Model(ABC):
    """A trained network that computes scores.

    Attributes:
        backend: name of the backend in `BACKENDS`.
        model_id: first 12 hex digits of the hash of the checkpoint's weights; an optimised model has a suffix.
        frame: size and fit that radiographs must be resampled to.
        tasks: heads of the network.
        reference: statistics of the training data that the checkpoint stores; None if it has none.
        device: `cpu` or `cuda`.
        batch_size: largest number of images in a forward pass.
    """

    OUT_OF_MEMORY: ClassVar[tuple[type[Exception], ...]] = ()
    """Errors of the backend for a batch that exceeds the device's memory; the batch is then halved."""

    backend: str
    model_id: str
    frame: FrameConfig
    tasks: tuple[Task, ...]
    reference: Reference | None
    device: str
    batch_size: int

    _open = True

    def predict(self, frames_BHW: Frames, masks: bool = True) -> Scores:
        """Computes the scores of each frame, in order. A batch that does not fit into the device's memory is halved.

        Args:
            frames_BHW: uint8 (B, size, size), any B; without frames the scores are empty.
            masks: whether to compute masks too. Without them, `Scores.finite` does not judge masks.

        Raises:
            ValueError: the array has another type or shape, or the model is closed.
        """
        self._check(frames_BHW)
        if not len(frames_BHW):
            return empty(self.tasks, self.frame.size, self.frame.size, masks)
        return concatenate(self._in_batches(frames_BHW, lambda part_BHW: self._scores(part_BHW, masks)))

    def heat_maps(self, frames_BHW: Frames) -> HeatMaps:
        """Computes Grad-CAM maps of each score that has one: float32 (B, H, W), not finite where the model fails.

        Maps take four bytes per pixel at frame size, so request many frames in several calls.

        Raises:
            ValueError: as `predict`; there is no frame; or the model was loaded without `gradcam`.
        """
        self._check(frames_BHW)
        if not len(frames_BHW):
            raise ValueError("heat_maps: expected at least one frame, got none")
        parts = self._in_batches(frames_BHW, self._heat_maps)
        return {score: np.concatenate([part[score] for part in parts]) for score in parts[0]}

    def embed(self, frames_BHW: Frames) -> npt.NDArray[np.float32]:
        """Runs the whole network but returns only embeddings (B, C), which times the network alone.

        Raises:
            ValueError: as `predict`, or there is no frame.
        """
        self._check(frames_BHW)
        if not len(frames_BHW):
            raise ValueError("embed: expected at least one frame, got none")
        return np.concatenate(self._in_batches(frames_BHW, self._embed))

    def close(self) -> None:
        """Frees the network and the memory of the device; closing twice is allowed."""
        if self._open:
            self._open = False
            self._close()

    def __enter__(self) -> Self:
        """Returns the model; it is closed at the end of the block."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Closes the model."""
        self.close()

    @abstractmethod
    def _scores(self, frames_BHW: Frames, masks: bool) -> Scores:
        """Returns the scores of one batch with at least one frame."""

    @abstractmethod
    def _embed(self, frames_BHW: Frames) -> npt.NDArray[np.float32]:
        """Returns (B, C) embeddings of one batch."""

    @abstractmethod
    def _close(self) -> None:
        """Releases all resources; called once."""

    def _heat_maps(self, frames_BHW: Frames) -> HeatMaps:
        """Returns the maps of one batch. A backend without gradients has none, and refuses `gradcam` when loaded."""
        raise ValueError("heat_maps: the model was loaded without Grad-CAM: load_model(..., gradcam=True)")

    @abstractmethod
    def _free_memory(self) -> None:
        """Frees what the device still holds of a batch that was too large."""

    def _check(self, frames_BHW: Frames) -> None:
        if not self._open:
            raise ValueError(f"model {self.model_id} is closed: load it again")
        kind = getattr(frames_BHW, "dtype", type(frames_BHW).__name__)
        if kind != np.uint8:
            raise ValueError(f"frames: expected a uint8 array, 0 black to 255 white, got {kind}")
        size = self.frame.size
        if frames_BHW.ndim != 3 or frames_BHW.shape[1:] != (size, size):
            raise ValueError(
                f"frames: expected shape (B, {size}, {size}), the frame of model {self.model_id}, got "
                f"{frames_BHW.shape}; comit_ray.data.images.frame.to_frame resamples a radiograph"
            )

    def _in_batches(self, frames_BHW: Frames, forward: Callable[[Frames], Result]) -> list[Result]:
        """Calls `forward` on one batch after the other."""
        found: list[Result] = []
        batch, start = self.batch_size, 0
        while start < len(frames_BHW):
            part_BHW = frames_BHW[start : start + batch]
            try:
                found.append(forward(part_BHW))
                start += len(part_BHW)
                continue
            except self.OUT_OF_MEMORY:
                if batch == 1:
                    raise
            batch //= 2  # not in the handler: the error's traceback still holds the batch's memory there
            self._free_memory()
        return found


def _torch(
    uri: str, device: str, batch_size: int, gradcam: bool, threads: int | None, precision: str, fused: bool = False
) -> Model:
    from comit_ray.inference.torch_model import TorchModel  # late: only users of PyTorch import it

    if precision != "float32":
        name = "torch-fused" if fused else "torch"
        raise ConfigError(f"backend {name}: precision float32 is all that it computes in, got {precision}")
    return TorchModel(uri, device, batch_size, gradcam, threads, fused)


def _openvino(uri: str, device: str, batch_size: int, gradcam: bool, threads: int | None, precision: str) -> Model:
    from comit_ray.inference.openvino_model import OpenVinoModel  # late: it needs the extra `cpu`

    return OpenVinoModel(uri, device, batch_size, gradcam, threads, precision)


Backend = Callable[[str, str, int, bool, int | None, str], Model]
BACKENDS: Mapping[str, Backend] = MappingProxyType(
    {"torch": _torch, "torch-fused": partial(_torch, fused=True), "openvino": _openvino}
)
"""Name -> function that loads a model from URI, device, batch size, whether Grad-CAM is needed, threads, precision.

Each function imports its library itself, so that code that only writes rows of scores imports none.
"""


def load_model(
    uri: str,
    backend: str = "torch",
    device: str = "cpu",
    batch_size: int = 32,
    gradcam: bool = False,
    threads: int | None = None,
    precision: str = "float32",
) -> Model:
    """Loads the model of the checkpoint at `uri`.

    Args:
        uri: URI of the checkpoint.
        backend: name of the backend in `BACKENDS`.
        device: `cpu` or `cuda`.
        batch_size: most images in a forward pass; a batch that exceeds the device's memory is halved.
        gradcam: whether `heat_maps` will be called.
        threads: CPU threads of this whole process; None: the library's choice.
        precision: arithmetic: `float32`; with `openvino` also `bfloat16` or `int8`.

    Raises:
        CheckpointError: the checkpoint cannot be loaded.
        ConfigError: no backend has that name or precision, a number is below 1, or `gradcam` is requested but not
            supported.
    """
    if backend not in BACKENDS:
        raise ConfigError(f"backend: unknown {backend!r}; known: {', '.join(sorted(BACKENDS))}")
    for name, value in (("batch_size", batch_size), ("threads", threads)):
        if value is not None and value < 1:
            raise ConfigError(f"{name}: expected at least 1, got {value}")
    return BACKENDS[backend](uri, device, batch_size, gradcam, threads, precision)
