"""Compares a new model with the old one on the same images, before the new one decides anything in a programme.

`--model_change keep` leaves the rows of the old model unchanged, and the new model scores later images. `rescreen`
scores every image again. In both cases the new model first screens a sample of the old images, into
OUTPUT/model_changes/MODEL. The job prints how the scores moved and which flags changed, and writes this to a file
beside the sample.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from comit_ray.chunks import run_record
from comit_ray.chunks.ownership import settings_hash
from comit_ray.config.screen_config import ScreenConfig
from comit_ray.data.manifest import manifest
from comit_ray.errors import ConfigError, Status
from comit_ray.screening.screen_tables import read_predictions
from comit_ray.storage import storage
from comit_ray.tables.manifest_schema import MANIFEST
from comit_ray.tables.vocabulary import SCORES, counted

DIRECTORY = "model_changes"
KEEP, RESCREEN = "keep", "rescreen"
OF_THE_MODEL = ("model_id", "frame", "operating_point", "temperature", "computed")
"""Run settings that a new model may change; all others must stay the same."""
COLUMNS = ["image_id", "status", "model_id", "covid_flag", "unhealthy_flag", *(f"p_{score}" for score in SCORES)]


def is_asked(output: str, question: Mapping[str, Any], change: str) -> bool:
    """Whether the output's rows come from another model, so that the requested change applies.

    Raises:
        ConfigError: other run settings than those of the model differ too.
        StorageError: the record of the run cannot be read.
    """
    if not storage.exists(storage.join(output, run_record.FILE)):
        return False
    asked = run_record.read(output)["question"]
    now = json.loads(json.dumps(question))
    if asked.get("model_id") == now.get("model_id"):
        return False
    others = [
        key
        for key in {*asked, *now} - {*OF_THE_MODEL, "manifest"}
        if (asked.get(key) or None) != (now.get(key) or None)
    ]
    if others:
        raise ConfigError(
            f"--model_change {change} changes only the model, but other settings differ too "
            f"({', '.join(sorted(others))}): give the options of the earlier runs, or another --output"
        )
    return True


def compare(
    output: str, config: ScreenConfig, model_id: str, screen: Callable[[ScreenConfig], object]
) -> dict[str, Any] | None:
    """Screens a sample of the images that the old model scored with the new model, and compares the results.

    Args:
        output: URI of the programme's results.
        config: options of the job, with the new checkpoint.
        model_id: id of the new model.
        screen: function that screens a manifest with given options.

    Returns:
        The result of `compared`, which is also written to OUTPUT/model_changes/MODEL/comparison.json; None if the old
        model scored no image.
    """
    assert config.manifest is not None, "a manifest is made before it is screened"
    where = storage.join(output, DIRECTORY, model_id)
    old = read_predictions(output).select(COLUMNS)
    old = old.filter(pc.equal(old["status"], Status.OK))
    rows = manifest.read(config.manifest)
    rows = rows.filter(
        pc.and_(pc.is_null(rows["excluded"]), pc.is_in(rows["image_id"], old["image_id"].combine_chunks()))
    )
    ids = sorted(rows["image_id"].to_pylist(), key=lambda name: hashlib.sha256(name.encode()).digest())
    chosen = rows.filter(pc.is_in(rows["image_id"], pa.array(ids[: config.model_change_sample], pa.string())))
    if not len(chosen):
        return None
    chosen = chosen.sort_by("dataset")
    chunks = pc.binary_join_element_wise(chosen["dataset"], "overlap", "-")
    chosen = chosen.set_column(MANIFEST.get_field_index("chunk"), MANIFEST.field("chunk"), chunks)
    of_sample = manifest.content_hash(chosen)  # a new sample, after the archive has grown, gets a new screen
    uri, results = (storage.join(where, f"{name}-{of_sample}") for name in ("manifest", "results"))
    manifest.write(uri, chosen, len(chosen))
    sample: dict[str, Any] = {"manifest": uri, "output": results, "archive": None, "model_change": None}
    screen(config.model_copy(update=sample | {"compact": False, "split": "all", "max_failed_share": 1.0}))
    new = read_predictions(results).select(COLUMNS)
    found = compared(old.to_pandas(), new.to_pandas())
    storage.write_bytes(storage.join(where, "comparison.json"), json.dumps(found, indent=2).encode())
    return found


def compared(old: pd.DataFrame, new: pd.DataFrame) -> dict[str, Any]:
    """Compares two models on the same images: shift of the median scores, changed flags, and agreement.

    Args:
        old: `predictions` rows of the old model, with `COLUMNS`.
        new: such rows of the new model; images that both models scored are compared.

    Returns:
        `images`; `scores`: score -> `old` and `new` median, `shift` of the median, and `median_change` of an image's
        score (medians 0 to 1); `flags`: flag -> `old`, `new` (images flagged), `only_old`, `only_new`, `agreement`
        (share of images with the same flag) and Cohen's `kappa` (null if both models flag all images or none).
    """
    both = old.merge(new[new["status"] == Status.OK], on="image_id", suffixes=("_old", "_new"))
    found: dict[str, Any] = {"images": len(both), "scores": {}, "flags": {}}
    for score in SCORES:
        pair = both[[f"p_{score}_old", f"p_{score}_new"]].dropna().to_numpy(float)
        if len(pair):
            before, after = np.median(pair, axis=0)
            moved = float(np.median(pair[:, 1] - pair[:, 0]))
            found["scores"][score] = {
                "old": float(before), "new": float(after), "shift": float(after - before), "median_change": moved
            }  # fmt: skip
    for flag in ("covid_flag", "unhealthy_flag"):
        flags = both[[f"{flag}_old", f"{flag}_new"]].dropna().to_numpy(bool)
        if len(flags):
            before, after = flags[:, 0], flags[:, 1]
            agreement = float(np.mean(before == after))
            chance = float(before.mean() * after.mean() + (1 - before.mean()) * (1 - after.mean()))
            found["flags"][flag] = {
                "old": int(before.sum()),
                "new": int(after.sum()),
                "only_old": int((before & ~after).sum()),
                "only_new": int((after & ~before).sum()),
                "agreement": agreement,
                "kappa": (agreement - chance) / (1 - chance) if chance < 1 else None,
            }
    return found


def lines(found: Mapping[str, Any] | None, change: str) -> list[str]:
    """Reports the comparison in lines to print."""
    what = "old rows stay, and the new model scores new images" if change == KEEP else "every image is scored again"
    told = [f"the model has changed (--model_change {change}): {what}"]
    if found is None:
        return [*told, "the old model scored no image: there is nothing to compare"]
    told.append(f"both models compared on {counted(found['images'], 'image')}:")
    for score, of in found["scores"].items():
        told.append(f"  p_{score}: median {of['old']:.3f}, now {of['new']:.3f} ({of['shift']:+.3f})")
    for flag, of in found["flags"].items():
        kappa = "" if of["kappa"] is None else f", kappa {of['kappa']:.2f}"
        told.append(
            f"  {flag}: {of['only_new']:,} flagged by the new model only, {of['only_old']:,} by the old model only; "
            f"same flag for {of['agreement']:.1%}{kappa}"
        )
    return told


def accept(output: str, question: Mapping[str, Any], change: str, found: Mapping[str, Any] | None) -> None:
    """Records that the new model decides from now on, and whether rows of the old one still count.

    Raises:
        StorageError: the record cannot be read or written.
    """
    record = run_record.read(output)
    asked = record["question"]
    kept = [*record.get("kept_models", [])] if change == KEEP else []
    if change == KEEP:
        point = asked.get("operating_point")
        kept.append({"model_id": asked["model_id"], "settings": settings_hash(asked), "operating_point": point})
    changes = [*record.get("model_changes", []), {"change": change, "before": asked["model_id"], "compared": found}]
    now = json.loads(json.dumps(dict(question))) | {"manifest": asked["manifest"]}
    record |= {"question": now, "kept_models": kept, "model_changes": changes}
    storage.write_bytes(storage.join(output, run_record.FILE), json.dumps(record, indent=2).encode())
