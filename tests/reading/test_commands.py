"""The jobs' command lines."""

import json

import pytest

from comit_ray import cli
from comit_ray.config.reading_config import CalibrateConfig, ReviewConfig
from jobs import calibrate as calibrate_job
from jobs import review as review_job
from tests.reading.screens import write_screen


def test_a_link_is_made_from_the_command_line(tmp_path, capsys):
    words = ["--results", str(tmp_path), "--invite", "anna", "--port", "0", "--proxies", '["10.0.0.1"]']
    config = cli.parse(ReviewConfig, "", words)
    assert config.proxies == ("10.0.0.1",)
    assert review_job.job(config) == 0
    assert "/enter#" in capsys.readouterr().out


def test_a_threshold_is_made_from_the_command_line(tmp_path, capsys):
    results, _ = write_screen(tmp_path, images=6)
    tests = tmp_path / "tests.csv"
    tests.write_text("image_id,result\na/000.dcm,1\na/001.png,0\na/003.png,1\na/004.dcm,0\n")
    words = [
        "--results",
        results,
        "--output",
        str(tmp_path / "site"),
        "--tests",
        str(tests),
        "--minimum_positives",
        "1",
    ]
    assert calibrate_job.job(cli.parse(CalibrateConfig, "", [*words, "--draws", "20"])) == 0
    assert "for a sensitivity of 0.95: p_covid >= 0.9" in capsys.readouterr().out
    point = json.loads((tmp_path / "site" / "operating_points.json").read_text())["site"]["covid"]
    assert (point["model_id"], point["calibration"], point["sensitivity"]) == ("m", "none", 1.0)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--results", "r", "--host", "0.0.0.0"], "give --certificate and --key"),
        (["--results", "r", "--double", "2"], "double"),
        (["--results", "r", "--color", "dark"], "unknown option --color"),
    ],
)
def test_wrong_options_are_one_line(words, message, capsys):
    with pytest.raises(SystemExit):
        cli.parse(ReviewConfig, "", words)
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
