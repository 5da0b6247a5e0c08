"""The simulator, where it is installed with its GL library; else a skip that says what is missing."""

import pytest

from lightmeter.errors import MissingExtraError
from lightmeter.media.sawyer.render import load_mujoco
from lightmeter.media.sawyer.scene import assets_folder


@pytest.fixture(scope="session")
def mujoco():
    try:
        assets_folder()
        return load_mujoco()
    except MissingExtraError as error:
        pytest.skip(str(error))
