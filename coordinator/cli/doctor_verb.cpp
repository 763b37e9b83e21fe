// roamstead doctor: looks at the coordinator of this host and what it stands on, and says what to do; with
// --bundle for somebody else to look at.
#include <fmt/format.h>
#include <openssl/crypto.h>
#include <sqlite3.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>

#include "common/base/host_port.h"
#include "coordinator/cli/json_text.h"
#include "coordinator/cli/repository_access.h"
#include "coordinator/config/loader.h"
#include "coordinator/config/text.h"
#include "coordinator/doctor/bundle.h"
#include "coordinator/doctor/host_checks.h"
#include "coordinator/doctor/redaction.h"
#include "coordinator/server/authority_place.h"
#include "coordinator/server/commands.h"

namespace roamstead::cli {
namespace {

using doctor::bad;
using doctor::doubtful;
using doctor::Finding;
using doctor::good;
using doctor::Health;
using nlohmann::json;

constexpr std::size_t kMostProfiles = 300;  // whose forks are counted

struct DoctorArguments {
  RepositoryChoice choice;
  std::string bundle;
  bool with_names = false;
};

// What is looked at, and what came of it.
struct Examination {
  std::vector<Finding> findings;
  config::Loaded loaded;
  json sessions = json::array(), desktops = json::array(), pools = json::array(), profiles = json::array(),
       groups = json::array();

  void add(Finding finding) { findings.push_back(std::move(finding)); }
  void add(std::vector<Finding> more) { findings.insert(findings.end(), more.begin(), more.end()); }
};

void look_at_configuration(const DoctorArguments& arguments, Examination& found) {
  if (!arguments.choice.directory.empty()) {
    found.add(good("configuration", "not looked at: --repo names another place"));
    return;
  }
  auto loaded = config::load(os::real_file_system(), {configuration_file(), false, {}});
  if (!loaded) return found.add(bad("configuration", Event::doctor_config, loaded.error().to_string()));
  found.loaded = std::move(*loaded);
  if (auto complete = config::check_complete(found.loaded.config); !complete)
    return found.add(bad("configuration", Event::doctor_config, complete.error().to_string()));
  found.add(good("configuration", fmt::format("{} files, no mistakes", found.loaded.files.size())));
}

void look_at_sessions(Examination& found) {
  std::size_t silent = 0, vanished = 0, over_quota = 0;
  for (const auto& session : found.sessions) {
    silent += session.value("lease_seconds_left", 0.0) < 0 ? 1 : 0;
    vanished += session.value("vanished", false) ? 1 : 0;
    over_quota += session.value("over_quota", false) ? 1 : 0;
  }
  auto text = fmt::format("{} open, {} silent, {} vanished, {} over quota", found.sessions.size(), silent,
                          vanished, over_quota);
  found.add(vanished + over_quota == 0 ? good("sessions", text)
                                       : doubtful("sessions", Event::doctor_sessions, text));
}

void look_at_coordinator(const DoctorArguments& arguments, const std::string& socket, int holder,
                         Examination& found) {
  constexpr std::chrono::seconds kPatience{10};
  auto ask = [&](json request) { return ask_running(socket, request, kPatience); };
  auto answer = ask({{"command", "session.list"}});
  if (!answer) {
    if (answer.error().code == ErrorCode::denied)
      return found.add(doubtful("coordinator", Event::doctor_not_allowed, answer.error().to_string()));
    auto text = answer.error().to_string();
    if (holder != 0) text += "; process " + std::to_string(holder) + " has the repository";
    return found.add(bad("coordinator", Event::doctor_unanswered, text));
  }
  found.add(good("coordinator", fmt::format("answers in {} ms", answer->took.count())));
  found.sessions = json_list(answer->result, "sessions");
  look_at_sessions(found);
  auto list = [&](const char* command, const char* field, json& into) {
    if (auto listed = ask({{"command", command}})) into = json_list(listed->result, field);
  };
  list("desktop.list", "desktops", found.desktops);
  list("desktop-pool.list", "pools", found.pools);
  list("profile.list", "profiles", found.profiles);
  list("group.list", "groups", found.groups);
  std::size_t forks = 0, looked = 0;
  for (const auto& profile : found.profiles) {
    if (looked == kMostProfiles) break;
    auto shown = ask({{"command", "profile.show"}, {"profile", json_text(profile, "profile")}});
    if (!shown) break;
    ++looked;
    forks += shown->result.value("open_forks", std::size_t{0});
  }
  auto text = fmt::format("{} open in {} of {} profiles", forks, looked, found.profiles.size());
  found.add(forks == 0 ? good("forks", text) : doubtful("forks", Event::doctor_forks, text));
  if (answer->pid > 0) {
    found.add(doctor::check_limits(answer->pid, found.loaded.config.limits.connections));
    found.add(doctor::check_program(answer->pid));
  }
  (void)arguments;
}

void look_at_certificates(const std::string& state, bool running, Examination& found) {
  auto& files = os::real_file_system();
  auto authority = os::join_path(state, server::kAuthorityDirectory);
  if (auto note = os::read_file(files, os::join_path(state, server::kAuthorityNote), 4096)) {
    authority = std::string(as_text(*note));
    while (!authority.empty() && authority.back() == '\n') authority.pop_back();
  }
  found.add(doctor::check_certificate_file("authority", os::join_path(authority, "ca-cert.pem")));
  found.add(doctor::check_private(os::join_path(authority, "ca-key.pem")));
  if (!running) return;
  auto listen = os::read_file(files, os::join_path(state, server::kListenFile), 1024);
  if (!listen) return;
  auto address = std::string(as_text(*listen));
  while (!address.empty() && address.back() == '\n') address.pop_back();
  // Listening everywhere is listening here.
  for (const char* any : {"0.0.0.0:", "[::]:"})
    if (address.rfind(any, 0) == 0) address = "localhost:" + address.substr(std::string(any).size());
  found.add(doctor::check_server_certificate(address));
}

std::string versions_text() {
  utsname system{};
  ::uname(&system);
  return fmt::format("roamstead {}, {}, SQLite {}, Linux {}", ROAMSTEAD_VERSION,
                     OpenSSL_version(OPENSSL_VERSION), sqlite3_libversion(), system.release);
}

Result<Examination> examine(const DoctorArguments& arguments) {
  Examination found;
  look_at_configuration(arguments, found);
  found.add(good("versions", versions_text()));
  auto options = arguments.choice.options(true);
  if (!options) {
    found.add(bad("repository", Event::doctor_config, options.error().to_string()));
    return found;
  }
  const auto& state = options->state_directory;
  found.add(doctor::check_repository(options->directory));
  found.add(doctor::check_storage("repository", options->directory));
  found.add(doctor::check_storage("state", state));
  found.add(doctor::check_clock(state));
  const int holder = doctor::lock_holder(os::join_path(state, "writer.lock"));
  found.add(doctor::check_state_database(state, holder != 0));
  RS_TRY(auto socket, arguments.choice.admin_socket());
  look_at_coordinator(arguments, socket, holder, found);
  look_at_certificates(state, holder != 0, found);
  return found;
}

json to_json(const Examination& found) {
  auto checks = json::array();
  for (const auto& finding : found.findings) {
    json check{{"check", finding.check}, {"health", to_string(finding.health)}, {"found", finding.text}};
    if (finding.event) {
      check["event"] = id_of(*finding.event);
      check["what_to_do"] = facts_of(*finding.event).action;
    }
    checks.push_back(std::move(check));
  }
  return {{"health", to_string(worst(found.findings))}, {"checks", std::move(checks)}};
}

std::string to_text(const Examination& found) {
  std::string text;
  for (const auto& finding : found.findings) {
    text += fmt::format("{:<4}  {}: {}\n", to_string(finding.health), finding.check, finding.text);
    if (finding.event)
      text += fmt::format("      [{}] {}\n", id_of(*finding.event), facts_of(*finding.event).action);
  }
  return text;
}

// What a program prints, as far as it is not too much; "" when it cannot be run.
std::string output_of(const char* command) {
  std::string text;
  auto* pipe = ::popen(command, "r");
  if (pipe == nullptr) return text;
  char part[4096];
  for (std::size_t count = 0;
       text.size() < (4u << 20) && (count = std::fread(part, 1, sizeof part, pipe)) > 0;)
    text.append(part, count);
  ::pclose(pipe);
  return text;
}

Result<void> write_bundle(const DoctorArguments& arguments, const Examination& found) {
  doctor::Redaction redaction(arguments.with_names);
  auto names = [&](const char* kind, const json& list, const char* field) {
    for (const auto& each : list) redaction.add_name(kind, json_text(each, field));
  };
  names("desktop", found.desktops, "desktop");
  names("profile", found.profiles, "profile");
  names("group", found.groups, "group");
  for (const auto& pool : found.pools)
    if (json_text(pool, "pool") != server::kDefaultPool) redaction.add_name("pool", json_text(pool, "pool"));
  utsname system{};
  ::uname(&system);
  redaction.add_name("host", system.nodename);
  const auto& config = found.loaded.config;
  for (const auto& name : config.listen.names) redaction.add_name("name", name);
  for (const auto* address : {&config.listen.address, &config.listen.public_address})
    if (auto place = parse_host_port(*address);
        place && place->host != "127.0.0.1" && place->host != "0.0.0.0")
      redaction.add_name("address", place->host);
  doctor::BundleFiles files;
  auto add = [&](const std::string& name, const std::string& text) {
    files.emplace_back("roamstead-doctor/" + name, redaction.apply(text));
  };
  auto dumped = [](const json& value) {
    return value.dump(2, ' ', false, json::error_handler_t::replace) + "\n";
  };
  add("report.json", dumped(to_json(found)));
  add("report.txt", to_text(found));
  add("configuration.toml", config::settings_text(found.loaded, true));
  add("sessions.json", dumped(found.sessions));
  add("counts.json", dumped({{"desktops", found.desktops.size()},
                             {"pools", found.pools.size()},
                             {"profiles", found.profiles.size()},
                             {"groups", found.groups.size()}}));
  add("pools.json", dumped(found.pools));
  add("journal.txt",
      output_of("journalctl --unit=roamstead-coordinator --lines=2000 --no-pager --output=short-iso "
                "--no-hostname 2>/dev/null"));
  return doctor::write_bundle(arguments.bundle, files);
}

Result<void> run_doctor(const DoctorArguments& arguments, Context& context) {
  RS_TRY(auto found, examine(arguments));
  auto result = to_json(found);
  auto text = to_text(found);
  if (!arguments.bundle.empty()) {
    RS_CHECK_CTX("bundle", write_bundle(arguments, found));
    result["bundle"] = arguments.bundle;
    text += "written to " + arguments.bundle +
            (arguments.with_names ? ", with names" : ", without names and secrets") +
            "; look at it before you send it\n";
  }
  context.print(result, text);
  context.exit_code = worst(found.findings) == Health::fail   ? 1
                      : worst(found.findings) == Health::warn ? 2
                                                              : 0;
  return {};
}

}  // namespace

void add_doctor_verb(CLI::App& app, Context& context) {
  auto arguments = std::make_shared<DoctorArguments>();
  auto* verb = app.add_subcommand(
      "doctor",
      "Look at the coordinator and what it stands on; ends with 0: well, 2: warnings, 1: something fails");
  verb->add_flag("--json", context.json, "Print the result as JSON");
  arguments->choice.add_to(*verb);
  verb->add_option(
      "--bundle", arguments->bundle,
      "Also write report, configuration, sessions and journal to this file (.tar.zst), without secrets");
  verb->add_flag("--with-names", arguments->with_names, "Leave names of users, desktops and hosts in it");
  verb->callback([arguments, &context] {
    context.run = [arguments, &context] { return run_doctor(*arguments, context); };
  });
}

}  // namespace roamstead::cli
