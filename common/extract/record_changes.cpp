#include "common/extract/record_changes.h"

#include <algorithm>

namespace roamstead::extract {
namespace {

// Records that lie in other clusters than before, or are in one of the two MFTs only: what is there now may
// have been lying there before and so be no changed byte.
void add_moved(const ntfs::Volume& now, const ntfs::Volume& before, RangeSet& numbers) {
  const auto& runs = now.mft().runs;
  const auto& old_runs = before.mft().runs;
  const std::uint64_t cluster_bytes = now.info().cluster_bytes, record_bytes = now.info().record_bytes;
  const auto fewer = std::min(now.info().record_count, before.info().record_count);
  const auto more = std::max(now.info().record_count, before.info().record_count);
  numbers.add({fewer, more - fewer});
  for (std::size_t i = 0, k = 0; i < runs.size() && k < old_runs.size();) {
    const auto vcn = std::max(runs[i].vcn, old_runs[k].vcn);
    const auto end = std::min(runs[i].vcn + runs[i].clusters, old_runs[k].vcn + old_runs[k].clusters);
    const bool same = runs[i].lcn + (vcn - runs[i].vcn) == old_runs[k].lcn + (vcn - old_runs[k].vcn);
    if (vcn < end && !same) {
      const auto first = std::min(vcn * cluster_bytes / record_bytes, fewer);
      const auto last = std::min((end * cluster_bytes - 1) / record_bytes + 1, fewer);
      if (first < last) numbers.add({first, last - first});
    }
    if (runs[i].vcn + runs[i].clusters == end)
      ++i;
    else
      ++k;
  }
}

}  // namespace

Result<std::set<std::uint64_t>> changed_records(const ntfs::Volume& now, const ntfs::Volume& before,
                                                const RangeSet& changed, std::uint64_t& looked_at) {
  RangeSet numbers;
  for (auto range : changed.ranges())
    for (const auto* volume : {&now, &before})
      for (const auto& span : volume->records_in(range)) numbers.add({span.first, span.count});
  add_moved(now, before, numbers);
  looked_at += numbers.total_bytes();
  std::set<std::uint64_t> records;
  for (auto range : numbers.ranges()) {
    for (auto number = range.offset; number < range.end(); ++number) {
      auto a = now.raw_record(number);
      auto b = before.raw_record(number);
      if (a && b && *a == *b) continue;
      for (const auto* error : {a ? nullptr : &a.error(), b ? nullptr : &b.error()})
        if (error != nullptr && error->code == ErrorCode::io) return fail(*error);
      records.insert(number);
      if (auto base = now.base_record(number)) records.insert(*base);
      if (auto base = before.base_record(number)) records.insert(*base);
    }
  }
  return records;
}

}  // namespace roamstead::extract
