// What NTFS and its filters pack into bytes: compressed units and chunks, change journal records, reparse
// points, security descriptors. The first byte chooses, the second the size of what is unpacked.
#include "common/ntfs/lznt1.h"
#include "common/ntfs/lzx.h"
#include "common/ntfs/reparse.h"
#include "common/ntfs/security_text.h"
#include "common/ntfs/usn_journal.h"
#include "common/ntfs/wof.h"
#include "common/ntfs/xpress.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace roamstead;
  if (size < 6) return 0;
  const auto in = std::as_bytes(std::span(data, size)).subspan(2);
  const auto room = std::size_t{data[1]} * 128;  // at most 32 KiB
  // Exactly as large as told, so that a byte too many is seen.
  switch (data[0] % 6) {
    case 0: {
      Bytes unit(data[1] % 2 == 0 ? 8192 : 65536);
      (void)ntfs::decompress_lznt1(in, unit);
      break;
    }
    case 1: {
      Bytes chunk(room);
      (void)ntfs::decompress_xpress_huffman(in, chunk);
      break;
    }
    case 2: {
      Bytes chunk(room);
      (void)ntfs::decompress_lzx(in, chunk);
      break;
    }
    case 3:
      for (std::size_t at = 0; at < in.size();) {
        const auto parsed = ntfs::parse_usn_record(in.subspan(at), at);
        if (!parsed) break;
        at += parsed->length;
      }
      break;
    case 4: {
      static constexpr std::uint32_t kTags[] = {
          ntfs::kMountPointTag, ntfs::kSymlinkTag, ntfs::kWofTag, 0x8000001B,
          0xA000001D,           0x9000001A,        0x80000013};
      ntfs::describe_reparse(kTags[data[1] % 7], in).to_string();
      break;
    }
    default:
      (void)ntfs::describe_security(in);
  }
  return 0;
}
