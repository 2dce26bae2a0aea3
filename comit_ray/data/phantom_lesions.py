"""Diseases of the phantoms: how much of the lung's air each point has lost, and where that is disease.

A lesion is a map of filling: 0 aerated, 1 as dense as soft tissue. It can only take air away, so it lies in the lungs
and brightens them; vessels drown in it (the silhouette sign).
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from comit_ray.data.phantom.phantom_anatomy import LEFT, RIGHT, Chest
from comit_ray.data.phantom.phantom_canvas import Canvas, Map, sigmoid, soften

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Lesion:
    """Lost air and its mask: `filling_HW` 0..1, `mask_HW` where a reader would draw the disease."""

    filling_HW: Map
    mask_HW: Mask
    finding: str

    @classmethod
    def none(cls, chest: Chest, finding: str) -> "Lesion":
        """No lost air: a healthy lung, or a disease outside the lungs."""
        return cls(np.zeros(chest.lung_HW.shape, np.float32), np.zeros(chest.lung_HW.shape, np.bool_), finding)


def covid(rng: np.random.Generator, chest: Chest) -> Lesion:
    """Ground-glass opacities in both lungs: patchy, peripheral, mostly in the lower zones; some confluent."""
    severity = rng.beta(2.0, 2.0)  # a continuum: from a faint patch at each base to most of both lungs
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


def other(rng: np.random.Generator, chest: Chest, finding: str) -> Lesion:
    """One of `OTHER_FINDINGS`; cardiomegaly changes the heart, not the lungs, and has no lesion here."""
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
    """A lobe filled: dense, one-sided, ending sharply at the fissure, with air bronchograms."""
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
    """One or a few round, well-defined nodules or a mass."""
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
    """Fluid at one base: dense, its upper border a meniscus that climbs along the lateral wall."""
    canvas = chest.canvas
    level = rng.uniform(0.58, 0.9)
    lateral = np.clip((np.abs(canvas.u_HW) - 0.25) / 0.75, 0, 1)
    surface = np.float32(level) - np.float32(rng.uniform(0.14, 0.26)) * lateral**2.5
    depth = canvas.v_HW - surface + 0.012 * _cloud(rng, canvas, 0.12)
    shape = (chest.side_HW == side) * sigmoid(depth / 0.025)
    filling = shape * np.float32(rng.uniform(0.8, 0.97))
    return Lesion(np.asarray(filling, np.float32), (shape > 0.5) & chest.lung_HW, "effusion")


def _patch(distance: Map, softness: float) -> Map:
    """1 inside (distance below 1), 0 outside, with a border of the given softness."""
    return sigmoid((1 - distance) / softness)


def _cloud(rng: np.random.Generator, canvas: Canvas, scale: float) -> Map:
    """Smooth noise of mean 0 and deviation 1; `scale` is its correlation length in u."""
    noise = soften(rng.standard_normal((canvas.height, canvas.width), np.float32), scale * canvas.unit_u)
    return np.asarray((noise - noise.mean()) / noise.std(), dtype=np.float32)
