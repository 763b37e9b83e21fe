// A repository for tests of what lies above it: keeps everything in memory, and can be told to fail or to
// wait.
#pragma once

#include <functional>
#include <mutex>

#include "coordinator/repository/repository.h"
#include "tests/support/key_model.h"

namespace roamstead::server {

class MemoryRepository final : public repository::Repository {
 public:
  struct Node {
    profile::Entry entry;
    std::map<std::string, Bytes> streams;
    std::shared_ptr<const support::KeyModel>
        keys;  // of a hive; shared by the versions that have it unchanged
  };
  using Nodes = std::map<profile::ProfilePath, Node>;

  // Called before each commit; may fail or block it.
  std::function<Result<void>()> before_commit;

  // A profile with one imported version that holds these files.
  repository::ProfileInfo add_profile(const std::string& name,
                                      const std::map<std::string, std::string>& files);

  Result<repository::ProfileInfo> create_profile(const std::string& name) override;
  Result<std::vector<repository::ProfileInfo>> profiles() const override;
  Result<repository::ProfileInfo> find_profile(const std::string& name) const override;
  Result<std::vector<repository::VersionInfo>> versions(const repository::ProfileId& profile) const override;
  Result<std::unique_ptr<repository::Tree>> tree(const repository::ProfileId& profile,
                                                 std::uint64_t version) const override;
  Result<repository::VersionInfo> commit(const repository::ProfileId& profile, std::uint64_t parent,
                                         const profile::Batch& batch, profile::ContentSource& content,
                                         const repository::CommitOrigin& origin) override;
  Result<std::uint64_t> logical_bytes(const repository::ProfileId& profile,
                                      std::uint64_t version) const override;
  Result<std::int64_t> growth(const repository::ProfileId& profile, std::uint64_t parent,
                              const profile::Batch& batch) const override;
  Result<repository::VersionInfo> restore(const repository::ProfileId& profile, std::uint64_t from,
                                          const repository::CommitOrigin& origin) override;
  // By whole files: where both changed one, the fork's is kept as NAME.conflict.
  Result<repository::MergeResult> merge(const repository::ProfileId& profile, std::uint64_t fork,
                                        bool dry_run, const repository::CommitOrigin& origin) override;
  Result<repository::VersionInfo> discard(const repository::ProfileId& profile, std::uint64_t fork,
                                          const repository::CommitOrigin& origin) override;
  Result<repository::Statistics> statistics() const override { return repository::Statistics{}; }
  Result<repository::CheckReport> check(
      const std::function<void(std::uint64_t, std::uint64_t)>&) const override {
    return repository::CheckReport{};
  }

 private:
  struct Profile {
    repository::ProfileInfo info;
    std::vector<repository::VersionInfo> versions;
    std::map<std::uint64_t, std::shared_ptr<const Nodes>> trees;  // shared with the views that read them
  };
  repository::VersionInfo add_version(Profile& profile, std::uint64_t parent,
                                      std::shared_ptr<const Nodes> nodes, repository::VersionInfo info);

  mutable std::mutex mutex_;
  std::map<repository::ProfileId, Profile> profiles_;
};

}  // namespace roamstead::server
