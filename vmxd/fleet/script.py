"""vmxd itself as a script that any Python 3 takes on its standard input: ssh HOST python3 - < script.

Nothing is installed and no file is written: the script puts vmxd's source, as a zip archive, into memory that has a
descriptor (memfd_create(2), Linux 3.17 and glibc 2.27), and has a Python run that (PEP 441). If the Python that reads
the script is too old for vmxd, a newer one in /usr/bin or /usr/local/bin runs it.
"""

from __future__ import annotations

import base64
import importlib.resources
import io
import zipfile
from collections.abc import Iterator, Sequence
from importlib.resources.abc import Traversable
from typing import Final

_UNUSED: Final = frozenset(("fleet", "pasted", "server"))
"""Parts of vmxd that no recording needs."""
_MAIN: Final = "import sys\nfrom vmxd.cli import main\n\nsys.exit(main())\n"
_SCRIPT: Final = """\
import base64, ctypes, os, sys

def find_python():
    if sys.version_info >= (3, 11):
        return sys.executable
    for minor in range(30, 10, -1):
        for place in ("/usr/bin", "/usr/local/bin"):
            path = "%s/python3.%d" % (place, minor)
            if os.access(path, os.X_OK):
                return path

python = find_python()
if python is None:
    sys.stderr.write("vmxd: Python 3.11 or newer is needed, and this is %d.%d\\n" % sys.version_info[:2])
    sys.exit(2)
memory = ctypes.CDLL(None).memfd_create(b"vmxd", 0)
with os.fdopen(memory, "wb", closefd=False) as file:
    file.write(base64.b64decode(ZIP))
os.execv(python, [python, "-I", "/proc/self/fd/%d" % memory] + ARGUMENTS)
"""
"""Any Python from 3.4 compiles it, and so can say that it is too old."""


def build_script(arguments: Sequence[str]) -> bytes:
    """Return the script that runs vmxd with these arguments. The running vmxd may itself be in a zip archive."""
    text = base64.encodebytes(_archive()).decode("ascii")
    return f'ZIP = b"""{text}"""\nARGUMENTS = {list(arguments)!a}\n{_SCRIPT}'.encode("ascii")


def _archive() -> bytes:
    output = io.BytesIO()
    with zipfile.ZipFile(output, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name, source in (("__main__.py", _MAIN.encode()), *_sources(importlib.resources.files("vmxd"), "vmxd")):
            archive.writestr(zipfile.ZipInfo(name), source, zipfile.ZIP_DEFLATED)  # without the time: equal bytes
    return output.getvalue()


def _sources(directory: Traversable, path: str) -> Iterator[tuple[str, bytes]]:
    for entry in sorted(directory.iterdir(), key=lambda entry: entry.name):
        name = f"{path}/{entry.name}"
        if entry.is_dir() and entry.name not in _UNUSED:
            yield from _sources(entry, name)
        elif entry.name.endswith(".py"):
            yield name, entry.read_bytes()
