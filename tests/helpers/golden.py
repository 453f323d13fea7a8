"""The golden form of a page of metrics: what is particular to the host, so that a new row of a table adds nothing.

HELP and TYPE are left out, since docs/reference/metrics.md has them. Of metrics with a label "feature", the features
that are on have their samples; the others of an MSR are one line, with feature="*" and the MSR, unless they all are 0.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import groupby
from typing import Final

from vmxd.tables import FEATURES

_SAMPLE: Final = re.compile(r'(?P<metric>\w+)\{feature="(?P<feature>\w+)"(?P<rest>.*)\n')
_OFF: Final = {"vmx_feature": ("} 0.0",), "vmx_nested_feature": ("} 0.0",), "vmx_feature_cpus": ()}
"""What a feature has that is off: nothing to tell."""
_ON: Final = re.compile(r'\} 1\.0|,state="present"\} (?!0\.0)')


def compact(page: str) -> str:
    """Return the golden form of a page."""
    samples = [line for line in page.splitlines(keepends=True) if not line.startswith("#")]
    return "".join("".join(_family(metric, list(lines))) for metric, lines in groupby(samples, _metric))


def _metric(line: str) -> str:
    return re.split(r"[{ ]", line, maxsplit=1)[0]


def _family(metric: str, lines: list[str]) -> Iterator[str]:
    if metric not in _OFF:
        yield from lines
        return
    said: dict[str, tuple[str, ...]] = dict.fromkeys(FEATURES, ())
    for line in lines:
        found = _SAMPLE.fullmatch(line)
        assert found, line
        said[found["feature"]] += (found["rest"],)
    for name, rests in said.items():
        if any(map(_ON.match, rests)):
            yield from (f'{metric}{{feature="{name}"{rest}\n' for rest in rests)
    forms: dict[str, dict[tuple[str, ...], list[str]]] = {}
    for name, rests in said.items():
        if not any(map(_ON.match, rests)):
            forms.setdefault(_msr(name), {}).setdefault(rests, []).append(name)
    for msr, by_form in forms.items():
        for rests, names in by_form.items():
            if rests != _OFF[metric]:
                for name in names if len(by_form) > 1 else (f'*",msr="{msr}',):
                    yield from (f'{metric}{{feature="{name}"{rest}\n' for rest in rests or ("} no series",))


def _msr(feature: str) -> str:
    msr = FEATURES[feature].msr
    return msr.name if msr else "several"
