import json
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import numpy as np
import pytest
import torch

from comit_ray.checkpoint import checkpoint, frontal_check, reference
from comit_ray.checkpoint.checkpoint import TrainingState
from comit_ray.checkpoint.operating_points import choose
from comit_ray.checkpoint.reference import Sample
from comit_ray.checkpoint.temperature import Temperature
from comit_ray.chunks import run_record
from comit_ray.config.train_config import TrainConfig
from comit_ray.errors import CheckpointError, StorageError
from comit_ray.models.registry import build_model

CONFIG = TrainConfig.parse(
    {"data": "d", "storage": "s", "name": "n", "model": {"width": 0.0625, "weights": "none"}}, origin="test"
)


RANDOM = np.random.default_rng(0)
SAMPLE = Sample(RANDOM.random((30, 4)), {}, ["nih PA"] * 30, [None] * 30)
KNOWN = reference.make(SAMPLE, RANDOM.random((30, 4)), {}, ["PA"], ["nih"], ["p"])


def write(directory: Path, seed: int = 0) -> torch.nn.Module:
    torch.manual_seed(seed)
    model = build_model(CONFIG.model).to(memory_format=torch.channels_last)
    optimiser = torch.optim.Adam(model.parameters())
    model(torch.randn(2, 3, 32, 32)).covid.sum().backward()
    optimiser.step()
    directory.mkdir(parents=True)
    history = [{"epoch": epoch, "val_loss": 1.0 / epoch} for epoch in (1, 2, 3)]
    state = TrainingState(history, optimiser.state_dict(), [[torch.get_rng_state()]])
    points = choose({"covid": ([0.1, 0.2, 0.9], [0, 0, 1])})
    temperatures = {"covid": Temperature(temperature=1.5)}
    checkpoint.save(directory, model, CONFIG, points, temperatures, state, "0123456789abcdef", KNOWN)
    frontal_check.write(directory, frontal_check.FrontalCheck(np.zeros(0), 0.0, reason="too few images"))
    return model


def test_it_is_saved_from_a_checkout_that_was_never_installed(tmp_path: Path, monkeypatch) -> None:
    def absent(name: str) -> str:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(run_record, "version", absent)
    write(tmp_path / "c")
    environment = json.loads((tmp_path / "c" / checkpoint.ENVIRONMENT).read_text())
    assert environment["comit_ray"] == run_record.package_version("comit-ray")
    assert environment["torch"] is None
    checkpoint.load(str(tmp_path / "c"))


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    model = write(tmp_path / "c")
    assert sorted(path.name for path in (tmp_path / "c").iterdir()) == sorted(checkpoint.FILES)
    loaded = checkpoint.load(str(tmp_path / "c"))
    assert not loaded.model.training
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(loaded.model(x).covid, model.eval()(x).covid)
    assert loaded.config == CONFIG
    assert loaded.reference is not None
    assert loaded.reference.facts == KNOWN.facts
    assert loaded.temperatures == {"covid": Temperature(temperature=1.5)}
    assert json.loads((tmp_path / "c" / checkpoint.METRICS).read_text()) == {"epoch": 3, "val_loss": 1 / 3}
    assert set(loaded.operating_points) == {"specificity_0.90", "specificity_0.99"}
    environment = json.loads((tmp_path / "c" / "environment.json").read_text())
    assert environment["model_id"] == loaded.model_id
    assert len(loaded.model_id) == 12
    assert environment["manifest"] == loaded.manifest == "0123456789abcdef"
    assert {"python", "torch", "ray", "comit_ray", "config_digest"} <= set(environment)


def test_a_checkpoint_that_does_not_say_its_manifest_is_loaded(tmp_path: Path) -> None:
    write(tmp_path / "c")
    path = tmp_path / "c" / checkpoint.ENVIRONMENT
    environment = json.loads(path.read_text())
    del environment["manifest"]
    path.write_text(json.dumps(environment))
    assert checkpoint.load(str(tmp_path / "c")).manifest is None


def test_the_training_state_goes_on(tmp_path: Path) -> None:
    model = write(tmp_path / "c")
    other = build_model(CONFIG.model)
    state = checkpoint.load_state(str(tmp_path / "c"), other)
    assert [figures["epoch"] for figures in state.history] == [1, 2, 3]
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), other.parameters(), strict=True))
    torch.optim.Adam(model.parameters()).load_state_dict(state.optimiser)
    torch.set_rng_state(state.random[0][0])


def test_weights_name_the_model(tmp_path: Path) -> None:
    write(tmp_path / "a", seed=0)
    write(tmp_path / "b", seed=1)
    assert checkpoint.load(str(tmp_path / "a")).model_id != checkpoint.load(str(tmp_path / "b")).model_id


@pytest.mark.parametrize("name", [checkpoint.WEIGHTS, checkpoint.CONFIG, checkpoint.OPERATING_POINTS])
def test_an_absent_file_is_named(tmp_path: Path, name) -> None:
    write(tmp_path / "c")
    (tmp_path / "c" / name).unlink()
    with pytest.raises(CheckpointError, match=f"{name} is missing"):
        checkpoint.load(str(tmp_path / "c"))


def test_a_directory_too_high_is_shown_the_checkpoints_in_it(tmp_path: Path) -> None:
    run = tmp_path / "runs" / "first"
    write(run / "best")
    write(run / "last")
    with pytest.raises(CheckpointError, match=rf"but there are checkpoints in it: give {run}/best or {run}/last$"):
        checkpoint.load(str(run))


def test_what_lacks_several_files_is_told_all_of_them(tmp_path: Path) -> None:
    write(tmp_path / "c")
    for name in (checkpoint.CONFIG, checkpoint.WEIGHTS):
        (tmp_path / "c" / name).unlink()
    with pytest.raises(CheckpointError, match=r"config\.yaml, weights\.safetensors are missing; expected the best/"):
        checkpoint.load(str(tmp_path / "c"))


def test_no_checkpoint_at_all(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"no complete checkpoint.*no such directory"):
        checkpoint.load(str(tmp_path / "nothing"))
    with pytest.raises(CheckpointError, match=r"no complete checkpoint.*no such directory"):
        checkpoint.load_state(str(tmp_path / "nothing"), build_model(CONFIG.model))


@pytest.mark.parametrize("kept", [0, 5, 1000, -1])
def test_truncated_weights_are_refused(tmp_path: Path, kept) -> None:
    write(tmp_path / "c")
    path = tmp_path / "c" / checkpoint.WEIGHTS
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(CheckpointError, match="not a complete safetensors file"):
        checkpoint.load(str(tmp_path / "c"))


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        (checkpoint.CONFIG, "model: [", "not YAML"),
        (checkpoint.CONFIG, "lungs: 2", "lungs"),
        (checkpoint.CONFIG, "", "config.yaml"),
        (checkpoint.OPERATING_POINTS, "{", "operating_points.json"),
        (checkpoint.ENVIRONMENT, "{", "not JSON"),
        (checkpoint.ENVIRONMENT, "[]", "expected a JSON object"),
    ],
)
def test_broken_files_are_refused_by_name(tmp_path: Path, name, text, message) -> None:
    write(tmp_path / "c")
    (tmp_path / "c" / name).write_text(text)
    with pytest.raises(CheckpointError, match=message):
        checkpoint.load(str(tmp_path / "c"))


def test_weights_of_another_shape_are_refused(tmp_path: Path) -> None:
    write(tmp_path / "c")
    path = tmp_path / "c" / checkpoint.CONFIG
    path.write_text(path.read_text().replace("width: 0.0625", "width: 0.125"))
    with pytest.raises(CheckpointError, match=r"does not fit its config\.yaml: .*size mismatch"):
        checkpoint.load(str(tmp_path / "c"))


def test_files_of_two_checkpoints_do_not_mix(tmp_path: Path) -> None:
    write(tmp_path / "a", seed=0)
    write(tmp_path / "b", seed=1)
    (tmp_path / "a" / checkpoint.WEIGHTS).replace(tmp_path / "b" / checkpoint.WEIGHTS)
    with pytest.raises(CheckpointError, match="its other files belong to"):
        checkpoint.load(str(tmp_path / "b"))


class _Foreign:
    pass


def test_a_pickled_state_is_not_executed(tmp_path: Path) -> None:
    write(tmp_path / "c")
    torch.save({"optimiser": _Foreign()}, tmp_path / "c" / checkpoint.STATE)
    with pytest.raises(CheckpointError, match=r"state\.pt is not a complete training state"):
        checkpoint.load_state(str(tmp_path / "c"), build_model(CONFIG.model))


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        (checkpoint.STATE, b"PK", "not a complete training state"),
        (checkpoint.HISTORY, b"[", "not JSON"),
        (checkpoint.HISTORY, b"[]", "expected a list of metrics of epochs"),
        (checkpoint.WEIGHTS, b"", "not a complete safetensors file"),
    ],
)
def test_a_training_does_not_go_on_from_a_broken_file(tmp_path: Path, name, data, message) -> None:
    write(tmp_path / "c")
    (tmp_path / "c" / name).write_bytes(data)
    with pytest.raises(CheckpointError, match=message):
        checkpoint.load_state(str(tmp_path / "c"), build_model(CONFIG.model))


def test_a_training_does_not_go_on_with_the_state_of_another(tmp_path: Path) -> None:
    write(tmp_path / "a", seed=0)
    write(tmp_path / "b", seed=1)
    (tmp_path / "a" / checkpoint.STATE).replace(tmp_path / "b" / checkpoint.STATE)
    with pytest.raises(CheckpointError, match=r"expected the state\.pt of its weights"):
        checkpoint.load_state(str(tmp_path / "b"), build_model(CONFIG.model))


def test_an_older_checkpoint_without_temperatures_is_loaded(tmp_path: Path) -> None:
    write(tmp_path / "c")
    (tmp_path / "c" / checkpoint.TEMPERATURES).unlink()
    assert checkpoint.load(str(tmp_path / "c")).temperatures == {}


def published(tmp_path: Path) -> tuple[Path, str]:
    """Where checkpoint `a` was published, and its model's id; `b` lies ready to take its place."""
    write(tmp_path / "a", seed=0)
    write(tmp_path / "b", seed=1)
    target = tmp_path / "run" / "best"
    target.parent.mkdir()
    checkpoint.publish(tmp_path / "a", str(target))
    return target, checkpoint.load(str(target)).model_id


def test_publish_replaces_a_checkpoint_and_leaves_nothing_else(tmp_path: Path) -> None:
    target, first = published(tmp_path)
    checkpoint.publish(tmp_path / "b", str(target))
    assert checkpoint.load(str(target)).model_id != first
    assert [path.name for path in target.parent.iterdir()] == ["best"]
    assert sorted(path.name for path in target.iterdir()) == sorted(checkpoint.FILES)


def test_the_old_checkpoint_comes_back_where_the_new_one_cannot_take_its_place(tmp_path: Path, monkeypatch) -> None:
    target, first = published(tmp_path)
    rename = Path.rename

    def failing(self: Path, to: Path) -> Path:
        if self.name.endswith(".tmp"):
            raise OSError("stale file handle")
        return rename(self, to)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", failing)
        with pytest.raises(StorageError, match=r"cannot write the directory .*stale file handle"):
            checkpoint.publish(tmp_path / "b", str(target))
    assert checkpoint.load(str(target)).model_id == first
    assert [path.name for path in target.parent.iterdir()] == ["best"]
    checkpoint.publish(tmp_path / "b", str(target))
    assert checkpoint.load(str(target)).model_id != first


def test_publish_to_s3_replaces_and_never_leaves_half(tmp_path: Path, bucket: str) -> None:
    best = f"{bucket}/n/best"
    write(tmp_path / "a", seed=0)
    write(tmp_path / "b", seed=1)
    checkpoint.publish(tmp_path / "a", best)
    assert checkpoint.load(best).model_id == checkpoint.load(str(tmp_path / "a")).model_id
    checkpoint.publish(tmp_path / "b", best)
    assert checkpoint.load(best).model_id == checkpoint.load(str(tmp_path / "b")).model_id
    assert len(checkpoint.load_state(best, build_model(CONFIG.model)).history) == 3

    (tmp_path / "a" / checkpoint.WEIGHTS).unlink()
    with pytest.raises(FileNotFoundError):
        checkpoint.publish(tmp_path / "a", best)  # interrupted half way
    with pytest.raises(CheckpointError, match=r"config\.yaml is missing"):
        checkpoint.load(best)
