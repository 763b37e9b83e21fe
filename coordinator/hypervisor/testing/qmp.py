#!/usr/bin/python3
"""Asks a QEMU for something over QMP, as an administrator's own commands would.

qmp.py SOCKET state | quit | chain | freeze TOP | io COMMAND
"""
import json
import os
import socket
import sys
import time

path, what, *rest = sys.argv[1:]
if what == "state" and not os.path.exists(path):
    print("off")
    sys.exit()
try:
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(20)
    connection.connect(path)
except OSError as error:
    if what == "state":
        print("off")
        sys.exit()
    sys.exit(f"no QEMU at {path}: {error}")
stream = connection.makefile("rw")
json.loads(stream.readline())


def ask(command, **arguments):
    stream.write(json.dumps({"execute": command, "arguments": arguments}) + "\n")
    stream.flush()
    while True:
        line = stream.readline()
        if not line:
            return None
        answer = json.loads(line)
        if "error" in answer:
            sys.exit(answer["error"]["desc"])
        if "return" in answer:
            return answer["return"]


def chain():
    (drive,) = [each for each in ask("query-block") if each["device"] == "system"]
    image = drive["inserted"]["image"]
    while image:
        yield image["filename"]
        image = image.get("backing-image")


ask("qmp_capabilities")
if what == "state":
    ask("query-status")
    print("running")
elif what == "quit":
    ask("quit")
    for _ in range(1000):
        if not os.path.exists(path):
            break
        time.sleep(0.01)
elif what == "chain":
    print("\n".join(chain()))
elif what == "freeze":
    frozen = next(chain())
    ask("blockdev-snapshot-sync", device="system", **{"snapshot-file": rest[0], "format": "qcow2"})
    print(frozen)
elif what == "io":
    print(ask("human-monitor-command", **{"command-line": f'qemu-io system "{rest[0]}"'}))
