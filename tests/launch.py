"""Starts a server program so that it gives up root and ends with the process that started it.

Run as a script: `launch.py UID:GID PROGRAM ARGUMENT...`, with `-` for the ids to stay who we are.
`Popen(preexec_fn=...)` could do the same, but is not safe once the tests run threads.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main(account: str, *command: str) -> None:
    if account != "-":
        uid, gid = map(int, account.split(":"))
        os.setgroups([])
        os.setgid(gid)
        os.setuid(uid)
    if sys.platform == "linux":
        # After setuid, which clears it.
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGINT)
    os.execv(command[0], command)


if __name__ == "__main__":
    main(*sys.argv[1:])
