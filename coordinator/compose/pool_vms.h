// The virtual machines of a pool's desktops.
#pragma once

#include <functional>
#include <memory>

#include "coordinator/compose/pool_spec.h"
#include "coordinator/compose/pool_store.h"
#include "coordinator/hypervisor/adapter.h"

namespace roamstead::compose {

// What a desktop's machine gets: first the disk that it starts from.
std::vector<hypervisor::VmDisk> vm_disks(const PoolSpec& spec, const std::string& clone);

// Of a pool without [vm] every call does nothing. Thread-safe as hypervisor::Adapter is.
class PoolVms {
 public:
  // `spec` must outlive it.
  PoolVms(os::FileSystem& files, const PoolSpec& spec);

  bool any() const { return adapter_ != nullptr; }
  // ErrorCode::conflict when another pool's machines have an address of these; ErrorCode::invalid_argument
  // for a template of which no definition can be made.
  Result<void> check(const PoolStore& store) const;
  // What the first desktop's would be; "" where there is none.
  Result<std::string> example() const;

  std::string definition_path(const std::string& clone) const;  // "" where there is none
  Result<void> define(const std::string& clone, std::uint64_t index) const;
  // Off, and undefined; fine when it is neither.
  Result<void> remove(const std::string& clone, std::uint64_t index) const;
  Result<hypervisor::Power> power(const std::string& clone, std::uint64_t index) const;
  Result<void> power_on(const std::string& clone, std::uint64_t index) const;
  Result<void> power_off(const std::string& clone, std::uint64_t index) const;
  bool can_freeze() const { return any() && adapter_->can_freeze(); }
  bool can_merge() const { return any() && adapter_->can_merge(); }
  // `disk` is what the machine writes to now (current_top).
  Result<hypervisor::Frozen> freeze(const std::string& clone, std::uint64_t index, const std::string& disk,
                                    const std::string& top) const;
  Result<void> merge(const std::string& clone, std::uint64_t index, const std::string& disk,
                     const hypervisor::MergeOf& layers) const;

  struct Start {
    CloneRow clone;
    Result<void> result;
  };
  // Starts those machines, so many at once as the specification allows; `done` is called after each, one at a
  // time.
  void power_on(std::vector<Start>& starts, const std::function<void()>& done) const;

 private:
  hypervisor::Vm vm_of(const std::string& clone, std::uint64_t index) const;

  os::FileSystem& files_;
  const PoolSpec& spec_;
  std::unique_ptr<hypervisor::Adapter> adapter_;  // null: there are none
};

}  // namespace roamstead::compose
