"""The chest of a synthetic radiograph as maps of X-ray density: soft tissue, lungs, heart, bones, vessels.

A patient's anatomy (`Patient`) stays the same from study to study; a `Canvas` says how it lies in one radiograph.
Densities are display values: 0 is black (air), 1 is white. The shapes were drawn by eye after frontal radiographs; they
do not simulate X-ray physics.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.ndimage import distance_transform_edt

from comit_ray.data.phantom.phantom_canvas import Canvas, Line, Map, Points, closed_curve, curve, sigmoid, soften

RIGHT, LEFT = -1, 1  # sides of the patient: the right lung lies at negative u, on the image's left


@dataclass(frozen=True)
class Patient:
    """The anatomy common to all radiographs of one patient. Lengths are factors of the average, or in u and v."""

    sex: Literal["M", "F"]
    age: int
    wall: float  # breadth of the upper chest
    fat: float  # u, soft tissue outside the ribs
    heart: float  # size of the heart
    aorta: float  # u, by which the aortic arch protrudes
    dome: float  # v, height of the right diaphragm above the left
    rib_slope: float  # v, by which a rib falls from spine to wall
    rib_density: float
    vessels: int  # seed of the vessels' course

    @classmethod
    def draw(cls, rng: np.random.Generator) -> "Patient":
        """Draws a random patient: mostly adults, 4% children."""
        sex: Literal["M", "F"] = "F" if rng.random() < 0.47 else "M"
        age = int(rng.integers(6, 16)) if rng.random() < 0.04 else int(np.clip(rng.normal(56, 17), 18, 94))
        return cls(
            sex=sex,
            age=age,
            wall=float(rng.normal(1.0, 0.03)),
            fat=float(np.clip(rng.gamma(3.0, 0.045), 0.05, 0.38)),
            heart=float(np.clip(rng.normal(0.95 + 0.0012 * (age - 50), 0.05), 0.82, 1.08)),
            aorta=float(np.clip(rng.normal(0.03 + 0.0012 * (age - 50), 0.02), 0.0, 0.1)),
            dome=float(rng.normal(0.035, 0.015)),
            rib_slope=float(rng.normal(0.19, 0.03)),
            rib_density=float(np.clip(rng.normal(1.0 - 0.003 * (age - 50), 0.15), 0.6, 1.4)),
            vessels=int(rng.integers(2**31)),
        )


@dataclass(frozen=True)
class Chest:
    """The chest of one patient in one radiograph, before any disease.

    Attributes:
        canvas: the frame.
        density_HW: display value without lung vessels and noise.
        air_HW: amount by which the lungs darken the density (0 outside the lungs).
        vessels_HW: amount by which vessels brighten it.
        lung_HW: both lungs.
        side_HW: -1 in the patient's right lung, 1 in the left and 0 elsewhere.
    """

    canvas: Canvas
    density_HW: Map
    air_HW: Map
    vessels_HW: Map
    lung_HW: np.ndarray[tuple[int, int], np.dtype[np.bool_]]
    side_HW: np.ndarray[tuple[int, int], np.dtype[np.int8]]


def build(patient: Patient, canvas: Canvas, *, supine: bool = False, heart_scale: float = 1.0) -> Chest:
    """Draws the chest of `patient` in `canvas`.

    Args:
        patient: the anatomy.
        canvas: the frame and the place of the thorax in it.
        supine: whether it is an AP radiograph taken in bed: larger heart, scapulae over the lungs.
        heart_scale: factor that enlarges the heart (cardiomegaly).
    """
    sides = {side: _hemithorax(patient, side) for side in (RIGHT, LEFT)}
    heart = _heart(patient.heart * heart_scale * (1.07 if supine else 1.0))
    middle = _mediastinum(patient)
    centre = canvas.fill(middle, heart)
    lungs = {side: canvas.fill(sides[side]) * (1 - centre) for side in sides}
    lung = lungs[RIGHT] + lungs[LEFT]
    blur = canvas.unit_u / 130  # pixels: the unsharpness of the detector and of movement

    density, body = _soft_tissue(patient, canvas)
    density += 0.19 * soften(_below_domes(sides, canvas), 1.5 * blur) * body
    core = soften(canvas.fill(middle), 5 * blur)
    core *= 0.15 + 0.85 * sigmoid((1.02 - canvas.v_HW) / 0.05)  # the mediastinum ends here
    density += 0.16 * np.maximum(core, 0.85 * soften(canvas.fill(heart), 4 * blur)) * body
    density += _spine_and_airways(canvas) * body
    depth = 1 - np.exp(-distance_transform_edt(lung > 0.5).astype(np.float32) / np.float32(0.16 * canvas.unit_u))
    air = soften(lung, blur) * (0.25 + 0.21 * depth) * (lung > 0.02)
    ribs = _ribs(patient, canvas, sides) * (1 - 0.5 * soften(centre, 3 * blur))  # faint through heart and vessels
    bones = ribs + _shoulder_girdle(patient, canvas, supine)
    density += soften(bones, 0.8 * blur)
    side = np.where(lungs[RIGHT] > 0.5, RIGHT, np.where(lungs[LEFT] > 0.5, LEFT, 0)).astype(np.int8)
    vessels = soften(_vessels(patient, canvas), 0.9 * blur) * lung
    return Chest(canvas, density - air, air, vessels, side != 0, side)


def _hemithorax(patient: Patient, side: int) -> Points:
    """Outlines the space that a lung shares with half the mediastinum: apex, lateral wall, costophrenic angle, dome."""
    dome = patient.dome if side == RIGHT else 0.0
    up = patient.wall
    wall = curve(
        [
            *((0.06, 0.10), (0.20, 0.02), (0.38, -0.01), (0.58 * up, 0.06), (0.78 * up, 0.23)),
            *((0.91 * up, 0.48), (0.98, 0.76), (1.0, 0.98), (0.985, 1.10)),
        ]
    )
    base = curve([(0.985, 1.10), (0.9, 1.0 - dome), (0.72, 0.945 - dome), (0.52, 0.93 - dome), (0.28, 0.97), (0, 1.03)])
    outline: Points = np.concatenate([wall, base]) * np.array([side, 1.0])
    return outline


def _heart(scale: float) -> Points:
    outline = [(-0.16, 0.50), (-0.27, 0.64), (-0.32, 0.80), (-0.27, 0.96), (0.0, 1.06), (0.34, 1.06)]
    outline += [(0.55, 1.0), (0.58, 0.91), (0.50, 0.76), (0.38, 0.63), (0.27, 0.51), (0.06, 0.45)]
    middle = np.array([0.1, 0.8])
    scaled: Points = (closed_curve(outline) - middle) * scale + middle
    return scaled


def _mediastinum(patient: Patient) -> Points:
    right = curve([(-0.20, -0.5), (-0.16, 0.0), (-0.16, 0.2), (-0.19, 0.36), (-0.2, 0.5), (-0.18, 1.0), (-0.2, 2.4)])
    knuckle = 0.19 + patient.aorta
    left = curve(
        [
            *((0.2, 2.4), (0.18, 1.0), (0.24, 0.56), (0.235, 0.47), (0.185, 0.4), (knuckle, 0.33)),
            *((knuckle - 0.01, 0.27), (0.15, 0.2), (0.14, 0.0), (0.20, -0.5)),
        ]
    )
    return np.concatenate([right, left])


def _soft_tissue(patient: Patient, canvas: Canvas) -> tuple[Map, Map]:
    """Draws the body without lungs (torso, neck, arms, thinner towards the skin; breasts), and the body's coverage."""
    side = 1.06 + patient.fat
    half = curve(
        [
            *((0.46, -0.75), (0.42, -0.36), (0.5, -0.22), (0.8, -0.12), (1.15, -0.06), (1.42, 0.06), (1.5, 0.3)),
            *((1.34, 0.52), (side + 0.05, 0.6), (side, 0.8), (side, 1.1), (side + 0.03, 1.6), (side + 0.03, 2.2)),
        ],
        80,
    )
    torso = np.concatenate([half, half[::-1] * np.array([-1.0, 1.0])])
    arm = curve([(1.3, 0.12), (1.42, 0.45), (1.5, 0.9), (1.54, 1.6)])
    body = canvas.fill(torso)
    limb = np.concatenate([arm - np.array([0.17, 0.0]), arm[::-1] + np.array([0.19, 0.0])])
    arms = canvas.fill(*(limb * np.array([s, 1.0]) for s in (RIGHT, LEFT)))
    inside = distance_transform_edt(body > 0.5).astype(np.float32) / np.float32(canvas.unit_u)
    across = distance_transform_edt(arms > 0.5).astype(np.float32) / np.float32(canvas.unit_u)
    tissue = body * (0.30 + 0.40 * (1 - np.exp(-inside / 0.30)))
    tissue = np.maximum(tissue, arms * (0.30 + 0.6 * np.sqrt(across)))
    if patient.sex == "F" and patient.age > 15:
        for s in (RIGHT, LEFT):
            rim = canvas.disc(0.58 * s, 0.80 + 0.3 * patient.fat, 0.52, 0.32)
            low = np.clip((canvas.v_HW - 0.55) / 0.4, 0, 1)
            tissue += 0.10 * low * sigmoid(14 * (1 - rim)) * body
    return soften(tissue, canvas.unit_u / 60), soften(np.maximum(body, arms), canvas.unit_u / 60)


def _below_domes(sides: dict[int, Points], canvas: Canvas) -> Map:
    """Returns the abdomen: everything below the two domes."""
    polygons = []
    for side, outline in sides.items():
        base = outline[48:]
        polygons.append(np.concatenate([base, [[0.0, 2.4], [side * 2.0, 2.4], [side * 2.0, 1.25]]]))
    return canvas.fill(*polygons)


def _spine_and_airways(canvas: Canvas) -> Map:
    """Draws vertebrae behind the mediastinum, and trachea and main bronchi in front, which are darker."""
    u, v = canvas.u_HW, canvas.v_HW
    pitch = 0.088 * (1 + 0.18 * v)
    phase = np.mod(v / pitch, 1.0)
    disc = np.exp(-(((phase - 0.5) / 0.11) ** 2))
    column = sigmoid((0.115 - np.abs(u)) / 0.012)
    edge = np.exp(-(((np.abs(u) - 0.105) / 0.014) ** 2))
    spinous = np.exp(-((u / 0.02) ** 2) - ((phase - 0.15) / 0.2) ** 2)
    pedicles = np.exp(-(((np.abs(u) - 0.07) / 0.018) ** 2) - ((phase - 0.92) / 0.13) ** 2)
    spine = column * (0.075 - 0.05 * disc) + 0.03 * edge + 0.035 * spinous + 0.035 * pedicles
    trachea = curve([(0.0, -0.55), (-0.005, 0.0), (-0.02, 0.24), (-0.02, 0.37)])
    bronchi = [curve([(-0.02, 0.36), (-0.12, 0.43), (-0.21, 0.51)]), curve([(-0.02, 0.36), (0.1, 0.44), (0.24, 0.5)])]
    airways = canvas.stroke(Line(trachea, 0.115), *(Line(bronchus, 0.075, 0.6) for bronchus in bronchi))
    return np.asarray(spine - 0.13 * soften(airways, canvas.unit_u / 70), dtype=np.float32)


def _ribs(patient: Patient, canvas: Canvas, sides: dict[int, Points]) -> Map:
    """Draws posterior ribs from the spine to the wall, and anterior ribs from the wall down towards the sternum."""
    posterior: list[Line] = []
    shaft: list[Line] = []
    anterior: list[Line] = []
    front: list[Line] = []
    for side, outline in sides.items():
        wall_v, wall_u = outline[16:48, 1], np.abs(outline[16:48, 0])
        for k in range(10):
            start = 0.015 + 0.103 * k
            fall = patient.rib_slope * (0.75 + 0.05 * k)
            end = start + fall
            reach = float(np.interp(end, wall_v, wall_u)) + 0.008
            if k == 0:
                reach = 0.62
            points = [(0.10, start), (0.3 * reach, start - 0.015), (0.62 * reach, start + 0.12 * fall)]
            points += [(0.88 * reach, start + 0.52 * fall), (reach, end)]
            line = curve(points) * np.array([side, 1.0])
            posterior.append(Line(line, 0.082))
            shaft.append(Line(line, 0.052))
            if k < 8:
                drop = 0.10 + 0.022 * k
                tip = 0.50 - 0.012 * k
                points = [(reach, end), (0.93 * reach, end + 0.35 * drop), (0.75 * reach, end + 0.8 * drop)]
                points += [(tip * reach + 0.04, end + 1.05 * drop)]
                line = curve(points) * np.array([side, 1.0])
                anterior.append(Line(line, 0.092))
                front.append(Line(line, 0.062))
    back = canvas.stroke(*posterior) - 0.45 * canvas.stroke(*shaft)
    ahead = canvas.stroke(*anterior) - 0.45 * canvas.stroke(*front)
    lateral = np.clip((np.abs(canvas.u_HW) - 0.35) / 0.4, 0, 1)
    above = sigmoid((1.0 - canvas.v_HW) / 0.06)
    wall = np.clip((np.abs(canvas.u_HW) - 0.75) / 0.25, 0, 1)
    ribs = back * (0.105 + 0.03 * wall) * (0.3 + 0.7 * above) + ahead * 0.055 * lateral * above
    return np.asarray(ribs * patient.rib_density, dtype=np.float32)


def _shoulder_girdle(patient: Patient, canvas: Canvas, supine: bool) -> Map:
    """Draws clavicles, scapulae and humeri. In a supine patient the scapulae cover the upper lateral lungs."""
    clavicles, cores, arms, blades, spines = [], [], [], [], []
    inward = 0.12 if supine else 0.0
    for side in (RIGHT, LEFT):
        mirror = np.array([side, 1.0])
        lift = -0.05 if supine else 0.0
        clavicle = curve([(0.11, 0.15), (0.3, 0.115 + lift), (0.6, 0.045 + lift), (0.9, 0.0 + lift), (1.16, -0.02)])
        clavicles.append(Line(clavicle * mirror, 0.095))
        cores.append(Line(clavicle * mirror, 0.06))
        humerus = curve([(1.27, 0.1), (1.36, 0.4), (1.43, 0.8), (1.48, 1.6)])
        arms.append(Line(humerus * mirror, 0.13))
        blade = [(1.12, 0.02), (0.98 - inward, 0.06), (0.93 - inward, 0.3), (0.98 - inward, 0.58), (1.08, 0.36)]
        blades.append(closed_curve([*blade, (1.18, 0.16)]) * mirror)
        spines.append(Line(curve([(0.95 - inward, 0.17), (1.05, 0.08), (1.2, 0.0)]) * mirror, 0.05))
    bones = 0.12 * canvas.stroke(*clavicles) - 0.04 * canvas.stroke(*cores) + 0.1 * canvas.stroke(*arms)
    bones += 0.055 * canvas.fill(*blades) + 0.06 * canvas.stroke(*spines)
    for side in (RIGHT, LEFT):
        head = canvas.disc(1.25 * side, 0.07, 0.15, 0.15 * canvas.unit_u / canvas.unit_v)
        bones += 0.13 * sigmoid(30 * (1 - head))
    return np.asarray(bones * (0.5 + 0.5 * patient.rib_density), dtype=np.float32)


def _vessels(patient: Patient, canvas: Canvas) -> Map:
    """Draws pulmonary vessels: from each hilum outwards, branching, thinner with each generation."""
    rng = np.random.default_rng(patient.vessels)
    lines: list[Line] = []
    tree = np.zeros((canvas.height, canvas.width), np.float32)
    for side in (RIGHT, LEFT):
        hilum_v = 0.47 if side == LEFT else 0.5
        lines += _tree(rng, np.array([0.21, hilum_v]), side)
        tree += 0.12 * np.exp(-(canvas.disc(0.26 * side, hilum_v, 0.11, 0.12) ** 2))
    lines.sort(key=lambda line: line.width)
    return np.asarray(tree + 0.13 * canvas.stroke(*lines), dtype=np.float32)


def _tree(rng: np.random.Generator, hilum: Points, side: int) -> list[Line]:
    """Draws the vessels of one lung. Angle 0 points away from the midline, a positive one downwards."""
    angles = np.linspace(-1.5, 1.4, 10) + rng.normal(0, 0.16, 10)
    starts = hilum + rng.normal(0, 0.05, (10, 2))
    widths = np.where(angles > 0, 0.034, 0.026)  # in a standing patient the lower zones are better perfused
    lines: list[Line] = []
    for generation in range(5):
        count = len(angles)
        lengths = rng.uniform(0.12, 0.24, count) * (1.15 - 0.1 * generation)
        bends = angles[:, None] + np.cumsum(rng.normal(0, 0.22, (count, 4)), axis=1)
        steps = np.stack([np.cos(bends), 0.8 * np.sin(bends)], axis=2) * lengths[:, None, None] / 4
        points = starts[:, None] + np.concatenate([np.zeros((count, 1, 2)), np.cumsum(steps, axis=1)], axis=1)
        strengths = np.clip(widths / 0.032, 0.14, 1.0)
        lines += [Line(p * (side, 1.0), float(w), float(k)) for p, w, k in zip(points, widths, strengths, strict=True)]
        turns = rng.uniform(0.15, 0.5, (2, count)) * np.array([[1.0], [-1.0]])
        angles = (bends[:, -1] + turns).ravel()
        starts = np.tile(points[:, -1], (2, 1))
        widths = np.tile(widths * 0.68, 2)
    return lines
