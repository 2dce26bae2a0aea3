"""The PyTorch backends, plain and fused: float32 on a CPU; on a GPU convolutions use TF32, PyTorch's default."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from comit_ray.checkpoint import checkpoint
from comit_ray.errors import ConfigError
from comit_ray.inference import optimised
from comit_ray.inference.model import Frames, HeatMaps, Model
from comit_ray.inference.scores import FOREGROUND, Bits, BoolB, Scores, pack_masks
from comit_ray.inference.torch_gradcam import GradCam
from comit_ray.models.outputs import ModelOutput, normalise
from comit_ray.tables.vocabulary import SCORES, Task


class TorchModel(Model):
    """A network of `comit_ray.models`, in evaluation mode.

    Attributes:
        network: the module, on the device; None once the model is closed.

    Args:
        uri: URI of the checkpoint.
        device: `cpu` or `cuda`.
        batch_size: most images in a forward pass.
        gradcam: whether heat maps will be requested; the network's parameters are then frozen.
        threads: PyTorch's CPU threads in this whole process; None: PyTorch's choice.
        fused: whether batch norms are folded into the convolutions, and feature maps lie channels last in memory:
            faster on CPUs, with scores that differ in about the sixth digit.

    Raises:
        CheckpointError: the checkpoint cannot be loaded.
        ConfigError: the device does not exist; with `gradcam`, captum is not installed, the model has no score, or
            `fused` is set too.
    """

    OUT_OF_MEMORY = (torch.OutOfMemoryError,)

    def __init__(
        self,
        uri: str,
        device: str = "cpu",
        batch_size: int = 32,
        gradcam: bool = False,
        threads: int | None = None,
        fused: bool = False,
    ) -> None:
        if fused and gradcam:
            raise ConfigError(
                f"--gradcam true needs the plain network: use --backend torch, not {optimised.TORCH_FUSED}"
            )
        if threads is not None:
            torch.set_num_threads(threads)
        loaded = checkpoint.load(uri)
        self.backend = optimised.TORCH_FUSED if fused else optimised.TORCH
        self.model_id = optimised.fused_id(loaded.model_id) if fused else loaded.model_id
        self.frame = loaded.config.frame
        self.tasks = tuple(Task(task) for task in loaded.config.model.tasks)
        self.reference = loaded.reference
        self.device = device
        self.batch_size = batch_size
        network = _on(device, loaded.model.eval())
        self._layout = torch.contiguous_format
        if fused:
            self._layout = torch.channels_last
            network = fuse_batch_norms(network).to(memory_format=self._layout)
        self.network: nn.Module | None = network
        self._gradcam = GradCam(self.network) if gradcam else None

    def _scores(self, frames_BHW: Frames, masks: bool) -> Scores:
        with torch.inference_mode():
            output = self._forward(frames_BHW, masks)
            probabilities = {name: _host(getattr(output, f"p_{name}")) for name in SCORES if name in output.log_odds}
            log_odds = {name: values.cpu().numpy() for name, values in output.log_odds.items()}
            embedding = _host(output.embedding)
            bits, finite = _masks(output) if masks else ({}, np.ones(len(frames_BHW), bool))
        for values in (*probabilities.values(), embedding):
            finite &= np.isfinite(values).reshape(len(values), -1).all(axis=1)
        height, width = frames_BHW.shape[1:]
        return Scores(
            embedding=embedding,
            finite=finite,
            height=height,
            width=width,
            log_odds=log_odds,
            masks=bits,
            **{f"p_{name}": values for name, values in probabilities.items()},
        )

    def _heat_maps(self, frames_BHW: Frames) -> HeatMaps:
        if self._gradcam is None:
            return super()._heat_maps(frames_BHW)
        return self._gradcam.maps(self._normalised(frames_BHW))

    def _embed(self, frames_BHW: Frames) -> npt.NDArray[np.float32]:
        with torch.inference_mode():
            return _host(self._forward(frames_BHW).embedding)  # the copy waits for the device

    def _forward(self, frames_BHW: Frames, masks: bool = True) -> ModelOutput:
        """Returns the network's output; without masks its decoders do not run, if it can compute scores alone."""
        assert self.network is not None, "a closed model is refused before"
        ask: Callable[[Tensor], ModelOutput] = self.network
        branches = getattr(self.network, "classify", None)
        # A network with a layer for Grad-CAM has branches and runs them alone (`comit_ray.models.registry.ModelEntry`).
        if not masks and branches is not None and getattr(self.network, "gradcam_layer", None) is not None:
            ask = branches
        return ask(self._normalised(frames_BHW))

    def _normalised(self, frames_BHW: Frames) -> Tensor:
        """Returns (B, 3, H, W), uint8 until the device; copies, because PyTorch warns of read-only memory."""
        x_BCHW = normalise(torch.from_numpy(frames_BHW.copy()).to(self.device))
        return x_BCHW.contiguous(memory_format=self._layout)

    def _free_memory(self) -> None:
        torch.cuda.empty_cache()

    def _close(self) -> None:
        self.network = self._gradcam = None
        if self.device.startswith("cuda"):
            torch.cuda.empty_cache()


def fuse_batch_norms(network: nn.Module) -> nn.Module:
    """Folds each `BatchNorm2d` that directly follows a `Conv2d` of the same `Sequential` into it.

    A batch norm in evaluation mode is a fixed scale and shift of each channel. The convolution before it can apply both
    in its own weights and bias, so one pass over the feature maps is saved. The sums are then rounded differently.
    Other batch norms stay as they are. The network is changed in place, and must be in evaluation mode.

    Args:
        network: any module.

    Returns:
        The same module.

    Example:
        >>> pair = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2)).eval()
        >>> fuse_batch_norms(pair)[1]
        Identity()
    """
    for block in list(network.modules()):
        if not isinstance(block, nn.Sequential):
            continue
        for index in range(1, len(block)):
            before, norm = block[index - 1], block[index]
            if isinstance(before, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                block[index - 1] = fuse_conv_bn_eval(before, norm)
                block[index] = nn.Identity()
    return network


def _on(device: str, network: nn.Module) -> nn.Module:
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise ConfigError(f"device {device}: PyTorch {torch.__version__} finds no GPU on this machine: use cpu")
    return network.to(device)


def _host(values: Tensor) -> npt.NDArray[np.float32]:
    found: npt.NDArray[np.float32] = values.float().cpu().numpy()
    return found


def _masks(output: ModelOutput) -> tuple[dict[Task, Bits], BoolB]:
    """Returns the bits of each mask, and (B,) whether an image's probabilities are all finite.

    Both are computed on the device, because the probabilities would be four times as many bytes to fetch.
    """
    found = {Task.LUNG: output.p_lung_BHW, Task.DISEASE: output.p_disease_BHW}
    there = {task: p_BHW for task, p_BHW in found.items() if p_BHW is not None}
    finite_B = torch.ones(len(output.embedding), dtype=torch.bool, device=output.embedding.device)
    for p_BHW in there.values():
        finite_B &= p_BHW.sum(dim=(1, 2)).isfinite()  # each is in 0..1 or not a number
    bits = {task: pack_masks((p_BHW >= FOREGROUND).cpu().numpy()) for task, p_BHW in there.items()}
    return bits, finite_B.cpu().numpy()
