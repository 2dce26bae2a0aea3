"""Runs an optimised model through OpenVINO, on CPUs: no PyTorch is imported.

A pass always has the same number of images, and a batch that is not full is filled up with copies. So an image's
scores depend neither on the images beside it nor on the batch size.
"""

import os
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import expit

from comit_ray.checkpoint import checkpoint_facts
from comit_ray.errors import CheckpointError, ConfigError
from comit_ray.inference import optimised
from comit_ray.inference.model import Frames, Model
from comit_ray.inference.openvino_outputs import (
    COVID,
    EMBEDDING,
    HEALTH,
    library,
    mask_output,
    output_names,
    sum_output,
)
from comit_ray.inference.scores import Bits, Scores
from comit_ray.tables.vocabulary import MASK_TASKS, SCORE_TASKS, Task

PASS = 8
"""Images per pass, unless a batch has fewer: a layer's outputs then stay in the caches near the core."""


class OpenVinoModel(Model):
    """An optimised model of `comit_ray.inference.optimised`.

    Args:
        uri: URI of the checkpoint that it belongs to.
        device: `cpu`.
        batch_size: most images in a request; a pass has at most `PASS`.
        gradcam: must be False, because heat maps need gradients, which OpenVINO does not give.
        threads: number of threads; None: one per core.
        precision: precision of the model.

    Raises:
        CheckpointError: the checkpoint or the model cannot be loaded.
        ConfigError: OpenVINO is not installed, there is no such model, the device is another, heat maps are requested,
            or the processor does not support the precision.
    """

    def __init__(
        self, uri: str, device: str, batch_size: int, gradcam: bool, threads: int | None, precision: str
    ) -> None:
        if gradcam:
            raise ConfigError("--gradcam true needs gradients, which OpenVINO does not give: use --backend torch")
        if device != "cpu":
            raise ConfigError(f"--backend openvino computes on CPUs, got device {device}: use --backend torch")
        facts, _ = checkpoint_facts.read_facts(uri)
        record = optimised.checked(uri, precision, facts.model_id)
        openvino = library()
        files = optimised.read_files(uri, precision, record)
        self.backend = optimised.OPENVINO
        self.model_id = optimised.variant_id(record)
        self.frame = facts.config.frame
        self.tasks = tuple(Task(task) for task in facts.config.model.tasks)
        self.reference = facts.reference
        self.device = device
        self.batch_size = batch_size
        self._pass = min(PASS, batch_size)
        self._core = openvino.Core()
        if precision == optimised.BFLOAT16 and "BF16" not in self._core.get_property(
            "CPU", "OPTIMIZATION_CAPABILITIES"
        ):
            raise ConfigError("--precision bfloat16: this processor does not compute in it: use float32 or int8")
        self._settings = {
            "INFERENCE_PRECISION_HINT": "bf16" if precision == optimised.BFLOAT16 else "f32",
            "INFERENCE_NUM_THREADS": threads or len(os.sched_getaffinity(0)),
            "NUM_STREAMS": 1,
            "ENABLE_CPU_PINNING": False,  # otherwise two processes of one thread each would be pinned to the same core
        }
        try:
            self._network: Any = self._core.read_model(
                model=files[optimised.XML], weights=openvino.Tensor(np.frombuffer(files[optimised.BIN], np.uint8))
            )
        except RuntimeError as error:
            raise CheckpointError(f"{optimised.place(uri, precision)} is no model of OpenVINO: {error}") from None
        size = self.frame.size
        self._network.reshape([self._pass, size, size])
        self._requests: dict[bool, Any] = {}
        self._names = output_names(self.tasks)

    def _scores(self, frames_BHW: Frames, masks: bool) -> Scores:
        found = self._outputs(frames_BHW, masks)
        embedding = found[EMBEDDING]
        finite_B = np.isfinite(embedding).all(axis=1)
        log_odds: dict[str, npt.NDArray[np.float64]] = {}
        if Task.COVID in self.tasks:
            covid_B2 = found[COVID].astype(np.float64)
            log_odds |= {"covid": covid_B2[:, 0], "other": covid_B2[:, 1]}
        if Task.HEALTH in self.tasks:
            health_B2 = found[HEALTH].astype(np.float64)
            log_odds["unhealthy"] = health_B2[:, 1] - health_B2[:, 0]
        for values in log_odds.values():
            finite_B &= np.isfinite(values)
        bits: dict[Task, Bits] = {}
        for task in MASK_TASKS if masks else ():
            if task in self.tasks:
                finite_B &= np.isfinite(found[sum_output(task)])
                mask_BHW = found[mask_output(task)]
                bits[task] = np.packbits(mask_BHW.reshape(len(mask_BHW), -1), axis=1)
        height, width = frames_BHW.shape[1:]
        probabilities = {f"p_{name}": expit(values).astype(np.float32) for name, values in log_odds.items()}
        return Scores(embedding, finite_B, height, width, log_odds=log_odds, masks=bits, **probabilities)

    def _embed(self, frames_BHW: Frames) -> npt.NDArray[np.float32]:
        embedding: npt.NDArray[np.float32] = self._outputs(frames_BHW, True)[EMBEDDING]
        return embedding

    def _outputs(self, frames_BHW: Frames, masks: bool) -> dict[str, npt.NDArray[Any]]:
        """Returns output -> values of each frame, pass by pass."""
        request = self._request(masks)
        parts: dict[str, list[npt.NDArray[Any]]] = {}
        for start in range(0, len(frames_BHW), self._pass):
            given_BHW = frames_BHW[start : start + self._pass]
            lacking = self._pass - len(given_BHW)
            full_BHW = np.concatenate([given_BHW, np.repeat(given_BHW[-1:], lacking, axis=0)]) if lacking else given_BHW
            request.infer([np.ascontiguousarray(full_BHW)])
            for index in range(len(request.model_outputs)):
                values = np.array(request.get_output_tensor(index).data[: len(given_BHW)])  # the buffer is reused
                parts.setdefault(self._names[index], []).append(values)
        return {name: values[0] if len(values) == 1 else np.concatenate(values) for name, values in parts.items()}

    def _request(self, masks: bool) -> Any:
        """Returns the request that computes all outputs, or only those of the branches; compiled at first use."""
        masks = masks or not set(SCORE_TASKS) & set(self.tasks)
        if masks not in self._requests:
            network = self._network
            if not masks and set(MASK_TASKS) & set(self.tasks):
                branches = [name for name in self._names if name in (EMBEDDING, COVID, HEALTH)]
                network = library().Model(network.get_results()[: len(branches)], network.get_parameters())
            self._requests[masks] = self._core.compile_model(network, "CPU", self._settings).create_infer_request()
        return self._requests[masks]

    def _free_memory(self) -> None:
        """Does nothing: only the network itself is held."""

    def _close(self) -> None:
        self._requests.clear()
        self._network = self._core = None
