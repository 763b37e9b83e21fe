"""What tests/timing/run compares us with, each as its documents say, on loopback, with keys and configuration of its own."""
import getpass
import os
import re
import shutil
import subprocess
import time

import work


class Mount:
    """A read-only or lazy mount: `usable` and `read` are timed."""

    def __init__(self, processes, root):
        self.processes, self.root = processes, root
        self.mount_point = os.path.join(root, "mount")
        os.makedirs(self.mount_point)
        self.home = self.mount_point
        self.process = None

    def start(self, command, environment=None):
        """Returns when the mount is there."""
        self.process = self.processes.start(self.name, command, env=environment)
        if not work.wait_until(lambda: os.path.ismount(self.mount_point) or self.process.poll() is not None, every=0.001):
            raise RuntimeError(f"{self.name} did not mount; see its log")
        if self.process.poll() is not None:
            raise RuntimeError(f"{self.name} ended; see {self.processes.work}/{self.name}.log")

    def stop(self):
        work.unmount(self.mount_point)
        if self.process is not None:
            self.processes.end(self.process)


class Rclone(Mount):
    name = "rclone"

    def __init__(self, processes, root, source):
        rclone, sshd, keygen = work.need("rclone", "sshd", "ssh-keygen")
        super().__init__(processes, root)
        for key in ("host", "user"):
            processes.run("ssh-keygen", [keygen, "-q", "-t", "ed25519", "-N", "", "-f", f"{root}/{key}"])
        shutil.copy(f"{root}/user.pub", f"{root}/authorized")
        self.port = work.free_port()
        with open(f"{root}/host.pub") as host, open(f"{root}/known", "w") as known:
            known.write(f"[127.0.0.1]:{self.port} " + " ".join(host.read().split()[:2]) + "\n")
        with open(f"{root}/sshd.conf", "w") as file:
            file.write(f"ListenAddress 127.0.0.1\nPort {self.port}\nHostKey {root}/host\nAuthorizedKeysFile {root}/authorized\n"
                       f"PidFile {root}/sshd.pid\nStrictModes no\nUsePAM no\nPasswordAuthentication no\n"
                       "PermitRootLogin prohibit-password\nSubsystem sftp internal-sftp\n")
        if os.geteuid() == 0:
            os.makedirs("/run/sshd", mode=0o755, exist_ok=True)  # sshd's fixed place for separating privileges
        processes.serve("sshd", [sshd, "-D", "-e", "-f", f"{root}/sshd.conf"], self.port)
        self.command = [rclone, "mount", f":sftp,host=127.0.0.1,port={self.port},user={getpass.getuser()},"
                        f"key_file={root}/user,known_hosts_file={root}/known,shell_type=none:{source}", self.mount_point,
                        "--config", f"{root}/rclone.conf", "--cache-dir", f"{root}/cache", "--vfs-cache-mode", "full",
                        "--vfs-fast-fingerprint"]  # and no shell: without both it asks for a hash of every file
        open(f"{root}/rclone.conf", "w").close()

    def mount(self):
        shutil.rmtree(f"{self.root}/cache", ignore_errors=True)
        self.start(self.command)


class Restic(Mount):
    name = "restic"

    def __init__(self, processes, root, source):
        restic, rclone = work.need("restic", "rclone")
        super().__init__(processes, root)
        self.environment = dict(os.environ, RESTIC_PASSWORD="timing", RESTIC_CACHE_DIR=f"{root}/cache")
        port = work.free_port()
        open(f"{root}/rclone.conf", "w").close()
        processes.serve("restic-rest", [rclone, "serve", "restic", "--config", f"{root}/rclone.conf", "--addr", f"127.0.0.1:{port}",
                                        f"{root}/repository"], port)
        self.base = [restic, "-r", f"rest:http://127.0.0.1:{port}/"]
        processes.run("restic", [*self.base, "init"], env=self.environment)
        processes.run("restic", [*self.base, "backup", "."], cwd=source, env=self.environment)
        self.home = os.path.join(self.mount_point, "snapshots", "latest")

    def mount(self):
        shutil.rmtree(f"{self.root}/cache", ignore_errors=True)
        self.start([*self.base, "mount", self.mount_point], self.environment)


class Borg(Mount):
    name = "borg"

    def __init__(self, processes, root, source):
        (self.borg,) = work.need("borg")
        super().__init__(processes, root)
        self.environment = dict(os.environ, BORG_BASE_DIR=f"{root}/base", BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK="yes",
                                BORG_PASSPHRASE="timing", BORG_RELOCATED_REPO_ACCESS_IS_OK="yes")
        self.repository = f"{root}/repository"
        processes.run("borg", [self.borg, "init", "-e", "repokey-blake2", self.repository], env=self.environment)
        processes.run("borg", [self.borg, "create", f"{self.repository}::profile", "."], cwd=source, env=self.environment)

    def mount(self):
        self.start([self.borg, "mount", "-f", f"{self.repository}::profile", self.mount_point], self.environment)


class Rsync:
    """A full copy at log-in, and back at log-out, as roaming profiles are: its log-out is what is compared."""
    name = "rsync"

    def __init__(self, processes, root, source):
        (self.rsync,) = work.need("rsync")
        self.processes, self.root = processes, root
        self.server, self.local = os.path.join(root, "server"), os.path.join(root, "local")
        os.makedirs(root)
        shutil.copytree(source, self.server)
        port = work.free_port()
        with open(f"{root}/rsyncd.conf", "w") as file:
            file.write(f"use chroot = no\npid file = {root}/rsyncd.pid\n[profile]\npath = {self.server}\nread only = no\n"
                       f"uid = {os.geteuid()}\ngid = {os.getegid()}\n")
        processes.serve("rsyncd", [self.rsync, "--daemon", "--no-detach", "--config", f"{root}/rsyncd.conf", "--address", "127.0.0.1",
                                   "--port", str(port)], port)
        self.url = f"rsync://127.0.0.1:{port}/profile/"

    def log_in(self):
        """Seconds of the first copy."""
        shutil.rmtree(self.local, ignore_errors=True)
        start = time.monotonic()
        self.processes.run("rsync", [self.rsync, "-a", self.url, self.local + "/"])
        return time.monotonic() - start

    def log_out(self):
        """Seconds, and bytes sent."""
        start = time.monotonic()
        output = self.processes.run("rsync", [self.rsync, "-az", "--delete", "--stats", self.local + "/", self.url])
        seconds = time.monotonic() - start
        sent = re.search(r"Total bytes sent: ([\d,.]+)", output)
        return seconds, int(re.sub(r"\D", "", sent.group(1))) if sent else 0


MOUNTS = (Rclone, Restic, Borg)
