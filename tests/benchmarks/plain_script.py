"""What a user would write instead of a screen: a DataLoader, the network, masks as PNG, a table at the end.

`python -m tests.benchmarks.plain_script FILES CHECKPOINT OUTPUT [--workers N] [--threads N]`. FILES is a text file, a
path of a PNG or JPEG a line. One process, no Ray, no resume, no reason for a file that cannot be read: it stops there.
Of comit_ray it takes the network and its weights alone.
"""

import argparse
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from comit_ray.checkpoint import checkpoint
from comit_ray.models.outputs import normalise


class Radiographs(Dataset[npt.NDArray[np.uint8]]):
    """Files as grey frames of the model's size."""

    def __init__(self, paths: list[str], size: int) -> None:
        self.paths, self.size = paths, size

    def __len__(self) -> int:
        """Number of files."""
        return len(self.paths)

    def __getitem__(self, index: int) -> npt.NDArray[np.uint8]:
        """(size, size), 0 black to 255 white."""
        with Image.open(self.paths[index]) as image:
            return np.array(image.convert("L").resize((self.size, self.size), Image.Resampling.BILINEAR))


def main(files: str, uri: str, output: str, workers: int, threads: int, batch_size: int) -> int:
    """Score every file and write OUTPUT/masks/*.png and OUTPUT/predictions.parquet; the number of images."""
    torch.set_num_threads(threads)
    paths = Path(files).read_text().splitlines()
    loaded = checkpoint.load(uri)
    network = loaded.model.eval()
    masks = Path(output, "masks")
    masks.mkdir(parents=True)
    batches = DataLoader(Radiographs(paths, loaded.config.frame.size), batch_size, num_workers=workers)
    scores: dict[str, list[npt.NDArray[np.float32]]] = {}
    done = 0
    with torch.inference_mode():
        for frames_BHW in batches:
            found = network(normalise(frames_BHW))
            for name in ("p_covid", "p_other", "p_unhealthy"):
                values = getattr(found, name)
                if values is not None:
                    scores.setdefault(name, []).append(values.numpy())
            for name, p_BHW in (("lung", found.p_lung_BHW), ("disease", found.p_disease_BHW)):
                if p_BHW is None:
                    continue
                for index, mask_HW in enumerate((p_BHW >= 0.5).numpy(), start=done):
                    Image.fromarray(mask_HW).save(masks / f"{index}_{name}.png")
            done += len(frames_BHW)
    table = {"path": paths} | {name: np.concatenate(parts) for name, parts in scores.items()}
    pq.write_table(pa.table(table), Path(output, "predictions.parquet"))
    return done


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files")
    parser.add_argument("checkpoint")
    parser.add_argument("output")
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--batch_size", type=int, default=32)
    asked = parser.parse_args()
    count = main(asked.files, asked.checkpoint, asked.output, asked.workers, asked.threads, asked.batch_size)
    print(f"{count:,} images")
