"""A job's whole command line in this process, which saves the seconds in which a new one imports torch and Ray."""

import io
import subprocess
import sys
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from typing import TypeVar

import pytest

from comit_ray import cli
from comit_ray.chunks import stopping
from comit_ray.config.config_base import Config

C = TypeVar("C", bound=Config)

NOT_OURS = (
    "Token authentication", "core_worker", "Deprecat", "Traceback", "Progress bars", "Started a local Ray",
    "WARNING dataset.py", "available CPUs",
)  # fmt: skip
"""What Ray says on a healthy run, and a job must not."""


def called(job: Callable[[C], int], config: type[C], *options: str) -> subprocess.CompletedProcess[str]:
    """What `python jobs/NAME.py OPTIONS` prints and its exit status, on the session's Ray where there is one.

    Args:
        job: the function `job` of a module of jobs/.
        config: the class of its options.
        options: words of the command line.
    """
    script = f"{job.__name__}.py"
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        patch.setattr(sys, "argv", [script, *options])
        with pytest.raises(SystemExit) as end:
            cli.run(job, config, "")
    if stopping.stand_down():  # Ctrl-C is for the tests, not for the job that one of them runs
        raise KeyboardInterrupt
    status = end.value.code
    assert isinstance(status, int)
    return subprocess.CompletedProcess([script, *options], status, out.getvalue(), err.getvalue())
