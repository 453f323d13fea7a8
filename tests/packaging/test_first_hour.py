"""docs/first-hour.md leads where it says: to an alert on the host that lacks posted interrupts, and on no other."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Final

import yaml

from tests.helpers.prometheus import hurried_rules, running_prometheus, until
from tests.helpers.server import serving
from tests.helpers.support import HOSTS, REPOSITORY

GUIDE: Final = (REPOSITORY / "docs" / "first-hour.md").read_text()


def test_first_hour(tmp_path: Path) -> None:
    """The guide's two hosts, scrape configuration and line for the list make the alert that it promises."""
    hosts = re.findall(r"--root tests/hosts/(\S+) --web.listen-address=127.0.0.1:(\d+)", GUIDE)
    (config,) = re.findall(r"^scrape_configs:\n(?: +.*\n)+", GUIDE, re.MULTILINE)
    (line,) = re.findall(r'^(- \{record: "pool:vmx_feature:required".*\})$', GUIDE, re.MULTILINE)
    recording, required, alerts = hurried_rules(tmp_path)
    with required.open("a") as file:
        file.write(f"      {line}\n")

    with serving(HOSTS / hosts[0][0]) as lacking, serving(HOSTS / hosts[1][0]) as having:
        text = config.replace(hosts[0][1], str(lacking.port)).replace(hosts[1][1], str(having.port))
        scrape = [{**each, "scrape_interval": "1s"} for each in yaml.safe_load(text)["scrape_configs"]]
        with running_prometheus(tmp_path, scrape, [recording, required, alerts], "1s") as engine:
            query = 'ALERTS{alertname="VmxHostLacksRequiredFeature",alertstate="firing"}'
            (alert,) = until(lambda: engine.query(query).series)
            time.sleep(3)  # no other comes after it

            assert ("lab", "posted_intr") == (alert["metric"]["cluster"], alert["metric"]["feature"])
            assert 1 == engine.number(f"count({query})")
            (text,) = {
                each["annotations"]["description"]
                for each in engine.get("alerts")["alerts"]
                if each["labels"]["alertname"] == "VmxHostLacksRequiredFeature"
            }
            assert re.findall(r"127\.0\.0\.1:\d+", text) == [f"127.0.0.1:{lacking.port}"]
