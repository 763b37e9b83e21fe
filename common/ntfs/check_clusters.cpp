// $Bitmap against the union of all runs.
#include <fmt/format.h>

#include <algorithm>
#include <bit>

#include "common/ntfs/check_parts.h"
#include "common/ntfs/file_details.h"
#include "common/ntfs/runs.h"

namespace roamstead::ntfs {
namespace {

constexpr std::uint64_t kBitmapRecord = 6;
constexpr std::size_t kMaxConflicts = 4096;
constexpr std::size_t kMaxOwnersNamed = 8;

struct ClusterRange {
  std::uint64_t first = 0;
  std::uint64_t end = 0;
};

std::uint64_t mask(unsigned from, unsigned to) {  // bits [from, to) of a word
  const auto below = to == 64 ? ~std::uint64_t{0} : (std::uint64_t{1} << to) - 1;
  return below & ~((std::uint64_t{1} << from) - 1);
}

// Clusters [first, first + count) and who owns them, a bit each.
class Window {
 public:
  Window(std::uint64_t first, std::uint64_t count)
      : first_(first), end_(first + count), bits_((count + 63) / 64) {}

  std::uint64_t first() const { return first_; }
  std::uint64_t end() const { return end_; }
  std::uint64_t word(std::size_t index) const { return bits_[index]; }
  std::size_t words() const { return bits_.size(); }

  void own(std::uint64_t from, std::uint64_t to, std::vector<ClusterRange>& conflicts) {
    from = std::max(from, first_);
    to = std::min(to, end_);
    while (from < to) {
      const auto index = static_cast<std::size_t>((from - first_) / 64);
      const auto low = static_cast<unsigned>((from - first_) % 64);
      const auto count = std::min<std::uint64_t>(64 - low, to - from);
      const auto wanted = mask(low, low + static_cast<unsigned>(count));
      if (const auto twice = bits_[index] & wanted; twice != 0) note(index, twice, conflicts);
      bits_[index] |= wanted;
      from += count;
    }
  }

 private:
  void note(std::size_t index, std::uint64_t twice, std::vector<ClusterRange>& conflicts) const {
    for (; twice != 0; twice &= twice - 1) {
      const auto cluster = first_ + index * 64 + static_cast<unsigned>(std::countr_zero(twice));
      if (!conflicts.empty() && conflicts.back().end == cluster)
        conflicts.back().end = cluster + 1;
      else if (conflicts.size() < kMaxConflicts)
        conflicts.push_back({cluster, cluster + 1});
    }
  }

  std::uint64_t first_;
  std::uint64_t end_;
  std::vector<std::uint64_t> bits_;
};

using VisitRun = std::function<void(std::uint64_t record, const AttributeView&, const Run&)>;

// All runs of all records; runs that cannot be decoded are findings of check_records.
Result<void> for_each_run(Check& check, const VisitRun& visit) {
  std::vector<Run> runs;
  return check.for_each_record([&](std::uint64_t number, const LoadedRecord& record) {
    for (const auto& attribute : record.attributes) {
      if (attribute.resident) continue;
      runs.clear();
      // What was decoded before the damage is owned all the same.
      (void)append_runs(attribute.value, attribute.lowest_vcn, attribute.cluster_count,
                        check.geometry().cluster_count, runs);
      for (const auto& run : runs)
        if (!run.sparse) visit(number, attribute, run);
    }
  });
}

// Joins neighbours and gives whole ranges to `done`.
class RangeJoiner {
 public:
  explicit RangeJoiner(std::function<void(ClusterRange)> done) : done_(std::move(done)) {}
  ~RangeJoiner() { flush(); }
  RangeJoiner(const RangeJoiner&) = delete;
  RangeJoiner& operator=(const RangeJoiner&) = delete;

  void add(std::uint64_t first, std::uint64_t bits) {
    for (; bits != 0;) {
      const auto low = static_cast<unsigned>(std::countr_zero(bits));
      const auto count = static_cast<unsigned>(std::countr_one(bits >> low));
      if (range_.end != first + low) {
        flush();
        range_.first = first + low;
      }
      range_.end = first + low + count;
      bits &= low + count == 64 ? 0 : ~mask(low, low + count);
    }
  }
  void flush() {
    if (range_.end > range_.first) done_(range_);
    range_ = {};
  }

 private:
  std::function<void(ClusterRange)> done_;
  ClusterRange range_;
};

std::string text_of(ClusterRange range) {
  return range.end - range.first == 1 ? fmt::format("cluster {}", range.first)
                                      : fmt::format("clusters {} to {}", range.first, range.end - 1);
}

Result<void> compare(Check& check, const Window& window, BitStream& bitmap) {
  const auto place = [&](ClusterRange range) { return range.first * check.geometry().cluster_bytes; };
  RangeJoiner leaked([&](ClusterRange range) {
    check.report().leaked_clusters += range.end - range.first;
    check.add(Check::Severity::warning, place(range),
              text_of(range) + " marked as used, but of no file (leak)");
  });
  RangeJoiner unmarked([&](ClusterRange range) {
    check.add(Check::Severity::error, place(range), text_of(range) + " used by a file, but marked as free");
  });
  for (std::size_t i = 0; i < window.words(); ++i) {
    const auto first = window.first() + i * 64;
    const auto there = static_cast<unsigned>(std::min<std::uint64_t>(window.end() - first, 64));
    RS_TRY(const auto marked, bitmap.word(first / 64));
    const auto owned = window.word(i);
    check.report().used_clusters += static_cast<unsigned>(std::popcount(owned));
    leaked.add(first, marked & ~owned & mask(0, there));
    unmarked.add(first, owned & ~marked & mask(0, there));
  }
  return {};
}

// Names the owners of clusters that are owned twice, by another pass.
Result<void> name_conflicts(Check& check, std::vector<ClusterRange> conflicts) {
  std::sort(conflicts.begin(), conflicts.end(),
            [](const ClusterRange& a, const ClusterRange& b) { return a.first < b.first; });
  // One cluster may be met by several owners: joined.
  std::vector<ClusterRange> ranges;
  for (const auto& range : conflicts) {
    if (!ranges.empty() && range.first <= ranges.back().end)
      ranges.back().end = std::max(ranges.back().end, range.end);
    else
      ranges.push_back(range);
  }
  std::vector<std::vector<std::string>> owners(ranges.size());
  RS_CHECK(for_each_run(check, [&](std::uint64_t number, const AttributeView& attribute, const Run& run) {
    auto range = std::upper_bound(ranges.begin(), ranges.end(), run.lcn,
                                  [](std::uint64_t lcn, const ClusterRange& each) { return lcn < each.end; });
    for (; range != ranges.end() && range->first < run.lcn + run.clusters; ++range) {
      auto& names = owners[static_cast<std::size_t>(range - ranges.begin())];
      if (names.size() < kMaxOwnersNamed)
        names.push_back(fmt::format("record {} ({}, its cluster {})", number,
                                    attribute_type_name(attribute.type),
                                    run.vcn + (std::max(range->first, run.lcn) - run.lcn)));
    }
  }));
  for (std::size_t i = 0; i < ranges.size(); ++i)
    check.add(Check::Severity::error, ranges[i].first * check.geometry().cluster_bytes,
              fmt::format("{} with more than one owner: {}", text_of(ranges[i]), fmt::join(owners[i], ", ")));
  return {};
}

}  // namespace

Result<void> check_clusters(Check& check) {
  const auto clusters = check.geometry().cluster_count;
  const auto record = check.mft().load(kBitmapRecord);
  auto stream = record ? check.stream_of(kBitmapRecord, *record, kData, "")
                       : Result<std::optional<StreamInfo>>(fail(record.error()));
  if (!stream || !*stream) {
    check.add_at_record(
        Check::Severity::error, kBitmapRecord,
        "$Bitmap cannot be read: " + (stream ? "it has no data" : stream.error().to_string()));
    return {};
  }
  BitStream bitmap(check.device(), check.geometry(), std::move(**stream));
  if (bitmap.bits() < clusters)
    check.add_at_record(Check::Severity::error, kBitmapRecord,
                        fmt::format("$Bitmap has {} bits for {} clusters", bitmap.bits(), clusters));
  const auto step = std::max<std::uint64_t>(check.options().window_clusters / 64 * 64, 64);
  std::vector<ClusterRange> conflicts;
  for (std::uint64_t first = 0; first < clusters; first += step) {
    Window window(first, std::min(step, clusters - first));
    RS_CHECK(for_each_run(check, [&](std::uint64_t, const AttributeView&, const Run& run) {
      window.own(run.lcn, run.lcn + run.clusters, conflicts);
    }));
    if (auto compared = compare(check, window, bitmap); !compared) {
      check.add_at_record(Check::Severity::error, kBitmapRecord, compared.error().to_string());
      break;
    }
  }
  return conflicts.empty() ? Result<void>{} : name_conflicts(check, std::move(conflicts));
}

}  // namespace roamstead::ntfs
