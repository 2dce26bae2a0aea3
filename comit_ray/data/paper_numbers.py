"""The numbers of the paper's Tables 1 to 3 (section 3.1), and where they disagree with each other and the text."""

from dataclasses import dataclass

from comit_ray.tables.vocabulary import View

HEALTHY: dict[str, dict[View, int]] = {
    "ChestX-ray14": {View.PA: 4_088, View.AP: 2_688},
    "CheXpert": {View.PA: 1_331, View.AP: 2_163},
}
"""Table 1: healthy images of each database by view."""

UNHEALTHY: dict[str, dict[View, int]] = {
    "ChestX-ray14": {View.PA: 3_469, View.AP: 3_115},
    "CheXpert": {View.PA: 3_279, View.AP: 11_305},
}
"""Table 1: unhealthy images of each database by view."""

DATASETS: dict[str, str] = {"nih": "ChestX-ray14", "chexpert": "CheXpert"}
"""Names that a manifest gives the databases of Table 1 unless told otherwise."""


@dataclass(frozen=True)
class CovidSource:
    """A line of Table 2, all of COVID-19 images; `ap` and `pa` are None where the paper has `NA`."""

    name: str
    ap: int | None
    pa: int | None
    images: int


COVID_SOURCES = (
    CovidSource("GitHub", 50, 26, 76),
    CovidSource("Italy (SIRM)", 30, 39, 69),
    CovidSource("Spain", 0, 110, 110),
    CovidSource("RadioPaedia", 9, 85, 94),
    CovidSource("BSTI", 3, 39, 42),
    CovidSource("EuroRad", 6, 18, 24),
    CovidSource("BIMCV-COVID19+", None, None, 2_098),
)
"""Table 2."""
COVID_IMAGES = 2_513
"""Table 2: its total."""

SPLIT_COLUMNS = ("lung mask", "disease mask", "normal", "covid", "others", "PA", "AP")
"""Table 3: images with either mask, of each class, of each view."""
TRAIN: tuple[int, ...] = (8_730, 1_456, 8_173, 1_740, 16_551, 10_161, 16_690)
"""Table 3: training images, those of COVID-19 augmented (`AUGMENTED` for each)."""
TEST: tuple[int, ...] = (1_837, 251, 2_077, 2_223, 4_097, 2_464, 3_968)
"""Table 3: test images."""
TOTAL: tuple[int, ...] = (10_567, 1_707, 10_250, 3_963, 20_648, 12_625, 20_658)
"""Table 3: both."""

AUGMENTED = 6
"""Training images made of one of COVID-19: itself, two rotations, three shifts."""


def disagreements() -> list[str]:
    """Sums that do not come out, each a sentence; every figure is computed from the tables above."""
    healthy, unhealthy = _sum(HEALTHY), _sum(UNHEALTHY)
    ratios = ", ".join(
        f"{sum(UNHEALTHY[name].values()) / sum(HEALTHY[name].values()):.2f} in {name}" for name in HEALTHY
    )
    normal, others, ap = (TOTAL[SPLIT_COLUMNS.index(name)] for name in ("normal", "others", "AP"))
    train_covid, test_covid = (images[SPLIT_COLUMNS.index("covid")] for images in (TRAIN, TEST))
    viewed = sum(source.images for source in COVID_SOURCES if source.ap is not None)
    unseen = COVID_IMAGES - viewed
    other_ap = sum(images[View.AP] for table in (HEALTHY, UNHEALTHY) for images in table.values())
    covid_ap = sum(source.ap or 0 for source in COVID_SOURCES)
    classes, views = slice(2, 5), slice(5, 7)
    return [
        (
            f"Images without COVID-19: {healthy + unhealthy:,} in Table 1 ({healthy:,} healthy and {unhealthy:,} "
            f"unhealthy), {normal + others:,} in Table 3 ({normal:,} normal and {others:,} others)."
        ),
        f"'About 50% more unhealthy' in the text: {unhealthy / healthy:.2f} times the healthy in Table 1 ({ratios}).",
        f"Training images in Table 3: {sum(TRAIN[classes]):,} by class, {sum(TRAIN[views]):,} by view.",
        (
            f"Test images in Table 3: {sum(TEST[classes]):,} by class ({sum(TEST[classes]) - unseen:,} without "
            f"BIMCV-COVID19+, whose views Table 2 does not know), {sum(TEST[views]):,} by view."
        ),
        (
            f"AP images in Table 3: {ap:,}, of which Table 1 has {other_ap:,}; the other {ap - other_ap:,} are more "
            f"than all {covid_ap:,} of COVID-19 in Table 2 would give, augmented ({covid_ap * AUGMENTED:,})."
        ),
        "Images with disease mask: 880 of ChestX-ray14 and 200 of COVID-19 in section 3.2, 700 and 290 in section 4.1.",
        (
            f"In agreement: the {viewed:,} COVID-19 images of Table 2 without BIMCV-COVID19+ are, in Table 3, "
            f"{train_covid // AUGMENTED:,} in training ({train_covid:,} / {AUGMENTED}) and {test_covid - unseen:,} in "
            f"the test set ({test_covid:,} - {unseen:,})."
        ),
    ]


def _sum(table: dict[str, dict[View, int]]) -> int:
    return sum(sum(images.values()) for images in table.values())
