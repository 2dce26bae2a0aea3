"""Radiographs on disk and in a PACS, and a screen of both in this process, without Ray."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from comit_ray.checkpoint.operating_points import OperatingPoint
from comit_ray.config.export_config import ExportConfig
from comit_ray.config.manifest_config import SplitConfig
from comit_ray.config.source_config import DicomwebOptions, SourceOptions
from comit_ray.data.manifest.manifest_build import finish, read_source
from comit_ray.data.sources.source_files import SourceFiles
from comit_ray.data.sources.source_registry import adapter
from comit_ray.dicom.destination import Pace
from comit_ray.dicom.export import ExportCounts, export_unit
from comit_ray.dicom.run_export import exporting
from comit_ray.dicom.selection import units
from comit_ray.tables import parquet
from tests.dicom.orthanc import Orthanc
from tests.dicom.support import radiograph, read
from tests.screened import screen_here
from tests.support import write_checkpoint

OPTIONS = SourceOptions(dicomweb=DicomwebOptions(modalities=("CR", "DX", "RG")))
FORMS = ("dicom-12bit", "dicom-12bit-monochrome1", "dicom-jpeg2000", "dicom-8bit")
CHUNK = 16


def fill(directory: Path, phantoms: int, real: Iterable[Path] = ()) -> dict[str, str]:
    """Phantoms as CR and DX in several encodings, and real files; SOP instance UID -> file name."""
    directory.mkdir()
    for number in range(phantoms):
        made = radiograph(number, ("CR", "DX")[number % 2], FORMS[number % 4], (96 + number, 128 - number))
        (directory / f"{number}.dcm").write_bytes(made)
    for file in sorted(real):
        (directory / file.name).write_bytes(file.read_bytes())
    return {str(read(file.read_bytes()).SOPInstanceUID): file.name for file in sorted(directory.iterdir())}


class Ward:
    """Radiographs in `root/files` and in a PACS, a model, and screens of both in `root/from files`, `root/from pacs`.

    Attributes:
        uids: SOP instance UID -> file name.
        manifests: `files`, `pacs` -> URI.
    """

    def __init__(self, root: Path, pacs: Orthanc, phantoms: int, real: Iterable[Path] = ()) -> None:
        self.root, self.pacs = root, pacs
        self.uids = fill(root / "files", phantoms, real)
        for file in sorted((root / "files").iterdir()):
            pacs.put(file.read_bytes())
        self.checkpoint = write_checkpoint(root / "checkpoint", threshold=0.3)
        self.manifests = {
            "files": self._manifest("dicom", str(root / "files")),
            "pacs": self._manifest("dicomweb", pacs.root),
        }

    def _manifest(self, source: str, root: str) -> str:
        rows = read_source(adapter(source), SourceFiles(root), "ward", OPTIONS).table
        uri = str(self.root / f"manifest of {source}" / "part-00000.parquet")
        parquet.write_table(uri, finish(rows, SplitConfig(), CHUNK))
        return str(Path(uri).parent)

    def screen(self, name: str) -> str:
        """Screen `files` or `pacs`; URI of the results."""
        point = OperatingPoint("specificity_0.90", {"covid": 0.3, "unhealthy": 0.3})
        return screen_here(self.manifests[name], self.checkpoint, str(self.root / f"from {name}"), point)

    def rows(self, name: str, table: str) -> dict[str, dict[str, Any]]:
        """A table of the screen of `files` or `pacs`, by SOP instance UID."""
        by_file = {file: uid for uid, file in self.uids.items()}
        rows = parquet.read_table(str(self.root / f"from {name}" / table)).to_pylist()
        keyed = [(row["image_id"].rpartition("/")[2], row) for row in rows]
        return {by_file.get(last, last): row for last, row in keyed}

    def export(self, name: str = "pacs", **options: Any) -> ExportCounts:
        """Export the screen of `files` or `pacs`, chunk after chunk; the counts of all."""
        given = {"results": str(self.root / f"from {name}"), "manifest": self.manifests[name], "select": "all"}
        config = ExportConfig(**(given | options))
        reviews: dict[str, list[dict[str, Any]]] = {}
        for row in [] if config.reviews is None else parquet.read_table(config.reviews).to_pylist():
            reviews.setdefault(row["image_id"], []).append(row)
        counts = [export_unit(exporting(config), unit, reviews, Pace(config.rate)) for unit in units(config)]
        return ExportCounts(*(sum(getattr(one, field) for one in counts) for field in ("done", "stored", "refused")))

    def exports(self, name: str = "pacs") -> list[dict[str, Any]]:
        """Rows of the table."""
        rows: list[dict[str, Any]] = parquet.read_table(str(self.root / f"from {name}" / "exports")).to_pylist()
        return rows

    def forget(self, uid: str) -> None:
        """Let the PACS lose an instance."""
        found = self.pacs.get("/instances?expand")
        self.pacs.delete(next(f"/instances/{one['ID']}" for one in found if uid in json.dumps(one)))
