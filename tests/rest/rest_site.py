"""A coordinator with a repository of its own on loopback, and administrators' certificates for it."""
import os
import shutil
import subprocess
import tempfile
import time


class Site:
    def __init__(self, roamstead, coordinator):
        self.roamstead, self.program = roamstead, coordinator
        self.folder = tempfile.mkdtemp()
        self.repository = self.folder + "/repository"
        self.state = self.folder + "/state"
        self.process = None
        try:
            self.run("repo", "init")
            os.mkdir(self.folder + "/source")
            with open(self.folder + "/source/a.txt", "w") as file:
                file.write("first")
            self.run("profile", "import", "alice", self.folder + "/source")
            for desktop in ("desk-a", "desk-b"):
                self.run("desktop", "enroll", desktop, "--out", self.folder + "/" + desktop)
            for role in ("viewer", "operator", "administrator"):
                self.run("admin-certificate", "create", "the-" + role, "--role", role, "--out", self.identity(role))
            self.start()
        except BaseException:
            self.close()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *ignored):
        self.close()

    def close(self):
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def identity(self, name):
        return self.folder + "/identity-" + name

    def run(self, *words):
        """A verb of the command line; what it prints."""
        words = [self.roamstead, *words, "--repo", self.repository, "--state", self.state]
        done = subprocess.run(words, capture_output=True, text=True)
        assert done.returncode == 0, f"{words}: {done.stderr}"
        return done.stdout

    def start(self):
        if os.path.exists(self.state + "/rest-listen"):
            os.remove(self.state + "/rest-listen")
        self.log = open(self.folder + "/log", "a")
        self.process = subprocess.Popen(
            [self.program, "--repo", self.repository, "--state", self.state, "--listen", "127.0.0.1:0",
             "--set", "rest.listen=127.0.0.1:0", "--set", "rest.connections_per_client=12", "--set", "rest.idle_timeout=20s"],
            stdout=subprocess.PIPE, stderr=self.log, text=True)
        ready = self.process.stdout.readline()
        assert ready.startswith("ready "), open(self.folder + "/log").read()
        with open(self.state + "/rest-listen") as file:
            host, _, port = file.read().strip().rpartition(":")
        self.address = (host, int(port))

    def kill(self, number=9):
        if self.process is None:
            return
        self.process.send_signal(number)
        self.process.wait(30)
        self.process.stdout.close()
        self.log.close()
        self.process = None


def wait_until(condition, what, seconds=20):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "in vain: " + what
        time.sleep(0.05)
