"""Terms that all tables and jobs share: tasks, views, splits, reasons for a review, default specificities."""

from collections.abc import Iterable
from enum import StrEnum


def counted(number: int, noun: str, plural: str = "") -> str:
    """Returns a number with its noun, in the singular or the plural: `1 image`, `2,000 images`.

    Args:
        number: the number.
        noun: the noun in the singular.
        plural: the plural; empty if it is the noun with an s.
    """
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


SPECIFICITY = 0.90
"""The specificity where only one is used: for the default operating point, for curves and for comparisons."""
SPECIFICITIES = (SPECIFICITY, 0.99)
"""Default specificities for operating points and for reported sensitivities: the two of the paper."""


class Task(StrEnum):
    """The paper's tasks t1..t4 (section 2); each has one decoder or branch of COMiT-Net."""

    LUNG = "lung"
    DISEASE = "disease"
    HEALTH = "health"
    COVID = "covid"


ALL_TASKS: tuple[Task, ...] = tuple(Task)
MASK_TASKS: tuple[Task, ...] = (Task.LUNG, Task.DISEASE)
"""Heads whose output is a mask."""
SCORE_TASKS: tuple[Task, ...] = (Task.HEALTH, Task.COVID)
"""Heads whose output is a score."""
SCORES_OF: dict[Task, tuple[str, ...]] = {Task.COVID: ("covid", "other"), Task.HEALTH: ("unhealthy",)}
"""Head -> its scores, the screened one first. A score's column is `p_<score>`, its label's column is `<score>`."""
SCORES: tuple[str, ...] = ("covid", "unhealthy", "other")
"""Every score, in the order of reports."""


def scores_of(tasks: Iterable[Task | str]) -> tuple[str, ...]:
    """Returns the scores of a model with the heads `tasks`, in the order of `SCORES_OF`."""
    heads = set(tasks)
    return tuple(score for task, scores in SCORES_OF.items() if task in heads for score in scores)


class View(StrEnum):
    """The projection of a radiograph. Only PA, AP, FRONTAL (projection unknown) and UNKNOWN are scored."""

    PA = "PA"
    AP = "AP"
    FRONTAL = "frontal"
    LATERAL = "lateral"
    UNKNOWN = "unknown"


class ReviewReason(StrEnum):
    """Why an image is in the review queue; `comit_ray.screening.review_reasons.MOST_URGENT_FIRST` orders them."""

    ABOVE_OPERATING_POINT = "above_operating_point"
    LABEL_DISAGREES = "label_disagrees"
    COVID_BUT_HEALTHY = "covid_but_healthy"
    COVID_WITHOUT_DISEASE = "covid_without_disease"
    DISEASE_OUTSIDE_LUNGS = "disease_outside_lungs"
    NO_LUNGS_FOUND = "no_lungs_found"
    NOT_A_FRONTAL_CHEST = "not_a_frontal_chest"
    NEAR_THRESHOLD = "near_threshold"
    UNHEALTHY_ABOVE_OPERATING_POINT = "unhealthy_above_operating_point"
    CHILD = "child"
    FAILED = "failed"
    FLAGS_UNTRUSTED = "flags_untrusted"
    RANDOM_NEGATIVE = "random_negative"


REVIEW_WORDS: dict[ReviewReason, str] = {
    ReviewReason.ABOVE_OPERATING_POINT: "flagged for COVID-19",
    ReviewReason.LABEL_DISAGREES: "label and flag disagree",
    ReviewReason.COVID_BUT_HEALTHY: "flagged for COVID-19, but scored as healthy",
    ReviewReason.COVID_WITHOUT_DISEASE: "flagged for COVID-19, but almost no disease outlined",
    ReviewReason.DISEASE_OUTSIDE_LUNGS: "disease outside the lungs",
    ReviewReason.NO_LUNGS_FOUND: "no lungs found",
    ReviewReason.NOT_A_FRONTAL_CHEST: "looks like no frontal chest",
    ReviewReason.NEAR_THRESHOLD: "COVID-19 score below its threshold, but near it",
    ReviewReason.UNHEALTHY_ABOVE_OPERATING_POINT: "flagged as unhealthy",
    ReviewReason.CHILD: "the patient is a child",
    ReviewReason.FAILED: "could not be scored",
    ReviewReason.FLAGS_UNTRUSTED: "the archive is unlike the training data, so flags are not trusted",
    ReviewReason.RANDOM_NEGATIVE: "random sample of images without another reason",
}
"""Reason of a review -> its text for a reader, for a network with a COVID-19 score (`review_words`)."""


def review_words(reasons: Iterable[str], covid: bool = True) -> list[str]:
    """Returns the reasons of an image in words, each text once.

    Args:
        reasons: reasons of one image, most urgent first.
        covid: whether the image has a COVID-19 score; otherwise its flag is that of the unhealthy score.
    """
    told = [REVIEW_WORDS[ReviewReason(reason)] for reason in reasons]
    if not covid:
        told = [
            text.replace("for COVID-19", "as unhealthy").replace("COVID-19 score", "unhealthy score") for text in told
        ]
    return list(dict.fromkeys(told))


RANDOM_ORDER, BY_SEVERITY = "random_order", "severity"
"""Blocks of the queue that no reason makes (column `placed_by`)."""


def block_words(placed_by: str, covid: bool = True) -> str:
    """Returns a block of the queue in words: what its images have in common, and how they are ordered.

    Args:
        placed_by: a reason of a review, `RANDOM_ORDER` or `BY_SEVERITY`.
        covid: as in `review_words`.
    """
    if placed_by == RANDOM_ORDER:
        return "scored images in random order, because flags are not trusted"
    if placed_by == BY_SEVERITY:
        return "greatest extent of disease in the lungs first"
    (told,) = review_words([placed_by], covid)
    order = {ReviewReason.RANDOM_NEGATIVE: "in random order", ReviewReason.FAILED: "in no particular order"}
    order[ReviewReason.UNHEALTHY_ABOVE_OPERATING_POINT] = "highest unhealthy score first"
    return f"{told}, {order.get(ReviewReason(placed_by), 'highest score first')}"


class Split(StrEnum):
    """The part of the data (train, val, test) that a patient belongs to."""

    TRAIN = "train"
    VAL = "val"
    TEST = "test"
