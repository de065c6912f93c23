"""Runs moto on a free port of loopback, which it prints, until standard input ends."""

import os
import sys
import threading

from moto.server import main


def leave_with_parent():
    sys.stdin.buffer.read()
    os._exit(0)


threading.Thread(target=leave_with_parent, daemon=True).start()
main(["--host", "127.0.0.1", "--port", "0"])
