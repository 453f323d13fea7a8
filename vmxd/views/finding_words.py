"""A finding in a sentence, with its next step; every view that has one takes it from here."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final

import vmxd
from vmxd import cpulist
from vmxd.model import findings as kinds
from vmxd.model.facts import Failed
from vmxd.model.kvm import Taken
from vmxd.tables import FEATURES, msr_name
from vmxd.tables.errnos import explain, explain_kvm
from vmxd.tables.rows import Unnamed
from vmxd.views.guest_words import mismatch_text, reason_text, refusal_text, taken_text
from vmxd.views.platform_words import unlike_text
from vmxd.views.verdict_words import verdict_hint, verdict_sentence
from vmxd.views.words import count, describe_cpus, errno_text, left_off, offered, parameter_text

_NAMED: Final = 3
"""Features that a sentence on many names."""


def told(finding: kinds.Finding) -> str:
    """Say a finding and the next step."""
    return sentence(finding) + (f" (hint: {step})" if (step := next_step(finding)) else "")


def next_step(finding: kinds.Finding) -> str | None:
    """Name the next step, None if there is none."""
    match finding:
        case kinds.Judged(verdict=verdict, features=()):
            return verdict_hint(verdict)
        case kinds.GuestsNotKnown(errno=str(name)):
            return explain_kvm(name).hint
    return None


def sentence(finding: kinds.Finding) -> str:  # noqa: PLR0911, PLR0912 (one a kind)
    """Say a finding in a sentence, without a capital and without a full stop."""
    cpus = cpulist.describe(finding.cpus)
    match finding:
        case kinds.Judged(verdict=verdict):
            return verdict_sentence(verdict)
        case kinds.NotJudged():
            return f"whether VMX may be used on {cpus} is not known"
        case kinds.FailedReads(errno=errno, msrs=msrs):
            return f"{count(len(msrs), 'MSR')} could not be read on {cpus}: {errno_text(explain(errno))}"
        case kinds.NotCompared():
            return f"{cpus} could not be read, or not wholly" if finding.cpus else "no CPU was read"
        case kinds.CpusDiffer(host=host, msrs=msrs, features=features, kvm=kvm):
            differ = f"{describe_cpus(host, finding.cpus)} differ{'s' * (len(finding.cpus) == 1)}"
            where = f"{differ} in {', '.join(map(msr_name, msrs))} ({', '.join(features) or 'no named feature'})"
            return f"{where}: {_taken(msrs, kvm, host.kernel)}"
        case kinds.MicrocodesDiffer(revisions=revisions):
            texts = (f"{revision} on {cpulist.describe(of)}" for revision, of in revisions)
            return f"CPUs have different microcode: {', '.join(texts)}"
        case kinds.UnknownBits(msr=msr, bits=bits):
            return unknown_bits_text(msr, bits)
        case kinds.UnlikeItsKind(platform=platform, found=found):
            return unlike_text(platform, found)
        case kinds.UnnamedBit(msr=msr, bit=bit, row=row):
            return unnamed_bit_text(msr, bit, row)
        case kinds.BrokenRule(rule=rule):
            return f"{cpus} break{'s' * (len(finding.cpus) == 1)} {rule.name}: {rule.says}"
        case kinds.LeftOff(parameter=name, value=value, features=features):
            return f"{name}={parameter_text(value)} leaves off what every CPU has: {', '.join(features)}"
        case kinds.Doubted(parameters=parameters):
            off = ", ".join(f"{name}={parameter_text(value)}" for name, value in parameters)
            return f"{off}: whether the CPUs have what is left off is not known"
        case kinds.FlagDiffers(flag=flag):
            return f"{cpus} and the others differ in the flag {flag} of /proc/cpuinfo, and KVM refuses CPUs for that"
        case kinds.KvmAnswersOtherwise(mismatch=mismatch):
            return mismatch_text(mismatch)
        case kinds.Note(text=text):
            return text
    return _reason(finding, cpus)


def _taken(msrs: Sequence[int], kvm: Sequence[Taken], release: str | None) -> str:
    """Say what KVM does with CPUs that differ, of each MSR if that is not the same of all."""
    if len(set(kvm)) == 1:
        return taken_text(kvm[0], release)
    return "; ".join(f"{msr_name(index)}: {taken_text(each, release)}" for index, each in zip(msrs, kvm, strict=True))


def _reason(finding: kinds.Finding, cpus: str) -> str:  # noqa: PLR0911, PLR0912 (one a kind)
    """Say why a feature that was asked for is not there, or not known."""
    names = _are(finding.features)
    match finding:
        case kinds.Lacks(everywhere=everywhere, cause=cause):
            where = "every CPU" if everywhere else cpus
            return f"{names} missing on {where}: {_cause(finding.features[0], cause)}"
        case kinds.NotKnown(msr=msr, why=Failed(errno)):
            return f"{names} not known: {msr_name(msr)} could not be read on {cpus}: {errno_text(explain(errno))}"
        case kinds.NotKnown(msr=msr):
            return f"{names} not known: {msr_name(msr)} was not recorded on {cpus}"
        case kinds.NothingKnown(verdict=verdict):
            return f"{names} not known: {verdict_sentence(verdict)}"
        case kinds.GuestsGetNoVmx(is_nested_off=off):
            return f"KVM offers no VMX to guests{': nested=N' * off}"
        case kinds.GuestsLack(cause=cause, parameter=parameter, hardware=hardware):
            has = {
                True: "the hardware has it",
                False: "the hardware lacks it too",
                None: "of the hardware it is not known",
            }
            why = left_off(parameter) if parameter else has[hardware]
            return f"{names} {offered(False)}: {_cause(finding.features[0], cause)}; {why}"
        case kinds.NotInTables():
            return f"{names} not known to vmxd {vmxd.__version__}"
        case kinds.KvmRefuses(refusal=refusal):
            return f"kvm_intel does not load: {refusal_text(refusal)}"
        case kinds.GuestMayLack(reason=reason, release=release):
            return f"{names} not known for guests: {reason_text(reason, release)}"
        case kinds.GuestLacks(reason=reason, release=release):
            return f"{names} not given to guests: {reason_text(reason, release)}"
        case kinds.GuestsNotKnown(errno=str(name)):
            return f"what KVM offers to guests is not known: {errno_text(explain_kvm(name))}"
        case kinds.GuestsNotKnown(is_asked=False):
            return "what KVM offers to guests is not known: KVM was not asked"
        case kinds.GuestsNotKnown():
            return f"{names} not known: KVM did not say"
    raise TypeError(finding)


def _are(names: Sequence[str]) -> str:
    """Name the first of several features, and their verb."""
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return f"{', '.join(names[:_NAMED])}{more} {'is' if len(names) == 1 else 'are'}"


def _cause(name: str, cause: kinds.Cause) -> str:
    row = FEATURES[cause.part or name].row
    called = f" ({row.libvirt or row.qemu})" if row.libvirt or row.qemu else ""
    bits = " and ".join(f"{msr_name(bit.msr)}[{bit.bit}]" for bit in cause.bits)
    are = f"{'is' if len(cause.bits) == 1 else 'are'} {int(cause.is_set)}"
    if cause.absent:
        absent = ", since ".join(f"there is no {msr_name(index)}" for index in cause.absent)
        text = f"{absent}, since {f'{bits} {are}' if bits else 'there is no VMX'}{called}"
        return f"it takes {cause.part}, and {text}" if cause.part else text
    return f"it takes {bits}, which {are}{called}" if cause.part else f"{bits} {are}{called}"


def unknown_bits_text(msr: int, bits: Collection[int]) -> str:
    """Name the bits of an MSR that are set and that no row explains."""
    return f"{msr_name(msr)}[{','.join(map(str, bits))}] set, and no source names it"


def unnamed_bit_text(msr: int, bit: int, row: Unnamed) -> str:
    """Name a bit of an MSR that is set, that no source names, and that other CPUs set too."""
    return f"{msr_name(msr)}[{bit}] set: undocumented; seen since {row.since}, on {row.note}"
