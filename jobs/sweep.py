"""Train and score every variant of a study, with several seeds: a row a trial in `trials`, its scores in `predictions`.

Run the same command with --resume true after any interruption: finished trials stay as they are.
"""

from collections import Counter
from pathlib import Path

from comit_ray import cli
from comit_ray.chunks import nodes, plan, run_record
from comit_ray.config.sweep_config import SweepConfig
from comit_ray.errors import ConfigError
from comit_ray.inference import torch_gradcam
from comit_ray.storage import storage
from comit_ray.sweep import study, sweep_record, tuner
from comit_ray.sweep.trial import TrialPlace

STUDIES = Path(__file__).resolve().parent / "configs" / "studies"


def job(config: SweepConfig) -> int:
    """The whole sweep; exit status 0 only if every planned trial has a row, and none failed."""
    path = _file(config.study)
    asked = study.read(path)
    trials = study.trials(asked, path, config)
    manifest, training_hash = sweep_record.find(config)
    uri = sweep_record.directory(config)
    if any(trial.gradcam for trial in trials):
        torch_gradcam.library()
    at_once = tuner.room(trials, config.concurrent)
    nodes.check({"data": config.data, "manifest": manifest}, {"storage": config.storage})
    fingerprint = plan.make_plan(manifest, "all").fingerprint
    data = storage.normalise(config.data)
    question = sweep_record.study_settings(path.stem, asked, data, fingerprint, training_hash, trials)
    sweep_record.open_study(uri, question, config.model_dump(mode="json") | {"manifest": manifest}, config.resume)
    run_record.sign(uri, config.model_dump(mode="json"))

    statuses = sweep_record.recorded(uri)
    left = [trial for trial in trials if any(sweep_record.is_open(statuses.get(member.id)) for member in trial.members)]
    place = TrialPlace(path.stem, uri, manifest, asked.split, asked.search.metric if asked.search else None)
    tuner.sweep(left, place, asked.search, at_once, config.retries)

    statuses = sweep_record.recorded(uri)
    planned = [member.id for trial in trials for member in trial.members]
    for status, count in sorted(Counter(statuses.get(one, "without a row") for one in planned).items()):
        print(f"{count:>6,} {status}")
    print(f"study: {uri}")
    return 1 if any(sweep_record.is_open(statuses.get(one)) for one in planned) else 0


def _file(name: str) -> Path:
    """The file of a shipped study, or of one's own."""
    own = Path(name)
    if own.suffix in (".yaml", ".yml"):
        return own
    shipped = STUDIES / f"{name}.yaml"
    if not shipped.exists():
        known = ", ".join(sorted(one.stem for one in STUDIES.glob("*.yaml")))
        raise ConfigError(f"no study {name!r}; known: {known}; or give the path of a YAML file")
    return shipped


if __name__ == "__main__":
    cli.run(job, SweepConfig, __doc__ or "")
