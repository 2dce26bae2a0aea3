"""Drawing tools for synthetic chests: thorax coordinates, smooth curves, shapes as coverage maps.

Thorax coordinates (u, v): u is 0 at the midline and about 1 at the lateral wall of the lung, positive to the image's
right, which is the patient's left; v is 0 at the lungs' apices and about 1 at the diaphragm.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw
from scipy.interpolate import Akima1DInterpolator
from scipy.ndimage import gaussian_filter, uniform_filter

Map = npt.NDArray[np.float32]
Points = npt.NDArray[np.float64]

OVERSAMPLING = 2  # shapes are drawn this much larger and averaged, for smooth edges


@dataclass(frozen=True)
class Line:
    """A line to draw: points in thorax coordinates, shape (n, 2); width in u; strength 0..1."""

    points: Points
    width: float
    strength: float = 1.0


def curve(points: Sequence[tuple[float, float]] | Points, count: int = 48) -> Points:
    """Returns `count` points of a smooth open curve through `points`, shape (count, 2); the result is read-only."""
    return _curve(np.asarray(points, dtype=np.float64).tobytes(), count)


@lru_cache(maxsize=1024)
def _curve(points: bytes, count: int) -> Points:
    """Computes a curve once for equal points: both sides have the same ribs, and all chests the same airways."""
    knots = np.frombuffer(points).reshape(-1, 2)
    length = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(knots, axis=0).T))])
    found = np.asarray(Akima1DInterpolator(length, knots)(np.linspace(0, length[-1], count)))
    found.setflags(write=False)
    return found


def closed_curve(points: Sequence[tuple[float, float]] | Points, count: int = 120) -> Points:
    """Returns `count` points of a smooth closed curve through `points`, shape (count, 2)."""
    knots = np.asarray(points, dtype=np.float64)
    around = np.concatenate([knots[-3:], knots, knots[:3]])
    length = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(around, axis=0).T))])
    inside = np.linspace(length[3], length[3 + len(knots)], count, endpoint=False)
    return np.asarray(Akima1DInterpolator(length, around)(inside))


def soften(map_HW: npt.NDArray[np.generic], sigma: float) -> Map:
    """Applies a Gaussian blur, `sigma` in pixels. Wide ones use three box blurs of constant cost."""
    soft_HW = np.asarray(map_HW, dtype=np.float32)
    if sigma < 2:
        return np.asarray(gaussian_filter(soft_HW, sigma, mode="nearest", truncate=3.0))
    side = max(3, round(float(np.sqrt(4 * sigma**2 + 1))))
    for _ in range(3):
        soft_HW = uniform_filter(soft_HW, side, mode="nearest")
    return soft_HW


def sigmoid(map_HW: npt.NDArray[np.floating]) -> Map:
    """Returns a soft step from 0 to 1."""
    return np.asarray(1 / (1 + np.exp(-np.clip(map_HW, -30, 30))), dtype=np.float32)


@dataclass(frozen=True)
class Canvas:
    """The frame of one radiograph and where the thorax lies in it.

    Attributes:
        height: height in pixels.
        width: width in pixels.
        centre: column of the midline at the apices, in pixels.
        apex: row of the lungs' apices, in pixels.
        unit_u: pixels of one u.
        unit_v: pixels of one v.
        tilt: rotation of the patient in the image plane, in radians.
    """

    height: int
    width: int
    centre: float
    apex: float
    unit_u: float
    unit_v: float
    tilt: float = 0.0
    u_HW: Map = field(init=False, repr=False)
    v_HW: Map = field(init=False, repr=False)

    def __post_init__(self) -> None:
        rows, columns = np.mgrid[0 : self.height, 0 : self.width].astype(np.float32)
        dx, dy = columns - self.centre, rows - self.apex
        cos, sin = np.float32(np.cos(self.tilt)), np.float32(np.sin(self.tilt))
        object.__setattr__(self, "u_HW", (cos * dx + sin * dy) / np.float32(self.unit_u))
        object.__setattr__(self, "v_HW", (cos * dy - sin * dx) / np.float32(self.unit_v))

    def pixels(self, points: Points) -> Points:
        """Returns thorax coordinates as pixel columns and rows, shape (..., 2) both."""
        x, y = points[..., 0] * self.unit_u, points[..., 1] * self.unit_v
        cos, sin = np.cos(self.tilt), np.sin(self.tilt)
        return np.stack([self.centre + cos * x - sin * y, self.apex + sin * x + cos * y], axis=-1)

    def fill(self, *polygons: Points) -> Map:
        """Returns the coverage (0..1) of the union of polygons in thorax coordinates."""
        image, draw = self._sheet()
        for polygon in polygons:
            draw.polygon((self.pixels(polygon) * OVERSAMPLING).ravel().tolist(), fill=255)
        return self._coverage(image)

    def stroke(self, *lines: Line) -> Map:
        """Returns the coverage (0..1) of lines; where lines cross, the last one wins."""
        image, draw = self._sheet()
        ribbons: dict[int, list[float]] = {}
        for count in {len(line.points) for line in lines}:  # lines of equal length go together: a lung has hundreds
            alike = [index for index, line in enumerate(lines) if len(line.points) == count]
            points = self.pixels(np.stack([lines[index].points for index in alike])) * OVERSAMPLING
            along = np.gradient(points, axis=1)
            across = np.stack([-along[..., 1], along[..., 0]], axis=2)
            across /= np.hypot(along[..., 0], along[..., 1]).clip(1e-6)[..., None]
            widths = np.array([lines[index].width for index in alike]) * self.unit_u * OVERSAMPLING
            half = across * np.maximum(0.5, widths / 2)[:, None, None]
            outlines = np.concatenate([points + half, (points - half)[:, ::-1]], axis=1)
            ribbons |= zip(alike, outlines.reshape(len(alike), -1).tolist(), strict=True)
        for index, line in enumerate(lines):
            draw.polygon(ribbons[index], fill=round(255 * line.strength))
        return self._coverage(image)

    def disc(self, u: float, v: float, radius_u: float, radius_v: float) -> Map:
        """Returns the distance from the centre of an ellipse in units of its radii (in u and v): below 1 inside."""
        distance = np.hypot((self.u_HW - u) / radius_u, (self.v_HW - v) / radius_v)
        return np.asarray(distance, dtype=np.float32)

    def _sheet(self) -> tuple[Image.Image, ImageDraw.ImageDraw]:
        image = Image.new("L", (self.width * OVERSAMPLING, self.height * OVERSAMPLING))
        return image, ImageDraw.Draw(image)

    def _coverage(self, image: Image.Image) -> Map:
        return np.asarray(image.reduce(OVERSAMPLING), dtype=np.float32) / np.float32(255)
