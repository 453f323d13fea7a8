"""Write the addresses of deploy/project.toml into every file that repeats one: python -m deploy.addresses."""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path
from typing import Final

REPOSITORY: Final = Path(__file__).resolve().parents[1]
PROJECT: Final[dict[str, str]] = tomllib.loads((REPOSITORY / "deploy" / "project.toml").read_text())

PLACES: Final[dict[str, dict[str, str]]] = {
    "pyproject.toml": {
        r'^authors = \[\{ name = "(.*?)"': "{authors}",
        r'^authors = .* email = "(.*?)"': "{email}",
        r'^Homepage = "(.*)"': "{homepage}",
        r'^Documentation = "(.*)"': "{documentation}",
        r'^Source = "(.*)"': "{source}",
        r'^Issues = "(.*)"': "{issues}",
        r'^Changelog = "(.*)"': "{documentation}/CHANGELOG.html",
    },
    "Containerfile": {
        r'image\.vendor="(.*?)"': "{authors}",
        r'image\.url="(.*?)"': "{homepage}",
        r'image\.documentation="(.*?)"': "{documentation}",
        r'image\.source="(.*?)"': "{source}",
    },
    "deploy/debian/control": {
        r"^Maintainer: (.*)": "{authors} <{email}>",
        r"^Homepage: (.*)": "{homepage}",
        r"^Vcs-Browser: (.*)": "{source}",
        r"^Vcs-Git: (.*)": "{git}",
    },
    "deploy/debian/changelog": {r"^ -- (.*>)": "{authors} <{email}>"},
    "deploy/debian/copyright": {
        r"^Upstream-Contact: (.*)": "{authors} <{email}>",
        r"^Source: (.*)": "{source}",
    },
    "deploy/debian/upstream/metadata": {
        r"^Bug-Database: (.*)": "{issues}",
        r"^Bug-Submit: (.*)": "{issues}",
        r"^Changelog: (.*)": "{documentation}/CHANGELOG.html",
        r"^Documentation: (.*)": "{documentation}",
        r"^Repository: (.*)": "{git}",
        r"^Repository-Browse: (.*)": "{source}",
    },
    "deploy/debian/watch": {r"^(\S+) \.\*": "{releases}"},
    "deploy/helm/vmxd/Chart.yaml": {
        r"^home: (.*)": "{homepage}",
        r'^sources: \["(.*)"\]': "{source}",
        r"^  - name: (.*)": "{authors}",
        r"^    email: (.*)": "{email}",
    },
    "deploy/helm/vmxd/values.yaml": {r"^  documentation: (.*)": "{documentation}"},
    "deploy/helm/vmxd/README.md": {r'\| prometheusRule.documentation \| string \| `"(.*?)"`': "{documentation}"},
    "deploy/rpm/vmxd.spec": {
        r"^URL: +(.*)": "{homepage}",
        r"^\* \w+ \w+ \d+ \d+ (.*>)": "{authors} <{email}>",
    },
    "deploy/prometheus/alerts.rules.yml": {r"^ +runbook_url: (\S+)/docs/runbooks/": "{documentation}"},
    "deploy/grafana/fleet.py": {r'^ +"url": "(\S+)/docs/runbooks/': "{documentation}"},
    "security-insights.yml": {
        r"^    - name: (?!vmxd$)(.*)": "{authors}",
        r"^ +email: (.*)": "{email}",
        r"^ +url: (\S+)/security-insights.yml": "{source}",
        r"^ +url: (\S+)\n +(?:comment: All|status:)": "{source}",
    },
}
"""Pattern, whose group is the address, and what is in its place, by file. Each pattern is found at least once."""


def rewritten(name: str, project: dict[str, str] = PROJECT) -> str:
    """Return what a file of PLACES has with a project's addresses. Raises LookupError if it has no place for one."""
    text = (REPOSITORY / name).read_text()
    for pattern, template in PLACES[name].items():
        places = [match.span(1) for match in re.finditer(pattern, text, re.MULTILINE)]
        if not places:
            raise LookupError(f"{name} has nothing like {pattern}")
        for start, end in reversed(places):
            text = text[:start] + template.format(**project) + text[end:]
    return text


def main() -> int:
    """Rewrite the files."""
    for name in PLACES:
        (REPOSITORY / name).write_text(rewritten(name))
    return 0


if __name__ == "__main__":
    sys.exit(main())
