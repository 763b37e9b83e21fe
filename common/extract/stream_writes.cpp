#include "common/extract/stream_writes.h"

#include <algorithm>
#include <array>

namespace roamstead::extract {
namespace {

constexpr std::uint64_t kChunkBytes = 64 * kTagBlockBytes;

// What provenance says of bytes on the volume.
enum class Class {
  content,
  loaded,      // the base's bytes, there
  not_loaded,  // the base's bytes, not there (zeros stand for them)
};

std::uint64_t round_up(std::uint64_t value, std::uint64_t limit) {
  const auto rest = value % kTagBlockBytes;
  if (rest == 0) return std::min(value, limit);
  const auto gap = kTagBlockBytes - rest;
  return value > limit || limit - value < gap ? limit : value + gap;
}

std::uint64_t base_limit(const StreamSide& side) {
  return side.state == nullptr ? 0 : std::min(side.state->base_limit, side.stream->size_bytes);
}

// Of the part of a block that lies below the base limit.
Class classify(const StreamSide& side, std::uint64_t block, ByteView part) {
  const auto tag = side.state->tags.find(block);
  if (tag != side.state->tags.end() && tag->second == block_tag(part)) return Class::loaded;
  if (tag != side.state->tags.end() && !side.dehydrated) return Class::content;
  return all_zero(part) ? Class::not_loaded : Class::content;
}

// Where two snapshots of one stream keep their bytes in different places.
void add_moved_runs(const ntfs::StreamInfo& now, const ntfs::StreamInfo& before, std::uint64_t cluster_bytes,
                    RangeSet& examine) {
  std::size_t i = 0, k = 0;
  for (std::uint64_t vcn = 0; i < now.runs.size();) {
    const auto& run = now.runs[i];
    while (k < before.runs.size() && before.runs[k].vcn + before.runs[k].clusters <= vcn) ++k;
    auto end = run.vcn + run.clusters;
    bool same = false;
    if (k < before.runs.size() && before.runs[k].vcn <= vcn) {
      const auto& old = before.runs[k];
      end = std::min(end, old.vcn + old.clusters);
      same =
          run.sparse == old.sparse && (run.sparse || run.lcn + (vcn - run.vcn) == old.lcn + (vcn - old.vcn));
    }
    if (!same) examine.add({vcn * cluster_bytes, (end - vcn) * cluster_bytes});
    vcn = end;
    if (vcn >= run.vcn + run.clusters) ++i;
  }
}

void add_between(std::uint64_t a, std::uint64_t b, RangeSet& examine) {
  if (a != b) examine.add({std::min(a, b), std::max(a, b) - std::min(a, b)});
}

void add_changed_tags(const ItemState::StreamState* now, const ItemState::StreamState* before,
                      RangeSet& examine) {
  if (now == nullptr) return;
  for (const auto& [block, tag] : now->tags) {
    if (before != nullptr)
      if (auto old = before->tags.find(block); old != before->tags.end() && old->second == tag) continue;
    examine.add({block * kTagBlockBytes, kTagBlockBytes});
  }
}

// Whole pieces of the stream. `piece_bytes` is a power of two.
RangeSet clip_to(std::uint64_t piece_bytes, const RangeSet& ranges, std::uint64_t size_bytes) {
  RangeSet result;
  for (auto range : ranges.ranges()) {
    if (range.offset >= size_bytes) break;
    const auto begin = range.offset & ~(piece_bytes - 1);
    const auto rest = range.end() & (piece_bytes - 1);
    const auto gap = rest == 0 ? 0 : piece_bytes - rest;
    const auto end =
        range.end() >= size_bytes || size_bytes - range.end() < gap ? size_bytes : range.end() + gap;
    result.add({begin, end - begin});
  }
  return result;
}

// What is compressed together changes together, and lies in clusters that are not those of its bytes.
std::uint64_t piece_bytes(const StreamSide& side) {
  const auto& stream = *side.stream;
  return stream.compressed && !stream.resident
             ? std::max<std::uint64_t>(
                   kTagBlockBytes, std::uint64_t{stream.unit_clusters} * side.volume->info().cluster_bytes)
             : kTagBlockBytes;
}

class BlockComparison {
 public:
  BlockComparison(const StreamSide& now, const StreamBefore& before) : now_(now), before_(before) {
    before_limit_ = before.kind == StreamBefore::Kind::volume      ? base_limit(before.side)
                    : before.kind == StreamBefore::Kind::published ? before.size_bytes
                    : before.kind != StreamBefore::Kind::saved     ? 0
                    : before.saved == nullptr                      ? before.size_bytes
                                              : std::min(before.saved->base_limit, before.size_bytes);
  }

  // `now` is the block's bytes, `before` those of the tree before where they are on a volume.
  void compare(std::uint64_t block, ByteView now, ByteView before) {
    const auto at = block * kTagBlockBytes;
    const auto clamp = [&](std::uint64_t end) {
      return end <= at ? std::size_t{0}
                       : static_cast<std::size_t>(std::min<std::uint64_t>(end - at, kTagBlockBytes));
    };
    const auto now_base = std::min(clamp(base_limit(now_)), now.size());
    const auto before_size = clamp(before_.size_bytes);
    const auto before_base = std::min(clamp(before_limit_), before_size);
    const auto now_low = now_base == 0 ? Class::content : classify(now_, block, now.first(now_base));
    auto before_low = Class::not_loaded;
    if (before_.kind == StreamBefore::Kind::volume && before_base != 0)
      before_low = classify(before_.side, block, before.first(before_base));
    const bool equals_base = same_as_base(block, now, before_base);
    const auto* saved_tag = find_saved_tag(block);
    const bool equals_saved =
        saved_tag != nullptr && now.size() >= before_size && *saved_tag == block_tag(now.first(before_size));
    const bool edge = before_.saved != nullptr && before_.saved->edge_is_base && before_base < before_size;
    const auto saved_base = saved_tag == nullptr || edge ? before_base : 0;
    // Sent as content since its tag was not recorded yet, and gone again since.
    const auto* base_tag = find_base_tag(block);
    const bool was_base =
        now_low == Class::not_loaded && base_tag != nullptr &&
        (before_.kind == StreamBefore::Kind::saved ? saved_tag != nullptr && *saved_tag == *base_tag
                                                   : before_base != 0 && before.size() >= before_base &&
                                                         *base_tag == block_tag(before.first(before_base)));

    std::array<std::size_t, 5> cuts = {0, now_base, before_base, before_size, now.size()};
    std::sort(cuts.begin(), cuts.end());
    for (std::size_t i = 0; i + 1 < cuts.size(); ++i) {
      const auto begin = cuts[i], end = std::min(cuts[i + 1], now.size());
      if (begin >= end) continue;
      const auto now_class = begin < now_base ? now_low : Class::content;
      const auto part = now.subspan(begin, end - begin);
      bool travels = false;
      if (begin >= before_size) {
        travels = now_class != Class::not_loaded && !all_zero(part);
        if (now_class == Class::not_loaded && before_.kind == StreamBefore::Kind::none && !missing_at_)
          missing_at_ = at + begin;
      } else if (before_.kind == StreamBefore::Kind::saved && begin >= saved_base) {
        travels = saved_tag != nullptr ? !equals_saved && !(now_class == Class::not_loaded && was_base)
                                       : !all_zero(part);
      } else {
        const auto before_class =
            before_.kind == StreamBefore::Kind::volume && begin >= before_base ? Class::content : before_low;
        const auto old = before.size() >= end ? before.subspan(begin, end - begin) : ByteView();
        const bool is_of_base = begin < before_base;
        travels =
            differs(now_class, before_class, part, old, is_of_base && equals_base, is_of_base && was_base);
      }
      // Zeros that stand for bytes which are not here are nobody's content.
      if (travels && now_class == Class::not_loaded && now_.dehydrated) {
        travels = false;
        if (!missing_at_) missing_at_ = at + begin;
      }
      if (travels) writes_.add({at + begin, end - begin});
    }
  }

  StreamWrites take() { return {writes_.ranges(), missing_at_}; }

 private:
  const BlockTag* find_saved_tag(std::uint64_t block) const {
    if (before_.kind != StreamBefore::Kind::saved || before_.saved == nullptr) return nullptr;
    const auto tag = before_.saved->tags.find(block);
    return tag == before_.saved->tags.end() ? nullptr : &tag->second;
  }
  // Whether the block's part that is the base's in the tree before has, by its tag, the bytes that are there
  // now.
  bool same_as_base(std::uint64_t block, ByteView now, std::size_t before_base) const {
    if (before_base == 0 || now.size() < before_base) return false;
    const auto* tag = find_base_tag(block);
    return tag != nullptr && *tag == block_tag(now.first(before_base));
  }
  const BlockTag* find_base_tag(std::uint64_t block) const {
    if (before_.base_tags == nullptr) return nullptr;
    for (const auto* tags : {&before_.base_tags->tags, &before_.base_tags->tags_before})
      if (const auto tag = tags->find(block); tag != tags->end()) return &tag->second;
    return nullptr;
  }

  bool differs(Class now_class, Class before_class, ByteView now, ByteView before, bool equals_base,
               bool was_base) const {
    if (before_.kind == StreamBefore::Kind::unknown) return now_class != Class::not_loaded;
    const bool before_known = before_.kind == StreamBefore::Kind::volume &&
                              before_class != Class::not_loaded && before.size() == now.size();
    const bool equal = before_known && std::equal(now.begin(), now.end(), before.begin());
    if (equal) return false;
    if (now_class == Class::content) return !(equals_base && before_class != Class::content);
    // The base's bytes now. So had the tree before, unless a program had written there.
    return before_.kind == StreamBefore::Kind::volume && before_class == Class::content && !was_base;
  }

  const StreamSide& now_;
  const StreamBefore& before_;
  std::uint64_t before_limit_ = 0;
  RangeSet writes_;
  std::optional<std::uint64_t> missing_at_;
};

}  // namespace

RangeSet ranges_to_examine(const StreamSide& now, const StreamBefore& before, const RangeSet* changed) {
  const auto& stream = *now.stream;
  const std::uint64_t cluster_bytes = now.volume->info().cluster_bytes;
  RangeSet examine;
  const bool compare_snapshots = before.kind == StreamBefore::Kind::volume && before.same_file &&
                                 changed != nullptr && !stream.resident && !before.side.stream->resident &&
                                 piece_bytes(now) == piece_bytes(before.side);
  if (stream.resident) {
    examine.add({0, stream.size_bytes});
  } else if (compare_snapshots) {
    add_moved_runs(stream, *before.side.stream, cluster_bytes, examine);
    for (const auto& extent : now.volume->device_extents(stream))
      for (auto part : changed->covered(extent.device))
        examine.add({extent.stream_offset + (part.offset - extent.device.offset), part.length});
    add_between(base_limit(now), base_limit(before.side), examine);
    if (now.state != nullptr && before.side.state != nullptr)
      add_between(now.state->base_limit, before.side.state->base_limit, examine);
    add_between(stream.size_bytes, before.size_bytes, examine);
    add_between(stream.valid_bytes, before.side.stream->valid_bytes, examine);
    add_changed_tags(now.state, before.side.state, examine);
  } else {
    // Holes below the base limit are not loaded, holes beyond what the tree before has are zero there too.
    for (const auto& extent : now.volume->device_extents(stream))
      if (extent.stream_offset < stream.valid_bytes)
        examine.add({extent.stream_offset,
                     std::min(extent.device.length, stream.valid_bytes - extent.stream_offset)});
    add_changed_tags(now.state, nullptr, examine);
    add_changed_tags(before.saved, nullptr, examine);
    if (before.size_bytes > base_limit(now)) add_between(base_limit(now), before.size_bytes, examine);
    if (before.kind == StreamBefore::Kind::volume || before.kind == StreamBefore::Kind::none)
      add_between(0, base_limit(now), examine);
  }
  return clip_to(piece_bytes(now), examine, stream.size_bytes);
}

Result<StreamWrites> find_writes(const StreamSide& now, const StreamBefore& before, const RangeSet& examine) {
  BlockComparison comparison(now, before);
  Bytes now_bytes, before_bytes;
  for (auto range : examine.ranges()) {
    for (auto at = range.offset; at < range.end();) {
      const auto length = std::min(kChunkBytes, range.end() - at);
      now_bytes.resize(length);
      RS_CHECK(now.volume->read(*now.stream, at, now_bytes));
      before_bytes.clear();
      if (before.kind == StreamBefore::Kind::volume && at < before.size_bytes) {
        // To the block's end: a tag covers more than `now` may have left.
        before_bytes.resize(std::min(round_up(at + length, before.size_bytes), before.size_bytes) - at);
        RS_CHECK(before.side.volume->read(*before.side.stream, at, before_bytes));
      }
      for (std::uint64_t in = 0; in < length; in += kTagBlockBytes) {
        const auto part = [&](ByteView bytes) {
          return in >= bytes.size()
                     ? ByteView()
                     : bytes.subspan(in, std::min<std::size_t>(kTagBlockBytes, bytes.size() - in));
        };
        comparison.compare((at + in) / kTagBlockBytes, part(now_bytes), part(before_bytes));
      }
      at += length;
    }
  }
  return comparison.take();
}

}  // namespace roamstead::extract
