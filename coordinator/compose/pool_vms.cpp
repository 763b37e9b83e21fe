#include "coordinator/compose/pool_vms.h"

#include <algorithm>
#include <atomic>
#include <thread>

#include "coordinator/compose/data_disk.h"
#include "coordinator/compose/pool_job.h"

namespace roamstead::compose {

std::vector<hypervisor::VmDisk> vm_disks(const PoolSpec& spec, const std::string& clone) {
  std::vector<hypervisor::VmDisk> disks{{paths_of(spec, clone).active,
                                         std::string(vdisk::to_string(spec.format)),
                                         spec.kind == CloneKind::linked}};
  if (spec.user_disk)
    disks.push_back({data_disk_path(spec, clone), std::string(to_string(spec.user_disk->format)), false});
  return disks;
}

PoolVms::PoolVms(os::FileSystem& files, const PoolSpec& spec) : files_(files), spec_(spec) {
  if (spec.vm) adapter_ = hypervisor::make_adapter(files, *spec.vm);
}

hypervisor::Vm PoolVms::vm_of(const std::string& clone, std::uint64_t index) const {
  hypervisor::Vm vm;
  vm.name = clone;
  vm.pool = spec_.name;
  vm.number = spec_.first_number + index;
  vm.uuid = hypervisor::vm_uuid(spec_.name, clone);
  vm.mac = spec_.vm->first_mac + index;
  vm.disks = vm_disks(spec_, clone);
  vm.definition = adapter_->definition_path(clone);
  return vm;
}

Result<void> PoolVms::check(const PoolStore& store) const {
  if (!any()) return {};
  RS_CHECK(example().map([](const auto&) {}));
  RS_TRY(const auto pools, store.pools());
  const auto first = spec_.vm->first_mac, last = first + spec_.count - 1;
  for (const auto& pool : pools) {
    if (pool.name == spec_.name) continue;
    RS_TRY(const auto other, parse_made_pool_spec(pool.specification, "pool " + pool.name));
    if (!other.vm || other.vm->first_mac > last || other.vm->first_mac + other.count - 1 < first) continue;
    return fail(ErrorCode::conflict, "the desktops' addresses would be " + hypervisor::mac_text(first) +
                                         " to " + hypervisor::mac_text(last) + ", and pool '" + pool.name +
                                         "' has some of them; set vm.first_mac");
  }
  return {};
}

Result<std::string> PoolVms::example() const {
  return any() ? adapter_->definition(vm_of(spec_.clone_name(0), 0)) : std::string();
}

std::string PoolVms::definition_path(const std::string& clone) const {
  return any() ? adapter_->definition_path(clone) : std::string();
}

Result<void> PoolVms::define(const std::string& clone, std::uint64_t index) const {
  return any() ? adapter_->define(vm_of(clone, index)) : Result<void>();
}

Result<void> PoolVms::remove(const std::string& clone, std::uint64_t index) const {
  if (!any()) return {};
  const auto vm = vm_of(clone, index);
  RS_TRY(const bool defined, files_.exists(vm.definition));
  if (!defined) return {};
  RS_TRY(const auto power, adapter_->power(vm));
  if (power == hypervisor::Power::on) RS_CHECK(adapter_->power_off(vm));
  return adapter_->undefine(vm);
}

Result<hypervisor::Power> PoolVms::power(const std::string& clone, std::uint64_t index) const {
  return any() ? adapter_->power(vm_of(clone, index)) : hypervisor::Power::unknown;
}
Result<void> PoolVms::power_on(const std::string& clone, std::uint64_t index) const {
  return any() ? adapter_->power_on(vm_of(clone, index)) : Result<void>();
}
Result<void> PoolVms::power_off(const std::string& clone, std::uint64_t index) const {
  return any() ? adapter_->power_off(vm_of(clone, index)) : Result<void>();
}
Result<hypervisor::Frozen> PoolVms::freeze(const std::string& clone, std::uint64_t index,
                                           const std::string& disk, const std::string& top) const {
  if (!any())
    return fail(ErrorCode::unsupported,
                "clone '" + clone + "': its pool's specification has no section [vm]");
  auto vm = vm_of(clone, index);
  vm.disks.front().path = disk;
  return adapter_->freeze(vm, top);
}
Result<void> PoolVms::merge(const std::string& clone, std::uint64_t index, const std::string& disk,
                            const hypervisor::MergeOf& layers) const {
  if (!any()) return {};
  auto vm = vm_of(clone, index);
  vm.disks.front().path = disk;
  return adapter_->merge(vm, layers);
}

void PoolVms::power_on(std::vector<Start>& starts, const std::function<void()>& done) const {
  std::atomic<std::size_t> next{0};
  std::mutex mutex;  // one call of `done` at a time
  const auto work = [&] {
    for (std::size_t at = 0; (at = next++) < starts.size();) {
      starts[at].result = power_on(starts[at].clone.name, starts[at].clone.index);
      std::lock_guard guard(mutex);
      done();
    }
  };
  std::vector<std::thread> workers;
  for (unsigned i = 1; any() && i < spec_.vm->parallel && i < starts.size(); ++i) workers.emplace_back(work);
  work();
  for (auto& worker : workers) worker.join();
}

}  // namespace roamstead::compose
