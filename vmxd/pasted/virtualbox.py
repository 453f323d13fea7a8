"""VirtualBox's "VT-x features" of a VBox.log: a line each, with what the guest and, in brackets, the host have."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from vmxd.pasted.findings import FeatureSet, Finding, Named, Of
from vmxd.tables.features import FEATURES

_LINE: Final = re.compile(r"\b([A-Za-z][A-Za-z0-9]{2,20}) - [^\n=]{3,60}= [01] \(([01])\)")
_NAMES: Final = dict(
    pair.split("=")
    for pair in """
    InsOutInfo=ins_outs ExtIntExit=intr_exiting NmiExit=nmi_exiting VirtNmi=vnmi PreemptTimer=preemption_timer
    PostedInt=posted_intr IntWindowExit=intr_window_exiting TscOffsetting=tsc_offset HltExit=hlt_exiting
    InvlpgExit=invlpg_exiting MwaitExit=mwait_exiting RdpmcExit=rdpmc_exiting RdtscExit=rdtsc_exiting
    Cr3LoadExit=cr3_load_exiting Cr3StoreExit=cr3_store_exiting TertiaryExecCtls=tertiary_controls
    Cr8LoadExit=cr8_load_exiting Cr8StoreExit=cr8_store_exiting UseTprShadow=vtpr
    NmiWindowExit=nmi_window_exiting MovDRxExit=mov_dr_exiting UncondIoExit=uncond_io_exiting
    UseIoBitmaps=use_io_bitmaps MonitorTrapFlag=mtf UseMsrBitmaps=use_msr_bitmaps MonitorExit=monitor_exiting
    PauseExit=pause_exiting SecondaryExecCtl=sec_controls VirtApic=vapic Ept=ept DescTableExit=desc_exiting
    Rdtscp=rdtscp VirtX2ApicMode=virtual_x2apic Vpid=vpid WbinvdExit=wbinvd_exiting
    UnrestrictedGuest=unrestricted_guest ApicRegVirt=vapic_reg VirtIntDelivery=vid PauseLoopExit=ple
    RdrandExit=rdrand_exiting Invpcid=invpcid VmFuncs=vmfunc VmcsShadowing=shadow_vmcs
    RdseedExiting=rdseed_exiting PML=pml EptVe=ept_violation_ve ConcealVmxFromPt=pt_conceal_vmx
    XsavesXRstors=xsaves PasidTranslate=pasid_translation ModeBasedExecuteEpt=ept_mode_based_exec
    SppEpt=ept_sub_page_write PtEpt=pt_use_gpa UseTscScaling=tsc_scaling UserWaitPause=usr_wait_pause
    Pconfig=pconfig EnclvExit=enclv_exiting BusLockDetect=bus_lock_detection InstrTimeout=notify_vm_exiting
    LoadIwKeyExit=loadiwkey_exiting HLAT=hlat EptPagingWrite=ept_paging_write
    GstPagingVerify=guest_paging_verification IpiVirt=ipi_virt VirtSpecCtrl=spec_ctrl_virt
    EntryLoadDebugCtls=entry_load_debugctl Ia32eModeGuest=entry_ia32e_mode EntryLoadEferMsr=entry_load_efer
    EntryLoadPatMsr=entry_load_pat ExitSaveDebugCtls=exit_save_debugctl
    HostAddrSpaceSize=exit_host_addr_space_size ExitAckExtInt=exit_ack_intr ExitSavePatMsr=exit_save_pat
    ExitLoadPatMsr=exit_load_pat ExitSaveEferMsr=exit_save_efer ExitLoadEferMsr=exit_load_efer
    SavePreemptTimer=exit_save_preemption_timer SecondaryExitCtls=exit_secondary_ctls ExitSaveEferLma=store_lma
    IntelPt=pt_in_vmx VmwriteAll=vmwrite_vmexit_fields EntryInjectSoftInt=zero_len_inject
    """.split()  # noqa: SIM905
)
"""VMXFEATDUMP() in src/VBox/VMM/VMMR3/CPUMR3CpuId-x86.cpp: mnemonic -> vmxd's name."""


def find(text: str) -> Iterator[Finding]:
    """Yield what the host has; a mnemonic of another CPU feature is not taken.

    >>> [found.program for found in find("RdrandExit - RDRAND exiting         = 0 (1)")]
    ['VirtualBox']
    """
    listed = {match[1]: match[2] == "1" for match in _LINE.finditer(text) if match[1] in _NAMES}
    present, absent = (
        tuple(Named(name, FEATURES[_NAMES[name]]) for name, has in listed.items() if has is each)
        for each in (True, False)
    )
    if listed:
        yield FeatureSet("VirtualBox", Of.CPU, present, absent)
