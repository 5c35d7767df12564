"""What pyproject.toml installs is what the tree holds."""

import tomllib
from pathlib import Path

ROOT = Path(__file__).parent.parent


def test_every_package_of_the_tree_is_installed():
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    found = {
        ".".join(file.parent.relative_to(ROOT).parts)
        for top in ("hashing", "protocols", "service", "experiments")
        for file in (ROOT / top).rglob("*.py")
    }
    assert sorted(listed) == sorted(found)
