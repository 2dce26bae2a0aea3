import sys
from dataclasses import replace

import pytest
from scipy.special import expit, logit

from comit_ray.checkpoint import checkpoint
from comit_ray.checkpoint.operating_points import OperatingPoint
from comit_ray.checkpoint.temperature import Temperature
from comit_ray.chunks import run_record
from comit_ray.chunks.plan import Plan
from comit_ray.config.screen_config import ScreenConfig
from comit_ray.config.train_config import OptimConfig
from comit_ray.errors import ConfigError, NotFoundError
from comit_ray.screening import run_settings
from tests.support import write_checkpoint

QUESTION = {"model_id": "m1", "manifest": "f1"}


def config(
    points=None, name="specificity_0.90", temperature="off", gradcam=False, variants=(), masks="all"
) -> ScreenConfig:
    return ScreenConfig(
        manifest="m",
        checkpoint="c",
        output="o",
        operating_point=name,
        operating_points=points,
        temperature=temperature,
        gradcam=gradcam,
        variants=variants,
        masks=masks,
    )


def choose(tmp_path, points=None, name="specificity_0.90", **model):
    loaded = checkpoint.load(write_checkpoint(tmp_path / "checkpoint", threshold=0.4, **model))
    return run_settings.choose_operating_point(config(points, name), loaded)


def test_the_checkpoints_operating_point_by_default(tmp_path):
    assert choose(tmp_path).thresholds["covid"] == 0.4


def test_a_training_may_name_the_point_that_decides_and_a_screen_that_names_one_wins(tmp_path):
    uri = write_checkpoint(tmp_path / "checkpoint", threshold=0.4)
    loaded = checkpoint.load(uri)
    every = "specificity_0.90_every_source"
    options = {"for_every_source": True, "flag_point": every}
    train = type(loaded.config.train).parse(options, origin="test")
    points = loaded.operating_points | {every: OperatingPoint(every, {"covid": 0.7, "unhealthy": 0.7})}
    named = replace(loaded, config=loaded.config.model_copy(update={"train": train}), operating_points=points)
    assert run_settings.choose_operating_point(config(name=None), loaded).name == "specificity_0.90"
    assert run_settings.choose_operating_point(config(name=None), named).thresholds["covid"] == 0.7
    assert run_settings.choose_operating_point(config(name="specificity_0.90"), named).thresholds["covid"] == 0.4
    assert run_settings.default_point(every, "site.json") == "specificity_0.90"


@pytest.mark.parametrize("options", [{"flag_point": "mine"}, {"flag_point": "specificity_0.90_every_source"}])
def test_a_point_that_no_training_chooses_cannot_be_named(options):
    with pytest.raises(ConfigError, match=r"flag_point: expected one of the chosen points \(specificity_0\.90"):
        OptimConfig.parse(options, origin="test")


def test_a_sites_own_operating_point_replaces_it(tmp_path):
    file = tmp_path / "site.json"
    file.write_text('{"mine": {"covid": {"threshold": 0.2}, "unhealthy": {"threshold": 0.3}}}')
    assert choose(tmp_path, str(file), "mine").thresholds == {"covid": 0.2, "unhealthy": 0.3}


def test_a_threshold_of_another_models_scores_is_refused(tmp_path):
    """As comit-ray calibrate writes it: a new version of a model moves its scores."""
    file = tmp_path / "site.json"
    bound = '{"site": {"covid": {"threshold": 0.2, "model_id": "%s", "calibration": "%s"}}}'
    file.write_text(bound % ("abcdef012345", "none"))
    with pytest.raises(ConfigError, match=r"chosen for scores of model abcdef012345.*calibrate again"):
        choose(tmp_path, str(file), "site")
    mine = checkpoint.load(str(tmp_path / "checkpoint")).model_id
    loaded = checkpoint.load(str(tmp_path / "checkpoint"))
    file.write_text(bound % (mine, "none"))
    assert run_settings.choose_operating_point(config(str(file), "site"), loaded).thresholds == {"covid": 0.2}
    file.write_text(bound % (mine, "temperature"))
    with pytest.raises(ConfigError, match="set --temperature as it was"):
        run_settings.choose_operating_point(config(str(file), "site"), loaded)


def test_unknown_names_list_the_known(tmp_path):
    with pytest.raises(ConfigError, match=r"no operating point 'spec90'.*known: specificity_0\.90"):
        choose(tmp_path, name="spec90")


def test_covid_needs_a_threshold(tmp_path):
    file = tmp_path / "site.json"
    file.write_text('{"mine": {"covid": {"threshold": null, "reason": "no positive image"}}}')
    with pytest.raises(ConfigError, match="no positive image"):
        choose(tmp_path, str(file), "mine")


def test_the_other_head_may_lack_one_its_flags_are_null(tmp_path):
    file = tmp_path / "site.json"
    file.write_text('{"mine": {"covid": {"threshold": 0.2}}}')
    assert choose(tmp_path, str(file), "mine").thresholds == {"covid": 0.2}


def test_without_a_covid_head_the_unhealthy_need_one(tmp_path):
    file = tmp_path / "site.json"
    file.write_text('{"mine": {"covid": {"threshold": 0.2}}}')
    with pytest.raises(ConfigError, match="no threshold for unhealthy"):
        choose(tmp_path, str(file), "mine", tasks=["health"])


def test_the_record_holds_the_operating_point(tmp_path):
    point = {"name": "specificity_0.90", "thresholds": {"covid": 0.25}}
    run_record.open_run(str(tmp_path), QUESTION | {"operating_point": point}, {}, "predictions")
    found = run_settings.recorded_operating_point(str(tmp_path))
    assert (found.name, found.thresholds) == ("specificity_0.90", {"covid": 0.25})
    with pytest.raises(NotFoundError):
        run_settings.recorded_operating_point(str(tmp_path / "elsewhere"))


def test_a_model_without_scores_needs_no_operating_point(tmp_path):
    point = choose(tmp_path, name="any", tasks=["lung"])
    assert (point.name, point.thresholds) == ("any", {})


def fitted(tmp_path, tasks=("lung", "disease", "health", "covid"), **temperatures):
    document = {
        score: Temperature(temperature=value)
        if isinstance(value, float)
        else Temperature(temperature=None, reason=value)
        for score, value in temperatures.items()
    }
    uri = write_checkpoint(tmp_path / "checkpoint", threshold=0.4, temperatures=document, tasks=list(tasks))
    return checkpoint.load(uri)


ALL = {"covid": 2.0, "other": 1.5, "unhealthy": 3.0}


def test_temperatures_only_where_they_are_asked_for(tmp_path):
    loaded = fitted(tmp_path, **ALL)
    assert run_settings.choose_temperatures(config(), loaded) == {}
    assert run_settings.choose_temperatures(config(temperature="on"), loaded) == ALL


def test_temperatures_are_those_of_the_models_heads(tmp_path):
    loaded = fitted(tmp_path, tasks=("health",), **ALL)
    assert run_settings.choose_temperatures(config(temperature="on"), loaded) == {"unhealthy": 3.0}


@pytest.mark.parametrize(
    ("temperatures", "message"),
    [
        ({}, r"no temperature for covid \(none was fitted in its training\); other .*; unhealthy .*--temperature off"),
        ({**ALL, "other": "no positive image"}, r"no temperature for other \(no positive image\); use"),
    ],
)
def test_without_a_temperature_on_is_refused_with_the_reason(tmp_path, temperatures, message):
    with pytest.raises(ConfigError, match=message):
        run_settings.choose_temperatures(config(temperature="on"), fitted(tmp_path, **temperatures))


def test_a_model_without_scores_has_nothing_to_scale(tmp_path):
    with pytest.raises(ConfigError, match=r"no score to scale \(heads: lung, disease\)"):
        run_settings.choose_temperatures(config(temperature="on"), fitted(tmp_path, tasks=("lung", "disease"), **ALL))


def test_the_checkpoints_thresholds_are_recorded_on_the_scale_of_the_scores():
    point = OperatingPoint("specificity_0.90", {"covid": 0.4, "unhealthy": 0.9}, {"other": "why"})
    on = config(temperature="on")
    written = run_settings.as_written(point, on, ALL)
    assert written.thresholds["covid"] == pytest.approx(expit(logit(0.4) / 2))
    assert written.thresholds["unhealthy"] == pytest.approx(expit(logit(0.9) / 3))
    assert (written.name, written.missing) == (point.name, point.missing)
    assert run_settings.as_written(point, config(), {}) == point
    assert run_settings.as_written(point, config(points="site.json", temperature="on"), ALL) == point


def asked(loaded, **options):
    return run_settings.run_settings(config(**options), loaded, Plan((), "fingerprint"), OperatingPoint("x", {}), {})


def test_grad_cam_is_part_of_the_question(tmp_path):
    loaded = checkpoint.load(write_checkpoint(tmp_path / "checkpoint"))
    off, on = asked(loaded), asked(loaded, gradcam=True)
    assert (off["gradcam"], on["gradcam"]) == (False, True)
    assert off | {"gradcam": True} == on


def test_grad_cam_needs_captum_before_any_image_is_read(tmp_path, monkeypatch):
    for module in ("captum", "captum.attr"):
        monkeypatch.setitem(sys.modules, module, None)
    loaded = checkpoint.load(write_checkpoint(tmp_path / "checkpoint"))
    assert asked(loaded)["gradcam"] is False
    with pytest.raises(ConfigError, match=r"--gradcam true needs captum .*pip install 'comit-ray\[gradcam\]'"):
        asked(loaded, gradcam=True)


def test_grad_cam_needs_a_score(tmp_path):
    loaded = checkpoint.load(write_checkpoint(tmp_path / "checkpoint", tasks=["lung", "disease"]))
    with pytest.raises(ConfigError, match=r"--gradcam true: the model of c has no score .*\(heads: lung, disease\)"):
        asked(loaded, gradcam=True)


def test_variants_are_part_of_the_question_in_any_order(tmp_path):
    loaded = checkpoint.load(write_checkpoint(tmp_path / "checkpoint"))
    found = asked(loaded, variants=("lungs_removed", "borders_cropped"))
    assert found["variants"] == ["borders_cropped", "lungs_removed"]
    assert asked(loaded)["variants"] == []


@pytest.mark.parametrize(
    ("tasks", "words"),
    [
        (
            ["health", "covid"],
            r"--variants lungs_only: they need the masks of a lung head.*borders_cropped",
        ),
        (["lung", "disease"], r"--variants: the model of c has no score \(heads: lung, disease\)"),
    ],
)
def test_variants_that_the_model_cannot_score_are_refused(tmp_path, tasks, words):
    loaded = checkpoint.load(write_checkpoint(tmp_path / "checkpoint", tasks=tasks))
    with pytest.raises(ConfigError, match=words):
        asked(loaded, variants=("lungs_only", "borders_cropped"))


def test_all_masks_are_the_same_question_as_before_there_was_a_choice(tmp_path):
    question = asked(fitted(tmp_path))
    before = {key: value for key, value in question.items() if key != "masks"}
    run_id = run_record.open_run(str(tmp_path / "out"), before, {}, "predictions")
    assert run_record.open_run(str(tmp_path / "out"), question, {}, "predictions") == run_id


@pytest.mark.parametrize("masks", ["flagged", "none"])
def test_fewer_masks_are_another_question(tmp_path, masks):
    loaded = fitted(tmp_path)
    run_record.open_run(str(tmp_path / "out"), asked(loaded), {}, "predictions")
    with pytest.raises(ConfigError, match=rf"other settings \(masks was .*'of': '{masks}'"):
        run_record.open_run(str(tmp_path / "out"), asked(loaded, masks=masks), {}, "predictions")


def test_masks_are_left_out_only_where_there_are_scores_and_no_variant_needs_them(tmp_path):
    loaded = fitted(tmp_path)
    with pytest.raises(ConfigError, match=r"--variants lungs_only need the lungs of every image.*--masks all"):
        asked(loaded, masks="flagged", variants=("lungs_only", "borders_cropped"))
    assert asked(loaded, masks="none", variants=("borders_cropped",))["masks"] == {"of": "none"}
    masks_alone = fitted(tmp_path / "masks", tasks=("lung", "disease"))
    with pytest.raises(ConfigError, match=r"--masks none: .* gives masks and no score \(heads: lung, disease\)"):
        asked(masks_alone, masks="none")
