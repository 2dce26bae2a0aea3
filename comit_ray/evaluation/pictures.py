"""The paper's figures 5 to 14 from tables: each function writes a picture below a report and says what it shows."""

from comit_ray.evaluation.case_pictures import falsely_called, found, misclassified, missed
from comit_ray.evaluation.curve_pictures import precision_recalls, rocs, seed_spread
from comit_ray.evaluation.embedding_picture import embedding_map
from comit_ray.evaluation.mask_pictures import gradcam, masks_beside
from comit_ray.evaluation.picture import Picture

__all__ = [
    "Picture",
    "embedding_map",
    "falsely_called",
    "found",
    "gradcam",
    "masks_beside",
    "misclassified",
    "missed",
    "precision_recalls",
    "rocs",
    "seed_spread",
]
