"""What every dense encoder promises, held to all of them alike."""

import pickle
import shutil

import numpy as np
import pytest
from dense_models import count_macs, diffusers_model, drawing_model, rewritten, transformers_model, videogpt_state

from lightmeter.assets.saving import load_model, save_model
from lightmeter.encoders import dense_net
from lightmeter.encoders.dense import DenseEncoder, chosen_sets
from lightmeter.encoders.dense_table import DENSE_ENCODERS
from lightmeter.errors import InvalidValueError
from lightmeter.parts import build, table

torch = pytest.importorskip("torch")

HF = ("v-jepa2", "videomae", "timesformer", "dinov2", "dinov2-registers", "dinov3")
VAES = ("wan", "wan22", "qwen", "cogvideox", "hunyuan", "ltx", "cosmos", "magvit", "pictures", "svd")
CASES = {
    "pixels": "pixels/patch=4",
    "pixels-moving": "pixels/patch=2,frames=3,clip=real,pool=concat",
    "random": "random/width=8,maps=[down8,up2]",
    "random-moving": "random/width=8,frames=3,clip=real,pool=at",
    "untrained": "untrained/of=(random/width=8),seed=3",
    "sampled-future": "sampled-future/of=(random/width=8,frames=3,clip=real,pool=last),model='{folder}',steps=2",
    "lite-maps": "lite-maps/maps=[stage2,stage5]",
    "lite-maps-large": "lite-maps/enlarge=2,maps=[stem,head]",
    "future-codes": "future-codes/path='{folder}',maps=[stride2,stride8]",
    **{
        name: f"{name.split('v2')[0].split('v3')[0] if name.startswith('dino') else name}/folder='{{folder}}',"
        f"frames={1 if name.startswith('dino') else 4},clip=real,maps=[layer0,last]"
        for name in HF
    },
    "v-jepa2-fine": "v-jepa2/folder='{folder}',frames=2,stride=4,pool=last",
    "videomae-fine": "videomae/folder='{folder}',frames=2,stride=4,pool=last",
    **dict.fromkeys(VAES, "video-vae/folder='{folder}',frames=5,clip=real,pool=at,maps=[mid_block,latents]"),
    "videogpt-frame": "videogpt-frame/path='{folder}/gpt.pt',downsample=[2,2,2],frames=2,clip=real,pool=concat",
    "videogpt-vqvae": "videogpt-vqvae/path='{folder}/gpt.pt',downsample=[2,2,2],frames=4,clip=real,pool=at,"
    "maps=[half1,stack,before,after]",
    "videogpt-prior": "videogpt-prior/path='{folder}/gpt.pt',downsample=[2,2,2],frames=4,clip=real,pool=last,"
    "maps=[hidden1,embeddings,logits,entropy,tokens]",
    "wan-transformer": "wan-transformer/folder='{folder}',frames=5,clip=real,pool=concat,maps=[block0,block1]",
}
SIDE = 32
ONE_SIZE = ("videogpt-prior", "sampled-future")
FROZEN = ("lite-maps", "lite-maps-large", "sampled-future")
SLOW = (
    "wan", "wan-transformer", "wan22", "qwen", "cogvideox", "hunyuan", "cosmos", "magvit", "pictures", "svd",
    "videomae", "videomae-fine", "timesformer", "dinov2-registers", "dinov3", "v-jepa2-fine", "videogpt-prior",
    "lite-maps-large", "random-moving",
)  # fmt: skip


def params(cases):
    """The families in every check, their relatives in `make check-slow`."""
    return [pytest.param(case, marks=pytest.mark.slow if case in SLOW else ()) for case in cases]


@pytest.fixture(scope="module")
def make_folder(tmp_path_factory):
    """(case) -> a folder with its checkpoint, made once."""
    made = {}

    def folder(case):
        case = case.removesuffix("-fine")
        case = "videogpt" if case.startswith("videogpt") else case
        if case not in made:
            made[case] = tmp_path_factory.mktemp(case)
            torch.manual_seed(0)
            _save(case, made[case])
        return made[case]

    return folder


def _save(case, folder):
    if case == "future-codes":
        from lightmeter.encoders.dense_future import save_future_codes
        from lightmeter.nets.future_codes import FutureCodes, FutureCodesPlan

        plan = FutureCodesPlan(grid=(2, 4, 4), codes=8, stride=8, width=12, layers=1, base=8, levels=2)
        save_future_codes(folder, FutureCodes(plan), {"data": "none"})
    elif case == "sampled-future":
        drawing_model(folder, side=SIDE)
    elif case == "wan-transformer":
        diffusers_model("wan").save_pretrained(folder / "vae")
        diffusers_model("transformer").save_pretrained(folder / "transformer")
    elif case.startswith("videogpt"):
        torch.save(videogpt_state(), folder / "gpt.pt")
    elif case in HF:
        transformers_model(case).save_pretrained(folder)
    elif case in VAES:
        diffusers_model(case).save_pretrained(folder)


@pytest.fixture(scope="module", params=params(CASES))
def case(request):
    return request.param


@pytest.fixture(scope="module")
def encoder(case, make_folder):
    return build(CASES[case].format(folder=make_folder(case)), "dense-encoder")


def clips(seed=0, count=3, frames=6, height=SIDE, width=SIDE):
    """Blocks of colour with noise, moving: unlike for every seed."""
    rng = np.random.default_rng(seed)
    blocks = np.kron(rng.integers(0, 256, (count, frames, 4, 4, 3)), np.ones((1, 1, height // 4, width // 4, 1)))
    return np.clip(blocks + rng.normal(0, 8, blocks.shape), 0, 255).astype(np.uint8)


AT = np.array([0, 3, 5])


def test_every_name_is_under_test():
    assert {spec.partition("/")[0] for spec in CASES.values()} == set(DENSE_ENCODERS)
    assert set(table("dense-encoder")) >= set(DENSE_ENCODERS)


class TestEveryDenseEncoder:
    def test_is_rebuilt_by_its_spec(self, encoder):
        assert build(encoder.spec) == encoder
        assert isinstance(encoder, DenseEncoder)
        assert encoder.frames >= 1

    def test_gives_maps_of_the_size_it_says(self, encoder):
        made = encoder.features(clips(), AT)
        assert tuple(made) == encoder.chosen == tuple(chosen_sets(encoder))
        for name, each in encoder.feature_sets.items():
            assert each.name == name
            assert encoder.size_multiple % each.stride == 0
        for name, each in made.items():
            said = encoder.feature_sets[name]
            assert each.shape == (3, said.channels, SIDE // said.stride, SIDE // said.stride)
            assert each.dtype == np.float32
            assert np.isfinite(each).all()
            assert not np.allclose(each[0], each[1])

    def test_takes_frames_that_are_wider_than_high(self, encoder, case):
        wide = clips(count=1, width=2 * SIDE)
        if case in ONE_SIZE:
            with pytest.raises(InvalidValueError, match="frames must be 32 x 32, got 32 x 64"):
                encoder.features(wide, AT[:1])
            return
        for name, each in encoder.features(wide, AT[:1]).items():
            stride = encoder.feature_sets[name].stride
            assert each.shape[2:] == (SIDE // stride, 2 * SIDE // stride)

    def test_is_blind_to_its_batch(self, encoder):
        batch = clips()
        for name, each in encoder.features(batch, AT).items():
            np.testing.assert_array_equal(each[1], encoder.features(batch[1:2], AT[1:2])[name][0])

    def test_gives_no_map_for_no_clip(self, encoder):
        made = encoder.features(clips()[:0], AT[:0])
        assert all(len(made[name]) == 0 for name in encoder.chosen)

    def test_states_its_price(self, encoder, case):
        if case in FROZEN:
            pytest.skip("counted in test_dense_lite and test_dense_sampled")
        width = SIDE if case in ONE_SIZE else 2 * SIDE
        dense_net._shapes.cache_clear()  # to find them costs a run, which is no part of the price
        dense_net._macs.cache_clear()
        frames = torch.rand(1, encoder.frames, 3, SIDE, width)
        net = encoder.net().eval()
        assert encoder.macs(SIDE, width) == count_macs(lambda: net(frames))

    def test_has_a_net_that_gives_the_same(self, encoder, case):
        if case in FROZEN:
            with pytest.raises(InvalidValueError, match="cannot be fine-tuned"):
                encoder.net()
            return
        batch = clips()
        windows, place = encoder.windows(batch, AT)
        assert windows.shape == (3, encoder.frames, SIDE, SIDE, 3)
        pixels = torch.from_numpy(windows).movedim(-1, 2).float() / 255
        with torch.no_grad():
            made = encoder.net().eval()(pixels, torch.from_numpy(place))
        for name, each in encoder.features(batch, AT).items():
            np.testing.assert_allclose(made[name].numpy(), each, rtol=1e-3, atol=1e-4)

    def test_stays_as_it_is_while_its_net_is_trained(self, encoder, case):
        if case in FROZEN or case.startswith("pixels"):
            pytest.skip("nothing to train")
        before = encoder.features(clips(), AT)
        net = encoder.net()
        maps = net(torch.rand(2, encoder.frames, 3, SIDE, SIDE))
        sum(each.square().sum() for each in maps.values()).backward()
        grads = [each for each in net.parameters() if each.grad is not None and each.grad.abs().sum() > 0]
        assert grads
        with torch.no_grad():
            for each in net.parameters():
                each.add_(1)
        for name, each in encoder.features(clips(), AT).items():
            np.testing.assert_array_equal(each, before[name])

    def test_refuses_what_does_not_fit(self, encoder, case):
        batch = clips()
        if encoder.size_multiple > 1 and case not in ONE_SIZE:
            with pytest.raises(InvalidValueError, match=r"multiples of \d+ high and wide, got 33 x 32"):
                encoder.features(np.zeros((3, 6, 33, 32, 3), np.uint8), AT)
        with pytest.raises(InvalidValueError, match=r"at must be 0 to 5, got 0 to 6"):
            encoder.features(batch, np.array([0, 3, 6]))
        with pytest.raises(InvalidValueError, match="must be uint8"):
            encoder.features(batch.astype(np.float32), AT)
        with pytest.raises(InvalidValueError, match="must be int64"):
            encoder.features(batch, AT.astype(np.int32))

    def test_travels_to_a_worker(self, encoder):
        twin = pickle.loads(pickle.dumps(encoder))
        assert twin == encoder
        assert twin.fingerprint == encoder.fingerprint


WITH_FILES = [case for case in CASES if "{folder}" in CASES[case] and not case.endswith("-fine")]


@pytest.mark.parametrize("case", params(WITH_FILES))
def test_fingerprint_and_features_follow_the_weights_and_not_the_place(case, make_folder, tmp_path):
    here = build(CASES[case].format(folder=make_folder(case)))
    folder = tmp_path / "elsewhere"
    shutil.copytree(make_folder(case), folder)
    there = build(CASES[case].format(folder=folder))
    batch = clips()
    before = here.features(batch, AT)
    assert there.spec != here.spec
    assert there.fingerprint == here.fingerprint
    for name, each in there.features(batch, AT).items():
        np.testing.assert_array_equal(each, before[name])
    _change(folder)
    assert there.fingerprint != here.fingerprint
    after = there.features(batch, AT)
    assert any(not np.allclose(after[name], before[name]) for name in before)


def _change(folder):
    """Every weight doubled."""
    if (folder / "gpt.pt").exists():
        torch.save({name: 2 * each for name, each in torch.load(folder / "gpt.pt").items()}, folder / "gpt.pt")
        return
    path = next(iter(sorted(folder.rglob("*.safetensors"))))

    def doubled(arrays):
        arrays.update({name: each * (2 if each.dtype.kind == "f" else 1) for name, each in arrays.items()})

    if (folder / "model.json").exists():
        arrays, about = load_model(folder)
        doubled(arrays)
        save_model(folder, arrays, about)
    else:
        rewritten(path, doubled)
