from pathlib import Path

import pytest
import safetensors.torch
import torch
import torchvision

from comit_ray.errors import CheckpointError, ConfigError
from comit_ray.models import weights
from comit_ray.models.comit import COMiTNet
from comit_ray.models.weights import IMAGENET_FILE, load_pretrained
from comit_ray.train_config import ModelConfig


@pytest.fixture(scope="module")
def vgg() -> torch.nn.Module:
    """torchvision's network with random weights and running statistics that are not the initial ones."""
    torch.manual_seed(3)
    model = torchvision.models.vgg16_bn(weights=None, num_classes=2)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.normal_(module.bias, std=0.1)
            module.running_mean.normal_(std=0.1)
            module.running_var.uniform_(0.5, 1.5)
    return model.eval()


def features_only(vgg: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {key: value for key, value in vgg.state_dict().items() if key.startswith("features.")}


def same_as(vgg: torch.nn.Module, model: COMiTNet) -> bool:
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        return torch.allclose(model.eval().encoder(x)[0], vgg.features(x), atol=1e-5)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_all_of_features_is_loaded(vgg, tmp_path: Path, suffix) -> None:
    path = tmp_path / f"vgg{suffix}"
    if suffix == ".pth":
        torch.save({**features_only(vgg), "classifier.0.weight": torch.zeros(1)}, path)
    else:
        safetensors.torch.save_file(features_only(vgg), path)
    model = COMiTNet(["covid"])
    assert not same_as(vgg, model)
    load_pretrained(model, ModelConfig(weights=str(path)))
    assert same_as(vgg, model)


def test_imagenet_is_taken_from_torchs_directory(vgg, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    (tmp_path / "checkpoints").mkdir()
    old = {key: value for key, value in features_only(vgg).items() if not key.endswith("num_batches_tracked")}
    torch.save(old, tmp_path / "checkpoints" / IMAGENET_FILE)
    model = COMiTNet(["covid"])
    load_pretrained(model, ModelConfig(weights="imagenet"))
    assert same_as(vgg, model)


@pytest.mark.parametrize("error", [OSError("no route"), RuntimeError("invalid hash value")])
def test_without_network_the_error_names_the_file_and_its_place(tmp_path: Path, monkeypatch, error) -> None:
    def refuse(*args, **kwargs):
        raise error

    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", refuse)
    with pytest.raises(CheckpointError) as caught:
        load_pretrained(COMiTNet(["covid"]), ModelConfig(weights="imagenet"))
    for part in ("vgg16_bn-6c64b313.pth", str(tmp_path / "checkpoints"), "model.weights", str(error)):
        assert part in str(caught.value)


def test_none_leaves_the_random_weights() -> None:
    model = COMiTNet(["covid"], 0.0625)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    load_pretrained(model, ModelConfig(weights="none", width=0.0625))
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_a_narrow_network_takes_no_weights() -> None:
    with pytest.raises(ConfigError, match=r"needs the full width 1\.0, got model\.width 0\.5"):
        load_pretrained(COMiTNet(["covid"], 0.5), ModelConfig(weights="imagenet", width=0.5))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.pop("features.0.weight"), "1 entries missing"),
        (lambda d: d.pop("features.41.running_var"), "1 entries missing"),
        (lambda d: d.update({"features.99.weight": torch.zeros(1)}), "1 unknown"),
        (lambda d: d.update({"features.0.weight": torch.zeros(64, 1, 3, 3)}), r"shape \(64, 1, 3, 3\), expected"),
    ],
)
def test_other_entries_are_refused(vgg, tmp_path: Path, change, message) -> None:
    entries = features_only(vgg)
    change(entries)
    with pytest.raises(CheckpointError, match=message):
        weights.load_features(COMiTNet(["covid"]).encoder, entries, "w.pth")


class _Foreign:
    pass


def test_broken_and_foreign_files_are_refused(tmp_path: Path) -> None:
    torch.save({"model": _Foreign()}, tmp_path / "pickled.pth")
    torch.save([1, 2], tmp_path / "list.pth")
    (tmp_path / "cut.pth").write_bytes((tmp_path / "list.pth").read_bytes()[:50])
    (tmp_path / "cut.safetensors").write_bytes(b"\x80\x00")
    for name in ("pickled.pth", "list.pth", "cut.pth", "cut.safetensors", "absent.pth"):
        with pytest.raises(CheckpointError, match=name):
            weights.read_state_dict(str(tmp_path / name))
