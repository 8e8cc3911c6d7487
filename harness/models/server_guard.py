"""Runs a command, and ends it with all that it has started when standard input closes or its parent is gone.

The process that holds the other end may be killed, and one that it has forked may hold that end still: then
nobody could end what it has started. Run as a file, with nothing but the standard library, since it stays for
as long as the command does.
"""

import os
import select
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from functools import partial

PATIENCE_S = 10.0
LOOK_S = 1.0  # between two looks at whether the parent is there


def main() -> None:
    """Run ``sys.argv[1:]``; exits with its status."""
    child = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL, start_new_session=True)
    send = partial(_send, child.pid)

    def end(*_: object) -> None:
        send(signal.SIGTERM)
        late = threading.Timer(PATIENCE_S, send, (signal.SIGKILL,))
        late.daemon = True
        late.start()

    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            if select.select([0], [], [], LOOK_S)[0] and not os.read(0, 1):
                break
        end()

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the one that asked for it
    threading.Thread(target=watch, daemon=True).start()
    status = child.wait()
    send(signal.SIGKILL)  # what it has started may be there without it
    sys.exit(status if status >= 0 else 128 - status)


def _send(group: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError, PermissionError):  # nobody is left
        os.killpg(group, number)


if __name__ == "__main__":
    main()
