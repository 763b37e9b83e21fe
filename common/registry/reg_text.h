// .reg text of version 5, as Registry Editor writes and reads it. It holds keys and values; security, class
// names and times have no place in it.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "common/registry/editor.h"
#include "common/registry/hive.h"

namespace roamstead::registry {

// Takes the text piece by piece; an error ends the export.
using TextSink = std::function<Result<void>(std::u16string_view)>;

// `prefix` is put before the path of each key ("HKEY_LOCAL_MACHINE\\SYSTEM"); `from` itself has the path
// "prefix". Strings that text cannot hold unchanged (not ended by one NUL, with line breaks, of odd length)
// are written as hex(1):. What is damaged is left out and listed in `defects`.
Result<void> export_reg(const Hive& hive, const Key& from, std::string_view prefix, const TextSink& sink,
                        std::vector<Defect>& defects);

// One line's worth of a .reg text.
struct RegChange {
  enum class Kind { create_key, delete_key, set_value, delete_value };
  Kind kind = Kind::create_key;
  std::string key;  // as in the text, with the hive's name in front: "HKEY_LOCAL_MACHINE\\SYSTEM\\Setup"
  std::string value_name;  // "" is the default value
  std::uint32_t type = 0;
  Bytes data;
  std::size_t line = 0;
};

// Parses UTF-16LE with a byte order mark or UTF-8. Errors name the line. Whatever is changed is one change,
// in the order of the text.
Result<std::vector<RegChange>> parse_reg(ByteView text);

// Applies changes to a hive whose root has the path `prefix` in the text. Values are created or replaced,
// missing keys made; deleting what is not there is no error. The first change that cannot be made ends it
// with its line; what was changed before stays changed in the editor.
Result<void> apply_reg(Editor& editor, const std::vector<RegChange>& changes, std::string_view prefix);

}  // namespace roamstead::registry
