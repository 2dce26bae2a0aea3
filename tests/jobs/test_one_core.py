"""A screen with its default processes on a Ray of one core, which must not wait for ever."""

import subprocess
import sys
from pathlib import Path

import pytest

from comit_ray.config.manifest_config import ManifestConfig
from comit_ray.tables import parquet
from jobs import manifest as manifest_job
from tests.conftest import REPOSITORY
from tests.support import some_of_nih, write_checkpoint

pytestmark = pytest.mark.slow

SCREEN = """
import sys, ray
from comit_ray import cli
from comit_ray.config.screen_config import ScreenConfig
from jobs import screen
ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False, configure_logging=False)
sys.exit(screen.job(cli.parse(ScreenConfig, "", sys.argv[1:])))
"""


def test_one_core_is_enough(cxr: Path, tmp_path: Path) -> None:
    some = some_of_nih(cxr, tmp_path / "nih", every=125)
    asked = ManifestConfig(source="nih", root=str(some), output=str(tmp_path / "manifest"), present_only=True)
    assert manifest_job.job(asked) == 0
    model = write_checkpoint(tmp_path / "checkpoint")
    options = ["--manifest", asked.output, "--checkpoint", model, "--output", str(tmp_path / "results")]
    done = subprocess.run(
        [sys.executable, "-c", SCREEN, *options], cwd=REPOSITORY, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert (
        "1 predictor of 1 thread, at most 1 reader and 1 writer: chosen for 8 images on 1 node (1 core" in done.stdout
    )
    rows = parquet.read_table(str(tmp_path / "results" / "predictions"))
    assert rows["status"].to_pylist() == ["ok"] * 8
