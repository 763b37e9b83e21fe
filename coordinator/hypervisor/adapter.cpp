#include "coordinator/hypervisor/adapter.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "coordinator/hypervisor/libvirt_xml.h"
#include "coordinator/hypervisor/vm_command.h"
#include "coordinator/hypervisor/vmx.h"

namespace roamstead::hypervisor {
namespace {

using Words = VmCommands::Words;

constexpr std::chrono::seconds kMergeWithin{3600};

// What adapters have in common: a definition file, and commands where the specification has them.
class FileAdapter : public Adapter {
 public:
  FileAdapter(os::FileSystem& files, const VmSpec& spec) : files_(files), spec_(spec) {}

  std::string definition_path(const std::string& vm) const override {
    return os::join_path(spec_.directory, vm + ending());
  }
  Result<void> define(const Vm& vm) override {
    RS_TRY(const auto text, definition(vm));
    RS_CHECK(files_.make_directories(spec_.directory));
    RS_CHECK(os::write_file_durably(files_, definition_path(vm.name), as_bytes(text)));
    return run(vm, spec_.commands.define);
  }
  Result<void> undefine(const Vm& vm) override {
    const auto path = definition_path(vm.name);
    RS_TRY(const bool there, files_.exists(path));
    // Without its file it was not defined, or that was begun to be undone.
    if (!there) return {};
    RS_CHECK(run(vm, spec_.commands.undefine));
    RS_CHECK(files_.remove(path));
    return files_.sync_directory(spec_.directory);
  }
  Result<void> power_on(const Vm& vm) override {
    RS_TRY(const auto now, power(vm));
    if (now == Power::on) return {};
    if (spec_.commands.power_on.empty())
      return fail(ErrorCode::unsupported, "VM " + vm.name + ": no command vm.commands.power_on is given");
    return run(vm, spec_.commands.power_on);
  }
  Result<void> power_off(const Vm& vm) override {
    RS_TRY(const auto now, power(vm));
    if (now == Power::off) return {};
    if (spec_.commands.power_off.empty())
      return fail(ErrorCode::unsupported, "VM " + vm.name + ": no command vm.commands.power_off is given");
    return run(vm, spec_.commands.power_off);
  }
  Result<Power> power(const Vm& vm) override {
    if (spec_.commands.power_state.empty()) return Power::unknown;
    RS_TRY(const auto said,
           run_for(vm, spec_.commands.power_state, substitutes_of(vm, spec_.directory), spec_.timeout));
    return parse_power(last_line(said));
  }
  bool can_freeze() const override { return !spec_.commands.freeze.empty(); }
  Result<Frozen> freeze(const Vm& vm, const std::string& top) override {
    if (spec_.commands.freeze.empty())
      return fail(ErrorCode::unsupported, "VM " + vm.name + ": no command vm.commands.freeze is given");
    RS_TRY(const bool taken, files_.exists(top));
    if (taken) return fail(ErrorCode::exists, top + ": is there already; a new layer needs another name");
    RS_TRY(const auto said,
           run_for(vm, spec_.commands.freeze, substitutes_of(vm, spec_.directory, top), spec_.timeout));
    const auto begin = said.find_first_not_of(" \t\r\n");
    if (begin != std::string::npos && said[begin] == '{') return read_frozen(vm, said);
    return check_frozen(vm, top, last_line(said));
  }
  bool can_merge() const override { return !spec_.commands.merge.empty(); }
  Result<void> merge(const Vm& vm, const MergeOf& layers) override {
    if (spec_.commands.merge.empty())
      return fail(ErrorCode::unsupported, "VM " + vm.name + ": no command vm.commands.merge is given");
    auto substitutes = substitutes_of(vm, spec_.directory);
    substitutes["upper"] = layers.upper;
    substitutes["lower"] = layers.lower;
    substitutes["index"] = std::to_string(layers.index);
    return run_for(vm, spec_.commands.merge, substitutes, kMergeWithin).map([](const auto&) {});
  }

 protected:
  virtual std::string ending() const = 0;
  Result<void> run(const Vm& vm, const Words& words) const {
    if (words.empty()) return {};
    return run_for(vm, words, substitutes_of(vm, spec_.directory), spec_.timeout).map([](const auto&) {});
  }
  // An object with "path" and "top", or as `roamstead disk snapshot --json` has them.
  Result<Frozen> read_frozen(const Vm& vm, const std::string& said) const {
    const auto object = nlohmann::json::parse(said, nullptr, false);
    const auto text = [&](const char* name, const char* other) -> std::string {
      for (const auto* key : {name, other})
        if (object.is_object() && object.contains(key) && object[key].is_string()) return object[key];
      return "";
    };
    const auto frozen = text("path", "frozen_path"), top = text("top", "active_path");
    for (const auto& path : {frozen, top})
      if (path.empty() || path.front() != '/')
        return fail(ErrorCode::io, "VM " + vm.name +
                                       ": its freeze printed an object without the absolute paths \"path\", "
                                       "the frozen layer, and \"top\", the layer above it");
    return check_frozen(vm, top, frozen);
  }
  // What a command printed is believed as far as it can be seen.
  Result<Frozen> check_frozen(const Vm& vm, const std::string& top, std::string frozen) const {
    if (frozen.empty() || frozen.front() != '/') frozen = vm.disks.at(0).path;
    RS_TRY(const bool made, files_.exists(top));
    if (!made)
      return fail(ErrorCode::io, "VM " + vm.name + ": its freeze ended well, but " + top + " is not there");
    RS_TRY(const bool there, files_.exists(frozen));
    if (!there || frozen == top)
      return fail(ErrorCode::io, "VM " + vm.name + ": its freeze names " + frozen +
                                     " as the frozen layer, which " +
                                     (there ? "is the new top" : "is not there"));
    return Frozen{std::move(frozen), top};
  }

  os::FileSystem& files_;
  const VmSpec& spec_;
};

tl::unexpected<Error> cannot_attach(std::string_view adapter, const std::string& format, bool has_parent,
                                    const std::string& can) {
  return fail(ErrorCode::unsupported, std::string(adapter) + " cannot attach a" +
                                          (has_parent ? " linked clone in " : " disk in ") + format + ": " +
                                          can);
}

class LibvirtAdapter final : public FileAdapter {
 public:
  using FileAdapter::FileAdapter;

  std::string_view name() const override { return "libvirt"; }
  // libvirt has no word for VHDX; QEMU reads VHD and VMDK as single files only, and in no other layer than
  // the lowest one.
  Result<void> check_disk(const std::string& format, bool has_parent) const override {
    if (format == "qcow2" || (!has_parent && (format == "raw" || format == "vhd" || format == "vmdk")))
      return {};
    return cannot_attach(
        name(), format, has_parent,
        "qcow2, linked or full, and raw, vhd and vmdk without a parent are what it attaches");
  }
  Result<std::string> definition(const Vm& vm) const override {
    return domain_xml(spec_.template_text, spec_.template_source, vm);
  }
  Result<void> define(const Vm& vm) override {
    RS_CHECK(FileAdapter::define(vm));
    return virsh(vm, {"define", definition_path(vm.name)}).map([](const auto&) {});
  }
  Result<void> undefine(const Vm& vm) override {
    RS_TRY(const bool there, files_.exists(definition_path(vm.name)));
    if (!there) return {};
    auto undefined = virsh(vm, {"undefine", "--nvram", vm.name});
    if (!undefined && !is_unknown(undefined.error())) return fail(undefined.error());
    return FileAdapter::undefine(vm);
  }
  Result<void> power_on(const Vm& vm) override {
    RS_TRY(const auto now, power(vm));
    if (now == Power::on) return {};
    return virsh(vm, {"start", vm.name}).map([](const auto&) {});
  }
  Result<void> power_off(const Vm& vm) override {
    RS_TRY(const auto now, power(vm));
    if (now == Power::off) return {};
    return virsh(vm, {"destroy", vm.name}).map([](const auto&) {});
  }
  Result<Power> power(const Vm& vm) override {
    const auto said = virsh(vm, {"domstate", vm.name});
    if (said) return parse_power(last_line(*said));
    if (is_unknown(said.error())) return Power::off;
    return fail(said.error());
  }
  bool can_freeze() const override { return true; }
  bool can_merge() const override { return false; }  // its own commits keep the lower one's path
  Result<Frozen> freeze(const Vm& vm, const std::string& top) override {
    RS_TRY(const bool taken, files_.exists(top));
    if (taken) return fail(ErrorCode::exists, top + ": is there already; a new layer needs another name");
    // Of the disks only the first: the others are named so that libvirt leaves them alone.
    RS_TRY(const auto listed, virsh(vm, {"domblklist", vm.name, "--details"}));
    Words words{"snapshot-create-as", vm.name, "--disk-only", "--atomic", "--no-metadata"};
    RS_TRY(const auto targets, targets_of(vm, listed));
    for (std::size_t at = 0; at < targets.size(); ++at) {
      words.emplace_back("--diskspec");
      words.push_back(targets[at].first +
                      (targets[at].second ? ",snapshot=external,file=" + top : ",snapshot=no"));
    }
    RS_CHECK(virsh(vm, words).map([](const auto&) {}));
    return check_frozen(vm, top, "");
  }

 private:
  std::string ending() const override { return ".xml"; }
  Result<std::string> virsh(const Vm& vm, const Words& words) const {
    Words all{"virsh", "--quiet", "--connect", spec_.uri};
    all.insert(all.end(), words.begin(), words.end());
    return run_for(vm, all, {}, spec_.timeout);
  }
  static bool is_unknown(const Error& error) {
    return error.to_string().find("failed to get domain") != std::string::npos;
  }
  // Lines of `domblklist --details`: type, device, target, source. Which target is that of the first disk?
  static Result<std::vector<std::pair<std::string, bool>>> targets_of(const Vm& vm, const std::string& list) {
    std::vector<std::pair<std::string, bool>> targets;
    bool found = false;
    for (std::size_t at = 0; at < list.size();) {
      const auto end = std::min(list.find('\n', at), list.size());
      auto line = list.substr(at, end - at);
      at = end + 1;
      std::vector<std::string> words;
      for (std::size_t from = 0; words.size() < 3 && from < line.size();) {
        const auto begin = line.find_first_not_of(' ', from);
        if (begin == std::string::npos) break;
        const auto stop = std::min(line.find(' ', begin), line.size());
        words.push_back(line.substr(begin, stop - begin));
        from = stop;
      }
      if (words.size() < 3 || words[1] != "disk") continue;
      const auto& path = vm.disks.at(0).path;
      const bool first = line.size() >= path.size() && line.substr(line.size() - path.size()) == path;
      found = found || first;
      targets.emplace_back(words[2], first);
    }
    if (found) return targets;
    return fail(ErrorCode::conflict,
                "VM " + vm.name + ": " + vm.disks.at(0).path + " is not the top layer that it writes to");
  }
};

class VmwareAdapter final : public FileAdapter {
 public:
  using FileAdapter::FileAdapter;

  std::string_view name() const override { return "vmware"; }
  Result<void> check_disk(const std::string& format, bool has_parent) const override {
    if (format == "vmdk" && !has_parent) return {};
    return cannot_attach(name(), format, has_parent, "vmdk without a parent is what it attaches");
  }
  Result<std::string> definition(const Vm& vm) const override {
    return vmx_text(spec_.template_text, spec_.template_source, vm);
  }

 private:
  std::string ending() const override { return ".vmx"; }
};

// Any hypervisor that has commands: QEMU, Hyper-V, XCP-ng.
class CommandAdapter final : public FileAdapter {
 public:
  using FileAdapter::FileAdapter;

  std::string_view name() const override { return "command"; }
  // Only the administrator knows what is behind the commands.
  Result<void> check_disk(const std::string& format, bool has_parent) const override {
    if (std::find(spec_.formats.begin(), spec_.formats.end(), format) != spec_.formats.end()) return {};
    std::string all;
    for (const auto& each : spec_.formats) all += (all.empty() ? "" : ", ") + each;
    return cannot_attach(name(), format, has_parent, "vm.formats says " + (all.empty() ? "nothing" : all));
  }
  // Without a template the file says only that there is such a machine.
  Result<std::string> definition(const Vm& vm) const override {
    const auto* text = "{name} {uuid} {mac} {disk} {data_disk}\n";
    return fill_in(spec_.has_template ? spec_.template_text : text, substitutes_of(vm, spec_.directory));
  }

 private:
  std::string ending() const override {
    const auto name = os::base_name(spec_.template_source);
    const auto dot = name.rfind('.');
    return dot == std::string::npos || !spec_.has_template ? ".vm" : name.substr(dot);
  }
};

}  // namespace

std::unique_ptr<Adapter> make_adapter(os::FileSystem& files, const VmSpec& spec) {
  switch (spec.adapter) {
    case AdapterKind::libvirt:
      return std::make_unique<LibvirtAdapter>(files, spec);
    case AdapterKind::vmware:
      return std::make_unique<VmwareAdapter>(files, spec);
    case AdapterKind::command:
      break;
  }
  return std::make_unique<CommandAdapter>(files, spec);
}

std::pair<std::uint64_t, unsigned> mac_range(AdapterKind kind) {
  constexpr unsigned kLastThreeBytes = 24;
  // VMware takes no other fixed addresses than 00:50:56:00:00:00 to 00:50:56:3f:ff:ff.
  if (kind == AdapterKind::vmware) return {0x005056000000, 22};
  // QEMU's, and addresses that nobody registered.
  return {kind == AdapterKind::libvirt ? 0x525400000000 : 0x0a5254000000, kLastThreeBytes};
}

}  // namespace roamstead::hypervisor
