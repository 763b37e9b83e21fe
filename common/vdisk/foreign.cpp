#include "common/vdisk/foreign.h"

#include <algorithm>
#include <array>
#include <string_view>

#include "common/base/bytes.h"

namespace roamstead::vdisk {
namespace {

struct Magic {
  std::string_view format;
  std::uint64_t offset;
  std::string_view text;
};
// As the formats' public descriptions and the manuals of those who write them have it.
constexpr std::array<Magic, 7> kMagics{{{"vmdk", 0, "KDMV"},
                                        {"vmdk", 0, "COWD"},
                                        {"vmdk", 0, "# Disk DescriptorFile"},
                                        {"vdi", 0x40, "\x7f\x10\xda\xbe"},
                                        {"qed", 0, std::string_view("QED\0", 4)},
                                        {"parallels", 0, "WithoutFreeSpace"},
                                        {"parallels", 0, "WithouFreSpacExt"}}};
constexpr std::size_t kStartBytes = 0x50;
constexpr std::size_t kTrailerBytes = 512;  // of a DMG

struct Extension {
  std::string_view text, format;
};
constexpr std::array<Extension, 6> kExtensions{{{".vmdk", "vmdk"},
                                                {".vdi", "vdi"},
                                                {".qed", "qed"},
                                                {".hdd", "parallels"},
                                                {".hds", "parallels"},
                                                {".dmg", "dmg"}}};

}  // namespace

Result<std::optional<std::string>> foreign_content(const os::File& file) {
  Bytes start(kStartBytes);
  RS_TRY(const auto count, file.read_at(0, start));
  const auto text = as_text(ByteView(start).first(count));
  for (const auto& magic : kMagics)
    if (text.size() >= magic.offset && text.substr(magic.offset).starts_with(magic.text))
      return std::optional(std::string(magic.format));
  RS_TRY(const auto size, file.size());
  if (size >= kTrailerBytes) {
    Bytes trailer(4);
    RS_CHECK(file.read_exactly(size - kTrailerBytes, trailer));
    if (as_text(trailer) == "koly") return std::optional(std::string("dmg"));
  }
  return std::optional<std::string>{};
}

Result<std::optional<std::string>> foreign_format(const os::File& file, const std::string& path) {
  auto name = os::base_name(path);
  std::transform(name.begin(), name.end(), name.begin(),
                 [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; });
  RS_TRY(auto content, foreign_content(file));
  if (content)
    for (const auto& extension : kExtensions)
      if (name.ends_with(extension.text) && extension.format == *content) return content;
  return std::optional<std::string>{};
}

}  // namespace roamstead::vdisk
