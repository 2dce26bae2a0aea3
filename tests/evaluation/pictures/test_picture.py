import io

import numpy as np
from PIL import Image

from comit_ray.evaluation.pictures.contact_sheet import NOT_FOR_DIAGNOSIS
from comit_ray.evaluation.pictures.picture import as_written, looks, new_figure, save


def plot(title: str = "a plot"):
    figure = new_figure(3, 2)
    axes = figure.add_subplot()
    axes.plot([0, 1], [0, 1])
    axes.set_title(title)
    as_written(figure)
    return figure


def test_a_plot_becomes_png_at_200_dots_an_inch_and_svg(tmp_path):
    assert save(plot(), f"{tmp_path}/below/a") == (".png", ".svg")
    with Image.open(tmp_path / "below" / "a.png") as image:
        assert image.size == (600, 400)
    svg = (tmp_path / "below" / "a.svg").read_text()
    assert ">a plot</text>" in svg, "text stays text"
    assert NOT_FOR_DIAGNOSIS in svg


def test_the_same_plot_gives_the_same_bytes(tmp_path):
    for name in ("a", "b"):
        save(plot(), f"{tmp_path}/{name}")
    for suffix in (".png", ".svg"):
        assert (tmp_path / f"a{suffix}").read_bytes() == (tmp_path / f"b{suffix}").read_bytes()
    assert "<dc:date>" not in (tmp_path / "a.svg").read_text()


def test_an_image_becomes_png_alone(tmp_path):
    pixels = np.arange(300, dtype=np.uint8).reshape(10, 10, 3)
    assert save(Image.fromarray(pixels), f"{tmp_path}/a") == (".png",)
    assert np.array_equal(np.asarray(Image.open(io.BytesIO((tmp_path / "a.png").read_bytes()))), pixels)
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


def test_text_is_shown_as_it_is(tmp_path):
    save(plot("cost in $, not $x^2$"), f"{tmp_path}/a")
    assert "cost in $, not $x^2$" in (tmp_path / "a.svg").read_text()


def test_no_two_variants_look_alike():
    names = [f"variant {number}" for number in range(30)]
    mine = looks(["COMiT-Net", *names, "COMiT-Net"])
    assert len(mine) == 31
    assert len({(look.colour, look.line) for look in mine.values()}) == 31
    assert mine["COMiT-Net"].line == "-"
    assert len({look.line for look in list(mine.values())[:6]}) == 6, "nor by line alone, of a panel's few"
