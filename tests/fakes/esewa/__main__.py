"""The simulator as a process: `python -m tests.fakes.esewa --port 8701 --control-port 8702 --state FILE`."""

import argparse
import asyncio
import sys
from pathlib import Path

import uvloop

from tests.fakes.esewa.journal import StateInUseError
from tests.fakes.esewa.server import Options, serve_until_told
from tests.fakes.esewa.signing import PUBLIC_TEST_KEY


def options_from(arguments: list[str]) -> Options:
    parser = argparse.ArgumentParser(prog="python -m tests.fakes.esewa", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True, help="gateway face")
    parser.add_argument("--control-port", type=int, required=True, help="control face")
    parser.add_argument("--state", type=Path, required=True, help="file that keeps the truth over restarts")
    parser.add_argument("--product-code", default="EPAYTEST")
    parser.add_argument("--key-file", type=Path, help="HMAC key; the public test key without it")
    given = parser.parse_args(arguments)
    key = given.key_file.read_text().strip() if given.key_file else PUBLIC_TEST_KEY
    return Options(given.host, given.port, given.control_port, given.state, given.product_code, key)


def main() -> None:
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(serve_until_told(options_from(sys.argv[1:])))
    except (OSError, StateInUseError) as error:
        sys.exit(f"eSewa simulator: {error}")


if __name__ == "__main__":
    main()
