"""What every model returns: one field a head, `None` where the model has no such head."""

from dataclasses import dataclass

import torch
from torch import Tensor

HEALTHY, UNHEALTHY = 0, 1
"""Channels of `ModelOutput.health`."""
COVID, OTHER = 0, 1
"""Channels of `ModelOutput.covid`, in the paper's order [C, O] (eq. 6)."""


@dataclass
class ModelOutput:
    """Logits of a batch; the probabilities of the paper are the properties.

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

        From the logits: a probability near 1 does not tell its log-odds any more. Those of a softmax over two classes
        are the difference of its logits.
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
