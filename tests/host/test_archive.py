"""vmxd/host/archive.py: a recording as a tar archive, and whatever else may come as one."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.helpers.support import HOSTS, TYPICAL_HOSTS, recorded
from vmxd.errors import RootError
from vmxd.host.archive import SIZE_LIMITS, pack, unpack
from vmxd.host.files import Files
from vmxd.host.parameters import MODULES, is_parameter_file
from vmxd.host.record import archive_recording
from vmxd.host.recording_text import MSR_FILE
from vmxd.host.root import read_host

GOOD = pack({MSR_FILE: b"# vmxd msr recording 1\n", "proc/cpuinfo": b"x" * 700}, (MODULES,), 1e9)


@pytest.mark.parametrize("name", TYPICAL_HOSTS)
def test_tar_unpacks_what_a_recording_has(name: str, tmp_path: Path) -> None:
    """An archive is a tar archive, and has the files of the recording byte for byte."""
    root = str(HOSTS / name)
    archive = archive_recording(Files(root), read_host(root))
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        tar.extractall(tmp_path, filter="data")

    assert recorded(HOSTS / name) == unpack(archive)[0] == recorded(tmp_path)


@given(st.binary(max_size=2000) | st.tuples(st.integers(0, len(GOOD)), st.binary(max_size=12)).map(
    lambda change: GOOD[: change[0]] + change[1] + GOOD[change[0] + len(change[1]) :]
))  # fmt: skip
def test_any_archive(data: bytes) -> None:
    """Any bytes, and any damage to a good archive: refused, or files that a recording has."""
    try:
        files, directories = unpack(data)
    except RootError:
        return

    assert {MODULES} >= directories
    assert all(name in SIZE_LIMITS or is_parameter_file(name) for name in files)


def entry(name: str, kind: bytes = tarfile.REGTYPE, content: bytes = b"", size: int | None = None) -> bytes:
    """Return a tar entry, which may say of another size than it has."""
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.size = kind, "/etc/shadow" * (kind != tarfile.REGTYPE), size or len(content)
    return info.tobuf(tarfile.USTAR_FORMAT) + content.ljust(-(-len(content) // 512) * 512, b"\0")


@pytest.mark.parametrize(
    ("hostile", "said"),
    [
        (entry("/msr.txt"), "has '/msr.txt', which is no file"),
        (entry("../msr.txt"), "has '../msr.txt', which is no file"),
        (entry("msr.txt", tarfile.SYMTYPE), "is a link or device"),
        (entry("msr.txt", tarfile.LNKTYPE), "is a link or device"),
        (entry("msr.txt", tarfile.FIFOTYPE), "is a link or device"),
        (entry("msr.txt", tarfile.CHRTYPE), "is a link or device"),
        (entry("proc", tarfile.DIRTYPE), "has the directory 'proc'"),
        (entry("msr.txt", size=1 << 32), "ends early"),
        (entry("kvm.txt", content=bytes((1 << 16) + 1)), "has more than 64 KiB"),
        (entry("msr.txt") * 2, "twice"),
        (entry("sys/module/kvm_intel/parameters/../../x"), "which is no file"),
        (b"".join(entry(f"sys/module/kvm_intel/parameters/p{n}") for n in range(300)), "too many files"),
        (entry("kvm.txt"), "has no msr.txt"),
        (b"\x1f\x8b" + bytes(600), "no tar archive of a recording"),
        (b"", "is empty"),
    ],
)
def test_hostile(hostile: bytes, said: str) -> None:
    """What is no recording is refused with what it is."""
    with pytest.raises(RootError, match=said):
        unpack(hostile + (bytes(1024) if hostile and "early" not in said else b""))
