// What tests compare hives by: a flat picture of a tree, ours and those of independent readers.
#pragma once

#include <map>
#include <string>

#include "common/registry/hive.h"

namespace roamstead::registry {

// "Software\Classes" -> "" for keys, "Software\Classes" + '\1' + value name -> "type:hex" for values. The
// root is "".
using TreePicture = std::map<std::string, std::string>;

struct TreeCounts {
  std::uint64_t keys = 0;
  std::uint64_t values = 0;
  bool operator==(const TreeCounts&) const = default;
};

TreePicture picture_of(const Hive& hive);
TreeCounts counts_of(const TreePicture& picture);

// Of a file, by Win::Hivex::Regedit; every byte of data. Slow: some 10,000 values a second.
TreePicture hivex_picture(const std::string& path);
// Of a .reg text below `prefix`.
TreePicture reg_picture(ByteView text, const std::string& prefix);
// Quick: how many keys and values each sees. 0 and 0 when it refuses the file.
TreeCounts hivexml_counts(const std::string& path);
TreeCounts reglookup_counts(const std::string& path);
TreeCounts regfexport_counts(const std::string& path);

// Whether all these programs are installed; says so when not.
bool have_oracles();
// Whether two pictures are equal; prints the first differences.
bool same_picture(const TreePicture& a, const TreePicture& b);

std::string output_of(const std::string& command);
Bytes file_bytes(const std::string& path);  // also of .xz files
void write_bytes(const std::string& path, ByteView bytes);

}  // namespace roamstead::registry
