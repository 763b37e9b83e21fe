// A patched dirty hive and its patched log: recovered, and what that gives read.
#include "common/registry/recovery.h"

#include "tests/fuzz/regf_input.h"

using namespace roamstead;
using namespace roamstead::registry;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  auto patched = fuzz::patch(data, size);
  auto& [options, hive, log] = patched;
  // Checksums are made right, so that what they guard is reached.
  test::make_dirty(hive, 8);
  if ((options & 1) == 0) seal_base_block(log, load_le<std::uint32_t>(log, 4));
  if ((options & 2) == 0)
    for (std::size_t at = 512; at + 40 <= log.size();) {
      const auto bytes = load_le<std::uint32_t>(log, at + 4);
      if (bytes < 40 || bytes > log.size() - at) break;
      test::seal_entry(MutableByteView(log).subspan(at, bytes));
      at += bytes;
    }
  const LogFile file{"LOG1", log};
  if (auto recovery = recover(hive, "patched", {&file, 1}))
    if (auto opened = Hive::open(recovery->file, "recovered")) fuzz::read_all(*opened);
  return 0;
}
