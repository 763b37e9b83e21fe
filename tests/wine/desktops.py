"""Desktops of Wine's and their coordinator on this host, for tests: each desktop is a Windows prefix whose drive P: is an NTFS
volume (ntfs-3g) in a differencing disk of its own; the coordinator and the disks are served by Roamstead's programs for Linux."""
import contextlib
import json
import os
import pathlib
import shutil
import subprocess
import sys
import time

from windows import PATIENCE, Windows, windows_path

DRIVE = "P:"
PROFILE = r"P:\Users\alice"


def fail(what):
    raise SystemExit("FAIL: " + what)


def check(condition, what):
    if not condition:
        fail(what)


def until(condition, what, patience=PATIENCE):
    end = time.monotonic() + patience
    while not condition():
        if time.monotonic() > end:
            fail("waited in vain: " + what)
        time.sleep(0.02)


def missing(programs):
    """Why there is nothing to test here, or None."""
    for program in ("wine", "wineserver", "ntfs-3g", "mkntfs"):
        if not shutil.which(program):
            return f"{program} is not installed"
    if not os.access("/dev/fuse", os.R_OK | os.W_OK) or os.geteuid() != 0:
        return "needs root and /dev/fuse"
    for program in ("roamstead", "roamstead-coordinator"):
        if not (pathlib.Path(programs) / program).exists():
            return f"{program} for Linux is not in {programs}: build the preset release first"
    return None


def run(*words, patience=PATIENCE, fails=None):
    """What a program of this host prints; where it is to fail, FAILS is what it has to say."""
    done = subprocess.run([str(word) for word in words], stdin=subprocess.DEVNULL, capture_output=True, timeout=patience, check=False)
    said, wrong = done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace")
    check((done.returncode == 0) == (fails is None) and (fails or "") in wrong, f"{words}: {said}{wrong}")
    return said


def unmount(folder):
    for _ in range(100):
        if not os.path.ismount(folder):
            return
        subprocess.run(["fusermount3", "-u", str(folder)], stderr=subprocess.DEVNULL, check=False)
        time.sleep(0.05)
    subprocess.run(["fusermount3", "-uz", str(folder)], check=False)


class Disk:
    """A disk and its NTFS volume, mounted."""

    def __init__(self, programs, file, base):
        self.roamstead = pathlib.Path(programs) / "roamstead"
        self.file = pathlib.Path(file)
        self.device, self.volume = base / (self.file.stem + "-disk"), base / (self.file.stem + "-volume")

    def make(self, size="512M"):
        run(self.roamstead, "disk", "create", self.file, "--size", size, "--partition", "System")
        self.attach(mount=False)
        run("mkntfs", "-Q", "-F", "-q", "-p", "2048", "-s", "512", "-S", "63", "-H", "255", self.device / "p1.raw")
        self.mount()

    def clone(self, file):
        run(self.roamstead, "disk", "create", file, "--parent", self.file)
        return Disk(self.roamstead.parent, file, self.device.parent)

    def attach(self, mount=True):
        self.device.mkdir(exist_ok=True)
        run(self.roamstead, "disk", "mount", "--write-back", self.file, self.device)
        if mount:
            self.mount()

    def mount(self):
        self.volume.mkdir(exist_ok=True)
        run("ntfs-3g", "-o", "streams_interface=windows,big_writes,noatime", self.device / "p1.raw", self.volume)

    def detach(self):
        unmount(self.volume)
        unmount(self.device)

    def freeze(self):
        """The frozen layer: what is on the disk now, whatever is in memory above it."""
        return json.loads(run(self.roamstead, "disk", "snapshot", "--json", self.file))["frozen_path"]


class Coordinator:
    def __init__(self, programs, folder):
        self.programs, self.folder = pathlib.Path(programs), pathlib.Path(folder)
        self.process = None
        self.address = None

    def roamstead(self, *words, fails=None):
        return run(self.programs / "roamstead", *words[:2], "--repo", self.folder, *words[2:], fails=fails)

    def make(self, profile, tree):
        run(self.programs / "roamstead", "repo", "init", self.folder)
        self.roamstead("profile", "import", profile, tree)

    def start(self, address="127.0.0.1:0"):
        listen = self.folder / "state" / "listen"
        listen.unlink(missing_ok=True)
        with open(self.folder.with_suffix(".log"), "ab") as log:
            self.process = subprocess.Popen([self.programs / "roamstead-coordinator", "--repo", self.folder, "--listen", address,
                                             "--foreground"], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        until(lambda: listen.exists() and listen.read_text().strip(), "the coordinator listens")
        self.address = listen.read_text().strip()

    def stop(self):
        if self.process:
            self.process.terminate()
            self.process.wait(PATIENCE)
            self.process = None

    def versions(self, profile):
        return json.loads(self.roamstead("profile", "versions", profile, "--json"))

    def saved(self, path, profile="alice"):
        """What a version (NAME or NAME@VERSION) has of a file; None: nothing."""
        done = subprocess.run([self.programs / "roamstead", "profile", "cat", "--repo", self.folder, profile, path], capture_output=True,
                              check=False)
        return done.stdout if done.returncode == 0 else None


class Desktop(Windows):
    """A Windows with a volume on P:, and the agent in it."""

    def __init__(self, prefix, disk, agent, folder):
        super().__init__(prefix)
        self.disk, self.agent, self.folder = disk, str(agent), pathlib.Path(folder)
        self.process = None
        self.folder.mkdir(parents=True, exist_ok=True)

    def begin(self):
        self.make()
        drive = self.prefix / "dosdevices" / "p:"
        drive.unlink(missing_ok=True)
        drive.symlink_to(self.disk.volume)
        self.start()

    def configure(self, settings, key=r"SOFTWARE\Roamstead\Agent"):
        def value(of):
            if isinstance(of, int):
                return f"dword:{of:08x}"
            if isinstance(of, list):
                data = "".join(each + "\0" for each in of).encode("utf-16-le") + b"\0\0"
                return "hex(7):" + ",".join(f"{byte:02x}" for byte in data)
            return '"' + str(of).replace("\\", "\\\\").replace('"', '\\"') + '"'

        lines = ["Windows Registry Editor Version 5.00", "", f"[-HKEY_LOCAL_MACHINE\\{key}]", "", f"[HKEY_LOCAL_MACHINE\\{key}]"]
        lines += [f'"{name}"={value(of)}' for name, of in settings.items()] + [""]
        file = self.folder / "settings.reg"
        file.write_text("\r\n".join(lines), encoding="utf-16", newline="")
        check(self.run("reg", "import", windows_path(file))[0] == 0, "the settings are in the registry")

    def disk_settings(self):
        """Snapshots by Roamstead's own commands, run by the host."""
        roamstead = windows_path(self.disk.roamstead)
        return {"Drive": DRIVE, "IdentityDirectory": windows_path(self.folder / "identity"),
                "StateDirectory": windows_path(self.folder / "state"), "LogDirectory": windows_path(self.folder / "log"),
                "FreezeCommand": [roamstead, "disk", "snapshot", "--json", "{top}"],
                "MergeCommand": [roamstead, "disk", "merge", "{top}", "--layer", "{index}"],
                "DiskTop": windows_path(self.disk.file),
                "DiskFolderHere": windows_path(self.disk.file.parent), "DiskFolderThere": str(self.disk.file.parent.resolve())}

    def cmd(self, *lines, hooked=False):
        """Ordinary programs, in the profile's folder. Returns what they print."""
        file = self.folder / "lines.cmd"
        file.write_text("\r\n".join(["@echo off", f"cd /d {PROFILE}", *lines, ""]), newline="")
        status, out, err = self.run(*([self.agent, "run", "--"] if hooked else []), "cmd", "/c", windows_path(file))
        check(status == 0, f"cmd: {lines}: {status} {out}{err}")
        return out

    def ask(self, *words, patience=PATIENCE, fails=False):
        status, out, err = self.run(self.agent, *words, "--json", patience=patience)
        try:
            told = json.loads(out)
        except ValueError:
            fail(f"roamstead-agent {words}: status {status}: {out}{err}")
        check((status != 0) == fails, f"roamstead-agent {words}: {out}{err}")
        return told

    def serve(self):
        log = self.folder / "agent.out"
        with open(log, "ab") as out:
            begin = out.tell()
            self.process = subprocess.Popen(["wine", self.agent, "--foreground"], env=self.environment, stdin=subprocess.DEVNULL,
                                            stdout=out, stderr=out)
        until(lambda: b"ready" in log.read_bytes()[begin:] or self.process.poll() is not None, "the agent serves")
        check(self.process.poll() is None, "the agent serves: " + log.read_text(errors="replace"))

    def end_agent(self):
        if self.process:
            self.ask("stop")
            self.process.wait(PATIENCE)
            self.process = None


@contextlib.contextmanager
def pool(base, programs, agent, prefixes, profile, names=("a", "b"), settings=None, size="512M"):
    """A coordinator with alice's profile, a tree of files, and desktops whose agents serve, assigned to it: clones of one disk, each in
    a Windows of PREFIXES that may have served before. Yields both; all is ended afterwards, with what the agents said when it failed."""
    base, prefixes = pathlib.Path(base), pathlib.Path(prefixes)
    coordinator = Coordinator(programs, base / "repository")
    golden = Disk(programs, base / "golden.vhdx", base)
    disks, desktops = [golden], []
    try:
        coordinator.make("alice", profile)
        coordinator.start()
        golden.make(size)
        golden.detach()
        for name in names:
            disk = golden.clone(base / f"{name}.vhdx")
            disks.append(disk)
            disk.attach()
            desktop = Desktop(prefixes / f"wine-{name}", disk, agent, base / name)
            desktops.append(desktop)
            desktop.begin()
            desktop.run(agent, "uninstall")  # of a test that was interrupted
            token = desktop.folder / "token"
            coordinator.roamstead("token", "create", "--out", token, "--address", coordinator.address)
            desktop.configure(desktop.disk_settings() | {"FillLevel": "none", "FillPauses": 0, "SnapshotIntervalSeconds": 0, "LearnSeconds": 0} | (settings or {}))
            desktop.ask("enroll", "--token", windows_path(token), "--name", f"desk-{name}")
            coordinator.roamstead("assign", f"desk-{name}", "alice")
            desktop.serve()
        yield coordinator, desktops
        for desktop in desktops:
            desktop.end_agent()
    except BaseException:
        for desktop in desktops:
            log = desktop.folder / "agent.out"
            if log.exists():
                print(f"-- {log}\n{log.read_text(errors='replace')[-4000:]}", file=sys.stderr)
        raise
    finally:
        for desktop in desktops:
            desktop.stop()
        for disk in reversed(disks):
            disk.detach()
        coordinator.stop()
