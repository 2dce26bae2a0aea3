"""Pictures of scores: what is counted, marked and left out."""

import numpy as np
import pandas as pd

from comit_ray.evaluation.pictures import curve_pictures


def tables(count: int) -> list[pd.DataFrame]:
    """Scores of 40 images of which one failed and one has no label; a table a seed."""
    found = []
    for seed in range(count):
        rng = np.random.default_rng(seed)
        covid = np.repeat([1.0, 0.0], [10, 30])
        p_covid = np.clip(rng.normal(0.3 + 0.3 * covid, 0.2), 0, 1).astype(np.float32)
        table = pd.DataFrame({"p_covid": p_covid, "covid": covid, "status": "ok"})
        table.loc[0, "status"], table.loc[0, "p_covid"] = "failed", np.nan
        table.loc[39, "covid"] = np.nan
        found.append(table)
    return found


def test_the_caption_counts_images_and_the_legend_seeds(tmp_path):
    panels = {"deep": {"ResNet18 + FC": tables(3), "COMiT-Net": tables(2)}}
    picture = curve_pictures.rocs(panels, str(tmp_path))
    assert picture.files == ("figures/figure_09_roc.png", "figures/figure_09_roc.svg")
    assert "9 images with COVID-19 and 29 without" in picture.caption
    svg = (tmp_path / picture.files[1]).read_text()
    for text in ("ResNet18 + FC (3 seeds)", "COMiT-Net (2 seeds)", "not for diagnosis"):
        assert text in svg


def test_precision_and_recall_have_a_picture_of_their_own(tmp_path):
    picture = curve_pictures.precision_recalls({"a": {"COMiT-Net": tables(1)}}, str(tmp_path))
    assert picture.name == "figure_09_precision_recall"
    assert "precision (positive predictive value)" in (tmp_path / picture.files[1]).read_text()


def test_a_variant_without_a_curve_is_named_not_drawn(tmp_path):
    one_class = [table.assign(covid=0.0) for table in tables(1)]
    panels = {"a": {"A": tables(1), "B": one_class}}
    picture = curve_pictures.rocs(panels, str(tmp_path))
    assert picture.caption.endswith("of one class alone: B.")
    assert "Not shown" in picture.caption
    assert "B (" not in (tmp_path / picture.files[1]).read_text()
    nothing = curve_pictures.rocs({"a": {"B": one_class}}, str(tmp_path))
    assert nothing.files == ()
    assert "no variant has scored images" in nothing.reason


def test_the_spread_names_what_has_no_value(tmp_path):
    values: dict[str, list[float | None]] = {"A": [0.5, 0.6, 0.7], "B": [None, None]}
    picture = curve_pictures.seed_spread(values, str(tmp_path))
    assert picture.name == "figure_08_seed_spread"
    assert picture.caption.endswith("Not shown, because they have no value: B.")
    nothing = curve_pictures.seed_spread({"B": [None]}, str(tmp_path))
    assert nothing.files == ()
    assert nothing.reason == "no seed of any variant has a value"


def test_the_same_tables_give_the_same_bytes(tmp_path):
    for name in ("a", "b"):
        curve_pictures.rocs({"p": {"A": tables(2)}}, str(tmp_path / name))
        curve_pictures.seed_spread({"A": [0.5, 0.6]}, str(tmp_path / name))
    files = sorted(path.name for path in (tmp_path / "a" / "figures").iterdir())
    assert len(files) == 4
    for file in files:
        assert (tmp_path / "a" / "figures" / file).read_bytes() == (tmp_path / "b" / "figures" / file).read_bytes()
