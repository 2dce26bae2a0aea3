"""From stages to hours, by hand."""

import pytest

from comit_ray.benchmark.projection import EndToEnd, Throughput, fewer_predictors, lines, other_cluster, too_few
from comit_ray.benchmark.stages import Stage

STAGES = [
    Stage("fetch", "", 100, 1.0, 200_000_000),
    Stage("decode", "PNG", 60, 1.2, 90_000_000),
    Stage("decode", "JPEG", 40, 1.8, 110_000_000),
    Stage("predict", "", 100, 5.0),
    Stage("measure", "", 100, 0.2),
    Stage("write", "", 100, 0.3),
    Stage("bare model", "", 100, 4.0),
]
TOOK = {"fetch": 4.4, "decode": 14.4, "predict": 36.0, "measure": 1.2, "write": 1.2, "graph": 44.0}
FEWER_TOOK = {"fetch": 1.1, "decode": 3.6, "predict": 10.5, "measure": 0.3, "write": 0.3, "graph": 17.0}
WHOLE = EndToEnd(400, 50.0, 100, 20.0, TOOK, FEWER_TOOK)


def on(cpus: float = 4, predictors: int = 2, gpu: bool = False) -> Throughput:
    return Throughput(STAGES, 100, WHOLE, cpus, predictors, gpu, 5_000)


def test_the_rate_is_that_of_the_further_images() -> None:
    assert WHOLE.rate == 10
    assert WHOLE.startup == 10
    noisy = EndToEnd(400, 20.0, 100, 21.0, TOOK, FEWER_TOOK)
    assert (noisy.rate, noisy.startup) == (20, 0)
    assert noisy.each("graph") == pytest.approx(0.11)


def test_bounds_without_gpus_share_the_cpus() -> None:
    """10 ms fetch, 30 decode, 50 predict, 2 measure, 3 write: 95 ms of a core an image."""
    found = on()
    assert found.seconds("decode") == pytest.approx(0.03)
    assert found.bounds["CPUs (fetch, decode, predict, measure, write)"] == pytest.approx(4 / 0.095)
    assert found.bounds["predictors"] == pytest.approx(40)
    assert found.bottleneck.startswith("predictors")
    assert on(cpus=2).bottleneck == "CPUs (fetch, decode, predict, measure, write), of which predict takes most"


def test_with_gpus_predicting_takes_no_cpu() -> None:
    found = on(gpu=True)
    assert found.bounds["CPUs (fetch, decode, measure, write)"] == pytest.approx(4 / 0.045)
    assert on(cpus=1, gpu=True).bottleneck == "CPUs (fetch, decode, measure, write), of which decode takes most"


def test_hours_and_the_ratio_to_the_bare_model() -> None:
    assert on().hours(36_000) == pytest.approx(1 + 10 / 3600)
    assert on(predictors=1).of_the_bare_model == pytest.approx(10 / 25)
    assert on(predictors=2).of_the_bare_model == pytest.approx(10 / 50)


def test_what_a_predictors_time_went_to() -> None:
    """Two predictors have 200 ms an image: network 40, tables 10, slower than alone 35, waiting 95, outside 20."""
    parts = on().predictors_time
    assert list(parts.values()) == pytest.approx([0.2, 0.05, 0.175, 0.475, 0.1])
    assert sum(parts.values()) == pytest.approx(1)
    parts = {"fetch": 11 / 360, "decode": 0.1, "predict": 85 / 360, "measure": 3 / 360, "write": 3 / 360}
    assert on().cpus_time == pytest.approx(parts)
    assert list(on(gpu=True).cpus_time) == ["fetch", "decode", "measure", "write"]


def test_too_few_images_to_tell_a_rate_are_said_to_be() -> None:
    assert too_few(fewer=512, chunk_rows=32, readers=4) is None
    said = too_few(fewer=128, chunk_rows=32, readers=4)
    assert said is not None
    assert "room for 4 reading processes, and the small screen has 4.0 chunks" in said
    assert "--images 2048 or more" in said


def test_what_ends_early_takes_less_of_an_archive() -> None:
    """Of 100 images 20 end before the network: it takes 80 times 50 ms for 100, not for 80."""
    ended = [Stage("decode", "PNG", 100, 3.0, 1), Stage("predict", "", 80, 4.0), Stage("bare model", "", 80, 3.2)]
    found = Throughput(ended, 100, WHOLE, 4, 2, True, 5_000)
    assert found.seconds("predict") == pytest.approx(0.04)
    assert found.of_the_bare_model == pytest.approx(10 * 0.032 / 2)


def test_figures_of_another_cluster_than_was_asked_for_are_said_to_be() -> None:
    assert other_cluster(16, 16) is None
    grown = other_cluster(16, 64)
    assert grown is not None
    assert "16 CPUs when it was warm and 64 at the end" in grown
    assert fewer_predictors(2, 2) is None
    assert fewer_predictors(4, 1) == (
        "of 4 predictors 1 ran, and figures are of these: there was no room, or no work, for more"
    )


def test_a_person_reads_all_of_it() -> None:
    said = lines(on(), [56_000], 3.0)
    text = "\n".join(said)
    assert "decode PNG" in text
    assert "end to end: 10.0 images/s on 4 CPUs and 2 predictors, and 10 s to begin and end" in text
    assert "bottleneck: predictors" in text
    assert "end to end over the bare model loop: 0.20" in text
    assert "a predictor's time: the network 0.20, rows and tables 0.05, slower than alone 0.1" in text
    assert (
        "the CPUs' time, by the stages' clocks: fetch 0.03, decode 0.10, predict 0.24, measure 0.01, write 0.01 ("
        in text
    )
    assert said[-1] == "56,000 images: 1.56 hours on this cluster, cost 4.67, 0.28 GB of tables"
    assert "cost" not in "\n".join(lines(on(), [56_000], None))
