from comit_ray.screening.drift import CAUSES, UNKNOWN, WORDS, Drift, lines, sentences
from comit_ray.screening.drift_signals import Signal, SignalKind

FINE = Signal("pixel_mean", SignalKind.RANGE, 0.04, 8, 0.02, 0.08, 0.05, False, "8 above 0.7")
FAR = Signal("embedding_distance", SignalKind.RANGE, 0.9, 180, 0.85, 0.94, 0.05, True, "180 above 1.4")
SPREAD = Signal("pixel_sd", SignalKind.SPREAD, 0.5, differs=True, detail="median 0.25, reference 0.2")


def test_a_warning_comes_first_with_what_it_is_made_of() -> None:
    source = Signal("source", SignalKind.NAMES, 1.0, 200, 0.98, 1.0, 0.0, True, "200 phantom")
    score = Signal("covid", SignalKind.SPREAD, 0.6, differs=True, detail="median 0.3, reference 0.1")
    said = lines(Drift("abc", 200, 150, (FAR, FINE, SPREAD, source, score)))
    assert UNKNOWN in said[3]
    spread = "the score p_covid is distributed differently than on validation images"
    assert said[:3] + said[4:] == [
        "WARNING: the archive (200 images) does not look like the training data of model abc:",
        f"  {WORDS['embedding_distance']}: outside the range of the training data for 180 images (180 above 1.4)",
        "  contrast: distributed unlike any mix of the training sources and views (median 0.25, reference 0.2)",
        "source: 200 images of sources that the training did not have (200 phantom)",
        f"{spread} (median 0.3, reference 0.1): {CAUSES}",
    ]


def test_an_archive_without_findings_is_not_called_alike() -> None:
    (said,) = lines(Drift("abc", 200, 150, (FINE,)))
    assert said == (
        "the archive (200 images of 150 patients) is not shown to differ from the training data of model abc "
        "(brightness); that they are alike is not shown either"
    )


def test_a_view_is_said_as_one() -> None:
    view = Signal("view", SignalKind.NAMES, 0.5, 100, 0.4, 0.6, 0.0, True, "100 lordotic")
    assert (
        lines(Drift("abc", 200, 150, (view,)))[1] == "  view: rare in the training data for 100 images (100 lordotic)"
    )


def test_what_could_not_be_compared_is_said_once() -> None:
    none = (
        Signal("pixel_sd", kind, None, detail="not compared: 3 images")
        for kind in (SignalKind.RANGE, SignalKind.SPREAD)
    )
    assert lines(Drift("abc", 200, 150, tuple(none))) == ["contrast: not compared: 3 images"]
    (said,) = lines(Drift("abc", 200, 150, (), "no image was scored"))
    assert said == "it is not known whether the archive looks like the model's training data: no image was scored"


def test_what_is_not_known_is_not_called_different() -> None:
    none = Signal("view", SignalKind.NAMES, None, detail="not known for any of 200 images: not compared", unknown=200)
    said = lines(Drift("abc", 200, 150, (FINE, none)))
    assert not said[0].startswith("WARNING")
    assert said[1] == "view: not known for any of 200 images: not compared"
    some = Signal("view", SignalKind.NAMES, 0.0, 0, 0.0, 0.02, 0.0, unknown=40)
    told = lines(Drift("abc", 200, 150, (FINE, some)))[1]
    assert told == "view: not known for 40 images, which is no sign of a difference"


def test_in_a_report_the_list_stays_a_list_and_signals_have_words() -> None:
    score = Signal("covid", SignalKind.SPREAD, 0.6, differs=True, detail="median 0.3, theirs 0.1")
    warned, told = sentences(Drift("abc", 200, 150, (FAR, SPREAD, score)))
    assert warned.split("\n") == [
        "WARNING: the archive (200 images) does not look like the training data of model abc:",
        f"{WORDS['embedding_distance']}: outside the range of the training data for 180 images (180 above 1.4)",
        "contrast: distributed unlike any mix of the training sources and views (median 0.25, reference 0.2)",
        UNKNOWN,
    ]
    assert told.startswith("The score p_covid is distributed differently than on validation images")
    assert told.endswith("or the model does not work on this archive.")
    assert "drift" not in told, "a first screen has nothing to drift from"
    (fine,) = sentences(Drift("abc", 200, 150, (FINE,)))
    assert fine.endswith("the training data of model abc (brightness); that they are alike is not shown either.")
