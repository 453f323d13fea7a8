"""Write the completion scripts and the man page. A test holds what is checked in to what this writes."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from deploy.shell import completion, manpage
from vmxd.cli import build_parser

DIRECTORY: Final = Path(__file__).resolve().parent.parent / "share"
"""What goes to /usr/share."""


def files() -> dict[str, str]:
    """Return each file's text by its path under /usr/share."""
    scripts = {path: completion.to_script(build_parser(), shell) for shell, path in completion.FILES.items()}
    return {manpage.FILE: manpage.to_page(build_parser())} | scripts


def main() -> None:
    """Write them all."""
    for name, text in files().items():
        (DIRECTORY / name).parent.mkdir(parents=True, exist_ok=True)
        (DIRECTORY / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
