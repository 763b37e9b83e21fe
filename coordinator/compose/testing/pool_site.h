// A coordinator's part in making pools, for tests: a golden image, the store, identities that are only noted.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>

#include "coordinator/compose/pool_job.h"
#include "coordinator/compose/testing/golden_image.h"
#include "tests/support/must.h"
#include "tests/support/temporary_directory.h"

namespace roamstead::compose::testing {

class PoolSite {
 public:
  explicit PoolSite(const GoldenOptions& options = {}) : golden_(folder_ / "golden.vhdx") {
    make_golden_image(golden_, options);
    open_store();
    identity_.coordinator = "127.0.0.1:7420";
    identity_.ca_pem = "-----CA-----\n";
    identity_.issue = [this](const std::string& desktop) -> Result<IdentityPort::Identity> {
      std::lock_guard guard(mutex_);
      RS_CHECK(step_());
      return IdentityPort::Identity{"key of " + desktop + "\n", "certificate\n", std::to_string(++serial_)};
    };
    identity_.enrol = [this](const std::string& desktop, const std::string& serial) -> Result<void> {
      std::lock_guard guard(mutex_);
      RS_CHECK(step_());
      enrolled_[desktop] = serial;
      return {};
    };
    identity_.revoke = [this](const std::string& desktop) -> Result<void> {
      std::lock_guard guard(mutex_);
      RS_CHECK(step_());
      enrolled_.erase(desktop);
      return {};
    };
    identity_.is_enrolled = [this](const std::string& desktop) -> Result<bool> {
      std::lock_guard guard(mutex_);
      return enrolled_.contains(desktop);
    };
  }

  // Disks are made there from now on; the golden image must be there under its path.
  void use(os::FileSystem& files) { files_ = &files; }
  // Asked before an identity is issued, enrolled or revoked.
  void identity_step(std::function<Result<void>()> step) { step_ = std::move(step); }

  // As after a start of the coordinator.
  void open_store() {
    store_.reset();
    store_ = support::must(PoolStore::open(folder_.path()));
    ImageRow row{"win10", golden_, "{}", {}, 0, 1};
    const auto info = support::must(vdisk::inspect(*files_, golden_));
    row.disk_id = info.id;
    row.modified_s = files_->modified_seconds(golden_).value_or(0);
    if (!store_->image("win10")) support::must(store_->put_image(row));
  }

  // What every specification here begins with.
  std::string spec_text(const std::string& more, unsigned count = 3) const {
    return "[pool]\nname = \"desks\"\nimage = \"win10\"\nclones = \"VDI-{n:04}\"\ncount = " +
           std::to_string(count) + "\ndirectory = \"" + disks() + "\"\n" + more;
  }
  Result<PoolSpec> parse(const std::string& text) const {
    return parse_pool_spec(os::real_file_system(), text, "desks.toml", folder_.path());
  }
  Result<PoolResult> create(const std::string& text, unsigned threads = 2) {
    RS_TRY(const auto spec, parse(text));
    RS_TRY(const auto running, store_->jobs().begin(spec.name, "pool create"));
    return job().create(running, spec, text, threads, {});
  }
  Result<PoolPlan> plan(const std::string& text) {
    RS_TRY(const auto spec, parse(text));
    return job().plan(spec);
  }
  PoolJob job() { return PoolJob(*files_, *store_, identity_); }

  std::string disks() const { return folder_ / "disks"; }
  std::string disk(const std::string& clone) const { return os::join_path(disks(), clone + ".vhdx"); }
  std::vector<std::string> disk_names() const {
    return files_->list_directory(disks()).value_or(std::vector<std::string>());
  }
  const std::string& golden() const { return golden_; }
  const support::TemporaryDirectory& folder() const { return folder_; }
  PoolStore& store() { return *store_; }
  IdentityPort& identity() { return identity_; }
  const std::map<std::string, std::string>& enrolled() const { return enrolled_; }

 private:
  support::TemporaryDirectory folder_;
  const std::string golden_;
  os::FileSystem* files_ = &os::real_file_system();
  std::unique_ptr<PoolStore> store_;
  IdentityPort identity_;
  std::mutex mutex_;  // guards what follows
  std::map<std::string, std::string> enrolled_;
  std::uint64_t serial_ = 0;
  std::function<Result<void>()> step_ = [] { return Result<void>(); };
};

// The content of a file on a disk's Windows volume; "(none)" where there is no such file.
inline std::string file_of_disk(const std::string& disk, const std::string& path) {
  const auto opened = support::must(WindowsDisk::open(os::real_file_system(), disk));
  const auto found = opened->volume().lookup(path);
  if (!found) return "(none)";
  const auto record = support::must(opened->volume().record(found->record));
  for (const auto& stream : record.streams)
    if (stream.name.empty()) {
      Bytes content(static_cast<std::size_t>(stream.size_bytes));
      support::must(opened->volume().read(stream, 0, content));
      return std::string(as_text(content));
    }
  return "(none)";
}

}  // namespace roamstead::compose::testing
