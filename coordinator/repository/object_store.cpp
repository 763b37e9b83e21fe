#include "coordinator/repository/object_store.h"

#include <fmt/format.h>

namespace roamstead::repository {

ObjectStore::ObjectStore(PackStore& packs, Keystore& keys, Catalog& catalog, std::uint64_t epoch,
                         Faults faults, Limits limits)
    : packs_(packs),
      keys_(keys),
      catalog_(catalog),
      epoch_(epoch),
      faults_(std::move(faults)),
      limits_(limits),
      ids_(keys.id_key()) {}

Result<Key> ObjectStore::key_for(ObjectType type, const ProfileId& profile) const {
  if ((type == ObjectType::chunk) != profile.is_zero())
    return fail(ErrorCode::corrupt,
                "an object of type " + std::to_string(static_cast<int>(type)) + " under the wrong key");
  if (type == ObjectType::chunk) return keys_.seal_key();
  return keys_.profile_key(profile);
}

Result<std::optional<Location>> ObjectStore::find(const ObjectId& id) const {
  {
    std::lock_guard guard(mutex_);
    auto pending = pending_index_.find(id);
    if (pending != pending_index_.end()) return std::optional<Location>(pending->second);
  }
  return catalog_.find_object(id);
}

Result<ObjectId> ObjectStore::put(ObjectType type, const ProfileId& profile, ByteView content,
                                  std::uint64_t& new_bytes) {
  if (content.size() > kMaxObjectBytes)
    return fail(ErrorCode::internal, "an object of " + std::to_string(content.size()) + " bytes");
  auto id = ids_.make(type, profile, content);
  RS_TRY(auto known, find(id));
  if (known) return id;
  RS_TRY(auto key, key_for(type, profile));
  auto sealed = seal(key, id, type, content);
  RecordHeader header;
  header.type = type;
  header.compressed = sealed.compressed;
  header.id = id;
  header.profile = profile;
  header.content_bytes = static_cast<std::uint32_t>(content.size());
  std::lock_guard guard(mutex_);
  if (pending_index_.count(id) != 0) return id;  // somebody else put it meanwhile
  RS_TRY(auto location, append_locked(header, sealed.payload));
  new_bytes += location.header.record_bytes();
  pending_index_.emplace(id, location);
  pending_.objects.push_back(std::move(location));
  return id;
}

Result<Location> ObjectStore::append_locked(RecordHeader header, ByteView payload) {
  if (epoch_ == 0) return fail(ErrorCode::denied, "the repository is open for reading only");
  if (failed_) return fail(*failed_);
  if (!open_ || open_->end + kRecordHeaderBytes + payload.size() > limits_.pack_bytes)
    RS_CHECK(roll_locked());
  Bytes record;
  record.reserve(kRecordHeaderBytes + payload.size());
  append_record(record, header, payload);
  RS_TRY_CTX(header, "new record", parse_record_header(record));
  // A write that fails (no space) leaves garbage beyond the end that counts; the next one goes over it.
  auto written = open_->file->write_at(open_->end, record);
  if (!written) open_->torn_tail = true;
  RS_CHECK(std::move(written));
  Location location{open_->pack, open_->end, header};
  open_->end += record.size();
  pending_.indexed[open_->pack] = {open_->end, open_->mark};
  return location;
}

Result<void> ObjectStore::roll_locked() {
  if (open_) {
    // Garbage that a failed write left would look like damage in a pack that another one follows.
    if (open_->torn_tail) RS_CHECK(open_->file->truncate(open_->end));
    auto synced = open_->file->sync();
    if (!synced) failed_ = synced.error();
    RS_CHECK(std::move(synced));
  }
  PackNumber next{epoch_, last_number_ + 1};
  RS_TRY(auto file, packs_.create_pack(next));
  last_number_ = next.number;
  RS_TRY(auto mark, packs_.mark(next));
  open_ = Open{next, std::move(file), mark, kPackHeaderBytes, false, false};
  return {};
}

Result<void> ObjectStore::commit(CommitRecord record) {
  RS_CHECK(faults_.check("commit.after_objects"));
  RS_TRY(auto key, key_for(ObjectType::commit, record.profile));
  std::unique_lock lock(mutex_);
  record.durable_pack = durable_pack_;
  record.durable_bytes = durable_bytes_;
  auto content = encode_commit_record(record);
  if (content.size() > kMaxObjectBytes)
    return fail(ErrorCode::invalid_argument, "the commit record is too long");
  RecordHeader header;
  header.type = ObjectType::commit;
  header.id = ids_.make(ObjectType::commit, record.profile, content);
  header.profile = record.profile;
  header.content_bytes = static_cast<std::uint32_t>(content.size());
  auto sealed = seal(key, header.id, header.type, content);
  header.compressed = sealed.compressed;
  RS_TRY(auto location, append_locked(header, sealed.payload));
  pending_index_.emplace(header.id, location);
  pending_.objects.push_back(std::move(location));
  pending_.versions.push_back({record.profile, std::move(record.info), std::move(record.root)});
  return wait_durable(lock, ++appended_);
}

Result<void> ObjectStore::wait_durable(std::unique_lock<std::mutex>& lock, std::uint64_t ticket) {
  const auto own = gathering_;
  while (durable_ < ticket) {
    if (failed_) return fail(*failed_);
    if (flushing_) {
      waiting_for(own).wait(lock);
      continue;
    }
    flushing_ = true;
    auto flushed = gathering_++;
    auto result = flush_group(lock);
    flushing_ = false;
    if (!result)
      failed_ = std::move(result).error().with("the repository stopped writing and must be opened again");
    waiting_for(flushed).notify_all();
    if (result)
      waiting_for(gathering_).notify_one();  // it flushes the next group
    else
      waiting_for(gathering_).notify_all();
  }
  return {};
}

// Called with the lock; lets it go while the storage works, so that others can append for the next group.
Result<void> ObjectStore::flush_group(std::unique_lock<std::mutex>& lock) {
  auto update = std::move(pending_);
  pending_ = {};
  auto ticket = appended_;
  auto file = open_->file;
  auto pack = open_->pack;
  auto end = open_->end;
  auto name_durable = open_->name_durable;
  lock.unlock();
  auto flushed = [&]() -> Result<void> {
    RS_CHECK(faults_.check("commit.before_sync"));
    RS_CHECK(file->sync());
    if (!name_durable) RS_CHECK(packs_.files().sync_directory(packs_.epoch_directory(epoch_)));
    RS_CHECK(faults_.check("commit.after_packs"));
    RS_TRY(auto superseded, packs_.superseded(epoch_));
    if (superseded)
      return fail(
          ErrorCode::stale,
          fmt::format("another coordinator has taken over the repository (writer epoch {} is over)", epoch_));
    RS_CHECK(catalog_.apply(update));
    return faults_.check("commit.after_catalog");
  }();
  lock.lock();
  RS_CHECK(std::move(flushed));
  if (open_->pack == pack) open_->name_durable = true;
  durable_pack_ = pack;
  durable_bytes_ = end;
  durable_ = ticket;
  for (const auto& location : update.objects) pending_index_.erase(location.header.id);
  return {};
}

Result<Bytes> ObjectStore::open_record(const Location& location) const {
  auto where = [&] {
    return fmt::format("{} at offset {}", packs_.pack_path(location.pack), location.offset);
  };
  RS_TRY(auto payload, packs_.read_payload(location.pack, location.offset, location.header));
  const auto& header = location.header;
  RS_TRY_CTX(auto key, where(), key_for(header.type, header.profile));
  RS_TRY_CTX(auto content, where(),
             unseal(key, header.id, header.type, header.compressed, payload, header.content_bytes));
  return content;
}

Result<SharedBytes> ObjectStore::get(ObjectType type, const ProfileId& profile, const ObjectId& id) const {
  if (auto known = cached(id)) return known;
  RS_TRY(auto location, find(id));
  if (!location)
    return fail(ErrorCode::corrupt, "object " + id.short_text() + " is referenced but in no pack");
  if (location->header.type != type || location->header.profile != profile)
    return fail(ErrorCode::corrupt,
                fmt::format("{} at offset {}: object {} is of type {}, {} expected",
                            packs_.pack_path(location->pack), location->offset, id.short_text(),
                            static_cast<int>(location->header.type), static_cast<int>(type)));
  RS_TRY(auto content, open_record(*location));
  auto shared = std::make_shared<const Bytes>(std::move(content));
  remember(id, shared);
  return shared;
}

Result<Bytes> ObjectStore::read_verified(const Location& location) const {
  RS_TRY(auto header, packs_.read_header(location.pack, location.offset));
  auto where = [&] {
    return fmt::format("{} at offset {}", packs_.pack_path(location.pack), location.offset);
  };
  if (header.id != location.header.id || header.type != location.header.type ||
      header.profile != location.header.profile || header.payload_bytes != location.header.payload_bytes ||
      header.payload_checksum != location.header.payload_checksum)
    return fail(ErrorCode::corrupt,
                where() + ": the record is not the one the catalog knows; rebuild the catalog");
  RS_TRY(auto content, open_record({location.pack, location.offset, header}));
  if (ids_.make(header.type, header.profile, content) != header.id)
    return fail(ErrorCode::corrupt, where() + ": the content does not have the id " + header.id.short_text());
  return content;
}

SharedBytes ObjectStore::cached(const ObjectId& id) const {
  std::lock_guard guard(cache_mutex_);
  auto found = cache_.find(id);
  if (found == cache_.end()) return nullptr;
  recent_.splice(recent_.begin(), recent_, found->second);
  return found->second->second;
}

void ObjectStore::remember(const ObjectId& id, const SharedBytes& content) const {
  std::lock_guard guard(cache_mutex_);
  if (content->size() > limits_.cache_bytes || cache_.count(id) != 0) return;
  recent_.emplace_front(id, content);
  cache_.emplace(id, recent_.begin());
  cache_used_ += content->size();
  while (cache_used_ > limits_.cache_bytes) {
    cache_used_ -= recent_.back().second->size();
    cache_.erase(recent_.back().first);
    recent_.pop_back();
  }
}

}  // namespace roamstead::repository
