"""The values that the paper prints, each with its place in the paper; they were measured on other data.

Malhotra et al., "Multi-task driven explainable diagnosis of COVID-19 using chest X-ray images", Pattern Recognition 122
(2022) 108243. Shares are fractions here; the paper prints percent.
"""

from dataclasses import dataclass

AT_99, AT_90 = 0.99, 0.90
"""The specificities of table 4, independent of the defaults of our jobs."""


@dataclass(frozen=True)
class Printed:
    """A value that the paper prints.

    Args:
        value: the value as printed, as a fraction.
        place: where the paper prints it.
        counts: number of hits and of all images, if the paper gives them.
        remark: a caution for readers who compare; empty if there is none.
    """

    value: float
    place: str
    counts: tuple[int, int] | None = None
    remark: str = ""


@dataclass(frozen=True)
class Classification:
    """A row of table 4. The paper takes all thresholds from the test images themselves.

    Args:
        at_99: sensitivity to COVID-19 at 99% specificity.
        at_90: sensitivity to COVID-19 at 90% specificity.
        eer: equal error rate.
    """

    at_99: float
    at_90: float
    eer: float


@dataclass(frozen=True)
class Segmentation:
    """What section 4.1 prints for a model.

    Args:
        lung_iou: IoU of the lungs; None for our model that has a disease head alone.
        disease_tpr: true positive rate of disease at the threshold 0.5; None for our model that has a lung head alone.
    """

    lung_iou: float | None
    disease_tpr: float | None


COVID_IMAGES = 125
"""Number of images with COVID-19 in the paper's test split (table 3)."""
OTHER_IMAGES = 6_174
"""Number of other images in the paper's test split (table 3)."""

TABLE_4: dict[str, Classification] = {
    "DenseNet121 + FC": Classification(0.6080, 0.9040, 0.0982),
    "MobileNetv2 + FC": Classification(0.6720, 0.9360, 0.0804),
    "ResNet18 + FC": Classification(0.5600, 0.8160, 0.1378),
    "VGG19 + FC": Classification(0.5040, 0.8240, 0.1370),
    "COMiT-Net Embedding + RDF": Classification(0.7920, 0.9520, 0.0734),
    "COMiT-Net Embedding + SVM (Sigmoid)": Classification(0.0640, 0.2400, 0.4146),
    "COMiT-Net Embedding + SVM (Gaussian)": Classification(0.8240, 0.8880, 0.1138),
    "COMiT-Net Embedding + SVM (RBF)": Classification(0.8240, 0.8880, 0.1138),
    "COMiT-Net": Classification(0.8720, 0.9680, 0.0730),
}
"""Variant -> its row of table 4."""

TABLE_5: dict[str, float] = {
    "All 4 tasks": 0.9680,
    "Task 4 only": 0.8440,
    "Tasks 1 and 4": 0.9440,
    "Tasks 2 and 4": 0.5760,
    "Tasks 3 and 4": 0.6780,
    "Tasks 1, 2 and 4": 0.9280,
    "Tasks 1, 3 and 4": 0.8720,
    "Tasks 2, 3 and 4": 0.5440,
}
"""Variant -> its sensitivity. The table names no specificity; its first row equals that of table 4 at 90%
specificity."""

TABLE_5_REMARK = (
    "The paper's 84.40% and 67.80% cannot be shares of its 125 COVID-19 images (they would be 105.5 and 84.75 images): "
    "they may be means over runs, or misprints."
)

SEGMENTATION: dict[str, Segmentation] = {
    "U-Net (lung)": Segmentation(0.82, None),
    "U-Net (disease)": Segmentation(None, 0.42),
    "Mask R-CNN (lung)": Segmentation(0.85, None),
    "Mask R-CNN (disease)": Segmentation(None, 0.51),
    "SegNet (lung)": Segmentation(0.83, None),
    "SegNet (disease)": Segmentation(None, 0.31),
    "COMiT-Net": Segmentation(0.85, 0.87),
    "All 4 tasks": Segmentation(0.85, 0.87),
}
"""Variant -> what section 4.1 prints for it; COMiT-Net is called `All 4 tasks` in the ablation."""

SENSITIVITY_AT_90 = Printed(0.9680, "section 4.2, table 4", (121, COVID_IMAGES))
SENSITIVITY_AT_99 = Printed(0.8720, "section 4.2, table 4", (109, COVID_IMAGES))
ACCURACY = Printed(
    0.9879,
    "section 4.2",
    (109 + OTHER_IMAGES - 61, COVID_IMAGES + OTHER_IMAGES),
    "at 99% specificity; with the 61 false positives that the printed precision implies, the accuracy would be 98.78%",
)
PRECISION = Printed(0.6412, "section 4.2, at 99% specificity", (109, 109 + 61))
F1 = Printed(0.7390, "section 4.2, at 99% specificity", (2 * 109, 2 * 109 + 61 + 16))
COVID_CALLED_UNHEALTHY = Printed(
    0.9725, "section 4.2", remark="not a share of 125 images: it may count training and test images together"
)
UNHEALTHY_ACCURACY = Printed(
    0.7517, "section 4.2", remark="the paper calls it classification performance, over all test images"
)
BIMCV_FOUND = Printed(
    0.8546, "section 4.4, BIMCV-COVID19+ at 90% specificity", (1_793, 2_098), "never trained on; positives only"
)
BIMCV_MISSED_WITHOUT_ABNORMALITY = Printed(
    115 / 305, "section 4.4", (115, 305), "missed images in which radiologists saw no abnormality either"
)
