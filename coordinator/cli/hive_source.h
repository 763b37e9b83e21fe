// Where a `hive` verb finds its hive and the hive's logs: files, or files on an NTFS volume inside a virtual
// disk.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "common/registry/hive.h"
#include "common/registry/recovery.h"

namespace roamstead::cli {

struct HiveArguments {
  std::string hive;               // a path, or DISK:PATH
  std::vector<std::string> logs;  // empty: .LOG, .LOG1 and .LOG2 beside the hive, in whatever case
  std::uint32_t partition = 0;    // of DISK
  bool as_is = false;             // a dirty hive without its logs
};

// A hive in memory. What Hive objects view is moved with it.
struct LoadedHive {
  std::string name;
  bool in_disk = false;
  std::vector<std::string> log_names;
  Bytes primary;                // empty once recovery has taken its place
  registry::Recovery recovery;  // file empty: the hive was clean, or is used as it is
  ByteView file() const { return recovery.file.empty() ? ByteView(primary) : ByteView(recovery.file); }
};

// A dirty hive is recovered from its logs, or refused; with `as_is` it is given as it lies there.
Result<LoadedHive> load_hive(const HiveArguments& arguments);

}  // namespace roamstead::cli
