// What Roamstead wants of a hypervisor. An adapter knows one kind of definitions, and which disks its
// hypervisor really attaches.
#pragma once

#include <memory>

#include "common/os/file.h"
#include "coordinator/hypervisor/vm.h"
#include "coordinator/hypervisor/vm_spec.h"

namespace roamstead::hypervisor {

// Paths of layers on the host.
struct Frozen {
  std::string frozen;  // never written again
  std::string top;     // what the machine writes to now
};
struct MergeOf {
  std::string upper, lower;
  std::size_t index = 1;  // of the upper one in the chain; the top is 0
};

// Thread-safe: different machines at once; of one machine one call at a time. Each call is over within the
// specification's timeout, or fails with ErrorCode::timeout; what a program said is in the error.
class Adapter {
 public:
  virtual ~Adapter() = default;

  virtual std::string_view name() const = 0;
  // Whether the hypervisor attaches such a disk. ErrorCode::unsupported, saying which it does.
  // `has_parent`: the top of a chain of differencing disks.
  virtual Result<void> check_disk(const std::string& format, bool has_parent) const = 0;
  // "NAME.xml", in the specification's directory. While that file is there the machine may be defined.
  virtual std::string definition_path(const std::string& vm) const = 0;
  // What the definition would be, for people; nothing is written. Also tells whether the template is good.
  virtual Result<std::string> definition(const Vm& vm) const = 0;

  // Writes the definition and makes it known, in place of one of that name. The disks exist.
  virtual Result<void> define(const Vm& vm) = 0;
  // Fine when there is none: commands of a specification are run only while the definition's file is there,
  // and must then be fine with a machine that is not. The machine is off.
  virtual Result<void> undefine(const Vm& vm) = 0;
  // Fine when it is on already, as far as that can be known.
  virtual Result<void> power_on(const Vm& vm) = 0;
  // At once, as by pulling the plug; fine when it is off.
  virtual Result<void> power_off(const Vm& vm) = 0;
  // Power::unknown where there is nobody to ask.
  virtual Result<Power> power(const Vm& vm) = 0;
  virtual bool can_freeze() const = 0;
  // Makes the layer that the machine writes to, its first disk, immutable: from then on it writes to `top`, a
  // new child that does not exist yet, or to what whoever freezes says instead. The machine may be running,
  // and is not stopped for longer than that takes. ErrorCode::unsupported where it cannot be done.
  virtual Result<Frozen> freeze(const Vm& vm, const std::string& top) = 0;
  virtual bool can_merge() const = 0;
  // Merges a frozen layer with the frozen one beneath it; the upper one's path and id stay. The machine may
  // be running. ErrorCode::unsupported where it cannot be done.
  virtual Result<void> merge(const Vm& vm, const MergeOf& layers) = 0;
};

// `spec` must outlive it.
std::unique_ptr<Adapter> make_adapter(os::FileSystem& files, const VmSpec& spec);
// The addresses that its virtual adapters may have: a base, and how many bits above it are free.
std::pair<std::uint64_t, unsigned> mac_range(AdapterKind kind);

}  // namespace roamstead::hypervisor
