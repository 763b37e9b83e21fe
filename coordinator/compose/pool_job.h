// Making a pool, and taking it away again. A pool is a job: what is done is remembered, so that the same
// request again, after a kill or a failure, goes on where it was left. A clone is there wholly or not at all,
// and one that fails is its own trouble only.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "coordinator/compose/data_disk.h"
#include "coordinator/compose/pool_join.h"
#include "coordinator/compose/pool_store.h"
#include "coordinator/compose/pool_vms.h"
#include "coordinator/compose/template_layer.h"

namespace roamstead::compose {

// Identities, as the coordinator gives them.
struct IdentityPort {
  struct Identity {
    std::string key_pem;  // a secret
    std::string certificate_pem;
    std::string serial;
  };
  std::string coordinator;  // what desktops connect to
  std::string ca_pem;
  std::function<Result<Identity>(const std::string& desktop)> issue;
  // From then on the certificate is good. ErrorCode::exists while one of that name is.
  std::function<Result<void>(const std::string& desktop, const std::string& serial)> enrol;
  // Ends what a desktop of that name may; fine when there is none.
  std::function<Result<void>(const std::string& desktop)> revoke;
  // Whether a desktop of that name may connect.
  std::function<Result<bool>(const std::string& desktop)> is_enrolled;
};

// On the host, below the pool's directory.
struct ClonePaths {
  std::string active;     // what a VM is started from
  std::string reference;  // the customised layer beneath, frozen; "" of a full clone
};
ClonePaths paths_of(const PoolSpec& spec, const std::string& clone);
std::string template_path_of(const PoolSpec& spec);

// What create_pool would do. Nothing is written.
struct PoolPlan {
  WindowsImage image;
  Edits common;
  OwnEdits own;  // of the first clone, as an example; secrets are not real ones
  std::vector<std::string> clones;
  std::uint32_t boots = 1;  // that each desktop needs until it is ready
  std::vector<std::string> warnings;
  std::string definition;  // of the first clone's virtual machine; "" none
};

struct PoolResult {
  std::uint64_t made = 0;     // now
  std::uint64_t present = 0;  // made by an earlier call
  std::vector<CloneRow> failed;
  // With vm.power_on, of those that were never started: how many now run, and which do not, with the error.
  std::uint64_t started = 0;
  std::vector<CloneRow> not_started;
};

// What is given with a RunningJob, rows and specification, was read while it was held.
class PoolJob {
 public:
  using Progress = std::function<void(const std::string& what, std::uint64_t done, std::uint64_t total)>;

  // Files to lay on a desktop's disk for its users (prewarm), the specification's assignments being made on
  // the way. A failure costs the first log-in some time, and is only logged.
  using PrewarmPort = std::function<Result<std::vector<FileEdit>>(const PoolSpec&, std::uint64_t index)>;
  void set_prewarm(PrewarmPort prewarm) { prewarm_ = std::move(prewarm); }

  // All must outlive it.
  PoolJob(os::FileSystem& files, PoolStore& store, const IdentityPort& identity)
      : files_(files), store_(store), identity_(identity) {}

  Result<PoolPlan> plan(const PoolSpec& spec) const;
  // ErrorCode::conflict when a pool of that name was begun with another specification. A clone's failure is
  // in the result; an error is one that concerns all.
  Result<PoolResult> create(const RunningJob& job, const PoolSpec& spec, const std::string& specification,
                            unsigned threads, const Progress& progress);
  // Clones, template and what is remembered of them; the desktops' identities end, and the accounts that were
  // made for them are deleted. User disks stay, but with `delete_data`.
  Result<void> remove(const RunningJob& job, const PoolSpec& spec, const Progress& progress,
                      bool delete_data = false);
  Result<void> remove_clone(const RunningJob& job, const PoolSpec& spec, const CloneRow& clone,
                            bool delete_data = false);
  // Back to the reference snapshot, with an identity of its own: what was used since is void.
  Result<void> refresh_clone(const RunningJob& job, const PoolSpec& spec, const CloneRow& clone);

 private:
  struct Ready;  // what all clones are made from
  Result<Ready> prepare(const PoolSpec& spec) const;
  Result<TemplateLayer> layer_of(const PoolSpec& spec, const Ready& ready, const PoolRow& row);
  Result<CloneFacts> facts_of(const PoolSpec& spec, std::uint64_t index, std::string& serial) const;
  Result<void> make_clone(const PoolSpec& spec, const Ready& ready, const TemplateLayer& layer,
                          const CloneRow& row, const PoolJoin::Account& account, const DataDisks& data_disks);
  Result<void> take_away(const PoolSpec& spec, const CloneRow& clone);
  void prewarm(const PoolSpec& spec, const CloneRow& clone, const std::string& disk) const;
  Result<void> start_vms(const PoolSpec& spec, PoolResult& result, const Progress& progress);

  os::FileSystem& files_;
  PoolStore& store_;
  const IdentityPort& identity_;
  PrewarmPort prewarm_;  // may be empty
};

}  // namespace roamstead::compose
