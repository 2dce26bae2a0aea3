import re
from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors.torch
import torch
import torchvision.models as tv
from torch import Tensor, nn

from comit_ray.config.train_config import ModelConfig
from comit_ray.errors import CheckpointError, ConfigError
from comit_ray.models.registry import MODELS, ImageNetFile, build_model
from comit_ray.models.weights import fill, load_pretrained, read_state_dict
from comit_ray.storage import storage
from comit_ray.tables.vocabulary import Task

STARTED = [name for name, entry in MODELS.items() if entry.file]


def file_of(name: str) -> ImageNetFile:
    file = MODELS[name].file
    assert file is not None
    return file


def torchvision_network(name: str) -> nn.Module:
    """torchvision's network with random weights and running statistics that are not the initial ones.

    VGG's classifier of 124 million parameters is never made, a small one instead.
    """
    with torch.device("meta"):
        model: nn.Module = tv.get_model(name, weights=None)
        if name.startswith("vgg"):
            model.classifier = nn.Sequential(nn.Linear(512, 1))
    model = model.to_empty(device="cpu")
    torch.manual_seed(3)
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            if module.bias is not None:
                nn.init.normal_(module.bias, std=0.1)
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.1)
            module.running_mean.normal_(std=0.1)
            module.running_var.uniform_(0.5, 1.5)
            module.num_batches_tracked.zero_()
    return model.eval()


def torchvision_features(network: nn.Module, x_B3HW: Tensor) -> Tensor:
    """What torchvision's own `forward` pools."""
    if isinstance(network, tv.ResNet):
        return nn.Sequential(*list(network.children())[:-2])(x_B3HW)
    features = network.features(x_B3HW)
    return torch.relu(features) if isinstance(network, tv.DenseNet) else features


def our_features(name: str, model: nn.Module, x_B3HW: Tensor) -> Tensor:
    part = model.get_submodule(file_of(name).part)(x_B3HW)
    if name == "mask_rcnn":
        return part["3"]
    return part if isinstance(part, Tensor) else part[0]


def config_of(name: str, weights: str) -> ModelConfig:
    return ModelConfig(name=name, tasks=MODELS[name].tasks[-1:], weights=weights)


def old_densenet_names(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """As in the published file, which also lacks the counters."""
    return {
        re.sub(r"(denselayer\d+\.(?:norm|conv))([12])", r"\1.\2", key): value
        for key, value in weights.items()
        if not key.endswith("num_batches_tracked")
    }


@pytest.fixture(scope="module")
def networks() -> Callable[[str], nn.Module]:
    """torchvision's networks by name, each made once."""
    made: dict[str, nn.Module] = {}

    def get(name: str) -> nn.Module:
        if name not in made:
            made[name] = torchvision_network(name)
        return made[name]

    return get


def check_loads(name: str, model: nn.Module, network: nn.Module, load: Callable[[], None]) -> None:
    """`load` gives the model the network's features, and changes nothing else of it."""
    model.eval()
    x_B3HW = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    part = file_of(name).part + "."
    others = {key: value.clone() for key, value in model.state_dict().items() if not key.startswith(part)}
    assert others
    with torch.no_grad():
        expected = torchvision_features(network, x_B3HW)
        assert not torch.allclose(our_features(name, model, x_B3HW), expected, rtol=1e-3)
        load()
        torch.testing.assert_close(our_features(name, model, x_B3HW), expected, rtol=1e-4, atol=1e-5)
    state = model.state_dict()
    assert all(torch.equal(state[key], value) for key, value in others.items())


@pytest.mark.parametrize("name", STARTED)
def test_the_features_are_those_of_torchvisions_network(name, networks, tmp_path: Path, monkeypatch) -> None:
    """Its file is found in torch.hub's directory, and its classifier passed over."""
    file = file_of(name)
    network = networks(file.network)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    (tmp_path / "checkpoints").mkdir()
    torch.save(network.state_dict(), tmp_path / "checkpoints" / file.name)
    config = config_of(name, "imagenet")
    model = build_model(config)
    check_loads(name, model, network, lambda: load_pretrained(model, config))


def test_the_old_names_of_the_published_densenet_are_read(networks, tmp_path: Path) -> None:
    network = networks("densenet121")
    weights = old_densenet_names(network.state_dict())
    assert "features.denseblock1.denselayer1.norm.1.weight" in weights
    torch.save(weights, tmp_path / "old.pth")
    config = config_of("densenet121", str(tmp_path / "old.pth"))
    model = build_model(config)
    check_loads("densenet121", model, network, lambda: load_pretrained(model, config))


def test_a_safetensors_file_by_its_uri_without_classifier(networks, tmp_path: Path) -> None:
    network = networks("resnet18")
    entries = {key: value for key, value in network.state_dict().items() if not key.startswith("fc.")}
    storage.write_bytes(f"file://{tmp_path}/resnet18.safetensors", safetensors.torch.save(entries))
    config = config_of("resnet18", f"file://{tmp_path}/resnet18.safetensors")
    model = build_model(config)
    check_loads("resnet18", model, network, lambda: load_pretrained(model, config))


def test_the_files_are_those_of_the_papers_time() -> None:
    assert {name: file_of(name).name for name in STARTED} == {
        "comit_net": "vgg16_bn-6c64b313.pth",
        "densenet121": "densenet121-a639ec97.pth",
        "mobilenet_v2": "mobilenet_v2-b0353104.pth",
        "resnet18": "resnet18-f37072fd.pth",
        "vgg19": "vgg19-dcbb9e9d.pth",
        "segnet": "vgg16_bn-6c64b313.pth",
        "mask_rcnn": "resnet50-0676ba61.pth",
    }


@pytest.mark.parametrize("name", STARTED)
@pytest.mark.parametrize("error", [OSError("no route"), RuntimeError("invalid hash value")])
def test_without_network_the_error_names_the_file_and_its_place(name, tmp_path: Path, monkeypatch, error) -> None:
    asked = []

    def refuse(url, path, hash_prefix, progress):
        asked.append((url, path, hash_prefix))
        raise error

    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", refuse)
    with pytest.raises(CheckpointError) as caught:
        load_pretrained(nn.Identity(), config_of(name, "imagenet"))
    file = file_of(name)
    place = str(tmp_path / "checkpoints" / file.name)
    for part in (file.name, f"https://download.pytorch.org/models/{file.name}", place, "model.weights", str(error)):
        assert part in str(caught.value)
    assert asked == [(file.url, place, file.name.removesuffix(".pth").split("-")[1])]


@pytest.mark.parametrize("name", list(MODELS))
def test_none_leaves_the_random_weights(name) -> None:
    config = ModelConfig(name=name, tasks=MODELS[name].tasks[-1:], weights="none", width=0.0625)
    model = build_model(config)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    load_pretrained(model, config)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


@pytest.mark.parametrize("weights", ["imagenet", "unet.pth"])
def test_a_network_without_a_file_takes_none(weights) -> None:
    config = ModelConfig(name="unet", tasks=(Task.LUNG,), weights=weights, width=0.0625)
    with pytest.raises(ConfigError, match=f"no weights for unet .* got {weights}: set model.weights to none"):
        load_pretrained(build_model(config), config)


def test_a_narrow_network_takes_no_weights() -> None:
    config = ModelConfig(name="resnet18", tasks=("covid",), weights="imagenet", width=0.5)
    with pytest.raises(ConfigError, match=r"needs the full width 1\.0, got model\.width 0\.5"):
        load_pretrained(build_model(config), config)


@pytest.mark.parametrize(
    ("name", "other"),
    [("resnet18", "resnet50"), ("comit_net", "vgg19"), ("vgg19", "vgg16_bn"), ("mask_rcnn", "resnet18")],
)
def test_the_file_of_another_network_is_refused(name, other, networks, tmp_path: Path) -> None:
    torch.save(networks(other).state_dict(), tmp_path / "w.pth")
    config = config_of(name, str(tmp_path / "w.pth"))
    message = rf"w\.pth is not a {file_of(name).network} state dict: .*(missing|shape)"
    with pytest.raises(CheckpointError, match=message):
        load_pretrained(build_model(config), config)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.pop("features.0.weight"), r"1 entries missing \['features.0.weight'\]"),
        (lambda d: d.pop("features.41.running_var"), r"1 entries missing \['features.41.running_var'\]"),
        (lambda d: d.update({"features.99.weight": torch.zeros(1)}), r"1 unknown \['features.99.weight'\]"),
        (
            lambda d: d.update({"features.0.weight": torch.zeros(64, 1, 3, 3)}),
            r"features.0.weight has shape \(64, 1, 3, 3\), expected \(64, 3, 3, 3\)",
        ),
    ],
)
def test_other_entries_are_refused(networks, change, message) -> None:
    entries = dict(networks("vgg16_bn").state_dict())
    change(entries)
    encoder = build_model(config_of("comit_net", "none")).get_submodule("encoder")
    with pytest.raises(CheckpointError, match=message):
        fill(encoder, file_of("comit_net"), entries, "w.pth")


class _Foreign:
    pass


def test_broken_and_foreign_files_are_refused(tmp_path: Path) -> None:
    torch.save({"model": _Foreign()}, tmp_path / "pickled.pth")
    torch.save([1, 2], tmp_path / "list.pth")
    (tmp_path / "cut.pth").write_bytes((tmp_path / "list.pth").read_bytes()[:50])
    (tmp_path / "cut.safetensors").write_bytes(b"\x80\x00")
    for name in ("pickled.pth", "list.pth", "cut.pth", "cut.safetensors", "absent.pth"):
        with pytest.raises(CheckpointError, match=name):
            read_state_dict(str(tmp_path / name))
