#include "coordinator/compose/spec_user_disk.h"

#include "common/firstboot/steps.h"
#include "coordinator/compose/refused.h"
#include "coordinator/compose/spec_reader.h"
#include "coordinator/config/units.h"

namespace roamstead::compose {
namespace {

constexpr std::uint64_t kLeastBytes = 64u << 20;
constexpr std::uint64_t kMostBytes = std::uint64_t{64} << 40;  // of a VHDX
constexpr std::uint64_t kMostVhdBytes = std::uint64_t{2040} << 30;
constexpr std::uint64_t kMostMbrBytes = std::uint64_t{2} << 40;
constexpr std::uint64_t kMiB = 1u << 20;

// One of two words; true for the second.
SpecTable::CheckText one_of(bool& second, const char* first_word, const char* second_word) {
  return [&second, first_word, second_word](const std::string& value) -> Result<void> {
    if (value != first_word && value != second_word)
      return refused("'" + value + "' is neither " + first_word + " nor " + second_word);
    second = value == second_word;
    return {};
  };
}

Result<UserDiskFormat> parse_user_disk_format(const std::string& text) {
  for (const auto format :
       {UserDiskFormat::vhdx, UserDiskFormat::vhd, UserDiskFormat::qcow2, UserDiskFormat::vmdk})
    if (text == to_string(format)) return format;
  return refused("'" + text + "' is none of vhdx, vhd, qcow2, vmdk");
}

}  // namespace

void read_user_disk(SpecTable& table, PoolSpec& spec) {
  UserDiskSpec disk;
  if (auto format = parse_user_disk_format(std::string(vdisk::to_string(spec.format)))) disk.format = *format;
  table.require("size");
  table.text("size", [&](const std::string& value) -> Result<void> {
    RS_TRY(disk.size_bytes, config::parse_size(value));
    if (disk.size_bytes < kLeastBytes || disk.size_bytes > kMostBytes || disk.size_bytes % kMiB != 0)
      return refused("'" + value + "': 64 MiB to 64 TiB, in whole MiB");
    return {};
  });
  table.text("format", [&](const std::string& value) -> Result<void> {
    RS_TRY(disk.format, parse_user_disk_format(value));
    return {};
  });
  bool raw = false, gpt = true;
  table.text("mode", one_of(raw, "formatted", "raw"));
  table.text("table", one_of(gpt, "mbr", "gpt"));
  disk.formatted = !raw;
  disk.mbr = !gpt;
  table.text("label", [&](const std::string& value) -> Result<void> {
    RS_CHECK(firstboot::check_label(value));
    disk.label = value;
    return {};
  });
  table.text("letter", [&](const std::string& value) -> Result<void> {
    RS_CHECK(firstboot::check_letter(value));
    disk.letter = value[0];
    return {};
  });
  table.text("directory", [&](const std::string& value) -> Result<void> {
    if (value.empty() || value.front() != '/') return refused("expected an absolute path on this host");
    disk.directory = value;
    return {};
  });
  table.text("existing", one_of(disk.reuse_existing, "refuse", "reuse"));
  if (disk.format == UserDiskFormat::vhd && disk.size_bytes > kMostVhdBytes)
    table.note_at("size", "a VHD has at most 2040 GiB");
  if (disk.mbr && disk.size_bytes > kMostMbrBytes) table.note_at("size", "with an MBR at most 2 TiB");
  spec.user_disk = disk;
}

}  // namespace roamstead::compose
