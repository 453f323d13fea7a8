"""Debian's Chromium, driven by Playwright: pages as people see them, without a network, and what axe-core says."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from tests.helpers.support import missing_tool, program

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Dialog, Page

ARGUMENTS: Final = (
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-gpu",
    "--disable-quic",
    "--disable-sync",
    "--no-first-run",
)


@contextlib.contextmanager
def chromium() -> Iterator[Browser]:
    """Start Chromium, or skip the test saying how to install it."""
    executable = program("chromium", "chromium")
    try:
        from playwright.sync_api import sync_playwright  # noqa: PLC0415 (skips where it is not there)
    except ModuleNotFoundError:
        missing_tool("playwright", "'.[dev]'", "pip install --editable")
        raise
    sandbox = os.geteuid() != 0  # Chromium's sandbox refuses root
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=ARGUMENTS, chromium_sandbox=sandbox)
        try:
            yield browser
        finally:
            browser.close()


@contextlib.contextmanager
def opened(browser: Browser, address: str | Path, **options: Any) -> Iterator[Page]:  # noqa: ANN401 (handed through)
    """Open a page (a file, or a URL) in a context of its own, and fail where it complains or asks for anything else.

    options: of Playwright's Browser.new_context, as viewport, color_scheme, java_script_enabled.
    """
    url = address.as_uri() if isinstance(address, Path) else address
    complaints: list[str] = []
    requests: list[str] = []

    def refuse(dialog: Dialog) -> None:
        complaints.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    context = browser.new_context(**options)
    try:
        page = context.new_page()
        page.on("console", lambda message: complaints.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: complaints.append(f"error: {error}"))
        page.on("dialog", refuse)
        page.on("request", lambda request: requests.append(request.url))
        page.goto(url)
        yield page
        others = [each for each in requests if each.partition("?")[0] != url and not each.endswith("/favicon.ico")]
        assert not complaints, complaints
        assert not others, others
    finally:
        context.close()


def violations(page: Page) -> list[str]:
    """Return what axe-core finds wrong with a page as it is now: rule, impact, and the elements."""
    from axe_playwright_python.sync_playwright import Axe  # type: ignore[import-untyped]  # noqa: PLC0415

    found = Axe().run(page).response["violations"]
    return [f"{each['id']} ({each['impact']}): {[node['target'] for node in each['nodes'][:3]]}" for each in found]
