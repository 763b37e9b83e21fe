// What is remembered of images, pools and their clones: SQLite in `<state>/compose.db`. A clone is written
// down before anything of it is made, so that what a crash leaves half made is known and taken away.
//
// Thread-safe; what a call changed is durable when it returns.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "common/base/guid.h"
#include "coordinator/compose/clone_boot.h"
#include "coordinator/compose/running_jobs.h"
#include "coordinator/database/database.h"

namespace roamstead::compose {

struct ImageRow {
  std::string name;
  std::string disk;
  std::string facts;            // JSON, for people (image_json.h)
  Guid disk_id;                 // of the file when it was imported; zero: its format has none
  std::int64_t modified_s = 0;  // since 1970
  std::uint64_t imported_100ns = 0;
};

enum class CloneState : std::uint8_t {
  planned,  // nothing of it counts: what is there is taken away before it is made
  made,
  failed,  // and taken away again
};
std::string_view to_string(CloneState state);

struct PoolRow {
  std::string name;
  std::string image;
  std::string specification;  // the text
  std::string directory;      // of the disks
  std::string layer;          // TemplateLayer as JSON; "" until it is made
  std::uint64_t created_100ns = 0;
};

struct CloneRow {
  std::string name;
  std::string pool;
  std::uint64_t index = 0;
  CloneState state = CloneState::planned;
  std::string error;  // of one that failed
  std::uint64_t made_100ns = 0;
  // In the domain: "" none of ours, kAccountIntended, or the distinguished name of one that was made for it.
  std::string account = {};
};
// Written down before an account is made: one of that name is ours, should a crash come in between.
inline constexpr const char* kAccountIntended = "?";

class PoolStore {
 public:
  static Result<std::unique_ptr<PoolStore>> open(const std::string& state_directory);

  // Who changes a pool or a clone holds one of these meanwhile.
  RunningJobs& jobs() { return jobs_; }

  // Replaces one of that name that no pool uses; ErrorCode::conflict otherwise.
  Result<void> put_image(const ImageRow& image);
  Result<ImageRow> image(const std::string& name) const;  // not_found
  Result<std::vector<ImageRow>> images() const;
  Result<void> remove_image(const std::string& name);  // conflict while a pool uses it

  // With all its clones, planned. ErrorCode::exists for a pool, or a clone of any pool, of that name.
  Result<void> add_pool(const PoolRow& pool, const std::vector<std::string>& clones);
  Result<PoolRow> pool(const std::string& name) const;
  Result<std::vector<PoolRow>> pools() const;
  Result<void> set_layer(const std::string& pool, const std::string& layer);
  Result<void> remove_pool(const std::string& name);  // and its clones

  Result<CloneRow> clone(const std::string& name) const;
  Result<std::vector<CloneRow>> clones(const std::string& pool) const;  // "": of all
  // Several callers share the wait for the disk.
  Result<void> set_clone(const CloneRow& clone);
  // All are intended, in one transaction.
  Result<void> intend_accounts(const std::vector<std::string>& clones);
  Result<void> remove_clone(const std::string& name);

  // BootState::made while nothing is noted (clone_boot.cpp).
  Result<CloneBoot> boot(const std::string& clone) const;
  Result<std::map<std::string, CloneBoot>> boots() const;  // of all for which something is noted
  // False when there is no clone of that name.
  Result<bool> set_boot(const std::string& clone, const CloneBoot& boot);

 private:
  explicit PoolStore(std::unique_ptr<database::Database> database);

  mutable std::mutex mutex_;  // guards the database
  const std::unique_ptr<database::Database> database_;
  database::GroupCommit group_;
  RunningJobs jobs_;
};

}  // namespace roamstead::compose
