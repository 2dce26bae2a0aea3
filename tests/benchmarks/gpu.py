"""How fast one GPU is: the bare network in three arithmetics, its share of the card's peak, and a screen beside it.

`make bench-gpu`, or `python -m tests.benchmarks.gpu --output DIR [--images 20000] [--peak 989] [--device cpu]`. One
script for a card that is there for minutes: everything is printed as it is known, so a run that is cut short is of use.
FLOP are counted by PyTorch (`torch.utils.flop_counter`), a multiplication and an addition as two. `--peak` is the
card's dense bfloat16 peak in TFLOP/s, of its maker's data sheet. `--width` and `--size` are for a try on a CPU.
"""

import argparse
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from comit_ray.checkpoint import checkpoint
from comit_ray.checkpoint.checkpoint import TrainingState
from comit_ray.checkpoint.operating_points import Threshold
from comit_ray.config.train_config import TrainConfig
from comit_ray.models.outputs import normalise
from comit_ray.models.registry import build_model

TURNS, FLAGGED_AT = 5, 0.5
ARITHMETICS = (("float32", torch.float32, False), ("TF32", torch.float32, True), ("bfloat16", torch.bfloat16, True))


def made(directory: Path, width: float, size: int) -> str:
    """An untrained COMiT-Net with every head, as a checkpoint: speed does not depend on the weights."""
    torch.manual_seed(0)
    model = {"width": width, "weights": "none"}
    config = TrainConfig.parse(
        {"data": "d", "storage": "s", "name": "n", "frame": {"size": size}, "model": model}, origin="benchmark"
    )
    directory.mkdir(parents=True)
    chosen = {name: Threshold(threshold=FLAGGED_AT) for name in ("covid", "unhealthy")}
    state = TrainingState(history=[{"epoch": 1}], optimiser={}, random=[])
    checkpoint.save(directory, build_model(config.model), config, {"specificity_0.90": chosen}, {}, state)
    return str(directory)


def timed(ask: Callable[[], Tensor], images: int, device: str) -> float:
    """Images a second, the best of some turns after one that nobody counts."""
    found = []
    for _ in range(TURNS + 1):
        began = time.perf_counter()
        ask().sum().item()  # waits for the device
        found.append(images / (time.perf_counter() - began))
    return max(found[1:])


def bare(uri: str, device: str, peak: float, batches: list[int]) -> None:
    """The bare network in float32, TF32 and bfloat16, eager and compiled, with the share of the peak."""
    loaded = checkpoint.load(uri)
    size, plain = loaded.config.frame.size, loaded.model.to(device)
    frames_BHW = torch.randint(0, 256, (max(batches), size, size), dtype=torch.uint8, device=device)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        plain(normalise(frames_BHW[:1]))
    flop = counter.get_total_flops()
    print(f"{flop / 1e9:.2f} GFLOP an image", flush=True)
    scores = {}
    for name, dtype, tf32 in (
        ("float32", torch.float32, False),
        ("TF32", torch.float32, True),
        ("bfloat16", torch.bfloat16, True),
    ):
        torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = tf32
        network: nn.Module = checkpoint.load(uri).model.to(device, dtype).to(memory_format=torch.channels_last)
        for compiled in (False, True) if dtype is torch.bfloat16 and device != "cpu" else (False,):
            ask = torch.compile(network) if compiled else network
            for batch in batches:

                def once(ask: Callable[..., object] = ask, batch: int = batch, dtype: torch.dtype = dtype) -> Tensor:
                    x = normalise(frames_BHW[:batch], dtype).contiguous(memory_format=torch.channels_last)
                    output = ask(x)
                    assert hasattr(output, "p_covid")
                    found: Tensor = output.p_covid
                    return found

                with torch.inference_mode():
                    rate = timed(once, batch, device)
                    scores[name] = once(batch=batches[-1]).float()
                share = rate * flop / (peak * 1e12)
                how = "compiled" if compiled else "eager"
                print(f"{name} {how}, {batch} a pass: {rate:,.0f} images/s, {share:.1%} of the peak", flush=True)
    for name, found in scores.items():
        apart = (found - scores["float32"]).abs()
        flags = ((found >= FLAGGED_AT) != (scores["float32"] >= FLAGGED_AT)).float().mean()
        print(f"{name}: p_covid differs by {apart.max():.4f} at most from float32, {flags:.2%} of flags (untrained)")


def job(name: str, *options: str) -> None:
    """A job of the command line, its output as it comes."""
    print(f"--- {name}", flush=True)
    subprocess.run([sys.executable, f"jobs/{name}.py", *options], check=False)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--peak", type=float, default=989.0)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--width", type=float, default=1.0)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--batches", type=int, nargs="+", default=[32, 64, 256])
    asked = parser.parse_args()
    if asked.device == "cuda" and not torch.cuda.is_available():
        raise SystemExit(f"PyTorch {torch.__version__} finds no GPU here: --device cpu is for a try of this script")
    uri = made(asked.output / "checkpoint", asked.width, asked.size)
    bare(uri, asked.device, asked.peak, asked.batches)
    if asked.device == "cuda":
        options = ["--checkpoint", uri, "--output", str(asked.output / "screen"), "--gpu", "true"]
        job("benchmark", *options, "--images", str(asked.images), "--chunk_rows", "256")


if __name__ == "__main__":
    main()
