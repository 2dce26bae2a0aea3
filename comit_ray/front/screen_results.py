"""Results of a finished screen in Python: SQL queries by DuckDB, and pictures."""

from typing import TYPE_CHECKING, Any

from comit_ray.chunks import run_record
from comit_ray.config.image_config import DecodeLimits
from comit_ray.data.images.frame import FrameMap
from comit_ray.data.images.load import Place, load_radiograph, wanted
from comit_ray.data.masks.masks import from_png, to_original
from comit_ray.errors import ConfigError, DecodeError
from comit_ray.storage import storage
from comit_ray.storage.file_reader import FileReader

if TYPE_CHECKING:
    import duckdb
    import pyarrow.dataset
    from PIL.Image import Image

from comit_ray.front.screening_model import OVERLAY_PX, Mask

TABLES = ("predictions", "masks", "review_queue", "embeddings", "gradcam", "variants")
PLACE = ("original_top", "original_left", "rows_per_pixel", "columns_per_pixel")
"""Columns of `masks` that say where the original lies in the model's frame."""


class Results:
    """The tables of a screen, as `open_results` returns them.

    Attributes:
        uri: output folder of the screen.
    """

    def __init__(self, uri: str, manifest: str | None) -> None:
        self.uri, self._manifest = uri, manifest

    @property
    def predictions(self) -> "duckdb.DuckDBPyRelation":
        """The `predictions` table as a DuckDB relation: `.df()`, `.pl()`, `.filter(...)`, `.fetchall()`."""
        return self._table("predictions")

    @property
    def queue(self) -> "duckdb.DuckDBPyRelation":
        """The `review_queue` table as a DuckDB relation, the most urgent image first."""
        return self._table("review_queue").order("rank")

    def sql(self, query: str) -> "duckdb.DuckDBPyRelation":
        """A query over the tables of the output, each under its own name, and over `manifest` where it is known.

        Example:
            >>> open_results(RESULTS).sql("SELECT count(*) FROM predictions WHERE status = 'ok'").fetchall()
            [(1,)]
        """
        import duckdb

        connection = duckdb.connect()
        for name in TABLES:
            if is_table(storage.join(self.uri, name)):
                connection.register(name, self._dataset(storage.join(self.uri, name)))
        if self._manifest_uri() is not None:
            connection.register("manifest", self._dataset(str(self._manifest_uri())))
        return connection.sql(query)

    def overlay(self, image_id: str, longest_side: int = OVERLAY_PX) -> "Image":
        """The radiograph of `image_id` with its masks drawn on it; the file is read again.

        Raises:
            ConfigError: no image has this id, the manifest is not known, or the radiograph cannot be read now.
        """
        from comit_ray.evaluation.pictures.contact_sheet import Tile, paint

        where = self._manifest_uri()
        if where is None:
            raise ConfigError(f"{self.uri}: which manifest was screened is not known; open_results(..., manifest=URI)")
        row = _only_row(self._dataset(where), image_id, where)
        place = Place.of(row)
        limits = DecodeLimits()
        try:
            with FileReader(limits.max_bytes, wanted([place])) as reader:
                radiograph = load_radiograph(place, reader, limits)
        except DecodeError as error:
            raise ConfigError(
                f"{image_id}: expected a radiograph to draw on, but it is {error.status}: {error}"
            ) from error
        masks: dict[str, Mask | None] = {}
        if is_table(storage.join(self.uri, "masks")):
            drawn = _only_row(self._dataset(storage.join(self.uri, "masks")), image_id, self.uri, needed=False)
            for name in ("lung", "disease"):
                png = drawn.get(f"{name}_png")
                if png is not None:
                    at = (
                        drawn[column]
                        for column in ("original_top", "original_left", "rows_per_pixel", "columns_per_pixel")
                    )
                    its_map = FrameMap(drawn["fit"], *at)
                    masks[name] = to_original(from_png(png), its_map, radiograph.height, radiograph.width)
        return paint(Tile(radiograph.pixels_HW, masks.get("lung"), masks.get("disease")), longest_side)

    def _table(self, name: str) -> "duckdb.DuckDBPyRelation":
        import duckdb

        return duckdb.from_arrow(self._dataset(storage.join(self.uri, name)))

    def _dataset(self, uri: str) -> "pyarrow.dataset.Dataset":
        import pyarrow.dataset

        files, path = storage.filesystem(uri)
        # No partitioning: a directory named like a column would replace that column.
        return pyarrow.dataset.dataset(path, format="parquet", filesystem=files, partitioning=None)

    def _manifest_uri(self) -> str | None:
        beside = storage.join(self.uri, "manifest")
        if self._manifest is not None:
            return self._manifest
        if is_table(beside):
            return beside
        processes = run_record.read(self.uri).get("processes") or [{}]
        uri = processes[-1].get("settings", {}).get("manifest")
        return None if uri is None or not storage.exists(uri) else str(uri)


def _only_row(dataset: "pyarrow.dataset.Dataset", image_id: str, where: str, needed: bool = True) -> dict[str, Any]:
    import pyarrow.dataset

    rows = dataset.to_table(filter=pyarrow.dataset.field("image_id") == image_id).to_pylist()
    if not rows and needed:
        raise ConfigError(f"{where}: expected a row with image_id {image_id!r}, found none")
    return dict(rows[0]) if rows else {}


def is_table(uri: str) -> bool:
    """Whether there is a Parquet file below `uri`."""
    return next(iter(storage.list_files(uri, ".parquet")), None) is not None if storage.exists(uri) else False
