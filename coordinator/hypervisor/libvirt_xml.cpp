#include "coordinator/hypervisor/libvirt_xml.h"

#include <algorithm>
#include <pugixml.hpp>
#include <set>
#include <sstream>

namespace roamstead::hypervisor {
namespace {

using pugi::xml_node;

tl::unexpected<Error> wrong(const std::string& source, const std::string& what) {
  return fail(ErrorCode::invalid_argument, source + ": " + what);
}

// QEMU's names of formats.
std::string driver_type(const std::string& format) { return format == "vhd" ? "vpc" : format; }

void set_attribute(xml_node node, const char* name, const std::string& value) {
  auto attribute = node.attribute(name);
  if (!attribute) attribute = node.append_attribute(name);
  attribute.set_value(value.c_str());
}

void remove_children(xml_node node, const char* name) {
  while (node.remove_child(name)) {
  }
}

// The child of that name, alone and with this text.
xml_node only_child(xml_node node, const char* name, const std::string& text) {
  remove_children(node, name);
  auto child = node.prepend_child(name);
  child.text().set(text.c_str());
  return child;
}

bool is_hard_disk(xml_node disk) {
  const std::string device = disk.attribute("device").as_string("disk");
  return device == "disk" || device == "lun";
}

// "vda", "vdb" ... of a bus.
std::string prefix_of(const std::string& bus) {
  if (bus == "virtio") return "vd";
  return bus == "ide" ? "hd" : bus == "xen" ? "xvd" : "sd";
}

class Disks {
 public:
  // Takes the template's hard disks out, and remembers the first one's ways.
  explicit Disks(xml_node devices) : devices_(devices) {
    for (auto disk = devices.child("disk"); disk;) {
      const auto next = disk.next_sibling("disk");
      if (is_hard_disk(disk)) {
        if (!model_.first_child()) {
          model_.append_copy(disk);
          place_ = disk.previous_sibling();
        }
        devices.remove_child(disk);
      } else {
        taken_.insert(disk.child("target").attribute("dev").as_string());
      }
      disk = next;
    }
    if (!model_.first_child()) {
      auto disk = model_.append_child("disk");
      disk.append_child("driver").append_attribute("name").set_value("qemu");
      disk.append_child("target").append_attribute("bus").set_value("virtio");
    }
  }

  void add(const VmDisk& disk) {
    auto node = place_ ? devices_.insert_copy_after(model_.first_child(), place_)
                       : devices_.prepend_copy(model_.first_child());
    place_ = node;
    // The rest is of the disk that was there, or would be the same for two.
    for (auto child = node.first_child(); child;) {
      const auto next = child.next_sibling();
      const std::string name = child.name();
      const bool stays = name == "driver" || name == "target" || name == "iotune" || name == "blockio" ||
                         (name == "boot" && is_first_);
      if (!stays) node.remove_child(child);
      child = next;
    }
    set_attribute(node, "type", "file");
    set_attribute(node, "device", "disk");
    for (const char* attribute : {"snapshot", "sgio", "rawio", "model"}) node.remove_attribute(attribute);
    auto driver = node.child("driver");
    if (!driver) driver = node.prepend_child("driver");
    set_attribute(driver, "name", "qemu");
    set_attribute(driver, "type", driver_type(disk.format));
    auto source = node.insert_child_after("source", driver);
    set_attribute(source, "file", disk.path);
    auto target = node.child("target");
    if (!target) target = node.append_child("target");
    if (!target.attribute("bus")) set_attribute(target, "bus", "virtio");
    set_attribute(target, "dev", free_name(target.attribute("bus").as_string()));
    target.remove_attribute("tray");
    is_first_ = false;
  }

 private:
  std::string free_name(const std::string& bus) {
    for (char letter = 'a'; letter <= 'z'; ++letter) {
      auto name = prefix_of(bus) + letter;
      if (taken_.insert(name).second) return name;
    }
    return prefix_of(bus) + "aa";  // libvirt refuses it where that is taken as well
  }

  xml_node devices_;
  pugi::xml_document model_;
  xml_node place_;  // ours come after it; null: first
  std::set<std::string> taken_;
  bool is_first_ = true;
};

void set_address(xml_node devices, std::uint64_t mac) {
  bool first = true;
  for (auto interface : devices.children("interface")) {
    remove_children(interface, "mac");  // of the others: libvirt makes one
    if (auto target = interface.child("target")) {
      target.remove_attribute("dev");
      if (!target.first_attribute()) interface.remove_child(target);
    }
    if (first) set_attribute(interface.prepend_child("mac"), "address", mac_text(mac));
    first = false;
  }
}

// What libvirt made for the machine that the template was taken from.
void remove_generated(xml_node domain, xml_node devices) {
  domain.remove_attribute("id");
  if (auto nvram = domain.child("os").child("nvram")) {
    nvram.text().set("");
    for (const char* attribute : {"type", "format"}) nvram.remove_attribute(attribute);
    remove_children(nvram, "source");
    if (!nvram.attribute("template")) domain.child("os").remove_child(nvram);
  }
  if (domain.child("genid")) only_child(domain, "genid", "");
  for (auto device : devices.children()) {
    remove_children(device, "alias");
    const std::string name = device.name();
    if (name == "channel" && std::string(device.attribute("type").as_string()) == "unix")
      remove_children(device, "source");
    if (name == "graphics" && device.attribute("port")) {
      device.remove_attribute("port");
      device.remove_attribute("tlsPort");
      set_attribute(device, "autoport", "yes");
    }
    if (name == "tpm") remove_children(device.child("backend"), "source");
  }
}

}  // namespace

Result<std::string> domain_xml(const std::string& template_text, const std::string& source, const Vm& vm) {
  if (template_text.size() > kMostTemplateBytes) return wrong(source, "larger than 1 MiB");
  pugi::xml_document document;
  const auto parsed = document.load_buffer(
      template_text.data(), template_text.size(),
      pugi::parse_default | pugi::parse_comments | pugi::parse_doctype | pugi::parse_declaration);
  if (!parsed) {
    const auto before = std::string_view(template_text).substr(0, static_cast<std::size_t>(parsed.offset));
    return wrong(source + ":" + std::to_string(1 + std::count(before.begin(), before.end(), '\n')),
                 std::string("is no XML: ") + parsed.description());
  }
  for (const auto node : document.children())
    if (node.type() == pugi::node_doctype)
      return wrong(source, "has a document type declaration, which a domain's XML needs not");
  auto domain = document.child("domain");
  if (!domain || document.document_element() != domain)
    return wrong(source, "is no <domain> of libvirt; 'virsh dumpxml --inactive' prints one");
  auto devices = domain.child("devices");
  if (!devices) devices = domain.append_child("devices");

  remove_generated(domain, devices);
  only_child(domain, "uuid", vm.uuid.to_string());
  only_child(domain, "name", vm.name);
  for (auto entry : domain.child("sysinfo").child("system").children("entry"))
    if (std::string(entry.attribute("name").as_string()) == "uuid")
      entry.text().set(vm.uuid.to_string().c_str());
  Disks disks(devices);
  for (const auto& disk : vm.disks) disks.add(disk);
  set_address(devices, vm.mac);
  std::ostringstream text;
  document.save(text, "  ");
  return text.str();
}

}  // namespace roamstead::hypervisor
