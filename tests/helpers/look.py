"""Look at the fleet report: python -m tests.helpers.look takes its picture, and prints what 5,000 hosts cost.

Times are CPU time; they are printed, and held to nothing.
"""

from __future__ import annotations

import gzip
import tempfile
import time
from pathlib import Path
from typing import Final

from tests.helpers.browser import chromium, opened
from tests.helpers.fleets import simulated
from tests.helpers.support import REPOSITORY
from vmxd.fleet.report_page import render_report

PICTURE: Final = REPOSITORY / "docs" / "images" / "fleet-report.png"

_TYPED: Final = """async ([name, text]) => {
    const field = document.querySelector(`[name=${name}]`);
    for (let end = 1; end <= text.length; end += 1) {
        field.value = text.slice(0, end);
        field.dispatchEvent(new Event("input", {bubbles: true}));
        await new Promise(done => requestAnimationFrame(() => setTimeout(done)));
    }
}"""


def main() -> None:
    """Write docs/images/fleet-report.png, print the figures."""
    PICTURE.parent.mkdir(exist_ok=True)
    begin = time.process_time()
    data = render_report(simulated(5000))
    print(f"page of 5,000 hosts: {len(data):,} bytes, {len(gzip.compress(data)):,} as gzip", end="")
    print(f", rendered in {time.process_time() - begin:.2f} s of CPU time, recordings read")
    with tempfile.TemporaryDirectory() as directory, chromium() as browser:
        path = Path(directory, "report.html")
        path.write_bytes(data)
        with opened(browser, path, viewport={"width": 1280, "height": 1060}) as page:
            tools = page.context.new_cdp_session(page)
            tools.send("Performance.enable", {"timeDomain": "threadTicks"})

            def cpu() -> float:
                metrics = tools.send("Performance.getMetrics")["metrics"]
                return 1000 * float(next(each["value"] for each in metrics if each["name"] == "TaskDuration"))

            page.reload()
            elements = page.evaluate("document.querySelectorAll('*').length")
            print(f"{elements} elements, loaded in {cpu():.0f} ms of the main thread's CPU time")
            page.screenshot(path=PICTURE)
            for name, text in (("host", "pool-03 8160"), ("feature", "vmx-pml,vmx-vmfunc")):
                before = cpu()
                page.evaluate(_TYPED, [name, text])
                print(f"a key in {name}s: {(cpu() - before) / len(text):.0f} ms of it")
                page.click("[type=reset]")


if __name__ == "__main__":
    main()
