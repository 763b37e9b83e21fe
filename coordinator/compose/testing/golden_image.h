// Golden images for tests: an NTFS volume with hives and a few files, laid out as Windows' own are, but made
// here: no Windows was installed on them, and none would start from them.
#pragma once

#include <map>
#include <string>

#include "coordinator/compose/edit.h"

namespace roamstead::compose::testing {

struct GoldenOptions {
  std::uint64_t disk_bytes = 96u << 20;
  std::uint64_t software_filler_bytes = 0;  // so that SOFTWARE is as large as a real one
  std::uint64_t system_filler_bytes = 0;
  std::vector<RegistryEdit> edits;    // on top of what every image here has
  std::map<HiveId, Bytes> hives;      // in place of those made here: real ones
  std::map<std::string, Bytes> logs;  // of hives, by path; in place of some that nobody needs
  bool has_agent = true;
  std::map<std::string, std::string> files;  // more of them: path, content
};

// What says that sysprep has generalised it.
RegistryEdit generalised_state();
// Files of a directory, named as Windows names them; those that are missing are left out.
// With their logs (".LOG1", ".LOG2").
void read_hives(const std::string& directory, GoldenOptions& options);

// At `path`, in the format its ending says; what goes wrong throws.
void make_golden_image(const std::string& path, const GoldenOptions& options = {});

// The hive of such an image as a file.
Bytes make_hive(HiveId hive, const GoldenOptions& options = {});

}  // namespace roamstead::compose::testing
