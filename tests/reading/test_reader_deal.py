from collections import Counter

import pytest

from comit_ray.errors import ConfigError
from comit_ray.reading.reader_deal import Deal, Person, Readers, differ, read_file

THREE = Readers(
    readers=(Person(name="anna"), Person(name="ben"), Person(name="dora"), Person(name="clara", role="adjudicator"))
)
IMAGES = [f"a/{number}" for number in range(3000)]


def roles(deal: Deal, current=None) -> dict[str, Counter]:
    return {
        name: Counter(deal.role(name, image, image, current or {}) for image in IMAGES)
        for name in ("anna", "ben", "dora", "clara", "eve")
    }


def said(verdict: str, category: str | None = None, role: str | None = None) -> dict:
    return {"verdict": verdict, "category": category, "role": role}


def test_every_image_has_one_first_reader_and_the_asked_share_a_second():
    found = roles(Deal(THREE, 0.2))
    assert sum(one["first"] for one in found.values()) == len(IMAGES)
    assert 0.17 < sum(one["second"] for one in found.values()) / len(IMAGES) < 0.23
    assert all(900 < found[name]["first"] < 1100 for name in ("anna", "ben", "dora"))
    assert found["eve"] == found["clara"] == {None: len(IMAGES)}


def test_a_reader_who_joins_takes_images_and_moves_none_between_the_others():
    two = Deal(Readers(readers=THREE.readers[:2]), 0.0)
    three = Deal(THREE, 0.0)
    for image in IMAGES[:500]:
        if three.role("dora", image, image, {}) is None:
            assert two.role("anna", image, image, {}) == three.role("anna", image, image, {})


def test_an_adjudicator_gets_what_two_judged_differently_and_nothing_else():
    deal = Deal(THREE, 1.0)
    image = "a/1"
    pair = sorted(
        (name for name in ("anna", "ben", "dora") if deal.role(name, image, image, {})),
        key=lambda name: str(deal.role(name, image, image, {})),
    )
    assert [deal.role(name, image, image, {}) for name in pair] == ["first", "second"]
    agreed = {pair[0]: said("normal"), pair[1]: said("normal")}
    differing = {pair[0]: said("normal"), pair[1]: said("abnormal")}
    assert deal.role("clara", image, image, {pair[0]: said("normal")}) is None
    assert deal.role("clara", image, image, agreed) is None
    assert deal.role("clara", image, image, differing) == "adjudicator"
    assert deal.shown_to_adjudicator("clara", differing | {"clara": said("normal")}) == differing
    with pytest.raises(AssertionError, match="must not see others' verdicts"):
        deal.shown_to_adjudicator(pair[0], differing)


def test_of_several_adjudicators_one_decides_and_stays():
    """One who joins later takes over what nobody has decided yet, and nothing that somebody has."""
    two = Readers(readers=(*THREE.readers[:2], Person(name="clara", role="adjudicator")))
    three = Readers(readers=(*two.readers, Person(name="otto", role="adjudicator")))
    dealt: Counter[str] = Counter()
    for image in IMAGES[:300]:
        pair = {name: Deal(two, 1.0).role(name, image, image, {}) for name in ("anna", "ben")}
        differing = {name: said("ab" if role == "first" else "normal", role=role) for name, role in pair.items()}
        chosen = [name for name in ("clara", "otto") if Deal(three, 1.0).role(name, image, image, differing)]
        assert len(chosen) == 1
        dealt += Counter(chosen)
        decided = differing | {"clara": said("normal", role="adjudicator")}
        assert Deal(three, 1.0).role("clara", image, image, decided) == "adjudicator"
        assert Deal(three, 1.0).role("otto", image, image, decided) is None
    assert min(dealt["clara"], dealt["otto"]) > 100


def test_who_has_read_an_image_keeps_it_when_another_reader_joins():
    two, three = (Deal(Readers(readers=THREE.readers[:count]), 1.0) for count in (2, 3))
    moved = 0
    for image in IMAGES[:300]:
        current = {name: said("normal", role=two.role(name, image, image, {})) for name in ("anna", "ben")}
        moved += three.role("dora", image, image, {}) is not None
        assert three.role("dora", image, image, current) is None
        assert {name: three.role(name, image, image, current) for name in current} == {
            name: row["role"] for name, row in current.items()
        }
    assert moved > 100


def test_categories_differ_only_where_both_gave_one():
    assert not differ(said("abnormal", "typical"), said("abnormal"))
    assert differ(said("abnormal", "typical"), said("abnormal", "atypical"))


def test_images_of_one_patient_go_to_one_reader():
    deal = Deal(THREE, 0.0)
    assert {deal.role("anna", "a/p1", image, {}) for image in IMAGES} in ({"first"}, {None})


def test_without_a_file_whoever_is_invited_reads_everything():
    assert roles(Deal(None, 0.2))["eve"] == {"first": len(IMAGES)}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("readers: [{name: Anna Smith}]", "expected a reader's name"),
        ("readers: [{name: a}, {name: a}]", "each name once"),
        ("readers: [{name: a, role: adjudicator}]", "at least one must have the role reader"),
        ("readers: [{name: a, email: x}]", "email: no such option"),
        ("readers: [", "expected YAML"),
    ],
)
def test_a_wrong_file_is_one_line(tmp_path, text, message):
    (tmp_path / "r.yaml").write_text(text)
    with pytest.raises(ConfigError, match=message):
        read_file(str(tmp_path / "r.yaml"))
