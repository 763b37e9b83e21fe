"""Stands for systemd in a chroot, where it cannot run: manager.py ROOT

Holds the socket and runs the service of the coordinator's units as systemd would, as far as the packages' scripts can
tell: what `systemctl` in the chroot is asked comes through a pipe (ROOT/run/manager/request) and is answered in another
with an exit code and a line. What it was asked is kept in ROOT/run/manager/log.
"""
import configparser
import fcntl
import os
import signal
import socket
import struct
import sys

root = sys.argv[1]
NAME = "roamstead-coordinator"
place = root + "/run/manager"


def unit(kind):
    parser = configparser.RawConfigParser(strict=False)
    parser.optionxform = str
    parser.read(f"{root}/lib/systemd/system/{NAME}.{kind}")
    return parser


def bring_up_loopback():
    request = struct.pack("16sh", b"lo", 0x1 | 0x40)  # IFF_UP, IFF_RUNNING
    with socket.socket() as any_socket:
        fcntl.ioctl(any_socket, 0x8914, request)  # SIOCSIFFLAGS


class Manager:
    def __init__(self):
        self.listener = None
        self.process = 0

    def condition(self, kind):
        return os.path.exists(root + unit(kind)["Unit"]["ConditionPathExists"])

    def start_socket(self):
        if self.listener or not self.condition("socket"):
            return
        port = int(unit("socket")["Socket"]["ListenStream"])
        self.listener = socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=128)

    def stop_socket(self):
        if self.listener:
            self.listener.close()
        self.listener = None

    def start_service(self):
        if self.process or not self.condition("service"):
            return
        self.start_socket()
        with open(root + "/etc/passwd") as users:
            entry = next(line.split(":") for line in users if line.startswith(unit("service")["Service"]["User"] + ":"))
        notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        path = place + "/notify"
        if os.path.exists(path):
            os.unlink(path)
        notify.bind(path)
        os.chmod(path, 0o666)
        command = unit("service")["Service"]["ExecStart"].split()
        self.process = os.fork()
        if self.process == 0:
            log = os.open(place + "/service.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            os.dup2(log, 1)
            os.dup2(log, 2)
            os.dup2(self.listener.fileno(), 3)
            os.set_inheritable(3, True)  # also where it was 3 already
            os.chroot(root)
            os.chdir("/")
            os.setgroups([])
            os.setgid(int(entry[3]))
            os.setuid(int(entry[2]))
            os.execve(command[0], command, {"NOTIFY_SOCKET": "/run/manager/notify", "LISTEN_FDS": "1",
                                            "LISTEN_PID": str(os.getpid())})
        notify.settimeout(30)
        while b"READY=1" not in notify.recv(4096):
            pass
        notify.close()

    def stop_service(self):
        if self.process:
            os.kill(self.process, signal.SIGTERM)
            status = os.waitstatus_to_exitcode(os.waitpid(self.process, 0)[1])
            self.process = 0
            if status != 0:
                raise RuntimeError(f"the service ended with {status}")

    def do(self, words):
        verb = next((word for word in words if not word.startswith("-")), "")
        units = [word for word in words if word.startswith(NAME + ".")]
        if verb == "is-active":
            active = self.process if units[0].endswith("service") else self.listener
            return 0 if active else 3, ""
        for each in units:
            service = each.endswith("service")
            if verb in ("stop", "restart"):
                self.stop_service() if service else self.stop_socket()
            if verb in ("start", "restart"):
                self.start_service() if service else self.start_socket()
        return 0, ""


bring_up_loopback()
os.makedirs(place, exist_ok=True)
os.chmod(place, 0o755)
for pipe in ("request", "answer"):
    os.mkfifo(f"{place}/{pipe}")
manager = Manager()
while True:
    with open(place + "/request") as request:
        words = request.read().split()
    try:
        code, text = manager.do(words)
    except Exception as error:  # told to the script that asked
        said = open(place + "/service.log").read().split("\n") if os.path.exists(place + "/service.log") else []
        code, text = 1, repr(error) + ": " + " | ".join(said)
    with open(place + "/log", "a") as log:
        log.write(" ".join(words) + f" -> {code} {text}\n")
    with open(place + "/answer", "w") as answer:
        answer.write(f"{code} {text}\n")
