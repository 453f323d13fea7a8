"""vmxd serve: scan the host and serve its metrics over HTTP."""

from __future__ import annotations

import argparse
import contextlib
import json
import re
import signal
import sys
from typing import Final

from vmxd.commands import EXIT_FINE
from vmxd.commands.parser import Commands, export_options
from vmxd.errors import UsageError

_EPILOG: Final = """
examples:
  vmxd serve                        this machine, on port 10480, as root
  vmxd serve --user nobody          the same, as nobody once the MSRs are read
  vmxd serve --root /run/vmxd/host  what vmxd-record.service wrote
  vmxd serve --web.listen-address=127.0.0.1:10480 --web.config.file=web.yml
                                    on one address only, with TLS or passwords

signals:
  SIGHUP   scan again
  SIGTERM  end
"""
_OTHER_PATHS: Final = ("/", "/healthz", "/inventory.json")
_SCAN_SECONDS_MAX: Final = 3600
_TELEMETRY_PATH: Final = re.compile(r"/[A-Za-z0-9\-._~/]*")


def add(commands: Commands) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "serve",
        parents=export_options(),
        help="serve the metrics over HTTP",
        description="Scan the host, and serve its metrics, and a page for people at /. It is scanned again when its "
        "recording is replaced, when it changes, and on SIGHUP.",
        epilog=_EPILOG,
    )
    web = parser.add_argument_group("web")
    web.add_argument(
        "--web.listen-address",
        dest="listen_addresses",
        action="append",
        metavar="ADDRESS",
        help="[HOST]:PORT or unix:PATH to listen on; may be given more than once (default: :10480)",
    )
    web.add_argument(
        "--web.telemetry-path",
        dest="telemetry_path",
        default="/metrics",
        metavar="PATH",
        help="path of the metrics (default: %(default)s)",
    )
    web.add_argument(
        "--web.disable-exporter-metrics",
        dest="exporter_metrics",
        action="store_false",
        help="leave out process_* and vmxd_http_requests_total, the metrics of the server itself",
    )
    web.add_argument(
        "--web.config.file",
        dest="web_config",
        metavar="FILE",
        help="TLS, client certificates and passwords, in the form of Prometheus' exporter-toolkit",
    )
    web.add_argument(
        "--web.systemd-socket",
        dest="systemd_socket",
        action="store_true",
        help="listen on the sockets that systemd hands over, not on addresses",
    )
    parser.add_argument(
        "--scan-timeout",
        type=_seconds,
        default=30.0,
        metavar="SECONDS",
        help="kill a scan that takes longer; the last good one stays (default: 30)",
    )
    parser.add_argument(
        "--rescan-request",
        metavar="FILE",
        help="touch FILE when a recording is out of date, for a unit that records anew",
    )
    parser.add_argument(
        "--user", metavar="USER", help="become this user once the host is scanned and the sockets listen"
    )
    logging = parser.add_argument_group("logging")
    logging.add_argument(
        "--log.level",
        dest="log_level",
        choices=("debug", "info", "warn", "error"),
        default="info",
        help="log this and what is worse (default: %(default)s)",
    )
    logging.add_argument(
        "--log.format",
        dest="log_format",
        choices=("logfmt", "json"),
        default="logfmt",
        help="form of each line (default: %(default)s)",
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Serve until SIGTERM. Raises VmxdError if the first scan cannot be made."""
    import asyncio

    from vmxd.server import daemon, listen, logs

    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # until there is a first scan to repeat
    if not _TELEMETRY_PATH.fullmatch(arguments.telemetry_path) or arguments.telemetry_path in _OTHER_PATHS:
        raise UsageError(
            f"the metrics cannot be at {arguments.telemetry_path!r}",
            f"--web.telemetry-path is a slash and letters, digits, -._~/, and none of {', '.join(_OTHER_PATHS)}",
        )
    logs.set_up(arguments.log_level, arguments.log_format)
    web_config = None
    if arguments.web_config is not None:
        from vmxd.server.web_config import WebConfigFile

        web_config = WebConfigFile(arguments.web_config)
    if arguments.systemd_socket:
        listeners = listen.systemd_sockets()
    else:
        addresses = arguments.listen_addresses or [":10480"]
        listeners = [each for address in addresses for each in listen.open_sockets(address)]
    options = daemon.Options(
        command=_scan_command(arguments),
        scan_seconds=arguments.scan_timeout,
        root=arguments.root,
        telemetry_path=arguments.telemetry_path,
        rescan_request=arguments.rescan_request,
        user=arguments.user,
        exporter_metrics=arguments.exporter_metrics,
    )
    asyncio.run(daemon.Daemon(options, listeners, web_config).run())
    return EXIT_FINE


def _scan_command(arguments: argparse.Namespace) -> tuple[str, ...]:
    """Make the command of a process that does scan_and_print(), with the modules that this one has."""
    chosen = {name: value for name, value in vars(arguments).items() if name != "run"}
    script = f"import sys; sys.path[:] = {sys.path!r}; from vmxd.commands.serve import scan_and_print; scan_and_print()"
    return sys.executable, "-c", script, json.dumps(chosen)


def scan_and_print() -> None:
    """Be the process that scans: dump a Rendered or a Refusal to stdout; the arguments of serve are in sys.argv."""
    from vmxd.commands.scanning import scan_to_export
    from vmxd.errors import VmxdError
    from vmxd.host.changes import Witness
    from vmxd.host.files import Files
    from vmxd.server.render import render
    from vmxd.server.rendered import Refusal, Rendered, dump

    arguments = argparse.Namespace(**json.loads(sys.argv[1]))
    result: Rendered | Refusal
    try:
        witness = None
        with contextlib.suppress(VmxdError):
            witness = Witness.of(Files(arguments.root))
        scan, features = scan_to_export(arguments)
        result = render(scan, arguments.telemetry_path, features, witness)
    except VmxdError as error:
        result = Refusal(str(error), error.hint)
    sys.stdout.buffer.write(dump(result))


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 < seconds <= _SCAN_SECONDS_MAX:
        raise argparse.ArgumentTypeError(f"takes seconds, above 0 and up to {_SCAN_SECONDS_MAX}")
    return seconds
