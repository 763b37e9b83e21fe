"""Our side of tests/timing/run: a coordinator, a repository, desktops on disks of their own."""
import json
import os
import signal
import socket
import time

import work


class Ours:
    """Clones of an empty golden disk: whatever a desktop reads comes from the coordinator."""

    def __init__(self, processes, programs, root, source):
        self.processes, self.root = processes, root
        self.program = lambda name: os.path.join(programs, name)
        for name in ("roamstead", "roamstead-coordinator", "roamstead-desktops"):
            if not os.path.exists(self.program(name)):
                raise work.Absent(f"{self.program(name)} is not built (cmake --build --preset release)")
        work.need("ntfs-3g", "mkntfs", "fusermount3")
        self.repository = os.path.join(root, "repository")
        os.makedirs(root)
        self.golden = os.path.join(root, "golden.vhdx")
        self.roamstead("disk", "create", self.golden, "--size", "4G", "--partition", "System")
        disk = os.path.join(root, "golden-disk")
        os.makedirs(disk)
        self.roamstead("disk", "mount", "--write-back", self.golden, disk)
        processes.run("golden", ["mkntfs", "-Q", "-F", "-q", "-p", "2048", "-s", "512", "-S", "63", "-H", "255", f"{disk}/p1.raw"])
        work.unmount(disk)
        time.sleep(0.2)
        os.chmod(self.golden, 0o444)
        self.roamstead("repo", "init", self.repository)
        start = time.monotonic()
        self.roamstead("profile", "import", "--repo", self.repository, "alice", source)
        self.import_seconds = time.monotonic() - start
        # The same, for log-ins of which nothing is ever learned.
        self.roamstead("profile", "import", "--repo", self.repository, "bob", source)
        self.coordinator = processes.start("coordinator", [
            self.program("roamstead-coordinator"), "--repo", self.repository, "--listen", "127.0.0.1:0", "--foreground"])
        listen = os.path.join(self.repository, "state", "listen")
        if not work.wait_until(lambda: os.path.exists(listen) and os.path.getsize(listen) > 0):
            raise RuntimeError(f"the coordinator did not start; see {processes.work}/coordinator.log")
        with open(listen) as file:
            self.address = file.read().strip()
        self.desks = 0

    def roamstead(self, *arguments):
        return self.processes.run("roamstead", [self.program("roamstead"), *arguments])

    def new_desk(self, profile="alice"):
        self.desks += 1
        return Desk(self, f"desk-{self.desks}", profile)


class Desk:
    def __init__(self, ours, name, profile):
        self.ours, self.name, self.profile = ours, name, profile
        self.root = os.path.join(ours.root, name)
        self.at = lambda part: os.path.join(self.root, part)
        for part in ("disk", "volume", "home", "state"):
            os.makedirs(self.at(part))
        self.disk = self.at("disk.vhdx")
        ours.roamstead("disk", "create", self.disk, "--parent", ours.golden)
        ours.roamstead("desktop", "enroll", "--repo", ours.repository, name, "--out", self.at("identity"))
        ours.roamstead("assign", "--repo", ours.repository, name, profile)
        ours.roamstead("disk", "mount", "--write-back", self.disk, self.at("disk"))
        ours.processes.run("ntfs-3g", ["ntfs-3g", "-o", "streams_interface=windows,big_writes,noatime",
                                       self.at("disk/p1.raw"), self.at("volume")])
        self.home = self.at("home")

    def desktops(self, verb, *arguments):
        return json.loads(self.ours.processes.run(self.name, [self.ours.program("roamstead-desktops"), verb, "--state", self.at("state"),
                                                              "--json", *arguments]))

    def stand_by(self, *options):
        """What the service of a desktop does at boot, before anybody logs in."""
        return self.desktops("run", "--standby", "--profile", self.profile, "--identity", self.at("identity"), "--coordinator", self.ours.address,
                             "--disk", self.disk, "--volume", self.at("volume"), "--profile-root", "Users/alice",
                             "--mount", self.home, *options)

    def tell(self, op, **request):
        """What tells a desktop's service of log-on and log-off: a message, not a program that is started."""
        with socket.socket(socket.AF_UNIX) as control:
            control.connect(self.at("state/control"))
            control.sendall(json.dumps(dict(request, op=op)).encode() + b"\n")
            line = b""
            while not line.endswith(b"\n"):
                part = control.recv(65536)
                if not part:
                    raise RuntimeError(f"{op}: the desktop closed the connection; see {self.at('state/desktop.log')}")
                line += part
        reply = json.loads(line)
        if isinstance(reply.get("error"), dict):
            raise RuntimeError(f"{op}: {reply['error']['message']}")
        return reply

    def log_in(self):
        return self.tell("login")

    def status(self):
        return self.tell("status")

    def snapshot(self):
        """As at an interval, when what was looked at is on the volume; returns when it is committed."""
        if not work.wait_until(lambda: self.status()["to_settle"] == 0, seconds=120, every=0.1):
            raise RuntimeError(f"what was shown does not come to the volume; see {self.at('state/desktop.log')}")
        return self.tell("snapshot", wait=True)

    def log_out(self):
        """Seconds until everything is committed, the session closed and the desktop free for another; and what it reports."""
        start = time.monotonic()
        report = self.tell("logout")
        if not work.wait_until(lambda: not os.path.exists(self.at("state/control")), every=0.001):
            raise RuntimeError(f"the desktop does not end; see {self.at('state/desktop.log')}")
        return time.monotonic() - start, report

    def remove(self):
        self.kill()
        for part in ("home", "volume", "disk"):
            work.unmount(self.at(part))
        os.remove(self.disk)

    def kill(self):
        """The desktop's process, where a run that failed left it."""
        try:
            with open(self.at("state/pid")) as file:
                pid = int(file.read())
            with open(f"/proc/{pid}/cmdline", "rb") as file:
                if os.fsencode(self.root) in file.read():
                    os.kill(pid, signal.SIGKILL)
        except (OSError, ValueError):
            pass  # it logged out, as it should
