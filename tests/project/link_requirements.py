"""Gives an environment what a distribution in it requires, out of the environment that runs this.

    python tests/project/link_requirements.py ENVIRONMENT DISTRIBUTION

The files of all that the distribution requires by its metadata, and of what that requires in turn,
are linked into the environment; extras are not followed unless they are asked for. So it is the
environment that pip would make, in seconds, and a package that is imported but not required is
missing from it.
"""

import os
import pathlib
import sys
from importlib.metadata import Distribution, distribution

from packaging.requirements import Requirement


def required(root: Distribution) -> dict[str, Distribution]:
    """Returns the installed distributions that `root` requires, directly or not, by their name."""
    found, seen, open_ = {}, set(), [(root, "")]
    while open_:
        parent, extra = open_.pop()
        for line in parent.requires or []:
            requirement = Requirement(line)
            if requirement.marker and not requirement.marker.evaluate({"extra": extra}):
                continue
            child = distribution(requirement.name)
            found[child.name] = child
            for wanted in ("", *requirement.extras):
                if (child.name, wanted) not in seen:
                    seen.add((child.name, wanted))
                    open_.append((child, wanted))
    return found


def link(files: Distribution, folder: pathlib.Path) -> None:
    """Links the files of a distribution into a folder, but the scripts, which lie outside of it."""
    for file in files.files or []:
        source, target = pathlib.Path(file.locate()), folder / file
        if ".." not in file.parts and source.exists() and not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            os.link(source, target)


def main() -> None:
    (folder,) = pathlib.Path(sys.argv[1]).glob("lib/python*/site-packages")
    (root,) = Distribution.discover(name=sys.argv[2], path=[str(folder)])
    for child in required(root).values():
        link(child, folder)


if __name__ == "__main__":
    main()
