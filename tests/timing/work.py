"""What tests/timing/run measures with: a profile by seed, a session of programs, pages that differ, processes."""
import contextlib
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

PAGE = 4096
SESSION_SHARE = 0.015  # of the files, changed in one session


class Absent(Exception):
    """A peer that cannot run here; says why."""


def find_files(root):
    """Sizes by path, in the paths' order."""
    found = {}
    for folder, _, names in os.walk(root):
        for name in names:
            path = os.path.join(folder, name)
            found[os.path.relpath(path, root)] = os.path.getsize(path)
    return dict(sorted(found.items()))


def session(root, sizes, seed):
    """What programs do in one session: of 100 files that it changes, 50 are rewritten (settings), 25 appended to (logs), 15
    edited in place (databases), 10 are new. `sizes`: of the files there were at first, by path; others are not looked at.
    Paths changed, new ones too."""
    rnd = random.Random(f"session/{seed}")
    count = max(20, int(len(sizes) * SESSION_SHARE))
    small, large = [], []
    for path, size in sizes.items():
        (large if size > 16 * PAGE else small).append(path)
    edits, others = count * 15 // 100, count * 75 // 100
    changed = rnd.sample(large, min(edits, len(large)))
    for path in changed:
        with open(os.path.join(root, path), "r+b") as file:
            pages = os.path.getsize(file.name) // PAGE
            for _ in range(6):
                file.seek(rnd.randrange(pages) * PAGE)
                file.write(rnd.randbytes(PAGE // 3) + bytes(PAGE // 3) + b"row " * (PAGE // 12))
    for number, path in enumerate(rnd.sample(small, others)):
        full = os.path.join(root, path)
        changed.append(path)
        if number % 3 == 0:
            with open(full, "ab") as file:
                file.write("".join(f"{rnd.getrandbits(40)} entry {rnd.randrange(100)}\n" for _ in range(60)).encode())
            continue
        with open(full, "rb") as file:
            data = bytearray(file.read())
        at = rnd.randrange(len(data) + 1)
        data[at:at + 30] = f'"value": {rnd.getrandbits(64)}'.encode()
        with open(full, "wb") as file:
            file.write(data)
    for number in range(count - len(changed)):
        path = f"AppData/Roaming/Contoso/new {seed} {number}.json"
        os.makedirs(os.path.dirname(os.path.join(root, path)), exist_ok=True)
        with open(os.path.join(root, path), "wb") as file:
            file.write("".join(f'"{rnd.getrandbits(32)}": {rnd.getrandbits(24)},\n' for _ in range(200)).encode())
        changed.append(path)
    return changed


def differing_pages(before, after, paths):
    """The 4 KiB pages of `paths` below `after` that are not the same below `before`, one after the other."""
    pages = bytearray()
    for path in paths:
        with open(os.path.join(after, path), "rb") as file:
            new = file.read()
        old = b""
        if os.path.exists(os.path.join(before, path)):
            with open(os.path.join(before, path), "rb") as file:
                old = file.read()
        for at in range(0, len(new), PAGE):
            if new[at:at + PAGE] != old[at:at + PAGE]:
                pages += new[at:at + PAGE]
    return bytes(pages)


def compressed_bytes(data):
    return len(subprocess.run(["zstd", "-3", "-c", "-q"], input=data, stdout=subprocess.PIPE, check=True).stdout)


def read_all(root, paths):
    """Seconds that a program that knows nothing takes to read the files: cat."""
    names = b"\0".join(os.fsencode(path) for path in paths)
    start = time.monotonic()
    subprocess.run(["xargs", "-0", "cat"], input=names, cwd=root, stdout=subprocess.DEVNULL, check=True)
    return time.monotonic() - start


def list_and_first_byte(root, path):
    """The first ls and the first byte of a file, by programs that know nothing."""
    subprocess.run(["ls", root], stdout=subprocess.DEVNULL, check=True)
    subprocess.run(["head", "-c", "1", os.path.join(root, path)], stdout=subprocess.DEVNULL, check=True)


def drop_caches():
    """Of what is compared nothing is in the kernel's caches; the programs that look at it (ls, head, cat) are. False where that
    is not allowed."""
    os.sync()
    dropped = drop_kernel_caches()
    with tempfile.TemporaryDirectory() as other:
        with open(os.path.join(other, "file"), "w") as file:
            file.write("x")
        list_and_first_byte(other, "file")
        read_all(other, ["file"])
    return dropped


def drop_kernel_caches():
    try:
        with open("/proc/sys/vm/drop_caches", "w") as file:
            file.write("3\n")
    except OSError:
        return False
    return True


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def wait_until(condition, seconds=30, every=0.002):
    limit = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > limit:
            return False
        time.sleep(every)
    return True


def listens(port):
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


def need(*programs):
    """Paths of the programs; Absent where one is not there."""
    found = []
    for program in programs:
        path = shutil.which(program, path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")
        if path is None:
            raise Absent(f"{program} is not installed (packaging/setup --timing)")
        found.append(path)
    return found


def unmount(path):
    for _ in range(100):
        if not os.path.ismount(path):
            return
        if subprocess.run(["fusermount3", "-u", path], stderr=subprocess.DEVNULL).returncode == 0:
            return
        time.sleep(0.05)
    subprocess.run(["fusermount3", "-uz", path], stderr=subprocess.DEVNULL)


class Processes:
    """Everything started here is ended by its number; what went wrong is in its log."""

    def __init__(self, work):
        self.work = work
        self.running = []

    def start(self, name, command, **options):
        with open(os.path.join(self.work, name + ".log"), "ab") as log:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, **options)
        self.running.append(process)
        return process

    def serve(self, name, command, port, **options):
        """A server; returns when it takes connections."""
        process = self.start(name, command, **options)
        if not wait_until(lambda: process.poll() is not None or listens(port)) or process.poll() is not None:
            raise Absent(f"{name} did not start; see {self.work}/{name}.log")
        return process

    def run(self, name, command, **options):
        """Waits for it. Its output."""
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options)
        with open(os.path.join(self.work, name + ".log"), "ab") as log:
            log.write(done.stderr)
        if done.returncode != 0:
            sys.stderr.write(done.stderr.decode(errors="replace")[-2000:])
            raise RuntimeError(f"{command[0]} failed ({done.returncode}); see {self.work}/{name}.log")
        return done.stdout.decode()

    def end(self, process):
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
                process.wait()
        if process in self.running:
            self.running.remove(process)

    def end_all(self):
        for process in reversed(list(self.running)):
            self.end(process)
