import io
import pickle
import sys
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
import torch
from PIL import Image
from scipy.special import expit, logit

from comit_ray.checkpoint import checkpoint, frontal_check, reference
from comit_ray.checkpoint.operating_points import OperatingPoint
from comit_ray.chunks import plan
from comit_ray.data.images.frame import STATISTICS, statistics
from comit_ray.data.masks.masks import from_png
from comit_ray.errors import CheckpointError, ConfigError
from comit_ray.inference import optimised, torch_model
from comit_ray.inference.scores import Scores
from comit_ray.inference.torch_model import TorchModel
from comit_ray.screening import variants
from comit_ray.screening.mask_choice import RANDOM, SEED, random_number
from comit_ray.screening.mask_tables import finish
from comit_ray.screening.prediction_rows import Decision
from comit_ray.screening.predictor import Predictor, PredictorSettings
from comit_ray.tables.schema import EMBEDDINGS, GRADCAM, MASKS, PREDICTIONS, VARIANTS
from tests.support import fetched, with_openvino, write_checkpoint

POINT = OperatingPoint("specificity_0.90", {"covid": 0.5, "unhealthy": 0.0})


def noise(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (64, 64), np.uint8)


class Whole(Predictor):
    """With the stage after it, in one process."""

    def predict(self, fetched: pa.Table) -> dict[str, pa.Table]:
        return finish(super().predict(fetched))


def predictor(
    tmp_path,
    batch_size=2,
    embeddings=True,
    point=POINT,
    temperatures=None,
    site_thresholds=False,
    gradcam=False,
    altered=(),
    masks="all",
    **model,
) -> Predictor:
    uri = write_checkpoint(tmp_path / f"checkpoint-{len(list(tmp_path.iterdir()))}", **model)
    model_id = checkpoint.load(uri).model_id
    return Whole(
        PredictorSettings(
            uri,
            model_id,
            point,
            "run",
            batch_size,
            embeddings=embeddings,
            temperatures=temperatures or {},
            site_thresholds=site_thresholds,
            gradcam=gradcam,
            variants=altered,
            masks=masks,
        )
    )


def network_of(taken: Predictor) -> torch.nn.Module:
    assert isinstance(taken.model, TorchModel)
    assert taken.model.network is not None
    return taken.model.network


def test_one_row_an_image_and_masks_for_the_scored(tmp_path):
    tables = predictor(tmp_path).predict(fetched(noise(0), None, noise(1), noise(2)))
    assert tables["predictions"].schema.equals(PREDICTIONS)
    assert tables["masks"].schema.equals(MASKS)
    assert tables["embeddings"].schema.equals(EMBEDDINGS)
    rows = tables["predictions"].to_pylist()
    assert [row["image_id"] for row in rows] == ["a/0", "a/1", "a/2", "a/3"]
    assert [row["status"] for row in rows] == ["ok", "failed", "ok", "ok"]
    assert rows[1]["p_covid"] is None
    assert rows[1]["covid_flag"] is None
    assert rows[1]["operating_point"] is None
    assert rows[0]["unhealthy_flag"] is True
    assert 0 < rows[0]["p_covid"] < 1
    assert rows[0]["covid_flag"] == (rows[0]["p_covid"] >= 0.5)
    assert tables["masks"]["image_id"].to_pylist() == ["a/0", "a/2", "a/3"]
    assert from_png(tables["masks"]["lung_png"][0].as_py()).mean() == pytest.approx(rows[0]["lung_area"])


def test_the_batch_size_does_not_change_the_scores(tmp_path):
    images = [noise(seed) for seed in range(5)]
    scores = [
        predictor(tmp_path, batch_size=size).predict(fetched(*images))["predictions"]["p_covid"].to_pylist()
        for size in (1, 2, 5)
    ]
    assert scores[0] == pytest.approx(scores[1], abs=1e-6)
    assert scores[0] == pytest.approx(scores[2], abs=1e-6)


def test_absent_heads_give_nulls(tmp_path):
    tables = predictor(tmp_path, tasks=["covid"]).predict(fetched(noise(0)))
    row = tables["predictions"].to_pylist()[0]
    assert row["p_covid"] is not None
    absent = ("p_unhealthy", "unhealthy_flag", "lung_area", "disease_area", "zone_disease")
    assert all(row[name] is None for name in absent)
    assert tables["masks"].to_pylist()[0]["lung_png"] is None


def test_a_segmenter_gives_masks_and_no_flag(tmp_path):
    tables = predictor(tmp_path, tasks=["lung"], point=OperatingPoint("x", {})).predict(fetched(noise(0)))
    row = tables["predictions"].to_pylist()[0]
    assert (row["status"], row["p_covid"], row["covid_flag"]) == ("ok", None, None)
    assert (row["operating_point"], row["calibration"]) == (None, None)
    assert row["lung_area"] is not None
    assert tables["masks"].to_pylist()[0]["disease_png"] is None


TEMPERATURES = {"covid": 2.5, "other": 0.4, "unhealthy": 1.7}


MASK_COLUMNS = ["lung_area", "disease_area", "disease_in_lung", "zone_disease", "severity", "screened_at"]


def test_without_masks_every_score_is_the_same_to_the_last_bit_and_no_decoder_runs(tmp_path, monkeypatch):
    images = fetched(*(noise(seed) for seed in range(5)), None)
    usual, alone = predictor(tmp_path).predict(images), predictor(tmp_path, masks="none")
    network = network_of(alone)
    for decoder in (network.lung, network.disease):
        monkeypatch.setattr(decoder, "forward", lambda *_: pytest.fail("a decoder ran"))
    found = alone.predict(images)
    assert found["predictions"].drop_columns(MASK_COLUMNS).equals(usual["predictions"].drop_columns(MASK_COLUMNS))
    assert found["embeddings"].equals(usual["embeddings"])
    for name in ("lung_area", "disease_area", "zone_disease"):
        assert found["predictions"][name].null_count == 6
    assert found["masks"].schema.equals(MASKS)
    assert found["masks"]["image_id"].equals(usual["masks"]["image_id"])
    assert found["masks"]["lung_png"].null_count == found["masks"]["disease_png"].null_count == 5


@pytest.mark.parametrize("device_batch", [1, 2])
def test_masks_of_the_flagged_alone(tmp_path, device_batch):
    """In batches of one image a mask has the same company in both, so it is the same to the last bit."""
    images = fetched(*(noise(seed) for seed in range(6)), None)
    p_covid = np.array(predictor(tmp_path).predict(images)["predictions"]["p_covid"].to_pylist()[:6])
    point = OperatingPoint("mine", {"covid": float(expit(logit(np.sort(p_covid)[4]) + 0.5 + 1e-4))})
    usual = predictor(tmp_path, device_batch, point=point).predict(images)
    found = predictor(tmp_path, device_batch, point=point, masks="flagged").predict(images)
    drawn = [index for index in range(6) if random_number(SEED, f"a/{index}") >= 1 - RANDOM]
    assert not drawn, "the ids were chosen so that chance draws none"
    expected = p_covid > np.sort(p_covid)[4]
    assert expected.sum() == 1, "near the threshold, and none above it"
    assert [png is not None for png in found["masks"]["lung_png"].to_pylist()] == expected.tolist()
    assert [area is not None for area in found["predictions"]["lung_area"].to_pylist()] == [*expected.tolist(), False]
    assert found["predictions"].drop_columns(MASK_COLUMNS).equals(usual["predictions"].drop_columns(MASK_COLUMNS))
    if device_batch == 1:
        at = pa.array(np.flatnonzero(expected))
        assert found["masks"].take(at).equals(usual["masks"].take(at))


def test_of_the_flagged_alone_a_chunk_may_have_none_or_no_image(tmp_path):
    never = OperatingPoint("never", {"covid": 1.0})
    tables = predictor(tmp_path, point=never, masks="flagged").predict(fetched(noise(0), noise(1)))
    assert tables["masks"]["lung_png"].null_count == 2
    assert tables["predictions"]["status"].to_pylist() == ["ok", "ok"]
    empty = predictor(tmp_path, point=never, masks="flagged").predict(fetched(None))
    assert len(empty["masks"]) == 0


def test_a_chosen_mask_that_is_no_number_fails_its_image_alone(tmp_path):
    taken = predictor(tmp_path, masks="flagged", point=OperatingPoint("all", {"covid": 0.0}))
    with torch.no_grad():
        network_of(taken).lung.classify.bias.fill_(torch.nan)
    tables = taken.predict(fetched(noise(0), noise(1)))
    assert tables["predictions"]["reason"].to_pylist() == ["model_failed"] * 2
    assert len(tables["masks"]) == 0


def columns(table: pa.Table, *names: str) -> np.ndarray:
    return np.array([table[name].to_pylist() for name in names])


def test_temperatures_divide_the_log_odds_and_change_no_flag_and_no_mask(tmp_path):
    images = fetched(None, *map(noise, range(8)))
    plain = predictor(tmp_path).predict(images)
    names = ("p_covid", "p_other", "p_unhealthy")
    scores = columns(plain["predictions"].slice(1), *names)
    point = OperatingPoint("middle", {"covid": float(np.median(scores[0])), "unhealthy": float(np.median(scores[2]))})
    off = predictor(tmp_path, point=point).predict(images)
    on = predictor(tmp_path, point=point, temperatures=TEMPERATURES).predict(images)
    by = np.array([[TEMPERATURES[name.removeprefix("p_")]] for name in names])
    expected = expit(logit(scores) / by)
    np.testing.assert_allclose(columns(on["predictions"].slice(1), *names), expected, atol=1e-6)
    flags = ("covid_flag", "unhealthy_flag")
    assert (columns(on["predictions"], *flags) == columns(off["predictions"], *flags)).all()
    assert columns(off["predictions"].slice(1), *flags).mean(axis=1).tolist() == [0.5, 0.5]
    assert on["masks"].equals(off["masks"])
    assert off["predictions"]["calibration"].to_pylist() == [None] + ["none"] * 8
    assert on["predictions"]["calibration"].to_pylist() == [None] + ["temperature"] * 8


def test_flags_stay_where_scores_crowd_at_one():
    """A float32 sigmoid is 1 from log-odds of about 17 on: the threshold must not be moved between such images."""
    z = np.linspace(15, 19, 41)
    p_covid = torch.sigmoid(torch.from_numpy(z).float()).numpy()
    odds, no_embedding = {"covid": z}, np.zeros((41, 1), np.float32)
    scores = Scores(no_embedding, np.ones(41, bool), 64, 64, p_covid=p_covid, log_odds=odds)
    decision = Decision(OperatingPoint("sure", {"covid": 1.0}), {"covid": 3.0})
    flags = decision.flags(scores)["covid"]
    assert flags.tolist() == (p_covid >= 1).tolist()
    assert 0 < flags.sum() < 41
    np.testing.assert_allclose(scores.scaled(decision.temperatures)["covid"], expit(z / 3.0), rtol=1e-6)
    assert Decision(OperatingPoint("sure", {"covid": 1.0}), {"covid": 3.0}, True).flags(scores)["covid"].sum() == 0


def test_a_threshold_is_not_rounded_to_the_precision_of_the_scores():
    """A float32 score that lies between a threshold and its float32 is judged by the threshold."""
    p_covid = np.float32(0.1)
    scores = Scores(
        np.zeros((1, 1), np.float32),
        np.ones(1, bool),
        64,
        64,
        p_covid=np.array([p_covid]),
        log_odds={"covid": np.zeros(1)},
    )
    above, at = float(p_covid) + 1e-12, float(p_covid)
    assert np.float32(above) == p_covid
    assert not Decision(OperatingPoint("x", {"covid": above}), {}).flags(scores)["covid"][0]
    assert Decision(OperatingPoint("x", {"covid": at}), {}).flags(scores)["covid"][0]


def test_a_sites_thresholds_are_meant_for_the_scores_as_written(tmp_path):
    options = {"temperatures": TEMPERATURES, "site_thresholds": True}
    images = fetched(*map(noise, range(8)))
    written = columns(predictor(tmp_path, **options).predict(images)["predictions"], "p_covid")[0]
    point = OperatingPoint("site", {"covid": float(np.median(written))})
    found = predictor(tmp_path, point=point, **options).predict(images)["predictions"]
    assert found["covid_flag"].to_pylist() == (written >= np.median(written)).tolist()
    assert sum(found["covid_flag"].to_pylist()) == 4


def test_a_score_that_is_no_number_is_a_failure(tmp_path):
    broken = predictor(tmp_path)
    with torch.no_grad():
        for parameter in network_of(broken).parameters():
            parameter.fill_(torch.nan)
    row = broken.predict(fetched(noise(0)))["predictions"].to_pylist()[0]
    assert (row["status"], row["reason"], row["p_covid"]) == ("failed", "model_failed", None)


@pytest.mark.parametrize("head", ["lung", "disease"])
def test_a_mask_that_is_no_number_fails_its_image_alone(tmp_path, monkeypatch, head):
    """One pixel of one mask of the middle image of a batch; every score is a number."""
    broken, images = predictor(tmp_path, batch_size=3), fetched(noise(0), noise(1), noise(2))
    usual = broken.predict(images)
    forward = network_of(broken).forward

    def spoilt(x_B3HW):
        output = forward(x_B3HW)
        getattr(output, head)[1, :, 5, 7] = torch.nan
        return output

    monkeypatch.setattr(network_of(broken), "forward", spoilt)
    tables = broken.predict(images)
    failed = tables["predictions"].to_pylist()[1]
    assert (failed["status"], failed["reason"]) == ("failed", "model_failed")
    assert (failed["p_covid"], failed["covid_flag"], failed["lung_area"]) == (None, None, None)
    for name in ("masks", "embeddings"):
        assert tables[name].equals(pa.concat_tables([usual[name].slice(0, 1), usual[name].slice(2)])), name
    told = [column for column in PREDICTIONS.names if column != "screened_at"]
    for row in (0, 2):
        assert tables["predictions"].select(told).slice(row, 1).equals(usual["predictions"].select(told).slice(row, 1))


def test_out_of_memory_halves_the_batch(tmp_path, monkeypatch):
    small = predictor(tmp_path, batch_size=4)
    expected = small.predict(fetched(*map(noise, range(4))))["predictions"]["p_covid"].to_pylist()
    sizes = []
    original = small.model._scores

    def limited(frames_BHW, masks):
        sizes.append(len(frames_BHW))
        if len(frames_BHW) > 1:
            raise torch.OutOfMemoryError("too many")
        return original(frames_BHW, masks)

    monkeypatch.setattr(small.model, "_scores", limited)
    found = small.predict(fetched(*map(noise, range(4))))["predictions"]["p_covid"].to_pylist()
    assert sizes == [4, 2, 1, 1, 1, 1]
    assert found == pytest.approx(expected, abs=1e-6)


def test_grad_cam_changes_no_number_of_the_usual_path(tmp_path):
    images = fetched(noise(0), None, noise(1), noise(2))
    plain = predictor(tmp_path, temperatures=TEMPERATURES).predict(images)
    explained = predictor(tmp_path, temperatures=TEMPERATURES, gradcam=True).predict(images)
    assert set(explained) == {"gradcam", *plain}
    assert "gradcam" not in plain
    for name, table in plain.items():
        columns = [column for column in table.column_names if column != "screened_at"]
        assert explained[name].select(columns).equals(table.select(columns)), name


def test_grad_cam_has_a_row_for_each_scored_image(tmp_path):
    explained = predictor(tmp_path, gradcam=True, seed=1)
    images = fetched(noise(0), None, noise(1), noise(2))
    table = explained.predict(images)["gradcam"]
    assert table.schema.equals(GRADCAM)
    assert table["image_id"].to_pylist() == ["a/0", "a/2", "a/3"]
    for png in (*table["covid_png"].to_pylist(), *table["unhealthy_png"].to_pylist()):
        with Image.open(io.BytesIO(png)) as image:
            assert (image.mode, image.size) == ("L", (64, 64))
            assert image.getextrema()[1] == 255
    assert len(set(table["covid_png"].to_pylist())) == 3
    assert explained.predict(images)["gradcam"].equals(table)


def test_grad_cam_of_an_absent_head_is_null(tmp_path):
    (row,) = predictor(tmp_path, gradcam=True, tasks=["covid"]).predict(fetched(noise(0)))["gradcam"].to_pylist()
    assert row["covid_png"] is not None
    assert row["unhealthy_png"] is None


def test_captum_is_needed_for_grad_cam_alone(tmp_path, monkeypatch):
    for module in ("captum", "captum.attr"):
        monkeypatch.setitem(sys.modules, module, None)
    assert predictor(tmp_path).predict(fetched(noise(0)))["predictions"].num_rows == 1
    with pytest.raises(ConfigError, match=r"comit-ray\[gradcam\]"):
        predictor(tmp_path, gradcam=True)


def test_out_of_memory_for_a_map_halves_the_batch_too(tmp_path, monkeypatch):
    small = predictor(tmp_path, batch_size=4, gradcam=True)
    images = fetched(*map(noise, range(4)))
    expected = small.predict(images)
    sizes = []
    original = small.model._heat_maps

    def limited(frames_BHW):
        sizes.append(len(frames_BHW))
        if len(frames_BHW) > 2:
            raise torch.OutOfMemoryError("too many")
        return original(frames_BHW)

    monkeypatch.setattr(small.model, "_heat_maps", limited)
    found = small.predict(images)
    assert sizes == [4, 2, 2]
    assert found["gradcam"]["image_id"].equals(expected["gradcam"]["image_id"])
    assert found["predictions"]["p_covid"].to_pylist() == pytest.approx(
        expected["predictions"]["p_covid"].to_pylist(), abs=1e-6
    )


def test_an_image_that_fails_has_no_map(tmp_path):
    broken = predictor(tmp_path, gradcam=True)
    with torch.no_grad():
        for parameter in network_of(broken).parameters():
            parameter.fill_(torch.nan)
    tables = broken.predict(fetched(noise(0)))
    assert tables["predictions"]["reason"].to_pylist() == ["model_failed"]
    assert tables["gradcam"].num_rows == tables["masks"].num_rows == 0


ALL = ("lungs_only", "lungs_removed", "borders_cropped")


def test_altered_copies_have_a_row_each_and_change_nothing_else(tmp_path, monkeypatch):
    monkeypatch.setattr(variants, "has_lungs", lambda lungs_BHW: np.ones(len(lungs_BHW), bool))
    taken = predictor(tmp_path, altered=ALL)
    tables = taken.predict(fetched(noise(0), None, noise(1), noise(2)))
    assert tables["variants"].schema.equals(VARIANTS)
    rows = tables["variants"].to_pylist()
    assert [(row["image_id"], row["variant"]) for row in rows] == [(f"a/{i}", name) for i in (0, 2, 3) for name in ALL]
    taken.settings = replace(taken.settings, variants=())
    usual = taken.predict(fetched(noise(0), None, noise(1), noise(2)))
    assert "variants" not in usual
    for name in ("predictions", "masks"):
        known = [column for column in usual[name].column_names if column != "screened_at"]
        assert tables[name].select(known).equals(usual[name].select(known))
    cropped = variants.alter(noise(0)[None], None, "borders_cropped")[0]
    (alone,) = taken.predict(fetched(cropped))["predictions"].to_pylist()
    found = next(row for row in rows if (row["image_id"], row["variant"]) == ("a/0", "borders_cropped"))
    for score in ("p_covid", "p_unhealthy", "p_other"):
        assert found[score] == pytest.approx(alone[score], abs=1e-6)


def test_a_copy_that_cannot_be_made_is_null_with_its_reason(tmp_path, monkeypatch):
    taken = predictor(tmp_path, altered=ALL)
    monkeypatch.setattr(torch_model, "FOREGROUND", 2.0)  # no pixel is lung
    tables = taken.predict(fetched(noise(0)))
    rows = {row["variant"]: row for row in tables["variants"].to_pylist()}
    for name in ("lungs_only", "lungs_removed"):
        assert (rows[name]["p_covid"], rows[name]["reason"]) == (None, "no lungs predicted")
    assert rows["borders_cropped"]["reason"] is None
    assert rows["borders_cropped"]["p_covid"] is not None


def test_an_image_that_fails_has_no_copies_and_takes_none_from_others(tmp_path, monkeypatch):
    broken = predictor(tmp_path, batch_size=3, altered=("borders_cropped",))
    images = fetched(noise(0), noise(1), noise(2))
    usual, forward = broken.predict(images)["variants"], network_of(broken).forward

    def spoilt(x_B3HW):
        output = forward(x_B3HW)
        output.lung[1, :, 5, 7] = torch.nan
        return output

    monkeypatch.setattr(network_of(broken), "forward", spoilt)
    found = broken.predict(images)["variants"]
    assert found.equals(pa.concat_tables([usual.slice(0, 1), usual.slice(2)]).combine_chunks())


def test_settings_travel_to_actors(tmp_path):
    settings = predictor(tmp_path, temperatures=TEMPERATURES, altered=ALL).settings
    assert pickle.loads(pickle.dumps(settings)) == settings


def test_a_packed_chunk_comes_back_packed(tmp_path):
    row = predictor(tmp_path, embeddings=False)(plan.pack("f.parquet", {"fetched": fetched(noise(0), None)}))
    file, tables = plan.unpack(row)
    assert file == "f.parquet"
    assert sorted(tables) == ["masks", "predictions"]


def test_an_empty_or_wholly_failed_chunk_is_fine(tmp_path):
    tables = predictor(tmp_path).predict(fetched(None, None))
    assert tables["predictions"].num_rows == 2
    assert tables["masks"].num_rows == 0


def test_a_checkpoint_that_was_replaced_is_refused(tmp_path):
    uri = write_checkpoint(tmp_path / "checkpoint")
    with pytest.raises(CheckpointError, match="was replaced during the run"):
        Predictor(PredictorSettings(uri, "000000000000", POINT, "run", 2))


def test_how_far_an_image_lies_from_the_training_data(tmp_path):
    """Distance, typicality and statistics of pixels, against those of the frames' own embeddings."""
    frames = [noise(seed) for seed in range(3)]
    plain = predictor(tmp_path).predict(fetched(*frames))
    embeddings = np.stack(plain["embeddings"]["embedding"].to_pylist()).astype(np.float64)
    uri = tmp_path / "known"
    write_checkpoint(uri)
    random = np.random.default_rng(0)
    near = embeddings[0] + random.normal(size=(60, embeddings.shape[1])) * 0.01
    sample = reference.Sample(near[:30], {}, ["nih PA"] * 30, [None] * 30)
    known = reference.make(sample, near[30:], {}, ["PA"], ["nih"], ["p"])
    for name, data in zip(checkpoint.REFERENCE, reference.to_files(known), strict=True):
        (uri / name).write_bytes(data)
    knowing = Predictor(PredictorSettings(str(uri), checkpoint.load(str(uri)).model_id, POINT, "run", 2))
    rows = knowing.predict(fetched(*frames, None))["predictions"].to_pylist()
    distances = known.distances(embeddings)
    assert distances is not None
    assert [row["embedding_distance"] for row in rows[:3]] == pytest.approx(distances.tolist(), rel=0.05)
    assert [row["typicality"] for row in rows[:3]] == pytest.approx(known.typicality(distances).tolist(), abs=0.04)
    expected = statistics(np.stack(frames))
    for name in STATISTICS:
        assert [row[name] for row in rows[:3]] == pytest.approx(expected[name].tolist())
        assert rows[3][name] is None
    assert rows[3]["embedding_distance"] is None


def test_an_older_checkpoint_tells_no_distance_but_what_the_pixels_are(tmp_path):
    (row,) = predictor(tmp_path).predict(fetched(noise(0)))["predictions"].to_pylist()
    assert row["embedding_distance"] is row["typicality"] is None
    assert row["pixel_mean"] == pytest.approx(noise(0).mean() / 255)


def test_a_checkpoint_with_a_check_says_of_each_frame_whether_it_looks_like_a_frontal_chest(tmp_path) -> None:
    plain = predictor(tmp_path)
    frames = fetched(noise(0), None, noise(1))
    assert plain.predict(frames)["predictions"]["p_frontal_chest"].null_count == 3, "an older checkpoint has none"
    weights = np.random.default_rng(0).normal(size=frontal_check.CELLS**2 * 8 + frontal_check.THUMBNAIL**2)
    check = frontal_check.FrontalCheck(weights, 0.1)
    for checkpoint_of in tmp_path.iterdir():
        frontal_check.write(checkpoint_of, check)
    found = Whole(plain.settings).predict(frames)["predictions"]["p_frontal_chest"].to_pylist()
    expected = check.p_frontal_chest(np.stack([noise(0), noise(1)]))
    assert found[1] is None
    assert [found[0], found[2]] == pytest.approx(expected.tolist(), abs=1e-5)


def test_rows_of_an_optimised_model_are_those_of_pytorch_under_another_model_id(tmp_path):
    """Scores to six digits, masks, flags and quarantined rows alike; who is whose is told by the id."""
    images = fetched(*(noise(seed) for seed in range(5)), None)
    usual = predictor(tmp_path)
    uri = with_openvino(usual.settings.checkpoint_uri)
    facts = optimised.facts(uri, "openvino", "float32")
    computed = optimised.computed("openvino", "float32")
    asked = replace(usual.settings, model_id=facts.model_id, computed=computed, threads=1)
    expected, found = usual.predict(images), Whole(asked).predict(images)
    assert set(found) == set(expected)
    rows, others = found["predictions"], expected["predictions"]
    assert set(rows["model_id"].to_pylist()) == {facts.model_id}
    assert facts.model_id.startswith(f"{usual.settings.model_id}-openvino-float32-")
    for score in ("p_covid", "p_other", "p_unhealthy"):
        ours, theirs = (table[score].to_pandas().to_numpy() for table in (rows, others))
        np.testing.assert_allclose(ours, theirs, atol=1e-6)
    for column in ("image_id", "status", "reason", "covid_flag", "unhealthy_flag", "operating_point"):
        assert rows[column].equals(others[column]), column
    assert found["masks"].drop_columns(["lung_png", "disease_png"]).num_rows == expected["masks"].num_rows
    with pytest.raises(CheckpointError, match="was replaced during the run"):
        Predictor(replace(asked, model_id=usual.settings.model_id))
