// A small sound volume patched by the input: pieces of 2 bytes place (in units of 2 bytes), 1 byte length,
// bytes. Without the upper-case table, which takes most of the volume and where no byte can do harm.
#include "tests/support/memory_device.h"
#include "tests/support/ntfs_questions.h"
#include "tests/support/tiny_ntfs.h"

using roamstead::support::TinyNtfs;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const auto sound = TinyNtfs::make();
  static roamstead::support::MemoryDevice device(sound);
  constexpr std::size_t kTableBytes = 131072;
  const auto room = sound.size() - kTableBytes;
  std::vector<roamstead::ByteRange> patched;
  for (std::size_t at = 0; at + 3 <= size;) {
    auto place = (data[at] | std::size_t{data[at + 1]} << 8) * 2 % room;
    if (place >= TinyNtfs::kUpcaseLcn * 512) place += kTableBytes;
    const auto length = std::min<std::size_t>({data[at + 2], size - at - 3, sound.size() - place});
    for (std::size_t i = 0; i < length; ++i)
      device.content()[place + i] = static_cast<std::byte>(data[at + 3 + i]);
    patched.push_back({place, length});
    at += 3 + length;
  }
  // By turns, for speed: either reads most of the volume.
  if (size % 2 == 0)
    roamstead::support::ask_everything(device, {"FILE", "sub/big", "none"});
  else
    roamstead::support::ask_tools(device);
  for (const auto& range : patched)
    std::copy_n(sound.begin() + static_cast<std::ptrdiff_t>(range.offset), range.length,
                device.content().begin() + static_cast<std::ptrdiff_t>(range.offset));
  return 0;
}
