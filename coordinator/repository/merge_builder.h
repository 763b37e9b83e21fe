// A merge's records under construction, and where their content comes from.
#pragma once

#include "coordinator/repository/merge.h"

namespace roamstead::repository {

// Content of one stream or value, as a version has it.
struct MergeSource {
  Content content;
  std::uint64_t size_bytes = 0;
};

// For one thread.
class MergeBuilder {
 public:
  // The label as part of a name: without what Windows does not take in one.
  MergeBuilder(ProfileObjects& objects, const std::string& label);

  ProfileObjects& objects() { return objects_; }
  const std::string& label() const { return label_; }
  void remove(const profile::ProfilePath& path) { records_.push_back(profile::Delete{path}); }
  // Sources by stream of put.contents, by value of put.values.
  void put(profile::Put put, std::vector<MergeSource> sources);
  void put_key(profile::PutKey put, std::vector<MergeSource> sources);
  void delete_key(const profile::ProfilePath& hive, const profile::KeyPath& key) {
    records_.push_back(profile::DeleteKey{hive, key});
  }
  void note(MergeConflict::Kind kind, const std::string& path, const std::string& kept_as = {}) {
    conflicts_.push_back({kind, path, kept_as});
  }
  MergePlan finish();

 private:
  ProfileObjects& objects_;
  std::string label_;
  std::vector<profile::ChangeRecord> records_;
  std::map<std::size_t, std::vector<MergeSource>> sources_;  // by record
  std::vector<MergeConflict> conflicts_;
};

// Whether two streams hold the same bytes, however they are cut.
Result<bool> same_bytes(ProfileObjects& objects, const MergeSource& a, const MergeSource& b);

// What theirs changed in a hive; a zero root is a hive without keys.
Result<void> merge_hives(MergeBuilder& builder, const profile::ProfilePath& hive, const ObjectId& base,
                         const ObjectId& ours, const ObjectId& theirs);

}  // namespace roamstead::repository
