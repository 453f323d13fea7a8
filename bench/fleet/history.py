"""What was recorded yesterday: without it, rules that compare with yesterday would cost nothing in a benchmark."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from typing import Final

from bench.fleet.hosts import Fleet
from bench.fleet.kinds import page

DAY: Final = 86_400
_WINDOW: Final = 6_000
_STEP: Final = 60
_LABEL: Final = re.compile(r'^vmx_host_info\{.*?fingerprint="([0-9a-f]+)".*?signature="([^"]*)"', re.MULTILINE)
_FEATURE: Final = re.compile(r'^vmx_feature\{feature="(\w+)"\} ([01])', re.MULTILINE)


def openmetrics(fleet: Fleet) -> Iterator[str]:
    """Yield the lines of instance:vmx_fingerprint:info, one sample a minute, from 25 hours ago for 100 minutes.

    And those of fingerprint:vmx_feature:max, of one pool: a fingerprint has the same features in each.
    """
    end = int(time.time()) - DAY + (_WINDOW - 3600)
    yield "# TYPE instance:vmx_fingerprint:info gauge\n"
    for host in fleet.hosts.values():
        match = _LABEL.search(page(host.kind).text.decode())
        if match:
            labels = (
                f'cluster="{host.cluster}",job="vmxd",instance="{host.name}:10480",'
                f'signature="{match[2]}",fingerprint="{match[1]}"'
            )
            for timestamp in range(end - _WINDOW, end, _STEP):
                yield f"instance:vmx_fingerprint:info{{{labels}}} 1 {timestamp}\n"
    yield "# TYPE fingerprint:vmx_feature:max gauge\n"
    texts = {page(host.kind).text.decode() for host in fleet.hosts.values()}
    by_fingerprint = {match.groups(): text for text in texts if (match := _LABEL.search(text))}
    for (fingerprint, signature), text in by_fingerprint.items():
        for feature, value in _FEATURE.findall(text):
            labels = f'cluster="pool-00",signature="{signature}",fingerprint="{fingerprint}",feature="{feature}"'
            for timestamp in range(end - _WINDOW, end, 3 * _STEP):
                yield f"fingerprint:vmx_feature:max{{{labels}}} {value} {timestamp}\n"
    yield "# EOF\n"
