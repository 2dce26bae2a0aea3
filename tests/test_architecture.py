"""The floor plan's rules, read from the source with `ast`, bodies of functions too: who may import whom, and sizes."""

import ast
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable
from functools import cache
from pathlib import Path

import pytest

from comit_ray.command.jobs import JOBS
from tests.support import write_checkpoint

REPOSITORY = Path(__file__).resolve().parent.parent
PACKAGE = REPOSITORY / "comit_ray"

# The import rule, a line a package: the packages that it may import, itself aside.
MAY_IMPORT = {
    "errors": "",
    "statistics": "",
    "storage": "errors",
    "tables": "errors storage",
    "config": "errors tables",
    "data": "config errors storage tables",
    "models": "config data errors storage tables",
    "chunks": "config data errors storage tables",
    "checkpoint": "chunks config errors models statistics storage tables",
    "inference": "checkpoint chunks config data errors models storage tables",
    "prepare": "chunks config data errors storage tables",
    "training": "checkpoint chunks config data errors models prepare statistics storage tables",
    "screening": "checkpoint chunks config data errors inference models statistics storage tables",
    "benchmark": "checkpoint chunks config data errors inference screening storage tables",
    "evaluation": "checkpoint chunks config data errors screening statistics storage tables",
    "reading": "checkpoint chunks config data errors evaluation screening statistics storage tables",
    "dicom": "chunks config data errors screening storage tables",
    "sweep": "checkpoint chunks config data errors evaluation inference prepare screening statistics storage tables "
    "training",
    "front": "checkpoint chunks config data errors evaluation inference screening storage tables",
    "optimisation": "checkpoint chunks config errors inference prepare statistics storage tables",
    "command": "benchmark chunks config data dicom errors evaluation optimisation prepare reading screening storage "
    "sweep tables training",
}
# What stands at the top may import every package.
TOP = {"api", "cli", "errors"}

MAY_IMPORT_RAY = {
    "comit_ray.benchmark.run_benchmark",
    "comit_ray.chunks.attempts",
    "comit_ray.chunks.graph",
    "comit_ray.chunks.progress",
    "comit_ray.chunks.nodes",
    "comit_ray.chunks.ray_start",
    "comit_ray.dicom.run_export",
    "comit_ray.prepare.fingerprints",
    "comit_ray.prepare.prepare_pipeline",
    "comit_ray.screening.screen_pipeline",
    "comit_ray.sweep.trial",
    "comit_ray.sweep.tuner",
    "comit_ray.training.run_training",
    "comit_ray.training.worker",
}
NO_TORCH = (
    "comit_ray.chunks.reading",
    "comit_ray.data.images.load",
    "comit_ray.inference.model",
    "comit_ray.inference.openvino_model",
    "comit_ray.inference.optimised",
    "comit_ray.inference.scores",
    "comit_ray.models.embedding_classifiers",
    "comit_ray.prepare.frames",
    "comit_ray.prepare.prepared",
    "comit_ray.screening.fetch",
    "comit_ray.screening.mask_tables",
    "comit_ray.screening.predictor",
)
BACKEND_DOOR = "comit_ray.inference.model"
"""Imports a backend of inference, and with it the backend's library, inside the function that loads its model."""

MOST_LINES, MOST_MODULES, FRAGMENT = 350, 26, 60


@cache
def modules() -> dict[str, Path]:
    files = [*PACKAGE.rglob("*.py"), *(REPOSITORY / "jobs").rglob("*.py")]
    return {".".join(f.relative_to(REPOSITORY).with_suffix("").parts): f for f in files if f.name != "__init__.py"}


@cache
def imports(path: Path) -> set[str]:
    """Names imported anywhere in the file; `from a import b` counts as `a.b`, so that modules are seen."""
    return _names(ast.walk(ast.parse(path.read_text())))


def _names(nodes: Iterable[ast.AST]) -> set[str]:
    names: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"relative import of {node.module}"
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
    return names


def imports_at_the_start(path: Path) -> set[str]:
    """Names that importing the module imports: not those in bodies of functions."""
    tree = ast.parse(path.read_text())
    late = {id(inner) for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) for inner in ast.walk(node)}
    return _names(node for node in ast.walk(tree) if id(node) not in late)


@cache
def imported_modules(module: str) -> set[str]:
    """Modules of ours that a module imports."""
    known = modules()
    names = imports_at_the_start(known[module]) if module == BACKEND_DOOR else imports(known[module])
    return {m for name in names for m in (name, name.rpartition(".")[0]) if m in known} - {module}


def package(module: str) -> str:
    return module.split(".")[1]


def test_each_package_imports_only_what_its_line_says() -> None:
    offenders = [
        f"{module} imports {other}"
        for module in modules()
        if module.startswith("comit_ray.") and package(module) not in TOP
        for other in imported_modules(module)
        if package(other) != package(module) and package(other) not in MAY_IMPORT[package(module)].split()
    ]
    assert offenders == []


def test_the_rule_has_no_cycle_and_every_package_a_line() -> None:
    found = {package(module) for module in modules() if module.startswith("comit_ray.")}
    assert found - TOP - set(MAY_IMPORT) == set()
    order: list[str] = []
    while len(order) < len(MAY_IMPORT):
        free = [name for name in MAY_IMPORT if name not in order and set(MAY_IMPORT[name].split()) <= set(order)]
        assert free, f"a cycle among {set(MAY_IMPORT) - set(order)}"
        order += free


def test_no_modules_import_each_other_in_a_circle() -> None:
    state: dict[str, int] = {}

    def visit(module: str, path: tuple[str, ...]) -> None:
        assert state.get(module) != 1, f"a cycle: {' -> '.join([*path, module])}"
        if module in state:
            return
        state[module] = 1
        for other in sorted(imported_modules(module)):
            visit(other, (*path, module))
        state[module] = 2

    for module in modules():
        visit(module, ())


def test_at_the_top_stand_only_the_doors() -> None:
    assert {path.stem for path in PACKAGE.glob("*.py")} <= TOP | {"__init__"}


def test_no_module_is_longer_than_one_idea() -> None:
    lengths = {module: len(path.read_text().splitlines()) for module, path in modules().items()}
    assert {module: length for module, length in lengths.items() if length > MOST_LINES} == {}


def test_no_folder_hides_its_plan() -> None:
    flat = Counter(path.parent for path in modules().values())
    assert {str(folder): count for folder, count in flat.items() if count > MOST_MODULES} == {}


def test_a_fragment_that_one_module_needs_lives_in_that_module() -> None:
    users: dict[str, set[str]] = defaultdict(set)
    for module in modules():
        for other in imported_modules(module):
            users[other].add(module)
    fragments = {
        module: next(iter(users[module]))
        for module, path in modules().items()
        if len(path.read_text().splitlines()) < FRAGMENT and len(users[module]) == 1
        # The boundary between the command line and a job's work, which a notebook may call.
        if users[module] != {"comit_ray.command.jobs"}
    }
    assert fragments == {}


def test_the_name_of_a_file_or_class_stands_once() -> None:
    files = Counter(path.name for module, path in modules().items() if module.startswith("comit_ray."))
    assert {name for name, count in files.items() if count > 1} == set()
    classes: dict[str, list[str]] = defaultdict(list)
    for module, path in modules().items():
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                classes[node.name].append(module)
    assert {name: where for name, where in classes.items() if len(where) > 1} == {}


def test_ray_is_imported_in_few_modules_and_the_jobs_alone() -> None:
    importers = {m for m, path in modules().items() if any(name.split(".")[0] == "ray" for name in imports(path))}
    assert {m for m in importers if m not in MAY_IMPORT_RAY and not m.startswith("jobs.")} == set()


def test_decoding_and_making_rows_never_import_torch() -> None:
    """Transitively: a task that pulls torch in costs seconds and gigabytes."""
    todo, seen = list(NO_TORCH), set[str]()
    while todo:
        module = todo.pop()
        if module in seen:
            continue
        seen.add(module)
        path = modules()[module]
        names = imports_at_the_start(path) if module == BACKEND_DOOR else imports(path)
        assert not any(name.split(".")[0] in ("torch", "torchvision", "ray") for name in names), module
        todo += [m for name in names for m in (name, name.rpartition(".")[0]) if m in modules()]


def test_the_processes_of_a_screen_start_without_what_they_may_never_need() -> None:
    """Transitively, at the start of a module: each costs every driver and predictor half a second of CPU or more."""
    todo, seen = ["comit_ray.screening.run_screen", "comit_ray.inference.torch_model"], set[str]()
    while todo:
        module = todo.pop()
        if module in seen:
            continue
        seen.add(module)
        names = imports_at_the_start(modules()[module])
        late = ("scipy.optimize", "scipy.stats", "scipy.spatial", "sklearn", "torchvision", "captum")
        assert not [name for name in names if name.startswith(late)], module
        todo += [m for name in names for m in (name, name.rpartition(".")[0]) if m in modules()]
    assert {"comit_ray.screening.drift_signals", "comit_ray.checkpoint.temperature"} <= seen


def test_a_backend_is_imported_by_its_door_alone_and_late() -> None:
    backends = {name for name in modules() if name.startswith("comit_ray.inference.") and name.endswith("_model")}
    assert backends, "there is none"
    known = {module: path for module, path in modules().items() if module not in backends}
    importers = {m for m, path in known.items() if backends & {n.rpartition(".")[0] for n in imports(path)}}
    assert importers == {BACKEND_DOOR}
    assert not backends & {name.rpartition(".")[0] for name in imports_at_the_start(known[BACKEND_DOOR])}


@pytest.fixture(scope="module")
def imported(tmp_path_factory: pytest.TempPathFactory) -> list[list[str]]:
    """What a process has imported that makes rows of scores, and then loads a model."""
    uri = write_checkpoint(tmp_path_factory.mktemp("model") / "checkpoint")
    script = (
        "import sys\n"
        "import comit_ray.screening.predictor, comit_ray.benchmark.stages, comit_ray.inference.model\n"
        "print(*sorted(sys.modules))\n"
        f"comit_ray.inference.model.load_model({uri!r})\n"
        "print(*sorted(sys.modules))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    return [line.split(" ") for line in done.stdout.splitlines()]


def test_rows_are_made_without_torch(imported: list[list[str]]) -> None:
    """At run time: what makes rows of scores and the door to the backends, before a model is loaded."""
    rows, _ = imported
    assert "comit_ray.benchmark.stages" in rows
    assert sorted({"torch", "torchvision", "ray", "captum"} & set(rows)) == []


def test_predicting_with_comit_net_imports_neither_torchvision_nor_scikit_learn(imported: list[list[str]]) -> None:
    """At run time, for they are imported where they are used: each costs every predictor a second and memory."""
    _, predicting = imported
    assert "torch" in predicting
    assert sorted({"torchvision", "sklearn", "torch._dynamo"} & set(predicting)) == []


HEAVY = {"ray", "torch", "pandas", "sklearn", "scipy", "pyarrow", "numpy", "boto3", "pydicom", "PIL", "matplotlib"}


def test_help_and_wrong_options_import_nothing_heavy() -> None:
    """Of every job in turn: what a newcomer tries first is answered at once."""
    script = (
        "import contextlib, io, sys\n"
        "from comit_ray import cli\n"
        "from comit_ray.command.jobs import JOBS\n"
        "asked = [[name, *words] for name in JOBS for words in (['--help'], ['--wrong', '1'])]\n"
        "asked += [['--help'], ['scren']]\n"
        "for argv in asked:\n"
        "    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):\n"
        "        with contextlib.suppress(SystemExit):\n"
        "            cli.main(argv)\n"
        f"    found = sorted({HEAVY!r} & set(sys.modules))\n"
        "    assert not found, (argv, found)\n"
    )
    subprocess.run([sys.executable, "-c", script], cwd=REPOSITORY, check=True)


def test_every_job_has_a_short_door_that_says_what_comit_ray_says() -> None:
    doors = {path.stem: path.read_text() for path in (REPOSITORY / "jobs").glob("*.py")}
    assert set(doors) == set(JOBS)
    assert {name: len(text.splitlines()) for name, text in doors.items() if len(text.splitlines()) > 25} == {}
    lines = {name: ast.get_docstring(ast.parse(text)) for name, text in doors.items()}
    assert lines == {name: job.line for name, job in JOBS.items()}


def test_package_init_files_are_empty_but_for_the_front_door() -> None:
    for path in PACKAGE.rglob("__init__.py"):
        if path.parent != PACKAGE:
            assert not path.read_text().strip(), f"{path}: importing a package must import nothing"
