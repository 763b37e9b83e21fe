#include "common/ntfs/runs.h"

#include <fmt/format.h>

namespace roamstead::ntfs {
namespace {

// A little-endian number of `size` (1 to 8) bytes, sign-extended.
std::int64_t load_signed(ByteView bytes, std::size_t at, unsigned size) {
  std::uint64_t value = 0;
  for (unsigned i = 0; i < size; ++i) value |= std::to_integer<std::uint64_t>(bytes[at + i]) << (8 * i);
  const unsigned unused = 64 - 8 * size;
  return static_cast<std::int64_t>(value << unused) >> unused;
}

void append(std::vector<Run>& runs, const Run& run) {
  if (!runs.empty()) {
    auto& last = runs.back();
    if (last.sparse == run.sparse && (run.sparse || last.lcn + last.clusters == run.lcn)) {
      last.clusters += run.clusters;
      return;
    }
  }
  runs.push_back(run);
}

}  // namespace

Result<void> append_runs(ByteView pairs, std::uint64_t first_vcn, std::uint64_t clusters,
                         std::uint64_t volume_clusters, std::vector<Run>& runs) {
  std::uint64_t done = 0;
  std::int64_t lcn = 0;
  std::size_t at = 0;
  while (at < pairs.size() && pairs[at] != std::byte{0}) {
    const auto head = std::to_integer<unsigned>(pairs[at]);
    const unsigned length_bytes = head & 15;
    const unsigned offset_bytes = head >> 4;
    if (length_bytes == 0 || length_bytes > 8 || offset_bytes > 8 ||
        pairs.size() - at - 1 < length_bytes + offset_bytes)
      return fail(ErrorCode::corrupt,
                  fmt::format("mapping pair 0x{:02x} at byte {} of {}", head, at, pairs.size()));
    const auto length = load_signed(pairs, at + 1, length_bytes);
    if (length <= 0 || static_cast<std::uint64_t>(length) > clusters - done)
      return fail(ErrorCode::corrupt, fmt::format("a run of {} clusters at cluster {} where {} are left",
                                                  length, first_vcn + done, clusters - done));
    Run run{first_vcn + done, 0, static_cast<std::uint64_t>(length), offset_bytes == 0};
    if (!run.sparse) {
      if (__builtin_add_overflow(lcn, load_signed(pairs, at + 1 + length_bytes, offset_bytes), &lcn) ||
          lcn < 0 || static_cast<std::uint64_t>(lcn) > volume_clusters ||
          run.clusters > volume_clusters - static_cast<std::uint64_t>(lcn))
        return fail(ErrorCode::corrupt,
                    fmt::format("a run of {} clusters at cluster {} lies at {} on a volume of {}", length,
                                run.vcn, lcn, volume_clusters));
      run.lcn = static_cast<std::uint64_t>(lcn);
    }
    append(runs, run);
    done += run.clusters;
    at += 1 + length_bytes + offset_bytes;
  }
  if (done != clusters)
    return fail(ErrorCode::corrupt, fmt::format("the runs end at cluster {}, expected {}", first_vcn + done,
                                                first_vcn + clusters));
  return {};
}

}  // namespace roamstead::ntfs
