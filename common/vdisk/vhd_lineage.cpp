// How a VHD names its parent: an id, a name, and up to eight locators with paths for different systems.
#include <algorithm>

#include "common/base/text.h"
#include "common/vdisk/parent_paths.h"
#include "common/vdisk/vhd_format.h"

namespace roamstead::vdisk::vhd {
namespace {

Guid no_guid() { return {}; }

// "key=value" lines.
std::string note(const std::string& notes, const std::string& key) {
  std::size_t at = 0;
  while (at < notes.size()) {
    auto end = std::min(notes.find('\n', at), notes.size());
    auto line = notes.substr(at, end - at);
    if (line.starts_with(key + "=")) return line.substr(key.size() + 1);
    at = end + 1;
  }
  return "";
}

Guid note_id(const std::string& notes, const std::string& key) {
  return Guid::parse(note(notes, key)).value_or(no_guid());
}

const Locator* find(const std::vector<Locator>& locators, std::uint32_t code) {
  for (const auto& each : locators)
    if (each.code == code) return &each;
  return nullptr;
}

Bytes utf16le(std::u16string_view text) {
  Bytes bytes(text.size() * 2);
  for (std::size_t i = 0; i < text.size(); ++i) store_le<std::uint16_t>(bytes, i * 2, text[i]);
  return bytes;
}

// "%20" and the like of a file URL.
std::string unescape(std::string_view text) {
  auto digit = [](char c) {
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
  };
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '%' && i + 2 < text.size() && digit(text[i + 1]) >= 0 && digit(text[i + 2]) >= 0) {
      out.push_back(static_cast<char>(digit(text[i + 1]) * 16 + digit(text[i + 2])));
      i += 2;
    } else {
      out.push_back(text[i]);
    }
  }
  return out;
}

std::string notes_of(const Lineage& lineage) {
  std::string notes;
  auto add = [&](const char* key, const std::string& value) {
    if (!value.empty()) notes += std::string(key) + "=" + value + "\n";
  };
  auto add_id = [&](const char* key, const Guid& id) { add(key, id.is_zero() ? "" : id.to_string()); };
  add_id("parent2", lineage.parent_id2);
  add_id("merging_child", lineage.merging_child);
  add("merged_path", lineage.merged_path);
  add_id("merged_id", lineage.merged_id);
  return notes;
}

// "../x/p.vhd" as the format writes it: "..\x\p.vhd", ".\p.vhd".
Result<Bytes> relative_locator(const std::string& path) {
  auto text = path.starts_with("../") ? path : "./" + path;
  auto units = to_utf16(text);
  if (!units || text.find('\\') != std::string::npos || units->size() * 2 > kMaxLocatorBytes)
    return fail(ErrorCode::invalid_argument,
                path + ": a parent's path must be UTF-8 without backslashes, at most 32767 UTF-16 units");
  std::replace(units->begin(), units->end(), u'/', u'\\');
  return utf16le(*units);
}

}  // namespace

std::vector<Locator> read_locators(const os::File& file, const Header& header) {
  std::vector<Locator> locators;
  auto size = file.size();
  for (std::size_t i = 0; size && i < kLocators; ++i) {
    Locator locator{header.locator_code_at(i), {}, header.locator_place(i)};
    if (locator.code == 0 || locator.place.length == 0 || locator.place.length > kMaxLocatorBytes ||
        locator.place.offset > *size || locator.place.length > *size - locator.place.offset)
      continue;
    locator.data.resize(locator.place.length);
    if (file.read_exactly(locator.place.offset, locator.data)) locators.push_back(std::move(locator));
  }
  return locators;
}

std::string locator_text(const Locator& locator) {
  std::string text;
  if (locator.code == kRelativeUnicode || locator.code == kAbsoluteUnicode) {
    text = utf16le_to_wtf8(locator.data);
  } else if (locator.code == kMacUrl) {
    text = unescape(as_text(locator.data));
    for (auto prefix : {"file://localhost", "file://"})
      if (text.starts_with(prefix)) text.erase(0, std::string_view(prefix).size());
  } else {
    text = std::string(as_text(locator.data));  // of an unknown code page; plain ASCII in practice
  }
  if (auto end = text.find('\0'); end != std::string::npos) text.resize(end);
  return text;
}

ParentReference parent_reference(const std::string& child_path, const Header& header, std::uint64_t header_at,
                                 const std::vector<Locator>& locators) {
  ParentReference reference;
  reference.format = Format::vhd;
  reference.at = header_at + 40;  // the parent's id
  reference.ids.push_back(header.parent_id());
  auto lineage = to_lineage(header, locators);
  if (!lineage.parent_id2.is_zero()) reference.ids.push_back(lineage.parent_id2);
  reference.modified = header.parent_modified();
  ParentPaths paths(child_path);
  for (auto code : {kRelativeUnicode, kRelativeAnsi})
    if (const auto* locator = find(locators, code)) paths.add_relative(locator_text(*locator));
  for (auto code : {kAbsoluteUnicode, kAbsoluteAnsi, kMacUrl})
    if (const auto* locator = find(locators, code)) paths.add_absolute(locator_text(*locator));
  auto name = header.parent_name();
  if (name.find_first_of("/\\:") == std::string::npos)
    paths.add_relative(name);
  else
    paths.add_absolute(name);
  reference.candidates = paths.take();
  return reference;
}

Lineage to_lineage(const Header& header, const std::vector<Locator>& locators) {
  Lineage lineage;
  lineage.parent_format = Format::vhd;
  lineage.parent_id = header.parent_id();
  if (const auto* relative = find(locators, kRelativeUnicode)) lineage.parent_path = locator_text(*relative);
  std::replace(lineage.parent_path.begin(), lineage.parent_path.end(), '\\', '/');
  const auto* own = find(locators, kMergeNotes);
  if (own == nullptr) return lineage;
  std::string notes(as_text(own->data));
  lineage.parent_id2 = note_id(notes, "parent2");
  lineage.merging_child = note_id(notes, "merging_child");
  lineage.merged_path = note(notes, "merged_path");
  lineage.merged_id = note_id(notes, "merged_id");
  return lineage;
}

Result<std::vector<Locator>> to_locators(const Lineage& lineage, const std::vector<Locator>& before,
                                         const std::string& path_before) {
  std::vector<Locator> locators;
  bool same_path = lineage.parent_path == path_before;
  if (same_path) {
    for (const auto& each : before)
      if (each.code != kMergeNotes) locators.push_back({each.code, each.data, {}});
  } else {
    RS_TRY(auto data, relative_locator(lineage.parent_path));
    locators.push_back({kRelativeUnicode, std::move(data), {}});
  }
  auto notes = notes_of(lineage);
  if (notes.size() > kMaxLocatorBytes || lineage.merged_path.find('\n') != std::string::npos)
    return fail(ErrorCode::invalid_argument, lineage.merged_path + ": a path that cannot be noted in a VHD");
  if (!notes.empty()) {
    if (locators.size() == kLocators) locators.pop_back();  // the last of eight: one of many paths
    locators.push_back({kMergeNotes, to_bytes(notes), {}});
  }
  return locators;
}

}  // namespace roamstead::vdisk::vhd
