// roamstead-agent.exe: the agent's service, and the commands that speak to it.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "agent/desktop/control_lines.h"
#include "agent/win/agent_scm.h"
#include "agent/win/base/program.h"
#include "agent/win/base/service_entry.h"
#include "agent/win/base/windows_error.h"
#include "agent/win/control_pipe.h"
#include "agent/win/event_log.h"
#include "agent/win/image.h"
#include "agent/win/intercept/injection.h"
#include "agent/win/registry_settings.h"
#include "common/os/program.h"
#include "common/wire/enrollment.h"

namespace roamstead::agent {
namespace {

using nlohmann::json;

struct Arguments {
  bool json_output = false, service = false, foreground = false, wait = false, force = false;
  std::string user, token, name, pool, level = "all", hive, key;
  double timeout_seconds = 600;
};

void print(const std::string& text) {
  std::fwrite(text.data(), 1, text.size(), stdout);
  std::fflush(stdout);
}

int report(const Arguments& arguments, const Error& error) {
  if (arguments.json_output) {
    print(describe_error(error).dump() + "\n");
  } else {
    const auto text = "roamstead-agent: " + error.to_string() + "\n";
    std::fwrite(text.data(), 1, text.size(), stderr);
  }
  return 1;
}

std::string lines_of(const json& value, const std::string& indent = "") {
  std::string text;
  for (const auto& [key, member] : value.items()) {
    if (member.is_object()) {
      text += indent + key + "\n" + lines_of(member, indent + "  ");
    } else {
      text += indent +
              fmt::format("{:<24} {}\n", key, member.is_string() ? member.get<std::string>() : member.dump());
    }
  }
  return text;
}

int ask_and_print(const Arguments& arguments, json request) {
  request["timeout_seconds"] = arguments.timeout_seconds;
  const auto reply = ask_agent(request);
  if (!reply) return report(arguments, reply.error());
  print(arguments.json_output ? reply->dump() + "\n" : lines_of(*reply));
  return 0;
}

// The key is made here and stays here.
int enroll(const Arguments& arguments) {
  auto& files = os::real_file_system();
  const auto folder = read_settings().settings.identity_directory;
  const auto enrolled = [&]() -> Result<void> {
    RS_TRY(const bool there, files.exists(folder + "\\key.pem"));
    if (there) return fail(ErrorCode::exists, folder + ": holds the identity of a desktop already");
    RS_CHECK(files.make_directories(folder));
    RS_TRY(const auto token, wire::load_enrollment_token(files, arguments.token));
    RS_TRY(const auto identity, wire::enroll_desktop(token, arguments.name, arguments.pool));
    return wire::save_desktop_identity(files, folder, arguments.name, token.coordinator, identity);
  }();
  if (!enrolled) return report(arguments, enrolled.error());
  print(arguments.json_output
            ? json{{"desktop", arguments.name}, {"directory", folder}}.dump() + "\n"
            : "desktop " + arguments.name + " enrolled; its identity is in " + folder + "\n");
  return 0;
}

// The library lies beside this program.
int run_program(const Arguments& arguments, std::vector<std::string> words) {
  if (!words.empty() && words.front() == "--") words.erase(words.begin());
  if (words.empty()) return report(arguments, Error(ErrorCode::invalid_argument, "say which program to run"));
  const auto own = roamstead::win::own_path();
  if (!own) return report(arguments, own.error());
  const auto folder = roamstead::win::narrow_text(own->substr(0, own->rfind(L'\\') + 1));
  const auto status = run_hooked(os::windows_command_line(words), folder + "roamstead-hook.dll");
  if (!status) return report(arguments, status.error());
  return static_cast<int>(*status);
}

int generalize_image(const Arguments& arguments) {
  const auto removed = generalize(read_settings().settings, arguments.force);
  if (!removed) return report(arguments, removed.error());
  if (arguments.json_output) {
    print(json{{"removed", *removed}}.dump() + "\n");
    return 0;
  }
  for (const auto& each : *removed) print("removed " + each + "\n");
  if (removed->empty()) print("nothing was there\n");
  return 0;
}

int verify_image(const Arguments& arguments) {
  constexpr const char* kLevels[] = {"good", "note", "bad"};
  auto told = json::array();
  std::string text;
  bool fit = true;
  for (const auto& each : check_image(find_image_facts(read_settings().settings))) {
    const auto* level = kLevels[static_cast<int>(each.level)];
    fit = fit && each.level != FindingLevel::bad;
    told.push_back({{"level", level}, {"what", each.what}, {"text", each.text}});
    text += fmt::format("{:<5} {:<18} {}\n", level, each.what, each.text);
  }
  print(arguments.json_output ? json{{"fit", fit}, {"findings", told}}.dump() + "\n" : text);
  return fit ? 0 : 1;
}

int show_events(const Arguments& arguments) {
  auto told = json::array();
  for (const auto& each : agent_events()) {
    const auto text = event_text(each.event, "...");
    if (!text) return report(arguments, text.error());
    told.push_back({{"id", static_cast<int>(each.event)}, {"text", *text}});
    if (!arguments.json_output) print(fmt::format("{:>4}  {}\n", static_cast<int>(each.event), *text));
  }
  if (arguments.json_output) print(told.dump() + "\n");
  return 0;
}

int main_of(const std::vector<std::string>& words) {
  CLI::App app("The Roamstead agent for Windows", "roamstead-agent");
  Arguments arguments;
  app.set_version_flag("--version", std::string("roamstead-agent ") + ROAMSTEAD_VERSION);
  app.add_flag("--service", arguments.service, "As the service manager starts it");
  app.add_flag("--foreground", arguments.foreground, "Serve here, without the service manager");
  const auto verb = [&](const char* name, const char* description) {
    auto* added = app.add_subcommand(name, description);
    added->add_flag("--json", arguments.json_output, "Print JSON");
    return added;
  };
  auto* log_on = verb("logon", "Log a user on: open the session, lay the profile's root");
  auto* prepare = verb("prepare", "Get ready for a user's log-on");
  for (auto* each : {log_on, prepare}) each->add_option("user", arguments.user, "USER or SID")->required();
  auto* log_off = verb("logoff", "Save what is left, close the session");
  auto* status = verb("status", "What the agent is doing");
  auto* sync = verb("sync-now", "Take a snapshot and send what changed");
  sync->add_flag("--wait", arguments.wait, "Return when the coordinator has committed it");
  auto* fill = verb("fill", "Load what nobody has touched yet");
  fill->add_option("level", arguments.level, "none (pause), metadata or all")->capture_default_str();
  fill->add_flag("--wait", arguments.wait, "Return when all is loaded");
  auto* load_key = verb("load-key", "Load a registry key and all below it");
  load_key->add_option("hive", arguments.hive, "NTUSER.DAT or UsrClass.dat")->required();
  load_key->add_option("key", arguments.key, "Path of the key in it (default: all of it)");
  auto* stop = verb("stop", "End an agent that runs in the foreground");
  for (auto* each : {log_off, sync, fill, load_key})
    each->add_option("--timeout", arguments.timeout_seconds, "Seconds to wait at most")
        ->capture_default_str();
  auto* install = verb("install", "Add the service, which starts with Windows");
  auto* uninstall = verb("uninstall", "Stop the service and remove it");
  auto* enroll_verb = verb("enroll", "Get this desktop a certificate, by a token");
  enroll_verb->add_option("--token", arguments.token, "File written by 'roamstead token create --out'")
      ->required();
  enroll_verb->add_option("--name", arguments.name, "The desktop's name")->required();
  enroll_verb->add_option("--pool", arguments.pool, "Refuse a token for another pool");
  auto* run_verb = app.add_subcommand("run", "Run a program that loads what it touches: run -- PROGRAM ...");
  run_verb->add_option("program", "The program and its arguments, after '--'");
  auto* generalize_verb = verb("generalize", "Before this machine becomes an image: remove what is its own");
  generalize_verb->add_flag("--force", arguments.force, "Also what a session has not sent yet");
  auto* verify = verb("verify-image", "Whether this machine is fit to become an image; ends with 1 if not");
  auto* events = verb("events", "What the agent says in the event log");
  // What follows is another program's.
  if (words.size() > 1 && words[0] == "run" && words[1] != "--help" && words[1] != "-h")
    return run_program(arguments, {words.begin() + 1, words.end()});
  try {
    app.parse(std::vector<std::string>(words.rbegin(), words.rend()));
  } catch (const CLI::ParseError& error) {
    return app.exit(error);
  }
  if (*log_on) return ask_and_print(arguments, {{"op", "logon"}, {"user", arguments.user}});
  if (*prepare) return ask_and_print(arguments, {{"op", "prepare"}, {"user", arguments.user}});
  if (*log_off) return ask_and_print(arguments, {{"op", "logoff"}});
  if (*status) return ask_and_print(arguments, {{"op", "status"}});
  if (*sync) return ask_and_print(arguments, {{"op", "sync-now"}, {"wait", arguments.wait}});
  if (*fill)
    return ask_and_print(arguments, {{"op", "fill"}, {"level", arguments.level}, {"wait", arguments.wait}});
  if (*load_key)
    return ask_and_print(arguments, {{"op", "load-key"}, {"hive", arguments.hive}, {"key", arguments.key}});
  if (*stop) return ask_and_print(arguments, {{"op", "stop"}});
  if (*enroll_verb) return enroll(arguments);
  if (*run_verb) return run_program(arguments, {});  // with nothing to run
  if (*generalize_verb) return generalize_image(arguments);
  if (*verify) return verify_image(arguments);
  if (*events) return show_events(arguments);
  const auto done = [&](const Result<void>& result, const std::string& text) {
    if (!result) return report(arguments, result.error());
    if (!text.empty()) print(arguments.json_output ? json{{"done", text}}.dump() + "\n" : text + "\n");
    return 0;
  };
  if (*install) return done(install_agent_service(), "the service is installed; it starts with Windows");
  if (*uninstall) return done(uninstall_agent_service(), "the service is removed");
  if (arguments.service) {
    begin_logging(false);
    return done(run_as_agent_service(), "");
  }
  if (arguments.foreground) {
    begin_logging(true);
    return done(run_in_foreground([] { print("ready\n"); }), "");
  }
  print(app.help());
  return 2;
}

}  // namespace
}  // namespace roamstead::agent

int wmain(int count, wchar_t** words) {
  try {
    return roamstead::agent::main_of(roamstead::win::words_of(count, words));
  } catch (const std::exception& error) {  // a bug of ours
    std::fprintf(stderr, "roamstead-agent: internal error: %s\n", error.what());
    return 70;
  }
}
