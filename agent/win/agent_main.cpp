// roamstead-agent.exe: the agent's service, and the commands that speak to it.
#include <windows.h>
// After it.
#include <shellapi.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "agent/win/agent_service.h"
#include "agent/win/base/windows_error.h"
#include "agent/win/registry_settings.h"
#include "common/base/log.h"
#include "common/wire/enrollment.h"

namespace roamstead::agent {
namespace {

using nlohmann::json;

struct Arguments {
  bool json_output = false, service = false, foreground = false, wait = false;
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

int serve_in_foreground(const Arguments& arguments) {
  auto faults = Faults::from_environment();
  if (!faults) return report(arguments, faults.error());
  AgentService service(read_settings(), std::move(*faults));
  auto pipe = ControlPipe::listen();
  if (!pipe) return report(arguments, pipe.error());
  service.on_stop([raw = pipe->get()] { raw->stop(); });
  std::thread connecting([&service] { service.connect(); });
  print("ready\n");
  (*pipe)->serve(
      [&](const json& request, const ControlCaller& caller) { return service.answer(request, caller); });
  connecting.join();
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
  auto* enroll_verb = verb("enroll", "Get this desktop a certificate, by a token");
  enroll_verb->add_option("--token", arguments.token, "File written by 'roamstead token create --out'")
      ->required();
  enroll_verb->add_option("--name", arguments.name, "The desktop's name")->required();
  enroll_verb->add_option("--pool", arguments.pool, "Refuse a token for another pool");
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
  if (arguments.foreground) return serve_in_foreground(arguments);
  print(app.help());
  return 2;
}

}  // namespace
}  // namespace roamstead::agent

int main() {
  int count = 0;
  auto** words = ::CommandLineToArgvW(::GetCommandLineW(), &count);
  std::vector<std::string> given;
  for (int at = 1; at < count; ++at) given.push_back(roamstead::win::narrow_text(words[at]));
  ::LocalFree(words);
  try {
    return roamstead::agent::main_of(given);
  } catch (const std::exception& error) {  // a bug of ours
    std::fprintf(stderr, "roamstead-agent: internal error: %s\n", error.what());
    return 70;
  }
}
