"""The coded concepts of exported results: codes of the standard, or of this project's own scheme.

The lung has the code SCT 39607008. What the disease head draws has the code DCM 112033, "Abnormal opacity" (PS3.16,
annex D), a morphologically abnormal structure. The head is trained on hand-drawn ground glass, consolidation and
effusion of any cause. So a code of a diagnosis (pneumonia, COVID-19) would say more than the model knows. The standard
has no code for a classifier's score, so scores use the scheme 99COMIT ("99" marks a local scheme, PS3.16 section 8.2).
"""

from dataclasses import dataclass

SCHEME = "99COMIT"


@dataclass(frozen=True)
class Concept:
    """One coded concept.

    Attributes:
        value: the code.
        scheme: the scheme that defines the code.
        meaning: the concept in words.
    """

    value: str
    scheme: str
    meaning: str


LUNG = Concept("39607008", "SCT", "Lung")
ANATOMY = Concept("91723000", "SCT", "Anatomical Structure")
OPACITY = Concept("112033", "DCM", "Abnormal opacity")
ABNORMAL_STRUCTURE = Concept("49755003", "SCT", "Morphologically Abnormal Structure")
RIGHT, LEFT = Concept("24028007", "SCT", "Right"), Concept("7771000", "SCT", "Left")
YES, NO = Concept("373066001", "SCT", "Yes"), Concept("373067005", "SCT", "No")
NO_UNITS = Concept("1", "UCUM", "no units")
AI = Concept("123110", "DCM", "Artificial Intelligence")

P_COVID = Concept("p_covid", SCHEME, "Score of COVID-19, 0 to 1")
P_OTHER = Concept("p_other", SCHEME, "Score of other disease, 0 to 1")
P_UNHEALTHY = Concept("p_unhealthy", SCHEME, "Score of any abnormality, 0 to 1")
SCORES = {"p_covid": P_COVID, "p_other": P_OTHER, "p_unhealthy": P_UNHEALTHY}
FLAGS = {
    "covid": Concept("covid_flag", SCHEME, "Score of COVID-19 at or above the operating point"),
    "unhealthy": Concept("unhealthy_flag", SCHEME, "Score of any abnormality at or above the operating point"),
}
THRESHOLDS = {
    "covid": Concept("covid_threshold", SCHEME, "Threshold of the score of COVID-19"),
    "unhealthy": Concept("unhealthy_threshold", SCHEME, "Threshold of the score of any abnormality"),
}
FRACTIONS = {
    "lung_area": Concept("lung_area", SCHEME, "Lung, fraction of the image field"),
    "disease_area": Concept("disease_area", SCHEME, "Abnormal opacity, fraction of the image field"),
    "disease_in_lung": Concept("disease_in_lung", SCHEME, "Abnormal opacity inside the lungs, fraction of the lungs"),
}
ZONE_FRACTION = Concept("zone_disease", SCHEME, "Abnormal opacity, fraction of the lung zone")
UPPER = Concept("281392002", "SCT", "Upper zone of lung")
MIDDLE = Concept("281393007", "SCT", "Middle zone of lung")
LOWER = Concept("281394001", "SCT", "Lower zone of lung")
ZONES = ((UPPER, RIGHT), (MIDDLE, RIGHT), (LOWER, RIGHT), (UPPER, LEFT), (MIDDLE, LEFT), (LOWER, LEFT))
"""Zones in the order of the column `zone_disease`; left and right are the patient's."""

OPERATING_POINT = Concept("operating_point", SCHEME, "Operating point that decided the flags")
STATUS = Concept("status", SCHEME, "Status of the image and reason code")
COMMENT = Concept("121106", "DCM", "Comment")
VERDICT = Concept("verdict", SCHEME, "Verdict of the reader")
PROCEDURE = Concept("43468-8", "LN", "XR unspecified body region")
