"""CPUs, states, counts and names in words; verdict_words.py, finding_words.py and guest_words.py have the sentences."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

from vmxd import cpulist
from vmxd.model.attribution import Attribution
from vmxd.model.facts import Host, Missing, MsrState, Parameter
from vmxd.model.guest import Why
from vmxd.model.inventory import Inventory
from vmxd.model.offer import Offer
from vmxd.model.states import CpuStates
from vmxd.model.states import Why as WhyState
from vmxd.tables import FEATURES, MSR_BY_INDEX, Feature, msr_name
from vmxd.tables.errnos import Errno
from vmxd.tables.rows import Bit, Msr
from vmxd.views.guest_words import why_text
from vmxd.views.platform_words import brief_text


def errno_text(errno: Errno) -> str:
    """Say what an errno means, with its name."""
    return f"{errno.meaning} ({errno.name})"


def left_off(parameter: str) -> str:
    """Say that KVM leaves a feature off."""
    return f"left off by KVM ({parameter})"


def offered(value: bool) -> str:
    """Say whether KVM offers a feature to guests."""
    return "offered to guests" if value else "not offered to guests"


def on_cpus(cpus: Collection[int]) -> str:
    """Name the CPUs that something stands on, behind it; "" of none: it is about the host."""
    return f" on {cpulist.describe(cpus)}" if cpus else ""


def not_in_tables(names: Iterable[str]) -> str:
    """Say that no table has names of vmx-* features."""
    return f"{', '.join(names)}: no VMX feature that vmxd knows"


def describe_cpus(host: Host, cpus: Collection[int]) -> str:
    """Name CPUs, with the package and kind of core that all of them are of, if the host has several."""
    text = cpulist.describe(cpus)
    packages = {cpu.package for cpu in host.cpus.values()}
    here = {host.cpus[cpu].package if cpu in host.cpus else None for cpu in cpus}
    if len(packages) > 1 and len(here) == 1 and None not in here:
        text += f" of package {here.pop()}"
    cores = {host.core_types.get(cpu) for cpu in cpus}
    if len(set(host.core_types.values())) > 1 and len(cores) == 1 and None not in cores:
        text += f" (cpu_{cores.pop()})"
    return text


def state_text(state: MsrState) -> str:
    """Say what is known of an MSR: its value, an errno, "absent" or "not recorded"."""
    if isinstance(state, int):
        return f"{state:#018x}"
    return state.value.replace("_", " ") if isinstance(state, Missing) else f"failed ({state.errno})"


def msr_states(inventory: Inventory, index: int) -> list[tuple[str, str]]:
    """Say each state of an MSR, with the CPUs that have it, "" if all do."""
    states = inventory.msr_states(index)
    one = len(states) == 1
    return [(state_text(state), "" if one else describe_cpus(inventory.host, at)) for state, at in states.items()]


def details(inventory: Inventory, states: CpuStates) -> list[str]:
    """Say what the word for all CPUs leaves out: which CPUs have another state, and why one is off or unknown."""
    scanned = sum(map(len, states.cpus.values()))
    texts = []
    for (state, why), cpus in states.cpus.items():
        reason = _why(why)
        if len(cpus) == scanned:
            texts.append(reason)
        elif state is not states.state:
            texts.append(f"{describe_cpus(inventory.host, cpus)} {state.value}{f': {reason}' if reason else ''}")
    return [text for text in texts if text]


def _why(why: WhyState) -> str:
    return "" if why is None else "MSR absent" if why is Missing.ABSENT else state_text(why)


def feature_details(inventory: Inventory, name: str, found: Offer, why: Attribution | None = None) -> list[str]:
    """Say what remains to be said of a feature: of the CPUs, and if that is something else, of KVM and of guests.

    found: what a VM gets. why: why no CPU has it, as far as the table of real CPUs tells.
    """
    layers = inventory.layers(name)
    texts = details(inventory, layers.hardware)
    if why is not None and (text := brief_text(why)):
        texts.append(text)
    if layers.kvm:
        texts.append(left_off(layers.kvm))
    return [*texts, *guest_notes(found, name, layers.hardware.value)]


def guest_notes(found: Offer, name: str, hardware: bool | None) -> Iterator[str]:
    """Say whether guests get a feature if that is not what the CPUs have, and why; not of a VM without any VMX."""
    value = found.features[name]
    if value is hardware or (value is None and not hardware):
        return
    reason = found.reasons.get(name)
    if reason is None or reason.why not in (Why.NESTED, Why.NOT_LOADED, Why.NOT_OFFERED):
        because = f": {why_text(found, name)}" if reason else ""
        yield (f"not known for guests{because}" if value is None else f"{offered(value)}{because}")
    elif reason.why is Why.NOT_OFFERED:
        yield offered(False)


def parameter_text(value: Parameter) -> str:
    """Say a module parameter as sysfs shows it."""
    return ("N", "Y")[value] if isinstance(value, bool) else str(value)


def count(number: int, noun: str) -> str:
    """Say how many there are of something; of a noun of several words the first is the one that is many."""
    word, _, more = noun.partition(" ")
    return f"{number} {word}{'' if number == 1 else 's'} {more}".rstrip()


def other_names(feature: Feature) -> Iterator[str]:
    """Yield what others call a feature: /proc/cpuinfo, Linux, QEMU and libvirt."""
    row = feature.row
    if feature.cpuinfo_flag:
        yield f"{feature.cpuinfo_flag} (cpuinfo)"
    yield from (name for name in (feature.linux_name, feature.macro) if name)
    if row.qemu and row.qemu == row.libvirt:
        yield row.qemu
    else:
        yield from (f"{name} ({who})" for name, who in ((row.qemu, "QEMU"), (row.libvirt, "libvirt")) if name)


def condition(msr: Msr) -> str:
    """Say when an MSR exists on a CPU that has VMX: the bits, and those that their own MSRs take."""
    if not msr.exists_if:
        return "there is VMX"
    outer = dict.fromkeys(condition(above) for bit in msr.exists_if if (above := MSR_BY_INDEX[bit.msr]).exists_if)
    return ", and so ".join((" or ".join(_is_set(bit) for bit in msr.exists_if), *outer))


def _is_set(bit: Bit) -> str:
    location = f"{msr_name(bit.msr)}[{bit.bit}]"
    named = next((f" ({feature.name})" for feature in FEATURES.values() if feature.location == location), "")
    return f"{location} = 1{named}"
