#!/usr/bin/env python3
"""Makes a registry hive for the demo where no real one is at hand.

  make_hive.py empty FILE            a hive with nothing but a root key
  make_hive.py reg [--vendors N]     .reg text of a user's settings below HKEY_CURRENT_USER, for `roamstead hive import`

Layout after the published "Windows registry file format specification"; everything in the text follows from N.
"""
import argparse
import struct
import sys

TIME = 133_000_000_000_000_000
NONE = 0xFFFFFFFF


def cell(content, used=True):
    size = (len(content) + 4 + 7) // 8 * 8
    return struct.pack("<i", -size if used else size) + content.ljust(size - 4, b"\0")


def empty_hive():
    descriptor = struct.pack("<BBHIIII", 1, 0, 0x8000, 0, 0, 0, 0)  # self-relative, nothing in it
    name = b"ROOT"
    root_at = 32
    key = lambda security: (struct.pack("<2sHQI", b"nk", 0x2C, TIME, 0) +
                            struct.pack("<11I", NONE, 0, 0, NONE, NONE, 0, NONE, security, NONE, 0, 0) +
                            struct.pack("<IIIHH", 0, 0, 0, len(name), 0) + name)
    security_at = root_at + len(cell(key(0)))
    security = struct.pack("<2sHIIII", b"sk", 0, security_at, security_at, 1, len(descriptor)) + descriptor
    cells = cell(key(security_at)) + cell(security)
    hbin = struct.pack("<4sIIQQI", b"hbin", 0, 4096, 0, TIME, 0) + cells
    hbin += cell(b"\0" * (4096 - len(hbin) - 4), used=False)
    base = struct.pack("<4sIIQIIIIIII", b"regf", 1, 1, TIME, 1, 5, 0, 1, root_at, len(hbin), 1).ljust(508, b"\0")
    checksum = 0
    for (word,) in struct.iter_unpack("<I", base):
        checksum ^= word
    return (base + struct.pack("<I", checksum)).ljust(4096, b"\0") + hbin


def reg_text(vendors):
    lines = ["Windows Registry Editor Version 5.00"]

    def key(path, values):
        lines.extend(["", f"[HKEY_CURRENT_USER\\{path}]"] + values)

    key("Control Panel\\Desktop", ['"Wallpaper"="C:\\\\Windows\\\\web\\\\wallpaper.jpg"', '"FontSmoothing"="2"'])
    key("Control Panel\\Cursors", ['@="Windows Standard"', '"Arrow"="arrow.cur"'])
    key("Environment", ['"TEMP"=hex(2):' + ",".join(f"{b:02x}" for b in "%USERPROFILE%\\Temp\0".encode("utf-16-le"))])
    for vendor in range(vendors):
        for program in range(40):
            path = f"Software\\Vendor {vendor}\\Program {program}"
            key(path, [f'"Version"=dword:{vendor * 1000 + program:08x}', '"Größe"="groß"'])
            blob = ",".join(f"{(vendor * 7 + program * 13 + i) % 256:02x}" for i in range(6000 if program % 10 == 9 else 40 + program * 5))
            key(path + "\\Settings\\Последние", [f'"State"=hex:{blob}'])
    return "\r\n".join(lines) + "\r\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    verbs.add_parser("empty").add_argument("file")
    verbs.add_parser("reg").add_argument("--vendors", type=int, default=20)
    arguments = parser.parse_args()
    if arguments.verb == "empty":
        with open(arguments.file, "wb") as file:
            file.write(empty_hive())
    else:
        sys.stdout.buffer.write(reg_text(arguments.vendors).encode())


if __name__ == "__main__":
    sys.exit(main())
