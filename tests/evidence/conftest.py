"""What the evidence's tests share: an authority for time stamps."""

from __future__ import annotations

import pytest

from tests.support.authority import Authority, make_authority


@pytest.fixture(scope="package")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """A real authority of this folder's tests."""
    return make_authority(tmp_path_factory.mktemp("authority"))
