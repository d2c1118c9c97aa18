"""Script that starts a server without the rights of root, and ends it with its parent process.

Usage: `drop_privileges.py UID:GID PROGRAM ARGUMENT...`, with `-` to keep the current ids.
`Popen(preexec_fn=...)` could do the same, but is not safe once the tests have started threads.
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
