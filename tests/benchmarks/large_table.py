"""A table of ten million rows as a manifest: `python -m tests.benchmarks.large_table [ROWS] [DIRECTORY]`.

Prints how much memory each step takes, and how much the manifest itself is: held twice it would show.
"""

import sys
import tempfile
from pathlib import Path

from comit_ray.config.manifest_config import SplitConfig
from comit_ray.config.source_config import SourceOptions, TableOptions
from comit_ray.data.manifest import manifest
from comit_ray.data.manifest.manifest_build import finish, read_source
from comit_ray.data.sources.source_files import SourceFiles
from comit_ray.data.sources.source_registry import adapter
from tests.benchmarks.measure import measured

MAPPING = """
tables: [{name: 'archive[.]csv'}]
rows_per_image: one
image: {at: ['images/{file}.png']}
patient: '{patient}'
view: {column: view, values: {PA: PA, AP: AP}}
labels:
  unhealthy: {column: label, values: {normal: 0, ill: 1}}
  covid: 0
  other: {column: label, values: {normal: 0, ill: 1}}
"""


def main(rows: int, folder: Path) -> None:
    """A table of `rows` images of a third as many patients, of which no file is at hand."""
    (folder / "mapping.yaml").write_text(MAPPING)
    (folder / "root").mkdir(exist_ok=True)
    with (folder / "root" / "archive.csv").open("w") as table:
        table.write("file,patient,view,label\n")
        for number in range(rows):
            view, label = ("PA", "AP")[number % 2], ("normal", "ill")[number % 5 == 0]
            table.write(f"{number // 1000:05d}/{number:08d},P{number // 3:07d},{view},{label}\n")
    options = SourceOptions(table=TableOptions(mapping=str(folder / "mapping.yaml")))
    with measured(f"{rows:,} rows read"):
        source = read_source(adapter("table"), SourceFiles(str(folder / "root")), "large", options)
    print(f"the manifest in memory: {source.table.nbytes / 1e6:.0f} MB", flush=True)
    with measured("splits and chunks, validated"):
        made = finish(source.table, SplitConfig(), 512)
    with measured("written"):
        manifest.write(str(folder / "manifest"), made, 2048)


if __name__ == "__main__":
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000_000
    if len(sys.argv) > 2:
        main(count, Path(sys.argv[2]))
    else:
        with tempfile.TemporaryDirectory() as made:
            main(count, Path(made))
