"""Make docs/images: ``make screenshots`` (Debian's chromium, fonts-inter and fonts-jetbrains-mono)."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Final

from playwright.sync_api import sync_playwright

from tests.helpers.server import serving
from tests.helpers.support import REPOSITORY, program

IMAGES: Final = REPOSITORY / "docs" / "images"
SHOTS: Final = (("lakefield-i5-l16g7", "light", "#host"),)
"""Host, colours, and where on the page."""
FONTS: Final = (("system-ui", "Inter"), ("sans-serif", "Inter"), ("monospace", "JetBrains Mono"))
_FONTCONFIG: Final = """<?xml version="1.0"?><!DOCTYPE fontconfig SYSTEM "urn:fontconfig:fonts.dtd">
<fontconfig><include>/etc/fonts/fonts.conf</include>{rules}</fontconfig>
"""
_RULE: Final = """<match target="pattern"><test name="family"><string>{generic}</string></test>
<edit name="family" mode="prepend" binding="strong"><string>{name}</string></edit></match>
"""


def main() -> None:
    """Take each picture of a real server, with the fonts of a desktop."""
    IMAGES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch, sync_playwright() as playwright:
        fonts = Path(scratch, "fonts.conf")
        fonts.write_text(_FONTCONFIG.format(rules="".join(_RULE.format(generic=g, name=name) for g, name in FONTS)))
        chromium = playwright.chromium.launch(
            executable_path=program("chromium", "chromium"),
            args=["--no-sandbox"],
            env={**os.environ, "FONTCONFIG_FILE": str(fonts)},
        )
        for host, scheme, place in SHOTS:
            with serving(f"tests/hosts/{host}") as server:
                page = chromium.new_page(viewport={"width": 1280, "height": 800}, color_scheme=scheme)  # type: ignore[arg-type]
                page.goto(server.urls[0] + place)
                page.screenshot(path=IMAGES / f"{host}.png")
        chromium.close()


if __name__ == "__main__":
    main()
