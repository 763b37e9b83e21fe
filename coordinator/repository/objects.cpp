#include "coordinator/repository/objects.h"

namespace roamstead::repository {
namespace {

constexpr std::byte kInPage{0};
constexpr std::byte kExternal{1};
// Larger ones (many streams, long descriptors) lie beside the page, or pages would hold too few.
constexpr std::size_t kMaxRecordInPage = 4u << 10;

}  // namespace

Result<ObjectId> ProfileObjects::put(ObjectType type, const ProfileId& owner, ByteView content) {
  std::uint64_t added = 0;
  auto id = store_.put(type, owner, content, added);
  new_bytes_ += added;
  return id;
}

Result<std::shared_ptr<const Page>> ProfileObjects::load(const ObjectId& id, KeyOrder order) {
  RS_TRY(auto bytes, store_.get(ObjectType::page, profile_, id));
  RS_TRY_CTX(auto page, "object " + id.short_text(), Page::parse(std::move(bytes), order));
  return page;
}

Result<Bytes> ProfileObjects::store_node(const Node& node) { return store_record(encode_node(node)); }

Result<Bytes> ProfileObjects::store_record(ByteView encoded) {
  Bytes value;
  if (encoded.size() <= kMaxRecordInPage) {
    value.push_back(kInPage);
    value.insert(value.end(), encoded.begin(), encoded.end());
    return value;
  }
  if (encoded.size() > kMaxObjectBytes)
    return fail(ErrorCode::unsupported,
                "an entry with streams and descriptors of " + std::to_string(encoded.size()) + " bytes");
  RS_TRY(auto id, put(ObjectType::entry, profile_, encoded));
  value.push_back(kExternal);
  value.insert(value.end(), id.bytes.begin(), id.bytes.end());
  return value;
}

std::optional<ObjectId> ProfileObjects::external_node(ByteView value) {
  if (value.size() != 33 || value[0] != kExternal) return std::nullopt;
  return ObjectId::from(value.subspan(1));
}

Result<Bytes> ProfileObjects::load_record(ByteView value) const {
  if (!value.empty() && value[0] == kInPage) return to_bytes(value.subspan(1));
  auto id = external_node(value);
  if (!id) return fail(ErrorCode::corrupt, "record: neither in its page nor beside it");
  RS_TRY(auto bytes, store_.get(ObjectType::entry, profile_, *id));
  return *bytes;
}

Result<Node> ProfileObjects::load_node(ByteView value) const {
  if (value.empty()) return fail(ErrorCode::corrupt, "node: empty");
  if (value[0] == kInPage) return parse_node(value.subspan(1));
  auto id = external_node(value);
  if (!id) return fail(ErrorCode::corrupt, "node: neither in its page nor beside it");
  RS_TRY(auto bytes, store_.get(ObjectType::entry, profile_, *id));
  RS_TRY_CTX(auto node, "object " + id->short_text(), parse_node(*bytes));
  return node;
}

}  // namespace roamstead::repository
