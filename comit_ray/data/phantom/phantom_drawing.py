"""Synthetic frontal chest radiographs whose lungs and lesions are known: for the demo and for tests.

They look like chests at a glance and teach nothing about real ones: a network trained on them is good for showing that
every part of this software works, and for nothing else. Only the lungs (and an enlarged heart) tell the classes apart:
position, exposure, noise, markers and lines are drawn without regard to the class, and pixels outside the lungs
are equal with a lesion and without it.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from comit_ray.data import phantom_lesions as lesions
from comit_ray.data.phantom.phantom_anatomy import Chest, Patient, build
from comit_ray.data.phantom.phantom_canvas import Canvas, Line, Map, curve, soften


class Kind(StrEnum):
    """What ails a phantom."""

    HEALTHY = "healthy"
    COVID = "covid"
    OTHER = "other"


@dataclass(frozen=True)
class Phantom:
    """One synthetic radiograph and all that is known of it.

    Args:
        pixels_HW: uint8, air dark and bone bright; the patient's left is the image's right.
        lung_HW: both lungs, diseased parts included, without heart and mediastinum.
        disease_HW: the lesions; all False if healthy and for cardiomegaly. Lies within `lung_HW`.
        kind: the class.
        finding: `no finding`, `covid-19`, `consolidation`, `effusion`, `mass` or `cardiomegaly`.
        view: projection, `PA` or `AP` (supine).
        sex: of the patient.
        age: of the patient, years.
    """

    pixels_HW: npt.NDArray[np.uint8]
    lung_HW: npt.NDArray[np.bool_]
    disease_HW: npt.NDArray[np.bool_]
    kind: Kind
    finding: str
    view: Literal["PA", "AP"]
    sex: Literal["M", "F"]
    age: int


def draw(seed: int, kind: Kind, *, patient: int | None = None, size: tuple[int, int] | None = None) -> Phantom:
    """One phantom; equal arguments give equal pixels.

    Phantoms of one seed and different kinds show the same chest in the same position with the same noise.

    Args:
        seed: of the position, exposure, noise and lesions; not negative.
        kind: the class.
        patient: seed of the anatomy, sex and age; default `seed`. Give it to draw several radiographs of one patient.
        size: height and width in pixels; default: drawn, 352 to 448 each.
    """
    anatomy = Patient.draw(np.random.default_rng([1, seed if patient is None else patient]))
    pose, noise, sick = (np.random.default_rng([stream, seed]) for stream in (2, 3, 4))
    drawn = (int(pose.integers(352, 449)), int(pose.integers(352, 449)))
    height, width = size or drawn
    supine = bool(pose.random() < 0.4)
    canvas = _position(pose, anatomy, height, width)
    finding = {Kind.HEALTHY: "no finding", Kind.COVID: "covid-19"}.get(kind) or str(
        sick.choice(lesions.OTHER_FINDINGS, p=(0.35, 0.25, 0.25, 0.15))
    )
    enlarged = float(sick.uniform(1.24, 1.42)) if finding == "cardiomegaly" else 1.0
    chest = build(anatomy, canvas, supine=supine, heart_scale=enlarged)
    if kind is Kind.COVID:
        lesion = lesions.covid(sick, chest)
    elif kind is Kind.OTHER:
        lesion = lesions.other(sick, chest, finding)
    else:
        lesion = lesions.Lesion.none(chest, finding)
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
    """Where the chest lies in the frame: centring, magnification, depth of inspiration, tilt."""
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
    rng: np.random.Generator, noise: np.random.Generator, chest: Chest, lesion: lesions.Lesion, supine: bool
) -> npt.NDArray[np.uint8]:
    """Density to grey values: scatter, lesions, foreign bodies, exposure, noise and markers.

    Scatter and exposure are those of the chest without lesion, so that a lesion changes nothing outside the lungs.
    """
    canvas = chest.canvas
    rotation = 1 + float(rng.normal(0, 0.05)) * canvas.u_HW  # a turned patient: one side more exposed
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
    """Electrodes with their leads, and a central line: common in bed, whatever the disease."""
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
    """The side marker in an upper corner: L at the image's right or R at its left."""
    sheet = Image.new("L", (canvas.width, canvas.height))
    left = rng.random() < 0.6
    font = ImageFont.load_default(size=round(canvas.height * rng.uniform(0.035, 0.06)))
    column = canvas.width * (rng.uniform(0.90, 0.94) if left else rng.uniform(0.03, 0.06))
    row = canvas.height * rng.uniform(0.02, 0.12)
    ImageDraw.Draw(sheet).text((column, row), "L" if left else "R", fill=round(255 * rng.uniform(0.75, 1)), font=font)
    return np.asarray(sheet, dtype=np.float32) / np.float32(255)
