"""Two readers and an adjudicator on an archive with known truth, through assignments and store; and the chapter."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from comit_ray.config.evaluate_config import EvaluateConfig
from comit_ray.errors import NotFoundError
from comit_ray.evaluation import screen_report
from comit_ray.evaluation.report.document import Chapter
from comit_ray.reading import archive_estimates, report, store
from comit_ray.reading.reader_deal import Deal, Person, Readers
from comit_ray.reading.store import Reviews, Verdict
from comit_ray.tables import parquet
from comit_ray.tables.manifest_schema import MANIFEST
from comit_ray.tables.schema import MASKS, PREDICTIONS
from tests.reading.screens import write_queue
from tests.support import manifest_row, prediction_row, write_rows

PEOPLE = Readers(readers=(Person(name="anna"), Person(name="ben"), Person(name="clara", role="adjudicator")))
WRONG = {"anna": 0.1, "ben": 0.1, "clara": 0.0}
"""Share of verdicts in which a reader errs."""


def put(reviews: Reviews, reader: str, role: str, image_id: str, sick: bool, number: int) -> None:
    said = {"verdict": "abnormal", "category": "typical"} if sick else {"verdict": "normal", "category": "negative"}
    zones = (int(sick), 0, 0, 0, 0, number % 2)
    verdict = Verdict(
        image_id=image_id, submission=f"{reader}-{number:06d}", seconds=10 + number % 5, zones=zones, **said
    )
    facts = {"role": role, "blinded": True, "model_id": "m", "run_id": "r"}
    reviews.put(reader, verdict, facts)


@pytest.fixture(scope="module")
def read_archive(tmp_path_factory) -> tuple[str, str, pd.DataFrame]:
    """400 images without labels, 15% with COVID-19; read by two, and by an adjudicator where they differ."""
    root: Path = tmp_path_factory.mktemp("archive")
    rng = np.random.default_rng(5)
    sick = rng.random(400) < 0.15
    score = np.where(sick, rng.beta(4, 2, 400), rng.beta(2, 6, 400))
    ids = [f"a/{number:03d}" for number in range(400)]
    manifest = write_rows(
        root / "manifest",
        [manifest_row(one, patient_id=f"a/p{n // 2}", sex="FM"[n % 2], age=50.0) for n, one in enumerate(ids)],
        MANIFEST,
    )
    rows = [
        prediction_row(one, float(p), p_unhealthy=float(p), lung_area=0.3, disease_area=0.1, disease_in_lung=0.3)
        for one, p in zip(ids, score, strict=True)
    ]
    write_rows(root / "results" / "predictions", rows, PREDICTIONS)
    write_rows(root / "results" / "masks", [], MASKS)
    results = str(root / "results")
    write_queue(results, manifest, random_negatives=0.4, near_threshold=0.3)
    queue = parquet.read_part(f"{results}/review_queue/queue.parquet").to_pandas()
    truth = dict(zip(ids, sick, strict=True))
    deal, reviews = Deal(PEOPLE, 1.0), Reviews(results)
    for reader in ("anna", "ben", "clara"):  # the adjudicator last: there is nothing to decide before
        for number, image_id in enumerate(queue["image_id"]):
            role = deal.role(reader, image_id, image_id, reviews.on_image(image_id))
            if role is not None:
                put(reviews, reader, role, image_id, bool(truth[image_id]) ^ (rng.random() < WRONG[reader]), number)
    return results, manifest, pd.DataFrame({"image_id": ids, "sick": sick, "flagged": score >= 0.5})


@pytest.fixture(scope="module")
def verdicts(read_archive) -> pd.DataFrame:
    return store.read_current(read_archive[0])


@pytest.fixture(scope="module")
def chapter(read_archive) -> Chapter:
    return report.chapter(read_archive[0], read_archive[1], draws=20)


def test_the_archives_figures_lie_beside_the_truth(read_archive, verdicts, capsys):
    """Two readers who err in a tenth each, and differ where one does; both err in a hundredth of images."""
    results, _, images = read_archive
    queue = parquet.read_part(f"{results}/review_queue/queue.parquet").to_pandas()
    predictions = parquet.read_table(f"{results}/predictions").to_pandas()
    estimate = archive_estimates.estimate(
        archive_estimates.counts(predictions, queue, archive_estimates.reference(verdicts, "covid"), "covid_flag")
    )
    true = {
        "sensitivity": images[images["sick"]]["flagged"].mean(),
        "specificity": 1 - images[~images["sick"]]["flagged"].mean(),
        "prevalence": images["sick"].mean(),
    }
    for name, one in estimate.items():
        print(f"{name}: {one.value:.3f} [{one.low:.3f}, {one.high:.3f}], truth {true[name]:.3f}")
    # Readers' own errors are in no interval: a hundredth of images is allowed for them.
    assert all(one.low - 0.03 <= true[name] <= one.high + 0.03 for name, one in estimate.items()), true
    assert all(one.low < one.value < one.high for one in estimate.values())
    assert (verdicts["role"] == "adjudicator").any()


def test_the_chapter_says_who_read_how_they_agree_and_what_it_means(chapter):
    assert set(chapter.tables) == {
        "readers", "readers_agreement", "readers_archive", "readers_groups", "readers_reasons", "readers_subgroups",
    }  # fmt: skip
    assert "3 readers judged" in chapter.said[0]
    readers = {row[0]: row for row in chapter.tables["readers"].rows}
    assert set(readers) == {"anna", "ben", "clara"}
    assert re.fullmatch(r"1\d\.0 \(1\d\.0 to 1\d\.0\)", readers["anna"][-1])
    agreement = {row[1]: row for row in chapter.tables["readers_agreement"].rows}
    assert set(agreement) == {"covid", "abnormal", "severity of zones"}
    assert 0.7 < float(agreement["abnormal"][3].split()[0]) < 0.95
    reasons = {row[0]: row for row in chapter.tables["readers_reasons"].rows}
    assert float(reasons["above_operating_point"][2].split()[0]) > float(reasons["random_negative"][2].split()[0])
    assert any(row[1] == "sex=F" for row in chapter.tables["readers_subgroups"].rows)


def test_readers_are_compared_with_each_other_and_with_the_model_by_subgroup(read_archive, verdicts, chapter):
    groups = {row[:3]: row[3:] for row in chapter.tables["readers_groups"].rows}
    assert {who for who, _, _ in groups} == {"anna, ben", "anna, the model", "ben, the model"}
    _, manifest, images = read_archive
    verdicts = verdicts.merge(images, on="image_id")
    sex = parquet.read_table(manifest).to_pandas()[["image_id", "sex"]]
    mine = verdicts[verdicts["reader"] == "anna"].merge(sex, on="image_id")
    women = mine[mine["sex"] == "F"]
    count, agrees, _ = groups["anna, the model", "COVID-19, by a typical appearance", "sex=F"]
    assert count == str(len(women))
    assert float(agrees.split()[0]) == pytest.approx((women["covid"].astype(bool) == women["flagged"]).mean(), abs=5e-4)
    assert all(cells[1:] == ("too few", "too few") for name, cells in groups.items() if int(cells[0]) < 10)


def test_the_report_has_the_chapter_though_no_label_exists(read_archive, tmp_path):
    results, manifest, _ = read_archive
    config = EvaluateConfig(
        results=results, manifest=manifest, output=str(tmp_path), reviews=f"{results}/reviews", split="all",
        sheet_images=0, draws=5,
    )  # fmt: skip
    text = screen_report.write(config, report.chapters(config))
    assert "## Readers" in text
    assert "What the verdicts say of the whole archive" in text
    assert (tmp_path / "tables" / "readers_archive.csv").exists()


def test_without_a_verdict_there_is_no_chapter(tmp_path):
    with pytest.raises(NotFoundError, match="no verdict"):
        report.chapter(str(tmp_path), str(tmp_path))
