// Damaged volumes: an extraction holds back what it doubts, or refuses with a reason; it never crashes or
// hangs.
#include <doctest/doctest.h>

#include "common/extract/test_agent.h"
#include "common/ntfs/wof.h"
#include "tests/support/seed.h"

namespace roamstead::extract {
namespace {

Bytes noise(std::mt19937_64& random, std::size_t size) {
  Bytes bytes(size);
  for (auto& byte : bytes) byte = static_cast<std::byte>(random());
  return bytes;
}

// Flips bits in what the top layer holds: changed MFT records, indexes, the journal, data.
void damage(vdisk::Disk& disk, std::mt19937_64& random, int flips) {
  const auto extents = disk.extents(0).value().ranges();
  for (int i = 0; i < flips; ++i) {
    const auto& range = extents[random() % extents.size()];
    const auto at = range.offset + random() % range.length;
    Bytes byte(1);
    REQUIRE(disk.read(at, byte));
    byte[0] ^= static_cast<std::byte>(1u << random() % 8);
    REQUIRE(disk.write(at, byte));
  }
}

TEST_CASE("random damage is held back or refused by name") {
  if (!support::can_format_ntfs()) return;
  auto random = support::seeded_random();
  int extracted = 0;
  for (int round = 0; round < 5; ++round) {
    TestTree base;
    base.make_directory("d").entry.metadata.created_100ns = 5;
    for (int i = 0; i < 20; ++i) {
      auto& file = base.make_file("d/f" + std::to_string(i), noise(random, random() % 20'000));
      file.entry.metadata.created_100ns = 100 + static_cast<std::uint64_t>(i);
    }
    base.settle();
    TestDesktop desktop;
    TestAgent agent(desktop, base);
    agent.populate("d");
    Guid below;
    support::TemporaryDirectory state;
    const Extractor::Options kept{state / "clusters.map"};
    auto extractor = std::make_unique<Extractor>(os::real_file_system(), kept);
    for (int step = 0; step < 6; ++step) {
      if (step == 0)
        for (int i = 0; i < 15; ++i)
          agent.write("d/f" + std::to_string(i), "", random() % 10'000, noise(random, 3000));
      if (step == 1) agent.flush_tags();
      desktop.unmount();
      if (step >= 1) damage(desktop.disk(), random, 1 << step);
      const auto frozen = desktop.disk().freeze().value();
      for (bool with_journal : {true, false}) {
        Request request;
        request.frozen_path = frozen.frozen_path;
        request.below_id = step == 0 ? Guid() : below;
        request.quiesced = false;
        if (!with_journal) {
          request.provenance_path.clear();
          request.profile_root = kTestRoot;
        }
        request.taken_100ns = 1;
        auto extraction = extract(os::real_file_system(), request);
        if (step % 3 == 2) extractor = std::make_unique<Extractor>(os::real_file_system(), kept);
        auto again = extractor->extract(request);
        REQUIRE(again.has_value() == extraction.has_value());
        if (again) REQUIRE((*again)->batch() == (*extraction)->batch());
        if (!extraction) {
          CHECK(extraction.error().to_string().size() > 10);
          continue;
        }
        ++extracted;
        const auto& batch = (*extraction)->batch();
        for (std::size_t i = 0; i < batch.records.size(); ++i)
          if (const auto* put = std::get_if<profile::Put>(&batch.records[i]))
            for (std::size_t k = 0; k < put->contents.size(); ++k)
              for (auto write : put->contents[k].writes) {
                Bytes bytes(std::min<std::uint64_t>(write.length, 1 << 20));
                (void)(*extraction)->content().read(i, k, write.offset, bytes);
              }
      }
      below = frozen.frozen_id;
      if (step == 0) continue;  // the library records tags next, on a volume that is whole
      // Something for the next layer to hold.
      Bytes sector(4096);
      for (int i = 0; i < 8; ++i) {
        const auto at = (1u << 20) + (random() % (20u << 20)) / 4096 * 4096;
        REQUIRE(desktop.disk().read(at, sector));
        sector[random() % sector.size()] ^= std::byte{1};
        REQUIRE(desktop.disk().write(at, sector));
      }
    }
  }
  CHECK(extracted > 0);
}

TEST_CASE("a torn record is held back by name, and what it was is not deleted") {
  if (!support::can_format_ntfs()) return;
  auto random = support::seeded_random();
  TestDesktop desktop([&](auto& volume) {
    volume.write("Users/alice/a", 0, noise(random, 30'000));
    volume.write("Users/alice/b", 0, noise(random, 30'000));
  });
  desktop.volume().write("Users/alice/a", 0, noise(random, 10));
  desktop.volume().write("Users/alice/b", 0, noise(random, 10));
  const auto record = desktop.volume().find("Users/alice/a")->record;
  desktop.unmount();
  {
    auto first = desktop.disk().freeze().value();
    auto snapshot = Snapshot::open(os::real_file_system(), first.frozen_path, 0).value();
    const auto mft = snapshot->volume().device_extents(snapshot->volume().mft());
    const auto record_bytes = snapshot->volume().info().record_bytes;
    for (const auto& extent : mft) {
      const auto offset = record * record_bytes;
      if (offset < extent.stream_offset || offset >= extent.stream_offset + extent.device.length) continue;
      const auto at = snapshot->volume_offset() + extent.device.offset + (offset - extent.stream_offset);
      REQUIRE(desktop.disk().write(at + 510, noise(random, 2)));  // the fixup no longer agrees
    }
  }
  desktop.volume().write("Users/alice/b", 0, noise(random, 10));
  const auto frozen = desktop.freeze();
  Request request;
  request.frozen_path = frozen.frozen_path;
  request.below_id = desktop.disk().layers().back().id;
  request.profile_root = kTestRoot;
  auto extraction = desktop.extract(request);
  const auto& batch = extraction->batch();
  CAPTURE(describe(batch));
  REQUIRE(batch.held_back.size() == 1);
  CHECK(batch.held_back[0].path == "a");
  REQUIRE(batch.records.size() == 1);
  CHECK(std::get<profile::Put>(batch.records[0]).path.text() == "b");
}

// As WOF leaves a file of one chunk that did not get smaller.
void compress_by_wof(support::NtfsImage& volume, const std::string& path, ByteView content) {
  volume.truncate(path, content.size());
  volume.write(path, 0, content, "WofCompressedData");
  ByteWriter writer;
  writer.le<std::uint32_t>(ntfs::kWofTag);
  writer.le<std::uint32_t>(16);
  for (const std::uint32_t value : {1u, 2u, 1u, 0u}) writer.le(value);
  volume.set_reparse_point(path, writer.take());
}

TEST_CASE(
    "a file that WOF compressed is held back by name, its zeros are never saved, what was saved stays") {
  if (!support::can_format_ntfs()) return;
  auto random = support::seeded_random();
  const auto content = noise(random, 3000);
  TestDesktop desktop([&](auto& volume) { volume.write("Users/alice/saved", 0, content); });
  auto tree = desktop.read_profile(desktop.golden_path());
  desktop.volume().make_file("Users/alice/new");
  for (const char* path : {"Users/alice/new", "Users/alice/saved"})
    compress_by_wof(desktop.volume(), path, content);
  desktop.volume().write("Users/alice/other", 0, content);
  const auto frozen = desktop.freeze();
  {
    const auto snapshot = Snapshot::open(os::real_file_system(), frozen.frozen_path, 0).value();
    const auto& volume = snapshot->volume();
    const auto file = volume.record(volume.lookup("Users/alice/new").value().record).value();
    Bytes decoded(content.size());
    REQUIRE(ntfs::FileContent::open(volume, file).value().read(0, decoded));
    CHECK(decoded == content);  // whoever reads the volume gets the content
  }
  Request request;
  request.frozen_path = frozen.frozen_path;
  request.below_id = desktop.disk().layers().back().id;
  request.profile_root = kTestRoot;
  auto extraction = desktop.extract(request);
  const auto& batch = extraction->batch();
  CAPTURE(describe(batch));
  REQUIRE(batch.held_back.size() == 2);
  for (const auto& held : batch.held_back) {
    CHECK((held.path == "saved" || held.path == "new"));
    CHECK(held.reason.find("WOF") != std::string::npos);
  }
  REQUIRE(batch.records.size() == 1);
  CHECK(std::get<profile::Put>(batch.records[0]).path.text() == "other");
  tree.apply(batch, extraction->content());
  CHECK(tree.at("saved").streams[""] == content);
}

}  // namespace
}  // namespace roamstead::extract
