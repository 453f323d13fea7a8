"""Containerfile: linted, built with buildah, and run by runc as the pod of deploy/kubernetes would run it."""

from __future__ import annotations

import contextlib
import json
import os
import re
import ssl
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

import vmxd as package
from tests.helpers.manifests import build_with, command, container
from tests.helpers.support import REPOSITORY, deploy_program, program
from vmxd.tables import FEATURES

CONTAINERFILE: Final = REPOSITORY / "Containerfile"
BASE_PACKAGES: Final = (
    "base-files", "bash", "ca-certificates", "coreutils", "dash", "grep", "libc-bin", "python3-venv", "sed",
    "util-linux",
)  # fmt: skip
RAWIO: Final = 1 << 17
"""CAP_SYS_RAWIO, in the masks of /proc/PID/status."""

PRIVILEGED: Final = [
    "CAP_DAC_OVERRIDE",
    "CAP_NET_ADMIN",
    "CAP_SETPCAP",
    "CAP_SYS_ADMIN",
    "CAP_SYS_PTRACE",
    "CAP_SYS_RAWIO",
]
"""Some of what a privileged container has."""


def run(*words: str | Path) -> str:
    """Run a program that must not fail, and return what it printed."""
    result = subprocess.run(words, capture_output=True, text=True, check=False)
    assert 0 == result.returncode, result.stderr + result.stdout
    return result.stdout


def test_hadolint() -> None:
    """Hadolint has nothing to say."""
    assert "" == run(deploy_program("hadolint"), CONTAINERFILE)


def test_version() -> None:
    """The labels say the version of what is in the image, and what source, revision and time the build is told."""
    labels = dict(re.findall(r'org\.opencontainers\.image\.(\w+)="(.+?)"', CONTAINERFILE.read_text()))

    assert (package.__version__, "$REVISION", "$CREATED") == tuple(
        labels[n] for n in ("version", "revision", "created")
    )
    assert {"source", "url", "documentation", "licenses", "title", "description", "vendor"} <= labels.keys()


@pytest.fixture(scope="module")
def image() -> Iterator[Path]:
    """Build the image and return its root directory. Its base is Debian's Python, unpacked: no registry is asked."""
    if os.geteuid() != 0:
        pytest.skip("building an image takes root")
    mmdebstrap, buildah, _ = (program(name, name) for name in ("mmdebstrap", "buildah", "runc"))
    certificates = os.path.realpath(ssl.get_default_verify_paths().cafile or "/etc/ssl/certs/ca-certificates.crt")
    with tempfile.TemporaryDirectory(prefix="vmxd-image-") as scratch:
        base = f"{scratch}/base.tar"
        of_vmxd = (buildah, "--storage-driver=vfs", f"--root={scratch}/storage", f"--runroot={scratch}/runroot")
        run(mmdebstrap, "--quiet", "--variant=extract", f"--include={','.join(BASE_PACKAGES)}", "bookworm", base)
        from_scratch = run(*of_vmxd, "from", "scratch").strip()
        run(*of_vmxd, "add", "--quiet", from_scratch, base, "/")
        run(*of_vmxd, "commit", "--quiet", "--rm", from_scratch, "localhost/python")
        run(
            *of_vmxd, "bud", "--isolation=chroot", "--network=host", "--build-arg=BASE=localhost/python", "--tag=vmxd",
            f"--volume={certificates}:/etc/ssl/certs/ca-certificates.crt:ro", str(REPOSITORY),
        )  # fmt: skip
        yield Path(run(*of_vmxd, "mount", run(*of_vmxd, "from", "vmxd").strip()).strip())


def bundle(directory: Path, image: Path, name: str, *words: str) -> Path:
    """Write a bundle in which runc runs words as a container of the DaemonSet: its user, its privileges, its mounts."""
    item = container(build_with(), name)
    context = item["securityContext"]
    (mount,) = item["volumeMounts"]
    recording = directory / "recording"
    recording.mkdir(exist_ok=True)
    recording.chmod(0o777)  # as an emptyDir
    made = directory / name
    made.mkdir()
    run("runc", "spec", "--bundle", made)
    spec = json.loads((made / "config.json").read_text())
    user = context.get("runAsUser", 65532)
    capabilities = PRIVILEGED if context.get("privileged") else []
    spec["root"] = {"path": str(image), "readonly": True}
    spec["process"] |= {
        "args": words,
        "capabilities": dict.fromkeys(("bounding", "effective", "permitted"), capabilities),
        "env": ["PATH=/opt/vmxd/bin:/usr/bin:/bin"],
        "noNewPrivileges": not context.get("allowPrivilegeEscalation", True),
        "terminal": False,
        "user": {"uid": user, "gid": user},
    }
    spec["mounts"].append(
        {
            "destination": mount["mountPath"],
            "source": str(recording),
            "type": "bind",
            "options": ["rbind", "ro" if mount.get("readOnly") else "rw"],
        }
    )
    spec["linux"]["namespaces"].remove({"type": "network"})
    (made / "config.json").write_text(json.dumps(spec))
    return made


def runc(made: Path) -> tuple[str, ...]:
    """Return the command that runs a bundle, with a state directory and a name of its own."""
    return ("runc", "--root", str(made / "state"), "run", "--bundle", str(made), f"vmxd-{os.getpid()}-{made.name}")


def status(text: str) -> dict[str, str]:
    """Return the fields of a /proc/PID/status."""
    return dict(line.split(":\t", 1) for line in text.splitlines())


def test_image(image: Path) -> None:
    """What is in /opt/vmxd runs in the image; neither pip nor the sources came with it."""
    packages = {path.name.split("-")[0] for path in image.glob("opt/vmxd/lib/python3*/site-packages/*.dist-info")}

    expected = {"bcrypt", "h11", "jinja2", "markupsafe", "prometheus_client", "psutil", "pyyaml", "vmxd"}
    assert expected == packages
    assert not (image / "src").exists()


def test_recorder_keeps_one_capability(tmp_path: Path, image: Path) -> None:
    """Of all that a privileged container has, the program that reads MSRs has CAP_SYS_RAWIO, and can get no more."""
    words = command(container(build_with(), "record"))
    made = bundle(tmp_path, image, "record", *words[: words.index("vmxd")], "cat", "/proc/self/status")

    found = status(run(*runc(made)))

    assert [RAWIO] * 3 == [int(found[name], 16) for name in ("CapBnd", "CapEff", "CapPrm")]
    assert [0, 0] == [int(found[name], 16) for name in ("CapAmb", "CapInh")]
    assert "1" == found["NoNewPrivs"]


def test_pod(tmp_path: Path, image: Path) -> None:
    """One container records this machine, the other, with no privilege and nothing to write to, serves that."""
    objects = build_with()
    server = container(objects, "vmxd")
    run(*runc(bundle(tmp_path, image, "record", *command(container(objects, "record")))))
    made = bundle(tmp_path, image, "vmxd", *command(server), "--web.listen-address=127.0.0.1:0")

    with serving(made) as (pid, address):
        found = status(Path(f"/proc/{pid}/status").read_text())
        probe = urllib.request.urlopen(address + server["livenessProbe"]["httpGet"]["path"][1:], timeout=10)
        metrics = urllib.request.urlopen(f"{address}metrics", timeout=10).read().decode()

    assert {"65532"} == set(found["Uid"].split())
    assert ["0", "0", "1"] == [
        found["CapBnd"].strip("0") or "0",
        found["CapEff"].strip("0") or "0",
        found["NoNewPrivs"],
    ]
    assert 200 == probe.status
    assert "vmxd_recording_stale 0.0" in metrics
    assert len(re.findall(r"^vmx_feature\{", metrics, re.MULTILINE)) in (0, len(FEATURES))


@contextlib.contextmanager
def serving(made: Path) -> Iterator[tuple[int, str]]:
    """Run a bundle until the block ends, and give the server's process ID and URL."""
    with (made / "log").open("wb") as log:
        process = subprocess.Popen(runc(made), stderr=log)
    try:
        for _ in range(200):
            found = re.search(r"listening on (http://\S+/)", (made / "log").read_text())
            if found or process.poll() is not None:
                break
            time.sleep(0.1)
        assert found, (made / "log").read_text()
        state = json.loads(run("runc", "--root", made / "state", "state", runc(made)[-1]))
        yield state["pid"], found[1]
    finally:
        process.terminate()
        process.wait(20)
    assert 0 == process.returncode, (made / "log").read_text()
