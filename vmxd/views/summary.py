"""The host at a glance: the lines that vmxd show begins with, each a label and a text."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from vmxd import cpulist
from vmxd.model import findings as kinds
from vmxd.model.answers import consistent, is_nested_off
from vmxd.model.attribution import missing
from vmxd.model.facts import Host, Missing, Source
from vmxd.model.guest import Source as Known
from vmxd.model.inventory import Inventory
from vmxd.model.kvm import NestedStatus
from vmxd.model.offer import offer
from vmxd.model.profiles import Fit
from vmxd.tables import FEATURES, IA32_FEATURE_CONTROL
from vmxd.views.finding_words import sentence, told
from vmxd.views.guest_words import source_text, why_text
from vmxd.views.platform_words import missing_text
from vmxd.views.verdict_words import verdict_hint, verdict_sentence

_LABELS: Final[dict[type[kinds.Finding], str]] = {
    kinds.FailedReads: "failed",
    kinds.CpusDiffer: "differ",
    kinds.MicrocodesDiffer: "microcode",
    kinds.UnknownBits: "unknown",
    kinds.UnlikeItsKind: "unlike",
    kinds.BrokenRule: "broken",
    kinds.KvmRefuses: "kvm",
    kinds.FlagDiffers: "kvm",
    kinds.KvmAnswersOtherwise: "guests",
    kinds.LeftOff: "kvm",
    kinds.Doubted: "kvm",
    kinds.Note: "note",
}
"""What a finding about a host is called, in a word."""


def summary_lines(inventory: Inventory) -> list[tuple[str, str]]:
    """Say the host at a glance: pairs of a label, "" if it is that of the line above, and a text."""
    identity, host = inventory.identity, inventory.host
    parts = [("signature", identity.signature), ("microcode", identity.microcode), ("kernel", host.kernel)]
    lines = [
        ("host", host_text(host)),
        ("cpu", ", ".join([identity.model_name or "unknown model", identity.vendor or "unknown vendor"])),
        (
            "",
            ", ".join(f"{word} {value or 'not recorded'}" for word, value in parts)
            + (", under a hypervisor" if identity.hypervisor else ""),
        ),
        ("status", f"{inventory.verdict.status.value}: {verdict_sentence(inventory.verdict)}"),
    ]
    if step := verdict_hint(inventory.verdict):
        lines.append(("", step))
    said: dict[str, list[str]] = {}
    for each in kinds.findings(inventory):
        said.setdefault(_LABELS.get(type(each), ""), []).append(sentence(each))

    def found(*labels: str) -> list[tuple[str, str]]:
        return [(label, text) for label in labels for text in said.get(label, ())]

    lines.append(("cpus", _cpu_counts(inventory)))
    lines += found("failed")
    lines.append(("consistent", _consistency(inventory, [text for _, text in found("differ")])))
    lines += found("microcode", "unknown", "unlike", "broken")
    lines += [("unnamed", sentence(each)) for each in kinds.unnamed_bits(inventory)]
    lines += found("kvm")
    if text := module_text(inventory):
        lines.append(("kvm", text))
    if text := guests_text(inventory):
        lines.append(("guests", text))
    lines += found("guests")
    lines += [("profile", _profile(found)) for found in inventory.profiles]
    lines += found("note")
    lines.append(("features", _of_all((each.value for each in inventory.features.values()), "on every CPU")))
    if text := missing_text(missing(inventory)):
        lines.append(("missing", text))
    lines.append(("fingerprint", identity.fingerprint or no_fingerprint(inventory)))
    return lines


def host_text(host: Host) -> str:
    """Name a host and where it was read: db-03; recording DIR of db-03, this machine."""
    if host.source is Source.LIVE:
        return " of ".join(filter(None, (None if host.root == "/" else host.root, host.name))) or host.root
    text = f"recording {host.root}" + (f" of {host.name}" if host.name else "")
    return f"{text}, this machine since boot" if host.same_boot else text


def no_fingerprint(inventory: Inventory) -> str:
    """Say why a host has no fingerprint."""
    read = any(not group.decoded.failed.keys() - {IA32_FEATURE_CONTROL} for group in inventory.groups)
    return f"none: {'no capability MSR has a value' if read else 'reads failed on every CPU'}"


def _cpu_counts(inventory: Inventory) -> str:
    host = inventory.host
    counts = [
        (host.online, "online"),
        (inventory.scanned, "scanned"),
        (inventory.failed, "failed"),
        (host.excluded, "excluded"),
        (host.offline, "offline"),
    ]
    return ", ".join(f"{len(cpus)} {word} ({cpulist.format_cpus(cpus)})" for cpus, word in counts if cpus)


def _consistency(inventory: Inventory, differ: Sequence[str]) -> str:
    if differ:
        return f"no: {'; '.join(differ)}"
    if unknown := consistent(inventory).unknown:
        agree = "; the others agree" if len(inventory.scanned) > 1 else ""
        return f"not known: {'; '.join(map(sentence, unknown))}{agree}"
    return "yes" if len(inventory.comparable) > 1 else "only one CPU is known"


def module_text(inventory: Inventory) -> str:
    """Say that kvm_intel is not loaded, or leaves nothing off; "" if findings say more, or it was not recorded."""
    if isinstance(inventory.host.kvm_parameters, Missing):
        return "kvm_intel is not loaded" if inventory.host.kvm_parameters is Missing.ABSENT else ""
    if inventory.kvm_unused or inventory.kvm_doubted:
        return ""
    return "kvm_intel leaves off no feature that every CPU has"


def guests_text(inventory: Inventory) -> str:
    """Say what a VM gets, as KVM answered or as is expected; "" if there is no VMX."""
    found, nested = offer(inventory), inventory.nested
    if found.source is Known.RECORDED:
        if nested is not None and nested.status is NestedStatus.NOT_OFFERED:
            return sentence(kinds.GuestsGetNoVmx(is_nested_off=is_nested_off(inventory)))
        return f"KVM offers {_of_all(found.features.values(), 'features to guests')}"
    texts = [told(kinds.GuestsNotKnown(errno=nested.errno, is_asked=True))] if nested is not None else []
    if found.source is Known.UNKNOWN:
        texts.append(f"what a VM gets is not known: {why_text(found, next(iter(FEATURES)))}")
    elif found.expected is not None:
        texts.append(f"{_of_all(found.features.values(), 'features')}, {source_text(found, brief=True)}")
    return "; ".join(texts)


def _of_all(values: Iterable[bool | None], what: str) -> str:
    """Count the features that are there, and those of which it is not known."""
    values = list(values)
    unknown = f", {values.count(None)} not known" if None in values else ""
    return f"{values.count(True)} of {len(values)} {what}{unknown}"


def _profile(found: Fit) -> str:
    wanted = len(found.profile.features)
    if found.fits:
        return f"{found.profile.name}: the CPUs have all {wanted} features"
    if len(found.unknown) == wanted:
        return f"{found.profile.name}: not known"
    texts = [(found.lacking, f"lacks {len(found.lacking)} of {wanted}: "), (found.unknown, "not known: ")]
    return f"{found.profile.name}: " + "; ".join(word + ", ".join(names) for names, word in texts if names)
