"""`proa reset` leaves nothing of what a cluster keeps, and all that is somebody else's."""

from __future__ import annotations

from pathlib import Path

from proa.cli.reset import remove
from proa.home import Home


def kept_by(home: Home) -> list[Path]:
    """Return all places that a home has a name for."""
    found: list[Path] = []
    for name, attribute in vars(Home).items():
        if isinstance(attribute, property):
            value = getattr(home, name)
            found += [value] if isinstance(value, Path) else value if isinstance(value, tuple) else ()
    return found


def test_every_place_of_a_home_goes_and_the_home_with_them(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    places = kept_by(home)
    for place in places:
        (place / "within").mkdir(parents=True, exist_ok=True)
    assert home.models in places

    remove(home)

    assert not home.path.exists()


def test_what_is_somebody_elses_stays(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    home.models.mkdir(parents=True)
    (home.path / "thesis.tex").touch()

    remove(home)

    assert [path.name for path in home.path.iterdir()] == ["thesis.tex"]
