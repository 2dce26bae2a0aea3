"""Draws synthetic frontal chest radiographs with known lungs and lesions, for the demo and for tests.

They look like chests at a glance but teach nothing about real ones: a network trained on them can show that every part
of this software works, and nothing else. Only the lungs (and an enlarged heart) distinguish the classes: position,
exposure, noise, markers and lines are drawn independently of the class, and pixels outside the lungs are equal with
and without a lesion.

A phantom's disease is how much of the lung's air each point has lost, and where a reader would call that disease. A
lesion is a map of filling: 0 aerated, 1 as dense as soft tissue. It can only take air away, so it lies in the lungs
and brightens them; vessels disappear in it (the silhouette sign).
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from comit_ray.data.phantom.phantom_anatomy import LEFT, RIGHT, Chest, Patient, build
from comit_ray.data.phantom.phantom_canvas import Canvas, Line, Map, curve, sigmoid, soften

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Lesion:
    """Lost air and its mask: `filling_HW` is 0..1, `mask_HW` is where a reader would draw the disease."""

    filling_HW: Map
    mask_HW: Mask
    finding: str

    @classmethod
    def none(cls, chest: Chest, finding: str) -> "Lesion":
        """Returns a lesion without lost air: a healthy lung, or a disease outside the lungs."""
        return cls(np.zeros(chest.lung_HW.shape, np.float32), np.zeros(chest.lung_HW.shape, np.bool_), finding)


def draw_covid(rng: np.random.Generator, chest: Chest) -> Lesion:
    """Draws ground-glass opacities in both lungs: patchy, peripheral, mostly in the lower zones; some confluent."""
    severity = rng.beta(2.0, 2.0)  # continuous: from a faint patch at each base to most of both lungs
    filling = np.zeros(chest.lung_HW.shape, np.float32)
    mask = np.zeros(chest.lung_HW.shape, np.bool_)
    cloud = _cloud(rng, chest.canvas, 0.09)
    for side in (RIGHT, LEFT):
        for _ in range(1 + rng.binomial(4, 0.15 + 0.6 * severity)):
            u = side * rng.uniform(0.68, 0.98)
            v = float(np.clip(rng.normal(0.74, 0.18), 0.2, 1.05))
            radius_u = rng.uniform(0.13, 0.20) + 0.16 * severity * rng.random()
            radius_v = rng.uniform(0.13, 0.20) + 0.14 * severity * rng.random()
            shape = _patch(chest.canvas.disc(u, v, radius_u, radius_v) + 0.5 * cloud, 0.19)
            shape *= chest.side_HW == side
            filling = np.maximum(filling, shape * np.float32(rng.uniform(0.32, 0.45) + 0.3 * severity))
            mask |= shape > 0.5
    reticular = 1 + 0.14 * _cloud(rng, chest.canvas, 0.03)
    return Lesion(np.clip(filling * reticular, 0, 0.92), mask & chest.lung_HW, "covid-19")


def draw_other(rng: np.random.Generator, chest: Chest, finding: str) -> Lesion:
    """Draws one of `OTHER_FINDINGS`; cardiomegaly changes the heart, not the lungs, and has no lesion here."""
    side = RIGHT if rng.random() < 0.55 else LEFT
    if finding == "consolidation":
        return _consolidation(rng, chest, side)
    if finding == "mass":
        return _mass(rng, chest, side)
    if finding == "effusion":
        return _effusion(rng, chest, side)
    assert finding == "cardiomegaly", finding
    return Lesion.none(chest, finding)


OTHER_FINDINGS = ("consolidation", "effusion", "mass", "cardiomegaly")


def _consolidation(rng: np.random.Generator, chest: Chest, side: int) -> Lesion:
    """Fills a lobe: dense, one-sided, ending sharply at the fissure, with air bronchograms."""
    canvas = chest.canvas
    fissure = canvas.v_HW - np.float32(rng.uniform(0.42, 0.56)) - 0.12 * (np.abs(canvas.u_HW) - 0.5)
    upper = rng.random() < 0.45
    beyond = -fissure if upper else fissure
    lobe = sigmoid(beyond / 0.012)
    centre_v = rng.uniform(0.15, 0.3) if upper else rng.uniform(0.65, 0.9)
    reach = canvas.disc(side * rng.uniform(0.4, 0.7), centre_v, rng.uniform(0.38, 0.6), rng.uniform(0.24, 0.38))
    shape = lobe * _patch(reach + 0.25 * _cloud(rng, canvas, 0.1), 0.09) * (chest.side_HW == side)
    bronchograms = 1 - 0.22 * np.clip(_cloud(rng, canvas, 0.03), 0, 1)
    filling = shape * np.float32(rng.uniform(0.55, 0.9)) * bronchograms
    return Lesion(np.asarray(filling, np.float32), (shape > 0.5) & chest.lung_HW, "consolidation")


def _mass(rng: np.random.Generator, chest: Chest, side: int) -> Lesion:
    """Draws one or a few round, well-defined nodules or a mass."""
    canvas = chest.canvas
    filling = np.zeros(chest.lung_HW.shape, np.float32)
    mask = np.zeros(chest.lung_HW.shape, np.bool_)
    rim = 0.11 * _cloud(rng, canvas, 0.06)
    for _ in range(1 + rng.binomial(2, 0.25)):
        radius = rng.uniform(0.08, 0.19)
        u, v = side * rng.uniform(0.42, 0.78), rng.uniform(0.2, 0.78)
        distance = canvas.disc(u, v, radius, radius * canvas.unit_u / canvas.unit_v) + rim
        shape = _patch(distance, 0.06) * (chest.side_HW == side)
        dome = np.sqrt(np.clip(1.15 - np.minimum(distance, 1.1) ** 2 * 0.75, 0, 1))
        filling = np.maximum(filling, shape * dome * np.float32(rng.uniform(0.55, 0.85)))
        mask |= shape > 0.5
    return Lesion(np.asarray(filling, np.float32), mask & chest.lung_HW, "mass")


def _effusion(rng: np.random.Generator, chest: Chest, side: int) -> Lesion:
    """Draws fluid at one base: dense, its upper border a meniscus that climbs along the lateral wall."""
    canvas = chest.canvas
    level = rng.uniform(0.58, 0.9)
    lateral = np.clip((np.abs(canvas.u_HW) - 0.25) / 0.75, 0, 1)
    surface = np.float32(level) - np.float32(rng.uniform(0.14, 0.26)) * lateral**2.5
    depth = canvas.v_HW - surface + 0.012 * _cloud(rng, canvas, 0.12)
    shape = (chest.side_HW == side) * sigmoid(depth / 0.025)
    filling = shape * np.float32(rng.uniform(0.8, 0.97))
    return Lesion(np.asarray(filling, np.float32), (shape > 0.5) & chest.lung_HW, "effusion")


def _patch(distance: Map, softness: float) -> Map:
    """Returns 1 inside (distance below 1) and 0 outside, with a border of the given softness."""
    return sigmoid((1 - distance) / softness)


def _cloud(rng: np.random.Generator, canvas: Canvas, scale: float) -> Map:
    """Returns smooth noise of mean 0 and deviation 1; `scale` is its correlation length in u."""
    noise = soften(rng.standard_normal((canvas.height, canvas.width), np.float32), scale * canvas.unit_u)
    return np.asarray((noise - noise.mean()) / noise.std(), dtype=np.float32)


class PhantomKind(StrEnum):
    """The class of a phantom."""

    HEALTHY = "healthy"
    COVID = "covid"
    OTHER = "other"


@dataclass(frozen=True)
class Phantom:
    """One synthetic radiograph and its known truth.

    Attributes:
        pixels_HW: uint8, air dark and bone bright; the patient's left is the image's right.
        lung_HW: both lungs, diseased parts included, without heart and mediastinum.
        disease_HW: lesions, within `lung_HW`; all False if healthy and for cardiomegaly.
        kind: class.
        finding: `no finding`, `covid-19`, `consolidation`, `effusion`, `mass` or `cardiomegaly`.
        view: projection, `PA` or `AP` (supine).
        sex: sex of the patient.
        age: age of the patient in years.
    """

    pixels_HW: npt.NDArray[np.uint8]
    lung_HW: npt.NDArray[np.bool_]
    disease_HW: npt.NDArray[np.bool_]
    kind: PhantomKind
    finding: str
    view: Literal["PA", "AP"]
    sex: Literal["M", "F"]
    age: int


def draw(seed: int, kind: PhantomKind, *, patient: int | None = None, size: tuple[int, int] | None = None) -> Phantom:
    """Draws one phantom; equal arguments give equal pixels.

    Phantoms of one seed and different kinds show the same chest in the same position with the same noise.

    Args:
        seed: seed of position, exposure, noise and lesions; not negative.
        kind: class.
        patient: seed of anatomy, sex and age; default `seed`. Give it to draw several radiographs of one patient.
        size: height and width in pixels; default: drawn, 352 to 448 each.
    """
    anatomy = Patient.draw(np.random.default_rng([1, seed if patient is None else patient]))
    pose, noise, sick = (np.random.default_rng([stream, seed]) for stream in (2, 3, 4))
    drawn = (int(pose.integers(352, 449)), int(pose.integers(352, 449)))
    height, width = size or drawn
    supine = bool(pose.random() < 0.4)
    canvas = _position(pose, anatomy, height, width)
    finding = {PhantomKind.HEALTHY: "no finding", PhantomKind.COVID: "covid-19"}.get(kind) or str(
        sick.choice(OTHER_FINDINGS, p=(0.35, 0.25, 0.25, 0.15))
    )
    enlarged = float(sick.uniform(1.24, 1.42)) if finding == "cardiomegaly" else 1.0
    chest = build(anatomy, canvas, supine=supine, heart_scale=enlarged)
    if kind is PhantomKind.COVID:
        lesion = draw_covid(sick, chest)
    elif kind is PhantomKind.OTHER:
        lesion = draw_other(sick, chest, finding)
    else:
        lesion = Lesion.none(chest, finding)
    return Phantom(
        pixels_HW=_expose(pose, noise, chest, lesion, supine),
        lung_HW=chest.lung_HW,
        disease_HW=lesion.mask_HW,
        kind=kind,
        finding=finding,
        view="AP" if supine else "PA",
        sex=anatomy.sex,
        age=anatomy.age,
    )


def _position(rng: np.random.Generator, anatomy: Patient, height: int, width: int) -> Canvas:
    """Draws the place of the chest in the frame: centring, magnification, depth of inspiration, tilt."""
    child = 0.86 if anatomy.age < 16 else 1.0
    scale = min(height * 0.98, width) * child
    return Canvas(
        height=height,
        width=width,
        centre=width * (0.5 + float(rng.normal(0, 0.015))),
        apex=height * float(np.clip(rng.normal(0.13, 0.03), 0.06, 0.22)),
        unit_u=scale * float(np.clip(rng.normal(0.40, 0.025), 0.34, 0.45)),
        unit_v=scale * float(np.clip(rng.normal(0.66, 0.06), 0.5, 0.76)),
        tilt=float(rng.normal(0, 0.022)),
    )


def _expose(
    rng: np.random.Generator, noise: np.random.Generator, chest: Chest, lesion: Lesion, supine: bool
) -> npt.NDArray[np.uint8]:
    """Turns density into grey values: scatter, lesions, foreign bodies, exposure, noise and markers.

    Scatter and exposure are those of the chest without a lesion, so that a lesion changes nothing outside the lungs.
    """
    canvas = chest.canvas
    rotation = 1 + float(rng.normal(0, 0.05)) * canvas.u_HW  # a turned patient: one side is more exposed
    grain = soften(noise.standard_normal(rotation.shape, np.float32), 1.1)
    parenchyma = 1 + 0.045 * grain / grain.std()
    healthy = chest.density_HW + chest.vessels_HW
    veil = soften(healthy, canvas.unit_u * 0.25)
    lost = lesion.filling_HW
    density = chest.density_HW + chest.vessels_HW * (1 - 0.75 * lost)
    density += chest.air_HW * lost * parenchyma
    density += 0.15 * (parenchyma - 1) * chest.lung_HW
    scatter = float(rng.uniform(0.08, 0.30)) + 0.08 * supine
    density = ((1 - scatter) * density + scatter * veil) * rotation
    density += _devices(rng, canvas, supine)
    low, high = float(rng.normal(0.10, 0.035)), float(rng.normal(1.02, 0.05))
    gamma = float(np.clip(rng.normal(0.92, 0.13), 0.65, 1.3))
    tone = np.clip((density - low) / (high - low), 0, None) ** gamma
    tone = np.where(tone > 0.8, 0.8 + 0.2 * np.tanh((tone - 0.8) / 0.2), tone)  # the film's shoulder
    quantum = soften(noise.standard_normal(tone.shape, np.float32), 0.6)
    tone += quantum * float(rng.uniform(0.006, 0.02)) * (0.5 + tone)
    tone = np.maximum(tone, _markers(rng, canvas))
    return np.asarray(np.clip(tone * 255, 0, 255), dtype=np.uint8)


def _devices(rng: np.random.Generator, canvas: Canvas, supine: bool) -> Map:
    """Draws electrodes with their leads, and a central line: common in bed, whatever the disease."""
    if rng.random() > (0.6 if supine else 0.08):
        return np.zeros((canvas.height, canvas.width), np.float32)
    lines = []
    for side in (-1.0, 1.0):
        u, v = side * rng.uniform(0.5, 0.95), rng.uniform(0.02, 0.3)
        lead = [(u, v), (u * 1.05, v + 0.25), (side * rng.uniform(0.8, 1.1), v + 0.6), (side * 1.2, 1.5)]
        lines.append(Line(curve(lead), 0.012, 0.5))
        lines.append(Line(np.array([(u - 0.02, v), (u + 0.02, v)]), 0.04))
    if rng.random() < 0.4:
        line = [(-0.75, -0.05), (-0.45, 0.09), (-0.2, 0.13), (-0.14, 0.3), (-0.13, 0.45)]
        lines.append(Line(curve(line), 0.014, 0.7))
    return 0.16 * soften(canvas.stroke(*lines), 0.5)


def _markers(rng: np.random.Generator, canvas: Canvas) -> Map:
    """Draws the side marker in an upper corner: L at the image's right or R at its left."""
    sheet = Image.new("L", (canvas.width, canvas.height))
    left = rng.random() < 0.6
    font = ImageFont.load_default(size=round(canvas.height * rng.uniform(0.035, 0.06)))
    column = canvas.width * (rng.uniform(0.90, 0.94) if left else rng.uniform(0.03, 0.06))
    row = canvas.height * rng.uniform(0.02, 0.12)
    ImageDraw.Draw(sheet).text((column, row), "L" if left else "R", fill=round(255 * rng.uniform(0.75, 1)), font=font)
    return np.asarray(sheet, dtype=np.float32) / np.float32(255)
