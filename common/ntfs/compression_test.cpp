// LZNT1, XPRESS Huffman and LZX: known bytes, what libntfs-3g and wimlib compressed, and damage.
#include <doctest/doctest.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <map>

#include "common/ntfs/lznt1.h"
#include "common/ntfs/lzx.h"
#include "common/ntfs/wof.h"
#include "common/ntfs/xpress.h"
#include "tests/support/memory_device.h"
#include "tests/support/ntfs_image.h"
#include "tests/support/seed.h"
#include "tests/support/temporary_directory.h"

namespace roamstead::ntfs {
namespace {

using support::NtfsImage;

Bytes bytes_of(std::initializer_list<unsigned> values) {
  Bytes bytes;
  for (const auto value : values) bytes.push_back(static_cast<std::byte>(value));
  return bytes;
}

// Content that compresses as real files do: words, runs, zeros, noise, calls of x86 code, by turns.
Bytes mixed_content(std::size_t size, std::mt19937_64& random) {
  Bytes bytes;
  bytes.reserve(size);
  while (bytes.size() < size) {
    const auto count = std::min<std::size_t>(1 + random() % 9000, size - bytes.size());
    const auto kind = random() % 6;
    const auto value = static_cast<std::byte>(random());
    for (std::size_t i = 0; i < count; ++i) {
      std::byte byte{};
      if (kind == 0) byte = static_cast<std::byte>(random());
      if (kind == 1) byte = value;
      if (kind == 2) byte = static_cast<std::byte>("the quick brown fox jumps over"[(i * i / 7 + i) % 30]);
      if (kind == 3) byte = i % 5 == 0 ? std::byte{0xE8} : static_cast<std::byte>(random() % 3);
      if (kind == 4 && bytes.size() > 300) byte = bytes[bytes.size() - 1 - random() % 300];
      bytes.push_back(byte);
    }
  }
  return bytes;
}

struct Opened {
  explicit Opened(const std::string& path)
      : device(support::FileDevice::open(os::real_file_system(), path, os::OpenMode::read).value()),
        volume(Volume::open(*device).value()) {}
  FileRecord file(const std::string& path) const {
    return volume->record(volume->lookup(path).value().record).value();
  }

  std::unique_ptr<support::FileDevice> device;
  std::unique_ptr<Volume> volume;
};

Result<Bytes> content_of(const Volume& volume, const FileRecord& file, const std::string& stream = "") {
  RS_TRY(const auto content, FileContent::open(volume, file, stream));
  Bytes bytes(content.size_bytes());
  RS_CHECK(content.read(0, bytes));
  return bytes;
}

}  // namespace

TEST_CASE("LZNT1: a literal chunk, a repetition, a stored chunk, and zeros behind the end") {
  // Flags 0x04: the third token refers back by 2 for 6 bytes (distance - 1 above 12 bits of length - 3).
  const auto chunk = bytes_of({0x05, 0xB0, 0x04, 'a', 'b', 0x03, 0x10, 'c', 0, 0});
  Bytes out(20, std::byte{0xFF});
  REQUIRE(decompress_lznt1(chunk, out).has_value());
  CHECK(as_text(out).substr(0, 9) == "ababababc");
  CHECK(all_zero(ByteView(out).subspan(9)));

  auto stored = bytes_of({0x02, 0x30, 'x', 'y', 'z'});
  Bytes two(4096 + 10, std::byte{0xFF});
  stored.insert(stored.end(), chunk.begin(), chunk.end());
  REQUIRE(decompress_lznt1(stored, two).has_value());
  CHECK(as_text(two).substr(0, 3) == "xyz");
  CHECK(all_zero(ByteView(two).subspan(3, 4093)));
  CHECK(as_text(two).substr(4096, 9) == "ababababc");
}

TEST_CASE("LZNT1 that leaves its bytes, its chunk or the format is refused") {
  Bytes out(65536);
  const auto refused = [&](std::initializer_list<unsigned> in) {
    const auto done = decompress_lznt1(bytes_of(in), out);
    return !done && done.error().code == ErrorCode::corrupt ? done.error().message : "";
  };
  CHECK(refused({0x08, 0xB0, 0, 'a'}).find("9 bytes where 2 are left") != std::string::npos);
  CHECK(refused({0x02, 0xB0, 0x01, 0x00, 0x00}).find("before the chunk") != std::string::npos);
  CHECK(refused({0x02, 0xB0, 0x02, 'a', 0x00}).find("within a token") != std::string::npos);
  CHECK(refused({0x00, 0x40, 'a'}).find("header") != std::string::npos);
  // 3 + 4095 bytes after one: two more than a chunk has.
  CHECK(refused({0x03, 0xB0, 0x02, 'a', 0xFF, 0x0F}).find("more than a chunk") != std::string::npos);
}

TEST_CASE("XPRESS Huffman: the published example of 26 letters") {
  // [MS-XCA] 3.2: words of 5 bits, but of 4 for w to z and for the end of the data.
  Bytes in(256);
  for (std::size_t symbol = 'a'; symbol <= 'z'; ++symbol)
    in[symbol / 2] |= static_cast<std::byte>((symbol < 'w' ? 5u : 4u) << (symbol % 2 * 4));
  in[128] = std::byte{0x04};
  const auto data = bytes_of({0xd8, 0x52, 0x3e, 0xd7, 0x94, 0x11, 0x5b, 0xe9, 0x19, 0x5f,
                              0xf9, 0xd6, 0x7c, 0xdf, 0x8d, 0x04, 0x00, 0x00, 0x00, 0x00});
  in.insert(in.end(), data.begin(), data.end());
  Bytes out(26);
  const auto done = decompress_xpress_huffman(in, out);
  REQUIRE_MESSAGE(done.has_value(), (done ? "" : done.error().to_string()));
  CHECK(as_text(out) == "abcdefghijklmnopqrstuvwxyz");
  // Cut short: an error, and nothing beyond the input is believed.
  CHECK_FALSE(decompress_xpress_huffman(ByteView(in).first(260), out).has_value());
  CHECK_FALSE(decompress_xpress_huffman(ByteView(in).first(200), out).has_value());
}

TEST_CASE("compressed files of libntfs-3g are read as what was written, in pieces of any size") {
  if (!support::can_format_ntfs()) return;
  auto random = support::seeded_random();
  for (const std::uint32_t cluster_bytes : {512u, 1024u, 4096u}) {
    CAPTURE(cluster_bytes);
    support::TemporaryDirectory directory;
    const auto path = directory / "volume.img";
    support::format_ntfs(path, {48u << 20, cluster_bytes});
    std::map<std::string, Bytes> model;
    {
      NtfsImage image(path);
      image.make_directory("c");
      image.set_compressed("c");
      for (int i = 0; i < 25; ++i) {
        const auto name = "c/" + std::to_string(i);
        auto& bytes = model[name];
        bytes = mixed_content(random() % (i % 5 == 0 ? 3000 : 400'000), random);
        if (i % 4 == 0 && bytes.size() > 200'000)  // units that are all hole
          std::fill(bytes.begin() + 65536, bytes.begin() + 150'000, std::byte{0});
        for (std::size_t at = 0; at < bytes.size();) {
          const auto count = std::min<std::size_t>(1 + random() % 100'000, bytes.size() - at);
          REQUIRE(image.write(name, at, ByteView(bytes).subspan(at, count)));
          at += count;
        }
        if (bytes.empty()) image.make_file(name);
      }
      // What lies beyond a hole, and changes in what is there.
      auto& far = model["c/far"];
      far = Bytes(300'000);
      const auto tail = mixed_content(100'000, random);
      std::copy(tail.begin(), tail.end(), far.begin() + 200'000);
      REQUIRE(image.write("c/far", 200'000, tail));
      const auto middle = mixed_content(5000, random);
      std::copy(middle.begin(), middle.end(), far.begin() + 230'000);
      REQUIRE(image.write("c/far", 230'000, middle));
    }
    Opened opened(path);
    NtfsImage image(path, false);
    std::size_t compressed_units = 0;
    for (const auto& [name, bytes] : model) {
      CAPTURE(name);
      const auto file = opened.file(name);
      const auto& stream = file.streams.front();
      CHECK(stream.compressed);
      for (const auto& run : stream.runs) compressed_units += run.sparse;
      const auto whole = content_of(*opened.volume, file);
      REQUIRE_MESSAGE(whole.has_value(), (whole ? "" : whole.error().to_string()));
      CHECK(*whole == bytes);
      CHECK(*whole == image.read(name, 0, bytes.size()));
      for (int i = 0; i < 10 && !bytes.empty(); ++i) {
        const auto at = random() % bytes.size();
        Bytes part(1 + random() % (bytes.size() - at));
        REQUIRE(opened.volume->read(stream, at, part).has_value());
        CHECK(std::equal(part.begin(), part.end(), bytes.begin() + static_cast<std::ptrdiff_t>(at)));
      }
    }
    CHECK(compressed_units > 10);
  }
}

namespace {

struct WimResource {
  Bytes stored;
  std::uint64_t size = 0;
};

// The compressed resources of a WIM file by wimlib, which are laid out as WOF's streams are. (Header: the
// lookup table's place at byte 48; its entries have 50 bytes, beginning with size and flags, place, original
// size.)
std::vector<WimResource> wim_resources(const std::string& path) {
  const auto wim = os::read_file(os::real_file_system(), path, 64 << 20).value();
  const auto size_of = [&](std::size_t at) { return load_le<std::uint64_t>(wim, at) & 0xFF'FFFF'FFFF'FFFF; };
  std::vector<WimResource> resources;
  const auto table = load_le<std::uint64_t>(wim, 56);
  for (std::uint64_t at = table; at + 50 <= table + size_of(48); at += 50) {
    const auto flags = load_le<std::uint8_t>(wim, at + 7);
    if ((flags & 4) == 0 || (flags & 2) != 0) continue;  // only compressed ones, and no metadata
    const auto from = ByteView(wim).subspan(load_le<std::uint64_t>(wim, at + 8), size_of(at));
    resources.push_back({to_bytes(from), load_le<std::uint64_t>(wim, at + 16)});
  }
  return resources;
}

Bytes wof_reparse_point(WofAlgorithm algorithm) {
  ByteWriter writer;
  writer.le<std::uint32_t>(kWofTag);
  writer.le<std::uint32_t>(16);
  for (const std::uint32_t value : {1u, 2u, 1u, static_cast<std::uint32_t>(algorithm)}) writer.le(value);
  return writer.take();
}

constexpr WofAlgorithm kAlgorithms[] = {WofAlgorithm::xpress4k, WofAlgorithm::xpress8k,
                                        WofAlgorithm::xpress16k, WofAlgorithm::lzx};

// Content compressed by wimlib, by size (each is another).
std::map<std::uint64_t, Bytes> compressed_by_wimlib(const support::TemporaryDirectory& directory,
                                                    WofAlgorithm algorithm,
                                                    const std::map<std::uint64_t, Bytes>& contents) {
  const auto folder = directory / ("source-" + std::string(to_string(algorithm)));
  std::filesystem::create_directory(folder);
  for (const auto& [size, bytes] : contents) {
    std::ofstream file(folder + "/" + std::to_string(size), std::ios::binary);
    file.write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
  }
  const auto wim = folder + ".wim";
  const auto command = "wimlib-imagex capture " + folder + " " + wim + " --no-acls --threads=1 --compress=" +
                       (algorithm == WofAlgorithm::lzx ? "LZX" : "XPRESS") +
                       " --chunk-size=" + std::to_string(chunk_bytes(algorithm)) + " > /dev/null 2>&1";
  REQUIRE(std::system(command.c_str()) == 0);
  std::map<std::uint64_t, Bytes> compressed;
  for (auto& resource : wim_resources(wim)) compressed[resource.size] = std::move(resource.stored);
  return compressed;
}

bool have_wimlib() {
  if (std::system("wimlib-imagex --version > /dev/null 2>&1") == 0) return true;
  std::cout << "skipped: wimlib-imagex (package wimtools) is not installed\n";
  return false;
}

}  // namespace

TEST_CASE("files that WOF compressed are read as what wimlib compressed") {
  if (!support::can_format_ntfs() || !have_wimlib()) return;
  auto random = support::seeded_random();
  support::TemporaryDirectory directory;
  const auto path = directory / "volume.img";
  support::format_ntfs(path, {64u << 20});
  std::map<std::uint64_t, Bytes> contents;
  for (const std::size_t size :
       {600, 4096, 4097, 8192, 16384, 32768, 65536, 65537, 100'000, 500'000, 1'000'001})
    contents[size] = mixed_content(size, random);
  contents[300'000] = Bytes(300'000, std::byte{'x'});
  // A program, for the calls in it.
  auto program = os::read_file(os::real_file_system(), "/bin/sh", 8 << 20).value();
  contents[program.size()] = program;
  std::map<std::string, const Bytes*> files;
  {
    NtfsImage image(path);
    for (const auto algorithm : kAlgorithms) {
      for (const auto& [size, stored] : compressed_by_wimlib(directory, algorithm, contents)) {
        if (!contents.contains(size)) continue;
        const auto name = std::string(to_string(algorithm)) + "-" + std::to_string(size);
        image.make_file(name);
        image.truncate(name, size);
        REQUIRE(image.write(name, 0, stored, "WofCompressedData"));
        image.set_reparse_point(name, wof_reparse_point(algorithm));
        files[name] = &contents[size];
      }
    }
  }
  CHECK(files.size() > 40);
  Opened opened(path);
  for (const auto& [name, bytes] : files) {
    CAPTURE(name);
    const auto file = opened.file(name);
    const auto whole = content_of(*opened.volume, file);
    REQUIRE_MESSAGE(whole.has_value(), (whole ? "" : whole.error().to_string()));
    CHECK(*whole == *bytes);
    const auto content = FileContent::open(*opened.volume, file).value();
    for (int i = 0; i < 20; ++i) {
      const auto at = random() % bytes->size();
      Bytes part(1 + random() % (bytes->size() - at));
      REQUIRE(content.read(at, part).has_value());
      CHECK(std::equal(part.begin(), part.end(), bytes->begin() + static_cast<std::ptrdiff_t>(at)));
    }
    CHECK(content.read(bytes->size(), MutableByteView()).has_value());
    Bytes beyond(1);
    CHECK(content.read(bytes->size(), beyond).error().code == ErrorCode::invalid_argument);
  }
}

TEST_CASE("damaged compressed chunks end in an error or in other bytes, never beyond the output") {
  if (!have_wimlib()) return;
  auto random = support::seeded_random();
  support::TemporaryDirectory directory;
  std::map<std::uint64_t, Bytes> contents;
  for (const std::size_t size : {3000, 4000, 4096}) contents[size] = mixed_content(size, random);
  contents[4000] = Bytes(4000, std::byte{'a'});
  for (std::size_t i = 0; i < 4000; i += 7) contents[4000][i] = static_cast<std::byte>(i);
  for (const auto algorithm : {WofAlgorithm::xpress4k, WofAlgorithm::lzx}) {
    std::size_t refused = 0;
    std::size_t tried = 0;
    for (const auto& [size, stored] : compressed_by_wimlib(directory, algorithm, contents)) {
      for (int round = 0; round < 2000; ++round, ++tried) {
        auto damaged = stored;
        for (auto flips = 1 + random() % 4; flips > 0; --flips)
          damaged[random() % damaged.size()] ^= static_cast<std::byte>(1u << random() % 8);
        if (round % 3 == 0) damaged.resize(random() % damaged.size());
        Bytes out(static_cast<std::size_t>(size));
        const auto done = algorithm == WofAlgorithm::lzx ? decompress_lzx(damaged, out)
                                                         : decompress_xpress_huffman(damaged, out);
        if (done) continue;
        ++refused;
        CHECK(done.error().code == ErrorCode::corrupt);
      }
    }
    CHECK(refused > tried / 10);
    CHECK(tried >= 2000);
  }
}

TEST_CASE("WOF's other providers and algorithms are refused by name") {
  const auto reparse = [](std::uint32_t provider, std::uint32_t algorithm) {
    ByteWriter writer;
    for (const std::uint32_t value : {1u, provider, 1u, algorithm}) writer.le(value);
    return writer.take();
  };
  CHECK(parse_wof(reparse(2, 1)).value() == WofAlgorithm::lzx);
  CHECK(parse_wof(reparse(1, 0)).error().message.find("WIM") != std::string::npos);
  CHECK(parse_wof(reparse(2, 7)).error().message.find("algorithm 7") != std::string::npos);
  CHECK(parse_wof(reparse(9, 0)).error().message.find("provider 9") != std::string::npos);
  CHECK(parse_wof(Bytes(7)).error().code == ErrorCode::corrupt);
  CHECK(parse_wof(ByteView(reparse(2, 0)).first(12)).error().code == ErrorCode::corrupt);
}

}  // namespace roamstead::ntfs
