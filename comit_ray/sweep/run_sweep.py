"""Runs a whole sweep: the unfinished trials of a study, as many at a time as fit, each recorded."""

from collections import Counter

from comit_ray.chunks import nodes, plan, run_record
from comit_ray.config import config_yaml
from comit_ray.config.sweep_config import SweepConfig
from comit_ray.inference import torch_gradcam
from comit_ray.storage import storage
from comit_ray.sweep import study, sweep_record, tuner
from comit_ray.sweep.trial import TrialPlace


def run(config: SweepConfig) -> bool:
    """Runs the unfinished trials of the study; returns whether every planned trial has a row and none failed.

    Raises:
        ConfigError: the study does not exist or cannot run, or some node does not see a local path.
        StorageError: the study's directory cannot be written.
    """
    path = config_yaml.find(config.study, shipped=config_yaml.STUDIES)
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
    return not any(sweep_record.is_open(statuses.get(one)) for one in planned)
