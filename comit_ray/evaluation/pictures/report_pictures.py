"""The door to the pictures of a report: names of the functions that draw the paper's figures 5 to 14 from tables."""

from comit_ray.evaluation.pictures.case_pictures import falsely_called, found, misclassified, missed
from comit_ray.evaluation.pictures.curve_pictures import precision_recalls, rocs, seed_spread
from comit_ray.evaluation.pictures.embedding_pictures import embedding_map
from comit_ray.evaluation.pictures.mask_pictures import gradcam, masks_beside
from comit_ray.evaluation.pictures.picture import Picture

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
