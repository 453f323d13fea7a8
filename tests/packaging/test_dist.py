"""What a release consists of: the wheel, the sdist, vmxd.pyz and the bill of materials, the same at every build."""

from __future__ import annotations

import email
import hashlib
import importlib
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import urllib.request
import zipfile
from pathlib import Path
from typing import Final

import pytest

from deploy.release.build import build_sdist, build_wheel
from deploy.release.install import make_environment
from deploy.release.pyz import build_pyz
from deploy.release.sbom import build_sbom
from deploy.release.trial import try_wheel
from tests.helpers.pins import IMAGE, versions
from tests.helpers.support import LAKEFIELD, REPOSITORY, deploy_program, program, vmxd
from vmxd import __version__

EPOCH: Final = "1700000000"
METADATA: Final = ("METADATA", "RECORD", "WHEEL", "entry_points.txt", "licenses/LICENSE")


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the directory in which everything is built once."""
    return tmp_path_factory.mktemp("dist")


@pytest.fixture(scope="module")
def wheel(target: Path) -> Path:
    """Return a wheel of this tree."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SOURCE_DATE_EPOCH", EPOCH)
        return build_wheel(REPOSITORY, target)


@pytest.fixture(scope="module")
def sdist(target: Path) -> Path:
    """Return an sdist of this tree."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SOURCE_DATE_EPOCH", EPOCH)
        return build_sdist(REPOSITORY, target)


@pytest.fixture(scope="module")
def pyz(wheel: Path, target: Path) -> Path:
    """Return vmxd.pyz of this tree."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SOURCE_DATE_EPOCH", EPOCH)
        return build_pyz(wheel, target)


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory, pyz: Path) -> Path:
    """Return a Debian that has Python and nothing else, with vmxd.pyz and a recording copied to it."""
    if os.geteuid() != 0:
        pytest.skip("changing the root directory takes root")
    root = tmp_path_factory.mktemp("bare")
    mmdebstrap = program("mmdebstrap", "mmdebstrap")
    subprocess.run(
        [mmdebstrap, "--quiet", "--variant=extract", "--include=python3", "bookworm", root / "debian.tar"], check=True
    )
    with tarfile.open(root / "debian.tar") as archive:
        archive.extractall(root / "debian", filter="tar")
    (root / "debian" / "proc").mkdir()
    shutil.copy(pyz, root / "debian")
    shutil.copytree(LAKEFIELD, root / "debian" / "host")
    return root / "debian"


def chroot(root: Path, *arguments: str) -> list[str]:
    """Return the command that runs vmxd.pyz below a root directory, with /proc and an empty environment."""
    change = 'mount --bind /proc "$1/proc" && exec env --ignore-environment "$0" "$@"'
    words = [program("chroot", "coreutils"), str(root), "/usr/bin/python3", "vmxd.pyz", *arguments]
    return [program("unshare", "util-linux"), "--mount", "sh", "-c", change, *words]


def files(root: Path) -> dict[str, int]:
    """Return every file below root with its time of modification, but what Debian's Python compiles of its own."""
    return {
        str(path.relative_to(root)): path.lstat().st_mtime_ns
        for path in root.rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }


def test_wheel_contents(wheel: Path) -> None:
    """The wheel has the package with its data, what goes to /usr/share, its metadata, and nothing else."""
    package = (path for path in (REPOSITORY / "vmxd").rglob("*") if path.is_file() and path.suffix != ".pyc")
    share = (path for path in (REPOSITORY / "deploy" / "share").rglob("*") if path.is_file())
    expected = [
        *(str(path.relative_to(REPOSITORY)) for path in package),
        *(f"vmxd-{__version__}.data/data/{path.relative_to(REPOSITORY / 'deploy')}" for path in share),
        *(f"vmxd-{__version__}.dist-info/{name}" for name in METADATA),
    ]

    assert sorted(expected) == sorted(zipfile.ZipFile(wheel).namelist())
    assert {"vmxd/py.typed", f"vmxd-{__version__}.data/data/share/man/man1/vmxd.1"} <= set(expected)


def test_extras(wheel: Path) -> None:
    """Every extra of the wheel brings something."""
    text = zipfile.ZipFile(wheel).read(f"vmxd-{__version__}.dist-info/METADATA").decode()
    metadata = email.message_from_string(text)
    brought = {
        extra
        for line in metadata.get_all("Requires-Dist", [])
        for extra in re.findall(r"extra == ['\"]([\w-]+)['\"]", line)
    }

    assert brought == set(metadata.get_all("Provides-Extra", []))


def test_sdist_contents(sdist: Path) -> None:
    """The sdist has every file of the repository, and what it is made from; not caches, and not what was built."""
    git = program("git", "git")
    listing = subprocess.run(
        [git, "ls-files", "--cached", "--others", "--exclude-standard"], cwd=REPOSITORY, capture_output=True, text=True,
        check=True,
    )  # fmt: skip
    expected = [name for name in listing.stdout.splitlines() if (REPOSITORY / name).exists()]
    with tarfile.open(sdist) as archive:
        members = archive.getmembers()

    assert sorted([*expected, "PKG-INFO"]) == sorted(
        member.name.removeprefix(f"vmxd-{__version__}/") for member in members if not member.isdir()
    )
    assert {int(EPOCH)} == {member.mtime for member in members}


def test_built_again(sdist: Path, wheel: Path, pyz: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the unpacked sdist, elsewhere, in another time zone and with another umask, the same bytes come out."""
    shutil.unpack_archive(sdist, tmp_path, filter="data")
    source = tmp_path / f"vmxd-{__version__}"
    for path in source.rglob("*"):
        os.utime(path, (1, 1))
    for name, value in {"SOURCE_DATE_EPOCH": EPOCH, "TZ": "Asia/Kathmandu", "PYTHONHASHSEED": "1"}.items():
        monkeypatch.setenv(name, value)
    umask = os.umask(0o077)
    try:
        again = build_wheel(source, tmp_path)
        both = (again, wheel), (build_sdist(source, tmp_path), sdist), (build_pyz(again, tmp_path), pyz)
    finally:
        os.umask(umask)

    assert [True] * 3 == [one.read_bytes() == other.read_bytes() for one, other in both]


def test_installed_wheel(wheel: Path) -> None:
    """The wheel, installed with nothing but its dependencies, is the program of this version and shows a host."""
    try_wheel(wheel, __version__)


def test_typed(wheel: Path, tmp_path: Path) -> None:
    """Who imports the installed wheel has its types: mypy reads them, and finds what does not fit."""
    its_python = make_environment(wheel, tmp_path / "environment")
    (tmp_path / "user.py").write_text("from vmxd.tables import FEATURES\n\nnumber: int = FEATURES['ept']\n")
    command = [sys.executable, "-m", "mypy", "--strict", "--python-executable", str(its_python), "user.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=300)

    assert 'user.py:3: error: Incompatible types in assignment (expression has type "Feature"' in done.stdout
    assert done.stdout.endswith("Found 1 error in 1 file (checked 1 source file)\n")


def test_pyz_on_bare_debian(bare: Path) -> None:
    """With Python and nothing else, vmxd.pyz prints what vmxd prints, and leaves nothing behind."""
    before = files(bare)
    for words in ("--version", "show", "metrics", "check --profile nested", "explain ept", "features --json"):
        options = () if words in ("--version", "features --json") else ("--root",)
        theirs = subprocess.run(
            chroot(bare, *words.split(), *options, *(("/host",) if options else ())),
            capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip
        ours = vmxd(*words.split(), *options, *((LAKEFIELD,) if options else ()))

        assert (ours.returncode, still(ours.stdout)) == (theirs.returncode, still(theirs.stdout))
        assert ours.stderr.replace(str(LAKEFIELD), "/host") == theirs.stderr
    assert before == files(bare)


def still(text: str) -> str:
    """Return output without what tells two runs apart: paths, times and the Python that ran."""
    text = text.replace(str(LAKEFIELD), "/host")
    return re.sub(r"^(vmxd_scan_\w+_seconds|vmxd_build_info).*\n", "", text, flags=re.MULTILINE)


def test_pyz_records(bare: Path) -> None:
    """On a bare Debian, vmxd.pyz records a host; that recording shows the same host."""
    subprocess.run(chroot(bare, "record", "/tmp/copy", "--root", "/host"), check=True, timeout=60)
    shown = vmxd("show", "--root", bare / "tmp" / "copy").stdout

    assert vmxd("show", "--root", LAKEFIELD).stdout == shown.replace(str(bare / "tmp" / "copy"), str(LAKEFIELD))


def test_pyz_serves(bare: Path) -> None:
    """On a bare Debian, vmxd.pyz serves metrics and the page."""
    command = chroot(bare, "serve", "--root", "/host", "--web.listen-address=127.0.0.1:0")
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as server:
        try:
            assert server.stderr
            address = next(found[0] for line in server.stderr if (found := re.search(r"http://[\d.:]+/", line)))
            answers = [urllib.request.urlopen(address + path, timeout=30).read().decode() for path in ("metrics", "")]
        finally:
            server.terminate()
            server.wait(20)

    recorded = [line for line in vmxd("metrics", "--root", LAKEFIELD).stdout.splitlines() if line.startswith("vmx_")]
    assert [] == [line for line in recorded if line not in answers[0].splitlines()]
    assert "i5-L16G7" in answers[1]


def test_pyz_on_old_python(pyz: Path) -> None:
    """A Python that is too old gets one sentence and a hint."""
    script = f"import runpy, sys; sys.version_info = (3, 9, 2); runpy.run_path({str(pyz)!r}, run_name='__main__')"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=60)

    assert 2 == done.returncode
    assert "vmxd: Python 3.11 or newer is needed, and this is 3.9" == done.stderr.splitlines()[0]


def test_pyz_is_pure(pyz: Path) -> None:
    """Nothing in vmxd.pyz is compiled, for one kind of machine or one version of Python."""
    assert [] == [name for name in zipfile.ZipFile(pyz).namelist() if re.search(r"\.(so|pyd|pyc)\b", name)]


def test_bill_of_materials(wheel: Path, tmp_path: Path) -> None:
    """The bill of materials is valid, names vmxd and every pinned distribution with its hash, the same each time."""
    made = build_sbom(wheel, tmp_path)
    text = made.read_text()
    bill = json.loads(text)
    (tmp_path / "again").mkdir()

    assert ("CycloneDX", "1.6") == (bill["bomFormat"], bill["specVersion"])
    assert ("vmxd", __version__) == tuple(bill["metadata"]["component"][key] for key in ("name", "version"))
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    found = {re.sub("[-_.]+", "-", each["name"]).lower(): each["version"] for each in bill["components"]}
    assert versions(IMAGE, python) == found
    assert all(each["licenses"] for each in bill["components"])
    (own,) = (each["content"] for each in bill["metadata"]["component"]["hashes"])
    assert hashlib.sha256(wheel.read_bytes()).hexdigest() == own
    pinned = (REPOSITORY / IMAGE).read_text()
    assert [] == [each["name"] for each in bill["components"] if f"sha256:{each['hashes'][0]['content']}" not in pinned]
    validator = importlib.import_module("cyclonedx.validation.json").JsonStrictValidator
    assert validator(importlib.import_module("cyclonedx.schema").SchemaVersion.V1_6).validate_str(text) is None
    assert text == build_sbom(wheel, tmp_path / "again").read_text()


def test_twine(wheel: Path, sdist: Path) -> None:
    """Twine has nothing to say."""
    twine = deploy_program("twine")
    done = subprocess.run([twine, "check", "--strict", wheel, sdist], capture_output=True, text=True, check=False)

    assert 0 == done.returncode, done.stdout
