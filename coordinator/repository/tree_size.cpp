#include "coordinator/repository/tree_size.h"

#include "coordinator/repository/hive_place.h"
#include "coordinator/repository/hive_record.h"

namespace roamstead::repository {
namespace {

constexpr int kMaxMeasuredDepth = 1100;  // above what a batch may make

Result<std::uint64_t> measure(ProfileObjects& objects, const Node& node, int depth) {
  if (depth > kMaxMeasuredDepth) return fail(ErrorCode::corrupt, "a tree of too many folders in each other");
  auto bytes = content_bytes(node);
  if (node.entry.kind == profile::EntryKind::registry) {
    RS_TRY(auto values, hive_bytes(objects, node.children));
    return bytes + values;
  }
  if (!node.entry.is_directory()) return bytes;
  RS_CHECK(PageTree(objects, KeyOrder::names, node.children)
               .scan("", [&](std::string_view, ByteView value) -> Result<bool> {
                 RS_TRY(auto child, objects.load_node(value));
                 RS_TRY(auto below, measure(objects, child, depth + 1));
                 bytes += below;
                 return true;
               }));
  return bytes;
}

}  // namespace

std::uint64_t content_bytes(const profile::Entry& entry) {
  auto bytes = entry.kind == profile::EntryKind::file ? entry.size_bytes : 0;
  for (const auto& stream : entry.streams) bytes += stream.size_bytes;
  return bytes;
}

Result<std::uint64_t> hive_bytes(ProfileObjects& objects, const ObjectId& root) {
  std::uint64_t bytes = 0;
  RS_CHECK(PageTree(objects, KeyOrder::bytes, root)
               .scan("", [&](std::string_view at, ByteView value) -> Result<bool> {
                 RS_TRY(auto place, parse_place(at));
                 if (!place.is_value) return true;
                 RS_TRY(auto stored, objects.load_record(value));
                 RS_TRY(auto record, parse_value_record(stored));
                 bytes += record.size_bytes;
                 return true;
               }));
  return bytes;
}

Result<std::uint64_t> tree_bytes(ProfileObjects& objects, const Node& node) {
  return measure(objects, node, 0);
}

}  // namespace roamstead::repository
