#include "agent/testing/memory_link.h"

#include <thread>

#include "common/base/event.h"
#include "common/base/text.h"

namespace roamstead::agent::testing {

using profile::Entry;
using profile::EntryKind;

bool MemoryLink::NameLess::operator()(const std::string& a, const std::string& b) const {
  return compare_names(a, b) < 0;
}

namespace {
constexpr std::uint64_t kSomeTime = 132000000000000000;  // 2019

Entry made_up(EntryKind kind, std::size_t number) {
  Entry entry;
  entry.kind = kind;
  entry.metadata.created_100ns = kSomeTime + number * 10'000'000 + 7;
  entry.metadata.written_100ns = kSomeTime + number * 20'000'000 + 3;
  entry.metadata.attributes = kind == EntryKind::file ? profile::kAttributeArchive : 0;
  return entry;
}

std::string parent_of(const std::string& path) {
  auto slash = path.rfind('/');
  return slash == std::string::npos ? std::string() : path.substr(0, slash);
}
}  // namespace

MemoryLink::MemoryLink() { items_[""].entry = made_up(EntryKind::directory, 0); }

void MemoryLink::add_directory(const std::string& path) {
  std::lock_guard lock(mutex_);
  make_parents(path + "/x");
}

Entry& MemoryLink::make_parents(const std::string& path) {
  auto parent = parent_of(path);
  if (items_.count(parent) == 0) {
    make_parents(parent);
    items_[parent].entry = made_up(EntryKind::directory, items_.size());
    children_[parent_of(parent)][parent.substr(parent.rfind('/') + 1)] = parent;
  }
  return items_[parent].entry;
}

void MemoryLink::add_file(const std::string& path, const std::string& content,
                          const std::map<std::string, std::string>& streams) {
  std::lock_guard lock(mutex_);
  make_parents(path);
  File file;
  file.entry = made_up(EntryKind::file, items_.size());
  file.entry.size_bytes = content.size();
  file.streams[""] = to_bytes(content);
  for (auto& [name, bytes] : streams) {
    file.entry.streams.push_back({name, bytes.size()});
    file.streams[name] = to_bytes(bytes);
  }
  items_[path] = std::move(file);
  children_[parent_of(path)][path.substr(path.rfind('/') + 1)] = path;
}

void MemoryLink::add_link(const std::string& path, EntryKind kind, const std::string& target) {
  std::lock_guard lock(mutex_);
  make_parents(path);
  items_[path].entry = made_up(kind, items_.size());
  items_[path].entry.link_target = target;
  children_[parent_of(path)][path.substr(path.rfind('/') + 1)] = path;
}

void MemoryLink::add_hive(const std::string& path, support::KeyModel keys) {
  std::lock_guard lock(mutex_);
  make_parents(path);
  items_[path].entry = made_up(EntryKind::registry, items_.size());
  items_[path].keys = std::move(keys);
  children_[parent_of(path)][path.substr(path.rfind('/') + 1)] = path;
}

Result<void> MemoryLink::enter(const Guid& secret) {
  if (delay_ms != 0) std::this_thread::sleep_for(std::chrono::milliseconds(delay_ms));
  if (away) return fail(ErrorCode::unavailable, "the coordinator cannot be reached");
  std::lock_guard lock(mutex_);
  if (secret != secret_) return fail(ErrorCode::denied, "no such session");
  return {};
}

Result<wire::OpenReply> MemoryLink::open(const wire::OpenRequest& request) {
  if (away) return fail(ErrorCode::unavailable, "the coordinator cannot be reached");
  std::lock_guard lock(mutex_);
  wire::OpenReply reply;
  if (request.resume) {
    if (request.resume->session_secret != secret_) return fail(ErrorCode::denied, "no such session");
    if (superseded || !open_) return fail(ErrorCode::stale, "the session is superseded");
    reply.committed_ordinal = committed_[request.resume->incarnation];
  } else {
    secret_ = Guid::random();
    superseded = false;
    ++opened_;
    reply.working_set = working_set_;
    reply.rules = rules;
  }
  open_ = true;
  incarnation_ = Guid::random();
  use_ = request.use;
  reply.session.bytes[0] = static_cast<std::byte>(opened_);
  reply.session.bytes[1] = std::byte{0x53};
  reply.session_secret = secret_;
  reply.incarnation = incarnation_;
  reply.version = 1;
  reply.root = items_[""].entry;
  reply.lease_seconds = lease_seconds;
  return reply;
}

Result<wire::DirectoryPart> MemoryLink::list(const Guid& secret, const profile::ProfilePath& path,
                                             const std::string& after) {
  RS_CHECK(enter(secret));
  ++lists;
  std::lock_guard lock(mutex_);
  auto found = items_.find(path.text());
  if (found == items_.end() || !found->second.entry.is_directory())
    return fail(ErrorCode::not_found, "no directory " + path.text());
  wire::DirectoryPart part;
  auto& names = children_[path.text()];
  for (auto it = after.empty() ? names.begin() : names.upper_bound(after); it != names.end(); ++it) {
    if (part.entries.size() == entries_per_part) {
      part.more = true;
      break;
    }
    part.entries.push_back({it->first, items_[it->second].entry});
  }
  return part;
}

Result<Bytes> MemoryLink::read(const Guid& secret, const profile::ProfilePath& path,
                               const std::string& stream, std::uint64_t offset, std::size_t length) {
  RS_CHECK(enter(secret));
  std::lock_guard lock(mutex_);
  auto found = items_.find(path.text());
  if (found == items_.end()) return fail(ErrorCode::not_found, "no file " + path.text());
  auto& bytes = found->second.streams[stream];
  if (offset > bytes.size()) return Bytes();
  ++reads;
  auto count = std::min<std::size_t>(length, bytes.size() - offset);
  read_bytes += count;
  return Bytes(bytes.begin() + static_cast<std::ptrdiff_t>(offset),
               bytes.begin() + static_cast<std::ptrdiff_t>(offset + count));
}

Result<const support::KeyModel*> MemoryLink::hive_at(const profile::ProfilePath& path) const {
  auto found = items_.find(path.text());
  if (found == items_.end() || found->second.entry.kind != EntryKind::registry)
    return fail(ErrorCode::not_found, "no hive " + path.text());
  return &found->second.keys;
}

Result<std::vector<wire::Fetched>> MemoryLink::fetch(const Guid& secret,
                                                     const std::vector<wire::FetchItem>& items) {
  RS_CHECK(enter(secret));
  ++fetches;
  std::vector<wire::Fetched> fetched;
  for (const auto& item : items) {
    if (fetched.size() == items_per_fetch) break;
    auto& one = fetched.emplace_back();
    if (item.directory) {
      if (auto part = list(secret, item.path, "")) one = {wire::Fetched::Kind::directory, *part, 0, {}};
      continue;
    }
    std::lock_guard lock(mutex_);
    auto found = items_.find(item.path.text());
    if (found == items_.end() || found->second.entry.kind != EntryKind::file) continue;
    one.kind = wire::Fetched::Kind::file;
    one.content = found->second.streams[""];
    one.size_bytes = one.content.size();
    if (one.content.size() > wire::kFetchFileBytes) one.content.resize(wire::kFetchFileBytes);
    read_bytes += one.content.size();
  }
  return fetched;
}

Result<profile::KeyStates> MemoryLink::list_keys(const Guid& secret, const profile::ProfilePath& hive,
                                                 const profile::KeyPath& key, profile::KeyScope scope,
                                                 const std::string& cursor) {
  RS_CHECK(enter(secret));
  ++key_lists;
  std::lock_guard lock(mutex_);
  RS_TRY(const auto* keys, hive_at(hive));
  RS_TRY(auto part, keys->states(key, scope, cursor, key_bytes_per_part));
  keys_listed += part.keys.size();
  if (keys_without_data)
    for (auto& state : part.keys)
      for (auto& value : state.values) value.data.clear();
  return part;
}

Result<Bytes> MemoryLink::read_value(const Guid& secret, const profile::ProfilePath& hive,
                                     const profile::KeyPath& key, const std::string& value,
                                     std::uint64_t offset, std::size_t length) {
  RS_CHECK(enter(secret));
  ++value_reads;
  std::lock_guard lock(mutex_);
  RS_TRY(const auto* keys, hive_at(hive));
  Bytes bytes(length);
  RS_CHECK(keys->read_value(key, value, offset, bytes));
  return bytes;
}

Result<wire::CommitReply> MemoryLink::commit(const Guid& secret, const profile::Batch& batch,
                                             profile::ContentSource& content) {
  RS_CHECK(enter(secret));
  if (quota != 0 && batch.content_bytes() > quota)
    return fail(ErrorCode::full, Event::over_quota, "profile 'alice' is over its quota");
  Committed committed{batch, {}};
  for (std::size_t record = 0; record < batch.records.size(); ++record) {
    if (auto* key = std::get_if<profile::PutKey>(&batch.records[record]))
      for (std::size_t i = 0; i < key->values.size(); ++i)
        if (!key->values[i].is_inline()) {
          Bytes bytes(static_cast<std::size_t>(key->values[i].size_bytes));
          RS_CHECK(content.read(record, i, 0, bytes));
          committed.content[key->hive.text() + "|" + key->key.text() + "|" + key->values[i].name] =
              std::move(bytes);
        }
    auto* put = std::get_if<profile::Put>(&batch.records[record]);
    if (put == nullptr) continue;
    for (std::size_t stream = 0; stream < put->contents.size(); ++stream)
      for (auto& range : put->contents[stream].writes) {
        Bytes bytes(range.length);
        RS_CHECK(content.read(record, stream, range.offset, bytes));
        committed.content[put->path.text() + ":" + put->contents[stream].name + "@" +
                          std::to_string(range.offset)] = std::move(bytes);
      }
  }
  std::lock_guard lock(mutex_);
  auto& highest = committed_[batch.incarnation];
  if (batch.ordinal > highest) {
    if (batch.ordinal != highest + 1)
      return fail(ErrorCode::conflict, "a batch is missing before " + std::to_string(batch.ordinal));
    highest = batch.ordinal;
    commits_.push_back(std::move(committed));
  }
  if (lose_replies) return fail(ErrorCode::unavailable, "the connection broke");
  return wire::CommitReply{batch.ordinal, 1 + commits_.size(), superseded};
}

Result<void> MemoryLink::renew(const Guid& secret) {
  ++renewals;
  return enter(secret);
}

Result<void> MemoryLink::tell_use(const Guid& secret, wire::SessionUse use) {
  RS_CHECK(enter(secret));
  std::lock_guard lock(mutex_);
  if (superseded) return fail(ErrorCode::stale, "the session is superseded");
  use_ = use;
  return {};
}

wire::SessionUse MemoryLink::use() const {
  std::lock_guard lock(mutex_);
  return use_;
}

Result<void> MemoryLink::close(const Guid& secret) {
  RS_CHECK(enter(secret));
  std::lock_guard lock(mutex_);
  open_ = false;
  ++closes;
  return {};
}

Result<void> MemoryLink::hand_over(const Guid& secret) {
  RS_CHECK(enter(secret));
  std::lock_guard lock(mutex_);
  superseded = true;
  ++hand_overs;
  return {};
}

Result<void> MemoryLink::learned(const Guid& secret, const std::vector<wire::WorkingItem>& items) {
  RS_CHECK(enter(secret));
  std::lock_guard lock(mutex_);
  working_set_ = items;
  return {};
}

std::vector<wire::WorkingItem> MemoryLink::working_set() const {
  std::lock_guard lock(mutex_);
  return working_set_;
}

void MemoryLink::set_push_listener(std::function<void(const wire::Push&)> listener) {
  std::lock_guard lock(listener_mutex_);
  listener_ = std::move(listener);
}

void MemoryLink::push(const wire::Push& push) {
  std::lock_guard lock(listener_mutex_);
  if (listener_) listener_(push);
}

std::vector<MemoryLink::Committed> MemoryLink::commits() const {
  std::lock_guard lock(mutex_);
  return commits_;
}

bool MemoryLink::is_open() const {
  std::lock_guard lock(mutex_);
  return open_;
}

}  // namespace roamstead::agent::testing
