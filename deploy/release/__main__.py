"""python -m deploy.release: check, build and try a release, and say how to tag it. It pushes and uploads nothing."""

from __future__ import annotations

import argparse
import hashlib
import sys
import tarfile
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Final

from deploy.release import checks, trial
from deploy.release.build import build_sdist, build_wheel, read_version, set_epoch
from deploy.release.provenance import check_provenance, write_provenance
from deploy.release.pyz import build_pyz
from deploy.release.run import REPOSITORY, python, run
from deploy.release.sbom import build_sbom
from vmxd.errors import VmxdError

SUMS: Final = "SHA256SUMS"


def main() -> int:
    """Do the step that was asked for, and return 0, or 2 where it could not be done."""
    steps: dict[str, Callable[[Path], object]] = {
        "check": check,
        "dist": build,
        "pyz": build_only_pyz,
        "test-wheel": try_tests,
        "release": release,
    }
    parser = argparse.ArgumentParser(
        prog="python -m deploy.release", description=__doc__.partition(": ")[2], allow_abbrev=False
    )
    parser.add_argument("step", choices=steps, help="release does all: the checks, what is built, how it works")
    parser.add_argument("--directory", type=Path, default=Path("dist"), help="for what is built (default dist)")
    arguments = parser.parse_args()
    try:
        set_epoch(REPOSITORY)
        steps[arguments.step](arguments.directory.resolve())
    except VmxdError as error:
        print(f"release: {error}\nhint: {error.hint}", file=sys.stderr)
        return 2
    return 0


def check(_: Path) -> None:
    """Look whether the tree can be released; nothing is built."""
    for each in checks.CHECKS:
        each(REPOSITORY)
    with tempfile.TemporaryDirectory() as scratch:
        checks.check_generated(_checkout(Path(scratch)))
    print(f"vmxd {read_version(REPOSITORY)} can be released")


def build(target: Path, source: Path = REPOSITORY) -> list[Path]:
    """Build everything from source, as it is."""
    target.mkdir(parents=True, exist_ok=True)
    wheel = build_wheel(source, target)
    made = [wheel, build_sdist(source, target), build_pyz(wheel, target), build_sbom(wheel, target)]
    for path in made:
        print(f"{path.stat().st_size:>9,}  {path}")
    return made


def build_only_pyz(target: Path) -> None:
    """Build vmxd.pyz from the tree as it is."""
    target.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        made = build_pyz(build_wheel(REPOSITORY, Path(scratch)), target)
    print(f"{made.stat().st_size:>9,}  {made}")


def try_tests(_: Path) -> None:
    """Run the tests of an installed vmxd against the wheel of the tree as it is."""
    with tempfile.TemporaryDirectory() as scratch:
        print(trial.run_tests(build_wheel(REPOSITORY, Path(scratch))))


def release(target: Path) -> None:
    """Check the tree, build what is committed, try it, and sum it up."""
    check(target)
    version = read_version(REPOSITORY)
    with tempfile.TemporaryDirectory() as scratch:
        made = wheel, sdist, pyz, _ = build(target, _checkout(Path(scratch)))
    python("-m", "twine", "--no-color", "check", "--strict", wheel, sdist)
    trial.try_sdist(sdist, wheel)
    trial.try_wheel(wheel, version)
    trial.try_pyz(pyz, version)
    print(trial.run_tests(wheel))
    packages = sorted(target.glob(f"vmxd_{version}[-.]*"))  # of make deb
    provenance = write_provenance((*made, *packages), REPOSITORY, target / f"vmxd-{version}.intoto.json")
    check_provenance(provenance, REPOSITORY)
    sums = [
        f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in (*made, *packages, provenance)
    ]
    (target / SUMS).write_text("".join(sums))
    print(f"{target / SUMS}:\n{''.join(sums)}", end="")
    print(
        f"to release it: git tag --sign --message='vmxd {version}' v{version} {_head()} && git push origin v{version}"
    )


def _checkout(directory: Path) -> Path:
    """Write what is committed to directory/tree."""
    run("git", "archive", "--output", directory / "tree.tar", "HEAD")
    with tarfile.open(directory / "tree.tar") as archive:
        archive.extractall(directory / "tree", filter="data")
    return directory / "tree"


def _head() -> str:
    return run("git", "rev-parse", "--short", "HEAD").strip()


if __name__ == "__main__":
    sys.exit(main())
