"""Whole label tables of public datasets: their sources, the paper's protocol and tables, and the splits.

A table takes seconds, so it is read once for all.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from comit_ray.config.manifest_config import SplitConfig
from comit_ray.config.source_config import ChexpertOptions, SourceOptions
from comit_ray.data.manifest.manifest_build import finish, read_source
from comit_ray.data.manifest.paper_tables import SPLIT_COLUMNS, compare
from comit_ray.data.manifest.protocol import select_paper
from comit_ray.data.manifest.split import assign
from comit_ray.data.sources import chexpert
from comit_ray.data.sources.chexpert import NO_FINDING, PATHOLOGIES, SUPPORT_DEVICES
from comit_ray.data.sources.manifest_row import ManifestRow
from comit_ray.data.sources.source_files import SourceFiles
from comit_ray.data.sources.source_registry import adapter
from comit_ray.errors import Reason
from comit_ray.tables.vocabulary import Split, View
from tests.data.manifest.test_paper_tables import line, parsed
from tests.data.manifest.test_protocol import counted, excluded, with_pneumonia


@dataclass
class Whole:
    """All images of a source: as its adapter says them, and as rows of a manifest."""

    rows: list[ManifestRow]
    table: pa.Table


def read_once(cxr: Path, source: str, folder: str) -> Whole:
    rows: list[ManifestRow] = []

    def kept(files: SourceFiles, dataset: str, options: SourceOptions) -> Iterator[ManifestRow]:
        for row in adapter(source)(files, dataset, options):
            rows.append(row)
            yield row

    return Whole(rows, read_source(kept, SourceFiles(str(cxr / folder)), source, SourceOptions()).table)


@pytest.fixture(scope="module")
def whole_nih(cxr: Path) -> Whole:
    """The 112,120 images of NIH ChestX-ray14, of which 1,000 are at hand."""
    return read_once(cxr, "nih", "nih_chestxray14")


@pytest.fixture(scope="module")
def whole_chexpert(cxr: Path) -> Whole:
    """CheXpert's 223,414 training images."""
    return read_once(cxr, "chexpert", "chexpert")


def test_nih_has_the_totals_of_the_dataset(whole_nih: Whole) -> None:
    """Wang et al. 2017 and the paper's table 1."""
    assert len(whole_nih.rows) == 112_120
    assert Counter(row.view for row in whole_nih.rows) == {View.PA: 67_310, View.AP: 44_810}
    assert len({row.patient_id for row in whole_nih.rows}) == 30_805
    healthy = [row for row in whole_nih.rows if row.unhealthy == 0]
    assert Counter(row.view for row in healthy) == {View.PA: 39_302, View.AP: 21_059}
    assert all(row.findings == ("No Finding",) and (row.covid, row.other) == (0, 0) for row in healthy)
    ill = [row for row in whole_nih.rows if row.unhealthy == 1]
    assert len(healthy) + len(ill) == 112_120
    assert all((row.covid, row.other) == (0, 1) for row in ill)
    assert sum("Pneumonia" in row.findings for row in whole_nih.rows) == 1_431
    boxed = [row for row in whole_nih.rows if row.disease_mask]
    assert len(boxed) == 880
    assert Counter(row.view for row in boxed) == {View.PA: 478, View.AP: 402}
    assert len({row.patient_id for row in boxed}) == 726
    assert sum((row.disease_mask or "").count("],[") + 1 for row in boxed) == 984
    assert all(row.unhealthy == 1 for row in boxed)
    assert max(row.age for row in whole_nih.rows if row.age is not None) <= 120


def test_boxes_are_in_the_frame_of_the_original(whole_nih: Whole) -> None:
    row = next(row for row in whole_nih.rows if row.path == "images/00013118_008.png")
    assert row.disease_mask == '{"boxes":[[225.08,547.02,86.78,79.19]],"frame":[1024,1024]}'


def test_the_papers_protocol_on_nih(whole_nih: Whole) -> None:
    """Table 1's healthy images; 1,431 of pneumonia and 880 with boxes are all taken."""
    table = select_paper(whole_nih.table, 0)
    assert counted(table) == {("PA", 0): 4_088, ("AP", 0): 2_688, ("PA", 1): 6_132, ("AP", 1): 4_032}
    used = table.filter(pc.is_null(table["excluded"]))
    assert len(used) - used["disease_mask"].null_count == 880
    assert with_pneumonia(used) == 1_431
    assert set(table["excluded"].to_pylist()) == {None, "not_in_protocol"}
    assert len(table) == 112_120
    drawn_otherwise = select_paper(whole_nih.table, 1)
    assert drawn_otherwise["excluded"] != table["excluded"]
    assert counted(drawn_otherwise) == counted(table)


def test_no_patient_of_nih_lies_in_two_splits_and_the_shares_hold(whole_nih: Whole) -> None:
    result = assign(whole_nih.table, SplitConfig())
    patients: dict[str, str] = {}
    for patient, split in zip(whole_nih.table.column("patient_id").to_pylist(), result.to_pylist(), strict=True):
        assert patients.setdefault(patient, split) == split
    counted = Counter(patients.values())
    assert len(patients) == 30_805
    for name, share in (("train", 0.7), ("val", 0.1), ("test", 0.2)):
        assert counted[name] / 30_805 == pytest.approx(share, abs=0.001)


def test_the_papers_tables_of_real_sources(cxr: Path, whole_nih: Whole) -> None:
    """The label tables of NIH, and covid-chestxray: 128 frontal images of COVID-19 and 42 others."""
    source = "covid-chestxray"
    covid = read_source(adapter(source), SourceFiles(str(cxr / "covid_chestxray")), source, SourceOptions()).table
    found = parsed(compare(finish(pa.concat_tables([whole_nih.table, covid]), SplitConfig(), 512)))
    assert line(found["Table 1"], "ChestX-ray14", "healthy", "PA") == ["4,088", "39,302"]
    assert line(found["Table 1"], "all") == ["31,438", "112,120"]
    assert line(found["Table 2"], "Italy (SIRM)") == ["30", "16", "39", "26", "0", "69", "42"]
    assert line(found["Table 2"], "RadioPaedia") == ["9", "5", "85", "19", "0", "94", "24"]
    assert line(found["Table 2"], "all")[-1] == "128"
    here = {
        name: [int(n.replace(",", "")) for n in line(found["Table 3"], f"{name}, here")] for name in ("train", "val")
    }
    test = [int(n.replace(",", "")) for n in line(found["Table 3"], "test, here")]
    sums = dict(zip(SPLIT_COLUMNS, map(sum, zip(*here.values(), test, strict=True)), strict=True))
    assert (sums["covid"], sums["normal"] + sums["others"]) == (128, 112_120 + 42)
    assert line(found["Table 3"], "train x6, here")[3] == f"{6 * here['train'][3]:,}"


def by_view(some: Iterable[ManifestRow]) -> dict[View, int]:
    """How many images of each frontal projection."""
    return {view: count for view, count in Counter(row.view for row in some).items() if view in (View.AP, View.PA)}


def test_chexpert_has_the_totals_of_the_dataset(whole_chexpert: Whole) -> None:
    """Irvin et al. 2019; the numbers of frontals are in the paper's table 1."""
    assert len(whole_chexpert.rows) == 223_414
    assert len({row.path for row in whole_chexpert.rows}) == 223_414
    assert len({row.patient_id for row in whole_chexpert.rows}) == 64_540
    assert Counter((row.view, row.view_source, row.excluded) for row in whole_chexpert.rows) == {
        (View.AP, "AP/PA", None): 161_590,
        (View.PA, "AP/PA", None): 29_420,
        (View.LATERAL, "Frontal/Lateral", Reason.LATERAL): 32_387,
        (View.UNKNOWN, "none", Reason.NOT_FRONTAL): 17,
    }
    assert {row.source_split for row in whole_chexpert.rows} == {Split.TRAIN}


def test_labels_of_the_real_images(whole_chexpert: Whole) -> None:
    kinds = {(row.unhealthy, row.covid, row.other) for row in whole_chexpert.rows}
    assert kinds == {(0, 0, 0), (1, 0, 1), (None, None, None)}
    assert by_view(row for row in whole_chexpert.rows if row.unhealthy == 0) == {View.AP: 11_471, View.PA: 5_499}
    assert by_view(row for row in whole_chexpert.rows if row.unhealthy == 1) == {View.AP: 141_168, View.PA: 19_830}
    assert by_view(row for row in whole_chexpert.rows if row.unhealthy is None) == {View.AP: 8_951, View.PA: 4_091}
    assert by_view(row for row in whole_chexpert.rows if "Pneumonia" in row.findings) == {
        View.AP: 3_476,
        View.PA: 1_198,
    }
    assert all(NO_FINDING in row.findings for row in whole_chexpert.rows if row.unhealthy == 0)
    assert sum(SUPPORT_DEVICES in row.findings for row in whole_chexpert.rows) == 116_001


def test_no_real_image_is_healthy_and_ill(whole_chexpert: Whole) -> None:
    assert not [
        row
        for row in whole_chexpert.rows
        if NO_FINDING in row.findings and not set(PATHOLOGIES).isdisjoint(row.findings)
    ]


def test_facts_of_one_real_row(whole_chexpert: Whole) -> None:
    row = whole_chexpert.rows[0]
    assert row.path == "train/patient00001/study1/view1_frontal.jpg"
    assert (row.patient_id, row.study_id) == ("chexpert/patient00001", "chexpert/patient00001/study1")
    assert (row.sex, row.age, row.findings, row.unhealthy) == ("F", 68.0, (NO_FINDING, SUPPORT_DEVICES), 0)
    assert (row.covid, row.other, row.illness_day, row.lung_mask, row.disease_mask) == (0, 0, None, None, None)


def test_ages_of_the_real_patients(whole_chexpert: Whole) -> None:
    ages = [row.age for row in whole_chexpert.rows if row.age is not None]
    assert (min(ages), max(ages)) == (18.0, 90.0)
    assert len(whole_chexpert.rows) - len(ages) == 3  # 0 in the table


def test_uncertain_findings_of_the_real_table_as_positive(cxr: Path) -> None:
    """6,539 AP and 2,319 PA images have nothing stated and something uncertain."""
    files = SourceFiles(str(cxr / "chexpert"))
    options = SourceOptions(chexpert=ChexpertOptions(uncertain="positive"))
    counts = Counter((row.view, row.unhealthy) for row in chexpert.rows(files, "chexpert", options))
    assert {key: counts[key] for key in counts if key[0] in (View.AP, View.PA)} == {
        (View.AP, 0): 11_471,
        (View.AP, 1): 141_168 + 6_539,
        (View.AP, None): 8_951 - 6_539,
        (View.PA, 0): 5_499,
        (View.PA, 1): 19_830 + 2_319,
        (View.PA, None): 4_091 - 2_319,
    }


def test_the_papers_protocol_on_chexpert(whole_chexpert: Whole) -> None:
    """AP: pneumonia alone (3,476) is more than one and a half times the healthy (3,244)."""
    whole = whole_chexpert.table
    table = select_paper(whole, 0)
    assert counted(table) == {("PA", 0): 1_331, ("AP", 0): 2_163, ("PA", 1): 1_996, ("AP", 1): 3_476}
    used = table.filter(pc.is_null(table["excluded"]))
    frontal = whole.filter(pc.is_in(whole["view"], pa.array(["PA", "AP"])))
    ill_frontal = frontal.filter(pc.fill_null(pc.equal(frontal["unhealthy"], 1), False))
    assert with_pneumonia(used) == with_pneumonia(ill_frontal) == 1_198 + 3_476
    before, after = excluded(whole), excluded(table)
    assert all(after[name] == reason for name, reason in before.items() if reason is not None)
