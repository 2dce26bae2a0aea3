"""Makes the unusable files of a synthetic archive: broken, foreign, hostile, absent.

Each has the reason that decoding must give for it, so that nothing is lost and nothing is guessed.
"""

import io
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image
from pydicom.encaps import encapsulate
from pydicom.uid import MPEG4HP41, CTImageStorage

from comit_ray.data.phantom.phantom_canvas import Canvas, Line, curve, sigmoid, soften
from comit_ray.data.phantom.phantom_drawing import PhantomKind, draw
from comit_ray.data.phantom.phantom_files import Header, Pixels, dicom, encode, save_dicom, save_image
from comit_ray.errors import Reason

BOMB_SIDE = 60_000  # pixels: the side that a PNG of some 100 bytes claims


@dataclass(frozen=True)
class Troublemaker:
    """One unusable file.

    Attributes:
        name: short name of the fault.
        suffix: suffix of its file name, with the dot.
        reason: reason that decoding must give.
        make: function that returns its bytes from a seed and a header; None for a file that is listed but absent.
    """

    name: str
    suffix: str
    reason: Reason
    make: Callable[[int, Header], bytes] | None


def _truncated_dicom(seed: int, header: Header) -> bytes:
    whole = encode(draw(seed, PhantomKind.HEALTHY).pixels_HW, "dicom-8bit", header)
    return whole[: len(whole) * 6 // 10]


def _truncated_png(seed: int, header: Header) -> bytes:
    whole = encode(draw(seed, PhantomKind.HEALTHY).pixels_HW, "png", header)
    return whole[: len(whole) // 2]


def _empty(seed: int, header: Header) -> bytes:
    return b""


def _text(seed: int, header: Header) -> bytes:
    return b"Images of this study were moved to the new archive.\r\nAsk the department.\r\n" * 4


def _lateral(seed: int, header: Header) -> bytes:
    """Draws a side view: spine behind (image left), heart in front, the lungs over each other."""
    canvas = Canvas(420, 360, centre=180, apex=60, unit_u=130, unit_v=270)
    v, u = canvas.v_HW, canvas.u_HW
    trunk = sigmoid((1.05 - np.abs(u - 0.03)) / 0.04) * sigmoid((v + 0.12) / 0.05)
    lung = sigmoid(8 * (1 - canvas.disc(0.0, 0.48, 0.82, 0.52))) * sigmoid((0.97 - 0.1 * u - v) / 0.02)
    heart = sigmoid(9 * (1 - canvas.disc(0.38, 0.66, 0.38, 0.26)))
    spine = curve([(-0.45, -0.2), (-0.66, 0.2), (-0.72, 0.55), (-0.6, 1.0), (-0.5, 1.5)])
    vertebrae = canvas.stroke(Line(spine, 0.26)) * (0.7 + 0.3 * np.cos(v * 70))
    ribs = [Line(curve([(-0.7, 0.1 * k), (0.0, 0.1 * k + 0.12), (0.72, 0.1 * k + 0.3)]), 0.05) for k in range(7)]
    density = 0.72 * trunk - 0.42 * lung * (1 - 0.8 * heart) + 0.16 * vertebrae + 0.07 * canvas.stroke(*ribs) * lung
    grain = soften(np.random.default_rng(seed).standard_normal(u.shape), 0.6)
    pixels = np.clip(255 * (soften(density, 1.2) + 0.02 * grain), 0, 255).astype(np.uint8)
    return encode(pixels, "dicom-12bit", replace(header, view="LL"))


def _hand(seed: int, header: Header) -> bytes:
    canvas = Canvas(400, 320, centre=160, apex=60, unit_u=130, unit_v=280)
    tips = [(-0.95, 0.42), (-0.5, 0.06), (-0.1, 0.0), (0.28, 0.06), (0.62, 0.24)]
    fingers = [curve([(0.0, 1.2), (0.3 * u, 0.85), (0.75 * u, 0.55 + 0.3 * v), (u, v)]) for u, v in tips]
    flesh = canvas.stroke(
        *(Line(finger, 0.27) for finger in fingers), Line(curve([(0, 0.7), (0, 0.9), (0, 1.3)]), 0.75)
    )
    joints = 0.75 + 0.25 * np.cos(22 * canvas.disc(0.0, 1.0, 1.0, 1.0))
    bones = canvas.stroke(*(Line(finger, 0.12) for finger in fingers)) * joints
    grain = soften(np.random.default_rng(seed).standard_normal(flesh.shape), 0.6)
    density = soften(0.32 * flesh + 0.45 * bones, 1.0) + 0.015 * grain + 0.03
    pixels = np.clip(255 * density, 0, 255).astype(np.uint8)
    return encode(pixels, "dicom-8bit", replace(header, body_part="HAND", view="PA"))


def _ct(seed: int, header: Header) -> bytes:
    canvas = Canvas(256, 256, centre=128, apex=128, unit_u=110, unit_v=110)
    body = canvas.disc(0, 0, 1.0, 0.72) < 1
    lungs = (canvas.disc(-0.45, -0.05, 0.32, 0.48) < 1) | (canvas.disc(0.45, -0.05, 0.32, 0.48) < 1)
    grey = np.where(lungs, 40, np.where(canvas.disc(0, 0.45, 0.14, 0.14) < 1, 230, 130)) * body
    grain = np.random.default_rng(seed).normal(0, 5, grey.shape)
    dataset = dicom(np.clip(grey + grain * body, 0, 255).astype(np.uint8), "dicom-12bit", replace(header, view=""))
    dataset.Modality = "CT"
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = CTImageStorage
    dataset.RescaleIntercept, dataset.RescaleSlope = -1024, 1
    del dataset.WindowCenter, dataset.WindowWidth
    return save_dicom(dataset)


def _multi_frame(seed: int, header: Header) -> bytes:
    pixels = draw(seed, PhantomKind.HEALTHY, size=(256, 256)).pixels_HW
    dataset = dicom(pixels, "dicom-8bit", header)
    dataset.NumberOfFrames = 3
    dataset.PixelData = pixels.tobytes() * 3
    return save_dicom(dataset)


def _unsupported(seed: int, header: Header) -> bytes:
    """Writes a radiograph declared as an MPEG-4 film: a transfer syntax for which no image decoder exists."""
    dataset = dicom(draw(seed, PhantomKind.HEALTHY, size=(256, 256)).pixels_HW, "dicom-8bit", header)
    dataset.file_meta.TransferSyntaxUID = MPEG4HP41
    dataset.PixelData = encapsulate([np.random.default_rng(seed).bytes(4096)])
    dataset["PixelData"].VR = "OB"
    return save_dicom(dataset)


def _photograph(seed: int, header: Header) -> bytes:
    """Draws a landscape in colour."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[0:360, 0:480] / 360
    ridge = 0.55 + 0.08 * np.sin(5 * columns + 1) + 0.03 * np.sin(17 * columns)
    sky = np.stack([110 + 90 * rows, 160 + 60 * rows, 235 - 20 * rows], axis=2)
    grass = np.stack([70 + 40 * rows, 130 - 30 * rows, 40 + 10 * rows], axis=2)
    picture = np.where((rows > ridge)[..., None], grass, sky)
    picture[np.hypot(rows - 0.18, columns - 1.0) < 0.07] = (255, 225, 120)
    picture += rng.normal(0, 6, picture.shape)
    return save_image(Image.fromarray(np.clip(picture, 0, 255).astype(np.uint8)), "JPEG")


def _black(seed: int, header: Header) -> bytes:
    black: Pixels = np.zeros((400, 400), np.uint8)
    return encode(black, "png", header)


def _bomb(seed: int, header: Header) -> bytes:
    """Writes a PNG whose header claims 3.6 thousand million pixels."""
    buffer = io.BytesIO(b"")
    buffer.write(b"\x89PNG\r\n\x1a\n")
    size = struct.pack(">IIBBBBB", BOMB_SIDE, BOMB_SIDE, 8, 0, 0, 0, 0)
    for kind, data in ((b"IHDR", size), (b"IDAT", zlib.compress(bytes(BOMB_SIDE + 1))), (b"IEND", b"")):
        buffer.write(struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)))
    return buffer.getvalue()


TROUBLEMAKERS: tuple[Troublemaker, ...] = (
    Troublemaker("truncated-dicom", ".dcm", Reason.TRUNCATED, _truncated_dicom),
    Troublemaker("truncated-png", ".png", Reason.TRUNCATED, _truncated_png),
    Troublemaker("empty", ".png", Reason.EMPTY, _empty),
    Troublemaker("text", ".dcm", Reason.NOT_AN_IMAGE, _text),
    Troublemaker("lateral", ".dcm", Reason.LATERAL, _lateral),
    Troublemaker("hand", ".dcm", Reason.NOT_A_CHEST, _hand),
    Troublemaker("ct-slice", ".dcm", Reason.WRONG_MODALITY, _ct),
    Troublemaker("multi-frame", ".dcm", Reason.MULTI_FRAME, _multi_frame),
    Troublemaker("film-syntax", ".dcm", Reason.UNSUPPORTED_TRANSFER_SYNTAX, _unsupported),
    Troublemaker("photograph", ".jpg", Reason.NOT_GRAYSCALE, _photograph),
    Troublemaker("black", ".png", Reason.BLANK, _black),
    Troublemaker("bomb", ".png", Reason.TOO_LARGE, _bomb),
    Troublemaker("absent", ".png", Reason.MISSING, None),
)
"""One troublemaker of each kind; every archive holds them all."""
