"""A release is known by its columns, also with one of them changed; other tables are none."""

import pytest

from earthtone.data.releases import RELEASES, Release, release_with


def known(release: Release) -> tuple[str, ...]:
    return (*release.columns.values(), *release.carried, *release.aside)


@pytest.mark.parametrize("release", RELEASES, ids=lambda release: release.name)
def test_with_any_column_renamed(release: Release) -> None:
    assert release_with(known(release)) is release
    for name in known(release):
        others = [other for other in known(release) if other != name]
        assert release_with([*others, f"{name}_2"]) is release


def test_other_tables() -> None:
    assert release_with(["id", "image", "audio", "longitude", "latitude"]) is None
    assert release_with(["sample_id", "audio", "longitude", "latitude", "date", "source", "picture"]) is None
