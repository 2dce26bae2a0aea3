"""The import rule of docs/design.md, read from the source with `ast`, function bodies too."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import write_checkpoint

REPOSITORY = Path(__file__).resolve().parent.parent
PACKAGE = REPOSITORY / "comit_ray"

# Lower layers know nothing of higher ones. A module belongs to the first prefix that fits.
LAYERS: list[list[str]] = [
    ["comit_ray.errors"],
    ["comit_ray.schema"],
    [
        "comit_ray.statistics.roc",
        "comit_ray.config.config_base",
        "comit_ray.config.data_config",
        "comit_ray.config",
        "comit_ray.config.train_config",
        "comit_ray.config.screen_config",
        "comit_ray.config.sweep_config",
        "comit_ray.config.screen_config",
        "comit_ray.storage.s3",
        "comit_ray.storage.storage",
        "comit_ray.storage.storage",
        "comit_ray.tables.parquet",
        "comit_ray.checkpoint.operating_points",
        "comit_ray.checkpoint.temperature",
        "comit_ray.checkpoint.reference",
        "comit_ray.dicom.web",
    ],
    ["comit_ray.data"],
    ["comit_ray.work"],
    ["comit_ray.models"],
    ["comit_ray.training", "comit_ray.screening", "comit_ray.preparing", "comit_ray.evaluation"],
    ["comit_ray.dicom"],
    ["comit_ray.sweep"],
    ["comit_ray.cli"],
    ["jobs"],
]
WIRING = {
    "comit_ray.chunks.graph",
    "comit_ray.chunks.nodes",
    "comit_ray.chunks.monitor",
    "comit_ray.chunks.monitor",
    "comit_ray.training.run_training",
    "comit_ray.training.worker",
    "comit_ray.screening.screen_pipeline",
    "comit_ray.screening.run_screen",
    "comit_ray.sweep.trial",
    "comit_ray.sweep.tuner",
    "comit_ray.prepare.prepare_pipeline",
    "comit_ray.prepare.fingerprints",
    "comit_ray.dicom.run",
}
MAY_IMPORT_RAY = WIRING
NO_TORCH = (
    "comit_ray.data.images.load",
    "comit_ray.data.images.dicom_radiograph",
    "comit_ray.data.images.raster",
    "comit_ray.data.images.frame",
    "comit_ray.data.images.load",
    "comit_ray.prepare.frames",
    "comit_ray.prepare.prepared",
    "comit_ray.screening.fetch",
    "comit_ray.screening.mask_tables",
    "comit_ray.screening.screen_tables",
    "comit_ray.chunks.reading",
    "comit_ray.prepare.prepare_pipeline",
    "comit_ray.models.embedding_classifiers",
    "comit_ray.screening.embedding_screen",
)


def modules() -> dict[str, Path]:
    files = [*PACKAGE.rglob("*.py"), *(REPOSITORY / "jobs").rglob("*.py")]
    return {".".join(f.relative_to(REPOSITORY).with_suffix("").parts).removesuffix(".__init__"): f for f in files}


def imports(path: Path) -> set[str]:
    """Names imported anywhere in the file; `from a import b` counts as `a.b`, so that modules are seen."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
    return found


def layer(module: str) -> int:
    for depth, prefixes in enumerate(LAYERS):
        if any(module == prefix or module.startswith(f"{prefix}.") for prefix in prefixes):
            return depth
    raise AssertionError(f"{module} belongs to no layer: add it to docs/design.md and to LAYERS")


def ours(names: set[str]) -> set[str]:
    return {name for name in names if name.split(".")[0] in ("comit_ray", "jobs")}


@pytest.mark.parametrize("module", sorted(m for m in modules() if m != "comit_ray"))
def test_imports_point_downwards(module: str) -> None:
    for name in ours(imports(modules()[module])):
        assert layer(name) <= layer(module), f"{module} imports {name}, which lies above it"


def test_only_jobs_import_the_wiring() -> None:
    for module, path in modules().items():
        wired = {w for name in imports(path) for w in WIRING if name == w or name.startswith(f"{w}.")}
        assert not wired or module.startswith("jobs.") or module in WIRING, f"{module} imports {wired}"


def test_ray_is_imported_in_the_wiring_and_the_jobs_alone() -> None:
    for module, path in modules().items():
        if any(name.split(".")[0] == "ray" for name in imports(path)):
            assert module in MAY_IMPORT_RAY or module.startswith("jobs."), f"{module} imports ray"


def test_decoding_never_imports_torch() -> None:
    """Transitively: a fetch+decode worker that pulls torch in costs seconds and gigabytes."""
    known = modules()
    todo, seen = list(NO_TORCH), set[str]()
    while todo:
        module = todo.pop()
        if module in seen or module not in known:
            continue
        seen.add(module)
        names = imports(known[module])
        assert not any(name.split(".")[0] in ("torch", "torchvision", "ray") for name in names), module
        todo += [*ours(names), *(name.rpartition(".")[0] for name in ours(names))]


def test_predicting_with_comit_net_imports_neither_torchvision_nor_scikit_learn(tmp_path: Path) -> None:
    """At run time, for they are imported where they are used: each costs every predictor a second and memory."""
    uri = write_checkpoint(tmp_path / "checkpoint")
    script = (
        "import sys\n"
        "from comit_ray.screening.predictor import Predictor\n"
        "from comit_ray.training import checkpoint\n"
        f"checkpoint.load({uri!r})\n"
        "print(sorted({'torchvision', 'sklearn', 'torch._dynamo'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_package_init_files_are_empty() -> None:
    for path in PACKAGE.rglob("__init__.py"):
        assert not path.read_text().strip(), f"{path}: importing a package must import nothing"
