"""deploy/ansible: linted, and run for real in a throw-away copy of this machine's file system."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from tests.helpers.support import REPOSITORY, deploy_program
from vmxd.cli import build_parser
from vmxd.host.root import read_host

DIRECTORY: Final = REPOSITORY / "deploy" / "ansible"
ROLE: Final = DIRECTORY / "roles" / "vmxd"
SYSTEMD: Final = REPOSITORY / "systemd"
UNIT_KINDS: Final = {".service", ".socket", ".path", ".timer"}
UNITS: Final = sorted(path.name for path in SYSTEMD.iterdir() if path.suffix in UNIT_KINDS)

PASSWORD_HASH: Final = "$2y$10$DyVhzPMtIKBXNaJpXyfTAuDRAKLCyODtVjKmRXRUkBSm.dlNuBuvK"
VARIABLES: Final[dict[str, Any]] = {
    "vmxd_args": ["--web.listen-address=127.0.0.1:10480", r"--feature.include=ept\w+|\1|a \"b' c"],
    "vmxd_record_args": ["--skip-isolated", r"--cpus=0\x2d3"],
    "vmxd_web_config": {"basic_auth_users": {"prometheus": PASSWORD_HASH}},
    "vmxd_groups": ["adm"],
}


def environment() -> dict[str, str]:
    """Return an environment in which Ansible finds its own programs and no settings of this user."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return {"PATH": path, "HOME": "/root", "LC_ALL": "C.UTF-8", "ANSIBLE_NOCOLOR": "1"}


def test_lint() -> None:
    """ansible-lint has nothing to say, by its strictest profile."""
    result = subprocess.run(
        [deploy_program("ansible-lint"), "--offline", "--nocolor", "-q", "--profile=production", "."],
        cwd=DIRECTORY, env=environment(), capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip

    assert 0 == result.returncode, result.stdout + result.stderr


def test_defaults_are_described() -> None:
    """Every variable of the role has a default and a description, and where both give a default it is the same."""
    defaults = yaml.safe_load((ROLE / "defaults" / "main.yml").read_text())
    specs = yaml.safe_load((ROLE / "meta" / "argument_specs.yml").read_text())["argument_specs"]["main"]["options"]

    assert set(specs) == set(defaults)
    assert {name: defaults[name] for name, spec in specs.items() if "default" in spec} == {
        name: spec["default"] for name, spec in specs.items() if "default" in spec
    }


class Machine:
    """This machine's file system with whatever is written to it kept apart, and no systemd running."""

    def __init__(self, scratch: Path, *visible: Path) -> None:
        self.written = scratch / "written"
        self._layers = f"lowerdir=/,upperdir={self.written},workdir={scratch / 'work'}"
        self._root = scratch / "root"
        assert sys.prefix != sys.base_prefix, "this Python is that of the machine, and would not be kept apart"
        self._binds = (Path("/proc"), Path("/dev"), REPOSITORY, Path(sys.prefix), *visible)
        for path in (self.written, scratch / "work", self._root):
            path.mkdir()

    def run(self, *words: str | Path) -> subprocess.CompletedProcess[str]:
        """Run a program in it, with the repository, this Python and what is to be visible in their places."""
        mounts = [["mount", "-t", "overlay", "overlay", "-o", self._layers, str(self._root)]]
        for path in self._binds:
            there = f"{self._root}{path}"
            mounts += [["mkdir", "-p", there], ["mount", "--rbind", "-o", "ro", str(path), there]]
        script = "\n".join([*map(shlex.join, mounts), f'exec chroot {shlex.quote(str(self._root))} "$@"'])
        return subprocess.run(
            ["unshare", "--mount", "sh", "-ec", script, "sh", *words],
            env=environment(), capture_output=True, text=True, check=False, timeout=600,
        )  # fmt: skip

    def play(self, *options: str, **variables: Any) -> str:  # noqa: ANN401 (Ansible's)
        """Run the playbook against it, and return Ansible's report."""
        result = self.run(
            deploy_program("ansible-playbook"), "--connection=local", "--inventory=vmxd,",
            f"--extra-vars={json.dumps({'ansible_python_interpreter': '/usr/bin/python3', **variables})}",
            *options, DIRECTORY / "site.yml",
        )  # fmt: skip
        assert 0 == result.returncode, result.stdout + result.stderr
        return result.stdout


def changed(report: str) -> list[str]:
    """Return the names of the tasks that changed something."""
    tasks = re.split(r"^(?:TASK|RUNNING HANDLER) \[vmxd : ", report, flags=re.MULTILINE)[1:]
    return [task.partition("]")[0] for task in tasks if re.search(r"^changed: ", task, re.MULTILINE)]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a wheel of this repository."""
    directory = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps"]
    subprocess.run([*pip, "--wheel-dir", str(directory), str(REPOSITORY)], check=True, timeout=300)
    (made,) = directory.glob("*.whl")
    return made


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory, wheel: Path) -> tuple[Machine, str]:
    """Play the role once, and give the machine and Ansible's report. Everything after that is a second run."""
    if os.geteuid() != 0:
        pytest.skip("a file system laid over this one takes root")
    one = Machine(tmp_path_factory.mktemp("machine"), wheel.parent)
    return one, one.play(vmxd_wheel=str(wheel), **VARIABLES)


def test_first_run(machine: tuple[Machine, str]) -> None:
    """The units, the rule and the options are where systemd/README.md wants them, and vmxd is where the units look."""
    one, _ = machine
    installed = one.written / "usr/local/lib/systemd/system"
    wants = one.written / "etc/systemd/system/multi-user.target.wants/vmxd.service"

    assert UNITS == sorted(path.name for path in installed.iterdir())
    assert all((SYSTEMD / name).read_bytes() == (installed / name).read_bytes() for name in UNITS)
    assert (SYSTEMD / "60-vmxd.rules").read_bytes() == (one.written / "etc/udev/rules.d/60-vmxd.rules").read_bytes()
    assert "/usr/local/lib/systemd/system/vmxd.service" == os.readlink(wants)
    assert re.fullmatch(r"vmxd \d+\.\d+\.\d+\n", one.run("/usr/bin/vmxd", "--version").stdout)


def words(line: str) -> list[str]:
    """Split a line of /etc/default/vmxd as systemd does: EnvironmentFile= takes backslashes away, and $ARGS again."""
    return shlex.split(re.sub(r"\\(.)", r"\1", line.partition("=")[2]))


def test_options(machine: tuple[Machine, str]) -> None:
    """/etc/default/vmxd is the repository's file with the options filled in, which reach vmxd as they were written."""
    one, _ = machine
    theirs = (one.written / "etc/default/vmxd").read_text().splitlines()
    ours = (SYSTEMD / "vmxd.default").read_text().splitlines()
    differing = {mine: other for mine, other in zip(ours, theirs, strict=True) if mine != other}

    assert {"ARGS=", "RECORD_ARGS="} == set(differing)
    assert [*VARIABLES["vmxd_args"], "--web.config.file=/etc/vmxd/web.yml"] == words(differing["ARGS="])
    assert VARIABLES["vmxd_record_args"] == words(differing["RECORD_ARGS="])
    assert build_parser().parse_args(["serve", *words(differing["ARGS="])]).listen_addresses == ["127.0.0.1:10480"]


def test_web_config(machine: tuple[Machine, str]) -> None:
    """web.yml says what was asked for; the server's group may read it, and others may not."""
    one, _ = machine
    path = one.written / "etc/vmxd/web.yml"
    group = one.run("stat", "--format=%a %U %G", "/etc/vmxd/web.yml").stdout.strip()
    addition = (one.written / "etc/systemd/system/vmxd.service.d/groups.conf").read_text()

    assert VARIABLES["vmxd_web_config"] == yaml.safe_load(path.read_text())
    assert "640 root vmxd-web" == group
    assert "SupplementaryGroups=vmxd-web adm" in addition.splitlines()


def test_second_run_changes_nothing(machine: tuple[Machine, str], wheel: Path) -> None:
    """The role is idempotent: the second run changes nothing, where the first did."""
    one, first = machine

    assert "Copy the units" in changed(first)
    assert [] == changed(one.play(vmxd_wheel=str(wheel), **VARIABLES))


def test_recordings_are_collected(machine: tuple[Machine, str]) -> None:
    """A recording of the host is brought to the control node, in place of an older one, and can be asked there."""
    one, _ = machine
    there = one.written / "srv/recordings"
    (there / "vmxd").mkdir(parents=True)
    (there / "vmxd" / "failure.txt").write_text("# vmxd failure 1\nssh: Connection refused\n")
    one.play("--start-at-task=Make a file for the archive", vmxd_collect="/srv/recordings")
    asked = one.run("/usr/bin/vmxd", "fleet", "summary", "--recordings", "/srv/recordings", "--json")

    assert ["vmxd"] == os.listdir(there)
    found = read_host(str(there / "vmxd"))
    assert (read_host("/").kernel, read_host("/").online) == (found.kernel, found.online)
    assert not (there / "vmxd" / "failure.txt").exists()
    assert not list((one.written / "tmp").glob("*.vmxd.tar"))
    assert 0 == asked.returncode, asked.stderr
    assert 1 == json.loads(asked.stdout)["hosts"]


def test_check_mode(tmp_path: Path, wheel: Path) -> None:
    """A check run on a host without vmxd ends well, says what it would do, and does nothing."""
    one = Machine(tmp_path, wheel.parent)
    report = one.play("--check", "--diff", vmxd_wheel=str(wheel), **VARIABLES)

    assert {"Copy the units", "Write web.yml", "Make it /usr/bin/vmxd, as the units call it"} <= set(changed(report))
    assert not list(one.written.rglob("*vmxd*"))


@pytest.mark.parametrize(
    ("mode", "link"),
    [("socket", "sockets.target.wants/vmxd.socket"), ("textfile", "timers.target.wants/vmxd-textfile.timer")],
)
def test_modes(machine: tuple[Machine, str], mode: str, link: str) -> None:
    """Another mode enables its unit and disables the one before it; the server is told of its socket."""
    one, _ = machine
    one.play(vmxd_install=False, vmxd_mode=mode)
    system = one.written / "etc/systemd/system"
    links = [str(path.relative_to(system)) for path in system.glob("*.wants/vmxd*") if path.is_symlink()]

    assert [link] == links
    lines = (one.written / "etc/default/vmxd").read_text().splitlines()
    assert f"ARGS={'--web.systemd-socket' if mode == 'socket' else ''}" in lines


def test_no_index_is_asked(machine: tuple[Machine, str]) -> None:
    """Without a wheel or an index of one's own nothing is installed: whoever registers the name would run on hosts."""
    one, _ = machine
    with pytest.raises(AssertionError, match="no public index has vmxd"):
        one.play("--check")


def test_wrong_mode(machine: tuple[Machine, str]) -> None:
    """A mode that does not exist ends the run before anything is done."""
    one, _ = machine
    with pytest.raises(AssertionError, match="value of vmxd_mode must be one of"):
        one.play(vmxd_install=False, vmxd_mode="daemon")
