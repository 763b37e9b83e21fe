// roamstead-desktops: simulated desktops on Linux. Each serves its user's profile through FUSE on a real NTFS
// volume, with the agent's own core and wire.
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <csignal>
#include <cstdio>
#include <ctime>
#include <fstream>
#include <iostream>
#include <thread>

#include "agent/fuse/control.h"
#include "agent/fuse/desktop.h"
#include "agent/fuse/linux_load.h"
#include "common/base/log.h"
#include "common/wire/enrollment.h"

namespace roamstead::agent {
namespace {

using nlohmann::json;

volatile std::sig_atomic_t stop_requested = 0;
void on_stop_signal(int) { stop_requested = 1; }

struct Arguments {
  DesktopConfig desktop;
  std::string fill = "none";
  double interval_seconds = 60, max_lag_seconds = 30, patience_seconds = 20, timeout_seconds = 600;
  double learn_seconds = 60, prepare_seconds = 600;
  std::uint64_t fill_mib_per_second = 0;
  bool standby = false, preview = true, fill_pauses = false, foreground = false, json_output = false,
       wait = false;
};

std::string socket_of(const Arguments& arguments) { return arguments.desktop.state_directory + "/control"; }
std::chrono::milliseconds milliseconds(double seconds) {
  return std::chrono::milliseconds(static_cast<std::int64_t>(seconds * 1000));
}

void print(const Arguments& arguments, const json& value, const std::string& text) {
  std::cout << (arguments.json_output ? value.dump() : text) << std::endl;
}

int report(const Error& error) {
  std::cerr << "roamstead-desktops: " << error.to_string() << std::endl;
  return 1;
}

// ---- run

std::string log_in_text(const json& reply) {
  return fmt::format("{} {} at version {}, usable after {:.0f} ms ({} bytes received), mounted at {}",
                     reply.value("profile", ""), reply.value("resumed", false) ? "resumed" : "opened",
                     reply.value("version", std::uint64_t{0}), reply.value("seconds", 0.0) * 1000,
                     reply.value("bytes_received", std::uint64_t{0}), reply.value("mount", ""));
}

void log_to_file(const std::string& path) {
  auto* file = std::fopen(path.c_str(), "ae");
  if (file == nullptr) return;
  set_log_sink([file](LogLevel level, const std::string& message) {  // for the life of the process
    constexpr const char* kNames[] = {"debug", "info", "warning", "error"};
    char time[32];
    auto now = std::time(nullptr);
    std::tm parts{};
    ::gmtime_r(&now, &parts);
    std::strftime(time, sizeof time, "%Y-%m-%dT%H:%M:%SZ", &parts);
    std::fprintf(file, "%s %s %s\n", time, kNames[static_cast<int>(level)], message.c_str());
    std::fflush(file);
  });
}

// Logs in, tells `ready` the outcome, and serves until logged out or told to stop.
int serve(const Arguments& arguments, const std::function<void(const json&)>& ready) {
  auto refuse = [&](const Error& error) {
    ready({{"error", {{"code", to_string(error.code)}, {"message", error.to_string()}}}});
    return 1;
  };
  auto& state = arguments.desktop.state_directory;
  auto faults = Faults::from_environment();
  if (!faults) return refuse(faults.error());
  auto control = ControlServer::listen(socket_of(arguments));
  if (!control) return refuse(control.error());
  auto pid = std::to_string(::getpid()) + "\n";
  std::ofstream(state + "/pid", std::ios::trunc) << pid;  // means nothing after a crash
  struct sigaction action {};
  action.sa_handler = on_stop_signal;
  ::sigaction(SIGTERM, &action, nullptr);
  ::sigaction(SIGINT, &action, nullptr);
  ::signal(SIGPIPE, SIG_IGN);
  auto desktop = Desktop::start(arguments.desktop, std::move(*faults));
  if (!desktop) return refuse(desktop.error());
  if (arguments.standby) {
    (*desktop)->connect();
    ready({{"standby", true}, {"pid", ::getpid()}});
  } else {
    if (auto logged_in = (*desktop)->log_in(); !logged_in) return refuse(logged_in.error());
    ready((*desktop)->describe_log_in());
  }
  (*control)->serve([&](const json& request) { return (*desktop)->answer(request); },
                    [&] {
                      if ((*desktop)->failed()) return true;
                      (*desktop)->look_after();
                      if (!(*desktop)->logged_in() || !(*desktop)->close_wanted() || (*desktop)->logged_out())
                        return stop_requested != 0 || (*desktop)->logged_out();
                      auto report = (*desktop)->answer({{"op", "logout"}});
                      log_info("log-out that the coordinator asked for: {}", report.dump());
                      return (*desktop)->logged_out() || report.contains("error");
                    });
  desktop->reset();
  (void)os::real_file_system().remove(state + "/pid");
  control->reset();  // last: who waits for the socket to go may start anew
  return 0;
}

// The first process waits until the log-in is usable (or failed) and reports it; the second goes on alone.
int serve_in_background(const Arguments& arguments) {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return report(system_error(errno, "make", "a pipe"));
  auto child = ::fork();
  if (child < 0) return report(system_error(errno, "start", "the desktop"));
  if (child == 0) {
    ::close(ends[0]);
    ::setsid();
    auto log = arguments.desktop.state_directory + "/desktop.log";
    int nothing = ::open("/dev/null", O_RDWR),
        output = ::open(log.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0600);
    ::dup2(nothing, 0);
    ::dup2(nothing, 1);
    ::dup2(output >= 0 ? output : nothing, 2);
    log_to_file(log);
    int status = serve(arguments, [&](const json& outcome) {
      auto text = outcome.dump();
      if (::write(ends[1], text.data(), text.size()) < 0) log_warning("nobody waits for the log-in");
      ::close(ends[1]);
    });
    ::_exit(status);
  }
  ::close(ends[1]);
  std::string text;
  char buffer[4096];
  for (ssize_t count; (count = ::read(ends[0], buffer, sizeof buffer)) > 0;)
    text.append(buffer, static_cast<std::size_t>(count));
  auto outcome = json::parse(text, nullptr, false);
  if (!outcome.is_object())
    return report(Error(ErrorCode::internal, "the desktop ended during log-in; see " +
                                                 arguments.desktop.state_directory + "/desktop.log"));
  if (outcome.contains("error"))
    return report(Error(ErrorCode::internal, outcome["error"].value("message", "")));
  print(arguments, outcome, arguments.standby ? "waiting for a log-in" : log_in_text(outcome));
  return 0;
}

int run(Arguments& arguments) {
  auto level = parse_fill_level(arguments.fill);
  if (!level) return report(level.error());
  auto& config = arguments.desktop;
  config.fill = *level;
  config.session.snapshot_interval = milliseconds(arguments.interval_seconds);
  config.session.sender.max_lag = milliseconds(arguments.max_lag_seconds);
  config.session.loader.patience = milliseconds(arguments.patience_seconds);
  config.session.loader.preview = arguments.preview;
  config.prepare_for = std::chrono::seconds(static_cast<std::int64_t>(arguments.prepare_seconds));
  config.session.learn_for = milliseconds(arguments.learn_seconds);
  config.session.fill_bytes_per_second = arguments.fill_mib_per_second << 20;
  if (arguments.fill_pauses) config.session.load = make_linux_load();
  config.session.change_log_path = config.state_directory + "/change.log";
  config.disk.map_path = config.state_directory + "/clusters.map";
  config.disk.provenance_path = config.session.agent_root + "/provenance.journal";
  for (auto* path : {&config.disk.disk_path, &config.volume, &config.mount_point, &config.identity_directory})
    if (char* absolute = ::realpath(path->c_str(), nullptr)) {
      *path = absolute;
      std::free(absolute);
    }
  if (auto made = os::real_file_system().make_directories(config.state_directory); !made)
    return report(made.error());
  // A descriptor for each file that programs hold open.
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) == 0) {
    limit.rlim_cur = limit.rlim_max;
    ::setrlimit(RLIMIT_NOFILE, &limit);
  }
  if (!arguments.foreground) return serve_in_background(arguments);
  return serve(arguments, [&](const json& outcome) {
    if (outcome.contains("error")) {
      report(Error(ErrorCode::internal, outcome["error"].value("message", "")));
    } else {
      print(arguments, outcome, arguments.standby ? "waiting for a log-in" : log_in_text(outcome));
    }
  });
}

// ---- enroll

struct Enrolment {
  std::string token_file, name, pool, out, coordinator;
};

// The key is made here and stays here.
int enroll(const Arguments& arguments, const Enrolment& enrolment) {
  auto& files = os::real_file_system();
  auto enrolled = [&]() -> Result<void> {
    RS_TRY(bool there, files.exists(enrolment.out + "/key.pem"));
    if (there) return fail(ErrorCode::exists, enrolment.out + ": holds the identity of a desktop already");
    RS_CHECK(files.make_directories(enrolment.out));
    RS_TRY(auto token, wire::load_enrollment_token(files, enrolment.token_file));
    if (!enrolment.coordinator.empty()) token.coordinator = enrolment.coordinator;
    RS_TRY(auto identity, wire::enroll_desktop(token, enrolment.name, enrolment.pool));
    return wire::save_desktop_identity(files, enrolment.out, enrolment.name, token.coordinator, identity);
  }();
  if (!enrolled) return report(enrolled.error());
  print(arguments, {{"desktop", enrolment.name}, {"directory", enrolment.out}},
        "desktop " + enrolment.name + " enrolled; its identity is in " + enrolment.out);
  return 0;
}

// ---- the verbs that ask a running desktop

int ask(const Arguments& arguments, json request, const std::function<std::string(const json&)>& text) {
  request["timeout_seconds"] = arguments.timeout_seconds;
  auto reply = ask_desktop(socket_of(arguments), request);
  if (!reply) return report(reply.error());
  print(arguments, *reply, text(*reply));
  return 0;
}

std::string lines_of(const json& value) {
  std::string text;
  for (auto& [key, member] : value.items())
    text += (text.empty() ? "" : "\n") +
            fmt::format("{:<24} {}", key, member.is_string() ? member.get<std::string>() : member.dump());
  return text;
}

std::string snapshot_text(const json& reply) {
  if (!reply.value("taken", false)) return "put off: two frozen layers wait to be sent";
  return fmt::format("{} records, {} bytes of content, {:.0f} ms (programs held {:.0f} ms)",
                     reply.value("records", 0), reply.value("content_bytes", std::uint64_t{0}),
                     reply.value("seconds", 0.0) * 1000, reply.value("hold_seconds", 0.0) * 1000);
}

std::string log_out_text(const json& reply) {
  return fmt::format("logged out in {:.0f} ms: version {}, {} records, {} bytes sent, {} received",
                     reply.value("seconds", 0.0) * 1000, reply.value("version", std::uint64_t{0}),
                     reply.value("records", std::uint64_t{0}), reply.value("bytes_sent", std::uint64_t{0}),
                     reply.value("bytes_received", std::uint64_t{0}));
}

// Returns when the desktop's process has let go of everything, so that the next log-in finds the state free.
int log_out(const Arguments& arguments) {
  constexpr auto kLongestEnd = std::chrono::seconds(30);
  auto status = ask(arguments, {{"op", "logout"}}, log_out_text);
  if (status != 0) return status;
  auto until = std::chrono::steady_clock::now() + kLongestEnd;
  while (os::real_file_system().exists(socket_of(arguments)).value_or(false)) {
    if (std::chrono::steady_clock::now() >= until)
      return report(Error(ErrorCode::timeout, "logged out, but the desktop's process does not end; see " +
                                                  arguments.desktop.state_directory + "/desktop.log"));
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return 0;
}

CLI::App* add_verb(CLI::App& app, const std::string& name, const std::string& description,
                   Arguments& arguments) {
  auto* verb = app.add_subcommand(name, description);
  verb->add_option("--state", arguments.desktop.state_directory,
                   "Where the desktop keeps its change log and control socket")
      ->required();
  verb->add_flag("--json", arguments.json_output, "Print JSON");
  return verb;
}

void add_run_options(CLI::App& verb, Arguments& arguments) {
  auto& config = arguments.desktop;
  verb.add_option("--profile", config.session.profile, "SID or name of the profile")->required();
  verb.add_option("--identity", config.identity_directory, "Folder written by 'roamstead desktop enroll'")
      ->required();
  verb.add_option("--coordinator", config.coordinator, "HOST:PORT, instead of what the identity says");
  auto* disk = verb.add_option("--disk", config.disk.disk_path,
                               "The desktop's VHDX, served by 'roamstead disk mount'");
  verb.add_option_function<std::string>(
          "--snapshots",
          [&config](const std::string& value) {
            config.host_snapshots = value == "host";
            config.scan = value == "scan";
          },
          "Who makes them: the desktop of its --disk (disk) or by scanning the profile's folder (scan), or "
          "the "
          "coordinator of the desktop's machine, where it made the desktop (host)")
      ->check(CLI::IsMember({"disk", "scan", "host"}))
      ->default_str("disk");
  verb.final_callback([&config, &verb, disk] {
    constexpr std::pair<const char*, const char*> kSettings[] = {{"--fill", "FillLevel"},
                                                                 {"--fill-rate", "FillMiBPerSecond"},
                                                                 {"--interval", "SnapshotIntervalSeconds"},
                                                                 {"--max-lag", "MaxLagSeconds"},
                                                                 {"--patience", "PatienceSeconds"},
                                                                 {"--learn", "LearnSeconds"},
                                                                 {"--prepare-for", "PrepareSeconds"}};
    for (const auto& [option, setting] : kSettings)
      if (verb.count(option) != 0) config.given.insert(setting);
    if (!config.host_snapshots && !config.scan && disk->count() == 0) throw CLI::RequiredError("--disk");
  });
  verb.add_option("--control", config.disk.control_socket,
                  "Control socket of the mounted disk (default: DISK.control)");
  verb.add_option("--partition", config.disk.partition,
                  "Partition the volume is on (default: the first with NTFS)");
  verb.add_option("--volume", config.volume, "Where that disk's NTFS volume is mounted by ntfs-3g")
      ->required();
  verb.add_option("--profile-root", config.session.profile_root,
                  "Path of the profile on the volume, e.g. Users/alice")
      ->required();
  verb.add_option("--mount", config.mount_point, "Where programs shall see the profile")->required();
  verb.add_option("--fill", arguments.fill, "Load in background: none, metadata or all")
      ->capture_default_str();
  verb.add_option("--fill-rate", arguments.fill_mib_per_second,
                  "MiB a second for loading in background (0: no limit)");
  verb.add_flag("--fill-pauses", arguments.fill_pauses,
                "Pause loading in background while the machine is busy");
  verb.add_option("--interval", arguments.interval_seconds, "Seconds between snapshots (0: only on request)")
      ->capture_default_str();
  verb.add_option("--max-lag", arguments.max_lag_seconds, "Seconds a batch may wait for a quiet moment")
      ->capture_default_str();
  verb.add_option("--patience", arguments.patience_seconds,
                  "Seconds a program waits while the coordinator is away")
      ->capture_default_str();
  verb.add_option(
          "--learn", arguments.learn_seconds,
          "Seconds in which what programs touch is learned, to be sent ahead next time (0: not at all)")
      ->capture_default_str();
  verb.add_flag("--preview,!--no-preview", arguments.preview,
                "Show programs what the profile holds before it is on the volume (default)");
  verb.add_flag("--replace", config.session.replace_leftovers,
                "Replace what lies at the profile's root, whatever it is");
  verb.add_flag("--standby", arguments.standby,
                "Only get ready, as the service of a desktop does at boot; 'login' logs the user in");
  verb.add_option("--prepare-for", arguments.prepare_seconds,
                  "Seconds that a session opened ahead of a log-in waits for it (0: none is opened)")
      ->capture_default_str();
  verb.add_flag("--foreground", arguments.foreground, "Stay in the foreground");
}

int main_of_desktops(int count, char** values) {
  CLI::App app("Simulated desktops: the Roamstead agent on Linux, over FUSE and ntfs-3g");
  app.require_subcommand(1);
  Arguments arguments;
  std::string level = "all", hive, key;
  auto* run_verb =
      add_verb(app, "run", "Log a user in and serve the profile; returns when it is usable", arguments);
  add_run_options(*run_verb, arguments);
  auto* login_verb = add_verb(app, "login", "Log the user in to a desktop that stands by", arguments);
  auto* prepare_verb =
      add_verb(app, "prepare", "Open the session ahead of the log-in, load what that needs first", arguments);
  auto* status_verb = add_verb(app, "status", "What the desktop is doing", arguments);
  auto* snapshot_verb = add_verb(app, "snapshot", "Cut what changed since the last snapshot", arguments);
  snapshot_verb->add_flag("--wait", arguments.wait, "Return when the coordinator has committed it");
  auto* fill_verb = add_verb(app, "fill", "Load what nobody has touched yet", arguments);
  fill_verb->add_option("level", level, "none (pause), metadata or all")->capture_default_str();
  fill_verb->add_flag("--wait", arguments.wait, "Return when all is loaded");
  auto* load_verb = add_verb(app, "load-key", "Load a registry key and all below it", arguments);
  load_verb->add_option("hive", hive, "NTUSER.DAT or UsrClass.dat")->required();
  load_verb->add_option("key", key, "Path of the key in it, e.g. Software\\Vendor (default: all of it)");
  auto* logout_verb = add_verb(app, "logout", "Unmount, save what is left, close the session", arguments);
  for (auto* verb : {snapshot_verb, fill_verb, load_verb, logout_verb})
    verb->add_option("--timeout", arguments.timeout_seconds, "Seconds to wait at most")
        ->capture_default_str();
  Enrolment enrolment;
  auto* enroll_verb = app.add_subcommand("enroll", "Get this desktop a certificate, by a token");
  enroll_verb->add_option("--token-file", enrolment.token_file, "Written by 'roamstead token create --out'")
      ->required();
  enroll_verb->add_option("--name", enrolment.name, "The desktop's name")->required();
  enroll_verb->add_option("--out", enrolment.out, "Directory for its identity, which --identity names later")
      ->required();
  enroll_verb->add_option("--pool", enrolment.pool, "Refuse a token for another pool");
  enroll_verb->add_option("--coordinator", enrolment.coordinator, "HOST:PORT, instead of what the file says");
  enroll_verb->add_flag("--json", arguments.json_output, "Print JSON");
  CLI11_PARSE(app, count, values);
  if (*enroll_verb) return enroll(arguments, enrolment);
  if (*run_verb) return run(arguments);
  if (*login_verb) return ask(arguments, {{"op", "login"}}, log_in_text);
  if (*prepare_verb) return ask(arguments, {{"op", "prepare"}}, lines_of);
  if (*status_verb) return ask(arguments, {{"op", "status"}}, lines_of);
  if (*snapshot_verb) return ask(arguments, {{"op", "snapshot"}, {"wait", arguments.wait}}, snapshot_text);
  if (*fill_verb)
    return ask(arguments, {{"op", "fill"}, {"level", level}, {"wait", arguments.wait}}, lines_of);
  if (*load_verb) return ask(arguments, {{"op", "load-key"}, {"hive", hive}, {"key", key}}, lines_of);
  return log_out(arguments);
}

}  // namespace
}  // namespace roamstead::agent

int main(int count, char** values) {
  try {
    return roamstead::agent::main_of_desktops(count, values);
  } catch (const std::exception& error) {  // a bug of ours
    std::cerr << "roamstead-desktops: internal error: " << error.what() << std::endl;
    return 70;
  }
}
