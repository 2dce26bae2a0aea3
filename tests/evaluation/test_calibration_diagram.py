import pandas as pd

from comit_ray.evaluation import calibration
from comit_ray.evaluation.calibration import reliability_diagram
from tests.evaluation.support import opened, scored_images
from tests.evaluation.test_calibration import sample


def bins(images: pd.DataFrame):
    return {label: calibration.reliability(images, label, "test", 20) for label in ("covid", "unhealthy")}


def test_a_panel_a_score_that_has_bins(tmp_path) -> None:
    images = sample(400)
    images["unhealthy"], images["p_unhealthy"] = 1 - images["covid"], 1 - images["p_covid"]
    picture = reliability_diagram(images, bins(images), str(tmp_path))
    assert picture.files == ("figures/reliability.png", "figures/reliability.svg")
    both = opened(tmp_path, picture)
    assert "COVID-19: 400 images in 10 bins." in picture.caption
    assert "unhealthy: 400 images in 10 bins." in picture.caption
    svg = (tmp_path / picture.files[1]).read_text()
    for text in ("COVID-19", "unhealthy", "mean score of the bin", "not for diagnosis"):
        assert text in svg
    one = reliability_diagram(sample(400), bins(sample(400)), str(tmp_path))
    assert opened(tmp_path, one).width == both.width // 2
    assert "unhealthy" not in one.caption


def test_where_there_are_no_bins_there_is_no_picture(tmp_path) -> None:
    images = scored_images(5, covid=1.0, p_covid=0.5)
    picture = reliability_diagram(images, bins(images), str(tmp_path))
    assert (picture.files, picture.reason) == ((), "no score has enough labelled images of both classes")
    assert not list(tmp_path.iterdir())
