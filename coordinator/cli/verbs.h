// The verbs of the `roamstead` command, a file for each noun. Every verb takes --json and --help.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "common/base/result.h"
#include "common/vdisk/disk.h"

namespace roamstead::cli {

// What all verbs share. A verb's callback stores what to do in `run`; main calls it after parsing.
struct Context {
  bool json = false;
  mutable bool printed = false;  // a result is on standard output
  int exit_code = 0;             // of the program when the verb succeeds
  std::function<Result<void>()> run;

  // Adds a verb below `noun` whose callback is `action`; --json is added to it.
  CLI::App* verb(CLI::App& noun, const std::string& name, const std::string& description,
                 std::function<Result<void>()> action);
  // Result on standard output: the JSON with --json, the text otherwise.
  void print(const nlohmann::json& value, const std::string& text) const;
  // Progress on standard error when that is a terminal; `total` 0 when unknown.
  void progress(const std::string& what, std::uint64_t done, std::uint64_t total) const;
  void end_progress() const;
};

void add_disk_verbs(CLI::App& app, Context& context);
void add_disk_file_verbs(CLI::App& noun, Context& context);  // of the noun "disk": convert, compact, check
void add_volume_verbs(CLI::App& app, Context& context);
void add_hive_verbs(CLI::App& app, Context& context);
void add_delta_verb(CLI::App& app, Context& context);
void add_repo_verbs(CLI::App& app, Context& context);
void add_profile_verbs(CLI::App& app, Context& context);
void add_profile_registry_verbs(CLI::App& noun, Context& context);  // of the noun "profile": registry …
void add_profile_fork_verbs(CLI::App& noun, Context& context);      // of the noun "profile": forks, merge …
void add_profile_rules_verb(CLI::App& noun, Context& context);      // of the noun "profile": rules
void add_profile_quota_verbs(CLI::App& noun, Context& context);     // of the noun "profile": show, quota
void add_access_verbs(CLI::App& app, Context& context);             // token, group, rule, desktop-pool, audit
void add_desktop_verbs(CLI::App& app, Context& context);            // desktop, assign, session
void add_administrator_verbs(CLI::App& app, Context& context);      // admin-certificate
void add_compose_verbs(CLI::App& app, Context& context);            // image, pool, clone
void add_config_verbs(CLI::App& app, Context& context);
void add_top_verb(CLI::App& app, Context& context);
void add_doctor_verb(CLI::App& app, Context& context);
void add_explain_verb(CLI::App& app, Context& context);
void add_setup_verb(CLI::App& app, Context& context);
void add_generate_verbs(CLI::App& app, Context& context);  // hidden: manual pages, completions

// The disk format that a file's name says.
Result<vdisk::Format> format_for(const std::string& path);
// --ignore-checksum, --parent: for verbs that only read.
void add_reading_options(CLI::App* verb, vdisk::OpenOptions& open);

// "1.5 MiB"
std::string human_bytes(std::uint64_t bytes);
// Columns padded to their widest cell.
std::string table(const std::vector<std::vector<std::string>>& rows);

}  // namespace roamstead::cli
