#include "coordinator/hypervisor/vmx.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "common/base/text.h"

namespace roamstead::hypervisor {
namespace {

constexpr std::size_t kMostBytes = 1u << 20;
constexpr std::size_t kMostLines = 20'000;

std::string in_small_letters(std::string_view text) {
  std::string small(text);
  for (auto& c : small)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  return small;
}

bool starts_with(std::string_view text, std::string_view start) {
  return text.substr(0, start.size()) == start;
}

std::string_view trimmed(std::string_view text) {
  const auto begin = text.find_first_not_of(" \t\r");
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(" \t\r") + 1 - begin);
}

std::string escaped(const std::string& value) {
  std::string text;
  for (const char c : value) {
    if (c == '"' || c == '|' || static_cast<unsigned char>(c) < 0x20)
      text += fmt::format("|{:02X}", static_cast<unsigned char>(c));
    else
      text += c;
  }
  return text;
}

std::optional<std::string> unescaped(std::string_view text) {
  std::string value;
  for (std::size_t at = 0; at < text.size(); ++at) {
    if (text[at] == '"') return std::nullopt;
    if (text[at] != '|') {
      value += text[at];
      continue;
    }
    if (at + 2 >= text.size()) return std::nullopt;
    const int high = hexadecimal(text[at + 1]), low = hexadecimal(text[at + 2]);
    if (high < 0 || low < 0) return std::nullopt;
    value += static_cast<char>(high * 16 + low);
    at += 2;
  }
  return value;
}

bool is_key(std::string_view key) {
  return !key.empty() && std::all_of(key.begin(), key.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
           c == ':' || c == '_' || c == '-';
  });
}

// "scsi0:1" of "scsi0:1.filename"; "" of what is no place of a disk.
std::string place_of(const std::string& key) {
  const auto dot = key.find('.');
  const auto colon = key.find(':');
  if (dot == std::string::npos || colon == std::string::npos || colon > dot) return "";
  for (const char* bus : {"scsi", "sata", "nvme", "ide"})
    if (starts_with(key, bus)) return key.substr(0, dot);
  return "";
}

bool is_hard_disk(const Vmx& vmx, const std::string& place) {
  const auto type = in_small_letters(vmx.find(place + ".devicetype").value_or(""));
  if (!type.empty()) return type.find("disk") != std::string::npos;
  const auto file = in_small_letters(vmx.find(place + ".filename").value_or(""));
  return file.size() < 4 || file.substr(file.size() - 4) != ".iso";
}

// 16 bytes as VMware writes them: "56 4d 1c ...-..."
std::string uuid_text(const Guid& uuid) {
  const auto text = uuid.to_string();
  std::string bytes;
  int count = 0;
  for (std::size_t at = 0; at + 1 < text.size();) {
    if (text[at] == '-') {
      ++at;
      continue;
    }
    if (count != 0) bytes += count == 8 ? '-' : ' ';
    bytes += text.substr(at, 2);
    at += 2;
    ++count;
  }
  return bytes;
}

std::set<std::string> places_of(const Vmx& vmx) {
  std::set<std::string> places;
  for (const auto& key : vmx.keys())
    if (auto place = place_of(key); !place.empty()) places.insert(std::move(place));
  return places;
}

// Ours go where the template's first hard disk was, and after it on the same controller.
Result<void> attach(Vmx& vmx, const std::string& source, const std::vector<VmDisk>& disks) {
  constexpr unsigned kMostUnits = 64;
  auto taken = places_of(vmx);
  std::string controller = "scsi0";
  unsigned unit = 0;
  bool found = false;
  for (const auto& key : vmx.keys()) {
    const auto place = place_of(key);
    if (place.empty() || taken.count(place) == 0 || !is_hard_disk(vmx, place)) continue;
    if (!found) {
      found = true;
      controller = place.substr(0, place.find(':'));
      unit = 0;
      for (const char c : place.substr(place.find(':') + 1)) {
        if (c < '0' || c > '9' || unit > kMostUnits)
          return fail(ErrorCode::invalid_argument, source + ": '" + place + "' is no place of a disk");
        unit = unit * 10 + static_cast<unsigned>(c - '0');
      }
    }
    vmx.remove(place + ".");
    taken.erase(place);
  }
  if (!vmx.find(controller + ".present")) {
    vmx.set(controller + ".present", "TRUE");
    if (controller == "scsi0") vmx.set("scsi0.virtualDev", "lsisas1068");
  }
  for (const auto& disk : disks) {
    // Unit 7 of a SCSI controller is the controller itself.
    while (taken.count(fmt::format("{}:{}", controller, unit)) != 0 ||
           (unit == 7 && starts_with(controller, "scsi")))
      ++unit;
    if (unit >= kMostUnits || (starts_with(controller, "ide") && unit > 1))
      return fail(ErrorCode::invalid_argument,
                  source + ": no place is left on " + controller + " for " + disk.path);
    const auto place = fmt::format("{}:{}", controller, unit++);
    vmx.set(place + ".present", "TRUE");
    vmx.set(place + ".fileName", disk.path);
  }
  return {};
}

}  // namespace

Result<Vmx> Vmx::parse(const std::string& text, const std::string& source) {
  Vmx vmx;
  const auto wrong = [&](const std::string& what) {
    return fail(ErrorCode::invalid_argument,
                source + ":" + std::to_string(vmx.lines_.size() + 1) + ": " + what);
  };
  if (text.size() > kMostBytes) return wrong("larger than 1 MiB");
  std::set<std::string> seen;
  for (std::size_t at = 0; at < text.size();) {
    const auto end = std::min(text.find('\n', at), text.size());
    auto line = text.substr(at, end - at);
    at = end + 1;
    if (!line.empty() && line.back() == '\r') line.pop_back();
    if (vmx.lines_.size() >= kMostLines) return wrong("more than 20,000 lines");
    if (line.find('\0') != std::string::npos || !is_wtf8(line)) return wrong("is not text in UTF-8");
    std::string_view rest = trimmed(line);
    if (vmx.lines_.empty() && starts_with(rest, "\xEF\xBB\xBF")) rest.remove_prefix(3);
    if (rest.empty() || rest.front() == '#') {
      vmx.lines_.push_back({"", "", line});
      continue;
    }
    const auto equal = rest.find('=');
    if (equal == std::string_view::npos) return wrong("expected key = \"value\"");
    const auto key = trimmed(rest.substr(0, equal));
    auto value = trimmed(rest.substr(equal + 1));
    if (!is_key(key)) return wrong("'" + std::string(key) + "' cannot be a key");
    if (value.size() < 2 || value.front() != '"' || value.back() != '"')
      return wrong("'" + std::string(key) + "': expected a value in quotes");
    const auto meant = unescaped(value.substr(1, value.size() - 2));
    if (!meant)
      return wrong("'" + std::string(key) + "': a quote or '|' in the value that is not |22 or |7C");
    auto small = in_small_letters(key);
    if (!seen.insert(small).second) return wrong("'" + std::string(key) + "' is there twice");
    vmx.lines_.push_back({std::move(small), *meant, line});
  }
  return vmx;
}

std::string Vmx::text() const {
  std::string all;
  for (const auto& line : lines_) all += line.text + "\n";
  return all;
}

std::optional<std::string> Vmx::find(std::string_view key) const {
  const auto small = in_small_letters(key);
  for (const auto& line : lines_)
    if (line.key == small) return line.value;
  return std::nullopt;
}

void Vmx::set(const std::string& key, const std::string& value) {
  const auto small = in_small_letters(key);
  Line line{small, value, key + " = \"" + escaped(value) + "\""};
  const auto at =
      std::find_if(lines_.begin(), lines_.end(), [&](const Line& other) { return other.key == small; });
  if (at == lines_.end())
    lines_.push_back(std::move(line));
  else
    *at = std::move(line);
}

void Vmx::remove(std::string_view prefix) {
  const auto small = in_small_letters(prefix);
  lines_.erase(
      std::remove_if(lines_.begin(), lines_.end(),
                     [&](const Line& line) { return !line.key.empty() && starts_with(line.key, small); }),
      lines_.end());
}

std::vector<std::string> Vmx::keys() const {
  std::vector<std::string> all;
  for (const auto& line : lines_)
    if (!line.key.empty()) all.push_back(line.key);
  return all;
}

Result<std::string> vmx_text(const std::string& template_text, const std::string& source, const Vm& vm) {
  RS_TRY(auto vmx, Vmx::parse(template_text, source));
  const auto encoding = in_small_letters(vmx.find(".encoding").value_or("utf-8"));
  if (encoding != "utf-8")
    return fail(ErrorCode::unsupported,
                source + ": its encoding is " + encoding + "; save it as UTF-8, with .encoding = \"UTF-8\"");
  if (!vmx.find("config.version") || !vmx.find("virtualHW.version"))
    return fail(ErrorCode::invalid_argument,
                source + ": is no .vmx: config.version or virtualHW.version is missing");
  // Of the machine that the template was taken from.
  for (const char* generated :
       {"uuid.", "vc.uuid", "checkpoint.", "migrate.", "sched.swap.derivedname", "extendedconfigfile",
        "vmxstats.filename", "vmotion.", "vm.genid", "cleanshutdown", "softpoweroff", "answer."})
    vmx.remove(generated);
  std::set<std::string> adapters;
  for (const auto& key : vmx.keys())
    if (starts_with(key, "ethernet") && key.find('.') != std::string::npos)
      adapters.insert(key.substr(0, key.find('.')));
  for (const auto& adapter : adapters) {
    for (const char* of : {".generatedaddress", ".address", ".pcislotnumber"}) vmx.remove(adapter + of);
    vmx.set(adapter + ".addressType", "generated");
  }
  vmx.set(".encoding", "UTF-8");
  vmx.set("displayName", vm.name);
  vmx.set("nvram", vm.name + ".nvram");
  vmx.set("uuid.bios", uuid_text(vm.uuid));
  vmx.set("uuid.action", "keep");  // nobody is there to be asked whether it was moved or copied
  vmx.set("ethernet0.present", "TRUE");
  vmx.set("ethernet0.addressType", "static");
  vmx.set("ethernet0.address", mac_text(vm.mac));
  RS_CHECK(attach(vmx, source, vm.disks));
  return vmx.text();
}

}  // namespace roamstead::hypervisor
