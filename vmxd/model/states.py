"""THE vocabulary: how a feature, a firmware bit or an MSR stands on one CPU, and over all of them. Pure.

There are three vocabularies. Presence: a feature on one CPU. State: a feature or bit on one CPU or over several.
Answer: yes, no or not known (True, False, None), with reasons (answers.py).
"""

from __future__ import annotations

import enum
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from vmxd.model.facts import Failed, Missing


class Presence(enum.Enum):
    """A feature on one CPU."""

    PRESENT = "present"
    """Software can set it."""
    ABSENT = "absent"
    """Software cannot, or its MSR does not exist."""
    FAILED = "failed"
    """The MSR that says so could not be read."""
    NOT_RECORDED = "not_recorded"


class State(enum.Enum):
    """What software may do with a feature or bit; of controls the allowed-1, allowed-0 and TRUE allowed-0 bits."""

    ON = "on"
    """May be 1 (controls: 1, 0)."""
    DEFAULT1_CLEARABLE = "default1-clearable"
    """May be 1; the legacy MSR says that it must be, the TRUE MSR that it may be 0 (1, 1, 0)."""
    FORCED = "forced"
    """Must be 1 (1, 1, 1, or no TRUE MSR)."""
    OFF = "off"
    """Must be 0 (0, 0)."""
    INVALID = "invalid"
    """Must be 0 and must be 1 (0, 1): a fault of the CPU or hypervisor."""
    DIFFERS = "differs"
    """Over several CPUs: may be 1 on some, must be 0 on others."""
    UNKNOWN = "unknown"
    """Failed or not recorded; never off."""

    @property
    def usable(self) -> bool | None:
        """Whether every CPU of known state can set it: the value of vmx_feature; None: no series."""
        if self is State.UNKNOWN:
            return None
        return self in (State.ON, State.DEFAULT1_CLEARABLE, State.FORCED)


Why = Failed | Missing | None
"""Why a state is off or unknown, if no bit says so: the MSR is absent, failed or not recorded."""
Here = tuple[State, Why]
"""How something stands on one CPU."""


@dataclass(frozen=True, slots=True)
class CpuStates:
    """A feature or bit over the scanned CPUs: each distinct state, and the CPUs that have it, ascending."""

    name: str
    cpus: Mapping[Here, tuple[int, ...]]

    @property
    def known(self) -> frozenset[State]:
        """The distinct states of CPUs whose state is known."""
        return frozenset(state for state, _ in self.cpus) - {State.UNKNOWN}

    @property
    def state(self) -> State:
        """The one word for all CPUs; it is true of each CPU whose state is known.

        The state that they share. Else differs, if some can set it and others cannot; on, if all can but not alike
        (forced here, say); off, if none can. Unknown, if no CPU's state is known.
        """
        known = self.known
        if len(known) < 2:
            return next(iter(known), State.UNKNOWN)
        usable = {state.usable for state in known}
        return State.DIFFERS if len(usable) > 1 else State.ON if usable == {True} else State.OFF

    @property
    def value(self) -> bool | None:
        """Whether every CPU whose value is known has it; None: known on no CPU."""
        return self.state.usable

    @property
    def everywhere(self) -> bool | None:
        """The answer for the host: as value, but None also if some CPUs have it and others are not known."""
        return None if self.value and any(state is State.UNKNOWN for state, _ in self.cpus) else self.value

    @property
    def presence(self) -> dict[Presence, tuple[int, ...]]:
        """The CPUs by presence; a presence that no CPU has is left out."""
        return by_cpus((_presence(here), cpus) for here, cpus in self.cpus.items())


def _presence(here: Here) -> Presence:
    state, why = here
    if state is State.UNKNOWN:
        return Presence.FAILED if isinstance(why, Failed) else Presence.NOT_RECORDED
    return Presence.PRESENT if state.usable else Presence.ABSENT


Key = TypeVar("Key", bound=Hashable)


def by_cpus(found: Iterable[tuple[Key, Iterable[int]]]) -> dict[Key, tuple[int, ...]]:
    """Map each distinct key to its CPUs, ascending, in the order in which keys first come."""
    cpus: dict[Key, list[int]] = {}
    for key, numbers in found:
        cpus.setdefault(key, []).extend(numbers)
    return {key: tuple(sorted(numbers)) for key, numbers in cpus.items()}
