"""The complete label tables of NIH and CheXpert as manifests: `python -m tests.benchmarks.tables SOURCE ROOT`."""

import sys

from comit_ray.config.manifest_config import SplitConfig
from comit_ray.config.source_config import SourceOptions
from comit_ray.data.manifest.manifest_build import finish, read_source
from comit_ray.data.sources.source_files import SourceFiles
from comit_ray.data.sources.source_registry import adapter
from tests.benchmarks.measure import measured


def main(source: str, root: str) -> None:
    """Rows, then the manifest with its splits and chunks."""
    with measured(f"{source}: rows"):
        table = read_source(adapter(source), SourceFiles(root), source, SourceOptions()).table
    with measured(f"{source}: {len(table):,} rows, splits and chunks"):
        finish(table, SplitConfig(), 512)


if __name__ == "__main__":
    main(*sys.argv[1:])
