"""A picture as files: the same picture gives the same bytes."""

import io
from typing import TYPE_CHECKING

from PIL import Image

from comit_ray.storage import storage

if TYPE_CHECKING:
    from matplotlib.figure import Figure


DPI = 200


def save(picture: "Figure | Image.Image", uri: str) -> tuple[str, ...]:
    """Write a plot as PNG (200 dots an inch) and SVG, an image of pixels as PNG alone.

    Args:
        picture: what to write.
        uri: where, without a suffix.

    Returns:
        The suffixes that were written: `.png`, and `.svg` of a plot.

    Raises:
        StorageError: it cannot be written.
    """
    if isinstance(picture, Image.Image):
        buffer = io.BytesIO()
        picture.save(buffer, "PNG")
        storage.write_bytes(f"{uri}.png", buffer.getvalue())
        return (".png",)
    from matplotlib import rc_context

    # SVG with its text as text, and with ids that do not change from run to run.
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "comit-ray"}):
        for kind, metadata in (("png", None), ("svg", {"Date": None})):
            buffer = io.BytesIO()
            picture.savefig(buffer, format=kind, dpi=DPI, metadata=metadata)
            storage.write_bytes(f"{uri}.{kind}", buffer.getvalue())
    return ".png", ".svg"
