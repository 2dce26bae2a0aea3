"""Score a screened, labelled archive: metrics.json, report.md and a sheet of overlays, from tables alone."""

import json

from comit_ray import cli, storage
from comit_ray.config import EvaluateConfig
from comit_ray.errors import Status
from comit_ray.evaluation import report, scores, sheet


def job(config: EvaluateConfig) -> int:
    """Read the tables, write the report."""
    images = scores.join_tables(config.results, config.manifest, config.split)
    found = scores.figures(images, config.split, config.masks.lungs, config.specificities)
    output = storage.normalise(config.output)
    metrics = json.dumps([figure.to_json() for figure in found], indent=1)
    storage.write_bytes(storage.join(output, "metrics.json"), metrics.encode())
    text = report.markdown(found, images, config)
    storage.write_bytes(storage.join(output, "report.md"), text.encode())
    if config.sheet_images:
        chosen = sheet.choose(images[images["status"] == Status.OK], config.sheet_images, config.sheet_seed)
        png = sheet.draw(chosen, f"{config.split} split, drawn at random", config.decode, config.masks.lungs)
        storage.write_bytes(storage.join(output, "figures", "sheet.png"), png)
    print(text)
    print(f"report: {output}")
    return 0


if __name__ == "__main__":
    cli.run(job, EvaluateConfig, __doc__ or "")
