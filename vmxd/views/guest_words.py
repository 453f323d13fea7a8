"""The words for the guest layer: why a VM lacks a feature, how that is known, why kvm_intel does not load."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from vmxd.model.facts import Parameter
from vmxd.model.guest import Reason, Source, Why
from vmxd.model.kvm import Loading, Taken
from vmxd.model.offer import Mismatch, Offer, WhatIf
from vmxd.model.release import Kernel, parse_release
from vmxd.model.vmcs import PLACES, Refusal, Refused
from vmxd.tables import msr_name
from vmxd.tables.kvm import BITS, CHECKS_ONLINED_CPUS, NEWEST, OLDEST, Release, Since, Use
from vmxd.tables.versions import LINUX


def taken_text(verdict: Taken, release: str | None) -> str:
    """Say what KVM does with a CPU that differs; release: of the kernel, None if not recorded."""
    if verdict is not Taken.REFUSED:
        return _TAKEN[verdict]
    kernel = parse_release(release)
    if kernel.low >= CHECKS_ONLINED_CPUS.by:
        return "KVM refuses the CPU, when it loads and when the CPU comes up"
    if kernel.high < CHECKS_ONLINED_CPUS.by and not kernel.too_old:
        return "kvm_intel does not load while the CPU is online, and does not look at one that comes up later"
    return f"KVM refuses the CPU; before Linux {_series(CHECKS_ONLINED_CPUS.by)} only when it loads"


_TAKEN: Final = {
    Taken.UNNOTICED: "KVM uses it and does not compare it, so that what the CPU lacks fails later",
    Taken.IRRELEVANT: "KVM does not use it",
    Taken.DEPENDS: "KVM may refuse the CPU",
}


def reason_text(reason: Reason, release: str | None) -> str:
    """Say why a VM does not have a feature, or why that is not known; release: of the kernel, None if not recorded."""
    kernel = parse_release(release)
    if reason.why is Why.PARAMETER:
        return " and ".join(f"{name}=N" for name in reason.names)
    if reason.why is Why.HARDWARE:
        return f"the CPU lacks {', '.join(reason.names)}"
    if reason.why is Why.KERNEL and reason.since is not None:
        return f"KVM offers it {_since(reason.since)}, this is {_series(kernel.high)}"
    if reason.why is Why.UNKNOWN_KERNEL:
        return _unknown_kernel(reason, kernel)
    if reason.why is Why.UNKNOWN_PARAMETER:
        return f"whether {', '.join(reason.names)} {'is' if len(reason.names) == 1 else 'are'} Y is not known"
    return _SENTENCES[reason.why] + (f": {_refusals(reason.refusals)}" if reason.refusals else "")


def use_text(name: str, release: str | None) -> str | None:
    """Say what KVM itself does with a feature that is one bit; release: of the kernel, None if not recorded."""
    row = BITS.get(name)
    if row is None:
        return "does not use it" if name in PLACES else None
    if row.use is Use.UNUSED:
        return "does not use it itself" if (0, 0) <= min(row.cpu.by, row.always.by) <= NEWEST else "does not use it"
    text = "requires it to load" if row.use is Use.REQUIRED else "uses it"
    return text if parse_release(release).low >= row.used.by else f"{text} {_since(row.used)}"


def why_text(found: Offer, name: str) -> str:
    """Say why a VM does not have one feature, which is named beside it, or why that is not known."""
    reason = found.reasons[name]
    if reason == Reason(Why.HARDWARE, (name,)):
        return "the CPU lacks it"
    return reason_text(reason, found.kernel)


_SENTENCES: Final = {
    Why.EMULATED: "emulated by KVM",
    Why.NOT_OFFERED: f"KVM does not offer it, up to Linux {LINUX}",
    Why.NESTED: "nested=N",
    Why.NOT_LOADED: "kvm_intel does not load here",
    Why.KERNEL_FLAGS: "the kernel does not use the CPU feature that it takes",
    Why.UNKNOWN_HARDWARE: "the MSRs that decide were not read",
    Why.NOT_TOLD: "KVM answers otherwise than its kernel and parameters lead to expect",
    Why.KERNEL: "a later Linux offers it",
}


def _unknown_kernel(reason: Reason, kernel: Kernel) -> str:
    if kernel.too_old:
        return f"Linux {kernel.text} is older than {_series(OLDEST)}, the oldest that was read"
    since = f"KVM offers it {_since(reason.since)}" if reason.since else "it depends on the kernel"
    if not kernel.text:
        return f"{since}; the kernel is not known"
    return f"{since}; {kernel.text} may have taken it from there" if not kernel.certain else since


def _since(since: Since) -> str:
    exact = since.by[0] == since.without[0] and since.by[1] == since.without[1] + 1
    if exact or since.without[1] == _LAST_OF_SERIES:
        return f"since {_series(since.by)}"
    return f"since a release after {_series(since.without)}, at the latest {_series(since.by)}"


_LAST_OF_SERIES: Final = 999


def _series(release: Release) -> str:
    return f"{release[0]}.{release[1]}"


def source_text(found: Offer, *, brief: bool = False) -> str:
    """Say how it is known what a VM gets; brief: beside what is known of the kernel."""
    if found.source is Source.RECORDED:
        return "as KVM answered"
    kernel = parse_release(found.kernel)
    if kernel.certain:
        of = f"Linux {_series(kernel.low)}" + (f", the newest that was read, for {kernel.text}" if kernel.newer else "")
    elif kernel.text:
        of = f"Linux {kernel.text}"
    else:
        of = f"Linux {_series(OLDEST)} to {_series(NEWEST)}" + ("" if brief else ", as the kernel is not known")
    return f"expected for {of}" + (f" with {_settings(found.wanted)}" if found.wanted else "")


def what_if_text(what_if: WhatIf) -> str:
    """Name what would be other than it is."""
    texts = [f"Linux {what_if.kernel}"] * (what_if.kernel is not None)
    texts += [_settings(what_if.parameters)] * bool(what_if.parameters)
    return " with ".join(texts) or "now"


def _settings(parameters: Mapping[str, Parameter] | None) -> str:
    return ", ".join(f"{name}={_value(value)}" for name, value in (parameters or {}).items())


def _value(value: Parameter) -> str:
    return {True: "Y", False: "N"}[value] if isinstance(value, bool) else str(value)


def refusal_text(refusal: Refusal) -> str:
    """Say why kvm_intel does not load."""
    names = ", ".join(refusal.features)
    return _REFUSALS[refusal.why].format(names=names)


_REFUSALS: Final = {
    Refused.CONTROL: "KVM requires {names}",
    Refused.EPT_CAPABILITIES: "there are EPT capabilities without EPT",
    Refused.VPID_CAPABILITIES: "there are VPID capabilities without VPID",
    Refused.PAIR: "of {names} only one is there",
    Refused.VMCS_SIZE: "a VMCS has more than 4096 bytes",
    Refused.VMCS_ADDRESSES: "VMCS addresses have 32 bits",
    Refused.MEMORY_TYPE: "VMCS memory is not write-back",
    Refused.NO_VMX: "there is no VMX",
    Refused.FIRMWARE: "IA32_FEATURE_CONTROL forbids VMX",
    Refused.CPU_DIFFERS: "a CPU differs from the one that loads the module",
}


def loading_text(found: Loading) -> str:
    """Say whether kvm_intel loads."""
    if found.loads is None:
        return "whether kvm_intel loads is not known"
    if found.loads:
        return "kvm_intel loads"
    return f"kvm_intel does not load: {_refusals(found.refusals)}"


def _refusals(refusals: Iterable[Refusal]) -> str:
    return "; ".join(map(refusal_text, refusals))


def mismatch_text(found: Mismatch) -> str:
    """Say where KVM's answer is not what was expected."""
    return (
        f"{msr_name(found.msr)} for guests is {found.recorded:#018x}, expected {found.expected:#018x} "
        f"(bits {found.bits:#018x}): a kernel with patches, or newer than Linux {LINUX}"
    )
