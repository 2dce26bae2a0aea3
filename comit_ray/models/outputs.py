"""The output of every network: one field per head, `None` if the network has no such head.

The module also turns frames into the input of the networks, on the device.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

HEALTHY, UNHEALTHY = 0, 1
"""Channels of `ModelOutput.health`."""
COVID, OTHER = 0, 1
"""Channels of `ModelOutput.covid`, in the paper's order [C, O] (eq. 6)."""


@dataclass
class ModelOutput:
    """Logits of a batch; the properties give the probabilities of the paper.

    Attributes:
        lung: (B, 2, H, W) logits of background and lung, or None.
        disease: (B, 2, H, W) logits of background and disease, or None.
        health: (B, 2) logits of healthy and unhealthy, or None.
        covid: (B, 2) logits of COVID-19 and of another disease, or None.
        embedding: (B, E) encoder output after global average pooling.
    """

    lung: Tensor | None
    disease: Tensor | None
    health: Tensor | None
    covid: Tensor | None
    embedding: Tensor

    @property
    def log_odds(self) -> dict[str, Tensor]:
        """Score (`covid`, `other`, `unhealthy`) -> its log-odds, (B,) in double precision; absent heads are left out.

        They are computed from the logits, because a probability near 1 has lost them. For a softmax over two classes
        they are the difference of the two logits.
        """
        found: dict[str, Tensor] = {}
        if self.covid is not None:
            covid_B2 = self.covid.double()
            found |= {"covid": covid_B2[:, COVID], "other": covid_B2[:, OTHER]}
        if self.health is not None:
            health_B2 = self.health.double()
            found["unhealthy"] = health_B2[:, UNHEALTHY] - health_B2[:, HEALTHY]
        return found

    @property
    def p_unhealthy(self) -> Tensor | None:
        """(B,) probability in 0..1 of any radiological finding: softmax of the health head (eq. 4)."""
        return None if self.health is None else torch.softmax(self.health.float(), dim=1)[:, UNHEALTHY]

    @property
    def p_covid(self) -> Tensor | None:
        """(B,) score in 0..1 of COVID-19: sigmoid (eq. 6)."""
        return None if self.covid is None else torch.sigmoid(self.covid[:, COVID].float())

    @property
    def p_other(self) -> Tensor | None:
        """(B,) score in 0..1 of a disease other than COVID-19: sigmoid (eq. 6)."""
        return None if self.covid is None else torch.sigmoid(self.covid[:, OTHER].float())

    @property
    def p_lung_BHW(self) -> Tensor | None:
        """(B, H, W) probability in 0..1 that a pixel is lung: softmax (eq. 1)."""
        return None if self.lung is None else torch.softmax(self.lung.float(), dim=1)[:, 1]

    @property
    def p_disease_BHW(self) -> Tensor | None:
        """(B, H, W) probability in 0..1 that a pixel is diseased: softmax (eq. 1)."""
        return None if self.disease is None else torch.softmax(self.disease.float(), dim=1)[:, 1]


def within_unhealthy(covid_B2: Tensor, health_B2: Tensor) -> Tensor:
    """Returns (B, 2) log-odds of COVID-19 and other disease times the probability of unhealthy.

    A product of two probabilities, sigmoid(c) and sigmoid(h), has the odds 1 / (exp(-c) + exp(-h) + exp(-c - h)).

    Args:
        covid_B2: logits among unhealthy images.
        health_B2: logits of healthy and unhealthy.
    """
    unhealthy_B1 = (health_B2[:, UNHEALTHY] - health_B2[:, HEALTHY]).unsqueeze(1)
    parts = torch.stack([-covid_B2, (-unhealthy_B1).expand_as(covid_B2), -covid_B2 - unhealthy_B1])
    return -torch.logsumexp(parts, dim=0)


IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
"""Standard deviation by channel of pixels in 0..1, with which torchvision's weights were trained."""


def normalise(frames_BHW: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """Returns frames as three equal channels with ImageNet's mean and deviation, on the tensor's device.

    Args:
        frames_BHW: uint8 frames.
        dtype: type of the result, the model's precision.

    Returns:
        Tensor (B, 3, H, W).
    """
    mean, std = (torch.tensor(values, device=frames_BHW.device) for values in (IMAGENET_MEAN, IMAGENET_STD))
    scaled_B1HW = (frames_BHW.unsqueeze(1).float()) / 255
    return ((scaled_B1HW - mean.view(1, 3, 1, 1)) / std.view(1, 3, 1, 1)).to(dtype)
