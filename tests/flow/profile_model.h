// What a profile ought to hold, kept in memory beside the real one.
#pragma once

#include <map>
#include <string>

#include "common/profile/batch.h"

namespace roamstead::flow {

struct ModelItem {
  bool directory = false;
  profile::Metadata metadata;
  std::map<std::string, Bytes> streams;  // "" is the unnamed one, which every file has
  bool changed = false;                  // metadata is no longer what was generated
};

class ProfileModel {
 public:
  std::map<std::string, ModelItem>& items() { return items_; }  // by path; the root is ""
  const std::map<std::string, ModelItem>& items() const { return items_; }

  ModelItem& at(const std::string& path) { return items_.at(path); }
  bool has(const std::string& path) const { return items_.contains(path); }
  // Directories above are made, with the metadata given.
  ModelItem& add_file(const std::string& path, const profile::Metadata& metadata, Bytes content);
  ModelItem& add_directory(const std::string& path, const profile::Metadata& metadata);

  // What programs do; as ProfileFiles. A directory moves with all below it.
  void write(const std::string& path, const std::string& stream, std::uint64_t offset, ByteView data);
  void truncate(const std::string& path, const std::string& stream, std::uint64_t size_bytes);
  void rename(const std::string& from, const std::string& to);
  void exchange(const std::string& a, const std::string& b);
  void remove(const std::string& path);

  std::uint64_t files() const;
  std::uint64_t content_bytes() const;

 private:
  std::map<std::string, ModelItem> items_;
};

// The whole model as a batch on an empty profile. The model must outlive it and stay as it is.
class ModelBatch final : public profile::ContentSource {
 public:
  explicit ModelBatch(const ProfileModel& model);
  const profile::Batch& batch() const { return batch_; }
  Result<void> read(std::size_t record, std::size_t stream, std::uint64_t offset,
                    MutableByteView out) override;

 private:
  const ProfileModel& model_;
  profile::Batch batch_;
};

}  // namespace roamstead::flow
