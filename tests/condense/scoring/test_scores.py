"""Students on tiny pictures: what is reported is what they know, by seed, and differences are in pairs."""

import numpy as np
import pytest
import torch
from striped_pictures import stripes

from lightmeter.condense.image_set import ImageSet
from lightmeter.condense.scoring import learning
from lightmeter.condense.scoring.label_order import check_labels, fitting_order
from lightmeter.condense.scoring.learning import Lesson, blocks, said_of
from lightmeter.condense.scoring.presets import Minimax, Quick, Rded
from lightmeter.condense.scoring.probe import encoded, linear_probe
from lightmeter.condense.scoring.scores import Scored, difference, score
from lightmeter.condense.scoring.students import ConvNetStudent
from lightmeter.errors import InvalidValueError
from lightmeter.meter.cost import Cost

TINY = "conv-net/depth=2,width=8"


class Oracle:
    """A teacher that knows the stripes' labels by their pixels, and means what an order says."""

    def __init__(self, known, order=(0, 1, 2), sure=8.0):
        self.known, self.order, self.sure = known, np.array(order), sure

    def logits(self, images):
        at = {image.tobytes(): label for image, label in zip(self.known.images, self.known.labels, strict=True)}
        labels = self.order[[at[image.tobytes()] for image in images]]
        return (self.sure * np.eye(3)[labels]).astype(np.float32)

    def features(self, images):
        return self.logits(images)

    def net(self):
        raise AssertionError("refused before")


@pytest.fixture(scope="module")
def unseen():
    return stripes(40, seed=9)


def test_a_student_learns_and_is_tested(unseen):
    lines = []
    made = score(stripes(5), unseen, Quick(steps=60, flip=False), student=TINY, seeds=[0, 1], tell=lines.append)
    assert made.hits.shape == (2, 120)
    assert made.hits.dtype == bool
    assert made.last.min() > 0.8
    assert np.array_equal(made.best, made.last), "looked at once"
    assert made.student == "conv-net/depth=2,width=8,norm=instance"
    assert made.seeds == (0, 1)
    assert made.cost.cpu_s > 0
    assert lines == [
        f"{made.student} seed {seed}: {100 * made.last[seed]:.1f} % after 60 of 60 steps" for seed in (0, 1)
    ]
    assert "CPU" in made.text()


def test_same_seed_same_bits_and_seeds_stand_alone(unseen):
    small, preset = stripes(2), Quick(steps=12)
    both = score(small, unseen, preset, student=TINY, seeds=[0, 1])
    alone = score(small, unseen, preset, student=TINY, seeds=[1])
    assert np.array_equal(both.hits[1], alone.hits[0])
    nets = [ConvNetStudent(2, 8).net(1, 3, (8, 8), seed=5) for _ in range(2)]
    for net in nets:
        torch.rand(3)  # whatever else draws
        Lesson(net, preset, preset.course(6, 2, 3), small, seed=5).learn(lambda done: None)
    for one, other in zip(nets[0].parameters(), nets[1].parameters(), strict=True):
        assert torch.equal(one, other)


def test_the_best_on_test_is_at_least_the_last(unseen):
    lines = []
    preset = Minimax(epochs=10, looks=5)
    made = score(stripes(3), unseen, preset, student=TINY, seeds=[0], tell=lines.append)
    seen = [float(line.split("seed 0: ")[1].split(" %")[0]) for line in lines]
    assert len(seen) == 5
    assert 100 * made.best_on_test[0] == pytest.approx(max(seen), abs=0.06)
    assert 100 * made.last[0] == pytest.approx(seen[-1], abs=0.06)


@pytest.mark.parametrize(
    "student", ["resnet-ap/width=4", "resnet/depth=10,width=4", "conv-net/depth=3,width=4,norm=batch"]
)
def test_other_architectures_and_shapes(student):
    small, test = stripes(3, channels=3, size=(17, 26)), stripes(4, seed=1, channels=3, size=(17, 26))
    assert score(small, test, Quick(steps=2), student=student, seeds=[0]).hits.shape == (1, 12)


def lesson(preset, seed=0, soft=None, teacher=None, norm="instance", items=6):
    small = stripes(items // 3)
    net = ConvNetStudent(2, 8, norm).net(1, 3, (8, 8), seed=0)
    return Lesson(
        net,
        preset,
        preset.course(items, items // 3, 3),
        small,
        seed=seed,
        soft=soft,
        teacher=teacher,
    )


def test_parts_of_a_batch_are_the_batch(monkeypatch):
    whole, parts = lesson(Quick()), lesson(Quick())
    whole.step(0)
    monkeypatch.setattr(learning, "at_once", lambda net: 4)
    parts.step(0)
    for one, other in zip(whole.net.parameters(), parts.net.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)
    assert list(blocks(6, 4)) == [slice(0, 4), slice(4, 6)]


def test_the_hard_loss_is_of_both_labels_by_their_share():
    made = lesson(Quick())
    rng = np.random.default_rng(0)
    batch = made.preset.changed(torch.rand(6, 1, 8, 8), rng)
    while batch.partner is None:
        batch = made.preset.changed(torch.rand(6, 1, 8, 8), rng)
    rows = np.array([0, 1, 2, 3, 4, 5])
    loss = made._loss(batch, rows)
    logits = made.net(batch.x)
    own, other = made.labels, made.labels[torch.from_numpy(batch.partner)]
    wanted = batch.share * torch.nn.functional.cross_entropy(logits, own)
    wanted = wanted + (1 - batch.share) * torch.nn.functional.cross_entropy(logits, other)
    torch.testing.assert_close(loss, wanted)


def test_the_soft_loss_is_the_divergence_at_the_temperature_without_its_square():
    teacher = ConvNetStudent(2, 4).net(1, 3, (8, 8), seed=3)
    made = lesson(Rded(), teacher=teacher)
    batch = made.preset.changed(torch.rand(6, 1, 8, 8), np.random.default_rng(0))
    loss = made._loss(batch, np.arange(6))
    with torch.no_grad():
        wanted = torch.softmax(teacher(batch.x) / 20, 1)
        told = torch.softmax(made.net(batch.x) / 20, 1)
    by_hand = (wanted * (wanted / told).log()).sum() / 6
    torch.testing.assert_close(loss.detach(), by_hand, rtol=1e-3, atol=1e-7)


def test_own_soft_labels_are_mixed_as_pictures_are():
    soft = np.random.default_rng(0).dirichlet(np.ones(3), 6).astype(np.float32)
    made = lesson(Rded(labels="own", mix="mixup"), soft=soft)
    batch = made.preset.changed(torch.rand(3, 1, 8, 8), np.random.default_rng(0))
    rows = np.array([5, 0, 2])
    (wanted,) = made._wanted(batch, rows)
    by_hand = batch.share * soft[rows] + (1 - batch.share) * soft[rows[batch.partner]]
    np.testing.assert_allclose(wanted.numpy(), by_hand, rtol=1e-5)


def test_what_decays():
    sgd, adam = (
        lesson(Quick()).descent.optimizer.param_groups,
        lesson(Rded(), teacher=None).descent.optimizer.param_groups,
    )
    assert {group["weight_decay"] for group in sgd} == {5e-4}, "biases and norms too, as published"
    assert sorted(group["weight_decay"] for group in adam) == [0.0, 0.01]


def test_a_soft_protocol_wants_its_labels(unseen):
    small = stripes(2)
    with pytest.raises(InvalidValueError, match="needs a teacher for its labels, got none: give soft=fit_teacher"):
        score(small, unseen, Rded(epochs=1), student=TINY)
    with pytest.raises(InvalidValueError, match="got an array"):
        score(small, unseen, Rded(epochs=1), student=TINY, soft=np.ones((6, 3), np.float32))
    with pytest.raises(InvalidValueError, match="needs labels of the set's own, got none"):
        score(small, unseen, Rded(epochs=1, labels="own"), student=TINY)
    with pytest.raises(InvalidValueError, match=r"soft must be \[6, 3\]"):
        score(small, unseen, Rded(epochs=1, labels="own"), student=TINY, soft=np.ones((5, 3), np.float32))
    soft = np.eye(3, dtype=np.float32)[small.labels]
    made = score(small, unseen, Rded(epochs=2, labels="own"), student=TINY, seeds=[0], soft=soft)
    assert made.labelled is None


def test_sets_must_go_together(unseen):
    other = ImageSet.of(unseen.images, unseen.labels, ("lying", "slope", "standing"))
    with pytest.raises(InvalidValueError, match="same classes in the same order"):
        score(stripes(2), other, "quick", student=TINY)
    with pytest.raises(InvalidValueError, match="pictures of one shape"):
        score(stripes(2, size=(8, 9)), unseen, "quick", student=TINY)
    with pytest.raises(
        InvalidValueError, match="at least 16 px a side for a ConvNet of depth 4, got 8 x 8: take depth=3"
    ):
        score(stripes(2), unseen, "quick", student="conv-net/depth=4")
    with pytest.raises(InvalidValueError, match="must have pictures, got 6 and 0"):
        score(stripes(2), unseen.take(np.zeros(0, np.int64)), "quick", student=TINY)


# -- order of labels ------------------------------------------------------------------------------------------------


def test_a_teacher_of_the_right_order_passes(unseen):
    lines = []
    assert check_labels(Oracle(unseen), unseen, tell=lines.append) == 1.0
    assert lines == ["the teacher knows 120 of 120 real pictures (100.0 %)"]


@pytest.mark.parametrize(("order", "said"), [((1, 2, 0), "0 of 120"), ((0, 2, 1), "40 of 120")])
def test_another_order_is_refused_and_named(unseen, order, said):
    with pytest.raises(InvalidValueError, match=f"got {said}, and 120 with its classes in another order") as caught:
        score(stripes(2), unseen, Rded(epochs=1), student=TINY, soft=Oracle(unseen, order))
    assert str(np.argsort(order).tolist()) in str(caught.value), "what each answer stands for"
    if order == (0, 2, 1):
        assert "its standing is slope, its slope is standing" in str(caught.value)


def test_chance_is_refused(unseen):
    teacher = Oracle(unseen)
    teacher.known = ImageSet.of(unseen.images, np.random.default_rng(0).permutation(unseen.labels), unseen.classes)
    with pytest.raises(InvalidValueError, match="of 120, which is chance: take a teacher of these classes"):
        check_labels(teacher, unseen)


def test_a_weak_teacher_that_mixes_two_classes_up_passes(unseen):
    labels = unseen.labels.copy()
    labels[:25] = 1  # of 40 lying ones
    teacher = Oracle(ImageSet.of(unseen.images, labels, unseen.classes))
    assert check_labels(teacher, unseen) == pytest.approx(95 / 120)


def test_of_few_pictures_no_order_is_made_up():
    few = stripes(2)
    with pytest.raises(InvalidValueError, match="which is chance"):
        check_labels(Oracle(few, (1, 2, 0)), few)


def test_fitting_order_by_hand():
    said, labels = np.array([0, 0, 0, 1, 1, 2]), np.array([2, 2, 1, 2, 0, 0])
    assert fitting_order(said, labels, 4).tolist() == [2, 0, 1, 3]


def test_other_classes_are_refused(unseen):
    two = stripes(4, classes=2)
    with pytest.raises(InvalidValueError, match=r"must know the 2 classes of the set, got logits \[8, 3\]"):
        check_labels(Oracle(two), two)


# -- in pairs -------------------------------------------------------------------------------------------------------


def scored(hits):
    hits = np.asarray(hits, bool)
    return Scored("s", "p", tuple(range(len(hits))), hits, hits.mean(axis=1), Cost(1, 1, 1))


def test_what_is_hard_for_both_cancels_out():
    rng = np.random.default_rng(0)
    easy = rng.random(400) < 0.6
    one = np.tile(easy, (3, 1))
    one[:, np.flatnonzero(~easy)[:12]] = True  # twelve more of the same
    made = difference(scored(one), scored(np.tile(easy, (3, 1))), seed=1)
    assert made.value == pytest.approx(0.03)
    assert made.clear
    assert made.high - made.low == pytest.approx(2 * 1.96 * np.sqrt(0.03 * 0.97 / 400), rel=0.15)
    alone = np.sqrt(2 * 0.6 * 0.4 / 400) * 2 * 1.96
    assert made.high - made.low < alone / 2


def test_seeds_are_drawn_too():
    one = np.zeros((4, 200), bool)
    one[:2] = True  # two of four seeds know all
    made = difference(scored(one), scored(np.zeros((4, 200), bool)))
    assert made.value == 0.5
    assert (made.low, made.high) == (pytest.approx(0.0, abs=0.03), pytest.approx(1.0, abs=0.03))
    with pytest.raises(InvalidValueError, match="same seeds and test pictures"):
        difference(scored(one), scored(one[:3]))


def test_a_set_differs_not_from_itself():
    hits = np.random.default_rng(0).random((2, 50)) < 0.5
    made = difference(scored(hits), scored(hits))
    assert (made.value, made.low, made.high) == (0, 0, 0)


# -- probe ----------------------------------------------------------------------------------------------------------


def test_a_probe_of_colours():
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 2], 10)
    pictures = rng.integers(0, 60, (20, 6, 6, 3), dtype=np.uint8)
    pictures[:10, ..., 0] += 180
    pictures[10:, ..., 2] += 180
    known = ImageSet.of(pictures, labels, ("red", "green", "blue"))
    made = linear_probe(known.take(np.array([0, 19])), known, "color-histogram")
    assert made.hits.shape == (1, 20)
    assert made.last[0] == 1.0
    assert made.student == "linear probe on color-histogram/bins=4"
    rows = encoded(known, _built())
    again = linear_probe(known.take(np.array([0, 19])), known, "color-histogram", test_rows=rows)
    assert np.array_equal(made.hits, again.hits)
    with pytest.raises(InvalidValueError, match="encoder of pictures"):
        linear_probe(known, known, "log-mel")
    with pytest.raises(InvalidValueError, match="two classes"):
        linear_probe(known.take(np.array([0, 1])), known, "color-histogram")


def test_grey_pictures_are_shown_as_rgb():
    grey = stripes(2)
    colour = ImageSet.of(np.repeat(grey.images, 3, axis=3), grey.labels, grey.classes)
    assert np.array_equal(encoded(grey, _built()), encoded(colour, _built()))


def _built():
    from lightmeter.parts import build

    return build("color-histogram", "encoder")


def test_a_net_is_asked_a_few_at_a_time_and_left_as_it_was():
    images = stripes(3).images
    net = ConvNetStudent(2, 4, "batch").net(1, 3, (8, 8), seed=0).train()
    made = said_of(net, images)
    assert net.training
    net.eval()
    from lightmeter.condense.scoring.pixels import normalised

    with torch.no_grad():
        np.testing.assert_allclose(made, net(normalised(images)).numpy(), rtol=1e-4, atol=1e-5)
    assert said_of(net, images, "features").shape == (9, 16)
