import zlib

import numpy as np
import pyarrow as pa
import pytest
import torch

from comit_ray.checkpoint import reference
from comit_ray.checkpoint.reference import Sample
from comit_ray.config.train_config import TrainConfig
from comit_ray.data.images.frame import statistics
from comit_ray.models.outputs import normalise
from comit_ray.models.registry import build_model
from comit_ray.prepare.frames import FRAMES, FrameStore
from comit_ray.tables.vocabulary import Split
from comit_ray.training import collective, worker
from comit_ray.training.batches import validation_batches
from comit_ray.training.epoch import validate

CONFIG = TrainConfig.parse(
    {
        "data": "d", "storage": "s", "name": "n", "frame": {"size": 32},
        "model": {"width": 0.0625, "weights": "none"}, "train": {"batch_size": 6},
    },
    origin="test",
)  # fmt: skip
CPU = torch.device("cpu")


def stores() -> tuple[FrameStore, FrameStore]:
    random = np.random.default_rng(0)
    rows = [
        {
            "image_id": f"nih/{n:03d}",
            "dataset": "nih",
            "patient_id": f"nih/{n // 2}",
            "view": "AP" if n % 3 else "PA",
            "split": "train" if n < 30 else "val",
            "pixels": random.integers(0, 255, 32 * 32, np.uint8).tobytes(),
            "lung_mask": zlib.compress(bytes(32 * 32)),
            "covid": n % 2,
            "other": 0,
            "unhealthy": n % 2,
        }
        for n in range(55)
    ]
    table = pa.Table.from_pylist(rows, schema=FRAMES)
    training, validation = (FrameStore([table], split, 32) for split in (Split.TRAIN, Split.VAL))
    return training, validation


@pytest.fixture
def model() -> torch.nn.Module:
    torch.manual_seed(0)
    return build_model(CONFIG.model).eval()


def run(model, training, validation):
    scored = validate(model, validation_batches(validation, 0, 1, 8), CONFIG, CPU)
    return worker.remember(model, training, validation, scored, CONFIG, CPU), scored


def frames(store: FrameStore) -> np.ndarray:
    return np.stack([store.pixels_HW(i) for i in range(len(store))])


def test_it_is_the_reference_of_the_frames_as_they_are(model) -> None:
    training, validation = stores()
    found, scored = run(model, training, validation)
    with torch.no_grad():
        of_training, of_validation = (
            model(normalise(torch.from_numpy(frames(one)))).embedding.numpy() for one in (training, validation)
        )
    scores = {name: np.concatenate(values) for name, values in scored.scores.items()}
    named = [f"nih {view}" for view in training.views]
    expected = reference.make(
        Sample(of_training, statistics(frames(training)), named, training.patients),
        of_validation,
        scores,
        training.views,
        training.datasets,
        validation.patients,
    )
    assert found.facts.reason is None
    assert found.facts.views == {"AP": 20 / 30, "PA": 10 / 30}
    assert (found.facts.sampled_patients, found.facts.validation_patients) == (15, 13)
    assert found.facts.pixels.keys() == {"nih AP", "nih PA"}
    assert found.facts.pixels == expected.facts.pixels
    assert found.facts.quantiles.keys() == expected.facts.quantiles.keys()
    for name, values in expected.facts.quantiles.items():
        assert found.facts.quantiles[name] == pytest.approx(values, rel=1e-3), name
    np.testing.assert_allclose(found.centre_C, expected.centre_C, rtol=1e-4, atol=1e-6)


def test_workers_embed_their_part_and_have_the_same(model, monkeypatch) -> None:
    """Each worker asks for the others' parts; here they are made one after the other."""
    training, validation = stores()
    alone, scored = run(model, training, validation)
    monkeypatch.setattr(collective, "world_size", lambda: 3)
    parts: list[list[dict]] = []
    for rank in range(3):
        asked: list[dict] = []
        monkeypatch.setattr(collective, "rank", lambda rank=rank: rank)
        monkeypatch.setattr(collective, "gather", lambda value, asked=asked: asked.append(value) or [value])
        worker.remember(model, training, validation, scored, CONFIG, CPU)
        parts.append(asked)
    assert all(len(part) for asked in parts for part in asked), "each has some of both splits"
    for one, other in ((0, 1), (0, 2), (1, 2)):
        assert not set(parts[one][0]) & set(parts[other][0]), "no batch is embedded twice"
    calls = iter([[asked[split] for asked in parts] for split in range(2)])
    monkeypatch.setattr(collective, "gather", lambda value: next(calls))
    together = worker.remember(model, training, validation, scored, CONFIG, CPU)
    assert together.facts.sampled_images == alone.facts.sampled_images == 30
    for name, values in alone.facts.quantiles.items():
        assert together.facts.quantiles[name] == pytest.approx(values, rel=1e-3), name


def test_no_more_than_a_sample_is_embedded(model, monkeypatch) -> None:
    monkeypatch.setattr(reference, "SAMPLE", 22)
    found, _ = run(model, *stores())
    assert found.facts.sampled_images == 22
    assert len(found.facts.quantiles["embedding_distance"]) == 22
    assert len(found.facts.quantiles["covid"]) == found.facts.validation_images == 25


def test_it_draws_no_random_number_of_the_training(model) -> None:
    before = torch.get_rng_state()
    run(model, *stores())
    assert torch.equal(torch.get_rng_state(), before)
