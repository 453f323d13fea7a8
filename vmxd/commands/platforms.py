"""vmxd platforms: which real CPUs have features, and what a kind of CPU has."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterable, Sequence
from typing import Final

from vmxd.commands import EXIT_FINE, EXIT_NO
from vmxd.commands.output import write
from vmxd.commands.parser import Commands
from vmxd.errors import UsageError
from vmxd.model.platform import Platform, platforms
from vmxd.model.seen import kinds_of, unread
from vmxd.tables import Feature, find_features
from vmxd.tables.find import find_feature, split_names
from vmxd.tables.platforms.brands import CLASSES, numbered, product_class, short_name
from vmxd.tables.platforms.microarchitectures import MICROARCHITECTURES, microarchitecture
from vmxd.views import platforms as view
from vmxd.views.json import to_json
from vmxd.views.platform_words import name_of

_SIGNATURE: Final = re.compile("[0-9a-f]{2}-[0-9a-f]{2}(?:-[0-9a-f]{2})?")
_EPILOG: Final = """
examples:
  vmxd platforms ipi_virt              CPUs that have it, oldest first
  vmxd platforms pml --class core      only desktops and laptops
  vmxd platforms ept --lacks vpid      CPUs with the one and without the other
  vmxd platforms "Sapphire Rapids"     what these have; also "Xeon Gold 6130"
  vmxd platforms --signature 06-55-04  in what its products differ

exit codes:
  0  a CPU that answers was seen
  1  none was
  2  could not tell: a name that is neither a feature nor a CPU
"""


def add(commands: Commands) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "platforms",
        usage="%(prog)s [options] [NAME ...]",
        help="say which real CPUs have a feature, or what a CPU has, from a table of CPUs that were read",
        description="Say which real CPUs have all of some features, or what CPUs of a microarchitecture, a signature "
        "or a name have. It tells what was seen: some CPUs of each kind, and of many kinds none.",
        epilog=_EPILOG,
    )
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help="features by any name; or a microarchitecture, signature or CPU's name"
    )
    parser.add_argument(
        "--lacks", action="append", default=[], metavar="FEATURE", help="only CPUs without this feature"
    )
    parser.add_argument("--signature", metavar="FF-MM-SS", help="only CPUs of this signature, or of family and model")
    parser.add_argument("--class", dest="product", choices=CLASSES, help="only CPUs of this product class")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print JSON (docs/schema/platforms-1.json)")
    form.add_argument("--csv", action="store_true", help="print CSV, a row for each CPU that tells")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Answer from the table. Raises UsageError for a name that is neither a feature nor a CPU's."""
    among = [each for each in platforms() if _chosen(each, arguments)]
    if arguments.signature and not among:
        raise UsageError(f"no CPU of signature {arguments.signature} was seen", "vmxd platforms ept lists signatures")
    names = list(split_names(arguments.names))
    cpus = {name: found for name in names if not find_features(name) and (found := _called(name, among))}
    if cpus and len(cpus) < len(names):
        raise UsageError("features and CPUs are asked for side by side", "use --signature or --class beside features")
    lacks = [find_feature(name).name for name in split_names(arguments.lacks)]
    if cpus or not (names or lacks):
        if not names and not arguments.signature and not arguments.product:
            raise UsageError("vmxd platforms needs a feature or a CPU", "as in vmxd platforms pml; see --help")
        chosen = among if not cpus else [each for each in among if any(each in found for found in cpus.values())]
        title = (
            ", ".join(_title(name, found) for name, found in cpus.items())
            or arguments.signature
            or f"{arguments.product} CPUs"
        )
        return _cpus(title, chosen, arguments)
    return _features([_feature(name).name for name in names], lacks, among, arguments)


def _chosen(platform: Platform, arguments: argparse.Namespace) -> bool:
    signature = (arguments.signature or "").casefold()
    of_signature = not signature or platform.signature == signature or platform.signature.startswith(f"{signature}-")
    return of_signature and arguments.product in (None, platform.product)


def _feature(name: str) -> Feature:
    if not find_features(name) and (cpus := _unseen(name)):
        raise UsageError(
            f"no CPU of {cpus} was seen, which says nothing of what they have", "docs/platforms.md says how one gets in"
        )
    known = (*(name_of(each) for each in platforms()), *(each.name for each in platforms()))
    return find_feature(name, known)


def _unseen(text: str) -> str | None:
    """Name the kind of CPU that a text means and of which the table has none: a microarchitecture or signature."""
    key = text.casefold().strip()
    if _SIGNATURE.fullmatch(key):
        family = microarchitecture(key, is_intel=True)
        return f"{key} ({family.name})" if family else key
    name = numbered(short_name(text))
    return next((row.name for row in MICROARCHITECTURES if row.name.casefold() == key), name)


def _called(text: str, among: Iterable[Platform]) -> list[Platform]:
    """List the CPUs that a text names: a microarchitecture, a signature, or a part of a brand string."""
    key = text.casefold().strip()
    of_family = [each for each in among if key in (name_of(each).casefold(), each.signature)]
    if of_family:
        return of_family
    by_model = [each for each in among if each.signature.startswith(f"{key}-")]
    name = short_name(text).casefold()
    by_name = [each for each in among if name and f" {name} " in f" {each.name.casefold()} "]
    family, product = numbered(name), product_class(name)
    by_number = [each for each in among if name_of(each) == family and product in (each.product, "other")]
    return by_model or by_name or by_number


def _title(text: str, found: Sequence[Platform]) -> str:
    """Say what a text was taken for, where that is by the processor's number alone."""
    name = short_name(text)
    seen = any(f" {name.casefold()} " in f" {each.name.casefold()} " for each in found)
    family = numbered(name)
    return f"{name} was not seen; by its number of {family}" if family and not seen else text


def _features(
    features: Sequence[str], lacks: Sequence[str], among: Sequence[Platform], arguments: argparse.Namespace
) -> int:
    def test(platform: Platform) -> bool | None:
        answers = {*(platform.has(name) for name in features), *(_not(platform.has(name)) for name in lacks)}
        return False if False in answers else None if None in answers else True

    kinds = kinds_of(test, among)
    silent = unread((*features, *lacks), among)
    if arguments.json:
        text = to_json(view.kinds_document(features, lacks, kinds, silent))
    elif arguments.csv:
        text = view.kinds_to_csv(kinds)
    else:
        words = [*features, *(f"without {name}" for name in lacks)]
        text = view.kinds_to_text(", ".join(words), features, kinds, silent)
    write(text.encode(errors="replace"))
    return EXIT_FINE if any(kind.having for kind in kinds) else EXIT_NO


def _not(answer: bool | None) -> bool | None:
    return None if answer is None else not answer


def _cpus(title: str, chosen: Sequence[Platform], arguments: argparse.Namespace) -> int:
    if arguments.csv:
        raise UsageError("--csv is for features", "use --json for what CPUs have")
    text = to_json(view.cpus_document(chosen)) if arguments.json else view.cpus_to_text(title, chosen)
    write(text.encode(errors="replace"))
    return EXIT_FINE if chosen else EXIT_NO
