// Applies a batch's key records to one hive: edits in memory over the immutable page tree, written as new
// pages at the end. What it reads and writes follows what the records name, not the hive's size.
#pragma once

#include "common/profile/batch.h"
#include "coordinator/repository/hive_view.h"

namespace roamstead::repository {

// For one batch and one thread. `objects` must outlive it. All deletions come before the first put.
class HiveEditor {
 public:
  // Of a hive's root page; zero: a new hive, which gets a root key. `store`: false only finds out
  // grown_bytes(); nothing is read of the batch's content or stored, and finish() must not be called.
  HiveEditor(ProfileObjects& objects, const ObjectId& root, bool store = true);

  // The key and all below it. One that is not there is no error: a deletion may be sent twice.
  Result<void> delete_key(const profile::KeyPath& key);
  // ErrorCode::not_found names the parent when there is none. `read` gives the data of a value that is not
  // inline.
  using ReadValue = std::function<Result<void>(std::size_t value, std::uint64_t offset, MutableByteView out)>;
  Result<void> put_key(const profile::PutKey& put, const ReadValue& read);

  // The new root page.
  Result<ObjectId> finish();
  // By how much the data of all values has become more (less: negative).
  std::int64_t grown_bytes() const { return grown_bytes_; }

 private:
  // Of a value's data, as the hive is now; 0 when there is none.
  Result<std::uint64_t> value_bytes(const std::string& place) const;
  Result<void> edit_value(const std::string& place, std::optional<Bytes> record, std::uint64_t size_bytes);
  Result<std::optional<Bytes>> find(const std::string& place) const;
  Result<void> remove_all_within(const std::string& prefix, std::vector<std::string>* hashed_keys);
  Result<void> put_values(const profile::PutKey& put, const KeyPlace& place, const ReadValue& read);

  ProfileObjects& objects_;
  HiveView before_;
  PageEdits edits_ = no_edits(KeyOrder::bytes);
  const bool store_;
  std::map<std::string, std::uint64_t> put_bytes_;  // of values put, by place
  std::int64_t grown_bytes_ = 0;
};

}  // namespace roamstead::repository
