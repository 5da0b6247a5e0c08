"""From prototypes to pictures: counts, prompts, members, ablations, and what small classes are given."""

import numpy as np
import pytest
from synthesis_models import BrightTeacher, Stub, captions_of

from lightmeter.condense.protocol import Condenser
from lightmeter.condense.synthesis.candidates import cross_entropies
from lightmeter.condense.synthesis.drawing import Choosing
from lightmeter.condense.synthesis.prototypes import Finding, class_prototypes
from lightmeter.condense.synthesis.vlcp import D4M_SD15, VLCP_SD15, D4m, Vlcp
from lightmeter.errors import InvalidValueError
from lightmeter.parts import build

pytest.importorskip("diffusers")
pytest.importorskip("sklearn")
QUICK = Vlcp(steps=4, strength=0.5, outliers=0.0)


@pytest.fixture
def bench(tiny, tiny_set):
    return Stub(tiny_set, tiny)


@pytest.mark.parametrize("method", [Vlcp(), D4m(), VLCP_SD15, D4M_SD15], ids=lambda each: each.spec)
def test_specs_come_back(method):
    assert build(method.spec, "condenser") == method
    assert isinstance(method, Condenser)
    assert method.makes


def test_published_settings_are_those_of_the_papers():
    drawing = VLCP_SD15.drawing()
    assert (drawing.strength, drawing.guidance, drawing.steps) == (0.7, 10.0, 50)
    assert drawing.negative == D4M_SD15.negative == "cartoon, anime, painting"
    assert (D4M_SD15.strength, D4M_SD15.guidance) == (0.7, 8.0)
    assert (VLCP_SD15.beta, VLCP_SD15.top, VLCP_SD15.text, VLCP_SD15.image) == (0.7, 30, "prototype", "centre")


def test_every_class_gets_its_pictures(bench, tiny_set):
    made = QUICK.condense(bench, 3, seed=0)
    np.testing.assert_array_equal(made.labels, [0, 0, 0, 1, 1, 1])
    assert made.images.shape == (6, 8, 8, 1)
    assert made.rows is None
    for label in (0, 1):
        members = np.sort(np.concatenate(made.members[3 * label : 3 * label + 3]))
        np.testing.assert_array_equal(members, tiny_set.rows_of(label))
    captions = captions_of(tiny_set)
    for text, members in zip(made.texts, made.members, strict=True):
        assert text in {captions[row] for row in members.tolist()}
    assert made.notes == ()
    assert bench.told[-1] == "drawn: 6 pictures of 2 classes"


def test_same_seed_same_pictures(bench):
    one, two, other = (QUICK.condense(bench, 2, seed=seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(one.images, two.images)
    assert (one.images != other.images).any()


def test_d4m_is_told_names_and_vlcp_can_be(bench):
    names = ("tall bar", "tall bar", "wide bar", "wide bar")
    assert D4m(steps=4).condense(bench, 2, seed=0).texts == names
    assert Vlcp(steps=4, text="class").condense(bench, 2, seed=0).texts == names
    assert Vlcp(steps=4, text="none").condense(bench, 2, seed=0).texts == ("",) * 4


def test_medoids_and_centres_are_where_drawing_starts(bench, tiny, tiny_set):
    still = {"strength": 0.0, "outliers": 0.0}
    latents = bench.features("latents")
    medoids = Vlcp(image="medoid", **still).condense(bench, 2, seed=0)
    decoded = tiny.decode(tiny.encode(tiny_set.images)).astype(int)
    for image, members in zip(medoids.images.astype(int), medoids.members, strict=True):
        assert min(abs(decoded[row] - image).max() for row in members.tolist()) <= 1
    centres = Vlcp(**still).condense(bench, 2, seed=0)
    for image, members in zip(centres.images.astype(int), centres.members, strict=True):
        wanted = tiny.decode(latents[members].mean(0).reshape(1, *tiny.latent_shape)).astype(int)[0]
        assert abs(wanted - image).max() <= 1


def test_without_an_image_prototype_pictures_come_from_noise(bench):
    method = Vlcp(image="none", steps=4)
    assert method.drawing().strength == 1.0
    prototypes, _ = class_prototypes(bench, 0, 2, method.finding(), seed=0)
    assert all((each.latent == 0).all() for each in prototypes)
    made = method.condense(bench, 2, seed=0)
    assert (made.images[0] != made.images[1]).any()


def test_candidates_are_judged_by_the_teacher(bench, tiny):
    judge = BrightTeacher()
    losses = []
    for count in (1, 4):
        made = Vlcp(steps=4, strength=0.8, outliers=0.0, candidates=count).condense(bench, 3, seed=0)
        losses.append(sum(cross_entropies(judge.logits(made.images[made.labels == k]), k).sum() for k in (0, 1)))
    assert losses[1] < losses[0]
    assert bench.judge.calls == [12, 12] * 2  # logits and features, a class at a time; none for one candidate


def test_a_class_smaller_than_asked_for_repeats_its_prototypes(tiny, tiny_set):
    some = tiny_set.take(np.r_[tiny_set.rows_of(0)[:2], tiny_set.rows_of(1)])
    made = QUICK.condense(Stub(some, tiny), 5, seed=0)
    assert len(made) == 10
    assert made.notes == ("tall bar: 2 prototypes for 5 pictures, as it has no more; each is drawn again",)
    np.testing.assert_array_equal(made.members[0], made.members[2])
    assert (made.images[0] != made.images[2]).any()


def test_outliers_leave_pictures_and_captions(tiny, tiny_set):
    row = int(tiny_set.rows_of(0)[3])

    class Strange(Stub):
        def features(self, of):
            latents = super().features(of)
            latents[row] += 50
            return latents

    prototypes, notes = class_prototypes(Strange(tiny_set, tiny), 0, 2, Finding(outliers=0.1), seed=0)
    kept = np.concatenate([each.members for each in prototypes])
    assert row not in kept
    assert len(kept) == 18
    assert notes == []
    _, notes = class_prototypes(Strange(tiny_set, tiny), 0, 19, Finding(outliers=0.1), seed=0)
    assert notes[0].startswith("tall bar: 1 outliers were taken out and not 2")


def test_an_empty_caption_is_the_name(tiny, tiny_set):
    class Silent(Stub):
        def captions(self):
            return ("",) * len(self.images)

    assert set(QUICK.condense(Silent(tiny_set, tiny), 2, seed=0).texts) == {"tall bar", "wide bar"}


def test_many_classes_are_drawn_in_blocks(bench, monkeypatch):
    whole = QUICK.condense(bench, 2, seed=0)
    monkeypatch.setattr("lightmeter.condense.synthesis.drawing._BLOCK", 2)
    parts = QUICK.condense(bench, 2, seed=0)
    np.testing.assert_allclose(parts.images.astype(int), whole.images.astype(int), atol=1)
    assert parts.texts == whole.texts
    assert bench.told[-2:] == ["drawn: 2 pictures of 1 classes", "drawn: 4 pictures of 2 classes"]


def test_a_class_without_pictures_is_left_out(tiny, tiny_set):
    some = tiny_set.take(tiny_set.rows_of(1))
    np.testing.assert_array_equal(QUICK.condense(Stub(some, tiny), 2, seed=0).labels, [1, 1])
    with pytest.raises(InvalidValueError, match="'tall bar' has none"):
        class_prototypes(Stub(some, tiny), 0, 2, Finding(), seed=0)


def test_what_cannot_be_is_refused(bench):
    for wrong in (
        {"strength": 2.0}, {"candidates": 0}, {"image": "mean"}, {"text": "title"}, {"clusters": "half"},
        {"image": "none", "mode": 0.5}, {"image": "none", "text": "none"}, {"matching": "stems"}, {"apart": -1.0},
    ):  # fmt: skip
        with pytest.raises(InvalidValueError):
            Vlcp(**wrong)
    with pytest.raises(InvalidValueError):
        D4m(steps=0)
    with pytest.raises(InvalidValueError):
        Choosing(0)
    with pytest.raises(InvalidValueError, match="pictures a class"):
        QUICK.condense(bench, 0, seed=0)
