"""Becomes another program that cannot outlive the process that started it.

Run as a file: `python -I -S infra/bound.py <parent pid> <signal> <user or -> <program> <arguments...>`.

The kernel sends the signal when the parent ends, whatever ends it, SIGKILL included, so no cleanup has to
run. A small program that replaces itself by exec was chosen over a `preexec_fn` (unsafe beside threads) and
over a guardian process (one more process per child, which can itself be killed). The process id stays that
of the program. It works for programs of any language, because exec keeps the setting; only a change of user
clears it, therefore the user is changed first.
"""

import ctypes
import os
import pwd
import sys

PR_SET_PDEATHSIG = 1


def main() -> None:
    parent, signal_number, user, *command = sys.argv[1:]
    os.setsid()  # Ctrl-C reaches only the supervisor, which then ends its children in order
    if user != "-":
        become(user)
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, int(signal_number), 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl")
    if os.getppid() != int(parent):  # it ended before the kernel knew whom to tell
        sys.exit(1)
    os.execvp(command[0], command)  # noqa: S606 - replacing this program is its purpose


def become(user: str) -> None:
    account = pwd.getpwnam(user)
    os.setgroups([account.pw_gid])
    os.setgid(account.pw_gid)
    os.setuid(account.pw_uid)
    os.environ["HOME"] = account.pw_dir


if __name__ == "__main__":
    main()
