#include "coordinator/join/sam.h"

#include <algorithm>
#include <cstdio>
#include <map>
#include <string>

#include "common/registry/format.h"

namespace roamstead::join {
namespace {

using compose::HiveId;
using compose::RegistryEdit;

constexpr std::string_view kAliases = "SAM\\Domains\\Builtin\\Aliases";

// The value C of an alias: a header with places relative to its end, then what they name.
namespace alias_value {
constexpr std::size_t kHeader = 0x34, kMembers = 0x28, kMembersBytes = 0x2c, kMembersCount = 0x30;
constexpr std::size_t kMaxBytes = 1u << 20;
}  // namespace alias_value

constexpr std::uint32_t kBinary = static_cast<std::uint32_t>(registry::ValueType::binary);

std::string rid_name(std::uint32_t rid) {
  char text[16] = {};
  std::snprintf(text, sizeof text, "%08X", static_cast<unsigned>(rid));
  return text;
}
std::string alias_path(std::uint32_t alias) { return std::string(kAliases) + "\\" + rid_name(alias); }
std::string where(const registry::Hive& sam, const std::string& key) {
  return "hive " + sam.name() + ", key " + key;
}

struct AliasValue {
  Bytes data;
  std::size_t members_at = 0;  // in `data`
  std::size_t members_bytes = 0;
  std::vector<Sid> members;
};

Result<AliasValue> parse_alias(ByteView data) {
  if (data.size() < alias_value::kHeader || data.size() > alias_value::kMaxBytes)
    return fail(ErrorCode::corrupt, "its value C has " + std::to_string(data.size()) + " bytes");
  AliasValue alias;
  alias.data = to_bytes(data);
  const std::uint64_t at = load_le<std::uint32_t>(data, alias_value::kMembers);
  const std::uint64_t bytes = load_le<std::uint32_t>(data, alias_value::kMembersBytes);
  const auto count = load_le<std::uint32_t>(data, alias_value::kMembersCount);
  const auto room = data.size() - alias_value::kHeader;
  if (bytes == 0 && count == 0) {  // an empty list may be said to be anywhere
    alias.members_at = data.size();
    return alias;
  }
  if (at > room || bytes > room - at)
    return fail(ErrorCode::corrupt, "the members in its value C lie beyond its end");
  alias.members_at = alias_value::kHeader + static_cast<std::size_t>(at);
  alias.members_bytes = static_cast<std::size_t>(bytes);
  auto rest = data.subspan(alias.members_at, alias.members_bytes);
  for (std::uint32_t i = 0; i < count; ++i) {
    RS_TRY_CTX(auto sid, "member " + std::to_string(i) + " in its value C", Sid::first_of(rest));
    rest = rest.subspan(sid.size_bytes());
    alias.members.push_back(std::move(sid));
  }
  return alias;
}

Result<AliasValue> read_alias(const registry::Hive& sam, std::uint32_t alias) {
  const auto path = alias_path(alias);
  RS_TRY_CTX(const auto key, where(sam, path), sam.find(path));
  RS_TRY_CTX(const auto value, where(sam, path), sam.find_value(key, u"C"));
  if (!value) return fail(ErrorCode::corrupt, where(sam, path) + ": has no value C");
  Bytes scratch;
  RS_TRY_CTX(const auto data, where(sam, path), sam.data(*value, scratch));
  RS_TRY_CTX(auto parsed, where(sam, path), parse_alias(data));
  return parsed;
}

void add_to(AliasValue& alias, const Sid& member) {
  auto& data = alias.data;
  if (alias.members_at + alias.members_bytes != data.size()) {
    // Windows has the members last. Where they are not, they move to the end, which begins at a multiple
    // of 4.
    const Bytes moved(data.begin() + static_cast<std::ptrdiff_t>(alias.members_at),
                      data.begin() + static_cast<std::ptrdiff_t>(alias.members_at + alias.members_bytes));
    alias.members_at = (data.size() + 3) / 4 * 4;
    data.resize(alias.members_at);
    data.insert(data.end(), moved.begin(), moved.end());
  }
  if (alias.members_bytes == 0) {
    alias.members_at = (data.size() + 3) / 4 * 4;
    data.resize(alias.members_at);
  }
  const auto bytes = member.to_bytes();
  data.insert(data.end(), bytes.begin(), bytes.end());
  alias.members_bytes += bytes.size();
  alias.members.push_back(member);
  store_le<std::uint32_t>(data, alias_value::kMembers,
                          static_cast<std::uint32_t>(alias.members_at - alias_value::kHeader));
  store_le<std::uint32_t>(data, alias_value::kMembersBytes, static_cast<std::uint32_t>(alias.members_bytes));
  store_le<std::uint32_t>(data, alias_value::kMembersCount, static_cast<std::uint32_t>(alias.members.size()));
}

// The default value of a key of the index: its type is a count, its data the numbers of aliases, or none.
struct Counted {
  bool key_exists = false;
  bool exists = false;
  std::uint32_t count = 0;
  Bytes data;
};

Result<Counted> read_counted(const registry::Hive& sam, const std::string& path) {
  Counted counted;
  const auto key = sam.find(path);
  if (!key && key.error().code == ErrorCode::not_found) return counted;
  if (!key) return fail(Error(key.error()).with(where(sam, path)));
  counted.key_exists = true;
  RS_TRY_CTX(const auto value, where(sam, path), sam.find_value(*key, u""));
  if (!value) return counted;
  Bytes scratch;
  RS_TRY_CTX(const auto data, where(sam, path), sam.data(*value, scratch));
  counted.exists = true;
  counted.count = value->type;
  counted.data = to_bytes(data);
  return counted;
}

// The index below Aliases\Members as it will be.
class MemberIndex {
 public:
  explicit MemberIndex(const registry::Hive& sam) : sam_(sam) {}

  Result<void> add(const Sid& member, std::uint32_t alias) {
    auto domain = member;
    const auto rid = domain.parts.back();
    domain.parts.pop_back();
    const auto top = std::string(kAliases) + "\\Members";
    const auto domain_path = top + "\\" + domain.to_string();
    const auto rid_path = domain_path + "\\" + rid_name(rid);
    RS_TRY(auto* entry, at(rid_path));
    if (entry->data.size() % 4 != 0 || entry->data.size() / 4 != entry->count)
      return fail(ErrorCode::corrupt, where(sam_, rid_path) + ": lists " +
                                          std::to_string(entry->data.size()) + " bytes of aliases, not " +
                                          std::to_string(entry->count) + " numbers");
    for (std::size_t i = 0; i < entry->count; ++i)
      if (load_le<std::uint32_t>(entry->data, 4 * i) == alias) return {};
    const bool new_member = !entry->key_exists;
    entry->key_exists = true;
    entry->data.resize(entry->data.size() + 4);
    store_le<std::uint32_t>(entry->data, entry->data.size() - 4, alias);
    ++entry->count;
    if (!new_member) return {};
    RS_TRY(auto* of_domain, at(domain_path));
    const bool new_domain = !of_domain->key_exists;
    of_domain->key_exists = true;
    ++of_domain->count;
    if (!new_domain) return {};
    RS_TRY(auto* of_all, at(top));
    ++of_all->count;
    return {};
  }

  void append(std::vector<RegistryEdit>& edits) && {
    for (auto& [path, counted] : changed_)
      edits.push_back(compose::set_data(HiveId::sam, path, "", counted.count, std::move(counted.data)));
  }

 private:
  Result<Counted*> at(const std::string& path) {
    auto found = changed_.find(path);
    if (found == changed_.end()) {
      RS_TRY(auto counted, read_counted(sam_, path));
      found = changed_.emplace(path, std::move(counted)).first;
    }
    return &found->second;
  }

  const registry::Hive& sam_;
  std::map<std::string, Counted> changed_;
};

}  // namespace

Result<std::vector<Sid>> alias_members(const registry::Hive& sam, std::uint32_t alias) {
  RS_TRY(auto read, read_alias(sam, alias));
  return std::move(read.members);
}

Result<std::vector<RegistryEdit>> alias_member_edits(const registry::Hive& sam,
                                                     std::span<const AliasMember> additions) {
  std::map<std::uint32_t, std::pair<AliasValue, bool>> aliases;
  MemberIndex index(sam);
  for (const auto& [alias, member] : additions) {
    if (member.parts.size() < 2)
      return fail(ErrorCode::invalid_argument, member.to_string() + " is not the SID of a group or user");
    auto found = aliases.find(alias);
    if (found == aliases.end()) {
      RS_TRY(auto read, read_alias(sam, alias));
      found = aliases.emplace(alias, std::pair(std::move(read), false)).first;
    }
    auto& [value, changed] = found->second;
    if (std::find(value.members.begin(), value.members.end(), member) == value.members.end()) {
      add_to(value, member);
      changed = true;
    }
    RS_CHECK(index.add(member, alias));
  }
  std::vector<RegistryEdit> edits;
  for (auto& [alias, state] : aliases)
    if (state.second)
      edits.push_back(
          compose::set_data(HiveId::sam, alias_path(alias), "C", kBinary, std::move(state.first.data)));
  std::move(index).append(edits);
  for (auto& edit : edits) edit.unit = "domain-groups";
  return edits;
}

}  // namespace roamstead::join
