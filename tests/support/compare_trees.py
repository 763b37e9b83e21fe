#!/usr/bin/env python3
"""Compares two directory trees on NTFS mounts as profiles: names, kinds, sizes, bytes, alternate streams, attributes,
creation and write times at 100 ns, security descriptors. Prints every difference; exit 1 when there is any. Registry
hives are left out: two files with the same keys may differ in every byte (`roamstead hive diff` compares them).

  compare_trees.py A B [--content-only] [--json]
"""
import argparse
import hashlib
import json
import os
import struct
import sys

ROAMING = 0x1 | 0x2 | 0x4 | 0x20 | 0x2000  # read-only, hidden, system, archive, not indexed


def xattr(path, name):
    try:
        return os.getxattr(path, name, follow_symlinks=False)
    except OSError:
        return None


def digest(path):
    value = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            value.update(block)
    return value.hexdigest()


def describe(path, content_only):
    status = os.lstat(path)
    facts = {"kind": "directory" if os.path.isdir(path) and not os.path.islink(path) else
                     "link" if os.path.islink(path) else "file"}
    if facts["kind"] == "file":
        facts["size"] = status.st_size
        facts["content"] = digest(path)
    if facts["kind"] == "link":
        facts["target"] = os.readlink(path)
    if content_only:
        return facts
    attributes = xattr(path, "system.ntfs_attrib")
    if attributes:
        facts["attributes"] = struct.unpack("<I", attributes)[0] & ROAMING
    times = xattr(path, "system.ntfs_times")  # created, written, read, changed
    if times:
        facts["created"], written = struct.unpack("<QQ", times[:16])
        if facts["kind"] == "file":  # a directory's write time follows its children's arrival
            facts["written"] = written
    security = xattr(path, "system.ntfs_acl")
    if security:
        facts["security"] = hashlib.sha256(security).hexdigest()
    names = xattr(path, "ntfs.streams.list")
    if names:
        for name in sorted(filter(None, names.decode().split("\0"))):
            facts[f"stream {name}"] = digest(f"{path}:{name}")
    return facts


def walk(root):
    found = set()
    for folder, folders, files in os.walk(root):
        for name in folders + files:
            if name.upper().startswith(("NTUSER.DAT", "USRCLASS.DAT")):
                continue
            found.add(os.path.relpath(os.path.join(folder, name), root))
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("a")
    parser.add_argument("b")
    parser.add_argument("--content-only", action="store_true", help="names, kinds, sizes and bytes")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    left, right = walk(arguments.a), walk(arguments.b)
    differences = [f"only in {arguments.a}: {path}" for path in sorted(left - right)]
    differences += [f"only in {arguments.b}: {path}" for path in sorted(right - left)]
    size = streams = 0
    for path in sorted(left & right):
        one = describe(os.path.join(arguments.a, path), arguments.content_only)
        two = describe(os.path.join(arguments.b, path), arguments.content_only)
        size += one.get("size", 0)
        streams += sum(1 for key in one if key.startswith("stream "))
        for key in sorted(set(one) | set(two)):
            if one.get(key) != two.get(key):
                differences.append(f"{path}: {key}: {one.get(key)} / {two.get(key)}")
    if arguments.json:
        print(json.dumps({"entries": len(left | right), "bytes": size, "streams": streams, "differences": differences}))
    else:
        print(f"{len(left | right)} entries, {size} bytes, {streams} streams, {len(differences)} differences")
        for line in differences[:50]:
            print("  " + line)
    return 1 if differences else 0


if __name__ == "__main__":
    sys.exit(main())
