"""One shelf for all tests here: our wheel is built once."""

import os

import pytest

from support.scaffold.installing import OfflinePackages


@pytest.fixture(scope="session")
def offline_packages(tmp_path_factory: pytest.TempPathFactory) -> OfflinePackages:
    if os.name == "nt":
        pytest.skip("needs symbolic links, which not everybody may make there")
    return OfflinePackages(tmp_path_factory.mktemp("shelf"))
