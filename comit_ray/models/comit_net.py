"""COMiT-Net, the COVID-19 Multi-Task Network (section 2 and figure 3 of the paper)."""

from collections.abc import Iterable

from torch import Tensor, nn

from comit_ray.models.layers import Branch, Branches, he_initialise
from comit_ray.models.outputs import ModelOutput
from comit_ray.models.vgg import Decoder, Encoder
from comit_ray.tables.vocabulary import ALL_TASKS, Task


class COMiTNet(Branches):
    """COMiT-Net: one encoder, and one head for each task (two decoders, two branches).

    Encoder: 13 convolutions with batch normalisation (14,723,136 parameters at width 1). Each decoder: 13 convolutions,
    12 of them with batch normalisation (14,721,026). Each branch: three fully connected layers (164,482). With all four
    tasks at width 1 the network has 44,494,152 parameters.

    Args:
        tasks: the heads to build, any subset of the four; the others are None in the output.
        width: multiplies every channel number; 1.0 is the paper's.
    """

    def __init__(self, tasks: Iterable[Task | str] = ALL_TASKS, width: float = 1.0) -> None:
        super().__init__()
        self.tasks = tuple(Task(task) for task in tasks)
        self.encoder = Encoder(width)
        self.lung = Decoder(width) if Task.LUNG in self.tasks else None
        self.disease = Decoder(width) if Task.DISEASE in self.tasks else None
        self.health = Branch(self.encoder.channels, width) if Task.HEALTH in self.tasks else None
        self.covid = Branch(self.encoder.channels, width) if Task.COVID in self.tasks else None
        self.apply(he_initialise)

    @property
    def gradcam_layer(self) -> nn.Module | None:
        """The layer for Grad-CAM: the encoder's last convolution with ReLU, before the pooling; None without a branch.

        Shape (B, 512 x width, H/16, W/16). The authors of Grad-CAM use the same layer of VGG16 (`relu5_3` in their
        code; Selvaraju et al., arXiv:1610.02391). After the pooling a frame of 224 px would have 7 x 7 cells instead of
        14 x 14, too coarse beside a mask.
        """
        return self.encoder.blocks[-1] if self.health or self.covid else None

    def classify(self, x_B3HW: Tensor) -> ModelOutput:
        """Runs the encoder and the branches only, which saves the time and memory of the decoders.

        Raises:
            ConfigError: as `forward`.
        """
        features, _ = self.encoder(x_B3HW)
        embedding = features.mean(dim=(2, 3))
        health, covid = self.branch_logits(embedding)
        return ModelOutput(
            lung=None,
            disease=None,
            health=health,
            covid=covid,
            embedding=embedding,
        )

    def forward(self, x_B3HW: Tensor) -> ModelOutput:
        """Returns the logits of `x_B3HW`, a normalised batch (see `comit_ray.models.outputs.normalise`).

        Raises:
            ConfigError: a side is not a multiple of 32.
        """
        features, indices = self.encoder(x_B3HW)
        embedding = features.mean(dim=(2, 3))
        health, covid = self.branch_logits(embedding)
        return ModelOutput(
            lung=self.lung(features, indices) if self.lung else None,
            disease=self.disease(features, indices) if self.disease else None,
            health=health,
            covid=covid,
            embedding=embedding,
        )
