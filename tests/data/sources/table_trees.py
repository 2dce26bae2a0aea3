"""Small trees of tables and images, read by a mapping."""

from collections.abc import Mapping
from pathlib import Path

from comit_ray.config.source_config import SourceOptions, TableOptions
from comit_ray.data.sources.manifest_row import ManifestRow
from comit_ray.data.sources.source_files import SourceFiles
from comit_ray.data.sources.table.table import rows


def write(root: Path, files: Mapping[str, str | bytes]) -> str:
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content.encode() if isinstance(content, str) else content)
    return str(root)


def options(mapping: str) -> SourceOptions:
    return SourceOptions(table=TableOptions(mapping=mapping))


def read(root: Path, files: Mapping[str, str | bytes], mapping: str) -> list[ManifestRow]:
    """The rows of a tree, by a shipped mapping or the text of one."""
    write(root / "tree", files)
    if "\n" in mapping:
        write(root, {"my.yaml": mapping})
        mapping = str(root / "my.yaml")
    return list(rows(SourceFiles(str(root / "tree")), "mine", options(mapping)))


def labels(row: ManifestRow) -> tuple[int | None, int | None, int | None]:
    return row.unhealthy, row.covid, row.other
