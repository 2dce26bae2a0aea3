"""CLAIM, the checklist for artificial intelligence in medical imaging: what a report answers, and what it cannot.

Tejani et al. 2024, "Checklist for Artificial Intelligence in Medical Imaging (CLAIM): 2024 Update", Radiology:
Artificial Intelligence 6(4):e240300. The topics are paraphrased; read the original before submitting a paper.
"""

from collections.abc import Mapping

from comit_ray.evaluation.tables import Table

TOPICS = (
    "title names the AI method",
    "structured abstract",
    "background, intended use and clinical role",
    "aims and hypotheses",
    "prospective or retrospective",
    "goal of the study",
    "data sources",
    "inclusion and exclusion criteria",
    "preprocessing",
    "selection of subsets of the data",
    "de-identification",
    "missing data",
    "image acquisition protocol",
    "how the reference standard was obtained",
    "why this reference standard",
    "who annotated for the reference standard",
    "annotation of the test set",
    "variability between and within annotators",
    "how data were divided into partitions",
    "level at which partitions are disjoint",
    "intended sample size of the test set",
    "the model in detail",
    "software libraries",
    "initial values of parameters",
    "training in detail",
    "how the final model was chosen",
    "ensembling",
    "performance metrics",
    "statistical uncertainty and significance",
    "robustness or sensitivity analysis",
    "explainability",
    "evaluation on internal data",
    "testing on external data",
    "registration of a clinical trial",
    "patients and images included and excluded",
    "demographic and clinical characteristics of each partition",
    "performance with its uncertainty",
    "diagnostic performance and its precision",
    "analysis of failures",
    "limitations",
    "implications for practice",
    "where the full protocol is",
    "availability of software, model and data",
    "funding",
)
"""Of the items 1 to 44."""
UNANSWERED = "not answered by this run: to be written by its authors"


def table(answers: Mapping[int, str]) -> Table:
    """All items with their answers; those without one say so.

    Args:
        answers: number of an item, 1 to 44 -> what the run says of it.
    """
    assert set(answers) <= set(range(1, len(TOPICS) + 1)), sorted(answers)
    rows = tuple((str(number), topic, answers.get(number, UNANSWERED)) for number, topic in enumerate(TOPICS, start=1))
    open_items = [str(number) for number in range(1, len(TOPICS) + 1) if number not in answers]
    note = (
        f"{len(answers)} of {len(TOPICS)} items are answered from the run. Open: {', '.join(open_items)}. Topics are "
        "paraphrased from Tejani et al. 2024."
    )
    return Table("CLAIM 2024 checklist", ("item", "asks for", "answer"), rows, note)
