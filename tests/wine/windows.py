#!/usr/bin/env python3
"""A Windows of Wine's in a folder (a prefix), for tests: made when it is missing, kept alive while they run.

usage: windows.py start PREFIX | stop PREFIX | run PREFIX PROGRAM [ARGUMENT...]
start  makes it, which takes some seconds, and keeps it alive until stop, or for an hour; fine when it is alive
stop   ends it and all that runs in it, and nothing else
run    becomes the program in it: its output, its exit code (modulo 256)
"""
import fcntl
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

PATIENCE = 60  # seconds, for anything


class Windows:
    """A user's process keeps it alive: without one Wine ends the services too."""

    def __init__(self, prefix):
        self.prefix = pathlib.Path(prefix).resolve()
        self.environment = dict(os.environ, WINEPREFIX=str(self.prefix), WINEARCH="win64", WINEDEBUG="-all",
                                WINEDLLOVERRIDES="mscoree,mshtml,winemenubuilder.exe=", DISPLAY="")
        self.keeper = None

    def run(self, *words, patience=PATIENCE):
        # Into files: what Wine starts beside the program would keep a pipe open.
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            status = subprocess.run(["wine", *words], env=self.environment, stdin=subprocess.DEVNULL, stdout=out, stderr=err,
                                    timeout=patience, check=False).returncode
            out.seek(0)
            err.seek(0)
            return status, out.read().decode(errors="replace").replace("\r\n", "\n"), err.read().decode(errors="replace")

    def make(self):
        """The prefix, when it is missing. What was interrupted while it was made is made again."""
        if (self.prefix / "made").exists():
            return
        shutil.rmtree(self.prefix, ignore_errors=True)
        self.prefix.mkdir(parents=True)
        subprocess.run(["wineboot", "-i"], env=self.environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                       stderr=subprocess.DEVNULL, timeout=4 * PATIENCE, check=True)
        self.stop()  # its services know nothing of what is changed in its last moments
        (self.prefix / "made").touch()

    def start(self):
        self.make()
        # It reads from a pipe that is its own other end: no end ever comes, and nobody has to hold it.
        pipe = self.prefix / "keeper"
        pipe.unlink(missing_ok=True)
        os.mkfifo(pipe)
        endless = os.open(pipe, os.O_RDWR)
        self.keeper = subprocess.Popen(["timeout", "3600", "wine", "cmd", "/c", "set /p x="], env=self.environment, stdin=endless,
                                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
        os.close(endless)
        subprocess.run(["wine", "cmd", "/c", "exit"], env=self.environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                       stderr=subprocess.DEVNULL, timeout=2 * PATIENCE, check=True)  # back when it is up

    def stop(self):
        subprocess.run(["wineserver", "-k"], env=self.environment, check=False, timeout=PATIENCE)
        subprocess.run(["wineserver", "-w"], env=self.environment, check=False, timeout=PATIENCE)
        if self.keeper:
            self.keeper.wait()
            self.keeper = None
        for left in self.prefix.glob("drive_c/users/*/Temp/roamstead-*"):  # of tests that were killed
            shutil.rmtree(left, ignore_errors=True)

    def processes(self, program):
        """Of this Windows, by the name of the program: numbers of the host."""
        found = []
        for entry in pathlib.Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            try:
                words = (entry / "cmdline").read_bytes()
                environment = (entry / "environ").read_bytes()
            except OSError:
                continue
            if program.encode() in words and f"WINEPREFIX={self.prefix}\0".encode() in environment:
                found.append(int(entry.name))
        return found


def windows_path(path):
    """Of a file of the host: Wine has its root as Z:."""
    return "Z:" + str(pathlib.Path(path).resolve()).replace("/", "\\")


def is_installed():
    return shutil.which("wine") is not None and shutil.which("wineserver") is not None


def main():
    if len(sys.argv) < 3 or (sys.argv[1] == "run") != (len(sys.argv) > 3) or sys.argv[1] not in ("start", "stop", "run"):
        raise SystemExit(__doc__)
    command, prefix = sys.argv[1:3]
    if not is_installed():
        raise SystemExit("windows.py: wine is not installed; run packaging/setup")
    windows = Windows(prefix)
    if command == "run":
        os.execvpe("wine", ["wine", *sys.argv[3:]], windows.environment)
    windows.prefix.parent.mkdir(parents=True, exist_ok=True)
    with open(f"{windows.prefix}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if command == "stop":
            windows.stop()
        elif not windows.processes("set /p x="):
            windows.start()


if __name__ == "__main__":
    main()
