#!/usr/bin/env python3
"""Makes and changes a synthetic Windows user profile; everything follows from the seed.

  make_profile.py create DIR --files 5000 --bytes 200M [--seed 1]
  make_profile.py session DIR --part 1|2 [--seed 1]     what programs do in a session, in place; JSON summary
  make_profile.py reads DIR [--count 300] [--seed 1]    paths that a log-in and its first minutes read

Names, depth and sizes follow what real profiles show: half of the files are browser and application caches, the median
is some 3 KB, a few databases and mail stores hold most bytes, and names come in many languages. Streams are written as
"file:stream", so DIR must lie on an NTFS mount with streams_interface=windows for --streams.
"""
import argparse
import json
import math
import os
import random
import struct
import sys

EPOCH = 1_780_000_000
WORDS = ("invoice report minutes budget offer plan draft order summary review contract agenda notes survey "
         "Übersicht Rechnung Angebot Straße Größe Prüfung café résumé señor año informe "
         "отчёт договор план 報告書 議事録 見積 예산 계약 σχέδιο תקציב").split()
PEOPLE = "Anna Zoë Jürgen Łukasz Søren Chloé Дмитрий 田中 Ağrı Müller O'Neil".split()
APPLICATIONS = ["Contoso/Mailer", "Fabrikam/Draw", "Northwind/Sheets", "Adventure Works/Player", "Litware/Chat",
                "Tailspin/Terminal", "Wingtip/Notes"]
BROWSER = "AppData/Local/Contoso/Browser/User Data/Default"


def bytes_of(text):
    units = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
    return int(float(text[:-1]) * units[text[-1]]) if text[-1] in units else int(text)


# kind of file: (share of the files, median size, sigma of its logarithm)
KINDS = {
    "browser cache": (0.34, 17_000, 1.6),
    "code cache": (0.08, 7_000, 1.3),
    "application settings": (0.16, 2_200, 1.4),
    "application data": (0.10, 6_000, 1.8),
    "recent links": (0.06, 900, 0.5),
    "temporary": (0.05, 5_000, 2.0),
    "logs": (0.03, 15_000, 1.7),
    "package state": (0.08, 3_000, 1.5),
    "documents": (0.06, 34_000, 1.4),
    "texts": (0.02, 3_000, 1.6),
    "pictures": (0.015, 400_000, 0.9),
    "downloads": (0.005, 300_000, 1.5),
}


def file_name(rnd, kind, number):
    hexa = lambda digits: f"{rnd.getrandbits(4 * digits):0{digits}x}"
    word = lambda: rnd.choice(WORDS)
    application = rnd.choice(APPLICATIONS)
    if kind == "browser cache":
        return f"{BROWSER}/Cache/Cache_Data/f_{number:06x}"
    if kind == "code cache":
        return f"{BROWSER}/Code Cache/js/{hexa(16)}_0"
    if kind == "application settings":
        return f"AppData/Roaming/{application}/{rnd.choice(['Settings', 'Profiles', 'Büro', '設定'])}/{word()} {number}.{rnd.choice(['json', 'xml', 'ini'])}"
    if kind == "application data":
        return f"AppData/Local/{application}/Data/{hexa(2)}/{number:05d}.{rnd.choice(['ldb', 'dat', 'idx'])}"
    if kind == "recent links":
        return f"AppData/Roaming/Microsoft/Windows/Recent/{word()} {number}.{rnd.choice(['docx', 'xlsx', 'pdf'])}.lnk"
    if kind == "temporary":
        return f"AppData/Local/Temp/{rnd.choice(['', 'Setup/', 'Diagnostics/Office/'])}{word()}{hexa(6)}.tmp"
    if kind == "logs":
        return f"AppData/Local/{application}/logs/{word()}-{number}.log"
    if kind == "package state":
        return f"AppData/Local/Packages/{application.replace('/', '.')}_{number % 9}q8z/{rnd.choice(['LocalState', 'Settings', 'AC/INetCache'])}/{hexa(8)}.json"
    if kind == "documents":
        folder = rnd.choice([f"Documents/{word()} {number % 12}", f"Documents/Projects/{rnd.choice(PEOPLE)}/{word()}", "Documents", "Desktop"])
        return f"{folder}/{word()} – {rnd.choice(PEOPLE)} {number}.{rnd.choice(['docx', 'xlsx', 'pptx', 'pdf'])}"
    if kind == "texts":
        return f"Documents/Notes/{word()} {number}.{rnd.choice(['txt', 'md', 'csv'])}"
    if kind == "pictures":
        return f"Pictures/{rnd.choice(['Camera', 'Screenshots', 'Málaga 2026'])}/IMG_{number:05d}.jpg"
    return f"Downloads/{word()} {number} ({number % 3}).{rnd.choice(['pdf', 'zip', 'exe'])}"


def content(rnd, kind, size):
    """Compressible where such files are, random where they are packed already."""
    if kind in ("browser cache", "pictures", "downloads", "documents"):
        return rnd.randbytes(size)
    line = lambda: f'"{rnd.choice(WORDS)}.{rnd.randrange(1000)}": "{rnd.choice(PEOPLE)} {rnd.getrandbits(32):08x}",\n'
    block = "".join(line() for _ in range(60)).encode()
    return (block * (size // len(block) + 1))[:size]


def database(rnd, pages):
    page = lambda: struct.pack(">BHHH", 13, 0, rnd.randrange(60), 1200) + rnd.randbytes(600) + bytes(400) + b"row " * 700
    return b"".join(page()[:4096].ljust(4096, b"\0") for _ in range(pages))


FIXED = [("Documents/desktop.ini", "texts", 402), ("Desktop/desktop.ini", "texts", 282), ("ntuser.ini", "texts", 20),
         ("Documents/empty.txt", "texts", 0), ("Documents/one.txt", "texts", 1)] + \
        [(f"Documents/edge-{n}.bin", "downloads", n) for n in (4095, 4096, 4097, 65535, 65536, 65537)]
DATABASES = [(f"{BROWSER}/History", 90), (f"{BROWSER}/Network/Cookies", 60), (f"{BROWSER}/Favicons", 50),
             ("AppData/Local/Contoso/Mailer/müller@example.com.store", 1600), ("AppData/Local/Fabrikam/Draw/library.db", 200)]


def write(root, path, data, age):
    full = os.path.join(root, path)
    os.makedirs(os.path.dirname(full), exist_ok=True)
    with open(full, "wb") as file:
        file.write(data)
    os.utime(full, (EPOCH - age, EPOCH - age))


def create(arguments):
    rnd = random.Random(arguments.seed)
    plan = [(path, kind, size) for path, kind, size in FIXED]
    plan += [(path, "database", pages * 4096) for path, pages in DATABASES]
    folder = 500 if arguments.files >= 2000 else arguments.files // 10
    plan += [(f"Documents/Archive 2025/{rnd.choice(WORDS)} {i}.txt", "texts", int(rnd.lognormvariate(7.5, 1))) for i in range(folder)]
    seen = {path for path, _, _ in plan}
    kinds, weights = list(KINDS), [KINDS[kind][0] for kind in KINDS]
    number = 0
    while len(plan) < arguments.files:
        number += 1
        kind = rnd.choices(kinds, weights)[0]
        path = file_name(rnd, kind, number)
        if path.casefold() in seen:
            continue
        seen.add(path.casefold())
        plan.append((path, kind, min(8_000_000, max(1, int(rnd.lognormvariate(math.log(KINDS[kind][1]), KINDS[kind][2]))))))
    loose = sum(size for _, kind, size in plan if kind != "database")
    scale = max(0.01, (bytes_of(arguments.bytes) - sum(s for _, k, s in plan if k == "database")) / loose)
    for path, kind, size in plan:
        own = random.Random(f"{arguments.seed}/{path}")
        if kind == "database":
            data = database(own, size // 4096)
        else:
            data = content(own, kind, size if path in (p for p, _, _ in FIXED) else max(1, int(size * scale)))
        write(arguments.dir, path, data, own.randrange(86400 * 300))
    print(json.dumps({"files": len(plan), "bytes": sum(os.path.getsize(os.path.join(arguments.dir, p)) for p, _, _ in plan)}))


def walk(root):
    found = []
    for folder, folders, files in os.walk(root):
        folders.sort()
        found += [os.path.relpath(os.path.join(folder, name), root) for name in files
                  if not name.upper().startswith(("NTUSER.DAT", "USRCLASS.DAT"))]  # hives are no files here
    return sorted(found)


def reads(arguments):
    rnd = random.Random(f"reads/{arguments.seed}")
    paths = walk(arguments.dir)
    first = [p for p in paths if p.endswith(("desktop.ini", ".ini", ".lnk", ".json", ".xml"))]
    some = rnd.sample(first, min(len(first), arguments.count * 2 // 3))
    rest = [p for p in paths if p not in set(some) and os.path.getsize(os.path.join(arguments.dir, p)) < 2_000_000]
    some += rnd.sample(rest, min(len(rest), arguments.count - len(some)))
    print("\n".join(some))


class Session:
    """What programs do to a profile: every kind of change at least once."""

    def __init__(self, root, seed, part):
        self.root, self.part = root, part
        self.rnd = random.Random(f"session/{seed}/{part}")
        self.paths = walk(root)
        self.done = {}

    def at(self, path):
        return os.path.join(self.root, path)

    def count(self, what, number=1):
        self.done[what] = self.done.get(what, 0) + number

    def pick(self, number, *suffixes):
        chosen = [p for p in self.paths if p.endswith(suffixes) and os.path.exists(self.at(p))]
        return self.rnd.sample(chosen, min(number, len(chosen)))

    def edit_database(self):
        for path, pages in DATABASES:
            if not os.path.exists(self.at(path)):
                continue
            with open(self.at(path), "r+b") as file:
                for _ in range(12):
                    file.seek(self.rnd.randrange(pages) * 4096)
                    file.write(database(self.rnd, 1))
                file.seek(0, os.SEEK_END)
                file.write(database(self.rnd, 2))
            self.count("databases edited in place")

    def append_to_logs(self):
        for path in self.pick(10, ".log"):
            with open(self.at(path), "ab") as file:
                file.write(content(self.rnd, "logs", self.rnd.randrange(100, 9000)))
            self.count("logs appended to")

    def rewrite_settings(self):
        for path in self.pick(20, ".json", ".xml"):
            with open(self.at(path), "rb") as file:
                data = bytearray(file.read())
            at = self.rnd.randrange(max(1, len(data)))
            data[at:at + 30] = content(self.rnd, "texts", 35)
            with open(self.at(path) + ".tmp", "wb") as file:
                file.write(data)
            os.replace(self.at(path) + ".tmp", self.at(path))
            self.count("settings rewritten by rename")
        for path in self.pick(3, ".ini"):
            with open(self.at(path), "wb") as file:
                file.write(content(self.rnd, "texts", 300))
            self.count("settings truncated and rewritten")

    def add(self):
        for number in range(40):
            kind = self.rnd.choice(list(KINDS))
            path = file_name(self.rnd, kind, 900000 + self.part * 1000 + number)
            os.makedirs(os.path.dirname(self.at(path)), exist_ok=True)
            with open(self.at(path), "wb") as file:
                file.write(content(self.rnd, kind, int(self.rnd.lognormvariate(8.5, 1.2))))
            self.count("files added")
        os.makedirs(self.at(f"Documents/leer {self.part}/tief/tiefer"))
        self.count("empty folders added")

    def delete(self):
        for path in self.pick(25, ".tmp", "_0", ".lnk"):
            os.remove(self.at(path))
            self.count("files deleted")

    def swap(self):
        first, second = self.pick(2, ".docx", ".xlsx")
        os.rename(self.at(first), self.at(first) + ".swap")
        os.rename(self.at(second), self.at(first))
        os.rename(self.at(first) + ".swap", self.at(second))
        self.count("names swapped")

    def move_folder(self):
        source, target = ("Documents/Archive 2025", "Documents/Projects/Archiv älter") if self.part == 1 else \
                         ("Documents/Projects/Archiv älter", "Desktop/Archiv")
        if os.path.isdir(self.at(source)):
            number = len(os.listdir(self.at(source)))
            os.makedirs(os.path.dirname(self.at(target)), exist_ok=True)
            os.rename(self.at(source), self.at(target))
            self.count("files moved with their folder", number)

    def write_stream(self):
        for path in self.pick(4, ".pdf", ".zip", ".exe"):
            with open(self.at(path) + ":Zone.Identifier", "wb") as file:
                file.write(b"[ZoneTransfer]\r\nZoneId=3\r\n")
            self.count("alternate streams written")

    def write_foreign_names(self):
        for name in ("Łódź – плана.txt", "報告書 最終.txt", "emoji 🏔.txt", "combining é.txt", "ıİ dotless.txt", " leading.txt"):
            os.makedirs(self.at("Documents/Names"), exist_ok=True)
            with open(self.at(f"Documents/Names/{self.part} {name}"), "wb") as file:
                file.write(name.encode())
            self.count("non-ASCII names")

    def shrink_and_grow(self):
        for path in self.pick(5, ".jpg", ".dat"):
            size = os.path.getsize(self.at(path))
            os.truncate(self.at(path), size // 2)
            os.truncate(self.at(path), size)
            self.count("files shrunk and grown")

    def run(self, streams):
        steps = [self.edit_database, self.append_to_logs, self.rewrite_settings, self.add, self.delete, self.swap,
                 self.move_folder, self.write_foreign_names, self.shrink_and_grow]
        if streams:
            steps.append(self.write_stream)
        for step in steps:
            step()
        print(json.dumps(self.done, ensure_ascii=False))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    make = verbs.add_parser("create")
    make.add_argument("--files", type=int, default=5000)
    make.add_argument("--bytes", default="200M")
    change = verbs.add_parser("session")
    change.add_argument("--part", type=int, required=True)
    change.add_argument("--no-streams", action="store_true")
    read = verbs.add_parser("reads")
    read.add_argument("--count", type=int, default=300)
    for verb in (make, change, read):
        verb.add_argument("dir")
        verb.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    if arguments.verb == "create":
        create(arguments)
    elif arguments.verb == "reads":
        reads(arguments)
    else:
        Session(arguments.dir, arguments.seed, arguments.part).run(not arguments.no_streams)


if __name__ == "__main__":
    sys.exit(main())
