"""`omm app`."""

import argparse

from onlymymodel.cli.flags import add_allow_python, add_device, add_memory
from onlymymodel.cli.interrupt import exit_on_interrupt
from onlymymodel.cli.parser import Parser


def add_flags(parser: Parser) -> None:
    """Add the flags."""
    parser.description = (
        "Serve a page on this machine. Photos stay on this machine and are removed when the server ends (Ctrl-C)."
    )
    host = "address to listen on; 127.0.0.1 by default; with any other, everybody who can reach it can use the page"
    parser.add_argument("--host", default="127.0.0.1", help=host)
    parser.add_argument("--port", type=int, default=0, metavar="N", help="port to listen on; any free one by default")
    parser.add_argument("--no-browser", action="store_true", help="print the address and open no browser")
    add_device(parser)
    add_memory(parser)
    add_allow_python(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Serve the page until Ctrl-C."""
    with exit_on_interrupt():
        from onlymymodel.app.server import print_address, serve
    output = arguments.output

    def announce(url: str) -> None:
        """Print the JSON object as soon as there is an address, since nothing comes after it."""
        output.add(address=url)
        output.finish("app", 0)

    return serve(
        arguments.host,
        arguments.port,
        browser=not arguments.no_browser,
        device=arguments.device,
        allow_python=arguments.allow_python,
        memory=arguments.memory,
        announce=announce if output.as_json else print_address,
    )
