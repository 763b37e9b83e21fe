#include "coordinator/server/host_machine.h"

#include <algorithm>

#include "coordinator/compose/windows_volume.h"

namespace roamstead::server {
namespace {

os::FileSystem& files() { return os::real_file_system(); }

tl::unexpected<Error> none(const std::string& desktop, const std::string& why) {
  return fail(ErrorCode::unsupported, "no snapshots are made of desktop '" + desktop + "' here: " + why);
}

}  // namespace

Result<std::shared_ptr<HostMachine>> HostMachine::find(const compose::PoolStore& pools,
                                                       const std::string& desktop) {
  auto clone = pools.clone(desktop);
  if (!clone && clone.error().code == ErrorCode::not_found)
    return none(desktop, "it is of no pool that this coordinator made, so that its disk is not known");
  if (!clone) return fail(std::move(clone).error());
  if (clone->state != compose::CloneState::made)
    return none(desktop, "its disk is " + std::string(compose::to_string(clone->state)));
  RS_TRY(const auto row, pools.pool(clone->pool));
  RS_TRY(auto spec, compose::parse_made_pool_spec(row.specification, "pool " + row.name));
  if (!spec.vm) return none(desktop, "the specification of pool '" + row.name + "' has no section [vm]");
  std::shared_ptr<HostMachine> machine(new HostMachine(std::move(spec), std::move(*clone)));
  if (!machine->vms_.can_freeze())
    return none(desktop, "the specification of pool '" + row.name + "' has no command vm.commands.freeze");
  return machine;
}

Result<HostMachine::Frozen> HostMachine::freeze() {
  std::unique_lock lock(mutex_, std::try_to_lock);
  if (!lock) return fail(ErrorCode::busy, "layers of '" + active_ + "' are just being merged; try again");
  if (top_.empty()) top_ = compose::current_top(files(), active_);
  if (!frozen_ || *frozen_ >= kMostFrozen) {
    RS_TRY(const auto layers, compose::layers_of_clone(files(), active_));
    frozen_ = layers.empty() ? 0 : layers.size() - 1;
  }
  if (*frozen_ >= kMostFrozen)
    return fail(ErrorCode::conflict,
                "'" + active_ + "' has " + std::to_string(*frozen_) +
                    " frozen layers, and no more are made: merge them, or let the pool's "
                    "specification say how (vm.commands.merge)");
  RS_TRY(const auto next, compose::next_top(files(), active_));
  auto frozen = vms_.freeze(clone_.name, clone_.index, top_, next);
  if (!frozen) {
    top_.clear();  // it may have been done
    frozen_.reset();
    return fail(std::move(frozen).error());
  }
  top_ = frozen->top;
  ++*frozen_;
  RS_TRY(const auto info, vdisk::inspect(files(), frozen->frozen));
  RS_TRY(const auto above, vdisk::inspect(files(), top_));
  RS_TRY(const bool on_it, above.parent_path.empty() ? Result<bool>(false)
                                                     : files().same_file(above.parent_path, frozen->frozen));
  if (!on_it) {
    top_.clear();
    frozen_.reset();
    return fail(ErrorCode::conflict, "freezing '" + active_ + "': " + frozen->frozen +
                                         " is called the frozen layer, but above it " + above.path +
                                         " stands on '" + above.parent_path + "'");
  }
  return Frozen{frozen->frozen, info.id};
}

Result<std::uint32_t> HostMachine::partition(const std::string& frozen) {
  {
    std::lock_guard lock(mutex_);
    if (partition_) return *partition_;
  }
  RS_TRY(const auto windows, compose::WindowsDisk::open(files(), frozen));
  std::lock_guard lock(mutex_);
  partition_ = windows->place().partition;
  return *partition_;
}

// What remains of a pair has path and id of the upper one: no layer to keep may be the lower one, and none
// whose path others know.
Result<std::size_t> HostMachine::tidy(std::set<Guid> keep, const std::set<Guid>& cut_from) {
  std::lock_guard lock(mutex_);
  for (;;) {
    RS_TRY(const auto layers, compose::layers_of_clone(files(), active_));
    const auto saved = std::find_if(layers.begin(), layers.end(),
                                    [&](const auto& layer) { return cut_from.contains(layer.id); });
    if (saved != layers.end()) keep.insert(saved->id);
    if (layers.empty()) return std::size_t{0};
    const auto frozen = layers.size() - 1;
    frozen_ = frozen;
    if (!vms_.can_merge()) return frozen;
    std::size_t upper = 1;
    while (upper + 1 < layers.size() &&
           (keep.contains(layers[upper + 1].id) || layers[upper + 1].path == active_))
      ++upper;
    if (upper + 1 >= layers.size()) return frozen;
    const hypervisor::MergeOf pair{layers[upper].path, layers[upper + 1].path, upper};
    RS_CHECK(vms_.merge(clone_.name, clone_.index, layers.front().path, pair));
    RS_TRY(const auto now, compose::layers_of_clone(files(), active_));
    if (now.size() >= layers.size())
      return fail(ErrorCode::io, "merging " + pair.upper + " with " + pair.lower +
                                     ": the command ended well, but there are as many layers as before");
  }
}

}  // namespace roamstead::server
