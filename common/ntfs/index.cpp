#include "common/ntfs/index.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <unordered_set>

#include "common/ntfs/record.h"

namespace roamstead::ntfs {
namespace {

constexpr std::size_t kRootHeaderBytes = 16;
constexpr std::size_t kBlockHeaderBytes = 24;
constexpr std::size_t kNodeHeaderBytes = 16;
constexpr std::size_t kEntryHeaderBytes = 16;
constexpr std::uint16_t kHasChild = 1;
constexpr std::uint16_t kLast = 2;
constexpr unsigned kMaxDepth = 32;

struct RawEntry {
  IndexEntry entry;
  std::optional<std::uint64_t> child;
  bool last = false;
  std::size_t length = 0;
};

Result<RawEntry> parse_entry(ByteView node, std::size_t at) {
  const auto left = node.size() - at;
  const std::size_t length = left < kEntryHeaderBytes ? 0 : load_le<std::uint16_t>(node, at + 8);
  if (length < kEntryHeaderBytes || length % 8 != 0 || length > left)
    return fail(ErrorCode::corrupt,
                fmt::format("index entry of {} bytes at {} of {}", length, at, node.size()));
  const auto bytes = node.subspan(at, length);
  const std::size_t key_bytes = load_le<std::uint16_t>(bytes, 10);
  const auto flags = load_le<std::uint16_t>(bytes, 12);
  RawEntry raw;
  raw.length = length;
  raw.last = (flags & kLast) != 0;
  const bool has_child = (flags & kHasChild) != 0;
  const auto room = length - kEntryHeaderBytes;
  if (room < (has_child ? 8u : 0u) || (!raw.last && key_bytes > room - (has_child ? 8 : 0)))
    return fail(ErrorCode::corrupt,
                fmt::format("index entry at {}: a key of {} bytes in {}", at, key_bytes, length));
  if (has_child) raw.child = load_le<std::uint64_t>(bytes, length - 8);
  if (raw.last) return raw;
  raw.entry.reference = load_le<std::uint64_t>(bytes, 0);
  raw.entry.key = bytes.subspan(kEntryHeaderBytes, key_bytes);
  // In view indexes the reference's place says where the data lies.
  const std::size_t data_at = load_le<std::uint16_t>(bytes, 0);
  const std::size_t data_bytes = load_le<std::uint16_t>(bytes, 2);
  if (data_at <= length && data_bytes <= length - data_at)
    raw.entry.data = bytes.subspan(data_at, data_bytes);
  return raw;
}

// The entries of a node, from its header on.
Result<ByteView> node_entries(ByteView node) {
  if (node.size() < kNodeHeaderBytes) return fail(ErrorCode::corrupt, "an index node without a header");
  const auto first = load_le<std::uint32_t>(node, 0);
  const auto end = load_le<std::uint32_t>(node, 4);
  if (first < kNodeHeaderBytes || first > end || end > node.size() || first % 8 != 0)
    return fail(ErrorCode::corrupt,
                fmt::format("index entries from byte {} to {} of a node of {}", first, end, node.size()));
  return node.subspan(first, end - first);
}

}  // namespace

struct IndexTree::Walk {
  const Compare* compare;  // null: all
  const Visit& visit;
  std::unordered_set<std::uint64_t> visited;
};

Result<IndexTree> IndexTree::open(const vdisk::BlockDevice& device, const Geometry& geometry, ByteView root,
                                  const StreamInfo* allocation) {
  if (root.size() < kRootHeaderBytes + kNodeHeaderBytes)
    return fail(ErrorCode::corrupt, "index root too short");
  IndexTree tree(device, geometry);
  tree.root_ = root.subspan(kRootHeaderBytes);
  tree.allocation_ = allocation;
  tree.block_bytes_ = load_le<std::uint32_t>(root, 8);
  if (!std::has_single_bit(tree.block_bytes_) || tree.block_bytes_ < 512 || tree.block_bytes_ > (64u << 10))
    return fail(ErrorCode::corrupt, fmt::format("index blocks of {} bytes", tree.block_bytes_));
  tree.vcn_bytes_ = tree.block_bytes_ >= geometry.cluster_bytes ? geometry.cluster_bytes : 512;
  return tree;
}

Result<Bytes> IndexTree::read_block(std::uint64_t vcn) const {
  if (allocation_ == nullptr || vcn >= allocation_->size_bytes / vcn_bytes_ ||
      allocation_->size_bytes - vcn * vcn_bytes_ < block_bytes_)
    return fail(ErrorCode::corrupt, fmt::format("no index block {}", vcn));
  Bytes block(block_bytes_);
  RS_CHECK(read_stream(device_, geometry_, *allocation_, vcn * vcn_bytes_, block));
  if (as_text(ByteView(block).first(4)) != "INDX")
    return fail(ErrorCode::corrupt, fmt::format("index block {}: no INDX signature", vcn));
  RS_CHECK_CTX(fmt::format("index block {}", vcn), apply_fixups(block));
  if (const auto says = load_le<std::uint64_t>(block, 16); says != vcn)
    return fail(ErrorCode::corrupt, fmt::format("index block {} says it is {}", vcn, says));
  return block;
}

Result<bool> IndexTree::descend(std::uint64_t vcn, Walk& walk, unsigned depth) const {
  if (depth >= kMaxDepth || !walk.visited.insert(vcn).second)
    return fail(ErrorCode::corrupt, fmt::format("index block {} is reached twice or too deep", vcn));
  RS_TRY(const auto block, read_block(vcn));
  RS_TRY_CTX(auto go_on, fmt::format("index block {}", vcn),
             walk_node(ByteView(block).subspan(kBlockHeaderBytes), walk, depth + 1));
  return go_on;
}

Result<bool> IndexTree::walk_node(ByteView node, Walk& walk, unsigned depth) const {
  RS_TRY(const auto entries, node_entries(node));
  for (std::size_t at = 0;;) {
    RS_TRY(const auto raw, parse_entry(entries, at));
    int order = 0;
    if (walk.compare != nullptr) {
      order = -1;
      if (!raw.last) {
        RS_TRY(order, (*walk.compare)(raw.entry));
      }
    }
    if (raw.child && order <= 0) {
      RS_TRY(const auto go_on, descend(*raw.child, walk, depth));
      if (!go_on) return false;
    }
    if (raw.last) return true;
    if (order < 0) return true;
    if (order == 0) {
      RS_TRY(const auto go_on, walk.visit(raw.entry));
      if (!go_on) return false;
    }
    at += raw.length;
  }
}

Result<void> IndexTree::for_each(const Visit& visit, std::vector<std::uint64_t>* blocks) const {
  Walk walk{nullptr, visit, {}};
  const auto walked = walk_node(root_, walk, 0);
  if (blocks != nullptr)
    for (const auto vcn : walk.visited) blocks->push_back(vcn * vcn_bytes_ / block_bytes_);
  if (!walked) return fail(walked.error());
  return {};
}

Result<void> IndexTree::find(const Compare& compare, const Visit& visit) const {
  Walk walk{&compare, visit, {}};
  RS_CHECK(walk_node(root_, walk, 0));
  return {};
}

}  // namespace roamstead::ntfs
