#include "common/registry/format.h"

#include <fmt/format.h>

#include <array>
#include <charconv>

#include "common/base/text.h"

namespace roamstead::registry {
namespace {

constexpr std::array<std::string_view, 12> kTypeNames = {"REG_NONE",
                                                         "REG_SZ",
                                                         "REG_EXPAND_SZ",
                                                         "REG_BINARY",
                                                         "REG_DWORD",
                                                         "REG_DWORD_BIG_ENDIAN",
                                                         "REG_LINK",
                                                         "REG_MULTI_SZ",
                                                         "REG_RESOURCE_LIST",
                                                         "REG_FULL_RESOURCE_DESCRIPTOR",
                                                         "REG_RESOURCE_REQUIREMENTS_LIST",
                                                         "REG_QWORD"};

constexpr std::size_t kChecksumOffset = 508;

}  // namespace

std::string type_name(std::uint32_t type) {
  if (type < kTypeNames.size()) return std::string(kTypeNames[type]);
  return fmt::format("0x{:08x}", type);
}

Result<std::uint32_t> parse_type_name(std::string_view text) {
  for (std::uint32_t type = 0; type < kTypeNames.size(); ++type)
    if (same_name(text, kTypeNames[type])) return type;
  const bool hexadecimal = text.starts_with("0x") || text.starts_with("0X");
  const auto digits = hexadecimal ? text.substr(2) : text;
  std::uint32_t type = 0;
  auto [end, error] =
      std::from_chars(digits.data(), digits.data() + digits.size(), type, hexadecimal ? 16 : 10);
  if (error != std::errc() || end != digits.data() + digits.size())
    return fail(ErrorCode::invalid_argument,
                fmt::format("no type of values is called '{}'; use REG_SZ, REG_DWORD … or a number", text));
  return type;
}

std::uint32_t base_block_checksum(ByteView file) {
  std::uint32_t sum = 0;
  for (std::size_t at = 0; at < kChecksumOffset; at += 4) sum ^= load_le<std::uint32_t>(file, at);
  // The two values that could mean "none" are avoided.
  if (sum == 0) return 1;
  return sum == 0xFFFFFFFF ? 0xFFFFFFFE : sum;
}

Result<BaseBlock> parse_base_block(ByteView file) {
  if (file.size() < kSectorBytes)
    return fail(ErrorCode::corrupt, fmt::format("no hive: {} bytes, a base block takes 4096", file.size()));
  if (as_text(file.first(4)) != "regf")
    return fail(ErrorCode::corrupt, "no hive: 'regf' expected at offset 0");
  BaseBlock base;
  base.sequence_1 = load_le<std::uint32_t>(file, 4);
  base.sequence_2 = load_le<std::uint32_t>(file, 8);
  base.written_100ns = load_le<std::uint64_t>(file, 12);
  base.major_version = load_le<std::uint32_t>(file, 20);
  base.minor_version = load_le<std::uint32_t>(file, 24);
  base.file_type = load_le<std::uint32_t>(file, 28);
  base.file_format = load_le<std::uint32_t>(file, 32);
  base.root_cell = load_le<std::uint32_t>(file, 36);
  base.bins_bytes = load_le<std::uint32_t>(file, 40);
  base.clustering = load_le<std::uint32_t>(file, 44);
  base.flags = load_le<std::uint32_t>(file, 144);
  base.file_name = utf16le_to_wtf8(file.subspan(48, 64));
  if (const auto end = base.file_name.find('\0'); end != std::string::npos) base.file_name.resize(end);
  base.checksum_valid = load_le<std::uint32_t>(file, kChecksumOffset) == base_block_checksum(file);
  return base;
}

void seal_base_block(MutableByteView file, std::uint32_t sequence) {
  store_le<std::uint32_t>(file, 4, sequence);
  store_le<std::uint32_t>(file, 8, sequence);
  store_le<std::uint32_t>(file, kChecksumOffset, base_block_checksum(file));
}

std::string time_text(std::uint64_t filetime_100ns) {
  if (filetime_100ns == 0) return "";
  constexpr std::uint64_t kTicksPerDay = std::uint64_t{86400} * 10'000'000;
  const auto days = filetime_100ns / kTicksPerDay;
  const auto ticks = filetime_100ns % kTicksPerDay;
  // Civil date from days since 1601-01-01, the first day of a 400-year cycle, with years that begin in March.
  const auto shifted = days + 306;  // since 1600-03-01
  const auto era = shifted / 146097;
  const auto day_of_era = shifted % 146097;
  const auto year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
  const auto day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
  const auto month_from_march = (5 * day_of_year + 2) / 153;
  const auto day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
  const auto month = month_from_march < 10 ? month_from_march + 3 : month_from_march - 9;
  const auto year = 1600 + era * 400 + year_of_era + (month <= 2 ? 1 : 0);
  const auto seconds = ticks / 10'000'000;
  return fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:07}Z", year, month, day, seconds / 3600,
                     seconds / 60 % 60, seconds % 60, ticks % 10'000'000);
}

}  // namespace roamstead::registry
