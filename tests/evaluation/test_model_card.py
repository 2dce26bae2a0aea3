"""The card and the checklist: filled from the run, and open where the run does not know."""

import pandas as pd
import pytest

from comit_ray.config.evaluate_config import EvaluateConfig
from comit_ray.evaluation import model_card
from comit_ray.evaluation.model_card import Trained
from comit_ray.evaluation.report.document import Table

CONFIG = EvaluateConfig(results="r", manifest="m", output="o")
FACTS = {
    "training_images": 400,
    "validation_images": 108,
    "validation_patients": 80,
    "sources": {"nih": 0.75, "siim": 0.25},
    "views": {"PA": 1.0},
}
KNOWN = Trained(
    "uri",
    {
        "frame": {"size": 96, "fit": "stretch"},
        "model": {"name": "comit_net", "tasks": ["lung", "covid"], "width": 0.125, "weights": "imagenet"},
        "train": {"epochs": 8, "batch_size": 16, "optimiser": "adam", "lr": 0.001, "augment_covid": True, "seed": 3},
        "loss": {"lung": 1.0, "covid": 2.0},
    },
    {"torch": "2.15.0", "manifest": "abc"},
    FACTS,
    6,
)
SUMMARY = Table(
    "",
    ("question", "answer"),
    (
        ("On what data", "30 images."),
        ("The answer: COVID-19", "AUROC 0.9."),
        ("Inside one source", "a 0.8."),
        ("What it does not mean", "No diagnosis."),
    ),
)
IMAGES = pd.DataFrame(
    {
        "model_id": ["m1"] * 3,
        "dataset": ["a", "a", "b"],
        "status": ["ok", "excluded", "ok"],
        "reason": [None, "lateral", None],
        "covid": [1, 0, None],
        "operating_point": ["specificity_0.90", None, "specificity_0.90"],
    }
)


def card(trained: Trained) -> dict[str, str]:
    rows = model_card.card_table(IMAGES, trained, SUMMARY, ["Fine.", "SHORTCUT: a mark."], CONFIG).rows
    return {part: text for part, text in rows}  # noqa: C416 rows have any length


def test_the_card_is_filled_from_the_run() -> None:
    found = card(KNOWN)
    assert found["Model"] == (
        "m1: comit_net, heads lung, covid, width 0.125 of the paper's channels, 96 x 96 pixels (stretch)"
    )
    assert found["Training"].startswith("6 of at most 8 epochs, batch 16, adam, learning rate 0.001")
    assert (
        "400 images for training, and 108 images of 80 patients for validation (manifest abc)" in found["Training data"]
    )
    assert "sources: nih 0.75, siim 0.25" in found["Training data"]
    assert found["Evaluation data"] == "30 images."
    assert found["Metrics"] == "COVID-19: AUROC 0.9. Inside one source: a 0.8."
    assert found["Limits"] == "No diagnosis. SHORTCUT: a mark."
    assert "not flagged is not normal" in found["Not intended for"]


def test_what_is_not_known_is_said_and_not_guessed() -> None:
    found = card(Trained(reason="it is gone"))
    assert found["Model"] == "m1; nothing more is known, because it is gone"
    assert found["Training"] == found["Training data"] == "not known, because it is gone"
    older = card(Trained(KNOWN.checkpoint, KNOWN.config, KNOWN.environment, None, 6))
    assert "the checkpoint is too old to have a record of its data" in older["Training data"]


def test_claim_items_are_answered_or_open() -> None:
    chapters = {"scores": "Scores", "galleries": "Single images"}
    answers = model_card.claim(IMAGES, KNOWN, CONFIG, chapters, "test")
    shown = model_card.claim_table(answers)
    assert len(shown.rows) == 44
    by_number = {int(row[0]): row for row in shown.rows}
    assert by_number[8][2] == "excluded images by reason: 1 lateral"
    assert by_number[12][2].startswith("images without a label for COVID-19: 1;")
    assert by_number[24][2] == "encoder: imagenet; the rest random, from the seed"
    assert by_number[35][2] == "2 ok, 1 excluded"
    assert by_number[39][2] == "see Single images"
    assert by_number[20][2] == "patient: a manifest with a patient in two splits is refused"
    assert by_number[32][2] == "this report"
    for number in (1, 11, 19, 31, 33, 36, 44):
        assert by_number[number][2] == model_card.UNANSWERED
    assert "Open items: 1, 2, 3," in shown.note
    assert f"{len(answers)} of 44" in shown.note


def test_of_an_external_archive_nothing_is_claimed_of_splits() -> None:
    found = model_card.claim(IMAGES, KNOWN, CONFIG.model_copy(update={"external": True}), {}, "all")
    assert 33 in found
    assert not {20, 32} & set(found)
    assert 32 not in model_card.claim(IMAGES, KNOWN, CONFIG, {}, "val"), "the validation split chose the threshold"


def test_without_a_checkpoint_fewer_items_are_answered() -> None:
    known = set(model_card.claim(IMAGES, KNOWN, CONFIG, {}, "test"))
    unknown = set(model_card.claim(IMAGES, Trained(reason="gone"), CONFIG, {}, "test"))
    assert known - unknown == {9, 22, 23, 24, 25, 26, 27}


def test_an_item_that_does_not_exist_is_a_mistake() -> None:
    with pytest.raises(AssertionError):
        model_card.claim_table({45: "x"})


def test_every_topic_stands_once() -> None:
    assert len(set(model_card.TOPICS)) == len(model_card.TOPICS) == 44
