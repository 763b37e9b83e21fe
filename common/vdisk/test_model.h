// A disk as a plain array of bytes, to compare the real one with (tests only).
#pragma once

#include <doctest/doctest.h>

#include <algorithm>
#include <random>

#include "common/vdisk/disk.h"

namespace roamstead::vdisk {

// The formats that a test case is repeated for.
struct Vhdx {
  static constexpr Format format = Format::vhdx;
  static constexpr std::uint32_t block_bytes = 1u << 20;
  static std::string name(const std::string& stem) { return stem + ".vhdx"; }
};
struct Vhd {
  static constexpr Format format = Format::vhd;
  static constexpr std::uint32_t block_bytes = 1u << 20;
  static std::string name(const std::string& stem) { return stem + ".vhd"; }
};

struct Qcow2 {
  static constexpr Format format = Format::qcow2;
  static constexpr std::uint32_t block_bytes = 4096;  // more than a sector, and more than one L2 table
  static std::string name(const std::string& stem) { return stem + ".qcow2"; }
};

class Model {
 public:
  explicit Model(std::uint64_t size) : bytes_(size) {}

  // Somewhere, of any length and alignment, mostly small, now and then a block or more.
  void write_random(BlockDevice& device, std::mt19937_64& random) {
    auto [offset, data] = random_write(random);
    auto written = device.write(offset, data);
    REQUIRE_MESSAGE(written, written.error().to_string());
    apply(offset, data);
  }
  std::pair<std::uint64_t, Bytes> random_write(std::mt19937_64& random) const {
    auto kind = random() % 10;
    std::uint64_t length = kind < 5   ? 1 + random() % 3000
                           : kind < 9 ? 512 * (1 + random() % 200)
                                      : 1 + random() % 1'300'000;
    length = std::min<std::uint64_t>(length, bytes_.size());
    auto offset = random() % (bytes_.size() - length + 1);
    if (kind >= 5) offset = offset / 512 * 512;
    Bytes data(length);
    for (std::size_t i = 0; i < data.size(); i += 8) {
      auto value = random();
      std::memcpy(data.data() + i, &value, std::min<std::size_t>(8, data.size() - i));
    }
    return {offset, std::move(data)};
  }
  void apply(std::uint64_t offset, ByteView data) {
    std::copy(data.begin(), data.end(), bytes_.begin() + static_cast<std::ptrdiff_t>(offset));
    if (!data.empty()) {
      auto first = offset / 512 * 512;
      auto end = std::min<std::uint64_t>((offset + data.size() + 511) / 512 * 512, bytes_.size());
      written_.add({first, end - first});
    }
  }

  void check(const BlockDevice& device) const {
    Bytes whole(bytes_.size());
    auto read = device.read(0, whole);
    REQUIRE_MESSAGE(read, read.error().to_string());
    CHECK_MESSAGE(whole == bytes_, "first difference at byte ", first_difference(whole));
    for (std::uint64_t offset = 13; offset + 70'001 < bytes_.size(); offset += 500'001) {
      Bytes part(70'001);
      REQUIRE(device.read(offset, part));
      CHECK(std::equal(part.begin(), part.end(), bytes_.begin() + static_cast<std::ptrdiff_t>(offset)));
    }
  }
  std::size_t first_difference(ByteView other) const {
    return static_cast<std::size_t>(std::mismatch(bytes_.begin(), bytes_.end(), other.begin()).first -
                                    bytes_.begin());
  }
  const Bytes& bytes() const { return bytes_; }
  // The part of what was written through this model that is in `held`.
  RangeSet written_sectors(const RangeSet& held) const {
    RangeSet both;
    for (auto range : written_.ranges())
      for (auto part : held.covered(range)) both.add(part);
    return both;
  }

 private:
  Bytes bytes_;
  RangeSet written_;
};

}  // namespace roamstead::vdisk
