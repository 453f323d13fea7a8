"""The command line: flags to calls. The only place that prints errors: one sentence, one hint, exit code 2."""

from __future__ import annotations

import argparse
import os
import re
import signal
import stat
import sys
import tempfile
from collections.abc import Sequence
from typing import IO, Any, Final, NoReturn

import vmxd
from vmxd import cpulist
from vmxd.errors import RootError, UsageError, VmxdError
from vmxd.scan import Scan, scan

EXIT_FINE: Final = 0
EXIT_CANNOT_TELL: Final = 2
EXIT_INTERRUPTED: Final = 128 + signal.SIGINT
EXIT_TERMINATED: Final = 128 + signal.SIGTERM

_TELEMETRY_PATH: Final = re.compile(r"/[A-Za-z0-9\-._~/]*")

_EPILOG: Final = """exit codes:
  0  fine
  1  the answer is no
  2  could not tell: usage, no access, a damaged recording
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(EXIT_TERMINATED))  # unwind, so that no scratch file stays behind
    try:
        parsed = build_parser().parse_args(arguments)
        code: int = parsed.run(parsed)
        return code
    except VmxdError as error:
        print(f"vmxd: {error}\nhint: {error.hint}", file=sys.stderr)
        return EXIT_CANNOT_TELL
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED


def _write(data: bytes) -> None:
    """Write to standard output. A reader that has read enough is no error; a full disk is. Raises VmxdError."""
    try:
        with open(1, "wb", closefd=False) as stdout:
            stdout.write(data)
    except BrokenPipeError:
        pass
    except OSError as error:
        raise VmxdError(
            f"cannot write to standard output: {error.strerror}", "look at where the output goes"
        ) from error


def _say(notes: Sequence[str]) -> None:
    for note in notes:
        print(f"vmxd: note: {note}", file=sys.stderr)


class _Parser(argparse.ArgumentParser):
    """An argparse parser whose errors are ours, whose output goes where ours does, and that guesses no flag."""

    def __init__(self, **options: Any) -> None:  # noqa: ANN401 (handed through)
        super().__init__(**options, allow_abbrev=False)

    def error(self, message: str) -> NoReturn:
        raise UsageError(message, f"see {self.prog} --help")

    def _print_message(self, message: str, file: IO[str] | None = None) -> None:  # type: ignore[override]  # noqa: ARG002
        _write(message.encode())


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of all commands; each sets ``run`` to the function that does it."""
    parser = _Parser(
        prog="vmxd",
        description="Read, compare and serve the VMX capabilities of every logical CPU of a host.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"vmxd {vmxd.__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    host = _host_options()

    serve = commands.add_parser(
        "serve",
        parents=[host],
        help="serve the metrics over HTTP",
        description="Scan the host once and serve its metrics.",
    )
    serve.add_argument(
        "--web.listen-address",
        dest="listen_addresses",
        action="append",
        metavar="[HOST]:PORT",
        help="address to listen on; may be given more than once (default: :10480)",
    )
    serve.add_argument(
        "--web.telemetry-path",
        dest="telemetry_path",
        default="/metrics",
        metavar="PATH",
        help="path of the metrics (default: %(default)s)",
    )
    serve.add_argument(
        "--web.config.file",
        dest="web_config",
        metavar="FILE",
        help="TLS, client certificates and passwords, in the form of Prometheus' exporter-toolkit",
    )
    serve.add_argument(
        "--web.systemd-socket",
        dest="systemd_socket",
        action="store_true",
        help="listen on the sockets that systemd hands over, not on addresses",
    )
    serve.add_argument(
        "--rescan-request",
        metavar="FILE",
        help="touch FILE when a recording is out of date, for a unit that records anew",
    )
    serve.add_argument(
        "--user", metavar="NAME", help="become this user once the host is scanned and the sockets listen"
    )
    serve.add_argument(
        "--log.level",
        dest="log_level",
        choices=("debug", "info", "warn", "error"),
        default="info",
        help="log this and what is worse (default: %(default)s)",
    )
    serve.add_argument(
        "--log.format", dest="log_format", choices=("logfmt", "json"), default="logfmt", help="(default: %(default)s)"
    )
    serve.set_defaults(run=_serve)

    record = commands.add_parser(
        "record",
        parents=[host],
        help="write what was read as a directory that every command takes as --root",
        description="Write a recording: proc/, sys/ and msr.txt, without serial numbers, host name or addresses. "
        "An older recording in its place is replaced in one step.",
    )
    record.add_argument("directory", metavar="DIR", help="directory to write")
    record.set_defaults(run=_record)

    show = commands.add_parser(
        "show",
        parents=[host],
        help="print every feature and its state",
        description="Print the host, and every VMX feature with its state.",
    )
    show.add_argument("--json", action="store_true", help="print JSON (docs/schema/show-1.json)")
    show.set_defaults(run=_show)

    metrics = commands.add_parser(
        "metrics",
        parents=[host],
        help="print the metrics, or write them for node_exporter's textfile collector",
        description="Print the metrics in the Prometheus text format.",
    )
    metrics.add_argument(
        "-o",
        "--output",
        metavar="FILE",
        help="replace FILE in one step instead of printing; node_exporter wants a name in .prom",
    )
    metrics.set_defaults(run=_metrics)

    features = commands.add_parser(
        "features",
        help="list every feature that vmxd knows, with its names elsewhere",
        description="List features by vmxd's name, with their bit and their names in Linux, QEMU, libvirt and the SDM.",
    )
    features.add_argument(
        "names",
        nargs="*",
        metavar="NAME",
        help="only these; any name of a feature will do: ept, VMX_FEATURE_EPT, vmx-ept, 0x48b[33]",
    )
    features.add_argument(
        "--json", action="store_true", help="print JSON, with MSRs and fields too (docs/schema/features-1.json)"
    )
    features.set_defaults(run=_features)
    return parser


def _host_options() -> _Parser:
    options = _Parser(add_help=False)
    options.add_argument("--root", default="/", metavar="DIR", help="the host: / or a recording (default: %(default)s)")
    options.add_argument("--cpus", type=_cpus, metavar="LIST", help="read these CPUs only, as in 0-3,8")
    options.add_argument("--skip-isolated", action="store_true", help="leave CPUs of the kernel's isolcpus alone")
    return options


def _cpus(text: str) -> tuple[int, ...]:
    try:
        return cpulist.parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _scan(arguments: argparse.Namespace) -> Scan:
    return scan(arguments.root, arguments.cpus, arguments.skip_isolated)


def _serve(arguments: argparse.Namespace) -> int:
    import asyncio

    from vmxd.export import daemon, listen, logs

    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # until there is a first scan to repeat
    logs.set_up(arguments.log_level, arguments.log_format)
    if not _TELEMETRY_PATH.fullmatch(arguments.telemetry_path) or arguments.telemetry_path in ("/", "/healthz"):
        raise UsageError(
            f"the metrics cannot be at {arguments.telemetry_path!r}",
            "--web.telemetry-path is a slash and letters, digits, -._~/, and neither / nor /healthz",
        )
    web_config = None
    if arguments.web_config is not None:
        from vmxd.export.web_config import WebConfigFile

        web_config = WebConfigFile(arguments.web_config)
    if arguments.systemd_socket:
        listeners = listen.systemd_sockets()
    else:
        addresses = arguments.listen_addresses or [":10480"]
        listeners = [each for address in addresses for each in listen.open_sockets(address)]
    options = daemon.Options(
        scan=lambda: _scan(arguments),
        root=arguments.root,
        telemetry_path=arguments.telemetry_path,
        rescan_request=arguments.rescan_request,
        user=arguments.user,
    )

    async def run() -> None:
        await daemon.Daemon(options, listeners, web_config).run()

    asyncio.run(run())
    return EXIT_FINE


def _record(arguments: argparse.Namespace) -> int:
    from vmxd.host.files import Files
    from vmxd.host.recording import write_recording
    from vmxd.host.root import read_host

    host = read_host(arguments.root, arguments.cpus, arguments.skip_isolated)
    _say(host.notes)
    write_recording(Files(arguments.root), host, arguments.directory)
    return EXIT_FINE


def _show(arguments: argparse.Namespace) -> int:
    inventory = _scan(arguments).inventory
    if arguments.json:
        from vmxd.export.json import inventory_document, to_json

        _write(to_json(inventory_document(inventory)).encode(errors="replace"))
    else:
        from vmxd.export.text import to_text

        _write(to_text(inventory).encode(errors="replace"))
    return EXIT_FINE


def _metrics(arguments: argparse.Namespace) -> int:
    from vmxd.export.metrics import HostCollector, SelfCollector, to_text

    result = _scan(arguments)
    _say(result.inventory.host.notes)
    text = to_text(HostCollector(result.inventory), SelfCollector(result))
    if arguments.output is None:
        _write(text)
    else:
        _replace_file(arguments.output, text)
    return EXIT_FINE


def _replace_file(path: str, data: bytes) -> None:
    """Write a file so that a reader sees all of the old or all of the new one. Raises RootError.

    A link is followed; a device or pipe is written to, not replaced.
    """
    path = os.path.realpath(path)
    directory, name = os.path.split(path)
    try:
        if os.path.exists(path) and not stat.S_ISREG(os.stat(path).st_mode):
            with open(path, "wb") as file:
                file.write(data)
            return
        with tempfile.NamedTemporaryFile(dir=directory, prefix=f".{name}.", delete=False) as scratch:
            try:
                scratch.write(data)
                scratch.flush()
                os.fsync(scratch.fileno())
                os.fchmod(scratch.fileno(), 0o644)
                os.replace(scratch.name, path)
            except BaseException:
                os.unlink(scratch.name)
                raise
    except OSError as error:
        raise RootError(f"cannot write {path}: {error.strerror}", "choose a file that you may write to") from error


def _features(arguments: argparse.Namespace) -> int:
    from vmxd.export import catalogue
    from vmxd.tables import FEATURES

    chosen = [catalogue.find(name) for name in arguments.names] or list(FEATURES.values())
    if arguments.json:
        from vmxd.export.json import tables_document, to_json

        _write(to_json(tables_document(chosen)).encode(errors="replace"))
    else:
        _write(catalogue.to_text(chosen).encode(errors="replace"))
    return EXIT_FINE
