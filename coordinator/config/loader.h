// The configuration from its files: coordinator.toml, then conf.d/*.toml beside it in the order of their
// names, then the command line; what comes later wins. Every problem is reported, each with its file and
// line.
#pragma once

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "common/os/file.h"
#include "coordinator/config/config.h"

namespace roamstead::config {

inline constexpr const char* kDefaultFile = "/etc/roamstead/coordinator.toml";
inline constexpr const char* kFolder = "conf.d";  // beside the file

// Where a value comes from.
struct Origin {
  std::string file;  // a path, or "command line"; "": built in
  std::uint32_t line = 0;
  std::string to_string() const;  // "/etc/roamstead/coordinator.toml:12", "built in"
};

struct Loaded {
  Config config;
  std::map<std::string, Origin, std::less<>> origins;  // by name; built-in values have none
  std::vector<std::string> files;                      // that were read, in order

  Origin origin_of(std::string_view name) const;
};

struct Sources {
  std::string file;             // "": no files
  bool may_be_missing = false;  // the file; the folder always may
  // Names and texts of the command line (key_table.h: set_from_text), in order; last wins. Paths here may be
  // relative, to the directory the process was started in.
  std::vector<std::pair<std::string, std::string>> settings;
};

// ErrorCode::invalid_argument: the message has a line for each problem, "file:line: what; what to do".
Result<Loaded> load(os::FileSystem& files, const Sources& sources);

// What must be set to run, and what must fit together; separate from load, so that `config show` can show
// what is wrong.
Result<void> check_complete(const Config& config);

// `%d` and `%d/name`: the directory of systemd's credentials; other paths stay as they are.
Result<std::string> expand_credentials(const std::string& path);
// repository.state, or what it is by default.
std::string state_directory(const Config& config);

// The names of keys whose values differ.
std::vector<std::string> changed_keys(const Config& before, const Config& after);
// Gives `fresh` the values of `running` that a running coordinator cannot change.
void keep_unreloadable(Config& fresh, const Config& running);

}  // namespace roamstead::config
