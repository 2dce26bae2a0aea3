"""A trained model in Python: `predict` takes radiographs and returns results."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np
import numpy.typing as npt

from comit_ray.checkpoint import frontal_check
from comit_ray.checkpoint.frontal_check import FrontalCheck
from comit_ray.checkpoint.operating_points import OperatingPoint
from comit_ray.config.image_config import DecodeLimits
from comit_ray.data.images.frame import FrameMap, frame_map, to_frame
from comit_ray.data.images.load import Place, decode_apart, load_radiograph, wanted
from comit_ray.data.images.radiograph import Radiograph
from comit_ray.data.masks.masks import to_original
from comit_ray.errors import STATUS_OF, ConfigError, DecodeError, Reason, Status
from comit_ray.inference.model import Model
from comit_ray.inference.scores import Scores
from comit_ray.screening.prediction_rows import NOT_FINITE, Decision, strangeness
from comit_ray.storage import storage
from comit_ray.storage.archive import archive_kind
from comit_ray.storage.file_reader import FileReader, FileRef
from comit_ray.tables.vocabulary import Task, View

if TYPE_CHECKING:
    from PIL.Image import Image

Pixels = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]
Radiographs = str | Path | bytes | Pixels
"""A path or `s3://` URI, the bytes of a DICOM, PNG or JPEG file, or uint8 pixels (H, W), air dark and bone bright."""

ManyRadiographs = (
    list[Radiographs] | list[str] | list[Path] | list[str | Path] | list[bytes] | list[Pixels] | tuple[Radiographs, ...]
)

OVERLAY_PX = 1024
"""Longest side of a picture unless it is asked for otherwise."""


@dataclass(frozen=True, eq=False)
class Result:
    """What the model says of one radiograph, or why it says nothing.

    Attributes:
        image: the path or URI that was asked for; `bytes` or `array` and its place in the list for others.
        status: `ok`, `excluded` (not a frontal chest radiograph, for instance) or `failed`.
        reason: code of why there is no score (`comit_ray.errors.Reason`); None where status is `ok`.
        detail: the same in one sentence; None where status is `ok`.
        p_covid: score 0..1 of COVID-19; None without a score or head. It is not a probability.
        p_other: score 0..1 of another disease, likewise.
        p_unhealthy: score 0..1 of any finding, likewise.
        covid_flag: whether `p_covid` is at or above its threshold. Not flagged is not normal.
        unhealthy_flag: the same of `p_unhealthy`.
        operating_point: name of the operating point that decided the flags.
        lung_mask: bool (height, width), predicted lungs on the pixels of the original; None without the head.
        disease_mask: predicted disease, likewise.
        embedding: float32 (C,), the encoder's output after global average pooling.
        typicality: share 0..1 of validation images that lie at least as far from the training data; near 0: the image
            is unlike what the model knows. None where the checkpoint has no reference.
        p_frontal_chest: 0..1, below 0.5 for what looks like no frontal chest, such as a lateral or a CT slice; such an
            image is scored all the same. None where the checkpoint has no check.
        height: rows of the original; None where it could not be decoded.
        width: its columns.
        view: `PA`, `AP`, `frontal`, or `unknown` where the file does not tell, as PNG and JPEG never do.
        model_id: hash of the model's weights.
        pixels: uint8 (height, width) of the original, air dark and bone bright; None where it could not be decoded.
    """

    image: str
    status: str
    model_id: str
    reason: str | None = None
    detail: str | None = None
    p_covid: float | None = None
    p_other: float | None = None
    p_unhealthy: float | None = None
    covid_flag: bool | None = None
    unhealthy_flag: bool | None = None
    operating_point: str | None = None
    lung_mask: Mask | None = field(default=None, repr=False)
    disease_mask: Mask | None = field(default=None, repr=False)
    embedding: npt.NDArray[np.float32] | None = field(default=None, repr=False)
    typicality: float | None = None
    p_frontal_chest: float | None = None
    height: int | None = None
    width: int | None = None
    view: str | None = None
    pixels: Pixels | None = field(default=None, repr=False)

    def overlay(self, longest_side: int = OVERLAY_PX) -> "Image":
        """The radiograph with the outline of the lungs and the disease filled in, as an RGB picture of Pillow.

        Args:
            longest_side: pixels of the picture's longer side.

        Raises:
            ConfigError: the radiograph could not be decoded, so that there is nothing to draw on.
        """
        from comit_ray.evaluation.pictures.contact_sheet import Tile, paint

        if self.pixels is None:
            raise ConfigError(f"{self.image}: expected a radiograph to draw on, but it is {self.status}: {self.detail}")
        return paint(Tile(self.pixels, self.lung_mask, self.disease_mask), longest_side)


class ScreeningModel:
    """A trained model that scores radiographs, one or many; `load` creates it.

    It decodes, resamples and decides exactly as a screen does, so its scores equal those in the tables of a screen.

    Attributes:
        model_id: hash of the weights.
        tasks: heads of the model.
        operating_point: name and thresholds that decide the flags.
    """

    def __init__(
        self, model: Model, operating_point: OperatingPoint, limits: DecodeLimits, check: FrontalCheck
    ) -> None:
        self.model_id = model.model_id
        self.tasks = model.tasks
        self.operating_point = operating_point
        self._model, self._limits, self._check = model, limits, check
        self._decision = Decision(operating_point, {})

    @overload
    def predict(self, radiographs: Radiographs) -> Result: ...
    @overload
    def predict(self, radiographs: ManyRadiographs) -> list[Result]: ...
    def predict(self, radiographs: Radiographs | ManyRadiographs) -> Result | list[Result]:
        """What the model says of a radiograph, or of each of a list, in their order.

        A file that cannot or must not be scored gives a result with its reason; a list never stops halfway.

        Args:
            radiographs: a path or `s3://` URI (also `archive.zip!member.png`), the bytes of a file, uint8 pixels
                (H, W) with air dark and bone bright, or a list of these.

        Raises:
            ConfigError: something else was given, or an array of another type or shape.

        Example:
            >>> load(CHECKPOINT).predict(b"not a radiograph").reason
            'not_an_image'
        """
        if isinstance(radiographs, str | Path | bytes | np.ndarray):
            return self._predict([radiographs])[0]
        return self._predict(list(radiographs))

    def close(self) -> None:
        """Frees the network and its memory."""
        self._model.close()

    def _predict(self, radiographs: list[Radiographs]) -> list[Result]:
        for index, radiograph in enumerate(radiographs):
            _check(radiograph, index)
        results: list[Result] = []
        step = self._model.batch_size
        for start in range(0, len(radiographs), step):
            part = radiographs[start : start + step]
            opened = list(self._open(part))
            names = [_name(radiograph, start + index) for index, radiograph in enumerate(part)]
            results += self._score(names, opened)
        return results

    def _open(self, radiographs: list[Radiographs]) -> Iterator[Radiograph | DecodeError]:
        places = [Place(_file(str(one))) for one in radiographs if isinstance(one, str | Path)]
        following = iter(places)
        with FileReader(self._limits.max_bytes, wanted(places)) as reader:
            for radiograph in radiographs:
                try:
                    if isinstance(radiograph, str | Path):
                        yield load_radiograph(next(following), reader, self._limits)
                    elif isinstance(radiograph, bytes):
                        yield decode_apart(radiograph, self._limits)
                    else:
                        yield _from_pixels(radiograph)
                except DecodeError as error:
                    yield error

    def _score(self, names: list[str], opened: list[Radiograph | DecodeError]) -> list[Result]:
        frame = self._model.frame
        decoded = [one for one in opened if isinstance(one, Radiograph)]
        empty_BHW = np.zeros((0, frame.size, frame.size), np.uint8)
        frames_BHW = np.stack([to_frame(one.pixels_HW, frame) for one in decoded]) if decoded else empty_BHW
        scores = self._model.predict(frames_BHW)
        flags = self._decision.flags(scores)
        signals = {"typicality": strangeness(scores, self._model.reference).get("typicality")}
        signals[frontal_check.COLUMN] = self._check.p_frontal_chest(frames_BHW)
        results, index = [], 0
        for name, one in zip(names, opened, strict=True):
            if isinstance(one, DecodeError):
                results.append(Result(name, str(one.status), self.model_id, str(one.reason), one.detail))
                continue
            place = frame_map(one.height, one.width, frame)
            results.append(self._result(name, one, scores, index, flags, signals, place))
            index += 1
        return results

    def _result(
        self,
        name: str,
        radiograph: Radiograph,
        scores: Scores,
        index: int,
        flags: dict[str, npt.NDArray[np.bool_]],
        signals: Mapping[str, npt.NDArray[np.float64] | None],
        place: FrameMap,
    ) -> Result:
        known: dict[str, Any] = {
            "height": radiograph.height,
            "width": radiograph.width,
            "view": str(radiograph.view),
            "pixels": radiograph.pixels_HW,
        }
        if not scores.finite[index]:
            reason = Reason.MODEL_FAILED
            return Result(name, str(STATUS_OF[reason]), self.model_id, str(reason), NOT_FINITE, **known)
        known |= {f"p_{score}": float(p_B[index]) for score, p_B in scores.probabilities.items()}
        known |= {f"{score}_flag": bool(flags[score][index]) for score in ("covid", "unhealthy") if score in flags}
        known["operating_point"] = self.operating_point.name if scores.probabilities else None
        known["embedding"] = scores.embedding[index]
        known |= {name: None if values is None else float(values[index]) for name, values in signals.items()}
        for task, column in ((Task.LUNG, "lung_mask"), (Task.DISEASE, "disease_mask")):
            masks_BHW = scores.take(slice(index, index + 1)).mask_BHW(task)
            if masks_BHW is not None:
                known[column] = to_original(masks_BHW[0], place, radiograph.height, radiograph.width)
        return Result(name, str(Status.OK), self.model_id, **known)


def _file(text: str) -> FileRef:
    """The file of a path or URI; `archive.zip!member` names a member of an archive."""
    outer, mark, member = text.partition("!")
    if mark and archive_kind(outer) is not None and not storage.exists(text):
        return FileRef(storage.normalise(outer), member)
    return FileRef(storage.normalise(text))


def _check(radiograph: object, index: int) -> None:
    if not isinstance(radiograph, str | Path | bytes | np.ndarray):
        raise ConfigError(
            f"radiograph {index}: expected a path, bytes, or a uint8 array (H, W), got {type(radiograph).__name__}"
        )
    if isinstance(radiograph, np.ndarray) and (radiograph.dtype != np.uint8 or radiograph.ndim != 2):
        raise ConfigError(
            f"radiograph {index}: expected a uint8 array of shape (H, W), air dark and bone bright, got "
            f"{radiograph.dtype} of shape {radiograph.shape}; give the file itself, and its pixels are decoded here"
        )


def _name(radiograph: Radiographs, index: int) -> str:
    if isinstance(radiograph, str | Path):
        return str(radiograph)
    return f"{'bytes' if isinstance(radiograph, bytes) else 'array'} {index}"


def _from_pixels(pixels_HW: Pixels) -> Radiograph:
    """An array as a radiograph; checked as a decoded file is."""
    if not pixels_HW.size or pixels_HW.min() == pixels_HW.max():
        raise DecodeError(Reason.BLANK, "all pixels show one value")
    height, width = pixels_HW.shape
    return Radiograph(np.ascontiguousarray(pixels_HW), height, width, View.UNKNOWN, "none", ())
